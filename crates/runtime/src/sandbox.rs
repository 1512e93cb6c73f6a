//! One guest instance for one call, thrown away after it.

use std::time::{Duration, Instant};

use wardset_core::text;
use wardset_core::verdict::{
    Change, Denial, DenialCode, Edit, Failure, FailureClass, MAX_DETAIL, Note, Verdict, Warning,
};
use wasmtime::component::Instance;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline, WasmBacktrace};

use crate::contract::wit;
use crate::engine::Engine;
use crate::guest::{Guest, Guests};
use crate::host::{Evaluation, Host, Limits, Stopped};
use crate::share::Turns;

/// The most bytes that a guest may hand over in one call, or in its answer. Checked before anything is copied.
const MAX_HANDED_OVER: usize = 1 << 20;
/// A running guest.
pub(crate) struct Sandbox<'m> {
    store: Store<Host>,
    guest: &'m Guest,
    instance: Instance,
}

impl<'m> Sandbox<'m> {
    /// Starts a guest. From here on the clock runs, start functions included.
    pub(crate) async fn start(
        engine: &Engine,
        guests: &'m Guests,
        evaluation: Option<Evaluation>,
        limits: Limits,
    ) -> Result<Self, Failure> {
        let (deadline, late) = (limits.deadline, limits.late);
        let pool = engine.pool();
        let guest = guests.of(pool);
        let mut store = Store::new(&pool.wasmtime, Host::new(evaluation, limits));
        store.limiter(|host| &mut host.limits);
        store.set_hostcall_fuel(MAX_HANDED_OVER);
        store.set_epoch_deadline(1);
        let mut turns: Option<Turns> = None;
        store.epoch_deadline_callback(move |store| {
            if Instant::now() >= deadline {
                turns.iter().for_each(Turns::stopped);
                return Err(if late { Stopped::Late } else { Stopped::Deadline }.into());
            }
            let share = store.data().evaluation.as_ref().and_then(|evaluation| evaluation.share.as_ref());
            Ok(match share {
                Some(share) => turns.get_or_insert_with(|| Turns::new(share.clone())).tick(deadline),
                None => UpdateDeadline::Yield(1),
            })
        });
        let instance = guest.start(&mut store).await.map_err(|error| failure(&error, Stage::Start))?;
        Ok(Self { store, guest, instance })
    }

    pub(crate) async fn manifest(mut self) -> Result<wit::Manifest, Failure> {
        let answer = self.guest.manifest(&mut self.store, &self.instance).await;
        answer.map_err(|error| failure(&error, Stage::Call))
    }

    pub(crate) async fn validate_settings(mut self, settings: &str) -> Result<Result<(), String>, Failure> {
        let answer = self.guest.validate_settings(&mut self.store, &self.instance, settings).await;
        answer
            .map(|answer| answer.map_err(|said| text::one_line(&said, MAX_DETAIL)))
            .map_err(|error| failure(&error, Stage::Call))
    }

    pub(crate) async fn evaluate(
        &mut self,
        request: &wit::Request,
        settings: &str,
    ) -> Result<Verdict, Failure> {
        let answer = self.guest.evaluate(&mut self.store, &self.instance, request, settings).await;
        match answer.map_err(|error| failure(&error, Stage::Call))? {
            Ok(verdict) => Ok(verdict.into()),
            Err(declined) => Err(Failure::new(FailureClass::Declined, &declined)),
        }
    }
}

/// Limits that end `timeout` from now, or with the review.
pub(crate) fn limits(timeout: Duration, memory: u64, review_deadline: Instant) -> Limits {
    let own = Instant::now() + timeout;
    Limits::new(usize::try_from(memory).unwrap_or(usize::MAX), own, review_deadline)
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Start,
    Call,
}

/// Classifies wasmtime's error by type: the host's own reason first, then a trap. The rest is a malformed value of
/// the guest (out of bounds, not UTF-8, too large). During a start in which no code of the guest ran, or with a pool
/// without room, it is the pool or the machine.
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

impl From<wit::Verdict> for Verdict {
    fn from(verdict: wit::Verdict) -> Self {
        Self {
            denials: verdict.denials.into_iter().map(Into::into).collect(),
            changes: verdict.changes.into_iter().map(Into::into).collect(),
            warnings: verdict.warnings.into_iter().map(Into::into).collect(),
            notes: verdict.notes.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<wit::Denial> for Denial {
    fn from(denial: wit::Denial) -> Self {
        let wit::Denial { code, pointer, message, fix } = denial;
        let code = match code {
            wit::DenialCode::Forbidden => DenialCode::Forbidden,
            wit::DenialCode::Invalid => DenialCode::Invalid,
        };
        Self { code, pointer, message, fix }
    }
}

impl From<wit::Change> for Change {
    fn from(change: wit::Change) -> Self {
        let edit = match change.edit {
            wit::Edit::Add(wit::Placed { path, value }) => Edit::Add { path, value },
            wit::Edit::Replace(wit::Placed { path, value }) => Edit::Replace { path, value },
            wit::Edit::Remove(path) => Edit::Remove { path },
        };
        Self { edit, reason: change.reason }
    }
}

impl From<wit::Note> for Note {
    fn from(note: wit::Note) -> Self {
        let wit::Note { pointer, message } = note;
        Self { pointer, message }
    }
}

impl From<wit::Warning> for Warning {
    fn from(warning: wit::Warning) -> Self {
        let wit::Warning { pointer, message } = warning;
        Self { pointer, message }
    }
}
