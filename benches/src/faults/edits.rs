//! Policies that are edited under load: good edits, bad ones, and ones that follow each other too fast to be taken one by one.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::body::Bytes;
use serde_json::Value;

use super::steady::{Judge, Judgement, Plan, Steady, answer};
use super::{Effort, Row};
use crate::load::Target;
use crate::policies;
use crate::reviews::{Size, review};
use crate::server::{Lab, Server};

/// Maximum time until an edit is active.
const LIVE: Duration = Duration::from_secs(30);

/// The revisions that may decide now: from the last one that was seen to decide to the last one that was written.
#[derive(Default)]
pub(super) struct Revisions {
    oldest: AtomicU64,
    newest: AtomicU64,
}

impl Revisions {
    pub(super) fn starting_at(revision: u64) -> Self {
        Self { oldest: AtomicU64::new(revision), newest: AtomicU64::new(revision) }
    }

    /// One more is about to be written.
    pub(super) fn write(&self, revision: u64) {
        self.newest.store(revision, Ordering::SeqCst);
    }

    /// One was seen to decide: none before it may.
    pub(super) fn see(&self, revision: u64) {
        self.oldest.store(revision, Ordering::SeqCst);
    }
}

/// Edits.
///
/// # Errors
///
/// A server doesn't start, or an edit doesn't become active.
pub fn run(lab: &Lab, effort: &Effort) -> Result<Vec<Row>> {
    let file = lab.path("faults.yaml");
    write(lab, &good(0))?;
    let server = Server::start(lab.serve(&file, &lab.path("cache-faults"), &[])?)?;
    let target = Target::new(server.webhook, &lab.ca()?)?;
    let body = Bytes::from(review(Size::Usual));
    let revisions = Arc::new(Revisions::default());
    let first = patch(&answer(&target, &body)?).context("the first answer has no patch")?;
    let judge = judge(first.replace("edit-0\"", "edit-N\""), Arc::clone(&revisions));
    let bodies = vec![body.clone()];
    let pause = Duration::from_millis(1);
    let plan = Plan { target: target.clone(), clients: 8, bodies, pause, churn: 0, judge };
    let load = Steady::start(plan);
    let (mut mistakes, mut longest) = (0, Duration::ZERO);
    for edit in 1..=effort.edits as u64 {
        match edit % 5 {
            3 => {
                write(lab, &bad(mistakes))?;
                mistakes += 1;
                load.go_on(200)?;
                continue;
            }
            4 => {
                // Half a dozen in a few milliseconds; the last counts.
                for n in 0..6 {
                    write(lab, &if n % 2 == 0 { bad(n) } else { good(edit) })?;
                    if n == 0 {
                        revisions.write(edit);
                    }
                }
            }
            _ => {
                revisions.write(edit);
                write(lab, &good(edit))?;
            }
        }
        let written = Instant::now();
        let live = |answer: &Bytes| patch(answer).is_some_and(|patch| revision(&patch) == Some(edit));
        while !live(&answer(&target, &body)?) {
            ensure!(written.elapsed() < LIVE, "edit {edit} is not active after {LIVE:?}");
        }
        longest = longest.max(written.elapsed());
        // A review that began under the revision before may still be on its way.
        load.go_on(50)?;
        revisions.see(edit);
    }
    let mut row = Row::of(&format!("{} edits of policies", effort.edits), load.end()?);
    row.seen = format!("{mistakes} unusable; active after at most {} ms", longest.as_millis());
    Ok(vec![row])
}

/// Mistakes of an operator: malformed YAML, a missing module, settings that the module rejects, an unknown field.
fn bad(n: usize) -> String {
    let text = good(9999);
    match n % 4 {
        0 => "apiVersion: [".to_owned(),
        1 => text.replace("builtin:default-labels", "builtin:nothing"),
        2 => text.replace("{labels: {app.kubernetes.io/component: edit-9999}}", "{labels: 5}"),
        _ => text.replace("order: 0", "ordre: 0"),
    }
}

fn good(revision: u64) -> String {
    policies::yaml(5).replace("component: node-agent}}", &format!("component: edit-{revision}}}}}"))
}

/// As editors and kubelet do it: whole, and in one step.
fn write(lab: &Lab, text: &str) -> Result<()> {
    let beside = lab.path("faults.new");
    fs::write(&beside, text)?;
    fs::rename(&beside, lab.path("faults.yaml")).context("failed to write the policies")
}

pub(super) fn judge(expected: String, revisions: Arc<Revisions>) -> Judge {
    Arc::new(move |status, answer| {
        if status != StatusCode::OK {
            return Judgement::Failed;
        }
        let Some(patch) = patch(answer) else { return Judgement::Wrong };
        let Some(found) = revision(&patch) else { return Judgement::Wrong };
        let may = revisions.oldest.load(Ordering::SeqCst)..=revisions.newest.load(Ordering::SeqCst);
        // All else is as the other policies, which nobody touched, leave it.
        let rest = patch.replace(&format!("edit-{found}\""), "edit-N\"");
        if may.contains(&found) && rest == expected { Judgement::Right } else { Judgement::Wrong }
    })
}

pub(super) fn patch(answer: &Bytes) -> Option<String> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    String::from_utf8(STANDARD.decode(answer["response"]["patch"].as_str()?).ok()?).ok()
}

pub(super) fn revision(patch: &str) -> Option<u64> {
    patch.split_once("edit-")?.1.split_once('"')?.0.parse().ok()
}
