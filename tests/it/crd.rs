//! The CustomResourceDefinition matches the types, and a cluster accepts every policy that a file may contain.

use serde_json::{Value, json};

#[test]
fn the_definition_in_the_chart_matches_the_types() {
    let committed = include_str!("../../deploy/chart/wardset/files/policies.wardset.dev.yaml");
    assert!(
        committed == wardset::crd::yaml(),
        "the chart's CustomResourceDefinition does not match the types\nhint: run `cargo xtask deploy` and commit `deploy`"
    );
}

/// The API server must not refuse a module that the server can load.
#[test]
fn the_definition_accepts_each_kind_of_module() {
    let definition = wardset::crd::definition();
    let module = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        ["module"];
    let rule = module["x-kubernetes-validations"][0]["rule"].as_str().unwrap();
    let kinds = rule.strip_prefix("self.matches('^(").unwrap().strip_suffix(").+')").unwrap();
    assert_eq!(kinds.split('|').collect::<Vec<_>>(), ["builtin:", "file:", "oci://"]);
    let longest = "oci://r.example/policy:1@sha256:".len() + 64 + 255 + 255 + 128;
    assert!(module["maxLength"].as_u64().unwrap() as usize > longest);
}

/// Collects every part of a schema with its path.
fn walk<'s>(path: String, schema: &'s Value, found: &mut Vec<(String, &'s Value)>) {
    found.push((path.clone(), schema));
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(format!("{path}.{name}"), property, found);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(inner).filter(|inner| inner.is_object()) {
            walk(format!("{path}[]"), inner, found);
        }
    }
}

#[test]
fn every_field_has_a_description_and_every_text_and_list_a_bound() {
    let definition = wardset::crd::definition();
    let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut found = Vec::new();
    walk("spec".to_owned(), spec, &mut found);
    assert!(found.len() > 20, "{}", found.len());
    for (path, schema) in found {
        let elements = path.ends_with("[]");
        assert!(elements || schema["description"].is_string(), "{path} has no description");
        assert!(schema.get("$ref").is_none() && schema.get("anyOf").is_none(), "{path}: {schema}");
        match schema["type"].as_str() {
            Some("array") => assert!(schema["maxItems"].is_u64(), "{path} has no bound"),
            Some("string")
                if schema.get("enum").is_none()
                    && !path.contains("matchLabels")
                    && !path.ends_with("key") =>
            {
                assert!(schema["maxLength"].is_u64(), "{path} has no bound");
            }
            Some(_) => {}
            None => panic!("{path} has no type: {schema}"),
        }
    }
}

#[test]
fn defaults_match_those_of_a_minimal_file() {
    let definition = wardset::crd::definition();
    let spec =
        &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    let resource: wardset_core::policy::Resource = serde_json::from_value(json!({
        "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "p"}, "spec": {"module": "builtin:x"},
    }))
    .unwrap();
    let typed = serde_json::to_value(&resource.spec).unwrap();
    for field in ["order", "mode", "onError", "template", "clusterData"] {
        assert_eq!(spec[field]["default"], typed[field], "{field}");
    }
    for (part, field) in
        [("limits", "timeout"), ("limits", "memory"), ("match", "operations"), ("match", "conditions")]
    {
        assert_eq!(spec[part]["properties"][field]["default"], typed[part][field], "{part}.{field}");
    }
}
