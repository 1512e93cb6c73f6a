//! Reads the project's own file, `wardset.yaml`.

use std::path::{Component, Path, PathBuf};
use std::{error, fmt, fs, io};

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::Language;

/// The name of the file in the project's folder.
pub const PROJECT_FILE: &str = "wardset.yaml";

/// The description of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).map_err(|problem| ProjectError::Malformed { path, problem }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(ProjectError::Missing { folder: folder.to_owned() })
            }
            Err(source) => Err(ProjectError::Unreadable { path, source }),
        }
    }

    fn parse(text: &str) -> Result<Self, ProjectProblem> {
        // The parser's own message is about YAML, and not about this file.
        let Fields(fields) = serde_saphyr::from_str(text).map_err(|error| {
            let line = error.location().map_or(1, |location| location.line());
            let line = usize::try_from(line).unwrap_or(1).clamp(1, text.lines().count().max(1));
            let found = text.lines().nth(line - 1).unwrap_or_default().trim();
            ProjectProblem {
                line,
                expected: "a field such as `name: team-label`, each once".to_owned(),
                found: if found.is_empty() { "no field".to_owned() } else { format!("`{found}`") },
            }
        })?;
        let fields = Read { text, fields };
        fields.refuse_others()?;
        let (language, name, output) = (fields.get("language")?, fields.get("name")?, fields.get("output")?);
        let output_path = PathBuf::from(output);
        let is_inside = output_path.components().all(|part| matches!(part, Component::Normal(_)));
        if !is_inside || output_path.extension().is_none_or(|end| end != "wasm") {
            let expected = "a path within the project that ends in `.wasm`";
            return Err(fields.problem("output", expected, &format!("`{output}`")));
        }
        if !is_name(name) {
            return Err(fields.problem("name", NAME_FORM, &format!("`{name}`")));
        }
        let language = language.parse().map_err(|_| {
            let expected = format!("one of {}", Language::ALL.map(Language::word).join(", "));
            fields.problem("language", &expected, &format!("`{language}`"))
        })?;
        Ok(Self { language, name: name.to_owned(), output: output_path })
    }
}

/// The fields of a file, and its text for the numbers of lines.
struct Read<'t> {
    text: &'t str,
    fields: Vec<(String, Value)>,
}

impl Read<'_> {
    /// Returns the text of a field.
    fn get(&self, field: &str) -> Result<&str, ProjectProblem> {
        match self.fields.iter().find(|(name, _)| name == field) {
            Some((_, Value::Text(text))) => Ok(text),
            Some((_, Value::Other(found))) => Err(self.problem(field, "a text", found)),
            None => {
                let line = self.text.lines().count().max(1);
                let (expected, found) = (format!("the field `{field}`"), "the end of the file".to_owned());
                Err(ProjectProblem { line, expected, found })
            }
        }
    }

    fn refuse_others(&self) -> Result<(), ProjectProblem> {
        let known = ["language", "name", "output"];
        let Some((name, _)) = self.fields.iter().find(|(name, _)| !known.contains(&name.as_str())) else {
            return Ok(());
        };
        let expected = "only the fields `language`, `name` and `output`".to_owned();
        Err(ProjectProblem { line: self.line(name), expected, found: format!("`{name}`") })
    }

    fn problem(&self, field: &str, expected: &str, found: &str) -> ProjectProblem {
        let expected = format!("`{field}` to be {expected}");
        ProjectProblem { line: self.line(field), expected, found: found.to_owned() }
    }

    /// Returns the line of a field. The file is a mapping of single lines, so the first one with the name is it.
    fn line(&self, field: &str) -> usize {
        let starts = |line: &str| line.trim_start_matches([' ', '"', '\'']).starts_with(field);
        self.text.lines().position(starts).map_or(1, |at| at + 1)
    }
}

/// The fields of a file, in order.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// The value of a field.
enum Value {
    Text(String),
    /// The kind of another value.
    Other(&'static str),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }

            // A policy may be called `true`.
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Text(value.to_string()))
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Value, E> {
                Ok(Value::Other("a number"))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Value, E> {
                Ok(Value::Other("a number"))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Value, E> {
                Ok(Value::Other("a number"))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
                Ok(Value::Other("nothing"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Value::Other("a list"))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Value::Other("a mapping"))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// Checks the name of a policy.
///
/// # Errors
///
/// The expected form, and the name that was found.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if is_name(name) { Ok(()) } else { Err(format!("expected {NAME_FORM}, found `{name}`")) }
}

/// The form of a policy's name.
const NAME_FORM: &str =
    "a name of lower-case words joined by `-`, such as `team-label`, with at most 63 characters";

fn is_name(name: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let starts_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    starts_well && name.len() <= 63 && name.split('-').all(is_word)
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
        /// The line with the first problem.
        problem: ProjectProblem,
    },
}

/// A problem in a project's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectProblem {
    /// The line, from 1.
    pub line: usize,
    /// The expected value.
    pub expected: String,
    /// The found value.
    pub found: String,
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
            Self::Malformed { path, problem: ProjectProblem { line, expected, found } } => write!(
                f,
                "failed to read `{}` at line {line}: expected {expected}, found {found}\nhint: the file has the \
                 fields `language`, `name` and `output`, a line each",
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
    fn an_error_has_the_line_and_the_expected_and_the_found_value() {
        for (text, message) in [
            (
                "language: cobol\nname: a\noutput: a.wasm\n",
                "at line 1: expected `language` to be one of rust, ts, go, python, c, zig, cel, found `cobol`",
            ),
            (
                "# x\nlanguage: c\nname: A\noutput: a.wasm\n",
                "at line 3: expected `name` to be a name of lower-case",
            ),
            (
                "language: c\nname: a\noutput: ../a.wasm\n",
                "at line 3: expected `output` to be a path within the project that ends in `.wasm`, found `../a.wasm`",
            ),
            ("language: c\nname: a\noutput: /a.wasm\n", "found `/a.wasm`"),
            ("language: c\nname: a\noutput: a\n", "found `a`"),
            (
                "language: c\nname: a\noutput: a.wasm\nx: 1\n",
                "at line 4: expected only the fields `language`, `name` and `output`, found `x`",
            ),
            (
                "language: c\noutput: a.wasm\n",
                "at line 2: expected the field `name`, found the end of the file",
            ),
            (
                "language: c\nname: 5\noutput: a.wasm\n",
                "at line 2: expected `name` to be a text, found a number",
            ),
            ("language: c\nname: [a]\noutput: a.wasm\n", "expected `name` to be a text, found a list"),
            ("language: c\nname:\noutput: a.wasm\n", "expected `name` to be a text, found nothing"),
            ("language: c\nname: {a: b}\noutput: a.wasm\n", "expected `name` to be a text, found a mapping"),
            (
                "just words\n",
                "at line 1: expected a field such as `name: team-label`, each once, found `just words`",
            ),
            ("", "at line 1: expected the field `language`, found the end of the file"),
            ("language: c\nname: a\nname: b\noutput: a.wasm\n", "at line 3: expected a field"),
            ("language: c\nname: \"a\noutput: a.wasm\n", "expected a field such as `name: team-label`"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text:?}: {error}");
            assert!(error.contains("wardset.yaml` at line ") && error.contains("\nhint: "), "{error}");
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
