//! The table of errors: each names the host, the expected and the found, and the remedy. docs/registries.md has them all.

use std::error::Error as _;
use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use wardset::registry::{CredentialSource, RegistryClient, RegistryOptions, RegistryTimes};
use wardset_core::policy::OciReference;
use wardset_runtime::MAX_MODULE;

use super::*;

/// Host in the documents.
const DOCUMENTED: &str = "registry.example.com";

/// Returns the problem of a pull, and checks that the message names operation and reference.
async fn problem(options: RegistryOptions, reference: &OciReference) -> (u32, String) {
    let error = RegistryClient::new(options).pull(reference, None).await.unwrap_err();
    let (text, start) = (error.to_string(), format!("failed to pull `{reference}`"));
    let rest = text.strip_prefix(&start).unwrap_or_else(|| panic!("{text}"));
    let attempts =
        rest.strip_prefix(" in ").map_or(1, |rest| rest.strip_suffix(" attempts").unwrap().parse().unwrap());
    (attempts, error.source().unwrap().to_string())
}

/// Checks a problem and that the documents have it.
#[track_caller]
fn check((attempts, found): (u32, String), expected_attempts: u32, host: &str, expected: &str) {
    assert_eq!(found, expected);
    assert_eq!(attempts, expected_attempts, "{found}");
    let page = include_str!("../../../docs/registries.md");
    // The documents have digests, paths and sizes of their own.
    let shown = expected.replace(host, DOCUMENTED);
    let parts = shown.split('`').enumerate();
    // Every second part is in backticks.
    let is_own = |at: usize, part: &str| at % 2 == 1 && (part.len() > 60 || part.starts_with('/'));
    let parts = parts.map(|(at, part)| if is_own(at, part) { "…" } else { part });
    let shown = parts.collect::<Vec<_>>().join("`");
    assert!(page.contains(&shown), "docs/registries.md lacks:\n{shown}");
}

#[tokio::test]
async fn a_host_that_does_not_exist() {
    let reference = "oci://wardset-test.invalid/policy:1".parse().unwrap();
    let options = RegistryOptions {
        credentials: CredentialSource::Files(Vec::new()),
        times: RegistryTimes { backoff: Duration::ZERO, ..RegistryTimes::default() },
        ..RegistryOptions::default()
    };
    let expected = "failed to resolve the host `wardset-test.invalid`; hint: check the host in the reference, and the \
                    DNS of this machine";
    check(problem(options, &reference).await, 4, "wardset-test.invalid", expected);
}

