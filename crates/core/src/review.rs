//! The AdmissionReview: from bytes to a [`Review`], the objects in it still JSON text.
//!
//! The envelope is read in one pass; only strings that stay are copied. What has nothing to decide on (another kind, a
//! delete, a subresource) is told apart here, so that the chain only ever sees DaemonSets.

use std::borrow::Cow;
use std::sync::Arc;

use jsonptr::Pointer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::document::{Document, SyntaxError};
use crate::policy::NamespaceLabels;

/// The only `apiVersion` of an AdmissionReview that is read and written.
pub const API_VERSION: &str = "admission.k8s.io/v1";

/// One DaemonSet under decision.
#[derive(Debug, Clone)]
pub struct Review {
    /// Echoed in the answer.
    pub uid: String,
    /// Always `DaemonSet` today.
    pub kind: String,
    /// What the author asked for.
    pub operation: Operation,
    /// Empty on a create with `generateName`.
    pub name: String,
    /// The namespace.
    pub namespace: String,
    /// Who asked.
    pub user: String,
    /// The groups of who asked.
    pub groups: Vec<String>,
    /// Nothing will be stored; the decision is the same.
    pub dry_run: bool,
    /// The object as it would be stored.
    pub object: Arc<Document>,
    /// The object as it is stored, on an update.
    pub old_object: Option<Arc<Document>>,
    /// Not part of the request: filled in from what is known of the cluster.
    pub namespace_labels: NamespaceLabels,
}

/// The operations that are reviewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// The object is new.
    Create,
    /// The object replaces a stored one.
    Update,
}

impl Operation {
    /// The word for metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
        }
    }
}

/// What an AdmissionReview asks.
#[derive(Debug, Clone)]
pub enum Question {
    /// To decide on a DaemonSet.
    Decide(Box<Review>),
    /// Nothing that Wardset decides on; the answer is yes.
    PassOver {
        /// Echoed in the answer.
        uid: String,
        /// Why there is nothing to decide.
        reason: PassOver,
    },
}

/// Why a request is not decided on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PassOver {
    /// Another kind of object.
    #[error("`{kind}` of {} is no DaemonSet of `apps`", named(group))]
    Kind {
        /// The API group.
        group: String,
        /// The kind.
        kind: String,
    },
    /// `DELETE` or `CONNECT`.
    #[error("the operation `{0}` is not reviewed")]
    Operation(String),
    /// `status`, `scale`, …
    #[error("the subresource `{0}` is not reviewed")]
    Subresource(String),
}

