//! The AdmissionReview that the API server would send for a manifest.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use wardset_core::document::{Document, EditError, SyntaxError};
use wardset_core::patch::Operation as Edit;
use wardset_core::review::{API_VERSION, Operation};
use wardset_core::{Pointer, PointerBuf};

use super::input::Source;

/// What the command line says of the requests and their review.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The stored objects, for updates.
    pub old: Vec<Source>,
    /// None: an update where there is an old object of the same name, else a create.
    pub operation: Option<Operation>,
    /// None: not known.
    pub namespace_labels: Option<BTreeMap<String, String>>,
    /// The namespace of manifests that name none.
    pub namespace: String,
    /// Who asks.
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
            namespace_labels: None,
            namespace: "default".to_owned(),
            user: "kubernetes-admin".to_owned(),
            dry_run: false,
            verify: false,
        }
    }
}

/// A request, ready to be parsed as the server would.
#[derive(Debug)]
pub struct Built {
    /// The AdmissionReview.
    pub bytes: Vec<u8>,
    /// What was filled in, in words.
    pub notes: Vec<String>,
}

/// Why no request can be made of a document.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No object.
    #[error("expected a Kubernetes object with `apiVersion`, `kind` and `metadata`")]
    NoObject,
    /// The object can't be read by pointer.
    #[error("the object can't be read")]
    Object(#[from] SyntaxError),
    /// `metadata` is missing or is no mapping.
    #[error("`metadata` must be a mapping with a `name`")]
    Metadata(#[source] EditError),
    /// Neither name nor generateName.
    #[error("`metadata.name` is missing; the API server would not take the object")]
    NoName,
    /// An update without the stored object.
    #[error("`--operation update` needs the stored object of `{0}`; give it by `--old FILE`")]
    NoOld(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AdmissionReview<'a> {
    api_version: &'static str,
    kind: &'static str,
    request: Request<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    uid: &'static str,
    kind: serde_json::Value,
    resource: serde_json::Value,
    request_kind: serde_json::Value,
    request_resource: serde_json::Value,
    name: &'a str,
    namespace: &'a str,
    operation: Operation,
    user_info: serde_json::Value,
    object: &'a RawValue,
    old_object: Option<&'a RawValue>,
    dry_run: bool,
    options: serde_json::Value,
}

/// An API server makes a random one for each request; decisions must not depend on it.
const UID: &str = "00000000-0000-0000-0000-000000000001";

/// Makes the request for a document; an AdmissionReview is taken as it is.
///
/// # Errors
///
/// A document that the API server would not take as an object at all.
pub fn build(source: &Source, settings: &Settings) -> Result<Built, BuildError> {
    let mut document = Document::parse(source.json.as_str())?;
    let kind = document.string(pointer("/kind")).ok_or(BuildError::NoObject)?.into_owned();
    let api_version = document.string(pointer("/apiVersion")).ok_or(BuildError::NoObject)?.into_owned();
    if kind == "AdmissionReview" {
        return Ok(Built { bytes: source.json.clone().into_bytes(), notes: Vec::new() });
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let mut notes = Vec::new();
    if group == "apps" && kind == "DaemonSet" {
        default_namespace(&mut document, settings, &mut notes)?;
    }
    let text = |at| document.string(pointer(at)).unwrap_or_default().into_owned();
    let (name, namespace) = (text("/metadata/name"), text("/metadata/namespace"));
    if name.is_empty() && document.string(pointer("/metadata/generateName")).is_none() {
        return Err(BuildError::NoName);
    }
    let old = old_object(settings, &kind, &name, &namespace)?;
    if old.is_none() && !settings.old.is_empty() && settings.operation.is_none() && group == "apps" {
        notes.push("--old has no object of this kind, namespace and name: reviewed as a create".to_owned());
    }
    let operation =
        settings.operation.unwrap_or(if old.is_some() { Operation::Update } else { Operation::Create });
    if operation == Operation::Update && old.is_none() {
        return Err(BuildError::NoOld(format!("{namespace}/{name}")));
    }
    let old = old.filter(|_| operation == Operation::Update);
    let kind = json!({"group": group, "version": version, "kind": kind});
    let resource =
        json!({"group": group, "version": version, "resource": format!("{}s", text("/kind").to_lowercase())});
    let options = match operation {
        Operation::Create => json!({"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"}),
        Operation::Update => json!({"apiVersion": "meta.k8s.io/v1", "kind": "UpdateOptions"}),
    };
    let review = AdmissionReview {
        api_version: API_VERSION,
        kind: "AdmissionReview",
        request: Request {
            uid: UID,
            request_kind: kind.clone(),
            request_resource: resource.clone(),
            kind,
            resource,
            name: &name,
            namespace: &namespace,
            operation,
            user_info: json!({"username": settings.user, "groups": ["system:authenticated"]}),
            object: raw(&document)?,
            old_object: old.as_ref().map(raw).transpose()?,
            dry_run: settings.dry_run,
            options,
        },
    };
    Ok(Built { bytes: serde_json::to_vec(&review).map_err(|_| BuildError::NoObject)?, notes })
}

/// The API server puts an object without a namespace into the one of the request, before any webhook sees it.
fn default_namespace(
    document: &mut Document,
    settings: &Settings,
    notes: &mut Vec<String>,
) -> Result<(), BuildError> {
    let path = PointerBuf::from_tokens(["metadata", "namespace"]);
    if document.get_set(&path).is_none() {
        let value = serde_json::Value::from(settings.namespace.as_str()).to_string();
        document.apply(&Edit::Add { path, value }).map_err(BuildError::Metadata)?;
        notes.push(format!(
            "no namespace given: reviewed in `{}`, as the API server would default it",
            settings.namespace
        ));
    }
    Ok(())
}

fn old_object(
    settings: &Settings,
    kind: &str,
    name: &str,
    namespace: &str,
) -> Result<Option<Document>, BuildError> {
    for source in &settings.old {
        let mut old = Document::parse(source.json.as_str())?;
        if old.string(pointer("/kind")).as_deref() != Some(kind) {
            continue;
        }
        if default_namespace(&mut old, settings, &mut Vec::new()).is_err() {
            // Without metadata it is the old self of nothing.
            continue;
        }
        let is = |at, text: &str| old.string(pointer(at)).as_deref() == Some(text);
        if is("/metadata/name", name) && is("/metadata/namespace", namespace) {
            return Ok(Some(old));
        }
    }
    Ok(None)
}

fn raw(document: &Document) -> Result<&RawValue, BuildError> {
    serde_json::from_str(document.text()).map_err(|_| BuildError::NoObject)
}

fn pointer(text: &'static str) -> &'static Pointer {
    Pointer::from_static(text)
}
