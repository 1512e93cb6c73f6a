//! The project's own file, `wardset.yaml`.

use std::path::{Component, Path, PathBuf};
use std::{error, fmt, fs, io};

use serde::Deserialize;

use crate::Language;

/// The name of the file in the project's folder.
pub const PROJECT_FILE: &str = "wardset.yaml";

/// The description of a project.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// The language of the sources.
    pub language: Language,
    /// The name of the policy.
    pub name: String,
    /// The module's path, relative to the folder of the project.
    pub output: PathBuf,
}

impl Project {
    /// Reads the file of the project in `folder`.
    ///
    /// # Errors
    ///
    /// The folder has no such file, or the file is not of this form.
    pub fn read(folder: &Path) -> Result<Self, ProjectError> {
        let path = folder.join(PROJECT_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ProjectError::Missing { folder: folder.to_owned() });
            }
            Err(source) => return Err(ProjectError::Unreadable { path, source }),
        };
        let project: Self = serde_saphyr::from_str(&text)
            .map_err(|error| ProjectError::Malformed { path: path.clone(), problem: error.to_string() })?;
        check_name(&project.name)
            .map_err(|problem| ProjectError::Malformed { path: path.clone(), problem })?;
        let is_inside = project.output.components().all(|part| matches!(part, Component::Normal(_)));
        if !is_inside || project.output.extension().is_none_or(|end| end != "wasm") {
            let problem = format!(
                "expected `output` to be a path within the project that ends in `.wasm`, found `{}`",
                project.output.display()
            );
            return Err(ProjectError::Malformed { path, problem });
        }
        Ok(project)
    }
}

/// Checks the name of a policy.
///
/// # Errors
///
/// The expected form, and the name that was found.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let starts_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if starts_well && name.len() <= 63 && name.split('-').all(is_word) {
        return Ok(());
    }
    Err(format!(
        "expected a name of lower-case words joined by `-`, such as `team-label`, with at most 63 characters, found \
         `{name}`"
    ))
}

/// The reason why a project's file is not usable.
#[derive(Debug)]
pub enum ProjectError {
    /// The folder has no such file.
    Missing {
        /// The folder.
        folder: PathBuf,
    },
    /// The file is not readable.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is not of the form.
    Malformed {
        /// The file.
        path: PathBuf,
        /// The expected and the found value.
        problem: String,
    },
}

impl fmt::Display for ProjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { folder } => write!(
                f,
                "expected `{PROJECT_FILE}` in `{}`, found none\nhint: run the command in the folder of a policy, or \
                 make one with `wardset policy new NAME --lang rust`",
                folder.display()
            ),
            Self::Unreadable { path, .. } => write!(f, "failed to read `{}`", path.display()),
            Self::Malformed { path, problem } => write!(
                f,
                "failed to read `{}`: {problem}\nhint: the file has `language`, `name` and `output`",
                path.display()
            ),
        }
    }
}

impl error::Error for ProjectError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Missing { .. } | Self::Malformed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Project, ProjectError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(PROJECT_FILE), text).unwrap();
        Project::read(folder.path())
    }

    #[test]
    fn reads_language_name_and_output() {
        let project = read("language: ts\nname: a-b\noutput: build/a-b.wasm\n").unwrap();
        let output = PathBuf::from("build/a-b.wasm");
        assert_eq!(project, Project { language: Language::Ts, name: "a-b".to_owned(), output });
    }

    #[test]
    fn refuses_other_fields_languages_names_and_paths() {
        for (text, part) in [
            ("language: cobol\nname: a\noutput: a.wasm\n", "cobol"),
            ("language: c\nname: A\noutput: a.wasm\n", "found `A`"),
            ("language: c\nname: a\noutput: ../a.wasm\n", "found `../a.wasm`"),
            ("language: c\nname: a\noutput: /a.wasm\n", "found `/a.wasm`"),
            ("language: c\nname: a\noutput: a\n", "found `a`"),
            ("language: c\nname: a\noutput: a.wasm\nx: 1\n", "x"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("hint: "), "{error}");
        }
    }

    #[test]
    fn a_folder_without_the_file_is_an_error_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let error = Project::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("expected `wardset.yaml`") && error.contains("wardset policy new"), "{error}");
    }

    #[test]
    fn names_are_lower_case_words() {
        for name in ["a", "team-label", "a1-2b"] {
            assert_eq!(check_name(name), Ok(()));
        }
        for name in ["", "A", "1a", "a_b", "-a", "a-", "a--b", "a/b", "é", &"a".repeat(64)] {
            assert!(check_name(name).unwrap_err().contains(&format!("found `{name}`")));
        }
    }
}
