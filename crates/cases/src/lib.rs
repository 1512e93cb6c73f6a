//! Case files of policies. A case is a review, and the outcome that the policy must have.
//!
//! ```text
//! folder ─► read ─► Case ─┬─ settings, object, old object ─► the policy ─► CaseOutcome
//!                         └─ Expect::check ◄──────────────────────────────────┘
//! ```
//!
//! Two runners share it: the policies' SDK, which runs a policy's own code, and the host, which runs its module. Each
//! runner brings its parser of YAML. The crate runs no policy.

mod case;
mod expect;

pub use case::{Case, CaseFile, CaseGate, CaseOperation, ReadError, read};
pub use expect::{
    CaseAnswer, CaseDenial, CaseDifference, CaseOutcome, Expect, ExpectedDecision, ExpectedDenial,
    ExpectedRemark, Remark,
};
