//! Builds the module of a project.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{error, fmt, fs, io};

use crate::Language;
use crate::component::{self, ComponentError};
use crate::guest::UnusableFolder;
use crate::project::{Project, ProjectError};
use crate::snapshot::SnapshotError;
use crate::sources;
use crate::tool::{self, MissingTool, ToolError};

mod go;
mod native;
mod python;
mod rust;
mod script;

/// The folder for files of the build, within the project.
const WORK: &str = "build";

/// Pages of 64 KiB: 16 MiB, the default limit of a sandbox's memory.
const PAGES: u64 = 256;

/// Builds the project in `folder`, and tells `progress` each step.
///
/// The module is written to the project's `output`. A failed build leaves the earlier module as it was.
///
/// # Errors
///
/// The folder is no project, a tool is missing or fails, the build would write through a link, or the result is not a
/// policy.
pub fn build(
    folder: &Path,
    progress: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<BuiltPolicy, PolicyBuildError> {
    let project = Project::read(folder)?;
    // Tools run in the folder of the project, even if the current folder is another one.
    let folder = fs::canonicalize(folder).map_err(|source| io_error(folder, source))?;
    refuse_links(&folder, &project.output)?;
    // Before the tools run, because a save during the build makes the module old. If a file is unreadable, there is no
    // record.
    let sources = sources::digests(&folder, &project).ok();
    let mut build = Build { folder, project, progress };
    let component = match build.project.language {
        Language::Rust => rust::build(&mut build)?,
        Language::Ts => script::build(&mut build)?,
        Language::Go => go::build(&mut build)?,
        Language::Python => python::build(&mut build)?,
        Language::C => native::build_c(&mut build)?,
        Language::Zig => native::build_zig(&mut build)?,
        Language::Cel => return Err(PolicyBuildError::NothingToBuild),
    };
    (build.progress)(BuildEvent::Step("checking the component"));
    let imports = component::check(&component)?;
    let pages = component::initial_pages(&component)?;
    if pages > PAGES {
        return Err(PolicyBuildError::Memory { pages });
    }
    let path = build.folder.join(&build.project.output);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|source| io_error(parent, source))?;
    }
    // A reader of the folder sees the old module or the new one, never a part.
    let partial = path.with_extension("wasm.partial");
    write_new(&partial, &component).map_err(|source| io_error(&partial, source))?;
    fs::rename(&partial, &path).map_err(|source| io_error(&path, source))?;
    if let Some(sources) = &sources {
        sources::record(&build.folder, &build.project, &component, sources);
    }
    Ok(BuiltPolicy {
        path,
        name: build.project.name,
        language: build.project.language,
        size_bytes: component.len() as u64,
        digest: digest(&component),
        imports,
        is_reproducible: reproducible(build.project.language),
    })
}

/// Writes a file that replaces an earlier one, or a link.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::create_new(path)?.write_all(bytes)
}

/// Fails if a part of `path` within `folder` is a link: the build must not write to another place.
fn refuse_links(folder: &Path, path: &Path) -> Result<(), PolicyBuildError> {
    let mut part = folder.to_owned();
    for name in path.components() {
        part.push(name);
        if part.is_symlink() {
            return Err(PolicyBuildError::Link { path: part });
        }
    }
    Ok(())
}

/// Whether two builds of the same sources with the same tools give the same bytes.
const fn reproducible(language: Language) -> bool {
    // The engines store the state of a started program, with addresses that differ from run to run.
    !matches!(language, Language::Ts | Language::Python)
}

/// Returns the SHA-256 digest of bytes, as `sha256:` and 64 digits.
fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sources::hex(bytes))
}

/// A step of a build.
#[derive(Clone, Copy, Debug)]
pub enum BuildEvent<'e> {
    /// A part of the build begins.
    Step(&'e str),
    /// A tool starts.
    Command(&'e str),
    /// A line of a tool's output.
    Output(&'e str),
}

/// A module that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltPolicy {
    /// The path of the component.
    pub path: PathBuf,
    /// The name of the policy.
    pub name: String,
    /// The language of its sources.
    pub language: Language,
    /// The size of the component.
    pub size_bytes: u64,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// The imports of the component: parts of the contract.
    pub imports: Vec<String>,
    /// Whether the same sources give the same digest again.
    pub is_reproducible: bool,
}

/// A build that runs.
struct Build<'p> {
    /// The folder of the project, as an absolute path.
    folder: PathBuf,
    project: Project,
    progress: &'p mut dyn FnMut(BuildEvent<'_>),
}

