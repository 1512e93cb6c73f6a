//! The project of a policy in a folder: its module or its policy file, and its cases.

use std::path::{Path, PathBuf};

use wardset_authoring::{ChangedSource, PROJECT_FILE, Project, SourceChange, changed_sources};

use crate::offline::text::count;

/// The policy file of a project.
const POLICY_FILE: &str = "policy.yaml";

/// The folder of a project's cases.
pub(super) const CASES: &str = "cases";

/// The policies that decide the cases: a module, or policy files.
pub(super) struct Decider {
    pub(super) module: Option<String>,
    pub(super) policies: Vec<PathBuf>,
}

impl Decider {
    /// Returns the module or the policies that the user named, else those of the project in the current folder. Without
    /// a project there may be none.
    ///
    /// # Errors
    ///
    /// A project without its module.
    pub(super) fn new(module: Option<String>, policies: Vec<PathBuf>) -> anyhow::Result<Self> {
        let folder = Path::new("");
        if module.is_some() || !policies.is_empty() {
            return Ok(Self { module, policies });
        }
        if has_module(folder) {
            return Ok(Self { module: Some(module_of(folder)?), policies });
        }
        // A project of CEL is a policy file.
        let policies = if Path::new(POLICY_FILE).exists() { vec![POLICY_FILE.into()] } else { policies };
        Ok(Self { module, policies })
    }

    /// Returns the module of the project in `folder`, or its policy file if it has no module.
    ///
    /// # Errors
    ///
    /// As [`Decider::new`].
    pub(super) fn of_project(folder: &Path) -> anyhow::Result<Self> {
        if has_module(folder) {
            return Ok(Self { module: Some(module_of(folder)?), policies: Vec::new() });
        }
        Ok(Self { module: None, policies: vec![folder.join(POLICY_FILE)] })
    }
}

/// Returns whether the project in `folder` has a module to build. A project of CEL has none.
pub(super) fn has_module(folder: &Path) -> bool {
    folder.join(PROJECT_FILE).exists()
}

/// Returns the policy file of the project in `folder`.
///
/// # Errors
///
/// A folder without one.
pub(super) fn policy_file(folder: &Path) -> anyhow::Result<PathBuf> {
    let file = folder.join(POLICY_FILE);
    anyhow::ensure!(
        file.is_file(),
        "expected the policy file `{}`, found none; hint: run the command in the folder of a policy, or make one with \
         `wardset policy new NAME --lang cel`",
        file.display()
    );
    Ok(file)
}

/// Returns the path of the project's module.
///
/// # Errors
///
/// A file `wardset.yaml` that cannot be read.
pub(super) fn output(folder: &Path) -> anyhow::Result<PathBuf> {
    // The current folder is the empty path here, which its file's name completes.
    let project = Project::read(if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    Ok(folder.join(project.map_err(|error| super::on_one_line(&error))?.output))
}

/// Returns a warning if sources of a project have changed since `wardset policy build` wrote its module. `module` is a
/// name such as `file:a.wasm`. Modules without such a project have no warning.
pub(super) fn warning_of_old_module(module: Option<&str>) -> Option<String> {
    let module = Path::new(module?.strip_prefix("file:")?);
    let folder = module.ancestors().skip(1).find(|folder| has_module(folder))?;
    let root = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if Project::read(root).ok()?.output != module.strip_prefix(folder).ok()? {
        return None;
    }
    let changed = changed_sources(root);
    let (ChangedSource { path, change }, others) = changed.split_first()?;
    let others = match others.len() {
        0 => String::new(),
        others => format!(" and {}", count(others, "other source")),
    };
    let change = match change {
        SourceChange::Changed => "changed",
        SourceChange::Added if others.is_empty() => "was added",
        SourceChange::Added => "were added or changed",
        SourceChange::Removed if others.is_empty() => "was removed",
        SourceChange::Removed => "were removed or changed",
    };
    let argument = if root == Path::new(".") { String::new() } else { format!(" {}", root.display()) };
    Some(format!(
        "warning: `{}`{others} {change} after the module `{}` was built, so these are the results of the older sources; \
         hint: run `wardset policy build{argument}`",
        folder.join(path).display(),
        module.display()
    ))
}

fn module_of(folder: &Path) -> anyhow::Result<String> {
    let output = output(folder)?;
    anyhow::ensure!(
        output.exists(),
        "the module `{}` does not exist; hint: run `wardset policy build` first",
        output.display()
    );
    Ok(format!("file:{}", output.display()))
}
