//! A process of the registry from Debian's package `docker-registry`, over TLS with a CA of its own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use wardset::certificates::development;

/// A registry that ends when it is dropped.
pub(crate) struct RealRegistry {
    /// Host and port.
    pub(crate) host: String,
    /// The files of the registry, and of the test that uses it.
    pub(crate) folder: TempDir,
    process: Child,
}

impl RealRegistry {
    /// Starts the program. `htpasswd` are the accounts; without them, nobody needs to log in.
    pub(crate) fn start(program: &Path, htpasswd: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        development::make(folder.path()).unwrap();
        let auth = match htpasswd {
            Some(accounts) => {
                std::fs::write(path("htpasswd"), accounts).unwrap();
                format!("auth: {{htpasswd: {{realm: test, path: '{}'}}}}\n", path("htpasswd"))
            }
            None => String::new(),
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
        let mut process = command.spawn().unwrap_or_else(|error| {
            panic!(
                "failed to start `{}`: {error}; hint: `apt-get install docker-registry`",
                program.display()
            )
        });
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

    /// Returns the file of its CA.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Returns the folder of a tag in its storage.
    pub(crate) fn tag(&self, repository: &str, tag: &str) -> PathBuf {
        let storage = self.folder.path().join("storage/docker/registry/v2/repositories");
        storage.join(repository).join("_manifests/tags").join(tag)
    }

    /// Returns the file of a blob in its storage.
    pub(crate) fn file(&self, digest: &str) -> PathBuf {
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
