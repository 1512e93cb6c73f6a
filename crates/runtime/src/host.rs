//! What a guest can ask the host for: its document, the permitted cluster data, and the log. Enforces the manifest's
//! `reads`, and the limits of the sandbox.

use std::sync::Arc;
use std::time::Instant;

use wardset_core::chain::MAX_CHANGES;
use wardset_core::document::Document;
use wardset_core::patch::PatchOperation;
use wardset_core::placement::{BlastRadius, ClusterNodes, NodeCounts};
use wardset_core::plan::Plan;
use wardset_core::policy::ClusterData;
use wardset_core::verdict::{Edit, MAX_DETAIL};
use wardset_core::{Pointer, text, verdict};
use wasmtime::ResourceLimiter;

/// Maximum number of log lines of one evaluation. The host drops further ones.
const MAX_LOG_LINES: u32 = 16;

/// Maximum length of one log line, in bytes. The host truncates it.
const MAX_LOG_LINE: usize = 512;

/// The state of one sandbox.
pub(crate) struct Host {
    /// `None` while the module is loaded: it must not call anything then.
    evaluation: Option<Evaluation>,
    pub(crate) limits: SandboxLimits,
    log_lines: u32,
}

/// The data that one evaluation may read.
pub(crate) struct Evaluation {
    pub(crate) plan: Arc<Plan>,
    pub(crate) object: Arc<Document>,
    pub(crate) old_object: Option<Arc<Document>>,
    /// The labels of the namespace as JSON text, if they are known and the policy allows them.
    pub(crate) namespace_labels: Option<String>,
    /// The nodes, if they are known and the policy allows them.
    pub(crate) nodes: Option<Arc<ClusterNodes>>,
    /// Whether its log lines are written.
    pub(crate) logs: bool,
}

/// The level of a guest's log line.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// The limits of one sandbox.
pub(crate) struct SandboxLimits {
    /// Maximum linear memory in bytes, all memories of the component together.
    memory: usize,
    /// Linear memory in use, in bytes.
    used: usize,
    pub(crate) deadline: Instant,
    /// Whether it is the review's deadline, not the policy's own.
    pub(crate) late: bool,
}

impl SandboxLimits {
    pub(crate) fn new(memory: usize, own: Instant, review: Instant) -> Self {
        Self { memory, used: 0, deadline: own.min(review), late: review < own }
    }

    /// Whether the deadline is ahead.
    pub(crate) fn time_is_left(&self) -> bool {
        Instant::now() < self.deadline
    }

    /// Returns the reason for which a guest is stopped after the deadline.
    pub(crate) fn timeout(&self) -> Stopped {
        if self.late { Stopped::Late } else { Stopped::Deadline }
    }

    /// Returns the linear memory in use, in bytes.
    pub(crate) fn used(&self) -> usize {
        self.used
    }
}

/// The reason for which the host stopped a guest. The caller finds it by its type in wasmtime's error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    #[error("exceeded its time limit")]
    Deadline,
    #[error("was still running at the deadline of the review")]
    Late,
    #[error("needs {desired} bytes of memory; the limit is {limit}")]
    Memory { desired: usize, limit: usize },
    #[error("needs a table of {desired} elements; the limit is {limit}")]
    Table { desired: usize, limit: usize },
    #[error("read `{pointer}`, which the manifest's `reads` do not cover")]
    Read { pointer: String },
    #[error("expected a JSON Pointer in a read, found `{pointer}`")]
    NoPointer { pointer: String },
    #[error(
        "asked for cluster data (`{}`) that its manifest doesn't declare or its policy doesn't allow",
        data.name()
    )]
    Data { data: ClusterData },
    #[error("`placement.object`: failed to apply an edit: {detail}")]
    Edit { detail: String },
    #[error("the machine is out of memory")]
    Machine,
    #[error("called the host while it was being loaded")]
    NotEvaluating,
}

impl Stopped {
    pub(crate) fn class(&self) -> verdict::FailureClass {
        match self {
            Self::Deadline => verdict::FailureClass::Deadline,
            Self::Late => verdict::FailureClass::Late,
            Self::Memory { .. } | Self::Table { .. } => verdict::FailureClass::Memory,
            Self::Edit { .. } => verdict::FailureClass::Patch,
            Self::Machine => verdict::FailureClass::Host,
            Self::Read { .. } | Self::NoPointer { .. } | Self::Data { .. } | Self::NotEvaluating => {
                verdict::FailureClass::Access
            }
        }
    }
}

