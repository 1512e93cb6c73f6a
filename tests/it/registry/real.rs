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
