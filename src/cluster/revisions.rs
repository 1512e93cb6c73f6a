//! Recognizes rollbacks: compares an update with the earlier templates of its DaemonSet.
//!
//! `kubectl rollout undo` sends the template of an old revision, and its request looks like any other edit. The DaemonSet
//! controller keeps each revision as a ControllerRevision.

use std::time::Instant;

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::Value;
use wardset_core::Pointer;
use wardset_core::document::Document;
use wardset_core::placement::resolve_nulls;
use wardset_core::review::Review;
use wardset_core::text::{self, MAX_LOGGED};

const TEMPLATE: &Pointer = Pointer::from_static("/spec/template");
const SPEC: &Pointer = Pointer::from_static("/spec");
const LABELS: &Pointer = Pointer::from_static("/metadata/labels");
const SELECTOR: &Pointer = Pointer::from_static("/spec/selector/matchLabels");
const UID: &Pointer = Pointer::from_static("/metadata/uid");

/// Maximum number of revisions in one list request. A DaemonSet keeps ten by default.
const MAX_REVISIONS: u32 = 500;

/// Reads the revisions of DaemonSets.
pub struct Revisions {
    client: Client,
}

impl Revisions {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Returns the number of the revision that has the same template as the new object. An update that also changes another
    /// part of `spec`, or removes a label, is no rollback.
    ///
    /// It asks the API server once, so call it for denied updates only. Returns `None` if the request fails or misses the
    /// deadline.
    pub async fn brought_back(&self, review: &Review, deadline: Instant) -> Option<i64> {
        let old = review.old_object.as_deref()?;
        if !changes_the_template_alone(old, &review.object) {
            return None;
        }
        let revisions = Api::<ControllerRevision>::namespaced(self.client.clone(), &review.namespace);
        let labels: Vec<String> =
            old.strings(SELECTOR).map(|(key, value)| format!("{key}={value}")).collect();
        let wanted = ListParams::default().labels(&labels.join(",")).limit(MAX_REVISIONS);
        let problem = match tokio::time::timeout_at(deadline.into(), revisions.list(&wanted)).await {
            Ok(Ok(found)) => return found.items.iter().find_map(|found| number(found, old, &review.object)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer before the deadline of the review".to_owned(),
        };
        tracing::warn!(
            namespace = text::one_line(&review.namespace, MAX_LOGGED),
            name = text::one_line(&review.name, MAX_LOGGED),
            error = problem,
            "failed to list the ControllerRevisions of a DaemonSet; the denial of its update stands"
        );
        None
    }
}

/// Whether an update changes `spec.template` and no other part of `spec`, and keeps all labels.
fn changes_the_template_alone(old: &Document, new: &Document) -> bool {
    let spec = |document: &Document| {
        let mut spec = document.get(SPEC).and_then(|text| serde_json::from_str::<Value>(text).ok())?;
        spec.as_object_mut()?.shift_remove("template");
        Some(spec)
    };
    let labels: Vec<_> = new.strings(LABELS).collect();
    new.differs_at(old, TEMPLATE)
        && spec(old) == spec(new)
        && old.strings(LABELS).all(|label| labels.contains(&label))
}

/// Returns the revision's number, if it belongs to the DaemonSet and has the template of the new object.
fn number(revision: &ControllerRevision, old: &Document, new: &Document) -> Option<i64> {
    let uid = old.string(UID)?;
    let mut owners = revision.metadata.owner_references.iter().flatten();
    if !owners.any(|owner| owner.kind == "DaemonSet" && *owner.uid == *uid) {
        return None;
    }
    let mut stored = revision.data.0.pointer("/spec/template")?.clone();
    // The revision is a patch that replaces the template.
    stored.as_object_mut()?.shift_remove("$patch");
    let mut wanted: Value = serde_json::from_str(new.get(TEMPLATE)?).ok()?;
    [&mut stored, &mut wanted].into_iter().for_each(resolve_nulls);
    revision.revision.filter(|_| stored == wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(image: &str) -> Document {
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"image": image}});
        let object = json!({"metadata": {"uid": "u1"}, "spec": {"template": template}});
        Document::parse(object.to_string()).expect("a document")
    }

    fn revision(uid: &str, image: &str) -> ControllerRevision {
        let template = json!({
            "$patch": "replace", "spec": {"image": image},
            "metadata": {"creationTimestamp": null, "labels": {"a": "b"}},
        });
        let owner = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "a", "uid": uid});
        let object = json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 3,
            "metadata": {"name": "a-1", "ownerReferences": [owner]}, "data": {"spec": {"template": template}},
        });
        serde_json::from_value(object).expect("a revision")
    }

    #[test]
    fn a_revision_matches_by_owner_and_template() {
        let (old, new) = (document("v2"), document("v1"));
        assert_eq!(number(&revision("u1", "v1"), &old, &new), Some(3));
        assert_eq!(number(&revision("u1", "v0"), &old, &new), None);
        assert_eq!(number(&revision("u2", "v1"), &old, &new), None);
    }

    #[test]
    fn a_rollback_changes_the_template_alone() {
        let object = |image: &str, surge: u32, label: &str| {
            let template = json!({"spec": {"image": image}});
            let object = json!({"metadata": {"labels": {"team": label}},
                "spec": {"minReadySeconds": surge, "template": template}});
            Document::parse(object.to_string()).expect("a document")
        };
        let old = object("v2", 5, "a");
        assert!(changes_the_template_alone(&old, &object("v1", 5, "a")));
        for other in [object("v2", 5, "a"), object("v1", 6, "a"), object("v1", 5, "b"), document("v1")] {
            assert!(!changes_the_template_alone(&old, &other), "{}", other.text());
        }
    }
}
