//! Cases, and the files that have them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{error, fmt, fs, io};

use serde::Deserialize;
use serde_json::{Value, json};

use super::Expect;

/// A review, and the outcome that is expected.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// A sentence of behaviour.
    pub name: String,
    /// The policy's settings. See [`Case::settings`].
    #[serde(default)]
    pub settings: Value,
    /// The operation that the author requested.
    #[serde(default)]
    pub operation: CaseOperation,
    /// Whether the template may be changed.
    #[serde(default)]
    pub gate: CaseGate,
    /// The DaemonSet, or the part of it that matters.
    #[serde(default)]
    pub object: Value,
    /// The stored DaemonSet, on an update.
    #[serde(default)]
    pub old_object: Value,
    /// The file with the DaemonSet, relative to the case file. Instead of `object`.
    pub object_file: Option<PathBuf>,
    /// The file with the stored DaemonSet, relative to the case file. Instead of `old_object`.
    pub old_object_file: Option<PathBuf>,
    /// Files and folders with the policies that decide, relative to the case file. Default: the module under test, with
    /// `settings`.
    #[serde(default)]
    pub policies: Vec<PathBuf>,
    /// Whether each policy decides as with `mode: enforce`. Use it to test policies that still observe.
    #[serde(default)]
    pub enforce: bool,
    /// The labels of the namespace. Default: none.
    pub namespace_labels: Option<BTreeMap<String, String>>,
    /// The nodes of the cluster: the `items` of `kubectl get nodes -o yaml`. Default: unknown.
    pub nodes: Option<Vec<Value>>,
    /// The user who sends the request.
    pub user: Option<String>,
    /// The laws of the host's runner that do not hold for this case, each with the reason.
    #[serde(default)]
    pub exempt: BTreeMap<String, String>,
    /// The outcome that the policy must have.
    #[serde(default)]
    pub expect: Expect,
}

/// The operation, as Kubernetes writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CaseOperation {
    /// The object is new.
    #[default]
    Create,
    /// The object replaces a stored one.
    Update,
}

/// The template gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaseGate {
    /// The template may be changed.
    #[default]
    Open,
    /// The template must be left alone.
    Closed,
}

impl Case {
    /// Returns the settings: an empty object if the case has none.
    #[must_use]
    pub fn settings(&self) -> Value {
        if self.settings.is_null() { json!({}) } else { self.settings.clone() }
    }

    /// Returns the first field that only the real host honours, if the case has one: a native test of a module must
    /// refuse such a case.
    #[must_use]
    pub fn needs_host(&self) -> Option<&'static str> {
        [
            ("objectFile", self.object_file.is_some()),
            ("oldObjectFile", self.old_object_file.is_some()),
            ("policies", !self.policies.is_empty()),
            ("namespaceLabels", self.namespace_labels.is_some()),
            ("user", self.user.is_some()),
            ("expect.object", self.expect.object.is_some()),
            ("expect.skipped", !self.expect.skipped.is_empty()),
        ]
        .into_iter()
        .find_map(|(field, is_set)| is_set.then_some(field))
    }

    /// Checks that each part of the case has a meaning and none contradicts another.
    ///
    /// # Errors
    ///
    /// The first such part, and the fix.
    pub fn check(&self) -> Result<(), String> {
        if let Some(problem) = no_daemonset("object", &self.object) {
            return Err(problem);
        }
        if let Some(problem) = no_daemonset("oldObject", &self.old_object) {
            return Err(problem);
        }
        if self.operation == CaseOperation::Create
            && (!self.old_object.is_null() || self.old_object_file.is_some())
        {
            return Err("`oldObject` has no effect on a create; hint: set `operation: UPDATE`".to_owned());
        }
        if !self.policies.is_empty() && !self.settings.is_null() {
            return Err(
                "`settings` have no effect beside `policies`, which have their own; hint: remove one"
                    .to_owned(),
            );
        }
        if let Some((law, _)) = self.exempt.iter().find(|(_, reason)| reason.trim().is_empty()) {
            return Err(format!("`exempt.{law}`: expected a reason, found none"));
        }
        self.expect.consistency()
    }

    /// Returns the objects of a review that a host can decide on: the new object, and on an update the old one.
    ///
    /// Both get the version and kind of a DaemonSet if they have none. An old object that is missing equals the new
    /// one. The host closes the gate only for an update with an unchanged template, so a closed gate gives the old
    /// object the new template.
    #[must_use]
    pub fn objects(&self) -> (Value, Option<Value>) {
        let object = as_daemonset(&self.object);
        let stored = if self.old_object.is_null() { object.clone() } else { as_daemonset(&self.old_object) };
        let old = match (self.gate, self.operation) {
            (CaseGate::Open, CaseOperation::Create) => None,
            (CaseGate::Open, CaseOperation::Update) => Some(stored),
            (CaseGate::Closed, operation) => {
                let mut old = if operation == CaseOperation::Create { object.clone() } else { stored };
                if let Some(Value::Object(spec)) = old.get_mut("spec") {
                    spec.insert("template".to_owned(), object["spec"]["template"].clone());
                } else if let Value::Object(members) = &mut old {
                    members.insert("spec".to_owned(), json!({"template": object["spec"]["template"]}));
                }
                Some(old)
            }
        };
        (object, old)
    }
}

