//! The native test harness: a document in memory, and a runner of case files.
//!
//! It runs the policy's own code without a sandbox and is as strict as a host. A read outside the manifest's `reads`
//! panics, and a change outside its `writes` fails. Each case must also keep the laws of mutation. A patch applies,
//! only adds values, does not touch the template if the gate is closed, and is empty on its own result.

use std::{env, fs, path::Path};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Change, ClusterData, Denial, DenialCode, Edit, Exported, Level, Operation, Policy, Request, Review,
    TemplateGate, Verdict, Warning, pointer::is_within,
};

/// The document under review, in memory.
#[derive(Clone, Debug)]
pub struct Document {
    object: Value,
    old_object: Value,
    reads: Vec<String>,
}

impl Document {
    pub(crate) fn object(&self, pointer: &str) -> Option<String> {
        self.read(&self.object, pointer)
    }

    pub(crate) fn old_object(&self, pointer: &str) -> Option<String> {
        self.read(&self.old_object, pointer)
    }

    pub(crate) fn data(&self, what: ClusterData) -> Option<String> {
        panic!("{what:?} is not part of a case file")
    }

    // Log lines are not part of a verdict.
    pub(crate) fn log(&self, _level: Level, _message: &str) {}

    fn read(&self, object: &Value, pointer: &str) -> Option<String> {
        let is_declared = self.reads.iter().any(|prefix| is_within(pointer, prefix));
        assert!(is_declared, "the manifest's `reads` {:?} do not cover `{pointer}`", self.reads);
        object.pointer(pointer).map(Value::to_string)
    }
}

/// Makes a review of a new `object` with an open gate. A policy may read all of it.
#[must_use]
pub fn review(object: &Value) -> Review {
    let case = Case { object: object.clone(), ..Case::default() };
    case.review(&[""])
}

/// Applies the changes to `object`.
///
/// # Errors
/// Why they do not apply.
pub fn apply(object: &Value, changes: &[Change]) -> Result<Value, String> {
    let operations: Vec<Value> = changes.iter().map(|change| operation(&change.edit)).collect();
    let patch: json_patch::Patch =
        serde_json::from_value(Value::Array(operations)).map_err(|error| error.to_string())?;
    let mut patched = object.clone();
    json_patch::patch(&mut patched, &patch).map_err(|error| error.to_string())?;
    Ok(patched)
}

/// One case file: a review, and the verdict that is expected.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// A sentence of behaviour.
    pub name: String,
    /// The policy's settings.
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
    /// The expected answer of the policy.
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

/// The expected outcome: a verdict, or one of the errors.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expect {
    /// All denials, in order.
    #[serde(default)]
    pub denials: Vec<ExpectedDenial>,
    /// All JSON Patch operations, in order.
    #[serde(default)]
    pub changes: Vec<Value>,
    /// All warnings, in order.
    #[serde(default)]
    pub warnings: Vec<ExpectedWarning>,
    /// All notes, in order.
    #[serde(default)]
    pub notes: Vec<ExpectedWarning>,
    /// A part of the error that `evaluate` returns.
    pub error: Option<String>,
    /// A part of the error that `validate-settings` returns.
    pub settings_error: Option<String>,
}

/// A denial that is expected.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedDenial {
    /// `forbidden` or `invalid`.
    pub code: String,
    /// The denial's pointer.
    pub pointer: String,
    /// A part of the message or of the fix.
    #[serde(default)]
    pub contains: String,
}

/// An expected warning or note.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedWarning {
    /// The warning's pointer.
    pub pointer: String,
    /// A part of the message.
    #[serde(default)]
    pub contains: String,
}

impl Case {
    /// Runs the policy on the case, and compares the outcome with the expectation.
    ///
    /// # Errors
    /// The difference, or the broken law.
    ///
    /// # Panics
    /// If the policy reads beyond its manifest.
    pub fn run<P: Policy>(&self) -> Result<(), String> {
        let settings = self.settings().to_string();
        match (Exported::<P>::check_settings(&settings), &self.expect.settings_error) {
            (Ok(()), None) => {}
            (Err(error), Some(part)) if error.contains(part) => return Ok(()),
            (found, expected) => return Err(format!("settings: expected {expected:?}, found {found:?}")),
        }
        let review = self.review(P::MANIFEST.reads);
        let verdict = match (Exported::<P>::judge(&review, &settings), &self.expect.error) {
            (Ok(verdict), None) => verdict,
            (Err(error), Some(part)) if error.contains(part) => return Ok(()),
            (found, expected) => return Err(format!("expected error {expected:?}, found {found:?}")),
        };
        self.expect.compare(&verdict)?;
        self.keeps_the_laws::<P>(&verdict)
    }

    fn settings(&self) -> Value {
        if self.settings.is_null() { json!({}) } else { self.settings.clone() }
    }

    fn review(&self, reads: &[&str]) -> Review {
        let text =
            |pointer| self.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let request = Request {
            operation: match self.operation {
                CaseOperation::Create => Operation::Create,
                CaseOperation::Update => Operation::Update,
            },
            kind: "DaemonSet".to_owned(),
            name: text("/metadata/name"),
            namespace: text("/metadata/namespace"),
            user: "author".to_owned(),
            dry_run: false,
            template: match self.gate {
                CaseGate::Open => TemplateGate::Open,
                CaseGate::Closed => TemplateGate::Closed,
            },
        };
        let document = Document {
            object: self.object.clone(),
            old_object: self.old_object.clone(),
            reads: reads.iter().map(|&prefix| prefix.to_owned()).collect(),
        };
        Review::new(request, document)
    }

