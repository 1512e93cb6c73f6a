//! The AdmissionReview that the API server would send for a manifest.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use wardset_core::document::{Document, EditError, SyntaxError};
use wardset_core::patch::PatchOperation;
use wardset_core::review::{API_VERSION, Operation};
use wardset_core::{Pointer, PointerBuf};

use super::input::InputSource;

/// The options of the command line for requests and their review.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The stored objects, for updates.
    pub old: Vec<InputSource>,
    /// None: an update if there is an old object of the same name, else a create.
    pub operation: Option<Operation>,
    /// The namespace of manifests without one.
    pub namespace: String,
    /// The user who sends the request.
    pub user: String,
    /// Whether the request is a dry run.
    pub dry_run: bool,
    /// Whether each policy is evaluated twice.
    pub verify: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            old: Vec::new(),
            operation: None,
            namespace: "default".to_owned(),
            user: "kubernetes-admin".to_owned(),
            dry_run: false,
            verify: false,
        }
    }
}

/// The question that a document asks.
#[derive(Debug)]
pub enum Built {
    /// A request, ready to be parsed as the server would.
    Request(Box<Request>),
    /// Not a DaemonSet of `apps/v1`.
    Skipped(SkippedObject),
}

/// A request, and what it was made of.
#[derive(Debug)]
pub struct Request {
    /// The AdmissionReview.
    pub bytes: Vec<u8>,
    /// The author's object, without anything that was assumed. None if the file has the AdmissionReview itself.
    pub manifest: Option<Document>,
    /// Whether the namespace was assumed.
    pub assumed_namespace: bool,
    /// Remarks for the author.
    pub notes: Vec<String>,
}

/// An object that is not reviewed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SkippedObject {
    /// Another kind of object.
    #[error("{api_version}/{kind}{}: only apps/v1 DaemonSets are reviewed", quoted(name))]
    Kind {
        /// The group and version.
        api_version: String,
        /// The kind.
        kind: String,
        /// The name; empty if there is none.
        name: String,
    },
    /// A DaemonSet that no API server has served since Kubernetes 1.16.
    #[error(
        "{api_version}/DaemonSet{}: Kubernetes 1.16 removed it; hint: write `apiVersion: apps/v1`",
        quoted(name)
    )]
    OldDaemonSet {
        /// The group and version.
        api_version: String,
        /// The name.
        name: String,
    },
    /// A file in a folder that holds other data, such as the values of a chart.
    #[error("the file has no `apiVersion` and no `kind`")]
    NoObject,
    /// A question about something else than creating or updating a DaemonSet.
    #[error("{0}")]
    Question(String),
}

