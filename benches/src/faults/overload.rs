//! Ten times as many clients as permits, and floods of one kind of review.

use std::time::{Duration, Instant};

use anyhow::Result;
use hyper::StatusCode;
use hyper::body::Bytes;

use super::steady::{Judge, Judgement, Plan, Steady, Tally, answer};
use super::{Effort, Row};
use crate::cores::{self, Cores, resident};
use crate::load::Target;
use crate::policies;
use crate::report::Figure;
use crate::reviews::{Size, review};
use crate::server::{Lab, Server};

/// The server's permits, which as many clients use up.
const PLACES: usize = 16;

/// Number of rounds. Each has a load at capacity, and then an overload.
const ROUNDS: u32 = 3;

/// Memory that an overload may take, in addition to the server's memory at capacity.
const MEMORY: u64 = 64 << 20;

/// The overload, and the floods.
///
/// # Errors
///
/// A server that doesn't start or doesn't answer.
pub fn run(lab: &Lab, effort: &Effort) -> Result<Vec<Row>> {
    let cores = Cores::find()?;
    cores::pin(cores.server)?;
    let file = lab.path("overload.yaml");
    policies::write(5, &file)?;
    let places = PLACES.to_string();
    let started =
        Server::start(lab.serve(&file, &lab.path("cache-faults"), &["--max-in-flight", &places])?);
    cores::pin(cores.load)?;
    let server = started?;
    let rows = [
        overload(lab, &server, effort.overload)?,
        flood(lab, &server, effort.overload, "dry runs", &|text| {
            text.replace("\"dryRun\":false", "\"dryRun\":true")
        })?,
        flood(lab, &server, effort.overload, "`kube-system`", &|text| {
            text.replace("\"namespace\":\"platform\"", "\"namespace\":\"kube-system\"")
        })?,
    ];
    cores.unpin()?;
    Ok(rows.into())
}

fn overload(lab: &Lab, server: &Server, time: Duration) -> Result<Row> {
    let target = Target::new(server.webhook, &lab.ca()?)?;
    let body = Bytes::from(review(Size::Usual));
    let judge = answered_or_refused(answer(&target, &body)?);
    let load = |clients, time| -> Result<_> {
        let bodies = vec![body.clone()];
        let (pause, judge) = (Duration::ZERO, std::sync::Arc::clone(&judge));
        let plan = Plan { target: target.clone(), clients, bodies, pause, churn: 0, judge };
        Steady::timed(plan, time)
    };
    let p99 = |tally: &Tally| tally.times.value_at_quantile(0.99) as f64 / 1e6;
    let mut row =
        Row { what: format!("overload: {} clients for {PLACES} permits", PLACES * 10), ..Row::default() };
    let (mut normal, mut loaded, mut refused) = (Figure::default(), Figure::default(), 0);
    let mut before = None;
    for _ in 0..ROUNDS {
        let capacity = load(PLACES, time / ROUNDS)?;
        before.get_or_insert(resident(server.process())?);
        let over = load(PLACES * 10, time / ROUNDS)?;
        normal.push(p99(&capacity));
        loaded.push(p99(&over));
        refused += over.refused;
        row.failed += capacity.failed;
        row.add(over);
    }
    let after = resident(server.process())?;
    let before = before.unwrap_or(after);
    // The server must recover within a second. The measurement starts after it.
    std::thread::sleep(Duration::from_secs(1));
    let again = load(PLACES, Duration::from_secs(1))?;
    row.failed += again.failed;
    let (normal, loaded) = (normal.median(), loaded.median());
    row.seen = format!(
        "{} answered, {refused} refused with 429; p99 of the answered reviews {loaded:.1} ms, {:.1} times that at capacity \
         (goals: 10 ms, 4 times), the median of {ROUNDS}; {:.1} MiB more; a second later {:.1} times",
        row.sent - refused,
        loaded / normal,
        (after.saturating_sub(before)) as f64 / f64::from(1 << 20),
        p99(&again) / normal,
    );
    if refused == 0 {
        row.problems.push("expected refusals, found none: the load was no overload".to_owned());
    }
    if after > before + MEMORY {
        row.problems.push(format!("memory grew by {} MiB", (after - before) >> 20));
    }
    if again.refused > 0 {
        row.problems.push(format!("{} requests were refused a second after the overload", again.refused));
    }
    Ok(row)
}

/// Floods the server with one kind of review, from twice as many clients as permits. Counts ordinary reviews meanwhile.
fn flood(
    lab: &Lab,
    server: &Server,
    time: Duration,
    what: &str,
    change: &dyn Fn(String) -> String,
) -> Result<Row> {
    let target = Target::new(server.webhook, &lab.ca()?)?;
    let ordinary = Bytes::from(review(Size::Usual));
    let flooding = Bytes::from(change(String::from_utf8(review(Size::Usual))?));
    let right = answer(&target, &ordinary)?;
    let flood = Steady::start(Plan {
        target: target.clone(),
        clients: PLACES * 2,
        bodies: vec![flooding.clone()],
        pause: Duration::ZERO,
        churn: 0,
        judge: answered_or_refused(answer(&target, &flooding)?),
    });
    flood.go_on(200)?;
    let started = Instant::now();
    let pause = Duration::from_millis(5);
    // Here a 429 is a failure.
    let judge = super::steady::exactly(right);
    let load = Steady::start(Plan { target, clients: 4, bodies: vec![ordinary], pause, churn: 0, judge });
    std::thread::sleep(time);
    let tally = load.end()?;
    let took = started.elapsed();
    let flood = flood.end()?;
    let mut row = Row::of(&format!("reviews beside a flood of {what}"), tally);
    row.seen = format!(
        "the flood: {} sent, {} refused with 429, in {:.0} s",
        flood.sent,
        flood.refused,
        took.as_secs_f64()
    );
    row.failed += flood.failed;
    Ok(row)
}

fn answered_or_refused(right: Bytes) -> Judge {
    std::sync::Arc::new(move |status, answer| match status {
        StatusCode::OK if *answer == right => Judgement::Right,
        StatusCode::OK => Judgement::Wrong,
        StatusCode::TOO_MANY_REQUESTS => Judgement::Refused,
        _ => Judgement::Failed,
    })
}
