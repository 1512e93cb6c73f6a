//! Who is connected to a port, and who has to go: the table that bounds connections and finds those that use them for nothing.
//!
//! ```text
//! admit ──► silent ──first request──► spoken ──► gone        a connection leaves the table by its Ticket's end,
//!             │ no request in time       │ idle for too long   or earlier, when it is chosen to go
//!             └──────────► cut ◄─────────┘
//! ```
//!
//! It counts requests and reads no byte. It never cuts a connection with an open request, but for one whose client resets
//! requests by the hundred.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::metrics::{Cut, Metrics, Port};

/// The most requests of one connection that its client may reset between two looks at it (a second at most). An API server
/// resets one where its own caller went away.
const MAX_ABANDONED: u32 = 512;

/// A connection that gives way has been without a request for so long: its last answer is on its way by then.
const SETTLED: Duration = Duration::from_millis(100);

/// In `Connection::open`: chosen to go.
const CHOSEN: u32 = 1 << 31;

/// The connections of one port.
pub(super) struct Connections {
    port: Port,
    /// The most at once.
    max: usize,
    /// From the accept to the end of the first request's head; later, from a head's first byte to its last.
    head: Duration,
    /// Without a request.
    idle: Duration,
    metrics: Arc<Metrics>,
    epoch: Instant,
    table: Mutex<Table>,
    /// Newcomers and idle ones that were sent away since the last line of the log.
    crowded: AtomicU64,
}

#[derive(Default)]
struct Table {
    next: u64,
    /// Those that never sent a request, in the order of their coming.
    silent: BTreeMap<u64, Arc<Connection>>,
    spoken: BTreeMap<u64, Arc<Connection>>,
}

/// One connection, as its task, its requests and the table share it.
pub(super) struct Connection {
    id: u64,
    /// When it was accepted.
    pub(super) accepted: Instant,
    connections: Arc<Connections>,
    /// How many requests are open; with `CHOSEN` once it has to go.
    open: AtomicU32,
    /// When it was accepted, or its last request ended. Microseconds of `Connections::now`.
    since: AtomicU64,
    /// When the first byte of a head came that isn't whole yet; 0 where there is none.
    head: AtomicU64,
    spoken: AtomicBool,
    abandoned: AtomicU32,
    cut: Notify,
}

/// A place in the table, for as long as it lives.
pub(super) struct Ticket(Arc<Connection>);

/// A request that is being answered. One that ends without `answered` was given up by its client.
pub(super) struct OpenRequest {
    connection: Arc<Connection>,
    answered: bool,
}

impl Connections {
    pub(super) fn new(
        port: Port,
        max: usize,
        head: Duration,
        idle: Duration,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        // One microsecond in the past, so that no time is 0, which stands for none.
        let epoch = Instant::now().checked_sub(Duration::from_micros(1)).unwrap_or_else(Instant::now);
        let crowded = AtomicU64::new(0);
        Arc::new(Self { port, max, head, idle, metrics, epoch, table: Mutex::default(), crowded })
    }

