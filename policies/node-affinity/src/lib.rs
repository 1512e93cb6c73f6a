//! Narrows the nodes that a DaemonSet reaches: to workers, to real nodes, to nodes with given labels.
//!
//! It never adds a node, because it ANDs requirements into each term of the required node affinity. It
//! leaves a DaemonSet alone if its pods belong on the control plane, or if no node would remain.

mod exemption;

use exemption::Treatment;
use serde::Deserialize;
use wardset_policy_sdk::{
    ClusterData, Denial, Domain, Manifest, Operator, Outcome, Patch, Placement, Policy, Requirement, Review,
    SettingsError, Stop, Text, Toleration, Verdict, Wanted, export_policy, settings::RequirementSetting,
};

/// The policy.
#[derive(Debug)]
pub struct NodeAffinity;

/// The settings of the policy. At least one of the first three is set.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("x-clusterData" = {"nodes": "\"neverEmpty\":true"})))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Keep pods off the control plane.
    #[serde(default)]
    workers_only: bool,
    /// Keep pods off virtual nodes, which can't run pods of DaemonSets.
    #[serde(default)]
    exclude_virtual_nodes: bool,
    /// Requirements on the labels of nodes, ANDed.
    #[serde(default)]
    require: Vec<RequirementSetting>,
    /// The answer to a DaemonSet if no node would remain.
    #[serde(default)]
    on_conflict: OnConflict,
    /// The treatment by `workersOnly` of pods that serve the node itself: kube-proxy, network and storage
    /// drivers.
    #[serde(default)]
    node_infrastructure: NodeInfrastructure,
    /// The treatment by `workersOnly` of a DaemonSet that tolerates a taint of the control plane by its key.
    #[serde(default)]
    tolerates_control_plane: ToleratesControlPlane,
    /// Leave a DaemonSet alone if the policy would remove it from its last node. Without the cluster data `nodes`, it has no
    /// effect.
    #[serde(default = "yes")]
    never_empty: bool,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize), schemars(inline))]
#[serde(rename_all = "camelCase")]
enum OnConflict {
    /// Deny it.
    Deny,
    /// Leave it alone, with a warning.
    #[default]
    Warn,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize), schemars(inline))]
#[serde(rename_all = "camelCase")]
enum NodeInfrastructure {
    /// They stay on the control plane.
    #[default]
    LeaveAlone,
    /// They run on workers only.
    Restrict,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize), schemars(inline))]
#[serde(rename_all = "camelCase")]
enum ToleratesControlPlane {
    /// It stays on the control plane.
    LeaveAlone,
    /// It runs on workers only, and its author gets a warning.
    #[default]
    Restrict,
}

const AFFINITY: &str = "/spec/template/spec/affinity";
const NODE_SELECTOR: &str = "/spec/template/spec/nodeSelector";
const NODE_NAME: &str = "/spec/template/spec/nodeName";

/// The labels of control plane nodes, and the keys of their taints: kubeadm's, kubeadm's before 1.24, RKE1's.
const CONTROL_PLANE: [&str; 3] = [
    "node-role.kubernetes.io/control-plane",
    "node-role.kubernetes.io/master",
    "node-role.kubernetes.io/controlplane",
];

/// The labels of nodes that can't run pods of DaemonSets.
const VIRTUAL: [(&str, &str); 2] =
    [("eks.amazonaws.com/compute-type", "fargate"), ("type", "virtual-kubelet")];

impl Policy for NodeAffinity {
    type Settings = Settings;

    const MANIFEST: Manifest = Manifest {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        description: env!("CARGO_PKG_DESCRIPTION"),
        reads: &[
            AFFINITY,
            NODE_SELECTOR,
            NODE_NAME,
            exemption::TOLERATIONS,
            exemption::PRIORITY_CLASS,
            exemption::HOST_NETWORK,
            exemption::VOLUMES,
        ],
        writes: &[AFFINITY],
        cluster: &[ClusterData::Nodes],
        settings_schema: include_str!("../settings.schema.json"),
    };

