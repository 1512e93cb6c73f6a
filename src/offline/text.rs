//! Decisions for people: each policy's changes with reasons, the diff, the warnings as kubectl shows them.

use std::fmt::{self, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{Table, presets};
use similar::{ChangeTag, TextDiff};
use wardset_core::decision::{Applied, Outcome, PolicyReport, PolicyResult};
use wardset_core::document::Document;
use wardset_core::gate::Reach;
use wardset_core::policy::{Mode, TemplateRule};
use wardset_core::review::Operation;
use wardset_core::text::one_line;
use wardset_core::verdict::Note;
use wardset_runtime::Finding;

use super::Reviewed;
use crate::yaml;

/// Length above which the reasons for one change stand on a line each, in bytes.
const WIDTH: usize = 100;

/// Bytes of a file's name. No path of Linux is longer.
const MAX_ORIGIN: usize = 4096;

/// Bytes of a pointer, and of the reason why a policy does not apply.
const MAX_PATH: usize = 1024;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const CYAN: Style = AnsiColor::Cyan.on_default();

/// Writes one decision in full. Colours repeat the words and never add to them.
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
        one_line(&reviewed.origin, MAX_ORIGIN)
    )?;
    if reviewed.assumed_namespace {
        let namespace = &reviewed.review.namespace;
        writeln!(
            out,
            "  note: no namespace in the manifest: decided as in `{namespace}` (-n names another)"
        )?;
    }
    for note in &reviewed.notes {
        writeln!(out, "  note: {note}")?;
    }
    match decision.reach {
        Reach::Everything => {}
        Reach::NotTemplate => {
            let always =
                decision.reports.iter().any(|report| report.plan.policy.template == TemplateRule::Always);
            let but = if always { ", except those with `template: always`" } else { "" };
            writeln!(out, "  note: the update does not touch the template, so policies don't either{but}")?
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
        let width = decision.skipped.iter().map(|skipped| skipped.plan.policy.name.len()).max().unwrap_or(0);
        for skipped in &decision.skipped {
            let by = one_line(&skipped.by.to_string(), MAX_PATH);
            writeln!(out, "  {:width$}  skipped: {by}", skipped.plan.policy.name)?;
        }
    }
    // A refused object is not stored, so it has no diff.
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
        PolicyResult::Allowed { applied, held_back, .. } => {
            if applied.is_empty() && *held_back == 0 {
                return write_notes(out, report.notes());
            }
            writeln!(out)?;
            for group in groups(applied) {
                write_group(out, &group, policy.mode)?;
            }
            for note in report.notes() {
                writeln!(out, "      {DIM}{}{DIM:#}", place(note))?;
            }
            if *held_back > 0 {
                let changes = count(*held_back, "change");
                writeln!(out, "      the template gate held back {changes} of the template")?;
            }
            Ok(())
        }
        PolicyResult::Denied { denials, .. } => {
            writeln!(out)?;
            for denial in denials {
                writeln!(out, "      {}: {}", denial.pointer, denial.message)?;
                writeln!(out, "        {DIM}fix: {}{DIM:#}", denial.fix)?;
            }
            Ok(())
        }
        PolicyResult::Failed(failure) => writeln!(out, "  could not decide: {failure}"),
    }
}

/// Ends the line of a policy that changes nothing, with its reasons.
fn write_notes(out: &mut String, notes: &[Note]) -> fmt::Result {
    let Some((first, more)) = notes.split_first() else {
        return writeln!(out, "  {DIM}nothing to change{DIM:#}");
    };
    writeln!(out, "  {DIM}{}{DIM:#}", place(first))?;
    more.iter().try_for_each(|note| writeln!(out, "      {DIM}{}{DIM:#}", place(note)))
}

fn place(Note { pointer, message }: &Note) -> String {
    if pointer.is_empty() { message.clone() } else { format!("{message} ({pointer})") }
}

/// Equal changes in several places, such as one for each term of an affinity.
struct Group<'r> {
    /// The first of them.
    first: &'r Applied,
    /// The path, with `*` for the positions in which they differ.
    path: String,
    places: usize,
}

/// Joins the changes that differ only in positions.
fn groups(applied: &[Applied]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for change in applied {
        let path = pattern(change.operation.path().as_str());
        let same = |group: &&mut Group<'_>| {
            let (first, operation) = (&group.first.operation, &change.operation);
            group.path == path
                && group.first.reason == change.reason
                && (first.name(), first.value()) == (operation.name(), operation.value())
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.places += 1,
            None => groups.push(Group { first: change, path, places: 1 }),
        }
    }
    groups
}

/// Returns a JSON pointer with `*` for each position in a list.
fn pattern(pointer: &str) -> String {
    let is_position = |token: &str| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit());
    let tokens = pointer.split('/').map(|token| if is_position(token) { "*" } else { token });
    tokens.collect::<Vec<_>>().join("/")
}

