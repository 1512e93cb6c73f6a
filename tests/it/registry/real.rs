//! The same against a real registry, over TLS with a private CA, with and without a login. `cargo xtask registry` runs
//! it, and names its program by `WARDSET_DOCKER_REGISTRY`. Without that variable, it does nothing.

use std::io::Write as _;
use std::path::Path;

use wardset::certificates::development;

use super::docker_registry::RealRegistry;
use super::policies::{outcome, wardset};
use super::*;

/// `LOGIN` as `htpasswd -Bbn` writes it.
const HTPASSWD: &str = "jo:$2y$05$wardsetwardsetwardsetuXiwuo/wAA18AW0HL9q9e.za/ChYkC6y\n";

#[test]
fn a_real_registry_stores_and_returns_modules() {
    let Some(program) = std::env::var_os("WARDSET_DOCKER_REGISTRY") else {
        // Bypasses the capture of the test runner, because a skipped test must be visible.
        let note = b"WARDSET_DOCKER_REGISTRY is not set: skipped the real registry; `cargo xtask registry` runs it\n";
        let _ = std::io::stderr().write_all(note);
        return;
    };
    for asks_for_login in [false, true] {
        let registry = RealRegistry::start(Path::new(&program), asks_for_login.then_some(HTPASSWD));
        let folder = registry.folder.path();
        let (ca, cache, file) = (registry.ca(), crate::support::cache_folder(), folder.join("login.json"));
        let login = |password: &str| {
            use base64::Engine as _;
            let auth = base64::engine::general_purpose::STANDARD.encode(format!("{}:{password}", LOGIN.0));
            let json = serde_json::json!({"auths": {(&registry.host): {"auth": auth}}});
            std::fs::write(&file, json.to_string()).unwrap();
            Some(&*file)
        };
        let run = |arguments: &[&str], login: Option<&Path>| outcome(&wardset(arguments, &ca, login, &cache));
        let tagged = format!("oci://{}/team/labels:1.0.0", registry.host);
        let push = ["policy", "push", "builtin:default-labels", &tagged];
        let refused = |(code, out, said): (i32, String, String), problem: &str| {
            assert!(code == 2 && out.is_empty() && said.contains(problem), "{said}");
        };
        refused(
            run(&["policy", "inspect", &tagged], login(LOGIN.1)),
            "has no manifest `team/labels:1.0.0` (404)",
        );
        if asks_for_login {
            refused(run(&push, None), "asks for credentials (401), found none for it");
            refused(run(&push, login("wrong")), "rejects the credentials from `");
        }
        let (code, pushed, said) = run(&push, login(LOGIN.1));
        assert!(code == 0, "{said}");
        let pushed = pushed.trim_end();
        assert_eq!(run(&push, login(LOGIN.1)).1.trim_end(), pushed, "a second push changed the digest");

        let repository = format!("oci://{}/team/labels", registry.host);
        let list = ["policies", "--remote", &repository];
        let (code, listed, said) = run(&list, login(LOGIN.1));
        assert_eq!(listed, format!(" TAG    MODULE\n 1.0.0  {tagged}\n"), "{code}: {said}");
        refused(
            run(&["policies", "--remote", &format!("{repository}-2")], login(LOGIN.1)),
            "has no repository `team/labels-2` (404)",
        );

        let copy = folder.join("copy.wasm");
        let pull = ["policy", "pull", pushed, "--output", copy.to_str().unwrap()];
        assert_eq!(run(&pull, login(LOGIN.1)).1.trim_end(), pushed);
        assert_eq!(std::fs::read(&copy).unwrap(), component());

        let policies = folder.join("policies.yaml");
        let policy = format!(
            "apiVersion: wardset.dev/v1alpha1\nkind: Policy\nmetadata: {{name: labels}}\n\
             spec:\n  module: {pushed}\n  settings: {{labels: {{team: x}}}}\n"
        );
        std::fs::write(&policies, policy).unwrap();
        let review = ["review", "-f", "examples/fluentd-ds.yaml", "--policies", policies.to_str().unwrap()];
        let (code, out, said) = run(&review, login(LOGIN.1));
        assert!(code == 0 && out.contains("allowed, with 1 change"), "{out}{said}");

        // This registry has no referrers API, so the bundle is found by the index.
        let key = signatures::Key::new();
        let [private, public] = [("key.pem", &key.private), ("key.pub", &key.public)].map(|(name, text)| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        });
        let verify = ["policy", "verify", &tagged, "--key", &public];
        let (code, out, said) = run(&verify, login(LOGIN.1));
        assert!(code == 1 && out.is_empty() && said.contains("Unsigned"), "{said}");
        let (code, signed, said) = run(&["policy", "sign", &tagged, "--key", &private], login(LOGIN.1));
        assert_eq!((code, signed.trim_end()), (0, pushed), "{said}");
        assert_eq!(run(&verify, login(LOGIN.1)).1.trim_end(), pushed);
        assert_eq!(run(&list, login(LOGIN.1)).1, listed, "the list shows signatures");

        // The CA counts, and so does each byte.
        let other = tempfile::tempdir().unwrap();
        development::make(other.path()).unwrap();
        let untrusted =
            wardset(&["policy", "inspect", &tagged], &other.path().join("ca.pem"), login(LOGIN.1), &cache);
        refused(outcome(&untrusted), "no known CA signed it");
        let mut tampered = component().to_vec();
        *tampered.last_mut().unwrap() ^= 1;
        std::fs::write(registry.file(&digest_of(&component())), &tampered).unwrap();
        refused(
            run(&[&review[..], &["--no-cache"]].concat(), login(LOGIN.1)),
            "expected content with the digest",
        );
        let (code, out, said) = run(&review, None);
        assert!(code == 0 && out.contains("allowed, with 1 change"), "the cache is enough: {out}{said}");
    }
}

