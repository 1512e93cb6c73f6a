//! The software bill of materials, as CycloneDX 1.5 describes it in JSON.
//!
//! The same crates give the same bytes: there is no serial number, and the caller gives the time. The crates of this
//! repository have no address of a package (`purl`), because crates of other people have some of their names.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::graph::{Crate, Graph, Id, PROGRAM};

/// Returns the bill of materials of the program.
pub(crate) fn write(graph: &Graph, time: Option<Timestamp>) -> String {
    let components: Vec<Value> =
        graph.crates().filter(|(id, _)| !is_program(id)).map(|(id, one)| component(id, one)).collect();
    let edges: Vec<Value> = graph
        .crates()
        .map(|(id, one)| {
            let uses: Vec<String> = one.uses.iter().map(ToString::to_string).collect();
            json!({ "ref": id.to_string(), "dependsOn": uses })
        })
        .collect();
    let program = graph.crates().find(|(id, _)| is_program(id)).map(|(id, one)| {
        let mut program = component(id, one);
        program["type"] = json!("application");
        program
    });
    let mut metadata = json!({
        "tools": {
            "components": [{ "type": "application", "name": "cargo xtask", "version": VERSION }],
        },
        "component": program,
    });
    if let Some(time) = time {
        metadata["timestamp"] = json!(time.to_string());
    }
    let mut bom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": metadata,
        "components": components,
        "dependencies": edges,
    });
    // Without this, the order would depend on the features of serde_json, and so on the crates that are built with this one.
    bom.sort_all_objects();
    format!("{bom:#}\n")
}

fn component(id: &Id, one: &Crate) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": id.to_string(),
        "name": id.name,
        "version": id.version,
        "scope": "required",
        "licenses": [match &one.licence {
            Some(expression) => json!({ "expression": expression }),
            None => json!({ "license": { "name": "see the licence file of the crate" } }),
        }],
    });
    if let Some(checksum) = &one.checksum {
        component["purl"] = json!(format!("pkg:cargo/{}@{}", id.name, id.version.replace('+', "%2B")));
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    if let Some(repository) = &one.repository {
        component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    component
}

fn is_program(id: &Id) -> bool {
    id.name == PROGRAM
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::Repository;

    fn id(name: &str) -> Id {
        Id { name: name.into(), version: "1.0.0+a".into() }
    }

    fn graph() -> Graph {
        let one = |checksum: Option<&str>, uses: &[&str]| Crate {
            licence: checksum.map(|_| "MIT OR Apache-2.0".to_owned()),
            repository: None,
            folder: "/none".into(),
            checksum: checksum.map(str::to_owned),
            uses: uses.iter().map(|name| id(name)).collect(),
        };
        Graph::with([(id("wardset"), one(None, &["serde"])), (id("serde"), one(Some("00ff"), &[]))])
    }

    #[test]
    fn lists_crates_and_edges() {
        let bom: Value = serde_json::from_str(&write(&graph(), None)).unwrap();
        assert_eq!(bom["metadata"]["component"]["bom-ref"], "wardset 1.0.0+a");
        assert_eq!(bom["metadata"]["component"]["type"], "application");
        assert_eq!(bom["metadata"]["component"]["purl"], Value::Null);
        assert_eq!(bom["components"].as_array().unwrap().len(), 1);
        let serde = &bom["components"][0];
        assert_eq!(serde["purl"], "pkg:cargo/serde@1.0.0%2Ba");
        assert_eq!(serde["hashes"], json!([{ "alg": "SHA-256", "content": "00ff" }]));
        assert_eq!(serde["licenses"], json!([{ "expression": "MIT OR Apache-2.0" }]));
        let edges = json!([
            { "ref": "serde 1.0.0+a", "dependsOn": [] },
            { "ref": "wardset 1.0.0+a", "dependsOn": ["serde 1.0.0+a"] },
        ]);
        assert_eq!(bom["dependencies"], edges);
    }

    #[test]
    fn list_of_the_program_s_crates_is_valid() {
        use cyclonedx_bom::prelude::{Bom, SpecVersion, Validate as _, ValidationResult};

        let text = write(&Graph::of_program(&Repository::find().unwrap()).unwrap(), None);
        let bom = Bom::parse_from_json(text.as_bytes()).unwrap();
        assert_eq!(bom.spec_version, SpecVersion::V1_5);
        assert!(bom.components.as_ref().unwrap().0.len() > 200);
        assert_eq!(bom.validate_version(SpecVersion::V1_5), ValidationResult::default());
    }

    #[test]
    fn same_crates_give_the_same_text_and_only_the_time_differs() {
        let one = write(&graph(), None);
        assert_eq!(one, write(&graph(), None));
        assert!(!one.contains("serialNumber") && !one.contains("timestamp"));
        let dated = write(&graph(), Some(Timestamp::from_second(1_700_000_000).unwrap()));
        assert!(dated.contains("\"timestamp\": \"2023-11-14T22:13:20Z\""), "{dated}");
    }
}
