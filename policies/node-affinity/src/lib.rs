//! Narrows the nodes that a DaemonSet reaches: to workers, to real nodes, to what the operator requires.
//!
//! It never adds a node: requirements are ANDed into each term of the required node affinity. It leaves
//! alone a DaemonSet that serves the control plane by design, and one that would lose all its nodes.

mod exemption;

use serde::Deserialize;
use wardset_policy_sdk::{
    Denial, Domain, Manifest, Operator, Outcome, Patch, Placement, Policy, Requirement, Review,
    SettingsError, Stop, Text, Verdict, Wanted, export_policy, settings::RequirementSetting,
};

/// The policy.
#[derive(Debug)]
pub struct NodeAffinity;

/// What the operator sets; at least one of the first three.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Keep off the nodes of the control plane.
    #[serde(default)]
    workers_only: bool,
    /// Keep off virtual nodes, which can't run pods of DaemonSets.
    #[serde(default)]
    exclude_virtual_nodes: bool,
    /// What the labels of nodes shall satisfy, ANDed.
    #[serde(default)]
    require: Vec<RequirementSetting>,
    /// What happens to a DaemonSet that would have no node left.
    #[serde(default)]
    on_conflict: OnConflict,
    /// Whether `workersOnly` restricts what serves the node itself: kube-proxy, network and storage drivers.
    #[serde(default)]
    node_infrastructure: NodeInfrastructure,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize), schemars(inline))]
#[serde(rename_all = "camelCase")]
enum OnConflict {
    /// It is refused.
    Deny,
    /// It is left alone, with a warning.
    #[default]
    Warn,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize), schemars(inline))]
#[serde(rename_all = "camelCase")]
enum NodeInfrastructure {
    /// It stays on the control plane, with a warning.
    #[default]
    LeaveAlone,
    /// It is restricted as everything else.
    Restrict,
}

const AFFINITY: &str = "/spec/template/spec/affinity";
const NODE_SELECTOR: &str = "/spec/template/spec/nodeSelector";
const NODE_NAME: &str = "/spec/template/spec/nodeName";

/// The roles of the control plane: kubeadm's, and that of clusters before 1.24.
const CONTROL_PLANE: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

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
        cluster: &[],
        settings_schema: include_str!("../settings.schema.json"),
    };

    fn check(settings: &Settings) -> Result<(), SettingsError> {
        if !settings.workers_only && !settings.exclude_virtual_nodes && settings.require.is_empty() {
            let message = "nothing is required of nodes";
            let fix = "set `workersOnly`, `excludeVirtualNodes` or `require`";
            return Err(SettingsError::new("settings", message, fix));
        }
        for (i, setting) in settings.require.iter().enumerate() {
            setting.check(&format!("require[{i}]"))?;
        }
        let (mut all, require) = (settings.fixed(settings.workers_only), settings.require());
        all.extend(require);
        for (i, wanted) in all.iter().enumerate() {
            let mut domain = Domain::any();
            let same_key = all[..=i].iter().filter(|w| w.requirement.key == wanted.requirement.key);
            same_key.for_each(|w| domain.and(&w.requirement));
            if domain.is_empty() {
                let message =
                    format!("`{}` contradicts what else is required: no node fits", wanted.requirement);
                return Err(SettingsError::new("require", message, "leave out one of the two"));
            }
        }
        Ok(())
    }

    fn evaluate(review: &Review, settings: &Settings) -> Result<Verdict, Stop> {
        if !review.template_is_open() {
            return Ok(Verdict::allow());
        }
        if review.object::<Text<'_>>(NODE_NAME)?.is_some_and(|name| !name.is_empty()) {
            let message = "`nodeName` pins the pods to one node, so node affinity was left alone";
            return Ok(Verdict::allow().with_warning(NODE_NAME, message));
        }
        let placement = Placement::read(review)?;
        let exemption = settings.exempts(review, &placement)?;
        let mut wanted = settings.fixed(settings.workers_only && exemption.is_none());
        wanted.extend(settings.require());
        let verdict = exemption.into_iter().fold(Verdict::allow(), |verdict, (pointer, why)| {
            verdict.with_warning(pointer, format!("{why}, so `workersOnly` left it alone"))
        });
        let mut patch = Patch::new(review);
        Ok(match placement.narrow(&wanted, &mut patch)? {
            Outcome::Narrowed { dead } => {
                dead.into_iter().fold(verdict.with_changes(patch), |verdict, term| {
                    verdict.with_warning(
                        term,
                        "this term matches no node any more: the cluster requires the contrary",
                    )
                })
            }
            Outcome::Nowhere => verdict
                .with_warning(AFFINITY, "the required node affinity matches no node, so it was left alone"),
            Outcome::Conflict { pointer, requirement } if settings.on_conflict == OnConflict::Deny => {
                verdict.with_denial(no_node_left(pointer, &requirement))
            }
            Outcome::Conflict { pointer, requirement } => verdict.with_warning(
                pointer,
                format!("`{requirement}` would leave no node, so affinity was left alone"),
            ),
        })
    }
}

impl Settings {
    /// What `workersOnly`, if it applies, and `excludeVirtualNodes` require.
    fn fixed(&self, workers_only: bool) -> Vec<Wanted<'_>> {
        let workers = CONTROL_PLANE
            .into_iter()
            .filter(|_| workers_only)
            .map(|key| Wanted { requirement: no(key), reason: "workers only: keeps off the control plane" });
        let real = VIRTUAL.iter().filter(|_| self.exclude_virtual_nodes).map(|(key, value)| Wanted {
            requirement: Requirement::new(key, Operator::NotIn, &[value]),
            reason: "keeps off virtual nodes, which can't run pods of DaemonSets",
        });
        workers.chain(real).collect()
    }

    fn require(&self) -> impl Iterator<Item = Wanted<'_>> {
        let reason = "the cluster requires it of nodes";
        self.require.iter().map(move |setting| Wanted { requirement: setting.requirement(), reason })
    }

    /// Why `workersOnly` leaves this DaemonSet alone, and where that stands; none where it doesn't, or
    /// where the DaemonSet keeps off the control plane itself.
    fn exempts(
        &self,
        review: &Review,
        placement: &Placement<'_>,
    ) -> Result<Option<(&'static str, String)>, Stop> {
        if !self.workers_only || CONTROL_PLANE.into_iter().all(|key| placement.implies(&no(key))) {
            return Ok(None);
        }
        // Where only some of the ORed terms target the control plane, requirements would kill just these.
        if let Some(key) = CONTROL_PLANE.into_iter().find(|key| placement.demands(key)) {
            return Ok(Some((AFFINITY, format!("it targets nodes with `{key}`"))));
        }
        if self.node_infrastructure == NodeInfrastructure::Restrict {
            return Ok(None);
        }
        let service = exemption::node_service(review)?;
        Ok(service.map(|(pointer, what)| (pointer, format!("it serves the node itself (`{what}`)"))))
    }
}

fn no_node_left(pointer: String, requirement: &str) -> Denial {
    Denial::forbidden(
        pointer,
        format!("no node would be left: this contradicts `{requirement}`, which the cluster requires"),
        "remove the contradiction from `nodeSelector` or `affinity.nodeAffinity`, or ask for an exemption",
    )
}

fn no(key: &str) -> Requirement<'_> {
    Requirement::new(key, Operator::DoesNotExist, &[])
}

export_policy!(NodeAffinity);

#[cfg(test)]
wardset_policy_sdk::test_policy!(crate::NodeAffinity);
