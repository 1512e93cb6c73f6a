//! The cost of one review inside, without a process or a socket.

use std::fmt;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use comfy_table::{Table, presets};
use serde::Serialize;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use wardset::modules::Modules;
use wardset_core::chain::{Chain, Phase};
use wardset_core::review::{Context, Question, Review};
use wardset_runtime::{Cache, Compiler, Engine, EngineOptions, Snapshot};

use crate::cores::{self, Cores};
use crate::policies;
use crate::report::Figure;
use crate::reviews::{Size, review};

/// The policy of one sandbox with the work of three built-in ones.
const ALL_IN_ONE: &str = "all-in-one";

/// The times of the parts of a review.
#[derive(Debug, Default, Serialize)]
pub struct Inside {
    /// For each size of a review.
    pub envelopes: Vec<Envelope>,
    /// For each of ten policies, and for the smallest guest that adds a label, a toleration and affinity, on the usual review.
    pub policies: Vec<Parts>,
    /// Reviews a second of two threads, as a multiple of those of one.
    pub two_threads: Figure,
    /// The same for threads that share nothing and only make trees of the review: the limit of the machine.
    pub two_threads_of_trees: Figure,
}

/// The cost of a review besides its policies.
#[derive(Debug, Serialize)]
pub struct Envelope {
    /// Of which review.
    pub size: Size,
    /// From bytes to a review.
    pub parse_us: Figure,
    /// Five policies, from the review to the decision.
    pub decide_us: Figure,
    /// From the decision to bytes.
    pub write_us: Figure,
}

/// The cost of one policy.
#[derive(Debug, Default, Serialize)]
pub struct Parts {
    /// The policy.
    pub policy: String,
    /// Time of a fresh sandbox, the guest, and the end of the sandbox.
    pub sandbox_us: Figure,
    /// Time to check the verdict and apply its changes.
    pub patch_us: Figure,
}

/// Measures all but the threads, on the core that this thread is on.
///
/// # Errors
///
/// Policies that don't come into force or can't decide.
pub fn measure(quick: bool) -> Result<Inside> {
    let rounds = if quick { 3 } else { 7 };
    let times = if quick { 1_000 } else { 5_000 };
    let runtime = runtime()?;
    let mut inside = Inside::default();
    let five = in_force(&runtime, &policies::yaml(5))?;
    for size in [Size::Usual, Size::Large] {
        inside.envelopes.push(envelope(&runtime, &five, size, rounds, times / 5)?);
    }
    let ten = in_force(&runtime, &policies::yaml(10))?;
    inside.policies = parts(&runtime, &ten, rounds, times)?;
    inside.policies.extend(parts(&runtime, &all_in_one(&runtime)?, rounds, times)?);
    Ok(inside)
}

/// Loads `benches/all-in-one.wat`, and checks that it does its job.
fn all_in_one(runtime: &Runtime) -> Result<Snapshot> {
    let folder = TempDir::new()?;
    let module = folder.path().join("all-in-one.wasm");
    std::fs::write(&module, wat::parse_str(include_str!("../all-in-one.wat"))?)?;
    let snapshot = in_force(runtime, &policies::file(ALL_IN_ONE, &module))?;
    let decision = runtime.block_on(snapshot.decide(
        &sample(Size::Usual)?,
        &Context::default(),
        Phase::Mutate,
        far_away(),
    ));
    let changed: Vec<&str> = decision.patch.iter().map(|operation| operation.path().as_str()).collect();
    if changed.len() != 3 {
        bail!("expected a label, a toleration and affinity, found changes at {changed:?}");
    }
    Ok(snapshot)
}

impl Inside {
    /// Adds the speed-up of two threads, on the two cores.
    ///
    /// # Errors
    ///
    /// As [`measure`].
    pub fn with_two_threads(mut self, cores: &Cores, quick: bool) -> Result<Self> {
        let (rounds, time) = if quick { (5, 300) } else { (9, 1_000) };
        let time = Duration::from_millis(time);
        let five = in_force(&runtime()?, &policies::yaml(5))?;
        for _ in 0..rounds {
            self.two_threads.push(two_to_one(cores, |pinned| reviews_in(&five, pinned, time))?);
            self.two_threads_of_trees.push(two_to_one(cores, |pinned| trees_in(pinned, time))?);
        }
        Ok(self)
    }