/// Why bytes are no AdmissionReview. All of it is the sender's to mend.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No JSON, or not of the shape.
    #[error("the body is no AdmissionReview")]
    Shape(#[from] serde_json::Error),
    /// Another version or kind.
    #[error(
        "expected `apiVersion: {API_VERSION}` and `kind: AdmissionReview`, found `{api_version}` and `{kind}`"
    )]
    Kind {
        /// What stands there.
        api_version: String,
        /// What stands there.
        kind: String,
    },
    /// A field that must be there isn't.
    #[error("`{0}` is missing; the API server always sends it")]
    Missing(&'static str),
    /// An object that can't be read by pointer.
    #[error("`{field}` can't be read")]
    Object {
        /// `request.object` or `request.oldObject`.
        field: &'static str,
        /// What is wrong, with the byte counted from the start of the object.
        source: SyntaxError,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawReview<'a> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    request: Option<RawRequest<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRequest<'a> {
    #[serde(default)]
    uid: String,
    #[serde(borrow)]
    kind: Option<RawKind<'a>>,
    #[serde(borrow, default)]
    sub_resource: Option<Cow<'a, str>>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(borrow, default)]
    operation: Cow<'a, str>,
    #[serde(default)]
    user_info: RawUser,
    #[serde(default)]
    dry_run: Option<bool>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    old_object: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawKind<'a> {
    #[serde(borrow, default)]
    group: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawUser {
    username: String,
    groups: Vec<String>,
}

impl Question {
    /// Reads an AdmissionReview of `admission.k8s.io/v1`.
    ///
    /// # Errors
    ///
    /// Bytes that are no such review. Fields that are not needed may be missing, and unknown ones are passed over, as
    /// the API server adds fields without a new version.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        let review: RawReview<'_> = serde_json::from_slice(bytes)?;
        if review.api_version != API_VERSION || review.kind != "AdmissionReview" {
            return Err(RequestError::Kind {
                api_version: review.api_version.into_owned(),
                kind: review.kind.into_owned(),
            });
        }
        let request = review.request.ok_or(RequestError::Missing("request"))?;
        if request.uid.is_empty() {
            return Err(RequestError::Missing("request.uid"));
        }
        let kind = request.kind.as_ref().ok_or(RequestError::Missing("request.kind"))?;
        let uid = request.uid.clone();
        if kind.group != "apps" || kind.kind != "DaemonSet" {
            let reason = PassOver::Kind { group: kind.group.to_string(), kind: kind.kind.to_string() };
            return Ok(Self::PassOver { uid, reason });
        }
        if let Some(subresource) = request.sub_resource.as_deref().filter(|name| !name.is_empty()) {
            return Ok(Self::PassOver { uid, reason: PassOver::Subresource(subresource.to_owned()) });
        }
        let operation = match request.operation.as_ref() {
            "CREATE" => Operation::Create,
            "UPDATE" => Operation::Update,
            "" => return Err(RequestError::Missing("request.operation")),
            other => return Ok(Self::PassOver { uid, reason: PassOver::Operation(other.to_owned()) }),
        };
        request.into_review(operation).map(|review| Self::Decide(Box::new(review)))
    }
}

impl RawRequest<'_> {
    fn into_review(self, operation: Operation) -> Result<Review, RequestError> {
        let object = object("request.object", self.object)?.ok_or(RequestError::Missing("request.object"))?;
        let old_object = object_of_update(operation, self.old_object)?;
        let metadata =
            |pointer| object.string(Pointer::from_static(pointer)).map(Cow::into_owned).unwrap_or_default();
        let name = self.name.filter(|name| !name.is_empty()).unwrap_or_else(|| metadata("/metadata/name"));
        let namespace = self
            .namespace
            .filter(|namespace| !namespace.is_empty())
            .unwrap_or_else(|| metadata("/metadata/namespace"));
        Ok(Review {
            uid: self.uid,
            kind: "DaemonSet".to_owned(),
            operation,
            name,
            namespace,
            user: self.user_info.username,
            groups: self.user_info.groups,
            dry_run: self.dry_run.unwrap_or(false),
            object: Arc::new(object),
            old_object: old_object.map(Arc::new),
            namespace_labels: NamespaceLabels::Unknown,
        })
    }
}

fn object_of_update(operation: Operation, raw: Option<&RawValue>) -> Result<Option<Document>, RequestError> {
    match operation {
        Operation::Create => Ok(None),
        Operation::Update => {
            let old = object("request.oldObject", raw)?;
            Ok(Some(old.ok_or(RequestError::Missing("request.oldObject"))?))
        }
    }
}

fn object(field: &'static str, raw: Option<&RawValue>) -> Result<Option<Document>, RequestError> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else { return Ok(None) };
    if !raw.get().starts_with('{') {
        let problem = crate::document::SyntaxProblem::Expected("an object");
        return Err(RequestError::Object { field, source: SyntaxError { offset: 0, problem } });
    }
    Document::parse(raw.get()).map(Some).map_err(|source| RequestError::Object { field, source })
}

impl Review {
    /// What may be changed in this review.
    #[must_use]
    pub fn reach(&self) -> Reach {
        let Some(old) = &self.old_object else { return Reach::Everything };
        // The stored object's: an author who writes one into the new object deletes nothing.
        if old.get_set(Pointer::from_static("/metadata/deletionTimestamp")).is_some() {
            return Reach::Nothing(LeftAlone::Deleting);
        }
        let differs = |pointer: &'static Pointer| self.object.get_set(pointer) != old.get_set(pointer);
        if differs(Pointer::from_static("/metadata/finalizers")) && self.same_but_for_bookkeeping(old) {
            return Reach::Nothing(LeftAlone::Finalizers);
        }
        // The API server encodes both objects alike, so equal templates are nearly always equal text.
        let template = Pointer::from_static("/spec/template");
        if differs(template) && tree(&self.object, template) != tree(old, template) {
            Reach::Everything
        } else {
            Reach::NotTemplate
        }
    }

    fn same_but_for_bookkeeping(&self, old: &Document) -> bool {
        let bare = |document: &Document| {
            let mut tree = document.to_value();
            if let Some(metadata) = tree.get_mut("metadata").and_then(serde_json::Value::as_object_mut) {
                for field in ["finalizers", "managedFields", "resourceVersion", "generation"] {
                    metadata.remove(field);
                }
            }
            tree
        };
        bare(&self.object) == bare(old)
    }
}

fn named(group: &str) -> String {
    if group.is_empty() { "the core group".to_owned() } else { format!("`{group}`") }
}

fn tree(document: &Document, pointer: &Pointer) -> Option<serde_json::Value> {
    document.get_set(pointer).and_then(|text| serde_json::from_str(text).ok())
}

/// What policies may change in a review (daemonset-semantics, template gate).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// A create, or an update whose author changes the template.
    Everything,
    /// An update that leaves the template alone: changing it would roll every pod.
    NotTemplate,
    /// Nothing, and nothing may be denied either.
    Nothing(LeftAlone),
}

/// Why a review is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeftAlone {
    /// The object is on its way out.
    #[error("the object is being deleted")]
    Deleting,
    /// A controller takes its finalizer away or adds it.
    #[error("only finalizers change")]
    Finalizers,
}
