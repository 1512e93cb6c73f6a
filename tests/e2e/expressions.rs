//! Expressions have the same results in `builtin:cel` as in the API server's ValidatingAdmissionPolicies.
//!
//! Each expression becomes a ValidatingAdmissionPolicy that warns, and a policy of Wardset. A webhook records the object as
//! the API server hands it over, with its defaults, and `wardset review` decides on that AdmissionReview.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::canned::{Asked, Canned};
use crate::differential;
use crate::registration::Kind;
use crate::support::{Kubectl, Namespace, eventually, unique};

/// A rule, as in the settings of `builtin:cel` and in the spec of a ValidatingAdmissionPolicy: `matchConditions`,
/// `variables` and `validations`.
struct Rule {
    name: String,
    spec: Value,
}

/// The answer to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Allowed,
    /// The messages, in the order of the validations.
    Denied(Vec<String>),
    Failed,
}

/// Returns the rules of this file: each with a message, because the two have different ones by default.
fn own_rules() -> Vec<Rule> {
    let one = |name: &str, expression: &str| {
        (
            name.to_owned(),
            json!({ "validations": [{ "expression": expression, "message": format!("{name} is false") }] }),
        )
    };
    let pod = "object.spec.template.spec";
    let rules = vec![
        one("has", "has(object.metadata.labels) && has(object.metadata.annotations)"),
        one(
            "all",
            "object.spec.template.spec.containers.all(c, has(c.resources.requests) && 'cpu' in c.resources.requests)",
        ),
        one(
            "exists",
            "!object.spec.template.spec.containers.exists(c, c.image.endsWith(':latest') || !c.image.contains(':'))",
        ),
        one(
            "exists-one",
            "object.spec.template.spec.containers.exists_one(c, c.name == object.metadata.name)",
        ),
        one(
            "strings",
            "object.metadata.name.upperAscii().split('-').map(p, p.trim().lowerAscii()).join('-').substring(0, 4) in ['kube', 'cali', 'flue']",
        ),
        one(
            "indexes",
            "object.spec.template.spec.containers.all(c, c.image.lastIndexOf('/') >= c.image.indexOf('/') + 5 && c.image.charAt(0) != 'd')",
        ),
        one("replace", "object.metadata.name.replace('-', '').size() + 1 == object.metadata.name.size()"),
        one(
            "regex",
            "object.spec.template.spec.containers.all(c, c.image.matches('^[a-z0-9.-]+[.][a-z]+/.*:v?[0-9]+[.][0-9.]+$'))",
        ),
        one(
            "find",
            "object.spec.template.spec.containers.all(c, c.image.find('[0-9]+') != '' && c.image.findAll('[.]').size() < 5)",
        ),
        one(
            "quantity",
            "object.spec.template.spec.containers.all(c, !has(c.resources.limits) || !('memory' in c.resources.limits) || quantity(c.resources.limits['memory']).isLessThan(quantity('0.2Gi')))",
        ),
        one(
            "quantity-sum",
            "object.spec.template.spec.containers.all(c, c.?resources.?requests[?'cpu'].optMap(q, quantity(q).add(quantity('1m')).compareTo(quantity('101m')) <= 0).orValue(false))",
        ),
        one(
            "operation",
            "request.operation == 'UPDATE' && request.kind.kind == 'DaemonSet' && request.dryRun",
        ),
        one(
            "request",
            "request.resource.resource == 'daemonsets' && request.name == object.metadata.name && request.namespace == object.metadata.namespace && !request.userInfo.username.startsWith('system:')",
        ),
        one(
            "old-object",
            "oldObject == null ? object.metadata.name.size() < 12 : oldObject.metadata.name == object.metadata.name && !has(oldObject.metadata.labels.updated)",
        ),
        one("old-object-has", "has(oldObject.spec) ? has(object.spec) : object.metadata.name.size() < 12"),
        one(
            "namespace",
            "namespaceObject.metadata.labels.team == 'a' && namespaceObject.metadata.name == object.metadata.namespace && !('x' in namespaceObject.metadata.labels)",
        ),
        one(
            "optional",
            "object.?spec.?template.?spec.?priorityClassName.orValue('') in ['system-node-critical', 'system-cluster-critical']",
        ),
        one(
            "sets",
            "sets.contains(['/proc', '/sys', '/var/log', '/'], object.spec.template.spec.?volumes.orValue([]).filter(v, has(v.hostPath)).map(v, v.hostPath.path))",
        ),
        one(
            "lists",
            "object.spec.template.spec.containers.map(c, c.name).isSorted() && object.spec.template.spec.containers.map(c, c.?ports.orValue([]).size()).sum() < 2",
        ),
        one(
            "ports",
            "object.spec.template.spec.containers.all(c, c.?ports.orValue([]).all(p, p.containerPort > 1024 && p.containerPort != 9100 && p.protocol == 'TCP'))",
        ),
        one(
            "selector",
            "object.spec.selector.?matchLabels.orValue({}).all(k, object.spec.template.metadata.labels[k] == object.spec.selector.matchLabels[k] && k.contains('app'))",
        ),
        one(
            "types",
            "type(object.spec.updateStrategy.?rollingUpdate.?maxUnavailable.orValue(0)) == int && int('7') + object.spec.revisionHistoryLimit == 17",
        ),
        one(
            "numbers",
            "double(object.spec.revisionHistoryLimit) / 4.0 == 2.5 && -object.spec.revisionHistoryLimit < 0 && 7 % 4 == 3 && 1 < 2.5 && double('NaN') != double('NaN')",
        ),
        one(
            "macro-map",
            "object.metadata.?annotations.orValue({}).exists(k, k.startsWith('deprecated.')) && object.spec.template.metadata.labels.all(k, size(k) < 20)",
        ),
        one("fails", "object.metadata.annotations.owner == 'team-a'"),
        one(
            "absorbs",
            "object.metadata.annotations.owner == 'team-a' || object.metadata.name.startsWith('k')",
        ),
        one(
            "absorbs-in-macro",
            "object.spec.template.spec.containers.exists(c, c.securityContext.privileged == true || c.name.size() > 11)",
        ),
        (
            "variables".to_owned(),
            json!({
                "variables": [
                    { "name": "pod", "expression": pod },
                    { "name": "paths", "expression": "variables.pod.?volumes.orValue([]).filter(v, has(v.hostPath)).map(v, v.hostPath.path)" },
                    { "name": "unused", "expression": "object.no.such.key" },
                ],
                "validations": [
                    { "expression": "variables.paths.all(p, p.startsWith('/var'))", "messageExpression": "'paths: ' + variables.paths.join(', ')" },
                    { "expression": "variables.paths.size() < 3", "messageExpression": "string(object.no.such.key)", "message": "too many paths" },
                    { "expression": "!has(variables.pod.hostPID) || !variables.pod.hostPID", "messageExpression": "''", "message": "the pods see the processes" },
                ],
            }),
        ),
        (
            "format".to_owned(),
            json!({ "validations": [{
                "expression": "object.spec.template.spec.containers.size() == 0",
                "messageExpression": "'%s: %d of %s, %.2f %.3f %e %.1e %b %x %o %s %s %s %s %%'.format([object.metadata.name, object.spec.template.spec.containers.size(), object.spec.template.spec.containers.map(c, c.name), 2.345, 12345.678, 12345.678, 0.00012, 5, 255, 8, true, {'b': 1.5, 'a': 2.0}, 1e6, object.metadata.?labels.orValue({})])",
                "message": "format fails",
            }] }),
        ),
        (
            "conditions".to_owned(),
            json!({
                "matchConditions": [
                    { "name": "host-network", "expression": format!("has({pod}.hostNetwork) && {pod}.hostNetwork") },
                    { "name": "create", "expression": "request.operation == 'CREATE'" },
                ],
                "validations": [{ "expression": format!("{pod}.dnsPolicy == 'ClusterFirstWithHostNet'"), "message": "the DNS policy does not fit" }],
            }),
        ),
    ];
    rules.into_iter().map(|(name, spec)| Rule { name, spec }).collect()
}

