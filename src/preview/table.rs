//! Previews for people: a table of pools, and the effect on pods.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use anstyle::{AnsiColor, Style};
use wardset_core::text::one_line;
use wardset_placement::{NodeAnswer, NodeCounts, Pool, pools};

use super::Preview;
use crate::offline::text::count;

/// Columns of the narrow form.
const WIDTH: usize = 80;
/// Characters of a bar that stands for all nodes.
const BAR: usize = 12;
/// Bytes of a pool's name in the narrow form.
const POOL: usize = 24;
/// Column of a reason below its pool.
const BELOW: usize = 9;
/// Bytes of a name or reason from an object.
const MAX_TEXT: usize = 2048;
/// Words of the lines in yellow.
const ALARMING: [&str; 4] = ["deleted at once", "cannot finish", "may not finish", "Pending"];

pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const GREEN: Style = AnsiColor::Green.on_default();
pub(super) const RED: Style = AnsiColor::Red.on_default();
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default();

/// Writes the answers for all nodes, one line for each pool. If `wide`, lines have any length, and name the nodes.
#[must_use]
pub fn table(preview: &Preview<'_>, wide: bool) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = write_preview(&mut out, preview, wide);
    out
}

/// Returns the result as one line: `runs on 12 of 15 nodes`, and the number before the policies if it differs.
fn verdict_line(preview: &Preview<'_>) -> String {
    let (before, after) = (super::count(&preview.before), preview.runs());
    let nodes = count(preview.nodes.len(), "node");
    if preview.refused {
        return format!("refused by a policy; as written it would run on {before} of {nodes}");
    }
    let but = match (before == after, preview.nodes_changed) {
        (true, _) => String::new(),
        (false, false) => format!(", {before} without the policies"),
        (false, true) => format!(", {before} before the change of the nodes"),
    };
    format!("runs on {after} of {nodes}{but}")
}

/// Writes the answers and the effect as a few lines, to follow a review.
#[must_use]
pub fn lines(preview: &Preview<'_>) -> String {
    let mut out = String::new();
    let object = if preview.refused { "as written, it " } else { "" };
    let summary = NodeCounts::of(preview.nodes, &preview.after).summary(None);
    let effect = effect(preview);
    for line in std::iter::once(format!("{object}{summary}")).chain(effect) {
        // Writing to a String can't fail.
        let _ = writeln!(out, "{BOLD}placement:{BOLD:#} {}", one_line(&line, MAX_TEXT));
    }
    out
}

fn write_preview(out: &mut String, preview: &Preview<'_>, wide: bool) -> fmt::Result {
    let title = one_line(&preview.title, MAX_TEXT);
    let origin = one_line(&preview.origin, MAX_TEXT);
    writeln!(out, "{BOLD}DaemonSet {title}{BOLD:#}  {DIM}{origin}{DIM:#}")?;
    let style = if preview.refused || preview.is_nowhere() { RED } else { BOLD };
    let version = preview.version;
    writeln!(out, "  {style}{}{style:#}  {DIM}Kubernetes {version}{DIM:#}", verdict_line(preview))?;
    writeln!(out)?;
    write_pools(out, preview, wide)?;
    writeln!(out)?;
    for line in remarks(preview).into_iter().chain(effect(preview)) {
        let style = if ALARMING.iter().any(|words| line.contains(words)) { YELLOW } else { DIM };
        let width = if line.chars().count() > WIDTH - 2 { WIDTH - 4 } else { WIDTH - 2 };
        for (n, part) in wrap(&line, width).iter().enumerate() {
            writeln!(out, "  {}{style}{part}{style:#}", if n > 0 { "  " } else { "" })?;
        }
    }
    Ok(())
}

