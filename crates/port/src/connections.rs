//! The table of a port's connections. It limits their number and finds those that are slow or idle.
//!
//! ```text
//! admit ──► silent ──first request──► spoken ──► gone        the table drops a connection with its handle,
//!             │ no request in time       │ idle for too long   or earlier, when the server chooses to close it
//!             └────────► closed ◄────────┘
//! ```
//!
//! The table counts requests and never reads bytes. It never closes a connection with an open request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::counters::{CloseReason, Counters};

/// Minimum time without a request before a connection can be evicted. By then, its last answer is on its way.
const SETTLED: Duration = Duration::from_millis(100);

/// A flag in `Connection::open`: the connection is about to close.
const CLOSING: u32 = 1 << 31;

/// The time that clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Maximum time for a request's headers. For the first request it starts at the accept and includes the TLS
    /// handshake. Later it starts at the first byte of the headers.
    pub headers: Duration,
    /// Maximum time without a request.
    pub idle: Duration,
}

/// The connections of one port.
#[derive(Debug)]
pub struct Connections {
    /// The port's name in log lines.
    port: &'static str,
    /// Maximum number of connections.
    max: usize,
    timeouts: Timeouts,
    counters: Arc<Counters>,
    epoch: Instant,
    table: Mutex<Table>,
    /// Connections that were evicted or refused since the last log line.
    crowded: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// Connections without a first request, in order of arrival.
    silent: BTreeMap<u64, Arc<Connection>>,
    spoken: BTreeMap<u64, Arc<Connection>>,
}

/// One connection. Its task, its requests and the table share it.
#[derive(Debug)]
pub(crate) struct Connection {
    id: u64,
    /// Time of the accept.
    pub(crate) accepted: Instant,
    connections: Arc<Connections>,
    /// Number of open requests, plus `CLOSING` once the connection is about to close.
    open: AtomicU32,
    /// Time of the accept or of the end of the last request, in microseconds of `Connections::now`.
    since: AtomicU64,
    /// Arrival time of the first byte of incomplete headers; 0 if there are none.
    head: AtomicU64,
    spoken: AtomicBool,
    close: Notify,
}

/// An entry in the table. Dropping it removes the connection.
pub(crate) struct OpenConnection(Arc<Connection>);

/// A request that is being answered.
pub(crate) struct OpenRequest(Arc<Connection>);

impl Connections {
    /// Creates a table for at most `max` connections. `port` is the name of the port in log lines.
    #[must_use]
    pub fn new(port: &'static str, max: usize, timeouts: Timeouts, counters: Arc<Counters>) -> Arc<Self> {
        // The epoch lies one microsecond in the past, so that no time is 0: 0 means none.
        let epoch = Instant::now().checked_sub(Duration::from_micros(1)).unwrap_or_else(Instant::now);
        let crowded = AtomicU64::new(0);
        Arc::new(Self { port, max, timeouts, counters, epoch, table: Mutex::default(), crowded })
    }

    /// Adds a new connection to the table. At the limit, it evicts the least useful one first. Connections that never
    /// sent a request go first, the oldest of them, if they are more than an eighth of the limit. Otherwise the
    /// connection with the longest idle time goes. Returns `None` if no connection can be evicted.
    ///
    /// The eighth protects new connections during their handshake. Without it, clients that send one request and then
    /// stay idle could make new connections evict each other.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<OpenConnection> {
        let mut table = self.lock();
        if table.len() >= self.max && !self.make_room(&mut table) {
            drop(table);
            self.counters.count_closed(CloseReason::Refused);
            self.crowded.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let id = table.next;
        table.next += 1;
        let connection = Arc::new(Connection {
            id,
            accepted: Instant::now(),
            connections: Arc::clone(self),
            open: AtomicU32::new(0),
            since: AtomicU64::new(self.now()),
            head: AtomicU64::new(0),
            spoken: AtomicBool::new(false),
            close: Notify::new(),
        });
        table.silent.insert(id, Arc::clone(&connection));
        self.counters.set_open(table.len());
        Some(OpenConnection(connection))
    }

    /// Evicts one idle connection, for a process that may not open more files. Returns whether there was one.
    pub(crate) fn evict_one(&self) -> bool {
        self.make_room(&mut self.lock())
    }

    /// Returns the number of connections.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Closes connections that are slow or idle for too long. Returns when it must be called again.
    pub(crate) fn close_late(&self) -> Instant {
        let period = (self.timeouts.headers / 20).min(Duration::from_secs(1)).max(Duration::from_millis(5));
        let (now, instant) = (self.now(), Instant::now());
        let mut table = self.lock();
        let mut late = Vec::new();
        let mut next = instant + period;
        for connection in table.silent.values() {
            let due = connection.accepted + self.timeouts.headers;
            if due > instant {
                next = next.min(due);
                break;
            }
            late.push((Arc::clone(connection), CloseReason::Slow));
        }
        for connection in table.spoken.values() {
            let head = connection.head.load(Ordering::Relaxed);
            let since = connection.since.load(Ordering::Relaxed);
            // Headers that time out before the next poll would otherwise be closed too late.
            if head != 0 && head + micros(self.timeouts.headers) < now + micros(period) {
                late.push((Arc::clone(connection), CloseReason::Slow));
            } else if since + micros(self.timeouts.idle) < now {
                late.push((Arc::clone(connection), CloseReason::Idle));
            }
        }
        for (connection, reason) in late {
            self.close(&mut table, &connection, reason);
        }
        drop(table);
        let crowded = self.crowded.swap(0, Ordering::Relaxed);
        if crowded > 0 {
            tracing::warn!(
                port = self.port,
                max = self.max,
                closed = crowded,
                "reached the connection limit: evicted idle connections or refused new ones; \
                 hint: for the webhook port, raise `--max-connections` or `ulimit -n`"
            );
        }
        next
    }