impl Host {
    pub(crate) fn new(evaluation: Option<Evaluation>, limits: SandboxLimits) -> Self {
        Self { evaluation, limits, log_lines: 0 }
    }

    fn evaluation(&self) -> Result<&Evaluation, Stopped> {
        self.evaluation.as_ref().ok_or(Stopped::NotEvaluating)
    }

    /// Returns the JSON text at `pointer` of the object under review, if there is a value.
    pub(crate) fn object(&self, pointer: &str) -> Result<Option<&str>, Stopped> {
        let evaluation = self.evaluation()?;
        let pointer = evaluation.pointer(pointer)?;
        Ok(evaluation.object.get(pointer))
    }

    /// As [`Host::object`], of the stored object that an update replaces.
    pub(crate) fn old_object(&self, pointer: &str) -> Result<Option<&str>, Stopped> {
        let evaluation = self.evaluation()?;
        let pointer = evaluation.pointer(pointer)?;
        Ok(evaluation.old_object.as_ref().and_then(|old| old.get(pointer)))
    }

    /// Returns cluster data as JSON text, if it is known.
    pub(crate) fn cluster_data(&self, data: ClusterData) -> Result<Option<&str>, Stopped> {
        let evaluation = self.evaluation()?;
        let plan = &evaluation.plan;
        if !plan.manifest.cluster.contains(&data) || !plan.policy.cluster_data.contains(&data) {
            return Err(Stopped::Data { data });
        }
        Ok(match data {
            ClusterData::NamespaceLabels => evaluation.namespace_labels.as_deref(),
            // A guest gets counts of them only.
            ClusterData::Nodes => None,
        })
    }

    /// Counts the nodes for the object under review with `edits` applied, if nodes are known and allowed.
    pub(crate) fn node_counts(&self, edits: Vec<Edit>) -> Result<Option<NodeCounts>, Stopped> {
        let (evaluation, Some(nodes)) = self.nodes()? else { return Ok(None) };
        if edits.is_empty() {
            return self.in_time(nodes.counts(&evaluation.object, || self.limits.time_is_left()));
        }
        if edits.len() > MAX_CHANGES {
            let detail = format!("expected at most {MAX_CHANGES} edits, found {}", edits.len());
            return Err(Stopped::Edit { detail });
        }
        let mut object = Document::clone(&evaluation.object);
        for edit in edits {
            self.in_time(())?;
            let operation = PatchOperation::try_from(edit);
            let operation = operation.map_err(|failure| Stopped::Edit { detail: failure.detail })?;
            let applied = object.apply(&operation);
            applied.map_err(|error| Stopped::Edit { detail: text::with_causes(&error, MAX_DETAIL) })?;
        }
        self.in_time(nodes.counts(&object, || self.limits.time_is_left()))
    }

    /// Counts the nodes for the stored object, if there is one and nodes are known and allowed.
    pub(crate) fn old_node_counts(&self) -> Result<Option<NodeCounts>, Stopped> {
        let (evaluation, Some(nodes)) = self.nodes()? else { return Ok(None) };
        let old = evaluation.old_object.as_ref();
        self.in_time(old.and_then(|old| nodes.counts(old, || self.limits.time_is_left())))
    }

    /// Predicts the effect of the object under review on pods, if nodes are known and allowed.
    pub(crate) fn pod_effect(&self) -> Result<Option<BlastRadius>, Stopped> {
        let (evaluation, Some(nodes)) = self.nodes()? else { return Ok(None) };
        let (old, new) = (evaluation.old_object.as_deref(), &evaluation.object);
        self.in_time(nodes.effect(old, new, || self.limits.time_is_left()))
    }

    /// Returns `answer` unless the guest's time is over. The engine interrupts only guests, so a call that can take long
    /// checks the time itself.
    fn in_time<T>(&self, answer: T) -> Result<T, Stopped> {
        if self.limits.time_is_left() { Ok(answer) } else { Err(self.limits.timeout()) }
    }

    /// Returns the nodes that the guest may ask about, or an error if the manifest does not declare them.
    fn nodes(&self) -> Result<(&Evaluation, Option<&ClusterNodes>), Stopped> {
        let evaluation = self.evaluation()?;
        if !evaluation.plan.manifest.cluster.contains(&ClusterData::Nodes) {
            return Err(Stopped::Data { data: ClusterData::Nodes });
        }
        Ok((evaluation, evaluation.nodes.as_deref()))
    }