/// Both verify the signatures of the other, in both forms. `cargo xtask registry --cosign PATH` runs it.
#[test]
fn cosign_and_wardset_verify_the_signatures_of_each_other() {
    let programs = ["WARDSET_DOCKER_REGISTRY", "WARDSET_COSIGN"].map(std::env::var_os);
    let [Some(program), Some(cosign)] = programs else {
        let note =
            b"WARDSET_COSIGN is not set: skipped cosign; `cargo xtask registry --cosign PATH` runs it\n";
        let _ = std::io::stderr().write_all(note);
        return;
    };
    let registry = RealRegistry::start(Path::new(&program), None);
    let (folder, ca, cache) = (registry.folder.path(), registry.ca(), crate::support::cache_folder());
    let cosign = |arguments: &[&str]| {
        let mut command = std::process::Command::new(&cosign);
        command.args(arguments).current_dir(folder).env("HOME", folder).env("COSIGN_PASSWORD", "secret");
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let succeed = |arguments: &[&str]| {
        let (good, said) = cosign(arguments);
        assert!(good, "cosign {arguments:?}: {said}");
    };
    for name in ["own", "other"] {
        succeed(&["generate-key-pair", "--output-key-prefix", name]);
    }
    succeed(&["trusted-root", "create", "--out", "root.json"]);
    let path = |name: &str| folder.join(name).display().to_string();
    let wardset = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_wardset"));
        command.args(arguments).arg("--registry-ca").arg(&ca).env("WARDSET_CACHE_DIR", &cache);
        command.env("COSIGN_PASSWORD", "secret");
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    };
    let ca = ca.display().to_string();
    let trust = ["--registry-cacert", &*ca, "--insecure-ignore-tlog", "--trusted-root", "root.json"];

    // Wardset signs with a key of cosign.
    let (_, pushed) =
        wardset(&["policy", "push", "builtin:default-labels", &format!("oci://{}/labels:1", registry.host)]);
    assert!(wardset(&["policy", "sign", &pushed, "--key", &path("own.key")]).0);
    let digest = digest_in(&pushed);
    let image = format!("{}/labels@{digest}", registry.host);
    let verifies = |key: &str| cosign(&[&["verify", "--key", key], &trust[..], &[&*image]].concat());
    assert!(verifies("own.pub").0, "{}", verifies("own.pub").1);
    assert!(!verifies("other.pub").0);
    // cosign prefers the bundle. Without it, it reads the older form.
    std::fs::remove_dir_all(registry.tag("labels", &digest.replace(':', "-"))).unwrap();
    assert!(verifies("own.pub").0, "{}", verifies("own.pub").1);
    assert!(!verifies("other.pub").0);

    // cosign signs.
    for (name, has_bundle) in [("older", "false"), ("bundle", "true")] {
        let tag = format!("oci://{}/{name}:1", registry.host);
        let (_, pushed) = wardset(&["policy", "push", "builtin:selector-safety", &tag]);
        let verifies = |key: &str| wardset(&["policy", "verify", &tag, "--key", &path(key)]).0;
        assert!(!verifies("own.pub"), "there is no signature yet");
        let image = format!("{}/{name}@{}", registry.host, digest_in(&pushed));
        let form = format!("--new-bundle-format={has_bundle}");
        let options = ["--key", "own.key", "--tlog-upload=false", "--yes", &form, "--registry-cacert", &ca];
        succeed(&[&["sign"], &options[..], &[&*image]].concat());
        assert!(verifies("own.pub"), "the form of {form}");
        assert!(!verifies("other.pub"));
    }
}

/// Returns the digest in a reference.
fn digest_in(reference: &str) -> &str {
    reference.split_once('@').unwrap().1
}
