//! `wardset place`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use wardset_core::decision::Outcome;
use wardset_core::policy::NamespaceLabels;
use wardset_core::text::one_line;
use wardset_placement::{KubernetesVersion, Node};

use super::args::{FailOn, PlaceArgs, PlaceOutput};
use super::setup;
use crate::admission::NodeSource;
use crate::cluster;
use crate::offline::input::{self, InputSource};
use crate::offline::request::SkippedObject;
use crate::offline::{Outcomes, Reviewed, request};
use crate::preview::{self, Forms, Inventory, Preview, ReadObject};
use crate::telemetry;

/// Bytes of one remark.
const MAX_REMARK: usize = 1024;

pub(super) async fn run(args: Box<PlaceArgs>) -> anyhow::Result<ExitCode> {
    telemetry::for_commands();
    ensure!(
        args.cluster || !args.nodes.is_empty(),
        "expected nodes, found neither `--nodes` nor `--cluster`; hint: `--cluster` reads those of the current \
         kubeconfig, and `--nodes FILE` those that `kubectl get nodes -o yaml` wrote"
    );
    let old = args.old.iter();
    setup::reads_standard_input_once(args.files.iter().chain(&args.nodes).chain(&args.old_nodes).chain(old))?;
    let inventory = inventory(&args).await?;
    let nodes = inventory.nodes();
    if nodes.is_empty() {
        bail!("the cluster has no nodes");
    }
    let node = args.node.as_deref().map(|name| find_node(&nodes, name)).transpose()?;
    if args.files.is_empty() {
        return stored(&args, &inventory, &nodes);
    }
    let old_inventory =
        (!args.old_nodes.is_empty()).then(|| setup::inventory(&args.old_nodes)).transpose()?;
    let old_nodes = old_inventory.as_ref().map(Inventory::nodes);
    if let Some(gone) = old_nodes.iter().flatten().find(|old| nodes.iter().all(|node| node.name != old.name))
    {
        bail!(
            "`--old-nodes` has the node `{}`, which `--nodes` lacks; hint: pass the same nodes twice",
            gone.name
        );
    }
    let (reviewed, broken) = review(&args, &inventory).await?;
    let mut previews = Vec::new();
    for one in &reviewed {
        let preview = preview::of_review(one, &inventory, &nodes, old_nodes.as_deref())
            .with_context(|| one.origin.clone())?;
        if let (Some(node), PlaceOutput::Text | PlaceOutput::Wide) = (node, args.output) {
            let shown = if one.is_allowed() { &one.stored } else { &one.manifest };
            let object = ReadObject::parse(shown.text())?;
            let pod = &object.daemon_set()?.spec.template.spec;
            if !one.is_allowed() {
                super::print("A policy refuses the object. As written:\n")?;
            }
            super::print(&preview::explain(&preview.title, pod, node, inventory.version))?;
        }
        previews.push(preview);
    }
    let refused = reviewed.iter().any(|one| !one.is_allowed());
    for one in reviewed.iter().filter(|one| !one.is_allowed()) {
        let (Outcome::Denied { message, .. } | Outcome::Failed { message, .. }) = &one.decision.outcome
        else {
            continue;
        };
        super::say(&format!("{}: refused: {message}; hint: `wardset review` shows more", one.title()));
    }
    if args.output == PlaceOutput::Json {
        super::print_data(&preview::json(&previews))?;
    } else if node.is_none() {
        let tables: Vec<String> = previews
            .iter()
            .map(|preview| preview::table(preview, args.output == PlaceOutput::Wide))
            .collect();
        super::print(&tables.join("\n"))?;
    }
    if previews.is_empty() && !broken {
        super::say("no DaemonSet found; hint: `--filename` names files with apps/v1 DaemonSets");
        // A check of nothing must not pass.
        return Ok(ExitCode::from(if args.fail_on.is_empty() { 0 } else { 2 }));
    }
    Ok(exit_code(broken, refused, &previews, &args.fail_on))
}