    /// A place for a newcomer. Where all are taken, it is that of the connection that has been of the least use: of those
    /// that never sent a request the oldest, as long as they are more than an eighth of all, else the one that has been
    /// without a request for longest. `None`: there is none of either kind.
    ///
    /// The eighth is what keeps clients that sent a request and then nothing from pushing newcomers out of each other's
    /// places before their handshake is done.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Ticket> {
        let mut table = self.lock();
        if table.len() >= self.max && !self.make_room(&mut table) {
            drop(table);
            self.metrics.connection_cut(self.port, Cut::Refused);
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
            abandoned: AtomicU32::new(0),
            cut: Notify::new(),
        });
        table.silent.insert(id, Arc::clone(&connection));
        self.metrics.connections(self.port, table.len());
        Some(Ticket(connection))
    }

    /// Sends one idle connection away, as where all places are taken; for a process that may open no more files.
    pub(super) fn give_way(&self) -> bool {
        self.make_room(&mut self.lock())
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Cuts what has had its time, and says when to look again.
    pub(super) fn look(&self) -> Instant {
        let period = (self.head / 20).min(Duration::from_secs(1)).max(Duration::from_millis(5));
        let (now, instant) = (self.now(), Instant::now());
        let mut table = self.lock();
        let mut gone = Vec::new();
        let mut next = instant + period;
        for connection in table.silent.values() {
            let due = connection.accepted + self.head;
            if due > instant {
                next = next.min(due);
                break;
            }
            gone.push((Arc::clone(connection), Cut::Slow));
        }
        for connection in table.spoken.values() {
            connection.abandoned.store(0, Ordering::Relaxed);
            let head = connection.head.load(Ordering::Relaxed);
            let since = connection.since.load(Ordering::Relaxed);
            // The next look would come too late for a head whose time ends before it.
            if head != 0 && head + micros(self.head) < now + micros(period) {
                gone.push((Arc::clone(connection), Cut::Slow));
            } else if since + micros(self.idle) < now {
                gone.push((Arc::clone(connection), Cut::Idle));
            }
        }
        for (connection, why) in gone {
            self.choose(&mut table, &connection, why);
        }
        drop(table);
        let crowded = self.crowded.swap(0, Ordering::Relaxed);
        if crowded > 0 {
            tracing::warn!(
                port = self.port.label(),
                max = self.max,
                cut = crowded,
                "all connections are taken: idle ones gave way, or newcomers were refused"
            );
        }
        next
    }

    /// Returns once nobody has been connected for `quiet`, nor has come and gone.
    pub(super) async fn quiet(&self, quiet: Duration) {
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
        let gave_way = (newcomers_first && self.cut_silent(table))
            || self.cut_idle(table)
            || (!newcomers_first && self.cut_silent(table));
        if gave_way {
            self.crowded.fetch_add(1, Ordering::Relaxed);
        }
        gave_way
    }

    fn cut_silent(&self, table: &mut Table) -> bool {
        // One that has sent its first request by now is on its way to the others.
        let oldest = table.silent.values().find(|connection| connection.is_idle()).map(Arc::clone);
        oldest.is_some_and(|connection| self.choose(table, &connection, Cut::GaveWay))
    }

    fn cut_idle(&self, table: &mut Table) -> bool {
        let settled = self.now().saturating_sub(micros(SETTLED));
        let since = |connection: &&Arc<Connection>| connection.since.load(Ordering::Relaxed);
        let idle = table.spoken.values().filter(|connection| connection.is_idle());
        let longest = idle.min_by_key(since).filter(|connection| since(connection) < settled).map(Arc::clone);
        longest.is_some_and(|connection| self.choose(table, &connection, Cut::GaveWay))
    }

    /// Sends a connection away, unless it has an open request.
    fn choose(&self, table: &mut Table, connection: &Connection, why: Cut) -> bool {
        let chosen = connection.open.compare_exchange(0, CHOSEN, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if chosen {
            table.remove(connection.id);
            self.metrics.connections(self.port, table.len());
            self.metrics.connection_cut(self.port, why);
            connection.cut.notify_one();
        }
        chosen
    }

    fn now(&self) -> u64 {
        micros(self.epoch.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing that holds the lock can leave the table half changed.
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
    /// Counts a request whose head is whole.
    pub(super) fn request(self: &Arc<Self>) -> OpenRequest {
        self.open.fetch_add(1, Ordering::AcqRel);
        self.head.store(0, Ordering::Relaxed);
        if !self.spoken.swap(true, Ordering::Relaxed) {
            let mut table = self.connections.lock();
            // One that was chosen to go is in neither.
            if let Some(connection) = table.silent.remove(&self.id) {
                table.spoken.insert(self.id, connection);
            }
        }
        OpenRequest { connection: Arc::clone(self), answered: false }
    }

    /// Notes that bytes of HTTP/1 came.
    pub(super) fn heard(&self) {
        if self.is_idle() && !self.is_arriving() {
            self.head.store(self.connections.now(), Ordering::Relaxed);
        }
    }

    /// Whether a request came already.
    pub(super) fn has_spoken(&self) -> bool {
        self.spoken.load(Ordering::Relaxed)
    }

    /// Whether a head began that isn't whole.
    pub(super) fn is_arriving(&self) -> bool {
        self.head.load(Ordering::Relaxed) != 0
    }

    /// Whether no request is open.
    pub(super) fn is_idle(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }
}

impl Ticket {
    /// What requests and bytes are noted on.
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.0
    }

    /// Returns when the connection has to go.
    pub(super) async fn cut(&self) {
        self.0.cut.notified().await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let connections = &self.0.connections;
        let mut table = connections.lock();
        table.remove(self.0.id);
        connections.metrics.connections(connections.port, table.len());
    }
}

impl OpenRequest {
    /// The answer is there.
    pub(super) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.since.store(connection.connections.now(), Ordering::Relaxed);
        connection.open.fetch_sub(1, Ordering::AcqRel);
        if !self.answered && connection.abandoned.fetch_add(1, Ordering::Relaxed) == MAX_ABANDONED {
            connection.connections.metrics.connection_cut(connection.connections.port, Cut::Resets);
            connection.cut.notify_one();
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_not_quiet_where_clients_come_and_go_between_two_looks() {
        let long = Duration::from_secs(60);
        let connections = Connections::new(Port::Webhook, 10, long, long, Arc::default());
        let quiet = Duration::from_millis(50);
        let come_and_go = async {
            let started = Instant::now();
            while started.elapsed() < 6 * quiet {
                drop(connections.admit());
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = connections.quiet(quiet) => panic!("somebody came all the while"),
            () = come_and_go => {}
        }
        connections.quiet(quiet).await;
    }
}
