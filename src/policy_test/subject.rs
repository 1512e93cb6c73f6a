//! The subject of a case: its policies, and the review that they decide.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use wardset_cases::{Case, CaseAnswer, CaseDenial, CaseGate, CaseOutcome, Remark};
use wardset_core::decision::{Decision, PolicyResult};
use wardset_core::patch;
use wardset_core::placement::ClusterNodes;
use wardset_core::plan::Phase;
use wardset_core::policy::{
    API_VERSION, ClusterData, Mode, ModuleRef, NamespaceLabels, OnError, TemplateRule,
};
use wardset_core::review::{Question, Review};
use wardset_core::verdict::{DenialCode, FailureClass};
use wardset_placement::KubernetesVersion;
use wardset_runtime::{Evaluator, Finding, MeasuredEvaluation, SettingsError, Snapshot, Unusable};

use super::{CaseProblem, TestOptions, read_object};
use crate::admission::{Judge, NamespaceSource, NodeSource};
use crate::offline::request::DaemonSetRequest;
use crate::preview::Inventory;
use crate::supply::PoliciesError;
use crate::supply::modules::Modules;
use crate::supply::policy_files::{self, FoundPolicy};

/// Time for one review with all of its policies.
const DEADLINE: Duration = Duration::from_secs(30);

/// The user of cases that name none.
const USER: &str = "author";

/// The policies of a case, and its review.
pub(crate) struct Subject {
    judge: Judge,
    /// The same policies with the default rule for templates, if the case itself opens the gate.
    gated: Option<Judge>,
    user: String,
    /// The modules of the policies, each with the folder at which a relative path starts.
    pub(crate) modules: Vec<(ModuleRef, PathBuf)>,
    /// The object under review.
    pub(crate) object: Value,
    /// The stored object, on an update.
    pub(crate) old: Option<Value>,
}

/// A decision on the subject's policies.
pub(crate) struct Trial {
    decision: Decision,
    pub(super) findings: Vec<Finding>,
    /// The object as it would be stored.
    stored: Value,
}

impl Subject {
    /// Loads the policies of a case. The inner error is the module's message about settings that it refuses, which a
    /// case may expect.
    pub(crate) async fn of(
        modules: &Modules,
        case: &Case,
        folder: &Path,
        options: &TestOptions,
    ) -> Result<Result<Self, String>, CaseProblem> {
        let case = with_files(case, folder)?;
        case.check().map_err(CaseProblem::Broken)?;
        let labels = NamespaceLabels::Known(Arc::new(case.namespace_labels.clone().unwrap_or_default()));
        let nodes = case.nodes.as_deref().map(read_nodes).transpose()?;
        let judge = |snapshot| {
            Judge::new(
                Arc::new(ArcSwap::from_pointee(snapshot)),
                NamespaceSource::Fixed(labels.clone()),
                Evaluator::new(Arc::clone(modules.engine()), 1),
            )
            .with_nodes(NodeSource::Fixed(nodes.clone()))
        };
        let opens = opens_gate(&case, options);
        let rule = if opens { TemplateRule::Always } else { TemplateRule::OnChange };
        let found = policies(&case, folder, options, rule)?;
        let named = found.iter().map(FoundPolicy::module);
        let named = named.map(|(module, folder)| (module.clone(), folder.to_owned())).collect();
        let policies = match load(modules, found, &case, options).await? {
            Ok(snapshot) if nodes.is_some() && !asks_for_nodes(&snapshot) => {
                let unused = "`nodes`: no policy of the case asks for nodes; hint: remove the field, or let the \
                              policy ask (cluster data `nodes` in its manifest, and `clusterData: [nodes]`)";
                return Err(CaseProblem::Broken(unused.to_owned()));
            }
            Ok(snapshot) => judge(snapshot),
            Err(refused) => return Ok(Err(refused)),
        };
        let gated = if opens {
            let found = self::policies(&case, folder, options, TemplateRule::OnChange)?;
            load(modules, found, &case, options).await?.ok().map(&judge)
        } else {
            None
        };
        let (object, old) = case.objects();
        let user = case.user.clone().unwrap_or_else(|| USER.to_owned());
        Ok(Ok(Self { judge: policies, gated, user, modules: named, object, old }))
    }

