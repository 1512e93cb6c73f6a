//! Modules in registries: pulls, pushes, credentials, the cache, and the errors that users see.

mod docker_registry;
mod errors;
mod list;
mod policies;
mod real;
mod server;
mod signatures;
mod tags;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use wardset::registry::{
    Annotations, ContentCache, CredentialSource, ModuleArtifact, RegistryClient, RegistryOptions,
    RegistryTimes, TagList,
};
use wardset::supply::builtin;
use wardset_core::policy::OciReference;

use server::{FakeRegistry, Fault, LOGIN, Login};

/// The media types of config and layer of the two layouts.
const LAYOUTS: [(&str, &str); 2] = [
    ("application/vnd.wasm.config.v0+json", "application/wasm"),
    ("application/vnd.wasm.config.v1+json", "application/vnd.wasm.content.layer.v1+wasm"),
];

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn digest_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// Returns a component that loads.
fn component() -> Bytes {
    let labels = builtin::MODULES.iter().find(|module| module.name == "default-labels").unwrap();
    Bytes::from_static(labels.bytes)
}

/// Returns options that trust the registry and read no credentials. Repeats do not wait.
fn options(registry: &FakeRegistry) -> RegistryOptions {
    RegistryOptions {
        ca: Some(registry.ca()),
        credentials: CredentialSource::Files(Vec::new()),
        times: RegistryTimes { backoff: Duration::ZERO, ..RegistryTimes::default() },
        ..RegistryOptions::default()
    }
}

fn client(registry: &FakeRegistry) -> RegistryClient {
    RegistryClient::new(options(registry))
}

/// Stores an artifact as `policy:1` and under its digest, which is returned.
fn store(registry: &FakeRegistry, (config, layer): (&str, &str), content: &Bytes) -> String {
    let of = |kind: &str, bytes: &[u8]| serde_json::json!({"mediaType": kind, "digest": digest_of(bytes), "size": bytes.len()});
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": of(config, b"{}"), "layers": [of(layer, content)],
    });
    let manifest = manifest.to_string();
    let digest = digest_of(manifest.as_bytes());
    registry.put(&format!("policy/blobs/{}", digest_of(content)), layer, content.clone());
    registry.put("policy/manifests/1", MANIFEST, manifest.clone());
    registry.put(&format!("policy/manifests/{digest}"), MANIFEST, manifest);
    digest
}

fn tagged(registry: &FakeRegistry) -> OciReference {
    format!("oci://{}/policy:1", registry.host).parse().unwrap()
}

fn pinned(registry: &FakeRegistry, digest: &str) -> OciReference {
    format!("oci://{}/policy@{digest}", registry.host).parse().unwrap()
}

fn blob() -> String {
    format!("policy/blobs/{}", digest_of(&component()))
}

fn cache(folder: &Path) -> ContentCache {
    ContentCache::at(folder.join("registry"))
}

#[tokio::test]
async fn both_layouts_are_pulled_by_tag_and_by_digest() {
    for layout in LAYOUTS {
        let registry = FakeRegistry::start();
        let digest = store(&registry, layout, &component());
        for reference in [tagged(&registry), pinned(&registry, &digest)] {
            let pulled = client(&registry).pull(&reference, None).await.unwrap();
            assert_eq!(pulled.component, component());
            assert_eq!(pulled.reference, reference.pinned(&digest));
        }
        let requests = registry.requests();
        let by_tag = ["GET policy/manifests/1".to_owned(), format!("GET {}", blob())];
        let by_digest = [format!("GET policy/manifests/{digest}"), format!("GET {}", blob())];
        assert_eq!(requests, [by_tag, by_digest].concat());
    }
}

#[tokio::test]
async fn a_pushed_module_has_the_layout_of_the_cncf_and_a_second_push_uploads_no_blob() {
    let registry = FakeRegistry::start();
    let annotations = Annotations::from([("org.opencontainers.image.title".to_owned(), "x".to_owned())]);
    let artifact = ModuleArtifact::new(component().to_vec(), &["a:b/c".to_owned()], &[], &annotations);
    let pushed = client(&registry).push(&tagged(&registry), &artifact).await.unwrap();
    assert_eq!(pushed, tagged(&registry).pinned(&artifact.digest()));

    let manifest = registry.get("policy/manifests/1").unwrap();
    assert_eq!(digest_of(&manifest), artifact.digest());
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let types = [&manifest["config"]["mediaType"], &manifest["layers"][0]["mediaType"]];
    assert_eq!(types, [LAYOUTS[0].0, LAYOUTS[0].1]);
    assert_eq!(manifest["annotations"], serde_json::json!(annotations));
    let config = registry.get(&format!("policy/blobs/{}", manifest["config"]["digest"].as_str().unwrap()));
    let config: serde_json::Value = serde_json::from_slice(&config.unwrap()).unwrap();
    assert_eq!((&config["architecture"], &config["os"]), (&"wasm".into(), &"wasip2".into()));

    registry.requests();
    assert_eq!(client(&registry).push(&tagged(&registry), &artifact).await.unwrap(), pushed);
    let requests = registry.requests();
    assert!(requests.iter().all(|request| !request.starts_with("POST")), "{requests:?}");
    let pulled = client(&registry).pull(&tagged(&registry), None).await.unwrap();
    assert_eq!((pulled.component, pulled.annotations), (component(), annotations));
}