    fn keeps_the_laws<P: Policy>(&self, verdict: &Verdict) -> Result<(), String> {
        for Change { edit, .. } in &verdict.changes {
            let Edit::Add(placed) = edit else { return Err(format!("{edit:?} does more than add")) };
            let path = &placed.path;
            if !P::MANIFEST.writes.iter().any(|prefix| is_within(path, prefix)) {
                return Err(format!("the manifest's `writes` do not cover `{path}`"));
            }
            if self.gate == CaseGate::Closed && is_within(path, "/spec/template") {
                return Err(format!("changes `{path}` though the gate is closed"));
            }
        }
        if !verdict.denials.is_empty() {
            return Ok(());
        }
        let object = apply(&self.object, &verdict.changes)?;
        let again = Self { object, ..self.clone() };
        let again = Exported::<P>::judge(&again.review(P::MANIFEST.reads), &self.settings().to_string())?;
        if again.denials.is_empty() && again.changes.is_empty() {
            Ok(())
        } else {
            Err(format!("is not idempotent: the second time it says {again:?}"))
        }
    }
}

impl Expect {
    fn compare(&self, verdict: &Verdict) -> Result<(), String> {
        let changes: Vec<Value> = verdict.changes.iter().map(|change| operation(&change.edit)).collect();
        let denials = self.denials.len() == verdict.denials.len()
            && self.denials.iter().zip(&verdict.denials).all(|(expected, found)| expected.fits(found));
        let warnings = self.warnings.len() == verdict.warnings.len()
            && self.warnings.iter().zip(&verdict.warnings).all(|(expected, found)| expected.fits(found));
        let notes = self.notes.len() == verdict.notes.len()
            && self.notes.iter().zip(&verdict.notes).all(|(expected, found)| {
                expected.pointer == found.pointer && found.message.contains(&expected.contains)
            });
        if denials && warnings && notes && changes == self.changes {
            return Ok(());
        }
        Err(format!(
            "expected {self:#?}\nfound changes {}\n{:#?}",
            Value::Array(changes),
            (&verdict.denials, &verdict.warnings, &verdict.notes)
        ))
    }
}

impl ExpectedDenial {
    fn fits(&self, found: &Denial) -> bool {
        let code = match found.code {
            DenialCode::Forbidden => "forbidden",
            DenialCode::Invalid => "invalid",
        };
        let contains = found.message.contains(&self.contains) || found.fix.contains(&self.contains);
        self.code == code && self.pointer == found.pointer && contains
    }
}

impl ExpectedWarning {
    fn fits(&self, found: &Warning) -> bool {
        self.pointer == found.pointer && found.message.contains(&self.contains)
    }
}

fn operation(edit: &Edit) -> Value {
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    match edit {
        Edit::Add(placed) => json!({"op": "add", "path": placed.path, "value": value(&placed.value)}),
        Edit::Replace(placed) => json!({"op": "replace", "path": placed.path, "value": value(&placed.value)}),
        Edit::Remove(path) => json!({"op": "remove", "path": path}),
    }
}

/// Runs each `*.yaml` in `directory`, and panics with all differences.
///
/// # Panics
/// If a case differs or cannot be read, or if there is none.
pub fn run_cases<P: Policy>(directory: &Path) {
    let files = fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut files: Vec<_> = files.filter_map(|file| file.ok().map(|file| file.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty(), "no case in {}", directory.display());
    let differences: Vec<String> = files
        .iter()
        .filter_map(|file| {
            let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            let case: Case =
                serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            let difference = case.run::<P>().err()?;
            Some(format!("{} ({}): {difference}", file.display(), case.name))
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

/// Compares the schema file with the schema of the settings type; `BLESS=1` rewrites the file.
///
/// # Panics
/// If they differ, or if the manifest has another schema than the file.
pub fn check_schema<P: Policy<Settings: JsonSchema>>(file: &Path) {
    let schema = schemars::schema_for!(P::Settings);
    let mut expected = serde_json::to_string_pretty(&schema).unwrap_or_else(|e| panic!("{e}"));
    expected.push('\n');
    if env::var_os("BLESS").is_some() {
        fs::write(file, expected).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        return;
    }
    assert_eq!(P::MANIFEST.settings_schema, expected, "{}: run the tests with BLESS=1", file.display());
}

/// Makes the tests of a policy: its case files in `cases/`, and its `settings.schema.json`. `$root` is their folder,
/// by default `env!("CARGO_MANIFEST_DIR")`.
#[macro_export]
macro_rules! test_policy {
    ($policy:ty) => {
        $crate::test_policy!($policy, env!("CARGO_MANIFEST_DIR"));
    };
    ($policy:ty, $root:expr) => {
        #[cfg(test)]
        mod policy_tests {
            #[test]
            fn answers_as_its_case_files_expect() {
                $crate::testing::run_cases::<$policy>(&std::path::Path::new($root).join("cases"));
            }

            #[test]
            fn has_the_schema_of_its_settings_type() {
                $crate::testing::check_schema::<$policy>(
                    &std::path::Path::new($root).join("settings.schema.json"),
                );
            }
        }
    };
}
