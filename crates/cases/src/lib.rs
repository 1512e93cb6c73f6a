//! Case files of policies. A case is a review, and the outcome that the policy must have.
//!
//! ```text
//! folder ─► read ─► Case ─┬─ settings, object, old object ─► the policy ─► Outcome
//!                         └─ Expect::check ◄──────────────────────────────────┘
//! ```
//!
//! Two runners share it: the policies' SDK, which runs a policy's own code, and the host, which runs its module. Each
//! runner brings its parser of YAML. The crate runs no policy.

mod case;
mod expect;

pub use case::{Case, File, Gate, Operation, ReadError, read};
pub use expect::{Answer, Denial, Difference, Expect, ExpectedDenial, ExpectedRemark, Outcome, Remark};
