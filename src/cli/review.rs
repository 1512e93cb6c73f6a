//! `wardset review`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::{Output, Review};
use crate::app;
use crate::review::{Outcomes, Reviewed, input, machine, request, text};
use crate::telemetry;

/// Above this many DaemonSets the text is a table, and diffs are asked for one file at a time.
const MOST_IN_FULL: usize = 5;

pub(super) async fn run(args: Review) -> anyhow::Result<ExitCode> {
    telemetry::for_commands();
    let mut sources = Vec::new();
    for path in &args.files {
        for file in input::files(path, args.recursive)? {
            sources.extend(input::documents(&file)?);
        }
    }
    if sources.is_empty() {
        let name =
            |file: &PathBuf| if file == "-" { "standard input".into() } else { file.display().to_string() };
        let names: Vec<String> = args.files.iter().map(|file| format!("`{}`", name(file))).collect();
        bail!("no document was found in {}; expected a manifest", names.join(", "));
    }
    let settings = request::Settings {
        old: args.old.as_deref().map(input::documents).transpose()?.unwrap_or_default(),
        operation: args.operation,
        namespace_labels: args.namespace_labels.map(|labels| labels.into_iter().collect()),
        namespace: args.namespace,
        user: args.user,
        dry_run: args.dry_run,
        verify: args.verify,
    };
    let snapshot = app::snapshot(&args.policies.into()).await?;
    let progress = progress(sources.len());
    let mut outcomes = Vec::with_capacity(sources.len());
    let mut broken = false;
    for source in &sources {
        progress.inc(1);
        match crate::review::review(&snapshot, source, &settings).await {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => {
                broken = true;
                progress.suspend(|| super::say_error(&format!("{:#}", anyhow::Error::new(error))));
            }
        }
    }
    progress.finish_and_clear();
    let bad = |outcome: &Outcomes| matches!(outcome, Outcomes::Decided(reviewed) if !reviewed.is_allowed() || !reviewed.findings.is_empty());
    let bad = outcomes.iter().any(bad);
    let findings: Vec<String> = outcomes.iter().flat_map(text::findings).collect();
    print(outcomes, args.output)?;
    for finding in findings {
        super::say_error(&finding);
    }
    Ok(ExitCode::from(if broken { 2 } else { u8::from(bad) }))
}

fn print(outcomes: Vec<Outcomes>, output: Output) -> anyhow::Result<()> {
    let decided = outcomes.iter().filter(|outcome| matches!(outcome, Outcomes::Decided(_))).count();
    if output == Output::Text {
        let in_full = decided <= MOST_IN_FULL;
        let separator = if outcomes.len() > 1 { "\n" } else { "" };
        for outcome in &outcomes {
            match outcome {
                Outcomes::Decided(reviewed) if in_full => {
                    super::print(&(text::review(reviewed) + separator))?
                }
                Outcomes::Decided(_) => {}
                Outcomes::PassedOver { origin, reason } => {
                    super::say(&format!("{origin}: passed over: {reason}"))
                }
            }
        }
        if outcomes.len() > 1 {
            super::print(&text::table(&outcomes))?;
        }
        if !in_full {
            super::say("hint: review one file by itself for its diff and its messages");
        }
        if decided == 0 && outcomes.len() == 1 {
            super::say("hint: only DaemonSets of `apps` are reviewed");
        }
        return Ok(());
    }
    let mut reviewed: Vec<Reviewed> = Vec::with_capacity(decided);
    for outcome in outcomes {
        match outcome {
            Outcomes::Decided(one) => reviewed.push(*one),
            Outcomes::PassedOver { origin, reason } => {
                super::say(&format!("{origin}: passed over: {reason}"))
            }
        }
    }
    if output != Output::Json {
        for one in reviewed.iter().filter(|one| !one.is_allowed()) {
            super::say(&text::review(one));
        }
    }
    super::print_data(&match output {
        Output::Json | Output::Text => machine::json(&reviewed),
        Output::Yaml => machine::yaml(&reviewed),
        Output::Patch => machine::patches(&reviewed),
    })
}

fn progress(documents: usize) -> ProgressBar {
    // Hidden where standard error is no terminal, and where there is nothing to wait for.
    let target = if documents > 20 { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(documents as u64), target);
    match ProgressStyle::with_template("reviewing {wide_bar} {pos}/{len}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
