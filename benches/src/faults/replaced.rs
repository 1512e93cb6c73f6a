//! Servers that get SIGTERM or SIGKILL, each with a replacement that is ready.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hyper::body::Bytes;
use rustix::process::Signal;

use super::steady::{Plan, Steady, answer, exactly};
use super::{Effort, Row};
use crate::load::Target;
use crate::reviews::{Size, review};
use crate::server::{Lab, Server};

/// Time after SIGTERM for which new connections still arrive: the time that a cluster takes to update a Service's endpoints.
const ENDPOINTS: Duration = Duration::from_millis(200);

/// Maximum time of a shutdown, drain included.
const END: Duration = Duration::from_secs(30);

/// Number of clients.
const CLIENTS: usize = 10;

/// Replaces servers by SIGTERM, and then by SIGKILL.
///
/// # Errors
///
/// A server that doesn't start or doesn't end.
pub fn run(lab: &Lab, effort: &Effort) -> Result<Vec<Row>> {
    Ok(vec![terminated(lab, effort.replacements)?, killed(lab, effort.kills)?])
}

fn terminated(lab: &Lab, n: usize) -> Result<Row> {
    let (mut server, load) = under_load(lab)?;
    let mut longest = Duration::ZERO;
    let mut problems = Vec::new();
    for _ in 0..n {
        let next = start(lab)?;
        server.signal(Signal::TERM)?;
        let told = Instant::now();
        std::thread::sleep(ENDPOINTS);
        load.turn_to(target(lab, &next)?);
        let status = server.wait()?;
        longest = longest.max(told.elapsed());
        ensure!(told.elapsed() < END, "a shutdown takes longer than {END:?}");
        if !status.success() {
            problems.push(format!("a server ended with {status} after SIGTERM"));
        }
        load.go_on(100)?;
        server = next;
    }
    let tally = load.end()?;
    let mut row = Row::of(&format!("SIGTERM and a replacement, {n} times"), tally);
    row.seen = format!("longest shutdown {:.1} s", longest.as_secs_f64());
    row.problems.extend(problems);
    Ok(row)
}

fn killed(lab: &Lab, n: usize) -> Result<Row> {
    let (mut server, load) = under_load(lab)?;
    for _ in 0..n {
        let next = start(lab)?;
        load.turn_to(target(lab, &next)?);
        server.signal(Signal::KILL)?;
        server.wait()?;
        load.go_on(100)?;
        server = next;
    }
    let mut row = Row::of(&format!("SIGKILL and a replacement, {n} times"), load.end()?);
    // Each client has one request in flight at most.
    row.helpless = (CLIENTS * n) as u64;
    row.seen = format!("at most {} requests in flight", row.helpless);
    row.problems.clear();
    Ok(row)
}

fn start(lab: &Lab) -> Result<Server> {
    lab.wardset(5, &lab.path("cache-replaced"))
}

fn target(lab: &Lab, server: &Server) -> Result<Target> {
    Target::new(server.webhook, &lab.ca()?)
}

fn under_load(lab: &Lab) -> Result<(Server, Steady)> {
    let server = start(lab)?;
    let target = target(lab, &server)?;
    let body = Bytes::from(review(Size::Usual));
    let judge = exactly(answer(&target, &body)?);
    let pause = Duration::from_millis(1);
    let load = Steady::start(Plan { target, clients: CLIENTS, bodies: vec![body], pause, churn: 0, judge });
    load.go_on(100)?;
    Ok((server, load))
}
