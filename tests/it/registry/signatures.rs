//! Signatures of modules in registries: what `--trust` accepts and refuses, and the commands that sign and verify.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use wardset::metrics::Metrics;
use wardset::supply::RegistrySupply;
use wardset::supply::modules::{ModuleError, Modules};
use wardset::supply::store::{Source, State, Store};
use wardset_core::policy::ModuleRef;
use wardset_signatures::{Evidence, ManifestDigest, PrivateKey, PublicKey, Trust, bundle, simple_signing};

use super::policies::{outcome, policy, standings, wanted, wardset};
use super::*;
use crate::support;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A new key, as openssl writes it.
pub(super) struct Key {
    pub(super) private: String,
    pub(super) public: String,
}

impl Key {
    pub(super) fn new() -> Self {
        let pair = rcgen::KeyPair::generate().unwrap();
        Self { private: pair.serialize_pem(), public: pair.public_key_pem() }
    }

    fn id(&self) -> String {
        PublicKey::from_pem(&self.public).unwrap().id()
    }

    pub(super) fn signatures(&self, digest: &str) -> [Evidence; 2] {
        let key = PrivateKey::from_pem(&self.private, None).unwrap();
        let digest: ManifestDigest = digest.parse().unwrap();
        [
            Evidence::Simple(simple_signing::sign(&key, "r/policy", digest).unwrap()),
            Evidence::Bundle(bundle::sign(&key, digest).unwrap()),
        ]
    }

    /// Rules by which all modules of the registry need a signature of this key.
    pub(super) fn trust(&self, registry: &FakeRegistry) -> Trust {
        let rules = json!({"rules": [{"prefix": registry.host, "keys": [self.public]}]});
        Trust::read(&rules, |_| unreachable!("no file is named")).unwrap()
    }
}

fn modules(registry: &FakeRegistry, cache: Option<&Path>, trust: Trust) -> Modules {
    let (options, cache) = (options(registry), cache.map(super::cache));
    support::modules().with_registries(RegistrySupply { options, cache, trust, ..RegistrySupply::default() })
}

/// Loads `policy:1` of the registry. Returns the whole error as text.
async fn load(modules: &Modules, reference: &OciReference) -> Result<(), String> {
    let loaded = modules.load(&ModuleRef::Oci(reference.clone()), Path::new("")).await;
    loaded.map(drop).map_err(|error: ModuleError| format!("{:#}", anyhow::Error::new(error)))
}

#[tokio::test]
async fn each_form_of_a_signature_is_enough_and_no_other_module_loads() {
    let (key, stranger) = (Key::new(), Key::new());
    for form in 0..2 {
        let registry = FakeRegistry::start();
        let digest = store(&registry, LAYOUTS[0], &component());
        let modules = modules(&registry, None, key.trust(&registry));
        let reference = tagged(&registry);
        let error = load(&modules, &reference).await.unwrap_err();
        let pinned = reference.clone().pinned(&digest);
        let wanted = format!("expected a signature of the key `{}` (rule for `{}`)", key.id(), registry.host);
        assert_eq!(error, format!("the module `{pinned}` is not trusted: {wanted}; found none"));

        let client = client(&registry);
        client.attach(&pinned, &stranger.signatures(&digest)[form..=form]).await.unwrap();
        let error = load(&modules, &reference).await.unwrap_err();
        assert!(
            error.ends_with(&format!("{wanted}; found no good one: the key does not verify the signature")),
            "{error}"
        );

        // Signatures of others stay beside it.
        client.attach(&pinned, &key.signatures(&digest)[form..=form]).await.unwrap();
        assert_eq!(client.signatures(&pinned).await.unwrap().len(), 2);
        load(&modules, &reference).await.unwrap();

        // Another module under the same tag has no signature, even if somebody copies the old one.
        let other = store(&registry, LAYOUTS[1], &component());
        let copied = reference.clone().pinned(&other);
        let error = load(&modules, &reference).await.unwrap_err();
        assert!(error.ends_with("found none"), "{error}");
        client.attach(&copied, &key.signatures(&digest)[form..=form]).await.unwrap();
        let error = load(&modules, &reference).await.unwrap_err();
        assert!(
            error.contains(&format!("expected a signature of {other}, found one of {digest}")),
            "{error}"
        );
    }
}

