//! How long a server takes until it is ready, and an edit of a policy until it decides.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use comfy_table::{Table, presets};
use hyper::body::Bytes;
use serde::Serialize;

use crate::load::Target;
use crate::policies;
use crate::report::Figure;
use crate::reviews::{Size, review};
use crate::server::{Lab, Server};

/// The measurement.
#[derive(Debug, Default, Serialize)]
pub struct Life {
    /// From the start of the process until it said that it is ready, by policies and cache.
    pub ready: BTreeMap<String, Figure>,
    /// From the rename of an edited policy file until a review is decided by it.
    pub edit_to_live_ms: Figure,
}

/// How long an edit may take before it is an error.
const LIVE: Duration = Duration::from_secs(30);

/// Measures both, on all cores.
///
/// # Errors
///
/// A server that doesn't become ready, and an edit that doesn't become live.
pub fn measure(lab: &Lab, quick: bool) -> Result<Life> {
    let mut life = Life::default();
    for round in 0..if quick { 3 } else { 7 } {
        for n in [1, 10] {
            let cache = lab.path(&format!("cache-{n}-{round}"));
            for state in ["cold", "warm"] {
                let server = lab.wardset(n, &cache)?;
                let figure = life.ready.entry(format!("{n} policies, {state}")).or_default();
                figure.push(milliseconds(server.ready_after));
            }
            fs::remove_dir_all(&cache)?;
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    life.edit_to_live_ms = runtime.block_on(edits(lab, if quick { 5 } else { 20 }))?;
    Ok(life)
}

async fn edits(lab: &Lab, n: usize) -> Result<Figure> {
    let file = lab.path("edited.yaml");
    policies::write(5, &file)?;
    let server = Server::start(lab.serve(&file, &lab.path("cache-edits"), &[])?)?;
    let mut connection = Target::new(server.webhook, &lab.ca()?)?.connect().await?;
    let body = Bytes::from(review(Size::Usual));
    let mut before = connection.post("/mutate", &body).await?.1;
    let mut figure = Figure::default();
    for edit in 0..n {
        let text = policies::yaml(5).replace("node-agent}}", &format!("edit-{edit}}}}}"));
        let beside = lab.path("edited.new");
        fs::write(&beside, text)?;
        let started = Instant::now();
        fs::rename(&beside, &file)?;
        loop {
            let answer = connection.post("/mutate", &body).await?.1;
            if answer != before {
                before = answer;
                break;
            }
            ensure!(started.elapsed() < LIVE, "an edit is not live after {LIVE:?}");
        }
        figure.push(milliseconds(started.elapsed()));
    }
    Ok(figure)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Life {
    /// The median, of policies and cache such as `10 policies, warm`.
    #[must_use]
    pub fn ready_ms(&self, what: &str) -> f64 {
        self.ready.get(what).map_or(f64::NAN, Figure::median)
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header(["what", "median ms", "longest ms"]);
        let edits = ("edit of a policy file to live", &self.edit_to_live_ms);
        let ready = self.ready.iter().map(|(what, figure)| (what.as_str(), figure));
        for (what, figure) in ready.chain([edits]) {
            let longest = figure.runs.iter().copied().fold(0.0, f64::max);
            table.add_row([what.to_owned(), format!("{:.1}", figure.median()), format!("{longest:.1}")]);
        }
        writeln!(
            f,
            "Start to ready (the cache of compiled modules cold or warm), and edit to live:\n{table}\n"
        )
    }
}
