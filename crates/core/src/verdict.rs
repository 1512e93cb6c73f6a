//! The answer of one policy to one review, as it came from the sandbox: not yet trusted.

use crate::blame::Blame;

/// The answer of one evaluation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Empty: allowed.
    pub denials: Vec<Denial>,
    /// In order; ignored if there is a denial.
    pub changes: Vec<Change>,
    /// For the author.
    pub warnings: Vec<Warning>,
    /// For the report. The audit annotation names the policy.
    pub notes: Vec<Note>,
}

/// One reason to refuse the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Which status the author sees.
    pub code: DenialCode,
    /// The wrong value, as a JSON Pointer.
    pub pointer: String,
    /// The problem, in words.
    pub message: String,
    /// The fix.
    pub fix: String,
}

/// Who is wrong, the cluster's rules or the object itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialCode {
    /// 403: against a rule of the cluster.
    Forbidden,
    /// 422: against itself or its kind.
    Invalid,
}

/// One edit and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The edit.
    pub edit: Edit,
    /// Why, in a few words.
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

/// Something that the author should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The subject of the warning, as a JSON Pointer.
    pub pointer: String,
    /// In words.
    pub message: String,
}

/// A remark for the report of `wardset review`. Clients of the API server never see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The subject, as a JSON Pointer.
    pub pointer: String,
    /// In words.
    pub message: String,
}

/// Limit of one text of a verdict, in bytes. A longer text is cut: a command to type must fit, an essay need not.
pub const MAX_TEXT: usize = 1024;

impl Denial {
    /// The same, each text one printable line.
    #[must_use]
    pub fn cleaned(self) -> Self {
        let Self { code, pointer, message, fix } = self;
        Self { code, pointer: clean(&pointer), message: clean(&message), fix: clean(&fix) }
    }
}

impl Warning {
    /// The same, each text one printable line.
    #[must_use]
    pub fn cleaned(self) -> Self {
        Self { pointer: clean(&self.pointer), message: clean(&self.message) }
    }
}

impl Note {
    /// Returns it with each text as one printable line.
    #[must_use]
    pub fn cleaned(self) -> Self {
        Self { pointer: clean(&self.pointer), message: clean(&self.message) }
    }
}

fn clean(text: &str) -> String {
    crate::text::one_line(text, MAX_TEXT)
}

/// A policy that could not decide.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{class}: {detail}")]
pub struct Failure {
    /// The kind of failure, for metrics and the operator's table.
    pub class: FailureClass,
    /// The event, for the operator's log: one line, at most [`MAX_DETAIL`] bytes.
    pub detail: String,
}

/// The most bytes of a failure's detail, which a guest may have written.
pub const MAX_DETAIL: usize = 512;

impl Failure {
    /// A failure; `detail` is made one line and cut.
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
    /// The guest ran out of its time.
    Deadline,
    /// The review's own deadline had passed before the guest could start, or passed while it ran.
    Late,
    /// The guest asked for more memory than it may have.
    Memory,
    /// The guest's answer, or the argument of a call, is too large or violates the contract.
    Output,
    /// The guest read beyond its manifest, or asked for data that it may not have.
    Access,
    /// The guest changed something beyond its manifest, or something that no policy may change.
    Writes,
    /// A change that can't be applied.
    Patch,
    /// The guest said itself that it can't decide.
    Declined,
    /// A condition of the policy, or its namespace selector, could not be evaluated.
    Match,
    /// The policy has no module that works: it is missing, can't be loaded, or refuses the settings.
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

    /// The value of the label `class` in logs and metrics.
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

    /// Who has to act.
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