impl Build<'_> {
    fn step(&mut self, text: &str) {
        (self.progress)(BuildEvent::Step(text));
    }

    /// Runs a tool in the folder of the project.
    fn run(&mut self, command: &mut Command) -> Result<String, ToolError> {
        command.current_dir(&self.folder);
        (self.progress)(BuildEvent::Command(&tool::line(command)));
        let progress = &mut *self.progress;
        tool::run(command, &mut |line| progress(BuildEvent::Output(line)))
    }

    /// Runs a tool whose output is for the build, and not for people.
    fn query(&mut self, command: &mut Command) -> Result<String, ToolError> {
        tool::run(command.current_dir(&self.folder), &mut |_| {})
    }

    /// Makes the folder for files of the build, and returns its path within the project. Tools see such relative
    /// paths only, so that no folder of this machine gets into a module.
    fn work_folder(&self) -> Result<&'static Path, PolicyBuildError> {
        let folder = self.folder.join(WORK);
        refuse_links(&self.folder, Path::new(WORK))?;
        fs::create_dir_all(&folder).map_err(|source| io_error(&folder, source))?;
        for entry in fs::read_dir(&folder).map_err(|source| io_error(&folder, source))? {
            let name = entry.map_err(|source| io_error(&folder, source))?.file_name();
            refuse_links(&folder, Path::new(&name))?;
        }
        Ok(Path::new(WORK))
    }

    /// Returns the folders of programs that are installed in a virtual environment of Python: the project's own, then
    /// the active one.
    fn python_folders(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.folder.join(".venv/bin"), self.folder.join(".venv/Scripts")];
        if let Some(active) = std::env::var_os("VIRTUAL_ENV") {
            folders.push(Path::new(&active).join("bin"));
        }
        folders
    }

    /// Reads a file of the project.
    fn read(&self, path: &Path) -> Result<Vec<u8>, PolicyBuildError> {
        let path = self.folder.join(path);
        fs::read(&path).map_err(|source| io_error(&path, source))
    }

    /// Returns the error about a tool that is missing, with the command that installs all tools of the language.
    fn missing(&self, tool: &str) -> PolicyBuildError {
        let command = self.project.language.setup().unwrap_or_default().to_owned();
        PolicyBuildError::Missing(MissingTool { tool: tool.to_owned(), found: None, command })
    }
}

fn io_error(path: &Path, source: io::Error) -> PolicyBuildError {
    PolicyBuildError::Io { path: path.to_owned(), source }
}

/// The reason why there is no module.
#[derive(Debug)]
pub enum PolicyBuildError {
    /// The folder is no project.
    Project(ProjectError),
    /// A tool is missing.
    Missing(MissingTool),
    /// A tool failed: mostly since the sources have an error.
    Tool(ToolError),
    /// A file cannot be read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A folder has a name that cargo cannot pass on.
    Folder(UnusableFolder),
    /// The build would write through a link.
    Link {
        /// The link.
        path: PathBuf,
    },
    /// The compiler's output is not a policy.
    Component(ComponentError),
    /// The started program cannot be stored.
    Snapshot(SnapshotError),
    /// The module begins with more memory than a sandbox has.
    Memory {
        /// Pages of 64 KiB.
        pages: u64,
    },
    /// The project has no module: its rules are in the policy file.
    NothingToBuild,
}

impl fmt::Display for PolicyBuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project(error) => error.fmt(f),
            Self::Missing(error) => error.fmt(f),
            Self::Tool(error) => error.fmt(f),
            Self::Io { path, .. } => write!(f, "failed to read or write `{}`", path.display()),
            Self::Folder(error) => error.fmt(f),
            Self::Link { path } => write!(
                f,
                "expected a file or folder of the project at `{}`, found a link\nhint: remove the link; a build writes \
                 only into the folder of the project",
                path.display()
            ),
            Self::Component(error) => error.fmt(f),
            Self::Snapshot(error) => error.fmt(f),
            Self::Memory { pages } => write!(
                f,
                "expected a module that begins with at most {PAGES} pages of memory (16 MiB), found {pages} \
                 pages\nhint: make the stack smaller: `-Wl,-z,stack-size=65536` for a C linker, `--stack 65536` \
                 for zig"
            ),
            Self::NothingToBuild => f.write_str(
                "expected a language with a compiler, found `cel`\nhint: there is nothing to build; run `wardset \
                 policy test`",
            ),
        }
    }
}

impl error::Error for PolicyBuildError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Tool(error) => error.source(),
            Self::Project(error) => error.source(),
            _ => None,
        }
    }
}

impl From<ProjectError> for PolicyBuildError {
    fn from(error: ProjectError) -> Self {
        Self::Project(error)
    }
}

impl From<UnusableFolder> for PolicyBuildError {
    fn from(error: UnusableFolder) -> Self {
        Self::Folder(error)
    }
}

impl From<ToolError> for PolicyBuildError {
    fn from(error: ToolError) -> Self {
        Self::Tool(error)
    }
}

impl From<ComponentError> for PolicyBuildError {
    fn from(error: ComponentError) -> Self {
        Self::Component(error)
    }
}

impl From<SnapshotError> for PolicyBuildError {
    fn from(error: SnapshotError) -> Self {
        Self::Snapshot(error)
    }
}

#[cfg(test)]
mod tests;
