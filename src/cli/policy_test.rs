//! `wardset policy test`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::policy_args::{PolicyTest, TestOutput};
use super::project::{self, Decider};
use super::setup;
use crate::folder::tree::{self, Tree};
use crate::policy_test::{self, TestOptions, report};
use crate::supply::modules::Modules;
use crate::telemetry;

pub(super) async fn run(args: PolicyTest) -> anyhow::Result<ExitCode> {
    telemetry::for_commands();
    let Decider { module, policies } = Decider::new(args.module, args.policies.paths.clone())?;
    let options = TestOptions { module, policies, filter: args.filter, update: args.update };
    let modules = setup::modules(&args.policies.into())?;
    if !args.watch {
        if let Some(warning) = project::warning_of_old_module(options.module.as_deref()) {
            super::say_line(&warning);
        }
        return once(&modules, &args.cases, &options, args.output).await;
    }
    let mut seen = watched(&args.cases, &options, &Tree::default());
    loop {
        if let Err(error) = once(&modules, &args.cases, &options, args.output).await {
            super::say_error(&format!("{error:#}"));
        }
        super::say("waiting for changes");
        seen = tree::changed(seen, |before| watched(&args.cases, &options, before)).await;
        modules.forget_unused();
    }
}

async fn once(
    modules: &Modules,
    cases: &[PathBuf],
    options: &TestOptions,
    output: TestOutput,
) -> anyhow::Result<ExitCode> {
    let reports = setup::showing_compilations(modules, policy_test::run(modules, cases, options)).await?;
    match output {
        TestOutput::Text => super::print(&report::text(&reports))?,
        TestOutput::Json => super::print_data(&report::json(&reports))?,
        TestOutput::Junit => super::print_data(&report::junit(&reports))?,
    }
    Ok(ExitCode::from(u8::from(!reports.iter().all(policy_test::CaseReport::passed))))
}

/// Returns the content of each file that decides about the results. Objects of cases are expected beside them.
fn watched(cases: &[PathBuf], options: &TestOptions, before: &Tree) -> Tree {
    let module = options.module.as_deref().and_then(|module| module.strip_prefix("file:")).map(PathBuf::from);
    let folders = cases.iter().map(|path| match path.parent() {
        Some(folder) if !path.is_dir() && folder.as_os_str().is_empty() => PathBuf::from("."),
        Some(folder) if !path.is_dir() => folder.to_owned(),
        _ => path.clone(),
    });
    let paths: Vec<_> = folders.chain(options.policies.iter().cloned()).chain(module).collect();
    Tree::read(&paths, |_| false, before)
}
