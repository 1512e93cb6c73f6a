//! The parser of an AdmissionReview: from bytes to a [`Review`] whose objects stay JSON text.
//!
//! One pass indexes the whole body; the objects are parts of it. The parser filters out requests that Wardset does not
//! review (another kind, a delete, a subresource), so the chain only sees DaemonSets.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::{Document, SyntaxError};
use crate::placement::ClusterNodes;
use crate::policy::NamespaceLabels;
use crate::text;

/// The only supported `apiVersion` of an AdmissionReview.
pub const API_VERSION: &str = "admission.k8s.io/v1";

/// A request to decide on one DaemonSet.
#[derive(Debug, Clone)]
pub struct Review {
    /// The uid of the request, which the response repeats.
    pub uid: String,
    /// The kind of the object: always `DaemonSet` today.
    pub kind: String,
    /// The operation that the author requested.
    pub operation: Operation,
    /// The name of the object. Empty on a create with `generateName`.
    pub name: String,
    /// The namespace of the object.
    pub namespace: String,
    /// The author's user name.
    pub user: String,
    /// The author's groups.
    pub groups: Vec<String>,
    /// Whether the API server discards the object. The decision is the same.
    pub dry_run: bool,
    /// The new object.
    pub object: Arc<Document>,
    /// The stored object, on an update.
    pub old_object: Option<Arc<Document>>,
}

/// What the caller knows of the cluster at the time of a review. It is not part of the request.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The labels of the object's namespace.
    pub namespace_labels: NamespaceLabels,
    /// The nodes of the cluster; `None` if the caller does not know them.
    pub nodes: Option<Arc<ClusterNodes>>,
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
    /// Returns the label of the operation in metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
        }
    }
}

/// The request of an AdmissionReview.
#[derive(Debug, Clone)]
pub enum Question {
    /// A DaemonSet to decide on.
    Decide(Box<Review>),
    /// A request that Wardset does not review. The response allows it.
    PassOver {
        /// The uid of the request, which the response repeats.
        uid: String,
        /// The reason why Wardset does not review it.
        reason: PassOver,
    },
}

/// The reason why Wardset does not review a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PassOver {
    /// The object is not a DaemonSet.
    #[error("`{kind}` of {}: only DaemonSets of `apps` are reviewed", named(group))]
    Kind {
        /// The API group.
        group: String,
        /// The kind.
        kind: String,
    },
    /// The operation is `DELETE` or `CONNECT`.
    #[error("the operation `{0}` is not reviewed")]
    Operation(String),
    /// The request is for a subresource, such as `status` or `scale`.
    #[error("the subresource `{0}` is not reviewed")]
    Subresource(String),
}

/// Limit of a request's uid, in bytes. The response repeats it. Kubernetes sends 36 bytes.
pub const MAX_UID: usize = 256;

/// The error for bytes that are not an AdmissionReview. The sender has to fix it.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The body is not UTF-8; the field is the offset of the first wrong byte.
    #[error("failed to parse the body as an AdmissionReview: expected UTF-8, found another byte at {0}")]
    Utf8(usize),
    /// The body is malformed JSON, or exceeds the limits of a [`Document`].
    #[error("failed to parse the body as an AdmissionReview")]
    Syntax(#[from] SyntaxError),
    /// The body has another version or kind.
    #[error(
        "expected `apiVersion: {API_VERSION}` and `kind: AdmissionReview`, found `{api_version}` and `{kind}`"
    )]
    Kind {
        /// The value in the request.
        api_version: String,
        /// The value in the request.
        kind: String,
    },
    /// A required field is missing.
    #[error("`{0}` is missing; the API server always sends it")]
    Missing(&'static str),
    /// A field has the wrong type.
    #[error("`{field}`: expected {expected}")]
    Type {
        /// The field.
        field: &'static str,
        /// The expected type.
        expected: &'static str,
    },
}

