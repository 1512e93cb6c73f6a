//! Prints the results of cases: for people, as JSON, and as JUnit XML.

use std::fmt::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};
use wardset_cases::{CaseOutcome, Expect, ExpectedDecision};
use wardset_core::text::{one_line, printable_lines};

use super::{CaseProblem, CaseReport, Compared};
use crate::offline::text::count;
use crate::yaml;

const RED: Style = AnsiColor::Red.on_default();
const GREEN: Style = AnsiColor::Green.on_default();
const DIM: Style = Style::new().dimmed();

/// Maximum length of a name in the text, in bytes.
const MAX_NAME: usize = 512;

/// Maximum length of the reason why cases did not run, in bytes.
const MAX_REASON: usize = 4 << 10;

/// The hint for a policy that traps.
const TRAP: &str = "hint: a trap, such as after a panic, has no message; log lines of the policy show where it happens: \
                    write them with `log`, and set WARDSET_LOG=guest=debug\n";

/// Returns the expected and the found outcome as trees of the same shape. Entries that fit are shown as found.
pub(super) fn outcomes(expect: &Expect, outcome: &CaseOutcome) -> (Value, Value) {
    let answer = match outcome {
        CaseOutcome::Answer(answer) => answer,
        CaseOutcome::Error(message) => return (expected_alone(expect), json!({"error": message})),
        CaseOutcome::SettingsError(message) => {
            return (expected_alone(expect), json!({"settingsError": message}));
        }
    };
    if expect.error.is_some() || expect.settings_error.is_some() {
        return (expected_alone(expect), found_answer(answer));
    }
    let mut expected = expected_alone(expect);
    for (at, denial) in expect.denials.iter().enumerate() {
        if let Some(found) = answer.denials.get(at).filter(|found| denial.fits(found)) {
            expected["denials"][at] = found_denial(found);
        }
    }
    for (field, entries, found) in
        [("warnings", &expect.warnings, &answer.warnings), ("notes", &expect.notes, &answer.notes)]
    {
        for (at, remark) in entries.iter().enumerate() {
            if let Some(found) = found.get(at).filter(|found| remark.fits(found)) {
                expected[field][at] = json!({"pointer": found.pointer, "message": found.message});
            }
        }
    }
    (expected, found_answer(answer))
}

fn expected_alone(expect: &Expect) -> Value {
    if let Some(text) = &expect.settings_error {
        return json!({"settingsError": format!("… {text} …")});
    }
    if let Some(text) = &expect.error {
        return json!({"error": format!("… {text} …")});
    }
    let denied = expect.decision == Some(ExpectedDecision::Denied) || !expect.denials.is_empty();
    let remark = |remark: &wardset_cases::ExpectedRemark| json!({"pointer": remark.pointer, "message": format!("… {} …", remark.contains)});
    json!({
        "decision": if denied { "denied" } else { "allowed" },
        "denials": expect.denials.iter().map(|denial| json!({
            "code": denial.code, "pointer": denial.pointer, "message": format!("… {} …", denial.contains),
        })).collect::<Vec<_>>(),
        "changes": expect.changes,
        "warnings": expect.warnings.iter().map(remark).collect::<Vec<_>>(),
        "notes": expect.notes.iter().map(remark).collect::<Vec<_>>(),
    })
}

fn found_answer(answer: &wardset_cases::CaseAnswer) -> Value {
    let remark =
        |remark: &wardset_cases::Remark| json!({"pointer": remark.pointer, "message": remark.message});
    json!({
        "decision": if answer.denials.is_empty() { "allowed" } else { "denied" },
        "denials": answer.denials.iter().map(found_denial).collect::<Vec<_>>(),
        "changes": answer.changes,
        "warnings": answer.warnings.iter().map(remark).collect::<Vec<_>>(),
        "notes": answer.notes.iter().map(remark).collect::<Vec<_>>(),
    })
}

fn found_denial(found: &wardset_cases::CaseDenial) -> Value {
    json!({"code": found.code, "pointer": found.pointer, "message": found.message, "fix": found.fix})
}

