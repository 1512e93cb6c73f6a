//! Reads the bodies of requests, with limits on time, on size, and on the size of all bodies together.
//!
//! Each byte counts from its arrival until its request is answered. Above the total limit, the server drops the body
//! that has been arriving for the longest time, not the newest one. An honest body arrives within milliseconds, so
//! slow clients evict only each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use tokio::sync::Notify;

/// Maximum size of a request's body, in bytes. It holds an object and its old version, each at most 1.5 MiB in etcd,
/// with a reserve.
pub const MAX_BODY: usize = 8 << 20;

/// Bytes that each request counts besides its body: the maximum size of its headers.
const REQUEST: usize = 16 << 10;

/// The reason why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The body is too large.
    #[error("expected a body of at most {MAX_BODY} bytes, found more")]
    TooLarge,
    /// The body timed out.
    #[error("the body did not arrive within the deadline")]
    Slow,
    /// The client closed the connection, or sent a malformed body.
    #[error("failed to read the body: {0}")]
    Broken(axum::Error),
    /// All bodies together are too large, and this one had been arriving for the longest time.
    #[error("too many bytes of requests at once; try again")]
    Crowded,
}

/// All bodies in memory.
#[derive(Debug)]
pub struct Bodies {
    max: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    next: u64,
    /// Incomplete bodies, in order of arrival.
    arriving: BTreeMap<u64, Arrival>,
}

#[derive(Debug)]
struct Arrival {
    bytes: usize,
    dropped: Arc<Notify>,
}

/// A complete body. Its bytes count until it is dropped.
#[derive(Debug)]
pub struct ReadBody<'b> {
    /// The content.
    pub bytes: Bytes,
    _quota: Quota<'b>,
}

/// The bytes in memory of one request.
#[derive(Debug)]
struct Quota<'b> {
    bodies: &'b Bodies,
    id: u64,
    /// The bytes to give back, once the body is complete. Until then, `Held` counts them.
    complete: Option<usize>,
}

impl Bodies {
    /// Creates a limit of `max` bytes for all bodies and the headers of their requests.
    pub fn new(max: usize) -> Self {
        Self { max, held: Mutex::default() }
    }

    /// Reads a body and times out at `deadline`.
    ///
    /// # Errors
    ///
    /// A body that is too large, too slow or malformed, or that was dropped in favour of others.
    pub async fn read(
        &self,
        headers: &HeaderMap,
        body: &mut Body,
        deadline: Instant,
    ) -> Result<ReadBody<'_>, BodyError> {
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > MAX_BODY as u64) {
            return Err(BodyError::TooLarge);
        }
        let dropped = Arc::new(Notify::new());
        let mut quota = self.begin(Arc::clone(&dropped))?;
        let bytes = tokio::select! {
            biased;
            () = dropped.notified() => return Err(BodyError::Crowded),
            bytes = quota.collect(body) => bytes?,
            () = tokio::time::sleep_until(deadline.into()) => return Err(BodyError::Slow),
        };
        quota.finish()?;
        Ok(ReadBody { bytes, _quota: quota })
    }

    fn begin(&self, dropped: Arc<Notify>) -> Result<Quota<'_>, BodyError> {
        let mut held = self.lock();
        let id = held.next;
        held.next += 1;
        held.arriving.insert(id, Arrival { bytes: 0, dropped });
        // Created before `grow` can fail, so that dropping it gives the bytes back.
        drop(held);
        let quota = Quota { bodies: self, id, complete: None };
        quota.grow(REQUEST)?;
        Ok(quota)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // The lock cannot be poisoned midway: no holder can leave the sums wrong.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Quota<'_> {
    /// Reads all frames of a body.
    async fn collect(&self, body: &mut Body) -> Result<Bytes, BodyError> {
        let mut first = Bytes::new();
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else { continue };
            let size = first.len().max(all.len()) + data.len();
            if size > MAX_BODY {
                return Err(BodyError::TooLarge);
            }
            self.grow(data.len())?;
            if size == data.len() {
                first = data;
            } else {
                // Memory grows with the bytes that arrive, never with an announced length. A buffer that doubles has
                // at most twice the size of its content.
                if all.is_empty() {
                    all.extend_from_slice(&first);
                }
                all.extend_from_slice(&data);
            }
        }
        Ok(if all.is_empty() { first } else { all.into() })
    }

    /// Counts more bytes. Above the limit, it drops the bodies that have been arriving for the longest time.
    fn grow(&self, bytes: usize) -> Result<(), BodyError> {
        let mut held = self.bodies.lock();
        let held = &mut *held;
        // A missing entry means that this body was dropped.
        held.arriving.get_mut(&self.id).ok_or(BodyError::Crowded)?.bytes += bytes;
        held.bytes += bytes;
        while held.bytes > self.bodies.max {
            let Some((id, oldest)) = held.arriving.pop_first() else { return Err(BodyError::Crowded) };
            held.bytes -= oldest.bytes;
            if id == self.id {
                return Err(BodyError::Crowded);
            }
            oldest.dropped.notify_one();
        }
        Ok(())
    }

    /// Marks the body as complete, so that it cannot be dropped any more.
    fn finish(&mut self) -> Result<(), BodyError> {
        let arrival = self.bodies.lock().arriving.remove(&self.id);
        self.complete = Some(arrival.ok_or(BodyError::Crowded)?.bytes);
        Ok(())
    }
}

impl Drop for Quota<'_> {
    fn drop(&mut self) {
        let mut held = self.bodies.lock();
        let bytes = self.complete.or_else(|| held.arriving.remove(&self.id).map(|arrival| arrival.bytes));
        held.bytes -= bytes.unwrap_or_default();
    }
}