fn write_pools(out: &mut String, preview: &Preview<'_>, wide: bool) -> fmt::Result {
    // One column is enough if the policies move no pod.
    let changes = preview.before != preview.after;
    let before = changes.then_some(preview.before.as_slice());
    let pools = pools(preview.nodes, before, &preview.after);
    let name = |pool: &Pool<'_>| one_line(pool.group.unwrap_or("-"), if wide { 64 } else { POOL });
    let width = pools.iter().map(|pool| name(pool).chars().count()).max().unwrap_or(0).max("POOL".len());
    let bar = pools.iter().map(|pool| bar(pool, preview.nodes.len()).chars().count()).max().unwrap_or(0);
    let head = if changes { "BEFORE  AFTER" } else { "RUNS " };
    writeln!(out, "  {DIM}NODES  {:bar$}  {:width$}  {head}  WHY NOT{DIM:#}", "", "POOL")?;
    let offset = 2 + 5 + 2 + bar + 2 + width + 2 + head.len() + 2;
    for pool in &pools {
        let style = if pool.after.runs { GREEN } else { DIM };
        let drawn = self::bar(pool, preview.nodes.len());
        let gap = " ".repeat(bar - drawn.chars().count());
        write!(out, "  {:>5}  {style}{drawn}{style:#}{gap}  {:width$}  ", pool.nodes.len(), name(pool))?;
        if let Some(before) = &pool.before {
            write!(out, "{:6}  ", word(before))?;
        }
        // Without a reason on the same line, there are no spaces at its end.
        let last = if pool.after.reason.is_some() { 5 } else { 0 };
        write!(out, "{style}{:last$}{style:#}", word(&pool.after))?;
        let reason =
            pool.after.reason.as_deref().map(|reason| one_line(reason, MAX_TEXT)).unwrap_or_default();
        let room = if wide { usize::MAX } else { WIDTH.saturating_sub(offset) };
        // A long name, such as that of the control plane's taint, needs a line of its own.
        let fits = reason.split(' ').all(|word| word.chars().count() <= room);
        let (start, room) = if fits { (offset, room) } else { (BELOW, WIDTH - BELOW) };
        for (n, part) in wrap(&reason, room).iter().enumerate() {
            if n == 0 && fits {
                write!(out, "  {part}")?;
            } else {
                write!(out, "\n{:start$}{part}", "")?;
            }
        }
        writeln!(out)?;
        if wide {
            let names: Vec<String> = pool.nodes.iter().map(|name| one_line(name, 253)).collect();
            writeln!(out, "         {DIM}{}{DIM:#}", names.join(" "))?;
        }
    }
    Ok(())
}

/// Returns the effect on pods.
fn effect(preview: &Preview<'_>) -> Vec<String> {
    let refused = || vec!["no effect: a policy refuses the object, so the cluster stays as it is".to_owned()];
    let lines = preview.radius.as_ref().map_or_else(refused, wardset_placement::BlastRadius::lines);
    // A line can contain a port's protocol, which is text of the author.
    lines.iter().map(|line| one_line(line, MAX_TEXT)).collect()
}

/// Returns the facts beside the answers: pods that stay Pending, and the counters of the status.
fn remarks(preview: &Preview<'_>) -> Vec<String> {
    let mut waits: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (node, wait) in preview.nodes.iter().zip(&preview.waits) {
        if let Some(wait) = wait {
            waits.entry(wait).or_default().push(&node.name);
        }
    }
    let mut lines: Vec<String> = waits
        .into_iter()
        .map(|(wait, nodes)| {
            let pods = if nodes.len() == 1 { "1 pod stays" } else { &format!("{} pods stay", nodes.len()) };
            let more = if nodes.len() > 3 { ", …" } else { "" };
            let nodes: Vec<&str> = nodes.into_iter().take(3).collect();
            one_line(&format!("{pods} Pending: {wait} on {}{more}", nodes.join(", ")), MAX_TEXT)
        })
        .collect();
    let answers = preview.before.iter().zip(&preview.after);
    let kept = answers.filter(|(before, after)| before.runs && !after.runs && after.continues).count();
    if preview.nodes_changed && kept > 0 {
        lines.push(match kept {
            1 => "1 pod stays, but nothing replaces it: a taint keeps new pods off its node".to_owned(),
            _ => {
                format!("{kept} pods stay, but nothing replaces them: a taint keeps new pods off their nodes")
            }
        });
    }
    if let Some(super::StatusCounters { desired, current, misscheduled }) = preview.counters {
        lines.push(format!("status now: desired {desired}, current {current}, misscheduled {misscheduled}"));
    }
    lines
}

/// Returns a bar whose length is the pool's share of the nodes, at least one character.
fn bar(pool: &Pool<'_>, total: usize) -> String {
    let length = (pool.nodes.len() * BAR).div_ceil(total.max(1));
    if pool.after.runs { "█" } else { "░" }.repeat(length)
}

/// Returns the answer in one word: `keeps` means that the pods that are there stay, and no new one is created.
pub(super) fn word(answer: &NodeAnswer) -> &'static str {
    match (answer.runs, answer.continues) {
        (true, _) => "runs",
        (false, true) => "keeps",
        (false, false) => "-",
    }
}

/// Breaks a line at spaces. A word longer than `width` gets a line of its own.
pub(super) fn wrap(line: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in line.split(' ').filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(last) if last.chars().count() + 1 + word.chars().count() <= width => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_keep_long_words() {
        assert_eq!(wrap("a bb ccc dddddddd e", 6), ["a bb", "ccc", "dddddddd", "e"]);
        assert_eq!(wrap("", 6), Vec::<String>::new());
        assert_eq!(wrap("a b", usize::MAX), ["a b"]);
    }
}
