//! The cost of one review inside, without a process or a socket.

use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use comfy_table::{Table, presets};
use serde::Serialize;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use wardset::supply::modules::Modules;
use wardset::supply::policy_files;
use wardset_core::chain::Chain;
use wardset_core::plan::Phase;
use wardset_core::review::{Context, Question, Review};
use wardset_runtime::{Cache, Compiler, Engine, EngineOptions, Snapshot};

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
    /// Nanoseconds for one policy that does not match the review.
    pub silent_ns: Figure,
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
    inside.silent_ns = silent(&runtime, rounds, times)?;
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
    let modules = Modules::new(Engine::new(options)?, cache, Compiler::here());
    // A policy file without a policy is an error, so no policies are no file.
    let found = if yaml.is_empty() {
        Vec::new()
    } else {
        let folder = TempDir::new()?;
        let file = folder.path().join("policies.yaml");
        std::fs::write(&file, yaml)?;
        policy_files::read(&[file])?
    };
    Ok(runtime.block_on(policy_files::load(&modules, found))?)
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

/// Returns the nanoseconds that each of a hundred policies costs which do not match the review.
fn silent(runtime: &Runtime, rounds: usize, times: u32) -> Result<Figure> {
    let (review, context) = (sample(Size::Usual)?, Context::default());
    let (none, hundred) =
        (in_force(runtime, "")?, in_force(runtime, &policies::silent(100, &review.namespace))?);
    let chain = |snapshot: &Snapshot| {
        each(times, || {
            let mut chain = Chain::new(&review, &context, snapshot.plans(), Phase::Mutate);
            assert!(chain.turn().is_none(), "no policy matches");
            drop(black_box(chain));
        })
    };
    Ok((0..rounds).map(|_| (chain(&hundred) - chain(&none)) * 1e3 / 100.0).collect())
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
        writeln!(f, "A policy that does not match costs {} ns.", us(&self.silent_ns))
    }
}
