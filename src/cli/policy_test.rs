//! `wardset policy test`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use super::args::{PolicyTest, TestOutput};
use super::setup;
use crate::policy_test::{self, TestOptions, report};
use crate::supply::modules::Modules;
use crate::telemetry;

/// Time between two looks for changed files.
const POLL: Duration = Duration::from_millis(100);

pub(super) async fn run(args: PolicyTest) -> anyhow::Result<ExitCode> {
    telemetry::for_commands();
    let mut policies = args.policies.paths.clone();
    // A project of CEL is a policy file.
    let file = PathBuf::from("policy.yaml");
    if args.module.is_none() && policies.is_empty() && !project_is_here() && file.exists() {
        policies.push(file);
    }
    let options = TestOptions {
        module: args.module.map_or_else(|| module_of_project(&policies), |module| Ok(Some(module)))?,
        policies,
        filter: args.filter,
        update: args.update,
    };
    let modules = setup::modules(&args.policies.into())?;
    if !args.watch {
        return once(&modules, &args.cases, &options, args.output).await;
    }
    loop {
        let before = watched(&args.cases, &options);
        if let Err(error) = once(&modules, &args.cases, &options, args.output).await {
            super::say_error(&format!("{error:#}"));
        }
        super::say("waiting for changes");
        while watched(&args.cases, &options) == before {
            tokio::time::sleep(POLL).await;
        }
        modules.forget_unused();
    }
}

fn project_is_here() -> bool {
    Path::new(wardset_authoring::PROJECT_FILE).exists()
}

/// Returns the module of the project in the current folder. Without a project, or if policies decide, there is none.
fn module_of_project(policies: &[PathBuf]) -> anyhow::Result<Option<String>> {
    if !policies.is_empty() || !project_is_here() {
        return Ok(None);
    }
    let project =
        wardset_authoring::Project::read(Path::new(".")).map_err(|error| super::on_one_line(&error))?;
    anyhow::ensure!(
        project.output.exists(),
        "the module `{}` does not exist; hint: run `wardset policy build` first",
        project.output.display()
    );
    Ok(Some(format!("file:{}", project.output.display())))
}

async fn once(
    modules: &Modules,
    cases: &[PathBuf],
    options: &TestOptions,
    output: TestOutput,
) -> anyhow::Result<ExitCode> {
    let reports =
        setup::showing_compilations(modules, policy_test::run(modules, cases, options)).await?;
    match output {
        TestOutput::Text => super::print(&report::text(&reports))?,
        TestOutput::Json => super::print_data(&report::json(&reports))?,
        TestOutput::Junit => super::print_data(&report::junit(&reports))?,
    }
    Ok(ExitCode::from(u8::from(!reports.iter().all(policy_test::CaseReport::passed))))
}

/// Returns the time and size of each file that decides about the results. Objects of cases are expected beside them.
fn watched(cases: &[PathBuf], options: &TestOptions) -> BTreeMap<PathBuf, (Option<SystemTime>, u64)> {
    let module = options.module.as_deref().and_then(|module| module.strip_prefix("file:")).map(PathBuf::from);
    let mut files = BTreeMap::new();
    let folders = cases.iter().filter_map(|path| {
        if path.is_dir() {
            Some(path.as_path())
        } else {
            path.parent().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
        }
    });
    for path in folders.chain(options.policies.iter().map(PathBuf::as_path)).chain(module.as_deref()) {
        look(path, &mut files);
    }
    files
}

fn look(path: &Path, files: &mut BTreeMap<PathBuf, (Option<SystemTime>, u64)>) {
    let Ok(metadata) = path.metadata() else { return };
    if metadata.is_dir() {
        for entry in path.read_dir().into_iter().flatten().flatten() {
            // A link could lead to its own parent.
            if entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
                look(&entry.path(), files);
            }
        }
    } else {
        files.insert(path.to_owned(), (metadata.modified().ok(), metadata.len()));
    }
}
