//! One node in full: each reason with the node's own values, and the change that brings the pods there.

use std::fmt::{self, Write};

use serde_json::{Map, Value, json};
use wardset_core::text::one_line;
use wardset_placement::{KubernetesVersion, Node, PodSpec, Reason, Remedy};

use super::table::{BOLD, DIM, GREEN, RED};
use crate::yaml;

/// Bytes of a name or value from an object.
const MAX_TEXT: usize = 512;

/// Explains why the pods of a DaemonSet run on a node or not.
#[must_use]
pub fn explain(title: &str, pod: &PodSpec<'_>, node: &Node<'_>, version: KubernetesVersion) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = write_explanation(&mut out, title, pod, node, version);
    out
}

fn write_explanation(
    out: &mut String,
    title: &str,
    pod: &PodSpec<'_>,
    node: &Node<'_>,
    version: KubernetesVersion,
) -> fmt::Result {
    let placement = pod.on(node, version);
    let mut facts: Vec<String> = Vec::new();
    facts.extend(node.group().map(|group| format!("pool {}", line(group))));
    facts.extend(node.unschedulable.then(|| "cordoned".to_owned()));
    facts.extend((node.ready == Some(false)).then(|| "not Ready".to_owned()));
    facts.push(format!("Kubernetes {version}"));
    let facts = format!("  {DIM}{}{DIM:#}", facts.join(", "));
    writeln!(out, "{BOLD}Node {}{BOLD:#}{facts}", line(&node.name))?;
    if placement.runs() {
        writeln!(out, "  {GREEN}DaemonSet {} runs here{GREEN:#}", line(title))?;
        let tolerated = node.taints.iter().filter(|taint| taint.keeps_off());
        for taint in tolerated {
            writeln!(out, "    it tolerates the taint {}", line(&taint.to_string()))?;
        }
        return Ok(());
    }
    let stays = if placement.continues() { "; a pod that is there already stays" } else { "" };
    writeln!(out, "  {RED}DaemonSet {} does not run here{RED:#}{stays}", line(title))?;
    for reason in placement.reasons() {
        write_reason(out, reason, node)?;
    }
    write_remedy(out, &Remedy::find(pod, node, version), pod, &node.name)
}

fn write_reason(out: &mut String, reason: &Reason<'_>, node: &Node<'_>) -> fmt::Result {
    let found = |key: &str| match node.labels.get(key) {
        Some(value) => format!("the node has {}={}", line(key), line(value)),
        None => "the node lacks this label".to_owned(),
    };
    match reason {
        Reason::NodeName { wanted } => writeln!(out, "    nodeName is {}", line(wanted)),
        Reason::NodeSelector { key, wanted, .. } => {
            writeln!(out, "    nodeSelector {}={}: {}", line(key), line(wanted), found(key))
        }
        Reason::Taint(taint) => {
            writeln!(out, "    taint {}: no toleration covers it", line(&taint.to_string()))
        }
        Reason::Affinity { unmet } => {
            let Some((position, requirements)) = reason.closest_term() else {
                return writeln!(out, "    affinity: no term can match a node");
            };
            match unmet.len() {
                1 => writeln!(out, "    affinity: its only term does not match")?,
                terms => writeln!(
                    out,
                    "    affinity: none of {terms} terms matches; the closest is term {}",
                    position + 1
                )?,
            }
            for requirement in requirements {
                let found = if &*requirement.key == "metadata.name" {
                    format!("the node is {}", line(&node.name))
                } else {
                    found(&requirement.key)
                };
                writeln!(out, "      {}: {found}", line(&requirement.to_string()))?;
            }
            Ok(())
        }
    }
}

fn write_remedy(out: &mut String, remedy: &Remedy<'_>, pod: &PodSpec<'_>, node: &str) -> fmt::Result {
    writeln!(out, "  to run it here:")?;
    if remedy.without_node_name {
        writeln!(out, "    remove spec.template.spec.nodeName")?;
    }
    for (key, value) in &remedy.without_node_selector {
        let (key, value) = (line(key), line(value));
        // The term below is about the node as it is, so its labels must stay.
        if remedy.term.is_none() {
            writeln!(out, "    label the node: kubectl label node {} {key}={value} --overwrite", line(node))?;
            writeln!(out, "    or remove {key}={value} from spec.template.spec.nodeSelector, for all nodes")?;
        } else {
            writeln!(out, "    remove {key}={value} from spec.template.spec.nodeSelector, for all nodes")?;
        }
    }
    if let Some(term) = &remedy.term {
        writeln!(out, "    add this term to nodeSelectorTerms; terms are alternatives:")?;
        let mut members = Map::new();
        for (member, requirements) in
            [("matchExpressions", &term.match_expressions), ("matchFields", &term.match_fields)]
        {
            if !requirements.is_empty() {
                members.insert(member.to_owned(), json!(requirements));
            }
        }
        write_yaml(out, &json!([members]))?;
    }
    if remedy.tolerations.is_empty() {
        return Ok(());
    }
    if pod.tolerations.is_empty() {
        writeln!(out, "    add to spec.template.spec:")?;
        write_yaml(out, &json!({ "tolerations": remedy.tolerations }))?;
    } else {
        writeln!(out, "    append to spec.template.spec.tolerations:")?;
        write_yaml(out, &json!(remedy.tolerations))?;
    }
    Ok(())
}

fn write_yaml(out: &mut String, value: &Value) -> fmt::Result {
    yaml::to_string(value).lines().try_for_each(|line| writeln!(out, "      {line}"))
}

fn line(text: &str) -> String {
    one_line(text, MAX_TEXT)
}
