//! A real API server, as its administrator reaches it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::load::{Call, Identity, Target};

/// The address of an API server, with the administrator's certificate.
pub struct ApiServer {
    /// The target of the load.
    pub target: Target,
}

/// Path of the measured writes.
const DRY_RUN: &str = "/apis/apps/v1/namespaces/platform/daemonsets?dryRun=All";

/// Path of the resources that configure admission.
const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

impl ApiServer {
    /// The API server at `address`. `certificates` is a folder with `ca.crt`, `admin.crt` and `admin.key`.
    ///
    /// # Errors
    ///
    /// A file that cannot be read.
    pub fn new(address: SocketAddr, certificates: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = certificates.join(name);
            fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))
        };
        let (certificate, key) = (read("admin.crt")?, read("admin.key")?);
        let identity = Identity { certificate: &certificate, key: &key };
        Ok(Self { target: Target::with_identity(address, &read("ca.crt")?, Some(identity))? })
    }

    /// Creates the namespace of the DaemonSets.
    ///
    /// # Errors
    ///
    /// The API server refuses it.
    pub async fn create_namespace(&self) -> Result<()> {
        let namespace =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "platform" } });
        self.create("/api/v1/namespaces", &namespace).await.map(drop)
    }

    /// Creates an object of the group `admissionregistration.k8s.io`.
    ///
    /// # Errors
    ///
    /// The API server refuses it.
    pub async fn register(&self, resource: &str, object: &Value) -> Result<()> {
        self.create(&format!("{ADMISSION}/{resource}"), object).await.map(drop)
    }

    /// Deletes an object that [`ApiServer::register`] created.
    ///
    /// # Errors
    ///
    /// The API server refuses it.
    pub async fn deregister(&self, resource: &str, name: &str) -> Result<()> {
        let path = format!("{ADMISSION}/{resource}/{name}");
        self.send(Method::DELETE, &path, &Bytes::new(), StatusCode::OK).await.map(drop)
    }

    /// Returns the object that the API server would store for `daemon_set`.
    ///
    /// # Errors
    ///
    /// The API server refuses it.
    pub async fn dry_run(&self, daemon_set: &Value) -> Result<Value> {
        self.create(DRY_RUN, daemon_set).await
    }

    /// The dry run as a call of the load. Answers differ in UID and times alone, so all have the same length.
    #[must_use]
    pub fn call(daemon_set: &Value) -> Call {
        Call {
            path: DRY_RUN.to_owned(),
            body: Bytes::from(daemon_set.to_string()),
            status: StatusCode::CREATED,
            is_like: |first, answer| first.len() == answer.len(),
        }
    }

    /// Creates an object, and returns it as stored. `path` is that of its resource.
    ///
    /// # Errors
    ///
    /// The API server refuses it.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value> {
        self.send(Method::POST, path, &Bytes::from(object.to_string()), StatusCode::CREATED).await
    }

    /// Returns the object or the list at `path`.
    ///
    /// # Errors
    ///
    /// The API server does not serve it.
    pub async fn read(&self, path: &str) -> Result<Value> {
        self.send(Method::GET, path, &Bytes::new(), StatusCode::OK).await
    }

    async fn send(&self, method: Method, path: &str, body: &Bytes, expected: StatusCode) -> Result<Value> {
        let mut connection = self.target.connect().await?;
        let (status, answer) = connection.send(method.clone(), path, body).await?;
        if status != expected {
            bail!(
                "{method} {path}: expected {expected}, found {status}: {}",
                String::from_utf8_lossy(&answer)
            );
        }
        serde_json::from_slice(&answer)
            .with_context(|| format!("failed to parse the answer of {method} {path}"))
    }
}
