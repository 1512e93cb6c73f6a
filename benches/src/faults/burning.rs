//! A policy that burns its whole deadline in each review, and the reviews that it doesn't touch.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hyper::StatusCode;
use hyper::body::Bytes;

use super::steady::{Judge, Judgement, Plan, Steady, Tally, answer, exactly};
use super::{Effort, Row};
use crate::load::Target;
use crate::policies;
use crate::report::Figure;
use crate::reviews::{Size, review};
use crate::server::{Lab, Server};

/// Clients whose reviews burn, one after the other each.
const BURNING: usize = 4;

/// Where the policy's reviews are; all others are in `platform`.
const NAMESPACE: &str = "burning";

/// So often ordinary reviews are sent alone, and then beside the policy.
const ROUNDS: u32 = 5;

/// The server has all cores, as it has in a cluster: on one nothing but the system's scheduler would be measured.
///
/// # Errors
///
/// A server that doesn't start or doesn't answer.
pub fn run(lab: &Lab, effort: &Effort) -> Result<Vec<Row>> {
    let module = lab.path("burns.wasm");
    std::fs::write(&module, burns()?)?;
    let file = lab.path("burning.yaml");
    let spec = "spec: {match: {excludeNamespaces: [platform]}, ";
    let burning = policies::file("burns", &module).replace("spec: {", spec);
    std::fs::write(&file, policies::yaml(5) + "---\n" + &burning)?;
    let server = Server::start(lab.serve(&file, &lab.path("cache-faults"), &[])?)?;
    let target = Target::new(server.webhook, &lab.ca()?)?;
    let ordinary = Bytes::from(review(Size::Usual));
    let right = answer(&target, &ordinary)?;
    let time = effort.overload / ROUNDS;
    let load = || -> Result<Tally> {
        let (bodies, judge) = (vec![ordinary.clone()], exactly(right.clone()));
        let pause = Duration::from_millis(2);
        let plan = Plan { target: target.clone(), clients: (1, 1), bodies, pause, churn: 0, judge };
        Steady::timed(plan, time)
    };
    let text = String::from_utf8(review(Size::Usual))?
        .replace("\"namespace\":\"platform\"", &format!("\"namespace\":\"{NAMESPACE}\""))
        .replace("\"dryRun\":false", "\"dryRun\":true");
    let burn = || -> Result<Steady> {
        let burn = Steady::start(Plan {
            target: target.clone(),
            clients: (BURNING, 0),
            bodies: vec![Bytes::from(text.clone())],
            pause: Duration::ZERO,
            churn: 0,
            judge: not_decided(),
        });
        burn.go_on(1)?;
        Ok(burn)
    };
    let mut row =
        Row { what: "reviews beside a policy that burns its deadline".to_owned(), ..Row::default() };
    let (mut burnt, mut slowed, mut times) = (0, Figure::default(), Figure::default());
    for _ in 0..ROUNDS {
        let alone = load()?;
        let burning = burn()?;
        let beside = load()?;
        let burning = burning.end()?;
        burnt += burning.sent;
        let p99 = |tally: &Tally| tally.times.value_at_quantile(0.99) as f64 / 1e6;
        slowed.push(p99(&beside));
        times.push(p99(&beside) / p99(&alone));
        row.failed += burning.failed + burning.wrong;
        row.add(alone);
        row.add(beside);
    }
    row.seen = format!(
        "p99 {:.1} ms, {:.1} x that without (goal 2), in the middle of {ROUNDS}; {burnt} reviews burnt until the deadline",
        slowed.median(),
        times.median(),
    );
    Ok(vec![row])
}

/// `all-in-one.wat` with a loop that has no end where the review is a dry run: a policy is tried when it comes into force,
/// and there it must answer.
fn burns() -> Result<Vec<u8>> {
    let whole = include_str!("../../all-in-one.wat");
    let begin = "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)";
    ensure!(whole.contains(begin), "`all-in-one.wat` has another `evaluate`");
    let text =
        whole.replace(begin, &format!("{begin} (if (local.get 9) (then (loop $for-ever (br $for-ever))))"));
    wat::parse_str(text).context("`all-in-one.wat` with a loop")
}

/// A burning review is answered by 500: the policy's failures are those of the review.
fn not_decided() -> Judge {
    std::sync::Arc::new(|status, _| match status {
        StatusCode::INTERNAL_SERVER_ERROR => Judgement::Refused,
        StatusCode::OK => Judgement::Wrong,
        _ => Judgement::Failed,
    })
}
