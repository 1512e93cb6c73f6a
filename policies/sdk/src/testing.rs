//! The native test harness: a document in memory, and a runner of case files.
//!
//! It runs the policy's own code without a sandbox and is as strict as a host. A read outside the manifest's `reads`
//! panics, and a change outside its `writes` fails. Each case must also keep the laws of mutation. A patch applies,
//! only adds values, does not touch the template if the gate is closed, and is empty on its own result.

use std::{env, fs, path::Path};

use schemars::JsonSchema;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::{
    Change, ClusterData, Denial, DenialCode, Edit, Exported, Level, NodeCounts, Operation, PodEffect, Policy,
    Refusal, Request, Review, TemplateGate, Verdict,
    cases::{self, Case, CaseAnswer, CaseGate, CaseOutcome, Remark},
    placement::{self, BlastRadius, DaemonSet, KubernetesVersion, Node, ObjectChange, Placed, Update},
    pointer::is_within,
};

/// The document under review, in memory.
#[derive(Clone, Debug)]
pub struct Document {
    object: Value,
    old_object: Value,
    reads: Vec<String>,
    /// None if the host does not know them.
    namespace_labels: Option<Value>,
    /// Nodes as the API server stores them; none if the host does not know them.
    nodes: Option<Vec<Value>>,
}

impl Document {
    pub(crate) fn object(&self, pointer: &str) -> Option<String> {
        self.read(&self.object, pointer)
    }

    pub(crate) fn old_object(&self, pointer: &str) -> Option<String> {
        self.read(&self.old_object, pointer)
    }

    pub(crate) fn data(&self, what: ClusterData) -> Option<String> {
        match what {
            ClusterData::NamespaceLabels => self.namespace_labels.as_ref().map(Value::to_string),
            ClusterData::Nodes => None,
        }
    }

    pub(crate) fn node_counts(&self, edits: &[Edit]) -> Option<NodeCounts> {
        let change = |edit: &Edit| Change { edit: edit.clone(), reason: String::new() };
        let changes: Vec<Change> = edits.iter().map(change).collect();
        let object = apply(&self.object, &changes).unwrap_or_else(|error| panic!("an edit: {error}"));
        self.counts(&object)
    }

    pub(crate) fn old_node_counts(&self) -> Option<NodeCounts> {
        if self.old_object.is_null() { None } else { self.counts(&self.old_object) }
    }

    pub(crate) fn pod_effect(&self) -> Option<PodEffect> {
        let (nodes, version) = (self.nodes()?, KubernetesVersion::default());
        let new = DaemonSet::deserialize(&self.object).ok()?;
        let old = match &self.old_object {
            Value::Null => None,
            old => Some(DaemonSet::deserialize(old).ok()?),
        };
        let template = |object: &Value| object.pointer("/spec/template").cloned();
        let same = old.is_some() && template(&self.object) == template(&self.old_object);
        let change = if same { ObjectChange::Metadata } else { ObjectChange::Template };
        let answers = |object: &DaemonSet<'_>| object.spec.template.spec.answers(&nodes, version);
        let (before, after) = (old.as_ref().map(answers), answers(&new));
        let old = old.as_ref().zip(before.as_ref()).map(|(object, answers)| Placed { object, answers });
        let update = Update { title: "", old, new: Placed { object: &new, answers: &after }, change };
        let radius = BlastRadius::of(&update, &nodes, None);
        Some(PodEffect {
            gained: number(radius.gained),
            lost: number(radius.lost),
            created: number(radius.created),
            deleted: number(radius.deleted),
            restarted: number(radius.restarted + radius.replaced_at_once),
            obstacle: radius.obstacle.map(|obstacle| obstacle.sentence()),
        })
    }