#[tokio::test]
async fn a_port_that_refuses_connections() {
    let registry = FakeRegistry::start();
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let host = format!("127.0.0.1:{port}");
    let reference = format!("oci://{host}/policy:1").parse().unwrap();
    let expected = format!("`{host}` refuses connections; hint: check host and port in the reference");
    check(problem(options(&registry), &reference).await, 4, &host, &expected);
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca() {
    let registry = FakeRegistry::start();
    let expected = format!(
        "failed to verify the certificate of `{}`: no known CA signed it; hint: pass the registry's CA by \
         `--registry-ca FILE`",
        registry.host
    );
    let options = RegistryOptions { ca: None, ..options(&registry) };
    check(problem(options, &tagged(&registry)).await, 1, &registry.host, &expected);
}

#[tokio::test]
async fn a_certificate_of_another_host() {
    let registry = FakeRegistry::start();
    // The certificate has this name; a name that resolves to the same server, and is not in it, is needed.
    let host = registry.host.replace("localhost", "127.0.0.2");
    let reference = format!("oci://{host}/policy:1").parse().unwrap();
    let (_, found) = problem(options(&registry), &reference).await;
    // Nothing listens on the second address of the loopback interface on some systems.
    let start = format!("failed to verify the certificate of `{host}`: ");
    assert!(found.starts_with(&start) || found.contains("refuses connections"), "{found}");
}

#[tokio::test]
async fn plain_http_is_used_only_if_the_user_says_so() {
    let registry = FakeRegistry::with(Login::None, false);
    store(&registry, LAYOUTS[0], &component());
    let host = &registry.host;
    let expected = format!(
        "expected TLS from `{host}`, found another protocol; hint: if the registry has plain HTTP only, pass \
         `--insecure-registry {host}`"
    );
    check(problem(options(&registry), &tagged(&registry)).await, 1, host, &expected);
    assert_eq!(registry.requests(), [""; 0]);
    let insecure = RegistryOptions { insecure: vec![host.clone()], ..options(&registry) };
    RegistryClient::new(insecure).pull(&tagged(&registry), None).await.unwrap();
}

#[tokio::test]
async fn no_credentials_and_wrong_credentials() {
    for login in [Login::Basic, Login::Token] {
        let registry = FakeRegistry::with(login, true);
        store(&registry, LAYOUTS[0], &component());
        let host = &registry.host;
        let expected = format!(
            "`{host}` asks for credentials (401), found none for it; hint: `docker login {host}` or `podman login \
             {host}` stores them where Wardset reads them"
        );
        check(problem(options(&registry), &tagged(&registry)).await, 1, host, &expected);
        let file = registry.credentials("wrong");
        let expected = format!(
            "`{host}` rejects the credentials from `{}` (401); hint: `docker login {host}` or `podman login {host}` \
             renews them",
            file.display()
        );
        let options =
            RegistryOptions { credentials: CredentialSource::Files(vec![file]), ..options(&registry) };
        check(problem(options, &tagged(&registry)).await, 1, host, &expected);
    }
}

#[tokio::test]
async fn the_statuses_of_a_registry() {
    let registry = FakeRegistry::start();
    let host = &registry.host;
    let detail = ": FAULT of the test";
    let absent = format!(
        "`{host}` has no manifest `policy:1` (404); hint: check name, tag and digest in the reference"
    );
    check(problem(options(&registry), &tagged(&registry)).await, 1, host, &absent);
    store(&registry, LAYOUTS[0], &component());
    for (status, after, attempts, expected) in [
        (
            403,
            None,
            1,
            format!(
                "`{host}` denies access to `policy` (403){detail}; hint: ask its operator for the right to pull"
            ),
        ),
        (
            429,
            None,
            4,
            format!(
                "`{host}` limits the rate of requests (429); hint: try again later, or log in if the limit is for anonymous clients"
            ),
        ),
        (
            429,
            Some("3600"),
            1,
            format!(
                "`{host}` limits the rate of requests (429) and asks to wait 3600 s; hint: try again then"
            ),
        ),
        (
            503,
            None,
            4,
            format!("`{host}` answered with status 503{detail}; hint: the registry's own log has the reason"),
        ),
        (
            418,
            None,
            1,
            format!(
                "expected an answer of the OCI distribution API from `{host}`, found status 418 I'm a teapot{detail}; hint: check host and port"
            ),
        ),
    ] {
        registry.fail(attempts as usize, "manifests", &Fault::Status(status, after));
        check(problem(options(&registry), &tagged(&registry)).await, attempts, host, &expected);
    }
    assert_eq!(registry.requests().len(), 1 + 1 + 4 + 1 + 4 + 1);
}

#[tokio::test]
async fn content_with_another_digest() {
    let registry = FakeRegistry::start();
    let digest = store(&registry, LAYOUTS[0], &component());
    let host = &registry.host;
    let expected = |content: &[u8]| {
        let mut tampered = content.to_vec();
        *tampered.last_mut().unwrap() ^= 1;
        format!(
            "expected content with the digest `{}` from `{host}`, found `{}`; hint: the registry, its storage or a proxy \
             changed it, so don't use it",
            digest_of(content),
            digest_of(&tampered)
        )
    };
    registry.fail(1, "blobs", &Fault::Tampered);
    check(problem(options(&registry), &tagged(&registry)).await, 1, host, &expected(&component()));
    registry.fail(1, "manifests", &Fault::Tampered);
    let manifest = registry.get("policy/manifests/1").unwrap();
    check(problem(options(&registry), &pinned(&registry, &digest)).await, 1, host, &expected(&manifest));
}

#[tokio::test]
async fn content_that_is_no_module() {
    let registry = FakeRegistry::start();
    let image = ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip");
    store(&registry, image, &component());
    let layout = |found: &str| {
        format!(
            "expected a manifest with a config of `application/vnd.wasm.config.v0+json` and one layer of \
             `application/wasm`, found {found}; hint: `wardset policy push` writes such artifacts"
        )
    };
    let found = format!("the config `{}` and a layer of `{}`", image.0, image.1);
    check(problem(options(&registry), &tagged(&registry)).await, 1, &registry.host, &layout(&found));
    registry.put("policy/manifests/1", MANIFEST, r#"{"schemaVersion": 2, "manifests": []}"#);
    let found = "an index of several artifacts";
    check(problem(options(&registry), &tagged(&registry)).await, 1, &registry.host, &layout(found));

    store(&registry, LAYOUTS[0], &Bytes::from_static(b"\0asm\x01\0\0\0"));
    let expected = "expected a WebAssembly component in the layer, found a core module; hint: `wardset policy build` makes \
                    components";
    check(problem(options(&registry), &tagged(&registry)).await, 1, &registry.host, expected);
}

#[tokio::test]
async fn a_module_that_is_too_large_is_not_downloaded() {
    let registry = FakeRegistry::start();
    store(&registry, LAYOUTS[0], &vec![0; MAX_MODULE + 1].into());
    let expected = "expected at most 33554432 bytes of a module, found 33554433";
    check(problem(options(&registry), &tagged(&registry)).await, 1, &registry.host, expected);
    assert_eq!(registry.requests(), ["GET policy/manifests/1"]);

    // A registry that sends more than the manifest says, or a manifest without end.
    let digest = store(&registry, LAYOUTS[0], &component());
    registry.put(&blob(), "application/wasm", vec![0; component().len() + 1]);
    let (_, found) = problem(options(&registry), &pinned(&registry, &digest)).await;
    assert_eq!(found, format!("expected at most {} bytes of a module, found more", component().len()));
    registry.put("policy/manifests/1", MANIFEST, vec![b' '; (4 << 20) + 1]);
    let (_, found) = problem(options(&registry), &tagged(&registry)).await;
    assert_eq!(found, "expected at most 4194304 bytes of a manifest, found 4194305");
}

#[tokio::test]
async fn a_registry_that_stops_to_answer() {
    let registry = FakeRegistry::start();
    store(&registry, LAYOUTS[0], &component());
    registry.fail(2, "blobs", &Fault::Silent);
    let (idle, host) = (Duration::from_millis(100), &registry.host);
    let times = RegistryTimes { idle, attempts: 2, ..options(&registry).times };
    let (_, found) = problem(RegistryOptions { times, ..options(&registry) }, &tagged(&registry)).await;
    assert_eq!(found, format!("expected an answer from `{host}` within 0.1 s, found none"));
    let documented = "expected an answer from `registry.example.com` within 20 s, found none";
    assert!(include_str!("../../../docs/registries.md").contains(documented));

    registry.fail(1, "manifests", &Fault::Silent);
    let times = RegistryTimes { whole: idle, ..options(&registry).times };
    let (_, found) = problem(RegistryOptions { times, ..options(&registry) }, &tagged(&registry)).await;
    assert_eq!(found, format!("`{host}` needs more than 0.1 s; hint: check the network to the registry"));
    let documented = "`registry.example.com` needs more than 300 s; hint: check the network to the registry";
    assert!(include_str!("../../../docs/registries.md").contains(documented));
}

#[tokio::test]
async fn a_connection_that_is_cut_each_time() {
    let registry = FakeRegistry::start();
    store(&registry, LAYOUTS[0], &component());
    registry.fail(4, "blobs", &Fault::Cut(0));
    let (attempts, found) = problem(options(&registry), &tagged(&registry)).await;
    let start = format!("the connection to `{}` ended before the answer was complete: ", registry.host);
    assert!(attempts == 4 && found.starts_with(&start), "{found}");
    let start = start.replace(&registry.host, DOCUMENTED);
    assert!(include_str!("../../../docs/registries.md").contains(&start));
}
