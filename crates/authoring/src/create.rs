//! Writes the files of a new project.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{error, fmt, fs, io};

use crate::contract::CONTRACT;
use crate::{Language, PolicyKind, declarations, embedded, project, template};

/// Writes a new project to `folder`, and returns the paths of its files within the folder.
///
/// # Errors
///
/// The name is not usable, the folder is not empty, or a file cannot be written.
pub fn create(
    folder: &Path,
    name: &str,
    language: Language,
    kind: PolicyKind,
) -> Result<Vec<PathBuf>, CreateError> {
    let files = files(name, language, kind)?;
    let failed = |path: &Path, source| CreateError::Io { path: path.to_owned(), source };
    match fs::read_dir(folder) {
        Ok(entries) => {
            for entry in entries {
                let found = entry.map_err(|source| failed(folder, source))?.file_name();
                // A repository that was made before the project is no reason to refuse.
                if found != ".git" {
                    let found = found.to_string_lossy().into_owned();
                    return Err(CreateError::NotEmpty { folder: folder.to_owned(), found });
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(failed(folder, source)),
    }
    for (path, text) in &files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|source| failed(parent, source))?;
        }
        fs::write(&path, text).map_err(|source| failed(&path, source))?;
    }
    Ok(files.into_keys().map(PathBuf::from).collect())
}

/// Returns the files of a new project by their paths.
///
/// # Errors
///
/// The name is not usable.
pub fn files(
    name: &str,
    language: Language,
    kind: PolicyKind,
) -> Result<BTreeMap<String, String>, CreateError> {
    project::check_name(name).map_err(|problem| CreateError::Name { problem })?;
    if language == Language::Rust && RESERVED.contains(&name) {
        let problem = format!("expected a name that cargo accepts for a package, found `{name}`");
        return Err(CreateError::Name { problem });
    }
    let type_name: String = name.split('-').map(capitalized).collect();
    let (kinds, extra) = (kind.word(), extra_files(language));
    let contract = if language == Language::Rust { "vendor/sdk/wit/policy.wit" } else { "wit/policy.wit" };
    let values = [
        ("name", name),
        ("Name", &type_name),
        ("language", language.word()),
        ("language_title", language.title()),
        ("setup", language.setup().unwrap_or_default()),
        ("source", language.source()),
        ("contract", contract),
        ("extra_files", extra),
        ("kind", kinds),
    ];
    let mut files = BTreeMap::new();
    let common = if language == Language::Cel { "cel" } else { "common" };
    for folder in [common, language.word()] {
        for (path, text) in embedded::folder(embedded::TEMPLATES, folder) {
            if let Some(path) = template::path(path, kind) {
                // An empty value leaves an empty line at the end, or two in a row.
                let text = template::render(text, kind, &values).replace("```sh\n\n", "```sh\n");
                files.insert(path, format!("{}\n", text.trim_end_matches('\n')));
            }
        }
    }
    // The Rust SDK has the contract.
    if !matches!(language, Language::Cel | Language::Rust) {
        files.insert("wit/policy.wit".to_owned(), CONTRACT.to_owned());
    }
    match language {
        Language::Rust => vendor(&mut files),
        Language::Ts => {
            files.insert("types/wardset.d.ts".to_owned(), declarations::declarations());
        }
        Language::Go => add_bindings(&mut files, "go", "internal/wardset"),
        Language::C | Language::Zig => add_bindings(&mut files, "c", "bindings"),
        Language::Python | Language::Cel => {}
    }
    Ok(files)
}

/// Names that cargo refuses for a package, or that name a dependency.
const RESERVED: [&str; 59] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "schemars",
    "self",
    "serde",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "wardset-policy-sdk",
    "where",
    "while",
    "yield",
];

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

/// Returns the rows of the README for the files that only this language has.
fn extra_files(language: Language) -> &'static str {
    match language {
        Language::Rust => "| `vendor/` | the Rust SDK, until it is on crates.io |",
        Language::Ts => {
            "| `types/wardset.d.ts` | the types of the contract |\n| `src/wardset.ts` | typed reads of the object |"
        }
        Language::Go => "| `internal/wardset/` | the types of the contract and typed reads of the object |",
        Language::Python => "| `gen/` | types for editors; the build writes them |",
        Language::C => {
            "| `bindings/` | the types of the contract |\n| `src/json.h` | a reader of JSON text |"
        }
        Language::Zig => "| `bindings/` | the types of the contract |",
        Language::Cel => "",
    }
}

fn add_bindings(files: &mut BTreeMap<String, String>, language: &str, folder: &str) {
    for (path, text) in embedded::folder(embedded::BINDINGS, language) {
        files.insert(format!("{folder}/{path}"), text.to_owned());
    }
}

/// Adds the Rust SDK, as a workspace of its own below `vendor`.
fn vendor(files: &mut BTreeMap<String, String>) {
    files.insert("vendor/sdk/Cargo.toml".to_owned(), embedded::SDK_MANIFEST.to_owned());
    files.insert("vendor/sdk/wit/policy.wit".to_owned(), CONTRACT.to_owned());
    for (path, text) in embedded::SDK {
        files.insert(format!("vendor/sdk/src/{path}"), (*text).to_owned());
    }
    // The members differ; the profile counts only in the project's own manifest.
    let workspace = embedded::SDK_WORKSPACE.split("\n# A sandbox is discarded").next().unwrap_or_default();
    let lines = workspace.lines().map(|line| match line.split_once(" = ") {
        Some(("members", _)) => "members = [\"sdk\"]",
        _ => line,
    });
    let lines: Vec<&str> = lines.skip(1).collect();
    let text =
        format!("# The Rust SDK of Wardset, as `wardset policy new` wrote it.\n{}\n", lines.join("\n"));
    files.insert("vendor/Cargo.toml".to_owned(), text);
}

/// The reason why a project was not created.
#[derive(Debug)]
pub enum CreateError {
    /// The name is not usable.
    Name {
        /// The expected form and the found name.
        problem: String,
    },
    /// The folder has files.
    NotEmpty {
        /// The folder.
        folder: PathBuf,
        /// One of its files.
        found: String,
    },
    /// A file or folder cannot be read or written.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { problem } => write!(f, "{problem}\nhint: choose another name"),
            Self::NotEmpty { folder, found } => write!(
                f,
                "expected `{}` to be missing or empty, found `{found}` in it\nhint: choose another name, or remove \
                 the folder",
                folder.display()
            ),
            Self::Io { path, .. } => write!(f, "failed to write `{}`", path.display()),
        }
    }
}

impl error::Error for CreateError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Name { .. } | Self::NotEmpty { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
