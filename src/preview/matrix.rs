//! All DaemonSets of a cluster and all pools of its nodes, to find missing pods.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

use wardset_core::text::one_line;
use wardset_placement::{Node, NodePlacement, Reason, Remedy};

use super::object::ObjectError;
use super::table::{BOLD, DIM, wrap};
use super::{Inventory, StoredDaemonSet};
use crate::offline::text::count;
use crate::yaml;

/// Columns of the table.
const WIDTH: usize = 80;
/// Bytes of a name from an object.
const MAX_TEXT: usize = 253;

/// The answers for one DaemonSet on the nodes of one pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct MatrixCell {
    runs: usize,
    nodes: usize,
    /// Pods that exist and are not available, if pods are known.
    pending: usize,
    /// The kinds of reasons, without duplicates.
    missing_by: Vec<&'static str>,
    /// The reasons in full, each with the tolerations that bring the pods there as YAML. They are empty if tolerations are
    /// not enough.
    reasons: BTreeMap<String, String>,
}

/// Writes the table, and under it each reason with the DaemonSets that it keeps off. For taints, it adds the tolerations to
/// paste.
///
/// # Errors
///
/// A DaemonSet with a field of another type than the API server accepts.
pub fn matrix(inventory: &Inventory) -> Result<String, (String, ObjectError)> {
    let nodes = inventory.nodes();
    let mut pools: BTreeMap<String, Vec<&Node<'_>>> = BTreeMap::new();
    for node in &nodes {
        pools.entry(pool_name(node)).or_default().push(node);
    }
    let mut rows = Vec::new();
    for stored in inventory.daemon_sets() {
        let cells = row(inventory, stored, &pools).map_err(|error| (stored.title.clone(), error))?;
        rows.push((one_line(&stored.title, MAX_TEXT), cells));
    }
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = write_matrix(&mut out, &pools, &rows);
    Ok(out)
}

/// Returns the pool of a node: its group, else the taints that keep pods off, else none.
fn pool_name(node: &Node<'_>) -> String {
    if let Some(group) = node.group() {
        return one_line(group, 63);
    }
    let taints = node.taints.iter().filter(|taint| taint.keeps_off());
    let keys: Vec<String> = taints.map(|taint| one_line(&taint.key, 63)).collect();
    if keys.is_empty() { "(no pool)".to_owned() } else { keys.join(",") }
}

fn row(
    inventory: &Inventory,
    stored: &StoredDaemonSet,
    pools: &BTreeMap<String, Vec<&Node<'_>>>,
) -> Result<Vec<MatrixCell>, ObjectError> {
    let object = stored.object.daemon_set()?;
    let pod = &object.spec.template.spec;
    let pods = inventory.pods(object.spec.min_ready_seconds).unwrap_or_default();
    let waiting: BTreeSet<&str> =
        pods.iter().filter(|pod| pod.owner == stored.title && !pod.available).map(|pod| pod.node).collect();
    let cells = pools.values().map(|nodes| {
        let mut cell = MatrixCell { nodes: nodes.len(), ..MatrixCell::default() };
        for node in nodes {
            let placement = pod.on(node, inventory.version);
            cell.add(&placement, || tolerations(&Remedy::find(pod, node, inventory.version)));
            cell.pending += usize::from(placement.runs() && waiting.contains(&*node.name));
        }
        cell
    });
    Ok(cells.collect())
}

/// Returns the tolerations of a remedy as YAML; nothing if it has other changes, too.
fn tolerations(remedy: &Remedy<'_>) -> String {
    let alone = Remedy { tolerations: remedy.tolerations.clone(), ..Remedy::default() };
    if *remedy == alone && !alone.is_empty() { yaml::to_string(&remedy.tolerations) } else { String::new() }
}

impl MatrixCell {
    fn add(&mut self, placement: &NodePlacement<'_>, tolerations: impl FnOnce() -> String) {
        let Some(reason) = placement.reason() else {
            self.runs += 1;
            return;
        };
        self.reasons.entry(reason).or_insert_with(tolerations);
        for reason in placement.reasons() {
            let word = match reason {
                Reason::NodeName { .. } => "nodeName",
                Reason::NodeSelector { .. } => "selector",
                Reason::Affinity { .. } => "affinity",
                Reason::Taint(_) => "taint",
            };
            if !self.missing_by.contains(&word) {
                self.missing_by.push(word);
            }
        }
    }

    fn text(&self) -> String {
        let missing = self.missing_by.join("+");
        let mut text = match self.runs {
            0 => missing,
            runs if runs == self.nodes => "runs".to_owned(),
            runs => format!("{runs}/{} {missing}", self.nodes),
        };
        if self.pending > 0 {
            text.push_str(&format!(" ({} pending)", self.pending));
        }
        text
    }
}

fn write_matrix(
    out: &mut String,
    pools: &BTreeMap<String, Vec<&Node<'_>>>,
    rows: &[(String, Vec<MatrixCell>)],
) -> fmt::Result {
    let heads: Vec<String> = pools.iter().map(|(name, nodes)| format!("{name} ({})", nodes.len())).collect();
    let names = rows.iter().map(|(title, _)| title.chars().count()).max().unwrap_or(0).max("DAEMONSET".len());
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(n, head)| {
            let cells = rows.iter().filter_map(|(_, cells)| Some(cells.get(n)?.text().chars().count()));
            cells.chain([head.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    write!(out, "{BOLD}{:names$}{BOLD:#}", "DAEMONSET")?;
    for (head, width) in heads.iter().zip(&widths) {
        write!(out, "  {BOLD}{head:width$}{BOLD:#}", width = *width)?;
    }
    writeln!(out)?;
    for (title, cells) in rows {
        let mut line = format!("{title:names$}");
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(line, "  {:width$}", cell.text(), width = *width);
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    write_reasons(out, pools, rows)
}

/// Lists each reason once for each pool.
fn write_reasons(
    out: &mut String,
    pools: &BTreeMap<String, Vec<&Node<'_>>>,
    rows: &[(String, Vec<MatrixCell>)],
) -> fmt::Result {
    for (n, (pool, nodes)) in pools.iter().enumerate() {
        let mut by_reason: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for (title, cells) in rows {
            for (reason, tolerations) in cells.get(n).into_iter().flat_map(|cell| &cell.reasons) {
                by_reason.entry((reason, tolerations)).or_default().push(title);
            }
        }
        if by_reason.is_empty() {
            continue;
        }
        writeln!(out, "\n{BOLD}{pool}{BOLD:#}  {DIM}{}{DIM:#}", count(nodes.len(), "node"))?;
        for ((reason, tolerations), titles) in by_reason {
            for line in wrap(&one_line(reason, 2048), WIDTH - 2) {
                writeln!(out, "  {line}")?;
            }
            for line in wrap(&titles.join(", "), WIDTH - 4) {
                writeln!(out, "    {DIM}{line}{DIM:#}")?;
            }
            if !tolerations.is_empty() {
                writeln!(out, "    to run there, append to spec.template.spec.tolerations:")?;
            }
            for line in tolerations.lines() {
                writeln!(out, "      {line}")?;
            }
        }
    }
    Ok(())
}
