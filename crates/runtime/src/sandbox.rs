//! One instance of a module for one call, discarded after it.

use std::time::{Duration, Instant};

use wardset_core::gate::Gate;
use wardset_core::manifest::ManifestParts;
use wardset_core::review::Review;
use wardset_core::text;
use wardset_core::verdict::{Failure, FailureClass, MAX_DETAIL, Verdict};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline, WasmBacktrace};

use crate::engine::Engine;
use crate::host::{Evaluation, Host, SandboxLimits, Stopped};
use crate::worlds::wardset::{Guest, Instance};

/// Maximum number of bytes that a guest may pass to the host in one call, or in its answer. wasmtime checks it before
/// it copies anything.
const MAX_PASSED: usize = 1 << 20;

/// A running guest.
pub(crate) struct Sandbox {
    store: Store<Host>,
    instance: Instance,
}

impl Sandbox {
    /// Starts a guest. Its start functions count towards its limits.
    pub(crate) async fn start(
        engine: &Engine,
        guest: &Guest,
        evaluation: Option<Evaluation>,
        limits: SandboxLimits,
    ) -> Result<Self, Failure> {
        let mut store = Store::new(&engine.wasmtime, Host::new(evaluation, limits));
        store.limiter(|host| &mut host.limits);
        store.set_hostcall_fuel(MAX_PASSED);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |store| {
            let limits = &store.data().limits;
            if limits.time_is_left() { Ok(UpdateDeadline::Yield(1)) } else { Err(limits.timeout().into()) }
        });
        let instance = guest.start(&mut store).await.map_err(|error| failure(&error, Stage::Start))?;
        Ok(Self { store, instance })
    }

    pub(crate) async fn manifest(mut self) -> Result<ManifestParts, Failure> {
        self.instance.manifest(&mut self.store).await.map_err(|error| failure(&error, Stage::Call))
    }

    pub(crate) async fn validate_settings(mut self, settings: &str) -> Result<Result<(), String>, Failure> {
        let answer = self.instance.validate_settings(&mut self.store, settings).await;
        answer
            .map(|answer| answer.map_err(|message| text::one_line(&message, MAX_DETAIL)))
            .map_err(|error| failure(&error, Stage::Call))
    }

    pub(crate) async fn evaluate(
        mut self,
        review: &Review,
        gate: Gate,
        settings: &str,
    ) -> Result<Verdict, Failure> {
        self.call(review, gate, settings).await
    }

    /// Calls the guest as [`Sandbox::evaluate`] does, and keeps the sandbox. It must not be called again.
    pub(crate) async fn call(
        &mut self,
        review: &Review,
        gate: Gate,
        settings: &str,
    ) -> Result<Verdict, Failure> {
        let answer = self.instance.evaluate(&mut self.store, review, gate, settings).await;
        answer
            .map_err(|error| failure(&error, Stage::Call))?
            .map_err(|declined| Failure::new(FailureClass::Declined, &declined))
    }

    /// Returns the linear memory of the guest, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.store.data().limits.used()
    }
}

/// Returns the limits of a call that starts now. It ends after `timeout`, or at the review's deadline.
pub(crate) fn limits(timeout: Duration, memory: u64, review_deadline: Instant) -> SandboxLimits {
    let own = Instant::now() + timeout;
    SandboxLimits::new(usize::try_from(memory).unwrap_or(usize::MAX), own, review_deadline)
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Start,
    Call,
}

/// Classifies wasmtime's error by its type: first the host's own reason, then a trap. A start in which no code of the
/// guest ran, or a pool without room, is a failure of the host. Any other error is a malformed value of the guest: out
/// of bounds, not UTF-8, or too large.
fn failure(error: &wasmtime::Error, stage: Stage) -> Failure {
    let class = if let Some(stopped) = error.downcast_ref::<Stopped>() {
        return Failure::new(stopped.class(), &stopped.to_string());
    } else if error.is::<Trap>() {
        FailureClass::Trap
    } else if error.is::<PoolConcurrencyLimitError>()
        || (stage == Stage::Start && !error.is::<WasmBacktrace>())
    {
        FailureClass::Host
    } else {
        FailureClass::Output
    };
    Failure::new(class, &error.root_cause().to_string())
}
