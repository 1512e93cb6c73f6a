//! A policy that times out in each review, beside reviews of fast policies and of a policy that takes milliseconds.

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

/// Clients whose reviews time out. Each sends one after the other.
const BURNING: usize = 4;

/// The namespaces of the reviews of the policy that times out and of the slow one; all others are in `platform`.
const NAMESPACES: [&str; 2] = ["burning", "slow"];

/// The guest that times out does so only in a dry run: a policy is tried when it is loaded, and there it must answer.
const FOR_EVER: &str = "(if (local.get 9) (then (loop $for-ever (br $for-ever))))";

/// The work of the slow guest: about four milliseconds on a core of 2.5 GHz.
const FOR_A_WHILE: &str = "(local $n i32) (loop $on (br_if $on
  (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 4000000))))";

/// Number of rounds. Each sends reviews alone, and then beside the policy.
const ROUNDS: u32 = 5;

/// The server has all cores, as it has in a cluster: on one nothing but the system's scheduler would be measured.
///
/// # Errors
///
/// A server that doesn't start or doesn't answer.
pub fn run(lab: &Lab, effort: &Effort) -> Result<Vec<Row>> {
    let file = lab.path("burning.yaml");
    let [burns, slow] = NAMESPACES;
    let only = [policy(lab, burns, FOR_EVER, slow)?, policy(lab, slow, FOR_A_WHILE, burns)?];
    std::fs::write(&file, policies::yaml(5) + "---\n" + &only.join("---\n"))?;
    let server = Server::start(lab.serve(&file, &lab.path("cache-faults"), &[])?)?;
    let target = Target::new(server.webhook, &lab.ca()?)?;
    let time = effort.overload / ROUNDS;
    let burn = || -> Result<Steady> {
        let review =
            String::from_utf8(within(burns)?.to_vec())?.replace("\"dryRun\":false", "\"dryRun\":true");
        let burn = Steady::start(Plan {
            target: target.clone(),
            clients: BURNING,
            bodies: vec![Bytes::from(review)],
            pause: Duration::ZERO,
            churn: 0,
            judge: not_decided(),
        });
        burn.go_on(1)?;
        Ok(burn)
    };
    let beside = |what: &str, body: Bytes| -> Result<Row> {
        let right = answer(&target, &body)?;
        let load = || -> Result<Tally> {
            let (bodies, judge) = (vec![body.clone()], exactly(right.clone()));
            let pause = Duration::from_millis(2);
            Steady::timed(Plan { target: target.clone(), clients: 2, bodies, pause, churn: 0, judge }, time)
        };
        let mut row = Row { what: what.to_owned(), ..Row::default() };
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
        let (slowed, times) = (slowed.median(), times.median());
        row.seen = format!(
            "p99 {slowed:.1} ms, {times:.1} times the p99 alone (goals: 10 ms, 4 times), the median of {ROUNDS}; {burnt} reviews \
             timed out"
        );
        Ok(row)
    };
    Ok(vec![
        beside("reviews beside a policy that always times out", Bytes::from(review(Size::Usual)))?,
        beside("reviews of a slow policy beside one that times out", within(slow)?)?,
    ])
}

/// The usual review in another namespace.
fn within(namespace: &str) -> Result<Bytes> {
    let (from, to) = ("\"namespace\":\"platform\"", format!("\"namespace\":\"{namespace}\""));
    let text = String::from_utf8(review(Size::Usual))?;
    ensure!(text.contains(from), "the review is in another namespace");
    Ok(Bytes::from(text.replace(from, &to)))
}

/// A policy for one namespace, whose guest does something first.
fn policy(lab: &Lab, namespace: &str, first: &str, not: &str) -> Result<String> {
    let whole = include_str!("../../all-in-one.wat");
    let begin = "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)";
    ensure!(whole.contains(begin), "`all-in-one.wat` has another `evaluate`");
    let module = lab.path(&format!("{namespace}.wasm"));
    let text = whole.replace(begin, &format!("{begin} {first}"));
    std::fs::write(&module, wat::parse_str(text).context("`all-in-one.wat` with a loop")?)?;
    let spec = format!("spec: {{match: {{excludeNamespaces: [platform, {not}]}}, ");
    Ok(policies::file(namespace, &module).replace("spec: {", &spec))
}

/// The server answers 500 if a policy times out, because a failure of a policy fails the review.
fn not_decided() -> Judge {
    std::sync::Arc::new(|status, _| match status {
        StatusCode::INTERNAL_SERVER_ERROR => Judgement::Refused,
        StatusCode::OK => Judgement::Wrong,
        _ => Judgement::Failed,
    })
}
