//! A steady load that follows the protocol as an API server does, and that counts and judges every answer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use hyper::StatusCode;
use hyper::body::Bytes;
use tokio::task::JoinSet;

use crate::load::{Connection, Target, histogram, nanoseconds};

/// The kind of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// As it should be.
    Right,
    /// It agrees with none of the policies that may be active.
    Wrong,
    /// A refusal that is allowed.
    Refused,
    /// It isn't an answer.
    Failed,
}

/// Judges status and body of an answer.
pub type Judge = Arc<dyn Fn(StatusCode, &Bytes) -> Judgement + Send + Sync>;

/// Clients under way until they are ended.
pub struct Steady {
    shared: Arc<Shared>,
    running: JoinHandle<Result<Histogram<u64>>>,
}

/// The counts.
#[derive(Debug)]
pub struct Tally {
    /// Requests sent.
    pub sent: u64,
    /// Without an answer.
    pub failed: u64,
    /// Answered wrongly.
    pub wrong: u64,
    /// Refused, which is allowed.
    pub refused: u64,
    /// The first few failures, in words.
    pub problems: Vec<String>,
    /// Nanoseconds until the answer, without refused requests.
    pub times: Histogram<u64>,
    /// The longest that no client at all got an answer.
    pub longest_gap: Duration,
}

/// How long clients take to open their connections, at the most.
const WARM_UP: Duration = Duration::from_millis(500);

struct Shared {
    /// The target of new connections, which plays the part of a Service.
    target: Mutex<Target>,
    stop: AtomicBool,
    sent: AtomicU64,
    failed: AtomicU64,
    wrong: AtomicU64,
    refused: AtomicU64,
    /// Whether times are kept.
    timed: AtomicBool,
    problems: Mutex<Vec<String>>,
    started: Instant,
    /// Nanoseconds from `started`.
    last_answer: AtomicU64,
    longest_gap: AtomicU64,
    judge: Judge,
    bodies: Vec<Bytes>,
    pause: Duration,
    churn: usize,
}

/// The behaviour of the clients.
pub struct Plan {
    /// The target.
    pub target: Target,
    /// Number of clients, each with its own connection.
    pub clients: usize,
    /// The bodies, in turn.
    pub bodies: Vec<Bytes>,
    /// Between two requests of one client.
    pub pause: Duration,
    /// After so many requests a client takes a new connection; 0 for never.
    pub churn: usize,
    /// The check of the answers.
    pub judge: Judge,
}

impl Steady {
    /// Starts on a thread of its own.
    #[must_use]
    pub fn start(plan: Plan) -> Self {
        Self::begin(plan, true)
    }

