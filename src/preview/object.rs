//! Objects as the types of `crates/placement` read them: null counts as absent, as for Kubernetes' decoder.

use serde::Deserialize;
use serde_json::Value;
use wardset_core::placement::resolve_nulls;
use wardset_placement::{DaemonSet, ObjectChange};

use super::defaults::equals;
use super::shape::Shape;

/// An object whose nulls are resolved.
#[derive(Debug, Clone)]
pub struct ReadObject(Value);

/// A field of another type than the API server accepts.
#[derive(Debug, thiserror::Error)]
#[error("`{field}`: {problem}")]
pub struct ObjectError {
    /// The path of the field, with dots.
    pub field: String,
    /// The problem.
    pub problem: String,
}

impl ReadObject {
    /// Resolves the nulls of an object.
    #[must_use]
    pub fn new(mut object: Value) -> Self {
        resolve_nulls(&mut object);
        Self(object)
    }

    /// Reads an object from JSON text.
    ///
    /// # Errors
    ///
    /// The text is not JSON.
    pub fn parse(json: &str) -> Result<Self, ObjectError> {
        let object = serde_json::from_str(json);
        object
            .map(Self::new)
            .map_err(|error| ObjectError { field: String::new(), problem: error.to_string() })
    }

    /// Returns the object.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// Reads the object as a DaemonSet.
    ///
    /// # Errors
    ///
    /// A field of another type.
    pub fn daemon_set(&self) -> Result<DaemonSet<'_>, ObjectError> {
        self.read()
    }

    /// Reads the object as a `T`.
    ///
    /// # Errors
    ///
    /// A field of another type.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ObjectError> {
        serde_path_to_error::deserialize(Shape(&self.0)).map_err(|error| ObjectError {
            field: error.path().to_string(),
            problem: error.inner().to_string(),
        })
    }

    /// Returns the difference between the stored object and a new version as a person writes it. Fields that the API server
    /// sets by default or for itself do not count.
    #[must_use]
    pub fn change_to(&self, new: &Self) -> ObjectChange {
        let part = |object: &Self, pointer: &str| object.0.pointer(pointer).cloned().unwrap_or_default();
        let same = |pointer: &str| equals(&part(self, pointer), &part(new, pointer));
        let [stored, written] = [self, new].map(|object| {
            let mut spec = part(object, "/spec");
            spec.as_object_mut().map(|spec| spec.shift_remove("template"));
            spec
        });
        if !same("/spec/template") {
            ObjectChange::Template
        } else if !equals(&stored, &written) {
            ObjectChange::Specification
        } else if self.own_metadata() != new.own_metadata() {
            ObjectChange::Metadata
        } else {
            ObjectChange::Nothing
        }
    }

    /// Returns labels and annotations without those that the API server and kubectl write.
    fn own_metadata(&self) -> Vec<(&String, &Value)> {
        let entries =
            |pointer: &str| self.0.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
        let mut own: Vec<_> = entries("/metadata/labels").chain(entries("/metadata/annotations")).collect();
        own.retain(|(key, _)| {
            !matches!(
                key.as_str(),
                "deprecated.daemonset.template.generation"
                    | "kubectl.kubernetes.io/last-applied-configuration"
            )
        });
        own.sort_by_key(|(key, _)| *key);
        own
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn null_is_absent_and_in_maps_of_strings_the_empty_string() {
        let object = ReadObject::new(json!({"spec": {"template": {"spec": {
            "tolerations": null, "nodeSelector": {"gpu": null}, "affinity": {"nodeAffinity": null},
        }}}}));
        let pod = &object.daemon_set().expect("a DaemonSet").spec.template.spec;
        assert_eq!(pod.node_selector.get("gpu").map(|value| &**value), Some(""));
        assert!(pod.tolerations.is_empty());
    }

    #[test]
    fn an_error_names_the_field() {
        let object = ReadObject::new(json!({"spec": {"template": {"spec": {"tolerations": [{"key": 5}]}}}}));
        let error = object.daemon_set().expect_err("a wrong type");
        assert_eq!(error.field, "spec.template.spec.tolerations[0].key");
        assert_eq!(error.problem, "invalid type: integer `5`, expected a string");
    }

    #[test]
    fn a_list_is_never_a_mapping() {
        let pod = |pod: Value| json!({"spec": {"template": {"spec": pod}}});
        for (object, field, found) in [
            (json!([{"name": "a"}, {}]), ".", "a list"),
            (json!({"spec": [{}, {}, 5, {}]}), "spec", "a list"),
            (pod(json!({"tolerations": [["key", "Exists"]]})), "spec.template.spec.tolerations[0]", "a list"),
            (pod(json!({"affinity": [null]})), "spec.template.spec.affinity", "a list"),
            (pod(json!({"nodeSelector": [["a", "b"]]})), "spec.template.spec.nodeSelector", "a list"),
            (pod(json!({"containers": ["a"]})), "spec.template.spec.containers[0]", "a string"),
            (pod(json!({"nodeSelector": "a=b"})), "spec.template.spec.nodeSelector", "a string"),
        ] {
            let error = ReadObject::new(object).daemon_set().expect_err("a wrong type");
            assert_eq!(
                (error.field.as_str(), error.problem),
                (field, format!("expected a mapping, found {found}"))
            );
        }
    }

    #[test]
    fn the_change_is_the_outermost_part_that_differs() {
        let object = |label: &str, surge: u32, image: &str| {
            ReadObject::new(json!({"metadata": {"labels": {"a": label}},
                "spec": {"minReadySeconds": surge, "template": {"spec": {"image": image}}}}))
        };
        let old = object("x", 0, "v1");
        assert_eq!(old.change_to(&object("x", 0, "v1")), ObjectChange::Nothing);
        assert_eq!(old.change_to(&object("y", 0, "v1")), ObjectChange::Metadata);
        assert_eq!(old.change_to(&object("y", 1, "v1")), ObjectChange::Specification);
        assert_eq!(old.change_to(&object("y", 1, "v2")), ObjectChange::Template);
    }

    #[test]
    fn defaults_of_the_api_server_are_no_change() {
        let written = json!({"metadata": {"name": "a"}, "spec": {"template": {"spec": {
            "containers": [{"name": "a", "ports": [{"containerPort": 80}]}], "volumes": [],
        }}}});
        let mut stored = json!({
            "metadata": {"name": "a", "uid": "1", "annotations": {"deprecated.daemonset.template.generation": "1"}},
            "spec": {
                "revisionHistoryLimit": 10,
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
                "template": {"metadata": {"creationTimestamp": null}, "spec": {
                    "containers": [{"name": "a", "imagePullPolicy": "Always",
                        "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
                    "dnsPolicy": "ClusterFirst", "securityContext": {},
                }},
            },
        });
        let written = ReadObject::new(written);
        assert_eq!(ReadObject::new(stored.clone()).change_to(&written), ObjectChange::Nothing);
        stored["spec"]["template"]["spec"]["nodeSelector"] = json!({"gpu": "true"});
        assert_eq!(ReadObject::new(stored).change_to(&written), ObjectChange::Template);
    }
}