/// Returns the results for people: a line for each case, its problems below, and the sums.
#[must_use]
pub fn text(reports: &[CaseReport]) -> String {
    lines(reports.iter()) + &reasons(reports, "") + &sums(reports) + "\n"
}

/// Returns the cases that failed, each with its problems. Of cases that did not run, it returns only the reasons that are
/// not part of `known`.
#[must_use]
pub fn failures(reports: &[CaseReport], known: &str) -> String {
    let failed = |report: &&CaseReport| !report.passed() && report.not_run().is_none();
    lines(reports.iter().filter(failed)) + &reasons(reports, known)
}

/// Returns each reason why cases did not run once, unless it is part of `known`.
fn reasons(reports: &[CaseReport], known: &str) -> String {
    let mut cases: Vec<(String, usize)> = Vec::new();
    for reason in reports.iter().filter_map(CaseReport::not_run) {
        let reason = one_line(reason, MAX_REASON);
        // A state begins with the name of its policy.
        if known.contains(reason.strip_prefix("policy ").unwrap_or(&reason)) {
            continue;
        }
        match cases.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, cases)) => *cases += 1,
            None => cases.push((reason, 1)),
        }
    }
    let reason = |(reason, cases): (String, usize)| {
        format!("{RED}{} not run{RED:#}: {reason}\n", count(cases, "case"))
    };
    cases.into_iter().map(reason).collect()
}

/// Returns the numbers of cases and of checks, on one line.
#[must_use]
pub fn sums(reports: &[CaseReport]) -> String {
    let failed = reports.iter().filter(|report| !report.passed()).count();
    let laws: usize = reports.iter().map(|report| report.laws).sum();
    let total: Duration = reports.iter().map(|report| report.elapsed).sum();
    let not_run = match reports.iter().filter(|report| report.not_run().is_some()).count() {
        0 => String::new(),
        not_run => format!(" ({not_run} not run)"),
    };
    format!(
        "{} of {} cases passed, {failed} failed{not_run}; {laws} checks of laws; {} in policies",
        reports.len() - failed,
        reports.len(),
        millis(total)
    )
}

fn lines<'r>(reports: impl Iterator<Item = &'r CaseReport> + Clone) -> String {
    let mut out = String::new();
    let mut file = None;
    let width = reports.clone().map(|report| report.name.chars().count()).max().unwrap_or(0).min(60);
    for report in reports {
        if file != Some(&report.file) {
            let _ = writeln!(out, "{}", line(&report.file.display().to_string()));
            file = Some(&report.file);
        }
        let (style, word) = if report.passed() { (GREEN, "ok  ") } else { (RED, "FAIL") };
        let time = if report.not_run().is_some() { "not run".to_owned() } else { millis(report.elapsed) };
        let name = line(&report.name);
        let _ = writeln!(out, "  {style}{word}{style:#} {name:width$}  {DIM}{time:>7}{DIM:#}");
        if let Some(golden) = &report.updated {
            let _ = writeln!(out, "       wrote `{}`", line(&golden.display().to_string()));
        }
        let is_here = |problem: &&CaseProblem| !matches!(problem, CaseProblem::NotRun(_));
        for problem in report.problems.iter().filter(is_here) {
            for line in describe(problem).lines() {
                let _ = writeln!(out, "       {line}");
            }
        }
    }
    out
}