    /// Decides on an object, evaluating each policy twice.
    pub(crate) async fn decide(&self, object: &Value, old: Option<&Value>) -> Result<Trial, CaseProblem> {
        self.decide_by(&self.judge, object, old).await
    }

    /// Decides on an object as [`Subject::decide`] does, by the gate of the policies and not by that of the case.
    pub(super) async fn decide_gated(
        &self,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Trial, CaseProblem> {
        self.decide_by(self.gated.as_ref().unwrap_or(&self.judge), object, old).await
    }

    async fn decide_by(
        &self,
        judge: &Judge,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Trial, CaseProblem> {
        let review = self.review(object, old)?;
        let permit = judge.admit(&review).map_err(|error| CaseProblem::Broken(error.to_string()))?;
        let deadline = Instant::now() + DEADLINE;
        let (decision, findings) = judge.decide_twice(permit, review, Phase::Mutate, deadline).await;
        Ok(Trial { stored: decision.object.to_value(), decision, findings })
    }

    /// Returns the review of an object.
    pub(crate) fn review(&self, object: &Value, old: Option<&Value>) -> Result<Arc<Review>, CaseProblem> {
        let broken = |problem: &dyn std::fmt::Display| CaseProblem::Broken(problem.to_string());
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let request = DaemonSetRequest {
            object,
            old_object: old,
            name: text("name"),
            namespace: text("namespace"),
            user: &self.user,
            dry_run: false,
        };
        let request = request.to_bytes().map_err(|error| broken(&error))?;
        match Question::parse(&request).map_err(|error| broken(&error))? {
            Question::Decide(review) => Ok(Arc::new(*review)),
            Question::PassOver { reason, .. } => Err(broken(&format!("no policy is asked: {reason}"))),
        }
    }

    /// Decides a review, and measures each evaluation.
    pub(crate) async fn measure(&self, review: &Arc<Review>) -> Result<Vec<MeasuredEvaluation>, CaseProblem> {
        let permit = self.judge.admit(review).map_err(|error| CaseProblem::Broken(error.to_string()))?;
        let deadline = Instant::now() + DEADLINE;
        let (_, evaluations) =
            self.judge.decide_measured(permit, Arc::clone(review), Phase::Mutate, deadline).await;
        Ok(evaluations)
    }

    /// Returns whether one of the policies says that it may change the template at any time.
    pub(super) fn ignores_gate(&self) -> bool {
        let policies = self.gated.as_ref().unwrap_or(&self.judge).policies();
        policies.plans().iter().any(|plan| plan.policy.template == TemplateRule::Always)
    }
}

/// Returns the case with the objects of its files.
fn with_files(case: &Case, folder: &Path) -> Result<Case, CaseProblem> {
    let mut case = case.clone();
    for (field, file, object) in [
        ("object", case.object_file.take(), &mut case.object),
        ("oldObject", case.old_object_file.take(), &mut case.old_object),
    ] {
        let Some(file) = file else { continue };
        if !object.is_null() {
            let both = format!("expected `{field}` or `{field}File`, found both; hint: remove one");
            return Err(CaseProblem::Broken(both));
        }
        *object = read_object(&folder.join(file))?;
    }
    Ok(case)
}

/// Returns whether the gate is open only because the case says so: its objects have the same template. If a case names
/// policies, their own rule counts.
fn opens_gate(case: &Case, options: &TestOptions) -> bool {
    let (object, old) = case.objects();
    let untouched = old.is_some_and(|old| old["spec"]["template"] == object["spec"]["template"]);
    module_under_test(case, options).is_some() && untouched && case.gate == CaseGate::Open
}

/// Returns the policies of a case: the files that it names, those of the options, or the module under test. The module gets
/// `rule` for templates.
fn policies(
    case: &Case,
    folder: &Path,
    options: &TestOptions,
    rule: TemplateRule,
) -> Result<Vec<FoundPolicy>, CaseProblem> {
    let Some(module) = module_under_test(case, options) else {
        let own: Vec<_> = case.policies.iter().map(|path| folder.join(path)).collect();
        let paths = if own.is_empty() { &options.policies } else { &own };
        return Ok(with_mode(policy_files::read(paths).map_err(not_run)?, case));
    };
    let policy = json!({
        "apiVersion": API_VERSION, "kind": "Policy", "metadata": {"name": "case"},
        "spec": {
            "module": module, "settings": case.settings(), "template": rule,
            // All of them, because the case does not say which data the module needs.
            "clusterData": ["namespaceLabels", "nodes"],
        },
    });
    Ok(vec![policy_files::parse_one(&policy).map_err(broken)?])
}

/// Returns the module under test, if it decides the case and no policy file does.
fn module_under_test<'o>(case: &Case, options: &'o TestOptions) -> Option<&'o String> {
    options.module.as_ref().filter(|_| case.policies.is_empty())
}

