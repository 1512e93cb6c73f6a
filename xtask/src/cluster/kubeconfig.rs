//! The file that tells a client the API server's address and its own identity.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::certificates::{Certificates, Client};

/// Writes the kubeconfig of `client` to `path`. It refers to the files of the certificates, whose paths are absolute.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write(path: &Path, port: u16, certificates: &Certificates, client: Client) -> Result<()> {
    let (certificate, key) = certificates.client(client);
    let text = render(port, &certificates.ca(), client.name(), &certificate, &key);
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

fn render(port: u16, ca: &Path, user: &str, certificate: &Path, key: &Path) -> String {
    // A JSON string is a YAML string, for any path.
    let quoted = |path: &Path| serde_json::Value::from(path.to_string_lossy()).to_string();
    format!(
        "apiVersion: v1
kind: Config
current-context: wardset
clusters:
  - name: wardset
    cluster:
      server: https://127.0.0.1:{port}
      certificate-authority: {ca}
users:
  - name: {user}
    user:
      client-certificate: {certificate}
      client-key: {key}
contexts:
  - name: wardset
    context:
      cluster: wardset
      user: {user}
",
        ca = quoted(ca),
        certificate = quoted(certificate),
        key = quoted(key),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_server_ca_and_client() {
        let text = render(
            6443,
            Path::new("/a \"b\"/ca.crt"),
            "admin",
            Path::new("/c/admin.crt"),
            Path::new("/c/admin.key"),
        );
        assert_eq!(
            text,
            r#"apiVersion: v1
kind: Config
current-context: wardset
clusters:
  - name: wardset
    cluster:
      server: https://127.0.0.1:6443
      certificate-authority: "/a \"b\"/ca.crt"
users:
  - name: admin
    user:
      client-certificate: "/c/admin.crt"
      client-key: "/c/admin.key"
contexts:
  - name: wardset
    context:
      cluster: wardset
      user: admin
"#
        );
    }
}