/// The tag moves after the pull and before its signatures are read. They are those of the digest that was pulled.
#[tokio::test]
async fn a_tag_that_moves_meanwhile_does_not_lend_its_signature() {
    let (registry, key) = (FakeRegistry::start(), Key::new());
    let signed = store(&registry, LAYOUTS[0], &component());
    client(&registry).attach(&pinned(&registry, &signed), &key.signatures(&signed)).await.unwrap();
    let unsigned = store(&registry, LAYOUTS[1], &component());
    let modules = modules(&registry, None, key.trust(&registry));
    registry.requests();
    let error = load(&modules, &tagged(&registry)).await.unwrap_err();
    assert!(error.contains(&unsigned) && error.ends_with("found none"), "{error}");
    let by_tag = registry.requests().into_iter().filter(|request| request.ends_with("manifests/1")).count();
    assert_eq!(by_tag, 1, "the tag is resolved once");
}

/// A registry with the referrers API answers with its own list.
#[tokio::test]
async fn bundles_are_found_by_the_referrers_api() {
    let (registry, key) = (FakeRegistry::start(), Key::new());
    let digest = store(&registry, LAYOUTS[0], &component());
    let pinned = pinned(&registry, &digest);
    client(&registry).attach(&pinned, &key.signatures(&digest)[1..]).await.unwrap();
    let stored = client(&registry).signatures(&pinned).await.unwrap();
    assert!(matches!(stored.as_slice(), [Evidence::Bundle(_)]), "{stored:?}");
    let list = format!("policy/manifests/{}", digest.replace(':', "-"));
    let index = registry.get(&list).unwrap();
    registry.remove(&list);
    assert_eq!(client(&registry).signatures(&pinned).await.unwrap(), []);
    registry.put(&format!("policy/referrers/{digest}"), INDEX, index);
    assert_eq!(client(&registry).signatures(&pinned).await.unwrap(), stored);
}

#[tokio::test]
async fn bundles_are_found_in_an_index_that_cosign_wrote() {
    let (registry, key) = (FakeRegistry::start(), Key::new());
    let digest = store(&registry, LAYOUTS[0], &component());
    let pinned = pinned(&registry, &digest);
    client(&registry).attach(&pinned, &key.signatures(&digest)[1..]).await.unwrap();
    let list = format!("policy/manifests/{}", digest.replace(':', "-"));
    let index: Value = serde_json::from_slice(&registry.get(&list).unwrap()).unwrap();
    for (kind, found) in [
        (json!("application/vnd.oci.empty.v1+json"), 1),
        (Value::Null, 1),
        (json!("application/spdx+json"), 0),
    ] {
        let mut index = index.clone();
        index["manifests"][0]["artifactType"] = kind;
        registry.put(&list, INDEX, index.to_string());
        assert_eq!(client(&registry).signatures(&pinned).await.unwrap().len(), found, "{index}");
    }
}

#[tokio::test]
async fn a_module_with_known_signatures_loads_while_its_registry_is_away() {
    let (mut registry, key, folder) = (FakeRegistry::start(), Key::new(), tempfile::tempdir().unwrap());
    let digest = store(&registry, LAYOUTS[0], &component());
    let pinned = pinned(&registry, &digest);
    client(&registry).attach(&pinned, &key.signatures(&digest)).await.unwrap();
    load(&modules(&registry, Some(folder.path()), key.trust(&registry)), &pinned).await.unwrap();
    registry.stop();
    load(&modules(&registry, Some(folder.path()), key.trust(&registry)), &pinned).await.unwrap();
    // The signatures in the cache are checked again, by the rules of this start.
    let other = modules(&registry, Some(folder.path()), Key::new().trust(&registry));
    let error = load(&other, &pinned).await.unwrap_err();
    assert!(error.contains("failed to read the signatures of"), "{error}");
}

#[tokio::test]
async fn the_last_good_revision_stays_active_and_the_status_has_the_reason() {
    let (registry, key) = (FakeRegistry::start(), Key::new());
    let signed = store(&registry, LAYOUTS[0], &component());
    client(&registry).attach(&pinned(&registry, &signed), &key.signatures(&signed)).await.unwrap();
    let unsigned = store(&registry, LAYOUTS[1], &component());
    let modules = Arc::new(modules(&registry, None, key.trust(&registry)));
    let held = Arc::new(Store::new(modules, Arc::new(Metrics::new())).unwrap());
    held.put(Source::Cluster, wanted(&policy("a", &pinned(&registry, &signed), "enforce"))).await;
    let standing = || standings(&held)[0].clone();
    assert_eq!((standing().state, standing().refusal), (State::Ready, None));
    held.put(Source::Cluster, wanted(&policy("a", &pinned(&registry, &unsigned), "enforce"))).await;
    assert_eq!(standing().refusal, Some("Unsigned"));
    assert!(matches!(standing().state, State::LastGood(_)), "{:?}", standing().state);
    assert!(standing().module.unwrap().reference.unwrap().ends_with(&signed));
    // Somebody signs it, and the next attempt finds the signature.
    client(&registry).attach(&pinned(&registry, &unsigned), &key.signatures(&unsigned)).await.unwrap();
    assert!(held.retry().await);
    let mut standings = held.standings();
    let ready = |all: &Arc<Vec<(Source, wardset::supply::store::Standing)>>| all[0].1.state == State::Ready;
    standings.wait_for(ready).await.unwrap();
}