/// Prints the answers for the DaemonSets that the cluster has.
fn stored(args: &PlaceArgs, inventory: &Inventory, nodes: &[Node<'_>]) -> anyhow::Result<ExitCode> {
    let stored = inventory.daemon_sets();
    if stored.is_empty() {
        bail!(
            "expected DaemonSets, found none; hint: pass manifests by `--filename`, or save nodes and DaemonSets with \
             `kubectl get nodes,daemonsets -A -o yaml`"
        );
    }
    let mut previews = Vec::new();
    for one in stored {
        let forms = Forms { stored: Some(&one.object), written: &one.object, decided: Some(&one.object) };
        let preview = Preview::new(one.title.clone(), String::new(), &forms, inventory, nodes, None);
        previews.push(preview.with_context(|| format!("DaemonSet `{}`", one.title))?);
    }
    match args.output {
        PlaceOutput::Json => super::print_data(&preview::json(&previews))?,
        PlaceOutput::Text | PlaceOutput::Wide => {
            let matrix = preview::matrix(inventory);
            super::print(&matrix.map_err(|(title, error)| {
                anyhow::Error::new(error).context(format!("DaemonSet `{title}`"))
            })?)?;
        }
    }
    Ok(exit_code(false, false, &previews, &args.fail_on))
}

fn exit_code(broken: bool, refused: bool, previews: &[Preview<'_>], fail_on: &[FailOn]) -> ExitCode {
    let found = |preview: &Preview<'_>| {
        fail_on.iter().any(|kind| match kind {
            FailOn::Zero => preview.is_nowhere(),
            FailOn::Shrink => preview.shrinks(),
        })
    };
    let failed = refused || previews.iter().any(found);
    ExitCode::from(if broken { 2 } else { u8::from(failed) })
}

fn find_node<'n>(nodes: &'n [Node<'n>], name: &str) -> anyhow::Result<&'n Node<'n>> {
    let known: Vec<&str> = nodes.iter().take(5).map(|node| &*node.name).collect();
    nodes.iter().find(|node| &*node.name == name).with_context(|| {
        format!("no node `{name}`; hint: there are {} nodes, such as {}", nodes.len(), known.join(", "))
    })
}

/// Reads the nodes, and the pods and DaemonSets beside them.
async fn inventory(args: &PlaceArgs) -> anyhow::Result<Inventory> {
    let mut inventory;
    let mut version = None;
    if args.cluster {
        let (client, _) = cluster::client().await?;
        inventory = Inventory::new(KubernetesVersion::default());
        version = Some(cluster::listing::fill(&client, &mut inventory, super::say).await?);
    } else {
        inventory = setup::inventory(&args.nodes)?;
    }
    let version = args.kubernetes_version.or(version).unwrap_or_default();
    inventory.version = if args.numeric_tolerations { version.with_numeric_tolerations() } else { version };
    Ok(inventory)
}

/// Reviews the manifests. Returns whether one of them could not be read or reviewed.
async fn review(args: &PlaceArgs, inventory: &Inventory) -> anyhow::Result<(Vec<Reviewed>, bool)> {
    let (files, mut broken) = setup::read(&args.files, args.recursive);
    let old = match &args.old {
        Some(old) => {
            let file = input::read(old, true)?;
            file.documents.into_iter().flat_map(|document| document.objects).collect()
        }
        None => inventory.daemon_sets().into_iter().map(stored_source).collect(),
    };
    let settings =
        request::Settings { old, namespace: args.namespace.clone(), ..request::Settings::default() };
    let labels = args.namespace_labels.clone().map(|labels| Arc::new(labels.into_iter().collect()));
    let labels = labels.map_or(NamespaceLabels::Unknown, NamespaceLabels::Known);
    let judge = setup::judge(&args.policies.clone().into(), labels).await?;
    let judge = judge.with_nodes(NodeSource::Fixed(inventory.cluster_nodes()));
    let mut reviewed = Vec::new();
    for source in files.iter().flat_map(|file| &file.documents).flat_map(|document| &document.objects) {
        match crate::offline::review(&judge, source, &settings).await {
            Ok(Outcomes::Decided(one)) => reviewed.push(*one),
            Ok(Outcomes::Skipped { origin, reason: reason @ SkippedObject::OldDaemonSet { .. } }) => {
                super::say(&one_line(&format!("skipped {origin}: {reason}"), MAX_REMARK));
            }
            Ok(Outcomes::Skipped { .. }) => {}
            Err(error) => {
                broken = true;
                super::say_error(&format!("{:#}", anyhow::Error::new(error)));
            }
        }
    }
    Ok((reviewed, broken))
}

fn stored_source(stored: &preview::StoredDaemonSet) -> InputSource {
    InputSource { origin: stored.title.clone(), json: stored.object.value().to_string(), named: true }
}