#[tokio::test]
async fn credentials_are_sent_only_after_a_challenge_and_as_a_token_if_the_registry_wants_one() {
    for login in [Login::Basic, Login::Token] {
        let registry = FakeRegistry::with(login, true);
        store(&registry, LAYOUTS[0], &component());
        let credentials = CredentialSource::Files(vec![registry.credentials(LOGIN.1)]);
        let client = RegistryClient::new(RegistryOptions { credentials, ..options(&registry) });
        assert_eq!(client.pull(&tagged(&registry), None).await.unwrap().component, component());
        let artifact = ModuleArtifact::new(component().to_vec(), &[], &[], &Annotations::new());
        client.push(&tagged(&registry), &artifact).await.unwrap();
        let tokens = registry.requests().iter().filter(|request| *request == "GET token").count();
        assert_eq!(tokens, if login == Login::Token { 2 } else { 0 }, "one for each operation");
    }
}

/// A mounted Secret changes while the server runs.
#[tokio::test]
async fn each_login_reads_the_files_again_and_the_first_with_an_entry_counts() {
    let registry = FakeRegistry::with(Login::Basic, true);
    store(&registry, LAYOUTS[0], &component());
    let other = registry.credentials("secret of another registry").with_file_name("other.json");
    std::fs::write(&other, r#"{"auths": {"registry.example.com": {"auth": "am86cHc="}}}"#).unwrap();
    let file = registry.credentials("expired");
    let credentials = CredentialSource::Files(vec![other, file.clone()]);
    let client = RegistryClient::new(RegistryOptions { credentials, ..options(&registry) });
    let error = format!("{:#}", anyhow::Error::new(client.pull(&tagged(&registry), None).await.unwrap_err()));
    assert!(error.contains(&format!("rejects the credentials from `{}`", file.display())), "{error}");
    registry.credentials(LOGIN.1);
    assert_eq!(client.pull(&tagged(&registry), None).await.unwrap().component, component());
}

#[tokio::test]
async fn a_redirect_to_another_host_carries_no_credentials() {
    let (registry, storage) =
        (FakeRegistry::with(Login::Basic, false), FakeRegistry::with(Login::None, false));
    store(&registry, LAYOUTS[0], &component());
    store(&storage, LAYOUTS[0], &component());
    // The storage fails if it gets credentials. Its name differs, since the port alone makes no other host.
    let host = storage.host.replace("localhost", "127.0.0.1");
    registry.fail(1, "blobs", &Fault::Redirect(format!("http://{host}/v2/{}", blob())));
    let client = RegistryClient::new(RegistryOptions {
        insecure: vec![registry.host.clone()],
        credentials: CredentialSource::Files(vec![registry.credentials(LOGIN.1)]),
        ..options(&registry)
    });
    assert_eq!(client.pull(&tagged(&registry), None).await.unwrap().component, component());
    assert_eq!(storage.requests(), [format!("GET {}", blob())]);
}

#[tokio::test]
async fn a_download_continues_where_the_connection_was_cut() {
    let registry = FakeRegistry::start();
    store(&registry, LAYOUTS[0], &component());
    registry.fail(1, "blobs", &Fault::Cut(1000));
    assert_eq!(client(&registry).pull(&tagged(&registry), None).await.unwrap().component, component());
    let requests = registry.requests();
    let (last, first) = requests.split_last().unwrap();
    assert_eq!(first, ["GET policy/manifests/1".to_owned(), format!("GET {}", blob())]);
    let from = last.strip_prefix(&format!("GET {} bytes=", blob())).unwrap();
    assert!(from == "1000-", "{last}");
}

#[tokio::test]
async fn passing_faults_are_tried_again() {
    let registry = FakeRegistry::start();
    store(&registry, LAYOUTS[0], &component());
    registry.fail(3, "manifests", &Fault::Status(503, None));
    registry.fail(1, "blobs", &Fault::Status(429, Some("0")));
    registry.fail(1, "blobs", &Fault::Cut(0));
    assert_eq!(client(&registry).pull(&tagged(&registry), None).await.unwrap().component, component());
    assert_eq!(registry.requests().len(), 4 + 3);
}

#[tokio::test]
async fn a_cached_digest_needs_no_registry_and_a_tag_asks_for_its_manifest_only() {
    let (mut registry, folder) = (FakeRegistry::start(), tempfile::tempdir().unwrap());
    let digest = store(&registry, LAYOUTS[0], &component());
    let cache = cache(folder.path());
    for _ in 0..2 {
        client(&registry).pull(&tagged(&registry), Some(&cache)).await.unwrap();
    }
    let manifest = "GET policy/manifests/1".to_owned();
    assert_eq!(registry.requests(), [manifest.clone(), format!("GET {}", blob()), manifest]);
    registry.stop();
    let pulled = client(&registry).pull(&pinned(&registry, &digest), Some(&cache)).await.unwrap();
    assert_eq!(pulled.component, component());
    client(&registry).pull(&pinned(&registry, &digest), None).await.unwrap_err();
    client(&registry).pull(&tagged(&registry), Some(&cache)).await.unwrap_err();
}

#[tokio::test]
async fn a_damaged_cache_is_pulled_again() {
    let (registry, folder) = (FakeRegistry::start(), tempfile::tempdir().unwrap());
    let digest = store(&registry, LAYOUTS[0], &component());
    let cache = cache(folder.path());
    client(&registry).pull(&pinned(&registry, &digest), Some(&cache)).await.unwrap();
    for entry in std::fs::read_dir(folder.path().join("registry")).unwrap() {
        std::fs::write(entry.unwrap().path(), "damaged").unwrap();
        registry.requests();
        let pulled = client(&registry).pull(&pinned(&registry, &digest), Some(&cache)).await.unwrap();
        assert_eq!(pulled.component, component());
        assert!(!registry.requests().is_empty());
    }
}
