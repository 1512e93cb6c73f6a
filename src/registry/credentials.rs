//! The credential files of Docker and Podman, and Docker's credential helpers.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;

/// Time limit of a credential helper. It may ask a service on the network.
const HELPER_TIME: Duration = Duration::from_secs(15);

/// Docker Hub's name in credential files, without its scheme and path.
const DOCKER_HUB: [&str; 2] = ["index.docker.io", "docker.io"];

/// The files with credentials.
#[derive(Debug, Clone, Default)]
pub enum CredentialSource {
    /// The files that Docker and Podman use, as the environment names them.
    #[default]
    Environment,
    /// These files, in this order.
    Files(Vec<PathBuf>),
}

/// Credentials of one registry.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) secret: Secret,
    /// The file that named them, for messages.
    pub(super) from: PathBuf,
}

#[derive(Clone)]
pub(super) enum Secret {
    Password {
        user: String,
        password: String,
    },
    /// A refresh token of OAuth 2.
    IdentityToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "credentials from {}", self.from.display())
    }
}

/// A problem with a credential file. It never contains a part of the file.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The system refuses to read the file.
    #[error("failed to read the credentials `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// It is no credential file.
    #[error("failed to parse the credentials `{}` as JSON: error at line {line}, column {column}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Its line.
        line: usize,
        /// Its column.
        column: usize,
    },
    /// A malformed entry.
    #[error("expected `auth` of `{key}` in `{}` to be the base64 of USER:PASSWORD; hint: log in again", path.display())]
    Auth {
        /// The file.
        path: PathBuf,
        /// The entry's key.
        key: String,
    },
    /// The helper does not work.
    #[error("failed to run the credential helper `{program}`, which `{}` names: {problem}", path.display())]
    Helper {
        /// The file.
        path: PathBuf,
        /// Its program.
        program: String,
        /// The reason.
        problem: String,
    },
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct CredentialFile {
    auths: BTreeMap<String, Entry>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase", default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: String,
}

/// Returns the credentials for `repository` of the registry `host`, if a file has any. The first file that has some wins.
pub(super) async fn find(
    source: &CredentialSource,
    host: &str,
    repository: &str,
) -> Result<Option<Credentials>, CredentialsError> {
    let files = match source {
        CredentialSource::Environment => of_environment(|name| std::env::var_os(name).map(PathBuf::from)),
        CredentialSource::Files(files) => files.iter().map(|file| (file.clone(), true)).collect(),
    };
    for (path, is_required) in files {
        let Some(file) = read(&path, is_required)? else { continue };
        let names = names(host, repository);
        if let Some(secret) = in_file(&file, &path, &names).await? {
            return Ok(Some(Credentials { secret, from: path }));
        }
    }
    Ok(None)
}

/// Returns the files, and whether each must exist.
fn of_environment(variable: impl Fn(&str) -> Option<PathBuf>) -> Vec<(PathBuf, bool)> {
    let set = |name| variable(name).filter(|value| !value.as_os_str().is_empty());
    // Somebody who names a file expects that it is used.
    let named = set("REGISTRY_AUTH_FILE").map(|file| (file, true));
    let podman = set("XDG_RUNTIME_DIR").map(|folder| (folder.join("containers/auth.json"), false));
    let docker = set("DOCKER_CONFIG").or_else(|| set("HOME").map(|home| home.join(".docker")));
    let docker = docker.map(|folder| (folder.join("config.json"), false));
    named.into_iter().chain(podman).chain(docker).collect()
}

fn read(path: &Path, is_required: bool) -> Result<Option<CredentialFile>, CredentialsError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if !is_required && error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CredentialsError::Read { path: path.to_owned(), source }),
    };
    // The parser's own message may repeat a value.
    serde_json::from_slice(&bytes).map(Some).map_err(|error| CredentialsError::Parse {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
    })
}

/// Returns the keys of a repository, the most specific one first, as Podman looks them up. Docker knows hosts only.
fn names(host: &str, repository: &str) -> Vec<String> {
    let hosts: Vec<&str> = if DOCKER_HUB.contains(&host) { DOCKER_HUB.to_vec() } else { vec![host] };
    let mut names = Vec::new();
    for host in hosts {
        let mut name = format!("{host}/{repository}");
        while let Some((parent, _)) = name.rsplit_once('/') {
            let parent = parent.to_owned();
            names.push(std::mem::replace(&mut name, parent));
        }
        names.push(host.to_owned());
    }
    names
}

async fn in_file(
    file: &CredentialFile,
    path: &Path,
    names: &[String],
) -> Result<Option<Secret>, CredentialsError> {
    let hosts = || names.iter().filter(|name| !name.contains('/'));
    for host in hosts() {
        if let Some(helper) = file.cred_helpers.get(host) {
            return ask(helper, host, path).await;
        }
    }
    for name in names {
        if let Some((key, entry)) = file.auths.iter().find(|(key, _)| bare(key) == name)
            && let Some(secret) = of_entry(entry, key, path)?
        {
            return Ok(Some(secret));
        }
    }
    let Some(helper) = &file.creds_store else { return Ok(None) };
    for host in hosts() {
        // Docker stores the address of its own registry in full.
        let address = if host == "index.docker.io" { "https://index.docker.io/v1/" } else { host };
        if let Some(secret) = ask(helper, address, path).await? {
            return Ok(Some(secret));
        }
    }
    Ok(None)
}

/// Returns a key without the scheme and the version of the API, which Docker writes for some hosts.
fn bare(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key)
}