fn as_daemonset(object: &Value) -> Value {
    let mut object = object.clone();
    if object.is_null() {
        object = json!({});
    }
    if let Value::Object(members) = &mut object {
        for (field, value) in DAEMONSET {
            members.entry(field).or_insert_with(|| json!(value));
        }
    }
    object
}

/// The version and kind of a DaemonSet.
const DAEMONSET: [(&str, &str); 2] = [("apiVersion", "apps/v1"), ("kind", "DaemonSet")];

/// Returns the problem of an object that is no DaemonSet.
fn no_daemonset(field: &str, object: &Value) -> Option<String> {
    let found = match object {
        Value::Null => return None,
        Value::Object(members) => {
            return DAEMONSET.into_iter().find_map(|(member, expected)| {
                let found = members.get(member).filter(|found| *found != expected)?;
                Some(format!("`{field}.{member}`: expected `{expected}`, found `{found}`"))
            });
        }
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
    };
    Some(format!("`{field}`: expected a mapping, found {found}"))
}

/// Largest size of a case file, in bytes.
const MAX_FILE: u64 = 8 << 20;

/// A case file.
#[derive(Clone, Debug)]
pub struct CaseFile {
    /// The path of the file.
    pub path: PathBuf,
    /// The cases, one for each document.
    pub cases: Vec<Case>,
}

/// Reads all files of a folder that end in `.yaml` or `.yml`, in the order of their names. `parse` returns the cases
/// of a file's text, one for each document.
///
/// # Errors
///
/// A file is unreadable, has no cases or malformed ones, or the folder has no such file.
pub fn read<E: fmt::Display>(
    path: &Path,
    parse: impl Fn(&str) -> Result<Vec<Case>, E>,
) -> Result<Vec<CaseFile>, ReadError> {
    let unreadable = |path: &Path, source| ReadError::Unreadable { path: path.to_owned(), source };
    let mut paths = Vec::new();
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(|source| unreadable(path, source))? {
            let path = entry.map_err(|source| unreadable(path, source))?.path();
            if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
                paths.push(path);
            }
        }
    } else {
        paths.push(path.to_owned());
    }
    if paths.is_empty() {
        return Err(ReadError::Empty { path: path.to_owned() });
    }
    paths.sort();
    let read = |path: PathBuf| {
        let metadata = fs::metadata(&path).map_err(|source| unreadable(&path, source))?;
        // A pipe would block, and a huge file is no case.
        if !metadata.is_file() || metadata.len() > MAX_FILE {
            let problem = format!("expected a file of at most {MAX_FILE} bytes");
            return Err(ReadError::Malformed { path, problem });
        }
        let text = fs::read_to_string(&path).map_err(|source| unreadable(&path, source))?;
        match parse(&text) {
            Ok(cases) if cases.is_empty() => Err(ReadError::Empty { path }),
            Ok(cases) => Ok(CaseFile { path, cases }),
            Err(error) => Err(ReadError::Malformed { path, problem: error.to_string() }),
        }
    };
    paths.into_iter().map(read).collect()
}

/// The reason why case files are not readable.
#[derive(Debug)]
pub enum ReadError {
    /// The file or folder is not readable.
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file has no cases.
    Malformed {
        /// The file.
        path: PathBuf,
        /// The parser's message.
        problem: String,
    },
    /// The folder has no case file, or the file has no case.
    Empty {
        /// The file or folder.
        path: PathBuf,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, .. } => write!(f, "failed to read `{}`", path.display()),
            Self::Malformed { path, problem } => write!(f, "failed to read `{}`: {problem}", path.display()),
            Self::Empty { path } => write!(f, "expected cases in `{}`, found none", path.display()),
        }
    }
}

