//! The verdict of one policy on one review, as the sandbox returned it: untrusted.

use jsonptr::PointerBuf;

use crate::blame::Blame;
use crate::patch::PatchOperation;

/// The verdict of one evaluation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The reasons to deny the object. If there are none, the policy allows it.
    pub denials: Vec<Denial>,
    /// The changes to the object, in order. The chain ignores them if there is a denial.
    pub changes: Vec<Change>,
    /// Warnings for the author of the object.
    pub warnings: Vec<Warning>,
    /// Notes for the report of `wardset review`. An audit annotation names the policy.
    pub notes: Vec<Note>,
}

/// One reason to deny the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The kind of violation, which determines the HTTP status.
    pub code: DenialCode,
    /// The wrong value, as a JSON Pointer.
    pub pointer: String,
    /// The problem.
    pub message: String,
    /// The way to fix it.
    pub fix: String,
}

/// The kind of violation, as an HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialCode {
    /// 403: the object violates a rule of the cluster.
    Forbidden,
    /// 422: the object contradicts itself or the rules of its kind.
    Invalid,
}

/// One edit and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The edit.
    pub edit: Edit,
    /// The reason, in a few words.
    pub reason: String,
}

/// One RFC 6902 operation, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of RFC 6902")]
pub enum Edit {
    /// `add`
    Add { path: String, value: String },
    /// `replace`
    Replace { path: String, value: String },
    /// `remove`
    Remove { path: String },
}

impl TryFrom<Edit> for PatchOperation {
    type Error = Failure;

    fn try_from(edit: Edit) -> Result<Self, Failure> {
        let pointer = |path: String| {
            PointerBuf::parse(path.as_str()).map_err(|_| {
                Failure::new(
                    FailureClass::Output,
                    &format!("expected a JSON Pointer in a change, found `{path}`"),
                )
            })
        };
        Ok(match edit {
            Edit::Add { path, value } => Self::Add { path: pointer(path)?, value },
            Edit::Replace { path, value } => Self::Replace { path: pointer(path)?, value },
            Edit::Remove { path } => Self::Remove { path: pointer(path)? },
        })
    }
}

/// A message to the author of the object, without effect on the decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The subject of the warning, as a JSON Pointer.
    pub pointer: String,
    /// The message.
    pub message: String,
}

/// A remark for the report of `wardset review`. Clients of the API server never see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The subject of the note, as a JSON Pointer.
    pub pointer: String,
    /// The message.
    pub message: String,
}

/// Limit of one text of a verdict, in bytes: enough for a command to type. Longer texts are truncated.
pub const MAX_TEXT: usize = 1024;

impl Denial {
    /// Returns the denial with each text as one printable line.
    #[must_use]
    pub fn cleaned(self) -> Self {
        let Self { code, pointer, message, fix } = self;
        Self { code, pointer: clean(&pointer), message: clean(&message), fix: clean(&fix) }
    }
}

impl Warning {
    /// Returns the warning with each text as one printable line.
    #[must_use]
    pub fn cleaned(self) -> Self {
        Self { pointer: clean(&self.pointer), message: clean(&self.message) }
    }
}

impl Note {
    /// Returns the note with each text as one printable line.
    #[must_use]
    pub fn cleaned(self) -> Self {
        Self { pointer: clean(&self.pointer), message: clean(&self.message) }
    }
}

fn clean(text: &str) -> String {
    crate::text::one_line(text, MAX_TEXT)
}

/// The error of a policy that failed to decide.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{class}: {detail}")]
pub struct Failure {
    /// The kind of failure, for logs and metrics.
    pub class: FailureClass,
    /// The details, for the operator's log: one line, at most [`MAX_DETAIL`] bytes.
    pub detail: String,
}

/// Limit of a failure's detail, in bytes. A guest may have written it.
pub const MAX_DETAIL: usize = 512;

impl Failure {
    /// Creates a failure, with `detail` shortened to one line of [`MAX_DETAIL`] bytes.
    #[must_use]
    pub fn new(class: FailureClass, detail: &str) -> Self {
        Self { class, detail: crate::text::one_line(detail, MAX_DETAIL) }
    }
}

/// The ways in which a policy fails to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureClass {
    /// The guest trapped.
    Trap,
    /// The guest exceeded its time limit.
    Deadline,
    /// The review's deadline passed before the guest started or while it ran.
    Late,
    /// The guest asked for more memory than its limit.
    Memory,
    /// The guest's answer, or the argument of a call, is too large or violates the contract.
    Output,
    /// The guest read a value that its manifest does not declare, or asked for data without permission.
    Access,
    /// The guest changed a value that its manifest does not declare, or one that no policy may change.
    Writes,
    /// A change could not be applied.
    Patch,
    /// The guest itself reported that it can't decide.
    Declined,
    /// A condition of the policy, or its namespace selector, could not be evaluated.
    Match,
    /// The policy's module is missing, can't be loaded, or rejects the settings.
    Unready,
    /// The sandbox itself failed.
    Host,
}

impl FailureClass {
    /// All classes, for metrics that start at zero.
    pub const ALL: [Self; 12] = [
        Self::Trap,
        Self::Deadline,
        Self::Late,
        Self::Memory,
        Self::Output,
        Self::Access,
        Self::Writes,
        Self::Patch,
        Self::Declined,
        Self::Match,
        Self::Unready,
        Self::Host,
    ];

    /// Returns the value of the label `class` in logs and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Late => "late",
            Self::Memory => "memory",
            Self::Output => "output",
            Self::Access => "access",
            Self::Writes => "writes",
            Self::Patch => "patch",
            Self::Declined => "declined",
            Self::Match => "match",
            Self::Unready => "unready",
            Self::Host => "host",
        }
    }

    /// Returns the party that has to act.
    #[must_use]
    pub fn blame(self) -> Blame {
        match self {
            Self::Match | Self::Unready => Blame::Operator,
            Self::Late => Blame::Cluster,
            Self::Host => Blame::Bug,
            _ => Blame::Guest,
        }
    }
}

impl std::fmt::Display for FailureClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}