    fn check(settings: &Settings) -> Result<(), SettingsError> {
        if !settings.workers_only && !settings.exclude_virtual_nodes && settings.require.is_empty() {
            let message = "found no requirement on nodes";
            let fix = "set `workersOnly`, `excludeVirtualNodes` or `require`";
            return Err(SettingsError::new("settings", message, fix));
        }
        for (i, setting) in settings.require.iter().enumerate() {
            setting.check(&format!("require[{i}]"))?;
        }
        let all: Vec<Requirement<'_>> = settings
            .requirements(settings.workers_only)
            .into_iter()
            .map(|(requirement, _)| requirement)
            .collect();
        for (i, requirement) in all.iter().enumerate() {
            let mut domain = Domain::any();
            all[..=i].iter().filter(|other| other.key == requirement.key).for_each(|other| domain.and(other));
            if domain.is_empty() {
                let message =
                    format!("no node satisfies `{requirement}` together with the other requirements");
                return Err(SettingsError::new("require", message, "remove one of the two"));
            }
        }
        Ok(())
    }

    fn evaluate(review: &Review, settings: &Settings) -> Result<Verdict, Stop> {
        if !review.template_is_open() {
            return Ok(Verdict::allow());
        }
        if review.object::<Text<'_>>(NODE_NAME)?.is_some_and(|name| !name.is_empty()) {
            let message = "`nodeName` pins the pods to one node, so the policy left node affinity alone";
            return Ok(Verdict::allow().with_warning(NODE_NAME, message));
        }
        let placement = Placement::read(review)?;
        let mut verdict = Verdict::allow();
        let mut restricted_despite = None;
        let workers_only = match settings.treatment(review, &placement)? {
            Treatment::LeaveAlone(reason) => {
                let by = if settings.is_workers_only_alone() { "" } else { " by `workersOnly`" };
                verdict = verdict.with_note(reason.pointer, format!("left alone{by}: {}", reason.text));
                false
            }
            Treatment::Restrict(toleration) => {
                restricted_despite = toleration;
                settings.workers_only
            }
        };
        let requirements = settings.requirements(workers_only);
        let wanted: Vec<Wanted<'_>> = requirements
            .iter()
            .map(|(requirement, reason)| Wanted { requirement: requirement.clone(), reason })
            .collect();
        let mut patch = Patch::new(review);
        Ok(match placement.narrow(&wanted, &mut patch)? {
            Outcome::Narrowed { .. } if settings.never_empty && empties(review, &patch)? => verdict.with_warning(
                AFFINITY,
                "no node of this cluster would be left, so the policy left node affinity alone (`neverEmpty`)",
            ),
            Outcome::Narrowed { dead } => {
                verdict = verdict.with_changes(patch);
                if let Some(toleration) = restricted_despite {
                    verdict = verdict.with_warning(
                        toleration.pointer,
                        format!(
                            "it tolerates `{}`, but `workersOnly` keeps it off the control plane; if it must \
                             run there, an administrator can exempt it (`excludeNames`)",
                            toleration.text
                        ),
                    );
                }
                let message = "this term matches no node now: it contradicts the requirements of the policy";
                dead.into_iter().fold(verdict, |verdict, term| verdict.with_warning(term, message))
            }
            Outcome::Nowhere => verdict.with_warning(
                AFFINITY,
                "the required node affinity matches no node, so the policy left it alone",
            ),
            Outcome::Conflict { pointer, requirement } if settings.on_conflict == OnConflict::Deny => {
                verdict.with_denial(no_node_left(pointer, &requirement))
            }
            Outcome::Conflict { pointer, requirement } => verdict.with_warning(
                pointer,
                format!("no node would satisfy `{requirement}`, so the policy left node affinity alone"),
            ),
        })
    }
}

impl Settings {
    /// Returns the requirements on nodes, each with its reason. A reason depends on its requirement alone, so
    /// that a report can merge it if several terms get the same requirement.
    fn requirements(&self, workers_only: bool) -> Vec<(Requirement<'_>, String)> {
        let workers = CONTROL_PLANE
            .into_iter()
            .filter(|_| workers_only)
            .map(|key| with_reason("keeps pods off the control plane", no(key)));
        let real = VIRTUAL.iter().filter(|_| self.exclude_virtual_nodes).map(|(key, value)| {
            let requirement = Requirement::new(key, Operator::NotIn, &[value]);
            with_reason("keeps pods off virtual nodes", requirement)
        });
        let required = self
            .require
            .iter()
            .map(|setting| with_reason("the settings require it of nodes", setting.requirement()));
        workers.chain(real).chain(required).collect()
    }