/// Why no request can be made of a document.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Not a Kubernetes object.
    #[error("expected a Kubernetes object with `apiVersion`, `kind` and `metadata`, found {0}")]
    NoObject(&'static str),
    /// `apiVersion` or `kind` is missing or has another type.
    #[error("expected a string in `{0}`; hint: a DaemonSet has `apiVersion: apps/v1` and `kind: DaemonSet`")]
    NoKind(&'static str),
    /// The object cannot be read by pointer.
    #[error("failed to read the object")]
    Object(#[from] SyntaxError),
    /// `metadata` is missing or of another type.
    #[error("`metadata` must be a mapping; hint: add `metadata: {{name: …}}`")]
    Metadata,
    /// Neither name nor generateName.
    #[error("`metadata.name` is missing; hint: the API server refuses an object without a name")]
    NoName,
    /// An update without the stored object.
    #[error("`--operation update` needs the stored object of `{0}`; hint: pass it with `--old FILE`")]
    NoOld(String),
    /// The request could not be written as JSON.
    #[error("failed to write the AdmissionReview")]
    Write(#[from] serde_json::Error),
    /// The assumed namespace could not be added.
    #[error("failed to add the namespace")]
    Namespace(#[from] EditError),
}

/// The facts of a request about a DaemonSet. `T` is the form of the objects.
#[derive(Debug, Clone, Copy)]
pub struct DaemonSetRequest<'a, T: ?Sized> {
    /// The object under review.
    pub object: &'a T,
    /// The stored object, on an update.
    pub old_object: Option<&'a T>,
    /// The name of the object.
    pub name: &'a str,
    /// The namespace of the object.
    pub namespace: &'a str,
    /// The user who sends the request.
    pub user: &'a str,
    /// Whether the request is a dry run.
    pub dry_run: bool,
}

impl<T: Serialize + ?Sized> DaemonSetRequest<'_, T> {
    /// Returns the AdmissionReview as JSON.
    ///
    /// # Errors
    ///
    /// An object that cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let kind = json!({"group": GROUP, "version": VERSION, "kind": KIND});
        let resource = json!({"group": GROUP, "version": VERSION, "resource": "daemonsets"});
        let (operation, options) = match self.old_object {
            None => (Operation::Create, "CreateOptions"),
            Some(_) => (Operation::Update, "UpdateOptions"),
        };
        serde_json::to_vec(&AdmissionReview {
            api_version: API_VERSION,
            kind: "AdmissionReview",
            request: Question {
                uid: UID,
                request_kind: kind.clone(),
                request_resource: resource.clone(),
                kind,
                resource,
                name: self.name,
                namespace: self.namespace,
                operation,
                user_info: json!({"username": self.user, "groups": ["system:authenticated"]}),
                object: self.object,
                old_object: self.old_object,
                dry_run: self.dry_run,
                options: json!({"apiVersion": "meta.k8s.io/v1", "kind": options}),
            },
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AdmissionReview<'a, T: Serialize + ?Sized> {
    api_version: &'static str,
    kind: &'static str,
    request: Question<'a, T>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a, T: Serialize + ?Sized> {
    uid: &'static str,
    kind: serde_json::Value,
    resource: serde_json::Value,
    request_kind: serde_json::Value,
    request_resource: serde_json::Value,
    name: &'a str,
    namespace: &'a str,
    operation: Operation,
    user_info: serde_json::Value,
    object: &'a T,
    old_object: Option<&'a T>,
    dry_run: bool,
    options: serde_json::Value,
}

/// An API server makes a random one for each request; decisions must not depend on it.
const UID: &str = "00000000-0000-0000-0000-000000000001";

/// The group, version and kind of DaemonSets.
const GROUP: &str = "apps";
const VERSION: &str = "v1";
const KIND: &str = "DaemonSet";

/// The group and version, as `apiVersion` has them.
const DAEMONSETS: &str = "apps/v1";

/// Makes the request for a document; an AdmissionReview stays as it is.
///
/// # Errors
///
/// A document that the API server refuses before it asks a webhook.
pub fn build(source: &InputSource, settings: &Settings) -> Result<Built, BuildError> {
    let manifest = Document::parse(source.json.as_str())?;
    if !manifest.text().starts_with('{') {
        let is_list = manifest.text().starts_with('[');
        return Err(BuildError::NoObject(if is_list { "a list" } else { "a single value" }));
    }
    let field = |name| manifest.string(pointer(name)).map(Cow::into_owned).filter(|text| !text.is_empty());
    let (kind, api_version) = match (field("/kind"), field("/apiVersion")) {
        (Some(kind), Some(api_version)) => (kind, api_version),
        (None, None) if !source.named => return Ok(Built::Skipped(SkippedObject::NoObject)),
        (None, _) => return Err(BuildError::NoKind("kind")),
        (_, None) => return Err(BuildError::NoKind("apiVersion")),
    };
    if kind == "AdmissionReview" {
        let bytes = source.json.clone().into_bytes();
        return Ok(Built::Request(Box::new(Request {
            bytes,
            manifest: None,
            assumed_namespace: false,
            notes: Vec::new(),
        })));
    }
    let name = field("/metadata/name").unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    if api_version != DAEMONSETS || kind != KIND {
        let is_old_version = matches!(group, "apps" | "extensions") && version.starts_with("v1beta");
        return Ok(Built::Skipped(if is_old_version && kind == KIND {
            SkippedObject::OldDaemonSet { api_version, name }
        } else {
            SkippedObject::Kind { api_version, kind, name }
        }));
    }
    let mut document = manifest.clone();
    let assumed_namespace = assume_namespace(&mut document, settings)?;
    let namespace = document.string(pointer("/metadata/namespace")).unwrap_or_default().into_owned();
    let generated = field("/metadata/generateName").is_some_and(|prefix| !prefix.is_empty());
    if name.is_empty() && !generated {
        return Err(BuildError::NoName);
    }
    let mut notes = Vec::new();
    let old = old_object(settings, &kind, &name, &namespace)?;
    if old.is_none() && !settings.old.is_empty() && settings.operation.is_none() {
        notes.push("`--old` has no DaemonSet of this namespace and name: reviewed as a create".to_owned());
    }
    let operation =
        settings.operation.unwrap_or(if old.is_some() { Operation::Update } else { Operation::Create });
    if operation == Operation::Update && old.is_none() {
        return Err(BuildError::NoOld(format!("{namespace}/{name}")));
    }
    let old = old.filter(|_| operation == Operation::Update);
    let request = DaemonSetRequest {
        object: raw(&document)?,
        old_object: old.as_ref().map(raw).transpose()?,
        name: &name,
        namespace: &namespace,
        user: &settings.user,
        dry_run: settings.dry_run,
    };
    let bytes = request.to_bytes()?;
    Ok(Built::Request(Box::new(Request { bytes, manifest: Some(manifest), assumed_namespace, notes })))
}

/// Adds the namespace of the request to an object that has none, as the API server does before it asks a webhook. An
/// empty namespace counts as none. Returns whether it did.
fn assume_namespace(document: &mut Document, settings: &Settings) -> Result<bool, BuildError> {
    if !document.get(pointer("/metadata")).is_some_and(|metadata| metadata.starts_with('{')) {
        return Err(BuildError::Metadata);
    }
    let path = PointerBuf::from_tokens(["metadata", "namespace"]);
    if document.get_set(&path).is_some_and(|namespace| namespace != "\"\"") {
        return Ok(false);
    }
    let value = serde_json::Value::from(settings.namespace.as_str()).to_string();
    document.apply(&PatchOperation::Add { path, value })?;
    Ok(true)
}

fn old_object(
    settings: &Settings,
    kind: &str,
    name: &str,
    namespace: &str,
) -> Result<Option<Document>, BuildError> {
    for source in &settings.old {
        let mut old = Document::parse(source.json.as_str())?;
        if assume_namespace(&mut old, settings).is_err() {
            // Without metadata it has no name to compare.
            continue;
        }
        let is = |at, text: &str| old.string(pointer(at)).as_deref() == Some(text);
        let is_daemonset = is("/apiVersion", DAEMONSETS) && is("/kind", kind);
        if is_daemonset && is("/metadata/name", name) && is("/metadata/namespace", namespace) {
            return Ok(Some(old));
        }
    }
    Ok(None)
}

fn raw(document: &Document) -> Result<&RawValue, BuildError> {
    Ok(serde_json::from_str(document.text())?)
}

/// Returns a name as the end of a kind; nothing if there is none.
fn quoted(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" `{name}`") }
}

fn pointer(text: &'static str) -> &'static Pointer {
    Pointer::from_static(text)
}
