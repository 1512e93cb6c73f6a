//! `wardset policy new`.

use std::path::PathBuf;
use std::process::ExitCode;

use wardset_authoring::{Language, PolicyKind};

use super::args::PolicyNew;

pub(super) fn run(args: &PolicyNew) -> anyhow::Result<ExitCode> {
    let language = Language::from_word(&args.lang).ok_or_else(|| {
        let known: Vec<_> = Language::ALL.iter().map(|language| language.word()).collect();
        anyhow::anyhow!("--lang: expected one of {}, found `{}`", known.join(", "), args.lang)
    })?;
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
    if language != Language::Cel {
        out.push_str("  wardset policy build\n");
    }
    out.push_str("  wardset policy test\n");
    super::print(&out)?;
    Ok(ExitCode::SUCCESS)
}