fn write_group(out: &mut String, group: &Group<'_>, mode: Mode) -> fmt::Result {
    let Applied { operation, reason } = group.first;
    let path = if group.places == 1 { operation.path().as_str() } else { &group.path };
    write!(out, "      {} {}", operation.name(), one_line(path, MAX_PATH))?;
    // A change that is not made has no diff to show it.
    match operation.value() {
        Some(value) if mode != Mode::Enforce => {
            writeln!(out, " {}", one_line(value, 160))?;
        }
        _ => writeln!(out)?,
    }
    let places = match group.places {
        1 => String::new(),
        n if path.contains("/nodeSelectorTerms/*/") => format!("in each of {n} terms: "),
        n => format!("in {n} places: "),
    };
    if reason.is_empty() && places.is_empty() {
        return Ok(());
    }
    let whole = places + reason;
    // A policy joins its reasons for one change with semicolons.
    let separator = if whole.len() > WIDTH { "; " } else { "\n" };
    whole.split(separator).try_for_each(|line| writeln!(out, "        {DIM}{line}{DIM:#}"))
}

/// Writes the diff of each policy that changed something, with its name at each hunk.
fn write_diffs(out: &mut String, reviewed: &Reviewed) -> fmt::Result {
    let mut before = reviewed.manifest.clone();
    for report in &reviewed.decision.reports {
        let policy = &report.plan.policy;
        if policy.mode != Mode::Enforce {
            continue;
        }
        let mut after = before.clone();
        for Applied { operation, .. } in report.applied() {
            // The chain applied it to the same object before.
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

/// Returns one line for each policy whose second evaluation differed from the first.
#[must_use]
pub fn findings(reviewed: &Reviewed) -> Vec<String> {
    reviewed.findings.iter().map(|found| finding(&reviewed.title(), found)).collect()
}

pub(super) fn finding(of: &str, Finding { policy, difference }: &Finding) -> String {
    match difference {
        Some(difference) => {
            format!("policy `{policy}` gave two different answers on the same `{of}`: {difference}")
        }
        None => format!("policy `{policy}` failed in the second evaluation of `{of}`"),
    }
}

/// Returns one line for each DaemonSet, and the sum.
#[must_use]
pub fn table(decided: &[&Reviewed]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "DAEMONSET",
        "DECISION",
        "CHANGED BY",
        "WARNINGS",
        "FILE",
    ]);
    let (mut allowed, mut changed, mut denied, mut failed) = (0, 0, 0, 0);
    for reviewed in decided {
        let decision = &reviewed.decision;
        match &decision.outcome {
            Outcome::Allowed => allowed += 1,
            Outcome::Denied { .. } => denied += 1,
            Outcome::Failed { .. } => failed += 1,
        }
        changed += usize::from(!decision.patch.is_empty());
        let by = decision.audit.get("changed-by").filter(|_| !decision.patch.is_empty());
        let by = by.map_or_else(|| "-".to_owned(), |names| names.replace(',', ", "));
        let (word, warnings) = (decision.outcome.label().to_owned(), decision.warnings.len().to_string());
        table.add_row([reviewed.title(), word, by, warnings, one_line(&reviewed.origin, MAX_ORIGIN)]);
    }
    let total = count(decided.len(), "DaemonSet");
    let failed = if failed == 0 { String::new() } else { format!(", {failed} failed") };
    let rows: String = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    format!("{rows}\n{total}: {allowed} allowed ({changed} changed), {denied} denied{failed}\n")
}

/// Returns a number with its noun.
#[must_use]
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests {
    use wardset_core::agreement::Difference;

    use super::*;

    #[test]
    fn a_finding_names_the_policy_the_object_and_the_difference() {
        let difference = Difference {
            what: "change 1".to_owned(),
            first: "add /a 1".to_owned(),
            second: "nothing".to_owned(),
        };
        let found = Finding { policy: "fickle".into(), difference: Some(difference) };
        assert_eq!(
            finding("default/agent", &found),
            "policy `fickle` gave two different answers on the same `default/agent`: change 1: first `add /a 1`, then `nothing`"
        );
    }

    #[test]
    fn equal_changes_in_several_terms_are_one_line() {
        let add = |path: String, value: &str| Applied {
            operation: wardset_core::patch::PatchOperation::Add {
                path: wardset_core::PointerBuf::parse(path).unwrap(),
                value: value.to_owned(),
            },
            reason: "why".to_owned(),
        };
        let terms = "/spec/template/spec/affinity/nodeAffinity/required/nodeSelectorTerms";
        let mut changes: Vec<_> =
            (0..3).map(|n| add(format!("{terms}/{n}/matchExpressions/-"), "1")).collect();
        changes.push(add("/metadata/labels/0".to_owned(), "1"));
        changes.push(add(format!("{terms}/0/matchExpressions/-"), "2"));
        let mut out = String::new();
        for group in groups(&changes) {
            write_group(&mut out, &group, Mode::Enforce).unwrap();
        }
        let expected = format!(
            "      add {terms}/*/matchExpressions/-\n        {DIM}in each of 3 terms: why{DIM:#}\n      add /metadata/labels/0\n        {DIM}why{DIM:#}\n      add {terms}/0/matchExpressions/-\n        {DIM}why{DIM:#}\n"
        );
        assert_eq!(out, expected);
    }
}