/// Returns a name on one line, without control characters.
fn line(text: &str) -> String {
    one_line(text, MAX_NAME)
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Returns a problem in words, with a coloured diff or the smallest object below.
fn describe(problem: &CaseProblem) -> String {
    match problem {
        CaseProblem::Outcome(compared) => {
            let is_trap = compared.found["error"].as_str().is_some_and(|error| error.starts_with("trap"));
            format!(
                "the outcome differs: {RED}-expected{RED:#} {GREEN}+found{GREEN:#}\n{}{}",
                diff(compared),
                if is_trap { TRAP } else { "" }
            )
        }
        CaseProblem::Object { file, compared } => format!(
            "the stored object differs from `{}`: {RED}-expected{RED:#} {GREEN}+found{GREEN:#}; \
             hint: --update writes the file\n{}",
            line(&file.display().to_string()),
            diff(compared)
        ),
        CaseProblem::Law { law, shrunk } => format!(
            "law `{}`: {}; hint: `exempt` in the case skips the law\n{} object that breaks it:\n{}",
            law.name(),
            printable_lines(&shrunk.detail),
            if shrunk.is_smallest { "the smallest" } else { "a smaller" },
            indent(&yaml::to_string(&shrunk.object))
        ),
        CaseProblem::Vacuous(problem) => format!("this case tests nothing: {}", printable_lines(problem)),
        CaseProblem::Broken(problem) => printable_lines(problem),
        CaseProblem::NotRun(reason) => format!("not run: {}", printable_lines(reason)),
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn diff(compared: &Compared) -> String {
    let (expected, found) = (yaml::to_string(&compared.expected), yaml::to_string(&compared.found));
    let diff = TextDiff::from_lines(&expected, &found);
    let mut out = String::new();
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        for change in hunk.iter_changes() {
            let (sign, style) = match change.tag() {
                ChangeTag::Delete => ("-", RED),
                ChangeTag::Insert => ("+", GREEN),
                ChangeTag::Equal => (" ", Style::new()),
            };
            let _ = writeln!(out, "{style}{sign} {}{style:#}", change.value().trim_end_matches('\n'));
        }
    }
    out
}

/// Returns the results as JSON, an object per case.
#[must_use]
pub fn json(reports: &[CaseReport]) -> String {
    let cases: Vec<_> = reports
        .iter()
        .map(|report| {
            json!({
                "file": report.file, "name": report.name, "passed": report.passed(),
                "microseconds": u64::try_from(report.elapsed.as_micros()).unwrap_or(u64::MAX),
                "laws": report.laws, "problems": report.problems.iter().map(problem).collect::<Vec<_>>(),
            })
        })
        .collect();
    let failed = reports.iter().filter(|report| !report.passed()).count();
    yaml::to_json(&json!({"cases": cases, "passed": reports.len() - failed, "failed": failed}))
}

fn problem(problem: &CaseProblem) -> Value {
    match problem {
        CaseProblem::Outcome(compared) => {
            json!({"kind": "outcome", "expected": compared.expected, "found": compared.found})
        }
        CaseProblem::Object { file, compared } => {
            json!({"kind": "object", "file": file, "expected": compared.expected, "found": compared.found})
        }
        CaseProblem::Law { law, shrunk } => {
            json!({"kind": "law", "law": law.name(), "detail": shrunk.detail, "object": shrunk.object})
        }
        CaseProblem::Vacuous(detail) => json!({"kind": "vacuous", "detail": detail}),
        CaseProblem::Broken(detail) => json!({"kind": "broken", "detail": detail}),
        CaseProblem::NotRun(detail) => json!({"kind": "not-run", "detail": detail}),
    }
}

/// Returns the results as JUnit XML: a suite per file.
#[must_use]
pub fn junit(reports: &[CaseReport]) -> String {
    let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned();
    for suite in reports.chunk_by(|a, b| a.file == b.file) {
        let not_run = suite.iter().filter(|report| report.not_run().is_some()).count();
        let failed = suite.iter().filter(|report| !report.passed()).count() - not_run;
        let name = suite.first().map(|report| report.file.display().to_string()).unwrap_or_default();
        let (name, tests) = (xml(&name), suite.len());
        let counts = format!("tests=\"{tests}\" failures=\"{failed}\" errors=\"{not_run}\"");
        let _ = writeln!(out, "  <testsuite name=\"{name}\" {counts}>");
        for report in suite {
            let (case, time) = (xml(&report.name), report.elapsed.as_secs_f64());
            let _ = write!(out, "    <testcase classname=\"{name}\" name=\"{case}\" time=\"{time:.6}\"");
            if report.passed() {
                out.push_str("/>\n");
                continue;
            }
            out.push_str(">\n");
            let problems: String = report
                .problems
                .iter()
                .map(|problem| anstream::adapter::strip_str(&describe(problem)).to_string() + "\n")
                .collect();
            let element = if report.not_run().is_some() { "error" } else { "failure" };
            let _ = writeln!(out, "      <{element}>{}</{element}>\n    </testcase>", xml(&problems));
        }
        out.push_str("  </testsuite>\n");
    }
    out + "</testsuites>\n"
}

/// Escapes text for XML. Characters that XML cannot have become `?`.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || c == '\u{fffe}' || c == '\u{ffff}' => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &str, problems: Vec<CaseProblem>) -> CaseReport {
        let (file, elapsed) = ("cases/a.yaml".into(), Duration::from_micros(1500));
        CaseReport { file, name: name.to_owned(), problems, laws: 7, elapsed, updated: None }
    }

    #[test]
    fn junit_escapes_names_and_problems() {
        let broken = CaseProblem::Broken("a < b & \"c\"".to_owned());
        let xml = junit(&[report("x<y", Vec::new()), report("z", vec![broken])]);
        let suite = "<testsuite name=\"cases/a.yaml\" tests=\"2\" failures=\"1\" errors=\"0\">";
        assert!(xml.contains(suite), "{xml}");
        assert!(xml.contains("name=\"x&lt;y\" time=\"0.001500\"/>"), "{xml}");
        assert!(xml.contains("<failure>a &lt; b &amp; &quot;c&quot;\n</failure>"), "{xml}");
    }

    #[test]
    fn the_reason_why_cases_did_not_run_is_printed_once() {
        let not_run = || vec![CaseProblem::NotRun("policy `p`: bad\u{1b}[2J".to_owned())];
        let reports = [report("a", not_run()), report("b", not_run()), report("c", Vec::new())];
        let plain = |text: String| anstream::adapter::strip_str(&text).to_string();
        let text = plain(text(&reports));
        assert!(text.contains("FAIL a  not run\n") && text.contains("FAIL b  not run\n"), "{text}");
        assert_eq!(text.matches("policy `p`").count(), 1, "{text}");
        let end = "2 cases not run: policy `p`: bad [2J\n1 of 3 cases passed, 2 failed (2 not run); ";
        assert!(text.contains(end), "{text}");
        assert_eq!(plain(failures(&reports, "")), "2 cases not run: policy `p`: bad [2J\n");
        assert_eq!(failures(&reports, "policy  FAILED: `p`: bad [2J; its `onError` decides"), "");
        let xml = junit(&reports);
        assert!(xml.contains("tests=\"3\" failures=\"0\" errors=\"2\">"), "{xml}");
        assert_eq!(xml.matches("<error>not run: policy `p`").count(), 2, "{xml}");
    }

    #[test]
    fn a_diff_shows_only_entries_that_do_not_fit() {
        let expect: Expect = serde_json::from_value(json!({
            "denials": [{"code": "invalid", "pointer": "/a", "contains": "bad"}, {"code": "invalid", "pointer": "/b"}],
        }))
        .unwrap();
        let denial = |pointer: &str| wardset_cases::CaseDenial {
            code: "invalid",
            pointer: pointer.into(),
            message: "bad value".into(),
            fix: "remove it".into(),
        };
        let answer =
            wardset_cases::CaseAnswer { denials: vec![denial("/a"), denial("/c")], ..Default::default() };
        let (expected, found) = outcomes(&expect, &CaseOutcome::Answer(answer));
        assert_eq!(expected["denials"][0], found["denials"][0]);
        assert_ne!(expected["denials"][1], found["denials"][1]);
    }

    #[test]
    fn a_trap_has_a_hint() {
        let outcome = |error: &str| {
            let found = json!({"error": error});
            CaseProblem::Outcome(Box::new(Compared { expected: json!({"decision": "allowed"}), found }))
        };
        assert!(
            describe(&outcome("trap: wasm `unreachable` instruction executed")).contains("WARDSET_LOG=guest")
        );
        assert!(!describe(&outcome("declined: no")).contains("hint:"));
    }

    #[test]
    fn the_text_counts_cases_and_laws() {
        let text = text(&[report("a", Vec::new()), report("b", vec![CaseProblem::Vacuous("x".into())])]);
        let text = anstream::adapter::strip_str(&text).to_string();
        assert!(
            text.ends_with("1 of 2 cases passed, 1 failed; 14 checks of laws; 3.0 ms in policies\n"),
            "{text}"
        );
        assert!(text.contains("FAIL b"), "{text}");
    }
}
