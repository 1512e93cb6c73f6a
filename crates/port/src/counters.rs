//! Counts the connections of a port.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The reason why the server closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The TLS handshake or a request's headers did not arrive in time.
    Slow,
    /// The connection had no request for too long.
    Idle,
    /// The connection was idle and was evicted in favour of a new one.
    Evicted,
    /// The connection limit was reached and no connection was idle.
    Refused,
}

impl CloseReason {
    /// All reasons.
    pub const ALL: [Self; 4] = [Self::Slow, Self::Idle, Self::Evicted, Self::Refused];

    /// Returns the reason in one word, for metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Idle => "idle",
            Self::Evicted => "evicted",
            Self::Refused => "refused",
        }
    }
}

/// The counters of one port.
#[derive(Debug, Default)]
pub struct Counters {
    open: AtomicUsize,
    closed: [AtomicU64; CloseReason::ALL.len()],
}

impl Counters {
    /// Returns the number of open connections.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Returns the number of connections that the server closed for `reason`.
    #[must_use]
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn set_open(&self, open: usize) {
        self.open.store(open, Ordering::Relaxed);
    }

    pub(crate) fn count_closed(&self, reason: CloseReason) {
        self.closed[reason as usize].fetch_add(1, Ordering::Relaxed);
    }
}