    fn counts(&self, object: &Value) -> Option<NodeCounts> {
        let nodes = self.nodes()?;
        let object = DaemonSet::deserialize(object).ok()?;
        let answers = object.spec.template.spec.answers(&nodes, KubernetesVersion::default());
        let counts = placement::NodeCounts::of(&nodes, &answers);
        let refusals = counts.refusals.into_iter();
        Some(NodeCounts {
            nodes: number(counts.nodes),
            runs: number(counts.runs),
            refusals: refusals
                .map(|refusal| Refusal { nodes: number(refusal.nodes), reason: refusal.reason })
                .collect(),
        })
    }

    fn nodes(&self) -> Option<Vec<Node<'_>>> {
        let node = |node| Node::deserialize(node).unwrap_or_else(|error| panic!("a node: {error}"));
        Some(self.nodes.as_ref()?.iter().map(node).collect())
    }

    // Log lines are not part of a verdict.
    pub(crate) fn log(&self, _level: Level, _message: &str) {}

    fn read(&self, object: &Value, pointer: &str) -> Option<String> {
        let is_declared = self.reads.iter().any(|prefix| is_within(pointer, prefix));
        assert!(is_declared, "the manifest's `reads` {:?} do not cover `{pointer}`", self.reads);
        object.pointer(pointer).map(Value::to_string)
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Makes a review of a new `object` with an open gate. A policy may read all of it.
#[must_use]
pub fn review(object: &Value) -> Review {
    let case = Case { object: object.clone(), ..Case::default() };
    review_of(&case, &[""])
}

/// Makes a review of a new `object` with an open gate, in a namespace with these labels. A policy may read all of it.
#[must_use]
pub fn review_in_namespace(object: &Value, labels: Value) -> Review {
    let mut review = review(object);
    review.host_mut().namespace_labels = Some(labels);
    review
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

/// Runs the policy on the case, and compares the outcome with the expected one.
///
/// # Errors
/// The difference, or the broken law.
///
/// # Panics
/// If the policy reads beyond its manifest.
pub fn run<P: Policy>(case: &Case) -> Result<(), String> {
    if let Some(field) = case.needs_host() {
        return Err(format!("only `wardset policy test` can run a case with `{field}`"));
    }
    let settings = case.settings().to_string();
    let review = review_of(case, P::MANIFEST.reads);
    let verdict = Exported::<P>::check_settings(&settings)
        .map_err(CaseOutcome::SettingsError)
        .and_then(|()| Exported::<P>::judge(&review, &settings).map_err(CaseOutcome::Error));
    match verdict {
        Ok(verdict) => {
            let found = CaseOutcome::Answer(answer(&verdict));
            case.expect.check(found).map_err(|difference| difference.to_string())?;
            keeps_the_laws::<P>(case, &verdict)
        }
        Err(found) => case.expect.check(found).map_err(|difference| difference.to_string()),
    }
}

fn review_of(case: &Case, reads: &[&str]) -> Review {
    let text = |pointer| case.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let request = Request {
        operation: match case.operation {
            cases::CaseOperation::Create => Operation::Create,
            cases::CaseOperation::Update => Operation::Update,
        },
        kind: "DaemonSet".to_owned(),
        name: text("/metadata/name"),
        namespace: text("/metadata/namespace"),
        user: "author".to_owned(),
        dry_run: false,
        template: match case.gate {
            CaseGate::Open => TemplateGate::Open,
            CaseGate::Closed => TemplateGate::Closed,
        },
    };
    let document = Document {
        object: case.object.clone(),
        old_object: case.old_object.clone(),
        reads: reads.iter().map(|&prefix| prefix.to_owned()).collect(),
        namespace_labels: None,
        nodes: case.nodes.clone(),
    };
    Review::new(request, document)
}

fn keeps_the_laws<P: Policy>(case: &Case, verdict: &Verdict) -> Result<(), String> {
    for Change { edit, .. } in &verdict.changes {
        let path = match edit {
            Edit::Add(placed) => &placed.path,
            edit if P::ONLY_ADDS => return Err(format!("{edit:?} does more than add")),
            Edit::Replace(placed) => &placed.path,
            Edit::Remove(path) => path,
        };
        if !P::MANIFEST.writes.iter().any(|prefix| is_within(path, prefix)) {
            return Err(format!("the manifest's `writes` do not cover `{path}`"));
        }
        if case.gate == CaseGate::Closed && is_within(path, "/spec/template") {
            return Err(format!("changes `{path}` though the gate is closed"));
        }
    }
    if !verdict.denials.is_empty() {
        return Ok(());
    }
    let object = apply(&case.object, &verdict.changes)?;
    let again = Case { object, ..case.clone() };
    let review = review_of(&again, P::MANIFEST.reads);
    let again = Exported::<P>::judge(&review, &case.settings().to_string())?;
    if again.denials.is_empty() && again.changes.is_empty() {
        Ok(())
    } else {
        Err(format!("is not idempotent: the second time it says {again:?}"))
    }
}

fn answer(verdict: &Verdict) -> CaseAnswer {
    let denial = |denial: &Denial| cases::CaseDenial {
        code: match denial.code {
            DenialCode::Forbidden => "forbidden",
            DenialCode::Invalid => "invalid",
        },
        pointer: denial.pointer.clone(),
        message: denial.message.clone(),
        fix: denial.fix.clone(),
    };
    let remark =
        |pointer: &String, message: &String| Remark { pointer: pointer.clone(), message: message.clone() };
    CaseAnswer {
        denials: verdict.denials.iter().map(denial).collect(),
        changes: verdict.changes.iter().map(|change| operation(&change.edit)).collect(),
        warnings: verdict.warnings.iter().map(|found| remark(&found.pointer, &found.message)).collect(),
        notes: verdict.notes.iter().map(|found| remark(&found.pointer, &found.message)).collect(),
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

/// Runs each case in the files of `directory`, and panics with all differences.
///
/// # Panics
/// If a case differs or cannot be read, or if there is none.
pub fn run_cases<P: Policy>(directory: &Path) {
    let files = cases::read(directory, |text| serde_saphyr::from_multiple(text));
    let files = files.unwrap_or_else(|error| panic!("{error}"));
    let mut differences = Vec::new();
    for file in &files {
        for case in &file.cases {
            if let Err(difference) = run::<P>(case) {
                differences.push(format!("{} ({}): {difference}", file.path.display(), case.name));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

/// A policy file, as far as its cases need it.
#[derive(Debug, serde::Deserialize)]
struct PolicyFile {
    spec: PolicySpec,
}

#[derive(Debug, serde::Deserialize)]
struct PolicySpec {
    module: String,
    settings: Value,
}

/// Runs the cases of each policy file `NAME.yaml` in `directory` whose module is `builtin:` and the name of `P`. The
/// cases are in `cases/NAME.yaml`, and have the settings of the policy. Returns the number of cases.
///
/// # Panics
/// If a case differs or cannot be read, if a policy has no cases, or if a case file belongs to no policy.
pub fn run_policy_files<P: Policy>(directory: &Path) -> usize {
    let files = cases::read(&directory.join("cases"), |text| serde_saphyr::from_multiple(text));
    let files = files.unwrap_or_else(|error| panic!("{error}"));
    let (mut differences, mut run_cases) = (Vec::new(), 0);
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let is_policy = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "yaml");
    let paths: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(is_policy).collect();
    for file in &files {
        let has_policy = paths.iter().any(|path| path.file_name() == file.path.file_name());
        assert!(has_policy, "{}: there is no policy of this name", file.path.display());
    }
    for path in &paths {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let policy: PolicyFile =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if policy.spec.module != format!("builtin:{}", P::MANIFEST.name) {
            continue;
        }
        let file = files.iter().find(|file| file.path.file_name() == path.file_name());
        let file = file.unwrap_or_else(|| panic!("{}: there are no cases", path.display()));
        for case in &file.cases {
            let case = Case { settings: policy.spec.settings.clone(), ..case.clone() };
            if let Err(difference) = run::<P>(&case) {
                differences.push(format!("{} ({}): {difference}", file.path.display(), case.name));
            }
            run_cases += 1;
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
    run_cases
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