    fn begin(plan: Plan, timed: bool) -> Self {
        let shared = Arc::new(Shared {
            target: Mutex::new(plan.target),
            stop: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            timed: AtomicBool::new(timed),
            problems: Mutex::default(),
            started: Instant::now(),
            last_answer: AtomicU64::new(0),
            longest_gap: AtomicU64::new(0),
            judge: plan.judge,
            bodies: plan.bodies,
            pause: plan.pause,
            churn: plan.churn,
        });
        let running = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.run(plan.clients))
        };
        Self { shared, running }
    }

    /// Counts everything from the start, but times only during `time` after all connections are open: their
    /// handshakes take longer than the requests.
    ///
    /// # Errors
    ///
    /// As [`Steady::end`].
    pub fn timed(plan: Plan, time: Duration) -> Result<Tally> {
        let load = Self::begin(plan, false);
        std::thread::sleep(WARM_UP);
        load.shared.timed.store(true, Ordering::Relaxed);
        std::thread::sleep(time);
        load.end()
    }

    /// Sends new connections elsewhere. Those that are open stay.
    pub fn turn_to(&self, target: Target) {
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// How many requests were sent until now.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Waits until `n` more requests were sent.
    ///
    /// # Errors
    ///
    /// Nothing is sent any more.
    pub fn go_on(&self, n: u64) -> Result<()> {
        let (goal, started) = (self.sent() + n, Instant::now());
        while self.sent() < goal {
            if started.elapsed() > Duration::from_secs(30) {
                bail!("the load sends no more requests: {:?}", self.problems());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Waits for the open requests, and counts.
    ///
    /// # Errors
    ///
    /// The load itself failed.
    pub fn end(self) -> Result<Tally> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let Ok(times) = self.running.join() else { bail!("the thread of the load panicked") };
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Ok(Tally {
            sent: read(&self.shared.sent),
            failed: read(&self.shared.failed),
            wrong: read(&self.shared.wrong),
            refused: read(&self.shared.refused),
            problems: self.shared.problems.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            times: times?,
            longest_gap: Duration::from_nanos(read(&self.shared.longest_gap)),
        })
    }

    fn problems(&self) -> Vec<String> {
        self.shared.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    fn run(self: Arc<Self>, number: usize) -> Result<Histogram<u64>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut clients = JoinSet::new();
            for _ in 0..number {
                clients.spawn(Arc::clone(&self).client());
            }
            let mut all = histogram()?;
            while let Some(times) = clients.join_next().await {
                all.add(times??)?;
            }
            Ok(all)
        })
    }

    async fn client(self: Arc<Self>) -> Result<Histogram<u64>> {
        let mut times = histogram()?;
        let mut connection = None;
        let mut n = 0;
        while !self.stop.load(Ordering::Relaxed) {
            if self.churn > 0 && n % self.churn == 0 {
                connection = None;
            }
            let body = self.bodies[n % self.bodies.len()].clone();
            n += 1;
            self.sent.fetch_add(1, Ordering::Relaxed);
            let timed = self.timed.load(Ordering::Relaxed);
            let sent = Instant::now();
            match self.one(&mut connection, &body).await {
                Ok((status, answer)) => {
                    self.answered();
                    match (self.judge)(status, &answer) {
                        Judgement::Right if timed => times.saturating_record(nanoseconds(sent.elapsed())),
                        Judgement::Right => {}
                        Judgement::Refused => {
                            self.refused.fetch_add(1, Ordering::Relaxed);
                        }
                        Judgement::Wrong => self.problem(&self.wrong, status, &answer),
                        Judgement::Failed => self.problem(&self.failed, status, &answer),
                    }
                }
                Err(error) => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    self.say(format!("{error:#}"));
                    connection = None;
                    // A server that is gone is not asked thousands of times a second.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            if !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
        }
        Ok(times)
    }

    /// Sends one request, on the open connection or on a new one. It sends it again only if the server certainly read
    /// nothing of it: the connection had closed before, or the server said so. Go's client does the same.
    async fn one(&self, connection: &mut Option<Connection>, body: &Bytes) -> Result<(StatusCode, Bytes)> {
        for _ in 0..3 {
            let open = match connection.take() {
                Some(open) if open.is_open() => open,
                _ => {
                    let target = self.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    target.connect().await?
                }
            };
            match connection.insert(open).post("/mutate?timeout=10s", body).await {
                Ok(answer) => return Ok(answer),
                Err(error) if unread(&error) => *connection = None,
                Err(error) => return Err(anyhow::Error::new(error).context("a request was lost")),
            }
        }
        bail!("three connections closed before a request")
    }

    fn answered(&self) {
        let now = nanoseconds(self.started.elapsed());
        let before = self.last_answer.swap(now, Ordering::Relaxed);
        self.longest_gap.fetch_max(now.saturating_sub(before), Ordering::Relaxed);
    }

    fn problem(&self, count: &AtomicU64, status: StatusCode, answer: &Bytes) {
        count.fetch_add(1, Ordering::Relaxed);
        let answer = String::from_utf8_lossy(answer);
        self.say(format!("{status}: {}", answer.chars().take(300).collect::<String>()));
    }

    fn say(&self, problem: String) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        if problems.len() < 5 {
            problems.push(problem);
        }
    }
}

/// Everything but `expected`, to the byte, is wrong; everything but 200 failed.
#[must_use]
pub fn exactly(expected: Bytes) -> Judge {
    Arc::new(move |status, answer| match status {
        StatusCode::OK if *answer == expected => Judgement::Right,
        StatusCode::OK => Judgement::Wrong,
        _ => Judgement::Failed,
    })
}

/// Returns the server's answer to one request.
///
/// # Errors
///
/// No answer, or another one than 200.
pub fn answer(target: &Target, body: &Bytes) -> Result<Bytes> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (status, answer) = runtime
        .block_on(async { anyhow::Ok(target.connect().await?.post("/mutate?timeout=10s", body).await?) })?;
    if status != StatusCode::OK {
        bail!("{status}: {}", String::from_utf8_lossy(&answer));
    }
    Ok(answer)
}

/// Whether a request can be sent again: hyper returned it unsent.
fn unread(error: &hyper::Error) -> bool {
    error.is_canceled()
}