/// Returns the rules of `examples/policies/library`, without the fields that only Wardset has.
fn library() -> Vec<Rule> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/policies/library");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "yaml"));
    files.sort();
    let mut rules = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        let mut policy = wardset::yaml::documents::<Value>(&text).unwrap().remove(0);
        let settings = policy["spec"]["settings"].as_object_mut().unwrap();
        settings.retain(|field, _| ["matchConditions", "variables", "validations"].contains(&field.as_str()));
        let Some(validations) = settings.get_mut("validations").and_then(Value::as_array_mut) else {
            continue;
        };
        for validation in validations {
            let fields = validation.as_object_mut().unwrap();
            fields
                .retain(|field, _| ["expression", "message", "messageExpression"].contains(&field.as_str()));
        }
        rules.push(Rule {
            name: policy["metadata"]["name"].as_str().unwrap().to_owned(),
            spec: policy["spec"]["settings"].take(),
        });
    }
    assert!(rules.len() >= 8, "expected the library, found {} rules", rules.len());
    rules
}

/// Returns the DaemonSets of the folder that `WARDSET_CORPUS` names, or a few of our own.
fn daemonsets() -> Vec<Value> {
    let Some(folder) = std::env::var_os("WARDSET_CORPUS") else {
        let _ =
            std::io::stderr().write_all(b"WARDSET_CORPUS is not set: compared a few DaemonSets of our own\n");
        return differential::objects();
    };
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "yaml"));
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut documents = wardset::yaml::documents::<Value>(&text).unwrap();
        documents.retain(|document| document["kind"] == "DaemonSet");
        found.append(&mut documents);
    }
    found
}

