//! Writes the `status` of policies. Only the leading replica writes.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use kube::runtime::reflector::ObjectRef;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::watch::{Resources, api, revision};
use crate::supply::store::{Source, Standing, State};

/// The active state of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// The generation of `spec` that this status describes.
    pub observed_generation: i64,
    /// The condition `Ready`: true if the current `spec` is active.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<StatusCondition>,
    /// The active module.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<ModuleStatus>,
    /// The last `spec` that became active. If the current `spec` cannot become active, a server that starts uses this
    /// one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_good: Option<LastGood>,
}

/// A condition, as in every Kubernetes API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusCondition {
    /// `Ready`.
    pub r#type: String,
    /// `True` or `False`.
    pub status: String,
    /// `InForce`, `LastGoodInForce`, `NotInForce` or `Compiling`; or `Unsigned`, `BadSignature` or `WrongIdentity`, if the rules
    /// of `--trust` refuse the module, and `RegistryNotAllowed` if `--allow-registry` does.
    pub reason: String,
    /// Explanation for people.
    pub message: String,
    /// Time at which the condition last changed its status.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// The generation of `spec` that the condition describes.
    pub observed_generation: i64,
}

/// The active module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModuleStatus {
    /// Name of the module, as its manifest states it.
    pub name: String,
    /// Version of the module, as its manifest states it.
    pub version: String,
    /// `sha256:…` of its bytes.
    pub digest: String,
    /// `oci://…@sha256:…`, if it comes from a registry. The digest names the artifact to which a tag led.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// A `spec` that was active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastGood {
    /// The generation of this `spec`.
    pub generation: i64,
    /// The `spec` as it was.
    #[schemars(schema_with = "any_object")]
    pub spec: Value,
}

fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Field manager of the server's writes in `managedFields`.
const FIELD_MANAGER: &str = "wardset";

/// Time until the next check: after a failure, and if nothing happens.
const AGAIN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_secs(60);

/// Writes statuses while this replica leads, until the process stops.
pub(crate) async fn keep(
    client: Client,
    resources: Resources,
    mut standings: watch::Receiver<Arc<Vec<(Source, Standing)>>>,
    mut leads: watch::Receiver<bool>,
) {
    loop {
        let mut pause = LOOK;
        if *leads.borrow_and_update() {
            let now = Arc::clone(&standings.borrow_and_update());
            for (_, standing) in now.iter().filter(|(source, _)| *source == Source::Cluster) {
                if let Err(error) = write(&client, &resources, standing).await {
                    tracing::warn!(
                        policy = &*standing.name,
                        error = %error,
                        "failed to write the policy's status; retrying in 5 s"
                    );
                    pause = AGAIN;
                }
            }
        }
        // If a sender is gone, the server is shutting down.
        let gone = tokio::select! {
            changed = standings.changed() => changed.is_err(),
            changed = leads.changed() => changed.is_err(),
            () = tokio::time::sleep(pause) => false,
        };
        if gone {
            return;
        }
    }
}

async fn write(client: &Client, resources: &Resources, standing: &Standing) -> Result<(), kube::Error> {
    let api = api(client.clone());
    let known = resources.get(&ObjectRef::new_with(&standing.name, super::watch::kind()));
    // If the revisions differ, a newer standing is on its way.
    let Some(resource) = known.filter(|resource| revision(resource) == *standing.revision) else {
        return Ok(());
    };
    let before: Option<PolicyStatus> =
        resource.data.get("status").and_then(|status| serde_json::from_value(status.clone()).ok());
    let status = status(&resource, standing, before.as_ref());
    if before.as_ref() == Some(&status) {
        return Ok(());
    }
    let patch = json!({"apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "status": status});
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch_status(&standing.name, &params, &Patch::Apply(patch)).await {
        // The policy was deleted in the meantime.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map(drop),
    }
}

fn status(resource: &DynamicObject, standing: &Standing, before: Option<&PolicyStatus>) -> PolicyStatus {
    let generation = resource.metadata.generation.unwrap_or_default();
    let because = |reason| standing.refusal.unwrap_or(reason);
    let (ready, reason, message) = match &standing.state {
        State::Ready => ("True", "InForce", "active".to_owned()),
        State::LastGood(problem) => {
            ("False", because("LastGoodInForce"), format!("the last good revision stays active: {problem}"))
        }
        State::Compiling(module) => {
            let meanwhile = if standing.module.is_some() {
                "until then the last good revision stays active"
            } else {
                "until then no revision is active"
            };
            // A module from a registry may be on its way.
            let verb = if module.starts_with("oci:") { "pulling or compiling" } else { "compiling" };
            ("False", "Compiling", format!("{verb} the module `{module}`; {meanwhile}"))
        }
        State::Unready(problem) => ("False", because("NotInForce"), problem.clone()),
    };
    let known = before.and_then(|before| before.conditions.iter().find(|known| known.r#type == "Ready"));
    let since = known.filter(|known| known.status == ready).map(|known| known.last_transition_time.clone());
    let condition = StatusCondition {
        r#type: "Ready".to_owned(),
        status: ready.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: since.unwrap_or_else(|| format!("{:.0}", Timestamp::now())),
        observed_generation: generation,
    };
    let last_good = match standing.state {
        State::Ready => {
            Some(LastGood { generation, spec: resource.data.get("spec").cloned().unwrap_or_default() })
        }
        State::LastGood(_) | State::Compiling(_) | State::Unready(_) => {
            before.and_then(|before| before.last_good.clone())
        }
    };
    let module = standing.module.clone().map(|module| ModuleStatus {
        name: module.name,
        version: module.version,
        digest: format!("sha256:{}", module.digest),
        reference: module.reference,
    });
    PolicyStatus { observed_generation: generation, conditions: vec![condition], module, last_good }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supply::store::ActiveModule;

    fn condition(state: State, module: Option<ActiveModule>) -> StatusCondition {
        let resource = json!({
            "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "a", "generation": 2}, "spec": {},
        });
        let resource: DynamicObject = serde_json::from_value(resource).unwrap();
        let standing = Standing { name: "a".into(), revision: "1".into(), state, module, refusal: None };
        let status = status(&resource, &standing, None);
        assert_eq!((status.observed_generation, status.conditions.len()), (2, 1));
        status.conditions[0].clone()
    }

    #[test]
    fn a_policy_whose_module_is_compiled_says_so_and_names_it() {
        let compiling = || State::Compiling("file:python.wasm".to_owned());
        let active = ActiveModule {
            name: "labels".to_owned(),
            version: "1.0.0".to_owned(),
            digest: "00".to_owned(),
            reference: None,
        };
        for (module, meanwhile) in
            [(None, "no revision is active"), (Some(active), "the last good revision stays active")]
        {
            let condition = condition(compiling(), module);
            assert_eq!((&*condition.status, &*condition.reason), ("False", "Compiling"));
            let message = format!("compiling the module `file:python.wasm`; until then {meanwhile}");
            assert_eq!(condition.message, message);
        }
    }
}
