//! `wardset review`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use wardset_core::policy::NamespaceLabels;
use wardset_core::text::one_line;
use wardset_placement::Node;

use super::args::{Output, ReviewArgs};
use super::setup;
use crate::admission::NodeSource;
use crate::offline::request::SkippedObject;
use crate::offline::{Outcomes, Reviewed, input, machine, request, text};
use crate::preview::{self, Inventory, Preview};
use crate::telemetry;

/// Bytes of one remark.
const MAX_REMARK: usize = 1024;
/// DaemonSets that the text shows in full. Above that it has a table, and in full only those that are not allowed.
const MOST_IN_FULL: usize = 5;

pub(super) async fn run(args: ReviewArgs) -> anyhow::Result<ExitCode> {
    telemetry::for_commands();
    setup::reads_standard_input_once(args.files.iter().chain(&args.nodes).chain(args.old.iter()))?;
    let (files, mut broken) = setup::read(&args.files, args.recursive);
    let old = args.old.as_deref().map(|old| input::read(old, true)).transpose()?;
    let settings = request::Settings {
        old: old.into_iter().flat_map(|file| file.documents).flat_map(|document| document.objects).collect(),
        operation: args.operation,
        namespace: args.namespace,
        user: args.user,
        dry_run: args.dry_run,
        verify: args.verify,
    };
    let labels = args.namespace_labels.map(|labels| Arc::new(labels.into_iter().collect()));
    let labels = labels.map_or(NamespaceLabels::Unknown, NamespaceLabels::Known);
    let inventory = (!args.nodes.is_empty()).then(|| setup::inventory(&args.nodes)).transpose()?;
    let judge = setup::judge(&args.policies.into(), labels).await?;
    let judge = judge.with_nodes(NodeSource::Fixed(inventory.as_ref().and_then(Inventory::cluster_nodes)));
    let documents = files.iter().flat_map(|file| &file.documents);
    let sources: Vec<_> = documents.flat_map(|document| &document.objects).collect();
    let progress = progress(sources.len());
    let mut outcomes = Vec::with_capacity(sources.len());
    for source in &sources {
        progress.inc(1);
        let outcome = crate::offline::review(&judge, source, &settings).await;
        outcomes.push(outcome.map(Some).unwrap_or_else(|error| {
            broken = true;
            progress.suspend(|| super::say_error(&format!("{:#}", anyhow::Error::new(error))));
            None
        }));
    }
    progress.finish_and_clear();
    let decided: Vec<&Reviewed> = outcomes
        .iter()
        .flatten()
        .filter_map(|outcome| match outcome {
            Outcomes::Decided(one) => Some(&**one),
            Outcomes::Skipped { .. } => None,
        })
        .collect();
    let nodes = inventory.as_ref().map(Inventory::nodes).unwrap_or_default();
    let previews = match &inventory {
        Some(inventory) => previews(&decided, inventory, &nodes)?,
        None => decided.iter().map(|_| None).collect(),
    };
    match args.output {
        Output::Text => print_text(&decided, &previews)?,
        Output::Json => {
            let placements = previews.iter().map(|preview| preview.as_ref().map(preview::value)).collect();
            super::print_data(&machine::json(&decided, placements))?;
        }
        Output::Yaml => super::print_data(&machine::yaml(&files, &outcomes))?,
        Output::Patch => super::print_data(&machine::patches(&decided))?,
    }
    if args.output != Output::Text {
        say_remarks(&decided, args.output);
    }
    say_skipped(&outcomes, args.verbose);
    if sources.is_empty() && !broken {
        super::say("nothing to review: no object found");
    }
    for finding in decided.iter().flat_map(|reviewed| text::findings(reviewed)) {
        super::say_error(&finding);
    }
    if settings.verify && decided.iter().all(|one| one.findings.is_empty()) {
        super::say("verified: each policy gave the same verdict twice");
    }
    let bad = decided.iter().any(|one| !one.is_allowed() || !one.findings.is_empty());
    Ok(ExitCode::from(if broken { 2 } else { u8::from(bad) }))
}

/// Returns the placement of each DaemonSet.
fn previews<'a>(
    decided: &[&Reviewed],
    inventory: &'a Inventory,
    nodes: &'a [Node<'a>],
) -> anyhow::Result<Vec<Option<Preview<'a>>>> {
    let preview = |one: &&Reviewed| {
        let preview = preview::of_review(one, inventory, nodes, None);
        preview.map(Some).with_context(|| one.origin.clone())
    };
    decided.iter().map(preview).collect()
}

fn print_text(decided: &[&Reviewed], previews: &[Option<Preview<'_>>]) -> anyhow::Result<()> {
    let in_full = decided.len() <= MOST_IN_FULL;
    let separator = if decided.len() > 1 { "\n" } else { "" };
    for (one, preview) in decided.iter().zip(previews).filter(|(one, _)| in_full || !one.is_allowed()) {
        let placement = preview.as_ref().map(preview::lines).unwrap_or_default();
        super::print(&(text::review(one) + &placement + separator))?;
    }
    if decided.len() > 1 {
        super::print(&text::table(decided))?;
    }
    if !in_full {
        super::say("hint: review one file alone to see its diff and its warnings");
    }
    Ok(())
}

/// Says on standard error what machine output has no place for.
fn say_remarks(decided: &[&Reviewed], output: Output) {
    let assumed: Vec<_> = decided.iter().filter(|one| one.assumed_namespace).collect();
    if let [first, ..] = assumed.as_slice() {
        super::say(&format!(
            "note: {} without a namespace: decided as in namespace `{}`, and left without one",
            text::count(assumed.len(), "DaemonSet"),
            first.review.namespace
        ));
    }
    // JSON has the denials.
    if output != Output::Json {
        for one in decided.iter().filter(|one| !one.is_allowed()) {
            super::say(&text::review(one));
        }
    }
}

/// Says which objects were not reviewed: all of them if they are few or the user asks, else how many.
fn say_skipped(outcomes: &[Option<Outcomes>], verbose: bool) {
    let skipped: Vec<_> = outcomes
        .iter()
        .flatten()
        .filter_map(|outcome| match outcome {
            Outcomes::Skipped { origin, reason } => Some((origin, reason)),
            Outcomes::Decided(_) => None,
        })
        .collect();
    let mut unlisted = 0;
    for (origin, reason) in &skipped {
        // An old DaemonSet is a mistake, and never just another object.
        if verbose || skipped.len() == 1 || matches!(reason, SkippedObject::OldDaemonSet { .. }) {
            super::say(&one_line(&format!("skipped {origin}: {reason}"), MAX_REMARK));
        } else {
            unlisted += 1;
        }
    }
    if unlisted > 0 {
        super::say(&format!("skipped {} of other kinds; -v lists them", text::count(unlisted, "object")));
    }
}

fn progress(documents: usize) -> ProgressBar {
    // A progress bar hides itself if standard error is not a terminal.
    let target = if documents > 20 { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(documents as u64), target);
    match ProgressStyle::with_template("reviewing {wide_bar} {pos}/{len}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
