//! Constructors of verdicts.

use crate::{Change, Denial, DenialCode, Note, Patch, Verdict, Warning};

impl Verdict {
    /// Makes the empty verdict: the object is allowed, unchanged.
    #[must_use]
    pub fn allow() -> Self {
        Self { denials: Vec::new(), changes: Vec::new(), warnings: Vec::new(), notes: Vec::new() }
    }

    /// Adds the changes of the patch.
    #[must_use]
    pub fn with_changes(mut self, patch: Patch<'_>) -> Self {
        self.changes.extend(patch.into_changes());
        self
    }

    /// Adds a reason to refuse the object.
    #[must_use]
    pub fn with_denial(mut self, denial: Denial) -> Self {
        self.denials.push(denial);
        self
    }

    /// Adds something that the author should know.
    #[must_use]
    pub fn with_warning(mut self, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        self.warnings.push(Warning::new(pointer, message));
        self
    }

    /// Adds a line for the report of `wardset review`. The audit annotation `noted-by` names the policy. Clients of the
    /// API server never see a note, so it suits a policy that rightly leaves an object alone.
    #[must_use]
    pub fn with_note(mut self, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        self.notes.push(Note { pointer: pointer.into(), message: message.into() });
        self
    }
}

impl From<Patch<'_>> for Verdict {
    fn from(patch: Patch<'_>) -> Self {
        Self::allow().with_changes(patch)
    }
}

impl Denial {
    /// The object breaks a rule of this cluster (403). `message` describes the problem, in lower case and without a
    /// full stop; `fix` is the text to write or the step to take.
    pub fn forbidden(pointer: impl Into<String>, message: impl Into<String>, fix: impl Into<String>) -> Self {
        let (pointer, message, fix) = (pointer.into(), message.into(), fix.into());
        Self { code: DenialCode::Forbidden, pointer, message, fix }
    }

    /// The object contradicts itself or its kind (422); otherwise as [`Denial::forbidden`].
    pub fn invalid(pointer: impl Into<String>, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { code: DenialCode::Invalid, ..Self::forbidden(pointer, message, fix) }
    }
}

impl Warning {
    /// A warning about the value at `pointer`. Aim at 110 characters: the host adds the policy's name in front, and
    /// cuts warnings at the API server's limit.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }
}

impl Change {
    /// An `add` of a JSON text at `path`.
    pub(crate) fn add(path: String, value: String, reason: String) -> Self {
        Self { edit: crate::Edit::Add(crate::Placed { path, value }), reason }
    }
}
