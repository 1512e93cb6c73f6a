//! `wardset policy build`.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Instant;

use wardset_authoring::BuildEvent;
use wardset_core::text::one_line;

use super::policy_args::PolicyBuild;

/// Maximum length of a printed line of a tool, in bytes.
const MAX_LINE: usize = 1 << 10;

pub(super) fn run(args: &PolicyBuild) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let holds = |file: &str| args.folder.join(file).exists();
    anyhow::ensure!(
        holds(wardset_authoring::PROJECT_FILE) || !holds("policy.yaml"),
        "there is nothing to build: a project without `{}` has rules in CEL; hint: run `wardset policy test`",
        wardset_authoring::PROJECT_FILE
    );
    let shows_steps = !args.quiet && std::io::stderr().is_terminal();
    let built = wardset_authoring::build(&args.folder, &mut |event| match event {
        BuildEvent::Step(step) if shows_steps => super::say(step),
        BuildEvent::Command(command) if shows_steps => super::say(&format!("  $ {command}")),
        BuildEvent::Output(line) if args.verbose => super::say(&format!("  {}", one_line(line, MAX_LINE))),
        _ => {}
    });
    let built = built.map_err(|error| super::on_one_line(&error))?;
    super::print(&format!(
        "{}: {} bytes, {}\nimports: {}\nbuilt in {:.1} s\n",
        built.path.display(),
        built.size_bytes,
        built.digest,
        built.imports.join(", "),
        started.elapsed().as_secs_f64()
    ))?;
    Ok(ExitCode::SUCCESS)
}
