//! The same against a real registry, over TLS with a private CA, with and without a login. `cargo xtask registry` runs
//! it, and names its program by `WARDSET_DOCKER_REGISTRY`. Without that variable, it does nothing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use wardset::certificates::development;

use super::policies::{outcome, wardset};
use super::*;

/// `LOGIN` as `htpasswd -Bbn` writes it.
const HTPASSWD: &str = "jo:$2y$05$wardsetwardsetwardsetuXiwuo/wAA18AW0HL9q9e.za/ChYkC6y\n";

struct RealRegistry {
    host: String,
    folder: TempDir,
    process: Child,
}

impl RealRegistry {
    fn start(program: &Path, asks_for_login: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        development::make(folder.path()).unwrap();
        std::fs::write(path("htpasswd"), HTPASSWD).unwrap();
        let auth = match asks_for_login {
            true => format!("auth: {{htpasswd: {{realm: test, path: '{}'}}}}\n", path("htpasswd")),
            false => String::new(),
        };
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: '{}'}}}}\n\
             http: {{addr: '127.0.0.1:0', tls: {{certificate: '{}', key: '{}'}}}}\n{auth}",
            path("storage"),
            path("tls/tls.crt"),
            path("tls/tls.key")
        );
        std::fs::write(path("config.yml"), config).unwrap();
        let mut command = Command::new(program);
        let command =
            command.args(["serve", &path("config.yml")]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let port = loop {
            // The end of the log before the port means that the registry did not start.
            let line = log.next().unwrap().unwrap();
            if let Some((_, rest)) = line.split_once("listening on 127.0.0.1:") {
                break rest.chars().take_while(char::is_ascii_digit).collect::<String>();
            }
        };
        // The registry blocks if nobody reads its log.
        std::thread::spawn(move || log.for_each(drop));
        Self { host: format!("localhost:{port}"), folder, process }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Returns the file of a blob in the registry's storage.
    fn file(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let blobs = self.folder.path().join("storage/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_real_registry_stores_and_returns_modules() {
    let Some(program) = std::env::var_os("WARDSET_DOCKER_REGISTRY") else {
        // Bypasses the capture of the test runner, because a skipped test must be visible.
        let note = b"WARDSET_DOCKER_REGISTRY is not set: skipped the real registry; `cargo xtask registry` runs it\n";
        let _ = std::io::stderr().write_all(note);
        return;
    };
    for asks_for_login in [false, true] {
        let registry = RealRegistry::start(Path::new(&program), asks_for_login);
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
