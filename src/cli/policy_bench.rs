//! `wardset policy bench`.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use super::policy_args::PolicyBench;
use super::project::{self, Decider};
use super::setup;
use super::source_args::ListOutput;
use crate::policy_bench::comparison::Comparison;
use crate::policy_bench::{self, BenchOptions, BenchStep, Measurement, baseline, report};
use crate::policy_test::TestOptions;
use crate::telemetry;

pub(super) async fn run(args: PolicyBench) -> anyhow::Result<ExitCode> {
    telemetry::for_commands();
    // Before the measurement, so that a wrong name costs no time.
    let before = match args.compare.as_deref() {
        Some(path) => Some((path, baseline::read(path)?)),
        None => None,
    };
    if let Some(path) = &args.save {
        check_folder(path)?;
    }
    let Decider { module, policies } = Decider::new(args.module, args.policies.paths.clone())?;
    if let Some(warning) = project::warning_of_old_module(module.as_deref()) {
        super::say_line(&warning);
    }
    let test = TestOptions { module, policies, filter: args.filter, update: false };
    let options = BenchOptions { test, time: args.time };
    let modules = setup::modules(&args.policies.into())?;
    let shows_steps = !args.quiet && std::io::stderr().is_terminal();
    let mut progress = |step: BenchStep<'_>| {
        if shows_steps {
            super::say(&words(step));
        }
    };
    let measuring = policy_bench::run(&modules, &args.cases, &options, &mut progress);
    let measured =
        if args.quiet { measuring.await } else { setup::showing_compilations(&modules, measuring).await }?;
    let comparison = match &before {
        Some((path, before)) => Some((*path, compare(path, before, &measured, args.threshold)?)),
        None => None,
    };
    match args.output {
        ListOutput::Text => {
            super::print(&report::text(&measured))?;
            if let Some((path, comparison)) = &comparison {
                super::print(&format!("\n{}", report::changes(comparison, path)))?;
            }
        }
        ListOutput::Json => {
            let comparison = comparison.as_ref().map(|(_, comparison)| comparison);
            super::print_data(&report::json(&measured, comparison))?;
        }
    }
    if let Some(path) = &args.save {
        baseline::write(path, &measured)?;
    }
    let is_slower = comparison.is_some_and(|(_, comparison)| comparison.slower() > 0);
    Ok(ExitCode::from(u8::from(is_slower)))
}

fn words(step: BenchStep<'_>) -> String {
    match step {
        BenchStep::Evaluating(1) => "evaluating 1 case".to_owned(),
        BenchStep::Evaluating(cases) => format!("evaluating {cases} cases in rounds"),
        BenchStep::Compiling(module) => format!("compiling `{module}` without the cache"),
    }
}

/// Fails if the folder of a file does not exist.
fn check_folder(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    anyhow::ensure!(
        folder.is_dir() && !path.is_dir(),
        "failed to write the baseline `{}`: expected a file in a folder that exists; hint: create the folder first",
        path.display()
    );
    Ok(())
}

fn compare(
    path: &Path,
    before: &Measurement,
    after: &Measurement,
    threshold: u32,
) -> anyhow::Result<Comparison> {
    let comparison = Comparison::new(before, after, f64::from(threshold));
    anyhow::ensure!(
        !comparison.cases.is_empty(),
        "expected a baseline of the same cases, found none of them in `{}`; hint: file and name must match, so run \
         the command in the same folder as for --save",
        path.display()
    );
    Ok(comparison)
}
