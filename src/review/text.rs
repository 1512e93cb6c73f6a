//! Decisions for people: what each policy did and why, the diff, the warnings as kubectl shows them.

use std::fmt::{self, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{Table, presets};
use similar::{ChangeTag, TextDiff};
use wardset_core::decision::{Applied, Outcome, PolicyReport, Result as Reported};
use wardset_core::document::Document;
use wardset_core::policy::{Mode, TemplateRule};
use wardset_core::review::{Operation, Reach};
use wardset_runtime::Finding;

use super::{Outcomes, Reviewed};
use crate::yaml;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const CYAN: Style = AnsiColor::Cyan.on_default();

/// One decision in full. Colour repeats what the words say, and never says more.
#[must_use]
pub fn review(reviewed: &Reviewed) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = write_review(&mut out, reviewed);
    out
}

fn write_review(out: &mut String, reviewed: &Reviewed) -> fmt::Result {
    let decision = &reviewed.decision;
    let operation = match reviewed.review.operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
    };
    writeln!(
        out,
        "{BOLD}DaemonSet {}{BOLD:#}  {operation}  {DIM}{}{DIM:#}",
        reviewed.title(),
        reviewed.origin
    )?;
    for note in &reviewed.notes {
        writeln!(out, "  note: {note}")?;
    }
    match decision.reach {
        Reach::Everything => {}
        Reach::NotTemplate => {
            let always =
                decision.reports.iter().any(|report| report.plan.policy.template == TemplateRule::Always);
            let but = if always { ", but for those with `template: always`" } else { "" };
            writeln!(out, "  note: the update leaves the template alone, so policies do too{but}")?
        }
        Reach::Nothing(why) => writeln!(out, "  note: left alone: {why}")?,
    }
    writeln!(out)?;
    let width = decision.reports.iter().map(|report| report.plan.policy.name.len()).max().unwrap_or(0);
    for report in &decision.reports {
        write_verdict(out, report, width)?;
    }
    if decision.reports.is_empty() {
        writeln!(out, "  no policy applies")?;
    }
    // Of a refused object nothing is stored, so there is nothing to show.
    if reviewed.is_allowed() {
        write_diffs(out, reviewed)?;
    }
    if !decision.warnings.is_empty() {
        writeln!(out)?;
    }
    for warning in &decision.warnings {
        writeln!(out, "{YELLOW}Warning:{YELLOW:#} {warning}")?;
    }
    writeln!(out)?;
    match &decision.outcome {
        Outcome::Allowed => {
            let changes = match decision.patch.len() {
                0 => "unchanged".to_owned(),
                n => format!("with {}", count(n, "change")),
            };
            writeln!(out, "{GREEN}allowed{GREEN:#}, {changes}")
        }
        Outcome::Denied { code, message } => {
            // Several denials are a list that begins on a line of its own.
            let gap = if message.starts_with('\n') { "" } else { " " };
            writeln!(out, "{RED}denied{RED:#} ({code}):{gap}{message}")
        }
        Outcome::Failed { blame, message } => {
            let status = blame.status();
            writeln!(
                out,
                "{RED}failed{RED:#} (HTTP {status}, the webhook's failurePolicy decides): {message}"
            )
        }
    }
}

fn write_verdict(out: &mut String, report: &PolicyReport, width: usize) -> fmt::Result {
    let policy = &report.plan.policy;
    let style = match report.verdict() {
        "allow" => DIM,
        "patch" => GREEN,
        _ => RED,
    };
    let mode = match policy.mode {
        Mode::Enforce => "",
        Mode::Warn => " (warns only)",
        Mode::Observe => " (observes only)",
    };
    write!(out, "  {:width$}  {style}{}{style:#}{mode}", policy.name, report.verdict())?;
    match &report.result {
        Reported::Allowed { applied, held_back, .. } => {
            if applied.is_empty() && *held_back == 0 {
                return writeln!(out, "  {DIM}nothing to change{DIM:#}");
            }
            writeln!(out)?;
            for change in applied {
                write!(out, "      {} {}", change.operation.name(), change.operation.path())?;
                // What is not made has no diff to show it.
                match change.operation.value() {
                    Some(value) if policy.mode != Mode::Enforce => {
                        writeln!(out, " {}", wardset_core::text::one_line(value, 160))?;
                    }
                    _ => writeln!(out)?,
                }
                if !change.reason.is_empty() {
                    writeln!(out, "        {DIM}{}{DIM:#}", change.reason)?;
                }
            }
            if *held_back > 0 {
                let changes = count(*held_back, "change");
                writeln!(out, "      {changes} of the template held back by the template gate")?;
            }
            Ok(())
        }
        Reported::Denied { denials, .. } => {
            writeln!(out)?;
            for denial in denials {
                writeln!(out, "      {}: {}", denial.pointer, denial.message)?;
                writeln!(out, "        {DIM}fix: {}{DIM:#}", denial.fix)?;
            }
            Ok(())
        }
        Reported::Failed(failure) => writeln!(out, "  could not decide: {failure}"),
    }
}