/// The ValidatingAdmissionPolicies of a test. They are deleted on drop.
struct Policies {
    label: String,
}

impl Policies {
    /// Creates them, and waits until the API server evaluates them.
    fn create(label: &str, rules: &[Rule]) -> Self {
        let policies = Self { label: label.to_owned() };
        let ready = Rule {
            name: READY.to_owned(),
            spec: json!({ "validations": [{ "expression": "false", "message": "ready" }] }),
        };
        // The API server reads the objects in the order of their creation. So the last one is the sign for all.
        for rules in [rules, &[ready]] {
            let items: Vec<Value> = rules.iter().flat_map(|rule| policies.objects(rule)).collect();
            let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
            Kubectl::new().run_with_input(&["create", "--filename=-"], &list.to_string()).succeeded();
        }
        policies
    }

    fn name(&self, rule: &str) -> String {
        format!("{rule}.{}", self.label)
    }

    fn objects(&self, rule: &Rule) -> [Value; 2] {
        let metadata = json!({ "name": self.name(&rule.name), "labels": { LABEL: self.label } });
        let mut spec = rule.spec.clone();
        spec["matchConstraints"] = json!({ "resourceRules": [{
            "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["daemonsets"],
            "operations": ["CREATE", "UPDATE"],
        }] });
        let selector = json!({ "matchLabels": { LABEL: self.label } });
        let api = "admissionregistration.k8s.io/v1";
        [
            json!({ "apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": metadata, "spec": spec }),
            json!({
                "apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": metadata,
                "spec": {
                    "policyName": self.name(&rule.name), "validationActions": ["Warn"],
                    "matchResources": { "namespaceSelector": selector },
                },
            }),
        ]
    }

    /// Reads the answers of one request from kubectl's warnings.
    fn answers(&self, stderr: &str, rules: &[Rule]) -> BTreeMap<String, Answer> {
        let answer = |rule: &Rule| {
            let name = self.name(&rule.name);
            let start = format!(
                "Warning: Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{name}': "
            );
            let messages: Vec<&str> = stderr.lines().filter_map(|line| line.strip_prefix(&start)).collect();
            match messages.as_slice() {
                [] => Answer::Allowed,
                all if all.iter().any(|message| message.contains(" resulted in error: ")) => Answer::Failed,
                all => Answer::Denied(all.iter().map(|message| (*message).to_owned()).collect()),
            }
        };
        rules.iter().map(|rule| (rule.name.clone(), answer(rule))).collect()
    }
}

