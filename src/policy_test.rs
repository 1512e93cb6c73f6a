//! `wardset policy test`: runs the cases of policies in the real sandbox, and checks laws that no case asks for.
//!
//! ```text
//! case files ─► subject (policies and objects of a case) ─► Judge ─► Expect::check
//!                                                             ├─► laws, each broken one with the smallest object (shrink)
//!                                                             └─► vacuity: the case must fail if it expects something else
//! ```

mod laws;
pub mod report;
mod shrink;
pub(crate) mod subject;
mod vacuity;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use wardset_cases::{Case, CaseOutcome, ReadError};
use wardset_core::policy::PolicyError;

use crate::offline::input;
use crate::supply::modules::{ModuleError, Modules};
use crate::yaml;
pub use laws::Law;
pub use shrink::Shrunk;
use subject::{Subject, Trial};

/// The options of a run.
#[derive(Debug, Clone, Default)]
pub struct TestOptions {
    /// The module of cases without `policies`, as in a policy file: `builtin:NAME` or `file:PATH`.
    pub module: Option<String>,
    /// The policies of cases without `policies`, if there is no module.
    pub policies: Vec<PathBuf>,
    /// Only cases whose name contains this text.
    pub filter: Option<String>,
    /// Whether golden files are written instead of compared.
    pub update: bool,
}

/// The result of one case.
#[derive(Debug)]
pub struct CaseReport {
    /// The case file.
    pub file: PathBuf,
    /// The name of the case.
    pub name: String,
    /// The problems; none if the case passed.
    pub problems: Vec<CaseProblem>,
    /// The laws that were checked.
    pub laws: usize,
    /// The time of the policies' evaluations.
    pub elapsed: Duration,
    /// The golden file that was written.
    pub updated: Option<PathBuf>,
}

/// A problem of a case.
#[derive(Debug, Clone, PartialEq)]
pub enum CaseProblem {
    /// The outcome is another one.
    Outcome(Box<Compared>),
    /// The stored object is not the one of the golden file.
    Object {
        /// The golden file.
        file: PathBuf,
        /// Its object, and the one that would be stored.
        compared: Box<Compared>,
    },
    /// A law is broken.
    Law {
        /// The law.
        law: Law,
        /// A small object that breaks it.
        shrunk: Box<Shrunk>,
    },
    /// The case also passes if it expects something else.
    Vacuous(String),
    /// The case cannot run.
    Broken(String),
    /// The policies of its policy files cannot be used, for this reason. Cases with the same files have the same reason.
    NotRun(String),
}

/// Two trees of the same shape, for a diff.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// The expected one.
    pub expected: Value,
    /// The found one.
    pub found: Value,
}

/// An error that ends the run.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// Case files that cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The module under test does not load.
    #[error("failed to load the module `{module}`")]
    Module {
        /// As the user named it.
        module: String,
        /// The cause.
        source: ModuleError,
    },
    /// No policy decides on a case.
    #[error(
        "the case `{name}` of `{}` names no `policies`, and there is no module under test; hint: pass --module or --policies",
        file.display()
    )]
    NoPolicies {
        /// The case file.
        file: PathBuf,
        /// The name of the case.
        name: String,
    },
    /// The name of the module under test.
    #[error(transparent)]
    Named(#[from] PolicyError),
    /// No case has the wanted name.
    #[error("expected a case whose name contains `{0}`, found none")]
    Filter(String),
    /// Two cases of a file have the same name.
    #[error("`{}` has two cases named `{name}`; hint: give each case a name of its own", file.display())]
    SameName {
        /// The case file.
        file: PathBuf,
        /// The name.
        name: String,
    },
}