/// The diff of each policy that changed something, its name at each hunk.
fn write_diffs(out: &mut String, reviewed: &Reviewed) -> fmt::Result {
    let mut before = Document::clone(reviewed.object());
    for report in &reviewed.decision.reports {
        let policy = &report.plan.policy;
        if policy.mode != Mode::Enforce {
            continue;
        }
        let mut after = before.clone();
        for Applied { operation, .. } in report.applied() {
            // What was applied once applies again.
            let _ = after.apply(operation);
        }
        if after != before {
            writeln!(out)?;
            write_diff(out, &before, &after, &policy.name)?;
            before = after;
        }
    }
    Ok(())
}

fn write_diff(out: &mut String, before: &Document, after: &Document, policy: &str) -> fmt::Result {
    let (before, after) = (yaml::to_string(&before.to_value()), yaml::to_string(&after.to_value()));
    let diff = TextDiff::from_lines(&before, &after);
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        writeln!(out, "{CYAN}{} {policy}{CYAN:#}", hunk.header())?;
        for change in hunk.iter_changes() {
            let (sign, style) = match change.tag() {
                ChangeTag::Delete => ("-", RED),
                ChangeTag::Insert => ("+", GREEN),
                ChangeTag::Equal => (" ", Style::new()),
            };
            writeln!(out, "{style}{sign}{}{style:#}", change.value().trim_end_matches('\n'))?;
        }
    }
    Ok(())
}

/// A line for each policy whose second evaluation was not the same as the first.
#[must_use]
pub fn findings(outcome: &Outcomes) -> Vec<String> {
    match outcome {
        Outcomes::Decided(reviewed) => {
            reviewed.findings.iter().map(|found| finding(&reviewed.title(), found)).collect()
        }
        Outcomes::PassedOver { .. } => Vec::new(),
    }
}

pub(super) fn finding(of: &str, Finding { policy, difference }: &Finding) -> String {
    match difference {
        Some(difference) => format!("policy `{policy}` answers differently on the same `{of}`: {difference}"),
        None => format!("policy `{policy}` could not be evaluated a second time on `{of}`"),
    }
}

/// A line for each document, and the sum.
#[must_use]
pub fn table(outcomes: &[Outcomes]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "DAEMONSET",
        "DECISION",
        "CHANGED BY",
        "WARNINGS",
        "FILE",
    ]);
    let (mut allowed, mut changed, mut denied, mut passed) = (0, 0, 0, 0);
    for outcome in outcomes {
        match outcome {
            Outcomes::PassedOver { .. } => passed += 1,
            Outcomes::Decided(reviewed) => {
                let decision = &reviewed.decision;
                allowed += usize::from(reviewed.is_allowed());
                changed += usize::from(!decision.patch.is_empty());
                denied += usize::from(!reviewed.is_allowed());
                let word = match &decision.outcome {
                    Outcome::Allowed => "allowed",
                    Outcome::Denied { .. } => "denied",
                    Outcome::Failed { .. } => "failed",
                };
                let by = decision.audit.get("changed-by").filter(|_| !decision.patch.is_empty());
                let by = by.map_or_else(|| "-".to_owned(), |names| names.replace(',', ", "));
                let warnings = decision.warnings.len().to_string();
                table.add_row([reviewed.title(), word.to_owned(), by, warnings, reviewed.origin.clone()]);
            }
        }
    }
    let total = count(allowed + denied, "DaemonSet");
    let passed = count(passed, "other object");
    let rows: String = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    format!("{rows}\n{total}: {allowed} allowed ({changed} changed), {denied} denied; {passed} passed over\n")
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests {
    use wardset_core::agreement::Difference;

    use super::*;

    #[test]
    fn a_finding_names_the_policy_the_object_and_what_differs() {
        let difference = Difference {
            what: "change 1".to_owned(),
            first: "add /a 1".to_owned(),
            second: "nothing".to_owned(),
        };
        let found = Finding { policy: "fickle".into(), difference: Some(difference) };
        assert_eq!(
            finding("default/agent", &found),
            "policy `fickle` answers differently on the same `default/agent`: change 1: first `add /a 1`, then `nothing`"
        );
    }
}