#[test]
fn a_module_is_pushed_signed_verified_and_decides_a_review() {
    let (registry, key, folder) = (FakeRegistry::start(), Key::new(), tempfile::tempdir().unwrap());
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (private, public) = (file("key.pem", &key.private), file("key.pub", &key.public));
    let stranger = file("stranger.pub", &Key::new().public);
    let rules = |keys: &str| format!("rules:\n- prefix: {}\n  keys: [{keys}]\n", registry.host);
    let trust = file("trust.yaml", &rules("key.pub"));
    let none = folder.path().join("none.json");
    std::fs::write(&none, "{}").unwrap();
    let run = |arguments: &[&str]| {
        outcome(&wardset(arguments, &registry.ca(), Some(&none), &folder.path().join("cache")))
    };
    let tag = format!("oci://{}/labels:1", registry.host);
    let (code, pushed, err) = run(&["policy", "push", "builtin:default-labels", &tag]);
    assert_eq!(code, 0, "{err}");
    let (code, out, err) = run(&["policy", "verify", &tag, "--key", &public]);
    assert_eq!((code, &*out), (1, ""), "{err}");
    assert!(err.contains("Unsigned: expected a signature of the key `"), "{err}");

    let (code, signed, err) = run(&["policy", "sign", &tag, "--key", &private]);
    assert_eq!((code, &signed), (0, &pushed), "{err}");
    assert!(err.contains("signed by the key "), "{err}");
    // The same key signs once.
    let (code, again, err) = run(&["policy", "sign", &tag, "--key", &private]);
    assert_eq!((code, &again), (0, &pushed), "{err}");
    let digest = pushed.trim().split_once("@sha256:").unwrap().1;
    let list = |suffix: &str| {
        let list = registry.get(&format!("labels/manifests/sha256-{digest}{suffix}")).unwrap();
        serde_json::from_slice::<Value>(&list).unwrap()
    };
    assert_eq!(list(".sig")["layers"].as_array().unwrap().len(), 1);
    assert_eq!(list("")["manifests"].as_array().unwrap().len(), 1);
    for arguments in [["--key", &public], ["--trust", &trust]] {
        let (code, out, err) = run(&[&["policy", "verify", &tag], &arguments[..]].concat());
        assert_eq!((code, &out), (0, &pushed), "{err}");
    }
    let (code, _, err) = run(&["policy", "verify", &tag, "--key", &stranger]);
    assert_eq!(code, 1);
    assert!(err.contains("BadSignature: expected a signature of the key `"), "{err}");

    let copy = folder.path().join("copy.wasm");
    let pull =
        |rules: &str| run(&["policy", "pull", &tag, "--output", copy.to_str().unwrap(), "--trust", rules]);
    let (code, _, err) = pull(&file("strict.yaml", &rules("stranger.pub")));
    assert_eq!((code, copy.exists()), (2, false), "{err}");
    assert!(err.contains("is not trusted: expected a signature of the key `"), "{err}");
    assert_eq!(pull(&trust).0, 0);

    let module: OciReference = pushed.trim().parse().unwrap();
    let policy = file("policy.yaml", &policy("labels", &module, "enforce"));
    let object = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "a"}}, "spec": {}}},
    });
    let object = file("agent.json", &object.to_string());
    let review =
        |trust: &str| run(&["review", "-f", &object, "--policies", &policy, "--trust", trust, "-o", "json"]);
    let (code, out, err) = review(&trust);
    assert_eq!(code, 0, "{err}");
    let out: Value = serde_json::from_str(&out).unwrap();
    assert!(out.to_string().contains("\"team\""), "{out}");

    let (code, _, err) = review(folder.path().join("strict.yaml").to_str().unwrap());
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("is not trusted") && err.contains("the key does not verify the signature"), "{err}");
    let wrong = file("wrong.yaml", "rules:\n- prefix: r\n");
    let (code, _, err) = review(&wrong);
    assert_eq!(code, 2);
    assert!(
        err.contains("wrong.yaml") && err.contains("`rules[0].require`: the rule trusts nobody"),
        "{err}"
    );
}