fn of_entry(entry: &Entry, key: &str, path: &Path) -> Result<Option<Secret>, CredentialsError> {
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if let Some(token) = filled(&entry.identitytoken) {
        return Ok(Some(Secret::IdentityToken(token)));
    }
    if let Some(auth) = filled(&entry.auth) {
        let decoded = base64::engine::general_purpose::STANDARD.decode(auth.trim()).ok();
        let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let (user, password) = text
            .as_deref()
            .and_then(|text| text.split_once(':'))
            .ok_or_else(|| CredentialsError::Auth { path: path.to_owned(), key: key.to_owned() })?;
        // Docker pads the password of some registries with zeros.
        let password = password.trim_end_matches('\0');
        return Ok(Some(Secret::Password { user: user.to_owned(), password: password.to_owned() }));
    }
    Ok(match (filled(&entry.username), filled(&entry.password)) {
        (Some(user), Some(password)) => Some(Secret::Password { user, password }),
        _ => None,
    })
}

/// Asks a credential helper. If it has nothing for the host, it fails, and there are no credentials.
async fn ask(helper: &str, host: &str, path: &Path) -> Result<Option<Secret>, CredentialsError> {
    let program = format!("docker-credential-{helper}");
    let failed = |problem: String| CredentialsError::Helper {
        path: path.to_owned(),
        program: program.clone(),
        problem,
    };
    // A name with a path would run any program.
    if !helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(failed("expected a name of letters, digits, `-`, `_` and `.`".to_owned()));
    }
    let io = |error: std::io::Error| failed(error.to_string());
    let mut child = tokio::process::Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(io)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input fails below.
        let _ = stdin.write_all(host.as_bytes()).await;
    }
    let output = tokio::time::timeout(HELPER_TIME, child.wait_with_output()).await;
    let output =
        output.map_err(|_| failed(format!("no answer within {} s", HELPER_TIME.as_secs())))?.map_err(io)?;
    if !output.status.success() {
        return Ok(None);
    }
    let Helped { username, secret } = serde_json::from_slice(&output.stdout)
        .map_err(|_| failed("expected JSON with `Username` and `Secret`".to_owned()))?;
    Ok(Some(if username == "<token>" {
        Secret::IdentityToken(secret)
    } else {
        Secret::Password { user: username, password: secret }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn found(json: &str, host: &str, repository: &str) -> Result<Option<String>, CredentialsError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), json).unwrap();
        let source = CredentialSource::Files(vec![file.path().to_owned()]);
        let found = find(&source, host, repository).await?;
        Ok(found.map(|found| match found.secret {
            Secret::Password { user, password } => format!("{user}:{password}"),
            Secret::IdentityToken(token) => format!("token {token}"),
        }))
    }

    #[tokio::test]
    async fn finds_the_entry_of_a_registry_as_docker_and_podman_write_it() {
        // am86cHc= is jo:pw.
        for (json, host, repository, expected) in [
            (r#"{"auths": {"r.example": {"auth": "am86cHc="}}}"#, "r.example", "a/b", Some("jo:pw")),
            (
                r#"{"auths": {"https://r.example/v2/": {"auth": "am86cHc="}}}"#,
                "r.example",
                "a",
                Some("jo:pw"),
            ),
            (r#"{"auths": {"r.example:5000": {"auth": "am86cHc="}}}"#, "r.example", "a", None),
            (
                r#"{"auths": {"r.example": {"username": "u", "password": "p"}}}"#,
                "r.example",
                "a",
                Some("u:p"),
            ),
            (
                r#"{"auths": {"r.example": {"auth": "am86cHc=", "identitytoken": "t"}}}"#,
                "r.example",
                "a",
                Some("token t"),
            ),
            (
                r#"{"auths": {"r.example": {"auth": "am86cHc="}, "r.example/team": {"username": "u", "password": "p"}}}"#,
                "r.example",
                "team/x",
                Some("u:p"),
            ),
            (
                r#"{"auths": {"https://index.docker.io/v1/": {"auth": "am86cHc="}}}"#,
                "docker.io",
                "a",
                Some("jo:pw"),
            ),
            (r#"{"auths": {"r.example": {}}}"#, "r.example", "a", None),
            (r#"{"HttpHeaders": {}}"#, "r.example", "a", None),
        ] {
            let found = found(json, host, repository).await.unwrap();
            assert_eq!(found.as_deref(), expected, "{host}/{repository} in {json}");
        }
    }

    #[tokio::test]
    async fn a_broken_file_is_an_error_that_repeats_no_secret() {
        for (json, problem) in [
            (r#"{"auths": "hunter2"}"#, "error at line 1"),
            (r#"{"auths": {"r": {"auth": "hunter2!"}}}"#, "to be the base64 of USER:PASSWORD"),
            (r#"{"credsStore": "../hunter"}"#, "expected a name of letters"),
            (r#"{"credHelpers": {"r": "wardset-test-missing"}}"#, "docker-credential-wardset-test-missing"),
        ] {
            let error = found(json, "r", "a").await.unwrap_err().to_string();
            assert!(error.contains(problem) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_environment_names_the_files_and_only_a_named_one_must_exist() {
        let files = |set: &'static [(&str, &str)]| {
            let value =
                |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            let files = of_environment(value);
            files
                .into_iter()
                .map(|(path, required)| (path.display().to_string(), required))
                .collect::<Vec<_>>()
        };
        let entry = |path: &str, required| (path.to_owned(), required);
        assert_eq!(
            files(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/r")]),
            [entry("/r/containers/auth.json", false), entry("/h/.docker/config.json", false)]
        );
        assert_eq!(
            files(&[("HOME", "/h"), ("REGISTRY_AUTH_FILE", "/a.json"), ("DOCKER_CONFIG", "/d")]),
            [entry("/a.json", true), entry("/d/config.json", false)]
        );
        assert_eq!(files(&[("REGISTRY_AUTH_FILE", ""), ("HOME", "")]), []);
    }
}