/// The policy that is created last.
const READY: &str = "ready";

impl Drop for Policies {
    fn drop(&mut self) {
        let selector = format!("--selector={LABEL}={}", self.label);
        let kinds = "validatingadmissionpolicybindings,validatingadmissionpolicies";
        Kubectl::new().run(&["delete", kinds, &selector, "--wait=false"]);
    }
}

/// Returns the answers of `builtin:cel` to the reviews, which it decides on with the rules.
fn decide(reviews: &[Value], rules: &[Rule], labels: &Value) -> Vec<BTreeMap<String, Answer>> {
    let folder = tempfile::tempdir().unwrap();
    let policies = folder.path().join("policies");
    let inputs = folder.path().join("reviews");
    std::fs::create_dir(&policies).unwrap();
    std::fs::create_dir(&inputs).unwrap();
    for rule in rules {
        let mut settings = rule.spec.clone();
        for validation in settings["validations"].as_array_mut().unwrap() {
            // A ValidatingAdmissionPolicy denies updates of objects that break the rule already.
            validation["existing"] = json!("deny");
        }
        let policy = json!({
            "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": { "name": rule.name },
            "spec": {
                "module": "builtin:cel", "clusterData": ["namespaceLabels"], "settings": settings,
                // The machine may be busy.
                "limits": { "timeout": "10s" },
            },
        });
        std::fs::write(policies.join(format!("{}.json", rule.name)), policy.to_string()).unwrap();
    }
    for (n, review) in reviews.iter().enumerate() {
        std::fs::write(inputs.join(format!("{n:04}.json")), review.to_string()).unwrap();
    }
    let labels: Vec<String> = labels
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap()))
        .collect();
    let run = Command::new(env!("CARGO_BIN_EXE_wardset"))
        .args(["review", "--output=json", "--namespace-labels", &labels.join(","), "--filename"])
        .arg(&inputs)
        .arg("--policies")
        .arg(&policies)
        .arg("--cache-dir")
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("modules"))
        .output()
        .unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    let decisions: Vec<Value> = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&run.stderr)));
    let answer = |policy: &Value| {
        let name = policy["name"].as_str().unwrap().to_owned();
        let denials = policy["denials"].as_array();
        // The API server removes the narrow spaces of `%e` from warnings.
        let message = |denial: &Value| denial["message"].as_str().unwrap().replace('\u{202f}', "");
        match (policy["error"].as_str(), denials) {
            (Some(error), _) => {
                assert!(error.contains(" failed: "), "{name}: expected a rule that fails, found {error}");
                (name, Answer::Failed)
            }
            (None, Some(denials)) => (name, Answer::Denied(denials.iter().map(message).collect())),
            (None, None) => (name, Answer::Allowed),
        }
    };
    decisions
        .iter()
        .map(|decision| decision["policies"].as_array().unwrap().iter().map(answer).collect())
        .collect()
}

/// Returns the differences, a line each.
fn differences(
    reviews: &[Value],
    theirs: &[BTreeMap<String, Answer>],
    ours: &[BTreeMap<String, Answer>],
) -> Vec<String> {
    assert_eq!((theirs.len(), ours.len()), (reviews.len(), reviews.len()));
    let mut found = Vec::new();
    for ((review, theirs), ours) in reviews.iter().zip(theirs).zip(ours) {
        assert_eq!(theirs.len(), ours.len());
        for (name, theirs) in theirs {
            if Some(theirs) != ours.get(name) {
                let request = &review["request"];
                let (operation, object) = (&request["operation"], &request["name"]);
                found.push(format!(
                    "{name}, {operation} {object}: API server {theirs:?}, builtin:cel {:?}",
                    ours.get(name)
                ));
            }
        }
    }
    found
}

/// The answers of both sides to the rules of one group.
struct Compared {
    reviews: Vec<Value>,
    theirs: Vec<BTreeMap<String, Answer>>,
    labels: Value,
}

