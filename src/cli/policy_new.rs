//! `wardset policy new`.

use std::path::PathBuf;
use std::process::ExitCode;

use wardset_authoring::{Language, PolicyKind};

use super::policy_args::PolicyNew;

pub(super) fn run(args: &PolicyNew) -> anyhow::Result<ExitCode> {
    let language: Language = args.lang.parse().map_err(|error| super::on_one_line(&error))?;
    let kind = if args.validating { PolicyKind::Validating } else { PolicyKind::Mutating };
    let folder = args.folder.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    let files = wardset_authoring::create(&folder, &args.name, language, kind);
    let files = files.map_err(|error| super::on_one_line(&error))?;
    let mut out = format!(
        "created `{}` with {} files\nnext:\n  cd {}\n",
        folder.display(),
        files.len(),
        folder.display()
    );
    if let Some(setup) = language.setup() {
        out.push_str(&format!("  {setup}\n"));
    }
    if language != Language::Cel {
        out.push_str("  wardset policy build\n");
    }
    out.push_str("  wardset policy test\n  wardset policy dev\n");
    super::print(&out)?;
    Ok(ExitCode::SUCCESS)
}
