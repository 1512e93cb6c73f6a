//! The bodies of requests: read within a time, a size, and a bound for all of them together.
//!
//! What is held counts, from a request's first byte until it is answered. Where it would be too much, the body that has been
//! under way for longest is given up, not the one that came last: an honest body takes milliseconds, so clients that send
//! theirs slowly push out each other and nobody else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use tokio::sync::Notify;

/// The most bytes of a request's body: an object and its old self, each at most 1.5 MiB in etcd, with room.
pub(super) const MAX_BODY: usize = 8 << 20;

/// What a request counts beside its body: its head may have so many bytes.
const REQUEST: usize = 16 << 10;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is larger than {MAX_BODY} bytes")]
    TooLarge,
    #[error("the body did not arrive within the deadline")]
    Slow,
    #[error("the body could not be read: {0}")]
    Broken(axum::Error),
    #[error("too many bytes of requests at once; try again")]
    Crowded,
}

/// All bodies that are held.
pub(super) struct Bodies {
    max: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    bytes: usize,
    next: u64,
    /// Those that aren't whole, in the order of their coming.
    arriving: BTreeMap<u64, Arrival>,
}

struct Arrival {
    bytes: usize,
    given_up: Arc<Notify>,
}

/// A body that is whole. It counts for as long as it lives.
pub(super) struct Whole<'b> {
    pub(super) bytes: Bytes,
    _share: Share<'b>,
}

/// One request's part of what is held.
struct Share<'b> {
    bodies: &'b Bodies,
    id: u64,
    /// What is given back at the end, once the body is whole; before, `Held` knows.
    whole: Option<usize>,
}

impl Bodies {
    /// At most `max` bytes at once, together with what belongs to their requests.
    pub(super) fn new(max: usize) -> Self {
        Self { max, held: Mutex::default() }
    }

    /// Reads a body, until `deadline`.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        body: &mut Body,
        deadline: Instant,
    ) -> Result<Whole<'_>, BodyError> {
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > MAX_BODY as u64) {
            return Err(BodyError::TooLarge);
        }
        let given_up = Arc::new(Notify::new());
        let mut share = self.begin(Arc::clone(&given_up))?;
        let bytes = tokio::select! {
            biased;
            () = given_up.notified() => return Err(BodyError::Crowded),
            bytes = share.collect(body) => bytes?,
            () = tokio::time::sleep_until(deadline.into()) => return Err(BodyError::Slow),
        };
        share.finish()?;
        Ok(Whole { bytes, _share: share })
    }

    fn begin(&self, given_up: Arc<Notify>) -> Result<Share<'_>, BodyError> {
        let mut held = self.lock();
        let id = held.next;
        held.next += 1;
        held.arriving.insert(id, Arrival { bytes: 0, given_up });
        // Made before it can fail, so that it is given back.
        drop(held);
        let share = Share { bodies: self, id, whole: None };
        share.grow(REQUEST)?;
        Ok(share)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing that holds the lock can leave the sums wrong.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share<'_> {
    /// `length` is what the client says of it.
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
                // A length that is only said gets no memory; a buffer that doubles has twice what came at most.
                if all.is_empty() {
                    all.extend_from_slice(&first);
                }
                all.extend_from_slice(&data);
            }
        }
        Ok(if all.is_empty() { first } else { all.into() })
    }

    /// Counts more bytes; where that is too many, those that have been under way for longest are given up.
    fn grow(&self, bytes: usize) -> Result<(), BodyError> {
        let mut held = self.bodies.lock();
        let held = &mut *held;
        // One that isn't there has been given up.
        held.arriving.get_mut(&self.id).ok_or(BodyError::Crowded)?.bytes += bytes;
        held.bytes += bytes;
        while held.bytes > self.bodies.max {
            let Some((id, oldest)) = held.arriving.pop_first() else { return Err(BodyError::Crowded) };
            held.bytes -= oldest.bytes;
            if id == self.id {
                return Err(BodyError::Crowded);
            }
            oldest.given_up.notify_one();
        }
        Ok(())
    }

    /// The body is whole: it can't be given up any more.
    fn finish(&mut self) -> Result<(), BodyError> {
        let arrival = self.bodies.lock().arriving.remove(&self.id);
        self.whole = Some(arrival.ok_or(BodyError::Crowded)?.bytes);
        Ok(())
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut held = self.bodies.lock();
        let bytes = self.whole.or_else(|| held.arriving.remove(&self.id).map(|arrival| arrival.bytes));
        held.bytes -= bytes.unwrap_or_default();
    }
}