/// Sends each DaemonSet to the API server, in a namespace whose policies have these rules.
fn ask(rules: &[Rule], daemonsets: &[Value]) -> Compared {
    let label = unique("vap");
    // Records the objects.
    let canned = Canned::start(&[(Kind::Validating, json!({}))], Asked::allow);
    let policies = Policies::create(&label, rules);
    let labels = [format!("{LABEL}={label}"), "team=a".to_owned(), canned.label().to_owned()];
    let namespace = Namespace::labelled("expressions", &labels.each_ref().map(String::as_str));
    eventually(Duration::from_secs(60), "the API server evaluates all policies", || {
        let run = send(&namespace, &["create", "--dry-run=server"], &daemonsets[0]);
        if run.stderr.contains(": ready") { Ok(()) } else { Err(run) }
    });
    let labels = namespace.json(&["get", "namespace", namespace.name()])["metadata"]["labels"].clone();
    let mut compared = Compared { reviews: Vec::new(), theirs: Vec::new(), labels };
    let mut ask = |action: &[&str], object: &Value| {
        let before = canned.asked().len();
        let run = send(&namespace, action, object).succeeded();
        let asked = canned.asked();
        assert_eq!(asked.len(), before + 1, "{run:?}");
        compared.reviews.push(asked[before].review.clone());
        compared.theirs.push(policies.answers(&run.stderr, rules));
    };
    for object in daemonsets {
        ask(&["create", "--dry-run=server"], object);
    }
    // Updates have a stored object. Two manifests can have the same name.
    let mut names = BTreeSet::new();
    for object in
        daemonsets.iter().filter(|object| names.insert(object["metadata"]["name"].to_string())).take(UPDATES)
    {
        ask(&["create"], object);
        let mut updated = object.clone();
        updated["metadata"]["labels"]["updated"] = json!("yes");
        ask(&["replace", "--dry-run=server"], &updated);
    }
    compared
}

#[test]
fn builtin_cel_decides_as_validating_admission_policies_do() {
    let mut rules = own_rules();
    rules.extend(library());
    let daemonsets = daemonsets();
    let expressions: usize =
        rules.iter().map(|rule| rule.spec["validations"].as_array().unwrap().len()).sum();
    let (mut differ, mut requests, mut counts) = (Vec::new(), 0, [0; 3]);
    for rules in rules.chunks_mut(GROUP) {
        let Compared { reviews, theirs, labels } = ask(rules, &daemonsets);
        differ.extend(differences(&reviews, &theirs, &decide(&reviews, rules, &labels)));
        requests += reviews.len();
        for answer in theirs.iter().flat_map(BTreeMap::values) {
            counts[match answer {
                Answer::Allowed => 0,
                Answer::Denied(_) => 1,
                Answer::Failed => 2,
            }] += 1;
        }
        // An expression that differs is found, and it alone.
        if let Some(other) = rules.iter_mut().find(|rule| rule.name == "has") {
            let text = "has(object.metadata.labels) && !has(object.metadata.annotations)";
            other.spec["validations"][0]["expression"] = json!(text);
            let found = differences(&reviews, &theirs, &decide(&reviews, rules, &labels));
            assert!(!found.is_empty() && found.iter().all(|line| line.starts_with("has, ")), "{found:?}");
        }
    }
    let [allowed, denied, failed] = counts;
    eprintln!(
        "{expressions} expressions in {} policies × {} DaemonSets ({requests} requests): {} differences; \
         by the API server: {denied} denied, {allowed} allowed, {failed} failed",
        rules.len(),
        daemonsets.len(),
        differ.len(),
    );
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    // Each answer occurs, so the comparison means something.
    assert!(denied > 0 && allowed > 0 && failed > 0);
}

/// The label that binds policies to a namespace.
const LABEL: &str = "e2e.wardset.dev/test";

/// Policies that evaluate the same request. The API server shortens warnings of more than 4096 characters in all.
const GROUP: usize = 8;

/// DaemonSets that are stored and updated.
const UPDATES: usize = 3;

fn send(namespace: &Namespace, action: &[&str], object: &Value) -> crate::support::Run {
    let mut object = object.clone();
    object["metadata"]["namespace"] = namespace.name().into();
    namespace.run_with_input(&[action, &["--filename=-"]].concat(), &object.to_string())
}