    /// Writes a line to the log, within limits.
    pub(crate) fn log(&mut self, level: Level, message: &str) -> Result<(), Stopped> {
        if self.log_lines == MAX_LOG_LINES {
            return Ok(());
        }
        self.log_lines += 1;
        let evaluation = self.evaluation()?;
        if !evaluation.logs {
            return Ok(());
        }
        let policy = &*evaluation.plan.policy.name;
        let message = &message[..message.floor_char_boundary(MAX_LOG_LINE)];
        // A line break or an escape sequence would forge a line of somebody else.
        let message = &*message.replace(char::is_control, " ");
        match level {
            Level::Debug => tracing::debug!(target: "guest", policy, message),
            Level::Info => tracing::info!(target: "guest", policy, message),
            Level::Warn => tracing::warn!(target: "guest", policy, message),
            Level::Error => tracing::error!(target: "guest", policy, message),
        }
        Ok(())
    }
}

impl Evaluation {
    fn pointer<'p>(&self, text: &'p str) -> Result<&'p Pointer, Stopped> {
        let cut = || text.chars().take(200).collect();
        let pointer = Pointer::parse(text).map_err(|_| Stopped::NoPointer { pointer: cut() })?;
        if self.plan.manifest.may_read(pointer) { Ok(pointer) } else { Err(Stopped::Read { pointer: cut() }) }
    }
}

impl ResourceLimiter for SandboxLimits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The memory's own type allows less: the guest learns that its request failed.
            return Ok(false);
        }
        let together = self.used.saturating_sub(current).saturating_add(desired);
        if together > self.memory {
            return Err(Stopped::Memory { desired: together, limit: self.memory }.into());
        }
        self.used = together;
        Ok(true)
    }

    /// Memory within the limits that the machine cannot provide. If the guest learned of it, its answer could depend
    /// on the machine.
    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        Err(Stopped::Machine.into())
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        Err(Stopped::Machine.into())
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        match maximum {
            Some(limit) if desired > limit => Err(Stopped::Table { desired, limit }.into()),
            _ => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use wardset_core::manifest::{Manifest, ManifestParts};
    use wardset_core::policy::{API_VERSION, Policy, Resource};

    use super::*;

    /// The host of a guest that may ask for nodes, and whose time ends `left` from now.
    fn host(left: Duration, is_late: bool) -> Host {
        let resource = json!({
            "apiVersion": API_VERSION, "kind": "Policy", "metadata": {"name": "n"},
            "spec": {"module": "builtin:x", "clusterData": ["nodes"]},
        });
        let resource: Resource = serde_json::from_value(resource).unwrap();
        let manifest = Manifest::try_from(ManifestParts {
            name: "n".into(),
            version: "0".into(),
            description: "d".into(),
            cluster: vec![ClusterData::Nodes],
            settings_schema: "{}".into(),
            ..ManifestParts::default()
        });
        let policy = Policy::try_from(resource).unwrap();
        let plan = Plan { policy, manifest: Arc::new(manifest.unwrap()), digest: String::new() };
        let object = Arc::new(Document::parse(r#"{"spec":{"template":{"spec":{}}}}"#.to_owned()).unwrap());
        let evaluation = Evaluation {
            plan: Arc::new(plan),
            object: Arc::clone(&object),
            old_object: Some(object),
            namespace_labels: None,
            nodes: Some(Arc::new(ClusterNodes::default())),
            logs: false,
        };
        let (now, later) = (Instant::now() + left, Instant::now() + left + Duration::from_secs(60));
        let (own, review) = if is_late { (later, now) } else { (now, later) };
        Host::new(Some(evaluation), SandboxLimits::new(0, own, review))
    }

    #[test]
    fn questions_about_nodes_end_with_the_time_of_the_guest() {
        let ahead = host(Duration::from_secs(60), false);
        assert!(matches!(ahead.node_counts(Vec::new()), Ok(Some(_))));
        assert!(matches!(ahead.old_node_counts(), Ok(Some(_))));
        assert!(matches!(ahead.pod_effect(), Ok(Some(_))));

        let over = host(Duration::ZERO, false);
        let remove = || vec![Edit::Remove { path: "/spec/template".to_owned() }];
        assert!(matches!(over.node_counts(Vec::new()), Err(Stopped::Deadline)));
        assert!(matches!(over.node_counts(remove()), Err(Stopped::Deadline)));
        assert!(matches!(over.old_node_counts(), Err(Stopped::Deadline)));
        assert!(matches!(over.pod_effect(), Err(Stopped::Deadline)));
        assert!(matches!(host(Duration::ZERO, true).pod_effect(), Err(Stopped::Late)));
    }
}