/// Loads policies. The inner error is the module's message about settings that it refuses. The settings of a policy file
/// are the same for many cases, so such an error is no outcome of a case that expects none.
async fn load(
    modules: &Modules,
    found: Vec<FoundPolicy>,
    case: &Case,
    options: &TestOptions,
) -> Result<Result<Snapshot, String>, CaseProblem> {
    let has_own_settings = module_under_test(case, options).is_some();
    match policy_files::load(modules, found).await {
        Ok(snapshot) => Ok(Ok(snapshot)),
        Err(PoliciesError::Unusable(Unusable::Settings {
            problem: SettingsError::Refused(words), ..
        })) if has_own_settings || case.expect.settings_error.is_some() => Ok(Err(words)),
        Err(error) if has_own_settings => Err(broken(error)),
        Err(error) => Err(not_run(error)),
    }
}

/// Reads the nodes of a case. `apiVersion` and `kind` may be missing. An empty list is a cluster without nodes.
fn read_nodes(nodes: &[Value]) -> Result<Arc<ClusterNodes>, CaseProblem> {
    let version = KubernetesVersion::default();
    let mut inventory = Inventory::new(version);
    for (position, node) in nodes.iter().enumerate() {
        let origin = format!("`nodes[{position}]`");
        let mut node = node.clone();
        if let Some(members) = node.as_object_mut() {
            members.entry("apiVersion").or_insert_with(|| "v1".into());
            members.entry("kind").or_insert_with(|| "Node".into());
        }
        let is_node = node["kind"] == "Node";
        let added = inventory.add(node, &origin);
        let added = added.map_err(|error| CaseProblem::Broken(format!("{:#}", anyhow::Error::new(error))))?;
        if !added || !is_node {
            return Err(CaseProblem::Broken(format!("{origin}: expected a Node (`apiVersion: v1`)")));
        }
    }
    Ok(inventory.cluster_nodes().unwrap_or_else(|| Arc::new(ClusterNodes::new(Vec::new(), version))))
}

/// Whether a policy may ask for nodes.
fn asks_for_nodes(policies: &Snapshot) -> bool {
    let asks = |data: &[ClusterData]| data.contains(&ClusterData::Nodes);
    policies.plans().iter().any(|plan| asks(&plan.manifest.cluster) && asks(&plan.policy.cluster_data))
}

fn broken(error: PoliciesError) -> CaseProblem {
    CaseProblem::Broken(format!("{:#}", anyhow::Error::new(error)))
}

fn not_run(error: PoliciesError) -> CaseProblem {
    CaseProblem::NotRun(format!("{:#}", anyhow::Error::new(error)))
}

/// Returns the policies in the mode in which the case wants them.
fn with_mode(mut found: Vec<FoundPolicy>, case: &Case) -> Vec<FoundPolicy> {
    if case.enforce {
        found.iter_mut().for_each(|found| found.policy.mode = Mode::Enforce);
    }
    found
}

