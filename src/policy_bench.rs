//! `wardset policy bench`: measures the evaluations of cases, and compares them with an earlier measurement.
//!
//! ```text
//! case files ─► policy_test (policies and review of a case) ─► rounds of measured evaluations ─► figures ─► report
//!                                                                      baseline (saved earlier) ─► comparison ─┘
//! ```
//!
//! It never decides whether a case passes: a case that fails is an error, because its figures would mean nothing.

pub mod baseline;
pub mod comparison;
pub mod figures;
pub mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wardset_cases::{Case, CaseOutcome};
use wardset_core::policy::ModuleRef;
use wardset_core::review::Review;
use wardset_runtime::LoadError;

use crate::policy_test::subject::Subject;
use crate::policy_test::{self, CaseProblem, TestError, TestOptions};
use crate::supply::modules::{ModuleError, Modules};
use figures::{Figures, Samples};

/// Minimum evaluations of a case, even if they exceed the time.
const MIN_ROUNDS: usize = 10;

/// Maximum evaluations of a case. More would not make the figures better.
const MAX_ROUNDS: usize = 100_000;

/// The version of [`Measurement`] as JSON.
pub const VERSION: u32 = 1;

/// The options of a measurement.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// The cases and their policies.
    pub test: TestOptions,
    /// Time for all evaluations together.
    pub time: Duration,
}

/// The result of a measurement. Its JSON is also the baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// [`VERSION`].
    pub version: u32,
    /// The measured cases.
    pub cases: Vec<MeasuredCase>,
    /// The evaluations of all cases together.
    pub all: Figures,
    /// The modules of the cases.
    pub modules: Vec<MeasuredModule>,
    /// The cases without an evaluation.
    pub unmeasured: Vec<UnmeasuredCase>,
}

/// The figures of one case. If several policies apply, its times are the sums of theirs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredCase {
    /// The case file.
    pub file: PathBuf,
    /// The name of the case.
    pub name: String,
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
}

/// The size and the compilation of one module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredModule {
    /// As the user named it.
    pub module: String,
    /// `sha256:` and 64 digits.
    pub digest: String,
    /// Size of the component.
    pub size_bytes: u64,
    /// Wall-clock time of the compiler, without the cache.
    pub compile_ms: f64,
    /// Size of the compiled code.
    pub compiled_bytes: u64,
}

/// A case in which no module evaluates a review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnmeasuredCase {
    /// The case file.
    pub file: PathBuf,
    /// The name of the case.
    pub name: String,
    /// Why there is no evaluation.
    pub reason: String,
}

/// The reason why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The cases or the module under test cannot be read.
    #[error(transparent)]
    Cases(#[from] TestError),
    /// A case fails, so its figures would mean nothing.
    #[error(
        "failed to measure the case `{name}` of `{}`: {problem}; hint: `wardset policy test` shows more",
        file.display()
    )]
    Case {
        /// The case file.
        file: PathBuf,
        /// The name of the case.
        name: String,
        /// The problem.
        problem: String,
    },
    /// No case has an evaluation.
    #[error("expected a case in which a policy evaluates a review, found none among {0}")]
    Nothing(String),
    /// A module cannot be read again.
    #[error("failed to load the module `{module}`")]
    Module {
        /// As the user named it.
        module: ModuleRef,
        /// The cause.
        source: ModuleError,
    },
    /// A module does not compile again.
    #[error("failed to compile the module `{module}`")]
    Compile {
        /// As the user named it.
        module: ModuleRef,
        /// The cause.
        source: LoadError,
    },
}

/// A step of a measurement, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BenchStep<'s> {
    /// The evaluations begin, of this number of cases.
    Evaluating(usize),
    /// The compilation of a module begins.
    Compiling(&'s ModuleRef),
}