/// Runs the cases of files and folders.
///
/// # Errors
///
/// Case files that cannot be read, a case without policies, a module that does not load, and a filter that fits no case.
pub async fn run(
    modules: &Modules,
    paths: &[PathBuf],
    options: &TestOptions,
) -> Result<Vec<CaseReport>, TestError> {
    if let Some(module) = &options.module {
        let named = module.parse()?;
        let loaded = modules.load(&named, Path::new("")).await;
        loaded.map_err(|source| TestError::Module { module: module.clone(), source })?;
    }
    let mut reports = Vec::new();
    for (file, case) in cases(paths, options)? {
        reports.push(run_case(modules, &file, &case, options).await);
    }
    refuse_shared_golden_files(&mut reports);
    Ok(reports)
}

/// Reads the cases of files and folders that the filter lets through, each with its file.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn cases(paths: &[PathBuf], options: &TestOptions) -> Result<Vec<(PathBuf, Case)>, TestError> {
    let mut cases = Vec::new();
    for path in paths {
        for file in wardset_cases::read(path, yaml::documents)? {
            for (at, case) in file.cases.iter().enumerate() {
                if file.cases.iter().take(at).any(|earlier| earlier.name == case.name) {
                    return Err(TestError::SameName { file: file.path, name: case.name.clone() });
                }
                if case.policies.is_empty() && options.policies.is_empty() && options.module.is_none() {
                    return Err(TestError::NoPolicies { file: file.path, name: case.name.clone() });
                }
                if options.filter.as_ref().is_none_or(|part| case.name.contains(part)) {
                    cases.push((file.path.clone(), case.clone()));
                }
            }
        }
    }
    match &options.filter {
        Some(filter) if cases.is_empty() => Err(TestError::Filter(filter.clone())),
        _ => Ok(cases),
    }
}

/// Adds a problem to each report whose golden file an earlier case has written, too.
fn refuse_shared_golden_files(reports: &mut [CaseReport]) {
    for at in 1..reports.len() {
        let (earlier, rest) = reports.split_at_mut(at);
        let Some(report) = rest.first_mut() else { continue };
        let other = earlier.iter().find(|other| other.updated.is_some() && other.updated == report.updated);
        if let Some(other) = other {
            let problem =
                format!("the case `{}` writes the same golden file; hint: name another one", other.name);
            report.problems.push(CaseProblem::Broken(problem));
        }
    }
}

async fn run_case(modules: &Modules, file: &Path, case: &Case, options: &TestOptions) -> CaseReport {
    let mut report = CaseReport {
        file: file.to_owned(),
        name: case.name.clone(),
        problems: Vec::new(),
        laws: 0,
        elapsed: Duration::ZERO,
        updated: None,
    };
    if let Err(problem) = check(modules, case, options, &mut report).await {
        report.problems.push(problem);
    }
    report
}

/// Runs one case. The first problem that leaves nothing further to check is the error.
async fn check(
    modules: &Modules,
    case: &Case,
    options: &TestOptions,
    report: &mut CaseReport,
) -> Result<(), CaseProblem> {
    let folder = report.file.parent().unwrap_or(Path::new("")).to_owned();
    if case.expect.object.as_ref().is_some_and(|golden| golden.is_absolute()) {
        let problem = "`expect.object`: expected a path relative to the case file, found an absolute one";
        return Err(CaseProblem::Broken(problem.to_owned()));
    }
    let subject = match Subject::of(modules, case, &folder, options).await? {
        Ok(subject) => subject,
        Err(settings) => return compare(case, CaseOutcome::SettingsError(settings), report),
    };
    let trial = subject.decide(&subject.object, subject.old.as_ref()).await?;
    report.elapsed = trial.elapsed();
    if trial.applied_none() && case.expect.skipped.is_empty() {
        return Err(CaseProblem::Vacuous(format!(
            "no policy applies to the object ({}); hint: if that is meant, list them in `expect.skipped`",
            trial.skipped().join(", ")
        )));
    }
    let expected_to_skip = &case.expect.skipped;
    let missing: Vec<_> = expected_to_skip.iter().filter(|name| !trial.skips(name)).cloned().collect();
    if !missing.is_empty() {
        let (expected, found) = (json!({"skipped": expected_to_skip}), json!({"skipped": trial.skipped()}));
        return Err(CaseProblem::Outcome(Box::new(Compared { expected, found })));
    }
    compare(case, trial.outcome(), report)?;
    if let Some(golden) = &case.expect.object {
        compare_object(&folder.join(golden), trial.stored(), options.update, report)?;
    }
    let checked = laws::check(&subject, &trial, case).await;
    report.laws = checked.number;
    report.problems.extend(checked.problems);
    Ok(())
}