    /// The sandbox that adds labels, tolerations and affinity: start, call and end in microseconds.
    #[must_use]
    pub fn all_in_one_us(&self) -> f64 {
        let found = self.policies.iter().find(|parts| parts.policy == ALL_IN_ONE);
        found.map_or(f64::NAN, |parts| parts.sandbox_us.median())
    }
}

/// The work of both cores together, compared with each of them alone: the two need not be equally fast.
#[expect(clippy::cast_precision_loss, reason = "counts of reviews")]
fn two_to_one(cores: &Cores, done: impl Fn(&[usize]) -> Result<u64>) -> Result<f64> {
    let alone = done(&[cores.server])? + done(&[cores.load])?;
    Ok(done(&[cores.server, cores.load])? as f64 / (alone as f64 / 2.0))
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Loads the policies of a YAML text, as `wardset serve` does.
///
/// # Errors
///
/// Policies that do not load.
pub fn snapshot(
    runtime: &Runtime,
    yaml: &str,
    options: EngineOptions,
    cache: Option<Cache>,
) -> Result<Snapshot> {
    let folder = TempDir::new()?;
    let file = folder.path().join("policies.yaml");
    std::fs::write(&file, yaml)?;
    let modules = Modules::new(Engine::new(options)?, cache, Compiler::here());
    Ok(runtime.block_on(wardset::policies::load(&modules, wardset::policies::read(&[file])?))?)
}

fn in_force(runtime: &Runtime, yaml: &str) -> Result<Snapshot> {
    snapshot(runtime, yaml, EngineOptions::default(), None)
}

/// The sample as the chain takes it.
///
/// # Errors
///
/// A sample that isn't a review of a DaemonSet.
pub fn sample(size: Size) -> Result<Review> {
    match Question::parse(&review(size))? {
        Question::Decide(review) => Ok(*review),
        Question::PassOver { reason, .. } => bail!("{reason}"),
    }
}

/// A deadline that does not affect the measurement.
#[must_use]
pub fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// One whole review, from bytes to bytes.
///
/// # Errors
///
/// A review that is not decided.
pub async fn whole(snapshot: &Snapshot, bytes: &[u8]) -> Result<Vec<u8>> {
    let Question::Decide(review) = Question::parse(bytes)? else { bail!("nothing to decide on") };
    let decision = snapshot.decide(&review, &Context::default(), Phase::Mutate, far_away()).await;
    decision.to_admission_review().context("a policy could not decide")
}

fn envelope(runtime: &Runtime, five: &Snapshot, size: Size, rounds: usize, times: u32) -> Result<Envelope> {
    let bytes = review(size);
    let review = sample(size)?;
    let decision = runtime.block_on(five.decide(&review, &Context::default(), Phase::Mutate, far_away()));
    let mut envelope = Envelope {
        size,
        parse_us: Figure::default(),
        decide_us: Figure::default(),
        write_us: Figure::default(),
    };
    for _ in 0..rounds {
        envelope.parse_us.push(each(times, || drop(black_box(Question::parse(black_box(&bytes))))));
        envelope.decide_us.push(each(times, || {
            drop(black_box(runtime.block_on(five.decide(
                &review,
                &Context::default(),
                Phase::Mutate,
                far_away(),
            ))));
        }));
        envelope.write_us.push(each(times, || drop(black_box(decision.to_admission_review()))));
    }
    Ok(envelope)
}

fn each(times: u32, mut one: impl FnMut()) -> f64 {
    let started = Instant::now();
    for _ in 0..times {
        one();
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(times)
}

fn parts(runtime: &Runtime, snapshot: &Snapshot, rounds: usize, times: u32) -> Result<Vec<Parts>> {
    let (review, context) = (sample(Size::Usual)?, Context::default());
    let mut all: Vec<Parts> = snapshot
        .plans()
        .iter()
        .map(|plan| Parts { policy: plan.policy.name.to_string(), ..Parts::default() })
        .collect();
    for _ in 0..rounds {
        let mut sums = vec![[Duration::ZERO; 2]; all.len()];
        for _ in 0..times {
            let mut chain = Chain::new(&review, &context, snapshot.plans(), Phase::Mutate);
            while let Some(turn) = chain.turn() {
                let started = Instant::now();
                let verdict = runtime.block_on(snapshot.evaluate(&review, &context, &turn, far_away()));
                let sandbox = started.elapsed();
                if let Err(failure) = &verdict {
                    bail!("{}: {failure}", turn.plan.policy.name);
                }
                let started = Instant::now();
                chain.take(&turn, verdict, Duration::ZERO);
                sums[turn.index][0] += sandbox;
                sums[turn.index][1] += started.elapsed();
            }
        }
        for (parts, sums) in all.iter_mut().zip(sums) {
            let [sandbox, patch] = sums.map(|sum| sum.as_secs_f64() * 1e6 / f64::from(times));
            parts.sandbox_us.push(sandbox);
            parts.patch_us.push(patch);
        }
    }
    Ok(all)
}

/// How many whole reviews one thread on each of `cores` decides in `time`, together.
fn reviews_in(snapshot: &Snapshot, pinned: &[usize], time: Duration) -> Result<u64> {
    let bytes = review(Size::Usual);
    in_threads(pinned, time, || {
        let (runtime, bytes) = (runtime()?, &bytes);
        Ok(move || runtime.block_on(whole(snapshot, bytes)).map(|answer| drop(black_box(answer))))
    })
}

/// The same for trees of the review, as in the baseline.
fn trees_in(pinned: &[usize], time: Duration) -> Result<u64> {
    in_threads(pinned, time, || {
        let bytes = review(Size::Usual);
        Ok(move || {
            black_box(serde_json::from_slice::<serde_json::Value>(&bytes)?);
            Ok(())
        })
    })
}

/// Returns how often one thread on each of `cores` runs the work that `start` makes for it.
fn in_threads<W: FnMut() -> Result<()>>(
    pinned: &[usize],
    time: Duration,
    start: impl Fn() -> Result<W> + Sync,
) -> Result<u64> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let threads: Vec<_> = pinned
            .iter()
            .map(|core| {
                scope.spawn(|| -> Result<u64> {
                    cores::pin(*core)?;
                    let mut work = start()?;
                    let mut n = 0;
                    while !stop.load(Ordering::Relaxed) {
                        work()?;
                        n += 1;
                    }
                    Ok(n)
                })
            })
            .collect();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        let ended = threads.into_iter().map(|thread| match thread.join() {
            Ok(decided) => decided,
            Err(_) => bail!("a thread broke down"),
        });
        ended.sum()
    })
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |figure: &Figure| format!("{:.2}", figure.median());
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header([
            "review",
            "parse µs",
            "decide µs (5 policies)",
            "write µs",
        ]);
        for envelope in &self.envelopes {
            let Envelope { size, parse_us, decide_us, write_us } = envelope;
            table.add_row([size.label().to_owned(), us(parse_us), us(decide_us), us(write_us)]);
        }
        writeln!(f, "Inside, without HTTP and TLS:\n{table}\n")?;
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header(["policy", "sandbox µs", "patch µs"]);
        for parts in &self.policies {
            let Parts { policy, sandbox_us, patch_us } = parts;
            table.add_row([policy.clone(), us(sandbox_us), us(patch_us)]);
        }
        writeln!(f, "Each policy on the 7 KB review:\n{table}\n")?;
        writeln!(
            f,
            "Two threads decide {:.2} times as many reviews as one; two that share nothing make {:.2} times as many trees.",
            self.two_threads.median(),
            self.two_threads_of_trees.median()
        )
    }
}