impl Question {
    /// Reads an AdmissionReview of `admission.k8s.io/v1`.
    ///
    /// # Errors
    ///
    /// The bytes are not such a review. Optional fields may be missing. Unknown fields are ignored, because the API
    /// server adds fields without a new version.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        let text = std::str::from_utf8(bytes).map_err(|error| RequestError::Utf8(error.valid_up_to()))?;
        let envelope = Envelope(Document::parse_enveloped(text)?);
        let (api_version, kind) = (envelope.string("apiVersion")?, envelope.string("kind")?);
        if api_version != API_VERSION || kind != "AdmissionReview" {
            let shown = |text: &str| text::one_line(text, MAX_SHOWN);
            return Err(RequestError::Kind { api_version: shown(&api_version), kind: shown(&kind) });
        }
        envelope.object("request")?.ok_or(RequestError::Missing("request"))?;
        let uid = envelope.string("request.uid")?.into_owned();
        if uid.is_empty() {
            return Err(RequestError::Missing("request.uid"));
        }
        if uid.len() > MAX_UID {
            return Err(RequestError::Type { field: "request.uid", expected: "at most 256 bytes" });
        }
        envelope.object("request.kind")?.ok_or(RequestError::Missing("request.kind"))?;
        let (group, kind) = (envelope.string("request.kind.group")?, envelope.string("request.kind.kind")?);
        if group != "apps" || kind != "DaemonSet" {
            let reason = PassOver::Kind { group: group.into_owned(), kind: kind.into_owned() };
            return Ok(Self::PassOver { uid, reason });
        }
        let subresource = envelope.string("request.subResource")?;
        if !subresource.is_empty() {
            return Ok(Self::PassOver { uid, reason: PassOver::Subresource(subresource.into_owned()) });
        }
        let operation = match &*envelope.string("request.operation")? {
            "CREATE" => Operation::Create,
            "UPDATE" => Operation::Update,
            "" => return Err(RequestError::Missing("request.operation")),
            other => return Ok(Self::PassOver { uid, reason: PassOver::Operation(other.to_owned()) }),
        };
        envelope.into_review(uid, operation).map(|review| Self::Decide(Box::new(review)))
    }
}

/// Limit of the sender's text in an error, in bytes.
const MAX_SHOWN: usize = 64;

/// The AdmissionReview around the objects. As in Kubernetes, null counts as absent.
struct Envelope(Document);

impl Envelope {
    /// Returns the string at a path such as `request.uid`; empty if there is none.
    fn string(&self, field: &'static str) -> Result<Cow<'_, str>, RequestError> {
        match self.0.get_at(field) {
            None => Ok(Cow::Borrowed("")),
            Some(at) => self.0.string_at(at).ok_or(RequestError::Type { field, expected: "a string" }),
        }
    }

    fn object(&self, field: &'static str) -> Result<Option<usize>, RequestError> {
        match self.0.get_at(field) {
            Some(at) if !self.0.text_at(at).starts_with('{') => {
                Err(RequestError::Type { field, expected: "an object" })
            }
            found => Ok(found),
        }
    }

    fn into_review(self, uid: String, operation: Operation) -> Result<Review, RequestError> {
        let object = self.object("request.object")?.ok_or(RequestError::Missing("request.object"))?;
        let old_object = match operation {
            Operation::Create => None,
            Operation::Update => {
                let old = self.object("request.oldObject")?;
                Some(self.0.part(old.ok_or(RequestError::Missing("request.oldObject"))?))
            }
        };
        let named = |field, pointer| -> Result<String, RequestError> {
            let said = self.string(field)?;
            if said.is_empty() {
                let own = self.0.get_below(object, pointer).and_then(|at| self.0.string_at(at));
                return Ok(own.map(Cow::into_owned).unwrap_or_default());
            }
            Ok(said.into_owned())
        };
        let dry_run = match self.0.get_at("request.dryRun").map(|at| self.0.text_at(at)) {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(RequestError::Type { field: "request.dryRun", expected: "true or false" }),
        };
        self.object("request.userInfo")?;
        Ok(Review {
            uid,
            kind: "DaemonSet".to_owned(),
            operation,
            name: named("request.name", "metadata.name")?,
            namespace: named("request.namespace", "metadata.namespace")?,
            user: self.string("request.userInfo.username")?.into_owned(),
            groups: self.groups()?,
            dry_run,
            object: Arc::new(self.0.part(object)),
            old_object: old_object.map(Arc::new),
        })
    }

    fn groups(&self) -> Result<Vec<String>, RequestError> {
        let field = "request.userInfo.groups";
        let wrong = || RequestError::Type { field, expected: "a list of strings" };
        let Some(at) = self.0.get_at(field) else { return Ok(Vec::new()) };
        if !self.0.text_at(at).starts_with('[') {
            return Err(wrong());
        }
        let groups = self.0.elements_at(at);
        groups.map(|group| self.0.string_at(group).map(Cow::into_owned).ok_or_else(wrong)).collect()
    }
}

fn named(group: &str) -> String {
    if group.is_empty() { "the core group".to_owned() } else { format!("`{group}`") }
}