/// Compares the outcome with the expected one, and checks that the comparison could have failed.
fn compare(case: &Case, outcome: CaseOutcome, report: &mut CaseReport) -> Result<(), CaseProblem> {
    if case.expect.check(outcome.clone()).is_err() {
        let (expected, found) = report::outcomes(&case.expect, &outcome);
        return Err(CaseProblem::Outcome(Box::new(Compared { expected, found })));
    }
    report.problems.extend(vacuity::check(&case.expect, &outcome).map(CaseProblem::Vacuous));
    Ok(())
}

fn compare_object(
    file: &Path,
    found: &Value,
    update: bool,
    report: &mut CaseReport,
) -> Result<(), CaseProblem> {
    if update {
        return write_golden(file, found, report);
    }
    if !file.exists() {
        let problem =
            format!("the golden file `{}` does not exist; hint: --update writes it", file.display());
        return Err(CaseProblem::Broken(problem));
    }
    let expected = read_object(file)?;
    if expected == *found {
        return Ok(());
    }
    let compared = Box::new(Compared { expected, found: found.clone() });
    Err(CaseProblem::Object { file: file.to_owned(), compared })
}

/// Writes a golden file. It never replaces a file that is something else: a case file, a policy, or a file elsewhere
/// behind a link.
fn write_golden(file: &Path, found: &Value, report: &mut CaseReport) -> Result<(), CaseProblem> {
    let broken = |problem: String| Err(CaseProblem::Broken(problem));
    let exists = file.symlink_metadata().is_ok();
    let is_golden = exists
        && file.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
        && read_object(file).is_ok_and(|object| object["kind"] == "DaemonSet");
    if exists && !is_golden {
        let problem = format!("`{}` is not a golden file, so --update does not replace it", file.display());
        return broken(problem + "; hint: name another file in `expect.object`");
    }
    if let Err(error) = std::fs::write(file, yaml::to_string(found)) {
        return broken(format!("failed to write the golden file `{}`: {error}", file.display()));
    }
    report.updated = Some(file.to_owned());
    Ok(())
}

/// Reads the one object of a file.
fn read_object(file: &Path) -> Result<Value, CaseProblem> {
    let broken = |problem: String| CaseProblem::Broken(problem);
    let read = input::read(file, true).map_err(|error| broken(format!("{:#}", anyhow::Error::new(error))))?;
    let mut values =
        read.documents.into_iter().map(|document| document.value).filter(|value| !value.is_null());
    match (values.next(), values.next()) {
        (Some(object), None) => Ok(object),
        (None, _) => Err(broken(format!("expected one object in `{}`, found none", file.display()))),
        (Some(_), Some(_)) => {
            Err(broken(format!("expected one object in `{}`, found several", file.display())))
        }
    }
}

impl CaseReport {
    /// Returns whether the case passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.problems.is_empty()
    }

    /// Returns the reason why the case did not run, if its policies cannot be used.
    #[must_use]
    pub fn not_run(&self) -> Option<&str> {
        self.problems.iter().find_map(|problem| match problem {
            CaseProblem::NotRun(reason) => Some(&**reason),
            _ => None,
        })
    }
}

/// Returns whether no policy denied the object or failed.
fn is_allowed(trial: &Trial) -> bool {
    matches!(trial.outcome(), CaseOutcome::Answer(answer) if answer.denials.is_empty())
}
