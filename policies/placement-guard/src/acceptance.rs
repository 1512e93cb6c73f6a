//! Annotations by which an author accepts an effect, for one selection of nodes and its images.

use serde::Deserialize;
use serde_json::{Map, Value};
use wardset_policy_sdk::{Review, Stop, Text};

/// The annotation that accepts a DaemonSet without nodes.
pub(crate) const ZERO_NODES: &str = "wardset.dev/accept-zero-nodes";
/// The annotation that accepts the loss of nodes.
pub(crate) const SHRINK: &str = "wardset.dev/accept-shrink";
/// The annotation that accepts a rollout that cannot finish.
pub(crate) const STUCK_ROLLOUT: &str = "wardset.dev/accept-stuck-rollout";

const ANNOTATIONS: &str = "/metadata/annotations";
const NODE_SELECTOR: &str = "/spec/template/spec/nodeSelector";
/// The fields that choose nodes.
const PARTS: [&str; 4] = [
    "/spec/template/spec/nodeName",
    NODE_SELECTOR,
    "/spec/template/spec/affinity",
    "/spec/template/spec/tolerations",
];
const CONTAINERS: [&str; 2] = ["/spec/template/spec/containers", "/spec/template/spec/initContainers"];

/// The parts of the object that the policy reads.
pub(crate) const READS: &[&str] =
    &[ANNOTATIONS, PARTS[0], PARTS[1], PARTS[2], PARTS[3], CONTAINERS[0], CONTAINERS[1]];

/// The effects that the author accepts.
pub(crate) struct Acceptance {
    accepted: Map<String, Value>,
    expected: String,
}

#[derive(Deserialize)]
struct Container<'a> {
    #[serde(borrow, default)]
    image: Option<Text<'a>>,
}

impl Acceptance {
    /// Reads the annotations, and computes the value that they need.
    pub(crate) fn read(review: &Review) -> Result<Self, Stop> {
        let accepted = review.object(ANNOTATIONS)?.unwrap_or_default();
        let mut revision = String::new();
        for part in PARTS {
            let mut value: Value = review.object(part)?.unwrap_or_default();
            clean(&mut value, part == NODE_SELECTOR);
            revision.push_str(&value.to_string());
            revision.push('\n');
        }
        for part in CONTAINERS {
            let containers: Vec<Container<'_>> = review.object(part)?.unwrap_or_default();
            for container in containers {
                revision.push_str(container.image.as_deref().unwrap_or_default());
                revision.push('\n');
            }
        }
        Ok(Self { accepted, expected: format!("{:08x}", digest(&revision)) })
    }

    /// Whether an annotation has the expected value.
    pub(crate) fn covers(&self, key: &str) -> bool {
        self.accepted.get(key).and_then(Value::as_str) == Some(&*self.expected)
    }

    /// Returns the annotation to add, as advice.
    pub(crate) fn advice(&self, key: &str) -> String {
        format!("if this is intended, add the annotation `{key}: \"{}\"`", self.expected)
    }
}

/// Removes nulls and empty strings, lists and objects, and sorts the members of objects. In a node selector, an empty
/// string is a value, and null is the same.
fn clean(value: &mut Value, is_selector: bool) {
    match value {
        Value::Object(members) => {
            if is_selector {
                members.values_mut().filter(|value| value.is_null()).for_each(|value| *value = "".into());
            } else {
                members.values_mut().for_each(|value| clean(value, false));
                members.retain(|_, value| !is_empty(value));
            }
            let mut sorted: Vec<_> = std::mem::take(members).into_iter().collect();
            sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
            members.extend(sorted);
        }
        Value::Array(elements) => elements.iter_mut().for_each(|value| clean(value, false)),
        _ => {}
    }
    if is_empty(value) {
        *value = Value::Null;
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// FNV-1a with 32 bits. It is no protection: the author may write any annotation.
fn digest(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wardset_policy_sdk::testing;

    use super::*;

    fn expected(pod: &Value) -> String {
        let review = testing::review(&json!({"metadata": {}, "spec": {"template": {"spec": pod}}}));
        Acceptance::read(&review).unwrap_or_else(|_| panic!("{pod}")).expected
    }

    #[test]
    fn the_value_depends_on_the_selection_of_nodes_and_the_images_only() {
        let selector = |image: &str, disk: &str| json!({"nodeSelector": {"disk": disk, "gpu": "no"}, "containers": [{"name": "a", "image": image}]});
        let first = expected(&selector("a:1", "ssd"));
        let same = json!({
            "nodeSelector": {"gpu": "no", "disk": "ssd"}, "affinity": {}, "tolerations": null, "hostPID": true,
            "containers": [{"image": "a:1", "name": "b", "terminationMessagePath": "/dev/termination-log"}],
        });
        assert_eq!(expected(&same), first);
        assert_ne!(expected(&selector("a:2", "ssd")), first);
        assert_ne!(expected(&selector("a:1", "hdd")), first);
        // Roles are labels with an empty value.
        let role = |role: &str| json!({"nodeSelector": {role: ""}});
        assert_ne!(expected(&role("gpu")), expected(&role("nvme")));
        assert_ne!(expected(&role("gpu")), expected(&json!({})));
        assert_eq!(expected(&role("gpu")), expected(&json!({"nodeSelector": {"gpu": null}})));
    }

    #[test]
    fn the_digest_is_the_one_of_fnv() {
        // Test vectors of the algorithm's authors.
        assert_eq!([digest(""), digest("a"), digest("foobar")], [0x811c_9dc5, 0xe40c_292c, 0xbf9c_f968]);
    }
}