impl error::Error for ReadError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Malformed { .. } | Self::Empty { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(text: &str) -> Result<Case, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn a_case_creates_with_an_open_gate_unless_it_says_otherwise() {
        let case = case(r#"{"name": "n"}"#).unwrap();
        assert_eq!(
            (case.operation, case.gate, case.settings()),
            (CaseOperation::Create, CaseGate::Open, json!({}))
        );
        assert_eq!(case.objects(), (json!({"apiVersion": "apps/v1", "kind": "DaemonSet"}), None));
    }

    #[test]
    fn refuses_unknown_fields_and_words() {
        for text in [
            r#"{"name": "n", "objects": {}}"#,
            r#"{"name": "n", "operation": "DELETE"}"#,
            r#"{"name": "n", "gate": "ajar"}"#,
            r#"{"name": "n", "expect": {"denial": []}}"#,
            r#"{"object": {}}"#,
        ] {
            case(text).expect_err(text);
        }
    }

    #[test]
    fn parts_without_a_meaning_are_errors() {
        for (text, expected) in [
            (r#"{"name": "n", "object": "text"}"#, "`object`: expected a mapping, found a string"),
            (r#"{"name": "n", "object": {"kind": "Pod"}}"#, "`object.kind`: expected `DaemonSet`"),
            (r#"{"name": "n", "operation": "UPDATE", "oldObject": 5}"#, "`oldObject`: expected a mapping"),
            (r#"{"name": "n", "oldObject": {}}"#, "hint: set `operation: UPDATE`"),
            (r#"{"name": "n", "policies": ["p"], "settings": {}}"#, "`settings` have no effect"),
            (r#"{"name": "n", "exempt": {"additive": " "}}"#, "`exempt.additive`: expected a reason"),
            (r#"{"name": "n", "expect": {"error": "e", "decision": "allowed"}}"#, "`expect.error`"),
            (r#"{"name": "n", "expect": {"decision": "denied", "object": "x"}}"#, "`expect.object`"),
        ] {
            let problem = case(text).unwrap().check().unwrap_err();
            assert!(problem.contains(expected), "{text}: {problem}");
        }
        case(r#"{"name": "n", "object": {"spec": {}}}"#).unwrap().check().unwrap();
    }

    #[test]
    fn objects_of_any_shape_are_read_without_a_panic() {
        for text in [
            r#"{"name": "n", "object": "text"}"#,
            r#"{"name": "n", "gate": "closed", "object": {"spec": "text"}}"#,
            r#"{"name": "n", "gate": "closed", "operation": "UPDATE", "object": {}, "oldObject": {"spec": [1]}}"#,
        ] {
            let (object, _) = case(text).unwrap().objects();
            assert!(!object.is_null(), "{text}");
        }
    }

    #[test]
    fn an_update_without_an_old_object_has_the_new_one_as_the_old_one() {
        let case = case(r#"{"name": "n", "operation": "UPDATE", "object": {"metadata": {"name": "a"}}}"#);
        let (object, old) = case.unwrap().objects();
        assert_eq!(old, Some(object));
    }

    #[test]
    fn a_closed_gate_has_an_old_object_with_the_new_template() {
        let (new, old) = (json!({"spec": {"template": 1}}), json!({"spec": {"template": 2, "other": 3}}));
        let case = |operation| Case {
            gate: CaseGate::Closed,
            operation,
            object: new.clone(),
            old_object: old.clone(),
            ..Case::default()
        };
        let spec = |operation| case(operation).objects().1.unwrap()["spec"].clone();
        assert_eq!(spec(CaseOperation::Update), json!({"template": 1, "other": 3}));
        assert_eq!(spec(CaseOperation::Create), json!({"template": 1}));
    }

    #[test]
    fn a_folder_without_cases_is_an_error() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let parse = |_: &str| Ok::<_, io::Error>(vec![Case::default()]);
        let error = read(&folder, parse).unwrap_err();
        assert_eq!(error.to_string(), format!("expected cases in `{}`, found none", folder.display()));
    }
}
