//! A policy whose module is an artifact in a real registry: pushed, signed, and applied by its digest.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::docker_registry::RealRegistry;
use crate::installed::Installed;
use crate::support::{Namespace, example};

#[test]
fn a_signed_module_decides_reviews_and_an_unsigned_one_does_not() {
    let registry = RealRegistry::start(Path::new("docker-registry"), None);
    let [key, stranger] = ["key", "stranger"].map(|name| Key::new(&registry, name));
    let rules = registry.folder.path().join("trust.yaml");
    std::fs::write(&rules, format!("rules: [{{prefix: '{}', keys: [key.pub]}}]", registry.host)).unwrap();

    let tag = format!("oci://{}/team/labels:1.0.0", registry.host);
    let pinned = wardset(&registry, &["policy", "push", "builtin:default-labels", &tag]);
    let sign = |reference: &str, key: &Key| {
        wardset(&registry, &["policy", "sign", reference, "--key", &key.private]);
    };
    sign(&pinned, &key);

    let installed = Installed::apply();
    let (registry_ca, rules) = (registry.ca().display().to_string(), rules.display().to_string());
    let options = ["--registry-ca", &registry_ca, "--trust", &rules];
    let server = installed.serve_with(&options);
    let ca = installed.bundles_written("");
    installed.apply_policy(&policy(&pinned, "one")).succeeded();
    let status = installed.policy_is("labels", "True", "InForce")["status"].take();
    assert_eq!(status["module"]["reference"], json!(pinned));
    let namespace = Namespace::new("registry");
    installed.review_namespace(namespace.name());
    assert_eq!(team(&namespace), "one");

    // Another module under the same tag.
    let unsigned = wardset(&registry, &["policy", "push", "builtin:default-tolerations", &tag]);
    assert_ne!(unsigned, pinned);
    for signer in [None, Some(&stranger)] {
        if let Some(stranger) = signer {
            sign(&unsigned, stranger);
        }
        let refused = installed.apply_policy(&policy(&unsigned, "two")).failed().stderr;
        assert!(refused.contains(&format!("expected a signature of the key `{}`", key.id())), "{refused}");
        assert_eq!(team(&namespace), "one");
    }

    // Without a replica, nobody checks the policy before it is stored.
    server.kill();
    installed.apply_policy(&policy(&unsigned, "two")).succeeded();
    let _server = installed.serve_with(&options);
    assert_eq!(installed.bundles_written(""), ca);
    installed.policy_is("labels", "False", "BadSignature");
    assert_eq!(team(&namespace), "one", "the last good revision stays active");
}

/// Returns the label `team` of a new DaemonSet as it would be stored.
fn team(namespace: &Namespace) -> Value {
    let mut object = example();
    object["metadata"]["namespace"] = json!(namespace.name());
    let object = object.to_string();
    let run =
        namespace.run_with_input(&["apply", "--filename=-", "--dry-run=server", "--output=json"], &object);
    let stored: Value = serde_json::from_str(&run.succeeded().stdout).unwrap();
    stored["metadata"]["labels"]["team"].clone()
}

fn policy(module: &str, team: &str) -> Value {
    json!({
        "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": { "name": "labels" },
        "spec": { "module": module, "settings": { "labels": { "team": team } } },
    })
}

/// Runs the program, and returns its output without the line break.
fn wardset(registry: &RealRegistry, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_wardset"))
        .args(arguments)
        .arg("--registry-ca")
        .arg(registry.ca())
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// A pair of keys in files.
struct Key {
    /// The path of the private key.
    private: String,
    public: String,
}

impl Key {
    fn new(registry: &RealRegistry, name: &str) -> Self {
        let pair = rcgen::KeyPair::generate().unwrap();
        let folder = registry.folder.path();
        let (private, public) = (folder.join(name), folder.join(format!("{name}.pub")));
        std::fs::write(&private, pair.serialize_pem()).unwrap();
        std::fs::write(public, pair.public_key_pem()).unwrap();
        Self { private: private.display().to_string(), public: pair.public_key_pem() }
    }

    /// Returns the name of the key in messages.
    fn id(&self) -> String {
        wardset_signatures::PublicKey::from_pem(&self.public).unwrap().id()
    }
}