/// Measures the cases of files and folders, and their modules.
///
/// # Errors
///
/// Cases that cannot be read or that fail, and modules that do not load.
pub async fn run(
    modules: &Modules,
    paths: &[PathBuf],
    options: &BenchOptions,
    progress: &mut (dyn FnMut(BenchStep<'_>) + Send),
) -> Result<Measurement, BenchError> {
    let (mut running, mut unmeasured) = (Vec::new(), Vec::new());
    for (file, case) in policy_test::cases(paths, &options.test)? {
        let started = start(modules, &file, &case, &options.test).await;
        let name = case.name;
        match started {
            Ok(Started::Running(subject, review)) => {
                running.push(RunningCase { file, name, subject, review, samples: Samples::default() });
            }
            Ok(Started::Without(reason)) => {
                unmeasured.push(UnmeasuredCase { file, name, reason: reason.to_owned() });
            }
            Err(problem) => return Err(BenchError::Case { file, name, problem: describe(problem) }),
        }
    }
    if running.is_empty() {
        return Err(BenchError::Nothing(crate::offline::text::count(unmeasured.len(), "case")));
    }
    progress(BenchStep::Evaluating(running.len()));
    evaluate(&mut running, options.time).await?;
    let measured = compile(modules, &running, progress).await?;
    let mut all = Samples::default();
    let mut cases = Vec::new();
    for case in running {
        cases.push(MeasuredCase { file: case.file, name: case.name, figures: case.samples.figures() });
        all.extend(case.samples);
    }
    Ok(Measurement { version: VERSION, cases, all: all.figures(), modules: measured, unmeasured })
}

struct RunningCase {
    file: PathBuf,
    name: String,
    subject: Box<Subject>,
    review: Arc<Review>,
    samples: Samples,
}

enum Started {
    Running(Box<Subject>, Arc<Review>),
    /// No module evaluates a review, for this reason.
    Without(&'static str),
}

/// Decides a case once, and checks that the outcome is the expected one.
async fn start(
    modules: &Modules,
    file: &Path,
    case: &Case,
    options: &TestOptions,
) -> Result<Started, CaseProblem> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let differs = || CaseProblem::Broken("its outcome is not the expected one".to_owned());
    let subject = match Subject::of(modules, case, folder, options).await? {
        Ok(subject) => subject,
        Err(refused) => {
            let fits = case.expect.check(CaseOutcome::SettingsError(refused)).is_ok();
            return if fits {
                Ok(Started::Without("the module refuses the settings"))
            } else {
                Err(differs())
            };
        }
    };
    let trial = subject.decide(&subject.object, subject.old.as_ref()).await?;
    case.expect.check(trial.outcome()).map_err(|_| differs())?;
    if trial.applied_none() {
        return Ok(Started::Without("no policy applies"));
    }
    let review = subject.review(&subject.object, subject.old.as_ref())?;
    Ok(Started::Running(Box::new(subject), review))
}

/// Evaluates the cases in rounds, so that other load on the machine affects all of them.
async fn evaluate(cases: &mut [RunningCase], time: Duration) -> Result<(), BenchError> {
    let started = Instant::now();
    let mut rounds = 0;
    while rounds < MIN_ROUNDS || (rounds < MAX_ROUNDS && started.elapsed() < time) {
        for case in &mut *cases {
            match case.subject.measure(&case.review).await {
                Ok(evaluations) => case.samples.push(&evaluations),
                Err(problem) => {
                    let (file, name) = (case.file.clone(), case.name.clone());
                    return Err(BenchError::Case { file, name, problem: describe(problem) });
                }
            }
        }
        rounds += 1;
    }
    Ok(())
}

/// Compiles each module of the cases once.
async fn compile(
    modules: &Modules,
    cases: &[RunningCase],
    progress: &mut (dyn FnMut(BenchStep<'_>) + Send),
) -> Result<Vec<MeasuredModule>, BenchError> {
    let mut measured: Vec<MeasuredModule> = Vec::new();
    for (module, folder) in cases.iter().flat_map(|case| &case.subject.modules) {
        let loaded = modules.load(module, folder).await;
        let loaded = loaded.map_err(|source| BenchError::Module { module: module.clone(), source })?;
        let digest = format!("sha256:{}", loaded.module.digest);
        if measured.iter().any(|known| known.digest == digest) {
            continue;
        }
        progress(BenchStep::Compiling(module));
        let compiled = modules.measure_compilation(&loaded.bytes).await;
        let compiled = compiled.map_err(|source| BenchError::Compile { module: module.clone(), source })?;
        measured.push(MeasuredModule {
            module: module.to_string(),
            digest,
            size_bytes: loaded.bytes.len() as u64,
            compile_ms: figures::rounded(compiled.time.as_secs_f64() * 1e3),
            compiled_bytes: compiled.code_bytes,
        });
    }
    Ok(measured)
}

fn describe(problem: CaseProblem) -> String {
    match problem {
        CaseProblem::Broken(words) | CaseProblem::NotRun(words) | CaseProblem::Vacuous(words) => words,
        CaseProblem::Outcome(_) | CaseProblem::Object { .. } | CaseProblem::Law { .. } => {
            "the case fails".to_owned()
        }
    }
}