    /// Returns once no client has been connected, or has connected and left, for `quiet`.
    pub async fn quiet(&self, quiet: Duration) {
        let seen = || {
            let table = self.lock();
            (table.len(), table.next)
        };
        let (mut since, (_, mut admitted)) = (Instant::now(), seen());
        while since.elapsed() < quiet {
            tokio::time::sleep(quiet / 10).await;
            let (connected, admitted_now) = seen();
            if connected > 0 || admitted_now != admitted {
                (since, admitted) = (Instant::now(), admitted_now);
            }
        }
    }

    fn make_room(&self, table: &mut Table) -> bool {
        let newcomers_first = table.silent.len() > self.max / 8;
        let evicted = (newcomers_first && self.evict_silent(table))
            || self.evict_idle(table)
            || (!newcomers_first && self.evict_silent(table));
        if evicted {
            self.crowded.fetch_add(1, Ordering::Relaxed);
        }
        evicted
    }

    fn evict_silent(&self, table: &mut Table) -> bool {
        // A connection that has just sent its first request is about to move to `spoken`.
        let oldest = table.silent.values().find(|connection| connection.is_idle()).map(Arc::clone);
        oldest.is_some_and(|connection| self.close(table, &connection, CloseReason::Evicted))
    }

    fn evict_idle(&self, table: &mut Table) -> bool {
        let settled = self.now().saturating_sub(micros(SETTLED));
        let since = |connection: &&Arc<Connection>| connection.since.load(Ordering::Relaxed);
        let idle = table.spoken.values().filter(|connection| connection.is_idle());
        let longest = idle.min_by_key(since).filter(|connection| since(connection) < settled).map(Arc::clone);
        longest.is_some_and(|connection| self.close(table, &connection, CloseReason::Evicted))
    }

    /// Closes a connection, unless it has an open request. Returns whether it does.
    fn close(&self, table: &mut Table, connection: &Connection, reason: CloseReason) -> bool {
        let closes =
            connection.open.compare_exchange(0, CLOSING, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if closes {
            table.remove(connection.id);
            self.counters.set_open(table.len());
            self.counters.count_closed(reason);
            connection.close.notify_one();
        }
        closes
    }

    fn now(&self) -> u64 {
        micros(self.epoch.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // The lock cannot be poisoned midway: no holder can leave the table half changed.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn len(&self) -> usize {
        self.silent.len() + self.spoken.len()
    }

    fn remove(&mut self, id: u64) {
        if self.silent.remove(&id).is_none() {
            self.spoken.remove(&id);
        }
    }
}

impl Connection {
    /// Counts a request whose headers are complete.
    pub(crate) fn request(self: &Arc<Self>) -> OpenRequest {
        self.open.fetch_add(1, Ordering::AcqRel);
        self.head.store(0, Ordering::Relaxed);
        if !self.spoken.swap(true, Ordering::Relaxed) {
            let mut table = self.connections.lock();
            // If the connection is about to close, it is in neither map.
            if let Some(connection) = table.silent.remove(&self.id) {
                table.spoken.insert(self.id, connection);
            }
        }
        OpenRequest(Arc::clone(self))
    }

    /// Records that bytes arrived.
    pub(crate) fn received(&self) {
        if self.is_idle() && !self.is_arriving() {
            self.head.store(self.connections.now(), Ordering::Relaxed);
        }
    }

    /// Returns whether a request has arrived before.
    pub(crate) fn has_spoken(&self) -> bool {
        self.spoken.load(Ordering::Relaxed)
    }

    /// Returns whether incomplete headers have arrived.
    pub(crate) fn is_arriving(&self) -> bool {
        self.head.load(Ordering::Relaxed) != 0
    }

    /// Returns whether no request is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }
}

impl OpenConnection {
    /// Returns the connection, on which requests and bytes are recorded.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.0
    }

    /// Returns when the connection must close.
    pub(crate) async fn closed(&self) {
        self.0.close.notified().await;
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let connections = &self.0.connections;
        let mut table = connections.lock();
        table.remove(self.0.id);
        connections.counters.set_open(table.len());
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let Self(connection) = self;
        connection.since.store(connection.connections.now(), Ordering::Relaxed);
        connection.open.fetch_sub(1, Ordering::AcqRel);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_not_quiet_if_clients_come_and_go_between_two_polls() {
        let long = Duration::from_secs(60);
        let timeouts = Timeouts { headers: long, idle: long };
        let connections = Connections::new("webhook", 10, timeouts, Arc::default());
        let quiet = Duration::from_millis(50);
        let come_and_go = async {
            let started = Instant::now();
            while started.elapsed() < 6 * quiet {
                drop(connections.admit());
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = connections.quiet(quiet) => panic!("clients connected the whole time"),
            () = come_and_go => {}
        }
        connections.quiet(quiet).await;
    }
}