    /// Returns how `workersOnly` treats the DaemonSet. If the author keeps off the control plane, there is
    /// nothing to say.
    fn treatment(&self, review: &Review, placement: &Placement<'_>) -> Result<Treatment, Stop> {
        if !self.workers_only || CONTROL_PLANE.into_iter().all(|key| placement.implies(&no(key))) {
            return Ok(Treatment::Restrict(None));
        }
        exemption::treatment(self, review, placement)
    }

    fn is_workers_only_alone(&self) -> bool {
        !self.exclude_virtual_nodes && self.require.is_empty()
    }
}

/// Whether the patch removes the DaemonSet from its last node. If the host does not know the nodes, the answer is no.
fn empties(review: &Review, patch: &Patch<'_>) -> Result<bool, Stop> {
    if patch.changes().is_empty() {
        return Ok(false);
    }
    // If the nodes are unknown, the host need not read the changes.
    let Some(now) = review.node_counts() else { return Ok(false) };
    let runs = |patch: &Patch<'_>| review.node_counts_with(patch).map_or(0, |counts| counts.runs);
    if runs(patch) > 0 {
        return Ok(false);
    }
    // If taints keep it off all nodes, a later toleration must still find one. So the taints do not count then.
    let mut tolerant = Patch::new(review);
    tolerate_all(&mut tolerant)?;
    let mut tolerant_and_narrow = patch.clone();
    tolerate_all(&mut tolerant_and_narrow)?;
    Ok(now.runs > 0 || (runs(&tolerant) > 0 && runs(&tolerant_and_narrow) == 0))
}

fn tolerate_all(patch: &mut Patch<'_>) -> Result<(), Stop> {
    let all = Toleration { operator: "Exists".into(), ..Toleration::default() };
    patch.append(exemption::TOLERATIONS, [(all, String::new())])
}

fn no_node_left(pointer: String, requirement: &str) -> Denial {
    Denial::forbidden(
        pointer,
        format!(
            "no node would remain: the cluster requires `{requirement}` of nodes, which this contradicts"
        ),
        "remove the contradiction from `nodeSelector` or `affinity.nodeAffinity`; or ask an administrator to \
         exempt the DaemonSet (`excludeNames` in `match`)",
    )
}

fn with_reason<'a>(why: &str, requirement: Requirement<'a>) -> (Requirement<'a>, String) {
    let reason = format!("{why}: `{requirement}`");
    (requirement, reason)
}

fn no(key: &str) -> Requirement<'_> {
    Requirement::new(key, Operator::DoesNotExist, &[])
}

export_policy!(NodeAffinity);

#[cfg(test)]
wardset_policy_sdk::test_policy!(crate::NodeAffinity);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wardset_policy_sdk::{Policy, testing};

    use super::{NodeAffinity, Settings};

    fn reasons(pod_spec: serde_json::Value) -> Vec<String> {
        let settings: Settings = serde_json::from_value(json!({
            "workersOnly": true, "require": [{"key": "zone", "operator": "In", "values": ["a", "b"]}],
        }))
        .expect("settings");
        let review = testing::review(&json!({"spec": {"template": {"spec": pod_spec}}}));
        let verdict = NodeAffinity::evaluate(&review, &settings).expect("a verdict");
        verdict.changes.into_iter().map(|change| change.reason).collect()
    }

    #[test]
    fn gives_a_requirement_the_same_reason_in_each_term() {
        let term = json!({"matchExpressions": [{"key": "disk", "operator": "Exists"}]});
        let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [term, term],
        }}});
        let each = [
            "keeps pods off the control plane: `node-role.kubernetes.io/control-plane DoesNotExist`",
            "keeps pods off the control plane: `node-role.kubernetes.io/master DoesNotExist`",
            "keeps pods off the control plane: `node-role.kubernetes.io/controlplane DoesNotExist`",
            "the settings require it of nodes: `zone In [a, b]`",
        ];
        assert_eq!(reasons(json!({"affinity": affinity})), [each, each].concat());
        assert_eq!(reasons(json!({})), [each.join("; ")]);
    }
}