impl Trial {
    /// Returns the outcome in the terms of a case, as the server would answer: the answers of all policies, in order, with
    /// the effects of `mode` and `onError`.
    pub(crate) fn outcome(&self) -> CaseOutcome {
        let mut answer = CaseAnswer::default();
        for report in &self.decision.reports {
            let policy = &report.plan.policy;
            let remark = |pointer: &str, message: String| Remark { pointer: pointer.to_owned(), message };
            let notes = report.notes().iter().map(|found| remark(&found.pointer, found.message.clone()));
            answer.notes.extend(notes);
            let warnings = report.author_warnings().into_iter();
            answer.warnings.extend(warnings.map(|found| remark(found.pointer, found.message)));
            if policy.mode != Mode::Enforce {
                continue;
            }
            match &report.result {
                PolicyResult::Failed(failure) => {
                    let message = format!("{}: {}", failure.class, failure.detail);
                    match policy.on_error {
                        OnError::Fail => return CaseOutcome::Error(message),
                        OnError::Deny => answer.denials.push(CaseDenial {
                            code: "forbidden",
                            pointer: String::new(),
                            message,
                            fix: "none: `onError: deny` denies what a policy fails to decide".to_owned(),
                        }),
                        OnError::Allow => {}
                    }
                }
                PolicyResult::Denied { denials, .. } => {
                    answer.denials.extend(denials.iter().map(|found| CaseDenial {
                        code: match found.code {
                            DenialCode::Forbidden => "forbidden",
                            DenialCode::Invalid => "invalid",
                        },
                        pointer: found.pointer.clone(),
                        message: found.message.clone(),
                        fix: found.fix.clone(),
                    }));
                }
                PolicyResult::Allowed { applied, .. } => {
                    let operations: Vec<_> = applied.iter().map(|change| change.operation.clone()).collect();
                    let operations: Vec<Value> =
                        serde_json::from_str(&patch::to_json(&operations)).unwrap_or_default();
                    answer.changes.extend(operations);
                }
            }
        }
        if !answer.denials.is_empty() {
            // A denied object is not changed.
            answer.changes.clear();
        }
        CaseOutcome::Answer(answer)
    }

    /// Returns whether a policy ran out of time. The machine may be busy, so this proves nothing about the policy.
    pub(super) fn ran_out_of_time(&self) -> bool {
        let late = |result: &PolicyResult| matches!(result, PolicyResult::Failed(failure) if matches!(failure.class, FailureClass::Deadline | FailureClass::Late));
        self.decision.reports.iter().any(|report| late(&report.result))
    }

    /// Returns the reason why the object is not allowed, in words.
    pub(super) fn refusal(&self) -> String {
        match self.outcome() {
            CaseOutcome::Error(message) | CaseOutcome::SettingsError(message) => format!("fails ({message})"),
            CaseOutcome::Answer(answer) => {
                let messages: Vec<_> = answer.denials.into_iter().map(|denial| denial.message).collect();
                format!("denies the object ({})", messages.join("; "))
            }
        }
    }

    /// Returns the object as it would be stored.
    pub(super) fn stored(&self) -> &Value {
        &self.stored
    }

    /// Returns the merged patch as JSON.
    pub(super) fn patch(&self) -> String {
        patch::to_json(&self.decision.patch)
    }

    /// Returns the time of all evaluations.
    pub(super) fn elapsed(&self) -> Duration {
        self.decision.reports.iter().map(|report| report.elapsed).sum()
    }

    /// Returns whether no policy applied.
    pub(crate) fn applied_none(&self) -> bool {
        self.decision.reports.is_empty()
    }

    /// Returns the names of the policies that did not apply.
    pub(super) fn skipped(&self) -> Vec<String> {
        self.decision.skipped.iter().map(|skipped| skipped.plan.policy.name.to_string()).collect()
    }

    /// Returns whether a policy did not apply.
    pub(super) fn skips(&self, name: &str) -> bool {
        self.decision.skipped.iter().any(|skipped| &*skipped.plan.policy.name == name)
    }

    /// Returns the policies whose changes the closed gate dropped.
    pub(super) fn held_back(&self) -> Vec<String> {
        let held_back = |result: &PolicyResult| matches!(result, PolicyResult::Allowed { held_back, .. } if *held_back > 0);
        let reports = self.decision.reports.iter().filter(|report| held_back(&report.result));
        reports.map(|report| report.plan.policy.name.to_string()).collect()
    }

    /// Returns the policy that used the largest part of its time, with that time and its limit.
    pub(super) fn slowest(&self) -> Option<(String, Duration, Duration)> {
        let of = |report: &wardset_core::decision::PolicyReport| {
            (report.plan.policy.name.to_string(), report.elapsed, report.plan.policy.limits.timeout)
        };
        let part = |(_, took, limit): &(String, Duration, Duration)| took.as_secs_f64() / limit.as_secs_f64();
        self.decision.reports.iter().map(of).max_by(|a, b| part(a).total_cmp(&part(b)))
    }
}
