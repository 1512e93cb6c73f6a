//! The promises of `install.yaml`, which every change of the chart must keep. Needs neither Go nor a cluster.

use std::fs;

use serde_json::{Value, json};

use super::*;

const NAMESPACE: &str = "wardset";

/// The objects of `install.yaml`, in their order.
fn objects() -> Vec<Value> {
    let text = fs::read_to_string(install_path(&Repository::find().unwrap())).unwrap();
    serde_saphyr::from_multiple(&text).unwrap()
}

/// The only object of this kind and name.
fn object(kind: &str, name: &str) -> Value {
    let mut found: Vec<Value> = objects().into_iter().filter(|object| is(object, kind, name)).collect();
    assert_eq!(found.len(), 1, "{kind} {name}");
    found.remove(0)
}

fn is(object: &Value, kind: &str, name: &str) -> bool {
    object["kind"] == kind && object["metadata"]["name"] == name
}

/// The entries of both configurations, each with its configuration's kind.
fn entries() -> Vec<(&'static str, Value)> {
    ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"]
        .into_iter()
        .flat_map(|kind| {
            list(&object(kind, "wardset")["webhooks"]).into_iter().map(move |entry| (kind, entry))
        })
        .collect()
}

/// Those that review DaemonSets.
fn daemonset_entries() -> Vec<(&'static str, Value)> {
    let all = entries().into_iter();
    all.filter(|(_, entry)| text(&entry["name"]).ends_with("daemonsets.wardset.dev")).collect()
}

fn pod() -> Value {
    object("Deployment", "wardset")["spec"]["template"]["spec"].clone()
}

fn container() -> Value {
    let containers = list(&pod()["containers"]);
    assert_eq!(containers.len(), 1);
    containers[0].clone()
}

/// The value of an argument of the server.
fn argument(name: &str) -> String {
    let lead = format!("--{name}=");
    let args = list(&container()["args"]);
    let found = args.iter().find_map(|arg| text(arg).strip_prefix(&lead));
    found.unwrap_or_else(|| panic!("no `--{name}`")).to_owned()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("expected a list, found {value}")).clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("expected a string, found {value}"))
}

fn read(path: &str) -> String {
    fs::read_to_string(Repository::find().unwrap().root().join(path)).unwrap()
}

/// Does the same as `cargo xtask deploy --check --no-render`, so that a plain `cargo test` checks it too.
#[test]
fn committed_manifests_match_their_sources() {
    let repository = Repository::find().unwrap();
    assert_eq!(stale(&repository).unwrap(), None, "\n{HINT}");
    assert_eq!(policies(&repository).unwrap().difference(), None, "\n{HINT}");
}

#[test]
fn policies_are_the_files_of_the_default_set() {
    let expected: Vec<Value> = yaml_files(&Repository::find().unwrap().default_policies())
        .unwrap()
        .iter()
        .map(|path| serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap())
        .collect();
    let found: Vec<Value> = serde_saphyr::from_multiple(&read("deploy/policies.yaml")).unwrap();
    assert!(found.len() >= 5, "{} policies", found.len());
    assert_eq!(found, expected);
}

#[test]
fn installs_these_objects_and_the_webhooks_last() {
    let found: Vec<String> = objects()
        .iter()
        .map(|object| format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"])))
        .collect();
    assert_eq!(
        found,
        [
            "Namespace wardset",
            "ResourceQuota wardset",
            "PodDisruptionBudget wardset",
            "ServiceAccount wardset",
            "Secret wardset-certificates",
            "CustomResourceDefinition policies.wardset.dev",
            "ClusterRole wardset",
            "ClusterRoleBinding wardset",
            "Role wardset",
            "RoleBinding wardset",
            "Service wardset",
            "Deployment wardset",
            "MutatingWebhookConfiguration wardset",
            "ValidatingWebhookConfiguration wardset",
        ]
    );
    for object in objects() {
        let cluster_scoped = matches!(
            text(&object["kind"]),
            "Namespace"
                | "CustomResourceDefinition"
                | "ClusterRole"
                | "ClusterRoleBinding"
                | "MutatingWebhookConfiguration"
                | "ValidatingWebhookConfiguration"
        );
        let expected = if cluster_scoped { Value::Null } else { json!(NAMESPACE) };
        assert_eq!(object["metadata"]["namespace"], expected, "{}", object["kind"]);
    }
}

#[test]
fn namespace_is_restricted() {
    let labels = &object("Namespace", NAMESPACE)["metadata"]["labels"];
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
}

#[test]
fn webhooks_see_daemonsets_and_nothing_below_or_beside_them() {
    assert_eq!(daemonset_entries().len(), 4);
    for (kind, entry) in daemonset_entries() {
        assert_eq!(
            entry["rules"],
            json!([{
                "apiGroups": ["apps"],
                "apiVersions": ["v1"],
                "resources": ["daemonsets"],
                "operations": ["CREATE", "UPDATE"],
                "scope": "Namespaced",
            }]),
            "{kind}"
        );
    }
    assert_eq!(entries().len(), 5);
}

#[test]
fn webhooks_keep_the_contract() {
    for (kind, entry) in entries() {
        let name = text(&entry["name"]);
        assert_eq!(entry["admissionReviewVersions"], json!(["v1"]), "{name}");
        assert_eq!(entry["sideEffects"], "None", "{name}");
        assert_eq!(entry["matchPolicy"], "Equivalent", "{name}");
        let reinvocation =
            if kind == "MutatingWebhookConfiguration" { json!("IfNeeded") } else { Value::Null };
        assert_eq!(entry["reinvocationPolicy"], reinvocation, "{name}");
        let timeout = if name == "policies.wardset.dev" { 10 } else { 5 };
        assert_eq!(entry["timeoutSeconds"], timeout, "{name}");
    }
}

#[test]
fn webhooks_leave_their_own_namespace_out_and_never_hold_up_kube_system() {
    let ignored = json!({"key": "wardset.dev/ignore", "operator": "NotIn", "values": ["true"]});
    for (kind, entry) in daemonset_entries() {
        let (operator, values, failure) = match text(&entry["name"]) {
            "daemonsets.wardset.dev" => ("NotIn", json!(["kube-system", NAMESPACE]), "Fail"),
            "kube-system.daemonsets.wardset.dev" => ("In", json!(["kube-system"]), "Ignore"),
            name => panic!("`{name}`"),
        };
        let namespaces =
            json!({"key": "kubernetes.io/metadata.name", "operator": operator, "values": values});
        assert_eq!(entry["namespaceSelector"], json!({"matchExpressions": [namespaces, ignored]}), "{kind}");
        assert_eq!(entry["failurePolicy"], failure, "{kind}");
        assert_eq!(entry["objectSelector"], Value::Null, "{kind}");
    }
}

#[test]
fn webhooks_let_deletions_and_finalizers_pass_and_no_create() {
    for (kind, entry) in daemonset_entries() {
        let conditions = list(&entry["matchConditions"]);
        let names: Vec<&str> = conditions.iter().map(|condition| text(&condition["name"])).collect();
        assert_eq!(names, ["not-being-deleted", "not-finalizers-only"], "{kind}");
        for condition in &conditions {
            // If there is no old object, nothing that follows is evaluated: an error would refuse the request.
            assert!(text(&condition["expression"]).starts_with("oldObject == null || "), "{condition}");
        }
    }
}

#[test]
fn policies_are_reviewed_and_never_held_up() {
    let (_, entry) =
        entries().into_iter().find(|(_, entry)| entry["name"] == "policies.wardset.dev").unwrap();
    assert_eq!(entry["failurePolicy"], "Ignore");
    assert_eq!(
        entry["rules"],
        json!([{
            "apiGroups": ["wardset.dev"],
            "apiVersions": ["v1alpha1"],
            "resources": ["policies"],
            "operations": ["CREATE", "UPDATE"],
            "scope": "Cluster",
        }])
    );
}

#[test]
fn webhooks_lead_through_the_service_to_the_servers_port() {
    let service = object("Service", "wardset");
    for (kind, entry) in entries() {
        let client = &entry["clientConfig"];
        let path = match (kind, text(&entry["name"])) {
            (_, "policies.wardset.dev") => "/validate-policy",
            ("MutatingWebhookConfiguration", _) => "/mutate",
            _ => "/validate",
        };
        // No `caBundle`: an upgrade would remove the server's value.
        assert_eq!(
            *client,
            json!({"service": {"name": "wardset", "namespace": NAMESPACE, "port": 443, "path": path}})
        );
    }
    assert_eq!(argument("service"), text(&service["metadata"]["name"]));
    assert_eq!(
        service["spec"]["ports"],
        json!([{"name": "https", "port": 443, "targetPort": "https", "protocol": "TCP"}])
    );
    assert_eq!(
        container()["ports"],
        json!([
            {"name": "https", "containerPort": 8443, "protocol": "TCP"},
            {"name": "admin", "containerPort": 8081, "protocol": "TCP"},
        ])
    );
}

#[test]
fn selectors_match_the_pods() {
    let deployment = object("Deployment", "wardset")["spec"].clone();
    let labels = deployment["template"]["metadata"]["labels"].as_object().unwrap();
    let mut selectors = vec![
        object("Service", "wardset")["spec"]["selector"].clone(),
        object("PodDisruptionBudget", "wardset")["spec"]["selector"]["matchLabels"].clone(),
        deployment["selector"]["matchLabels"].clone(),
    ];
    for constraint in list(&pod()["topologySpreadConstraints"]) {
        assert_eq!(constraint["whenUnsatisfiable"], "ScheduleAnyway");
        selectors.push(constraint["labelSelector"]["matchLabels"].clone());
    }
    let preferred = &pod()["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"];
    for term in list(preferred) {
        selectors.push(term["podAffinityTerm"]["labelSelector"]["matchLabels"].clone());
    }
    assert_eq!(selectors.len(), 5);
    for selector in selectors {
        let selector = selector.as_object().unwrap();
        assert!(!selector.is_empty());
        assert!(selector.iter().all(|(key, value)| labels.get(key) == Some(value)), "{selector:?}");
    }
}

/// The scheduler ignores nodes that lack the label of any soft constraint, so two of them spread nothing if nodes have
/// no zones. A hard one would leave a replica pending if one of few nodes is full.
#[test]
fn replicas_prefer_other_nodes_and_have_one_soft_constraint() {
    let constraints = list(&pod()["topologySpreadConstraints"]);
    assert_eq!(constraints.len(), 1);
    assert_eq!(constraints[0]["topologyKey"], "topology.kubernetes.io/zone");
    let affinity = pod()["affinity"]["podAntiAffinity"].clone();
    let preferred = list(&affinity["preferredDuringSchedulingIgnoredDuringExecution"]);
    assert_eq!(preferred.len(), 1);
    assert_eq!(preferred[0]["podAffinityTerm"]["topologyKey"], "kubernetes.io/hostname");
    assert_eq!(affinity.as_object().unwrap().len(), 1);
    // During a rollout, a node with an old replica is as good as another.
    for term in [&constraints[0], &preferred[0]["podAffinityTerm"]] {
        assert_eq!(term["matchLabelKeys"], json!(["pod-template-hash"]));
    }
}

#[test]
fn server_may_only_what_it_must() {
    let reads = ["get", "list", "watch"];
    for kind in ["ClusterRole", "Role"] {
        for rule in list(&object(kind, "wardset")["rules"]) {
            let words = |key: &str| -> Vec<String> {
                list(&rule[key]).iter().map(|word| text(word).to_owned()).collect()
            };
            let (resources, verbs) = (words("resources"), words("verbs"));
            for word in words("apiGroups").iter().chain(&resources).chain(&verbs) {
                assert!(!word.contains('*'), "{rule}");
            }
            assert_eq!(rule["nonResourceURLs"], Value::Null, "{rule}");
            let named = !rule["resourceNames"].is_null();
            let secret = resources.iter().any(|resource| resource == "secrets");
            assert!(!secret || (kind == "Role" && named), "{rule}");
            assert!(
                !resources
                    .iter()
                    .any(|resource| resource.ends_with("bindings") || resource.ends_with("roles"))
            );
            for verb in &verbs {
                let allowed = match verb.as_str() {
                    verb if reads.contains(&verb) => true,
                    "create" => kind == "Role" && resources == ["leases"],
                    "update" => kind == "Role" && named,
                    "patch" => named || resources == ["policies/status"],
                    _ => false,
                };
                assert!(allowed, "`{verb}` in {rule}");
            }
        }
    }
}

#[test]
fn server_is_told_objects_that_exist_and_that_it_may_write() {
    let names = |kind: &str, resource: &str, verb: &str| -> Vec<Value> {
        let rules = list(&object(kind, "wardset")["rules"]);
        let matching = rules.iter().filter(|rule| {
            list(&rule["resources"]).contains(&json!(resource)) && list(&rule["verbs"]).contains(&json!(verb))
        });
        matching.flat_map(|rule| list(&rule["resourceNames"])).collect()
    };
    let secret = object("Secret", &argument("secret"));
    assert_eq!(names("Role", "secrets", "update"), [secret["metadata"]["name"].clone()]);
    // The server fills it; with data of its own, an upgrade would empty it.
    assert_eq!((&secret["data"], &secret["stringData"]), (&Value::Null, &Value::Null));
    assert_eq!(names("Role", "leases", "update"), [json!(argument("lease"))]);
    for (kind, resource) in [
        ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
        ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
    ] {
        let configuration = object(kind, &argument("webhooks"));
        assert_eq!(names("ClusterRole", resource, "patch"), [configuration["metadata"]["name"].clone()]);
    }
    for kind in ["ClusterRoleBinding", "RoleBinding"] {
        assert_eq!(
            object(kind, "wardset")["subjects"],
            json!([{"kind": "ServiceAccount", "name": pod()["serviceAccountName"], "namespace": NAMESPACE}])
        );
    }
    assert_eq!(argument("namespace"), "$(POD_NAMESPACE)");
    let env = list(&container()["env"]);
    for name in ["POD_NAME", "POD_NAMESPACE"] {
        assert!(env.iter().any(|variable| variable["name"] == name), "{name}");
    }
}

#[test]
fn pods_keep_the_restricted_level_and_more() {
    let (pod, container) = (pod(), container());
    assert_eq!(
        pod["securityContext"],
        json!({
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        })
    );
    assert_eq!(
        container["securityContext"],
        json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        })
    );
    for field in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
        assert_eq!(pod[field], Value::Null, "{field}");
    }
    for amount in ["requests", "limits"] {
        assert!(container["resources"][amount]["memory"].is_string(), "{amount}");
    }
    assert!(container["resources"]["requests"]["cpu"].is_string());
    let mount = &list(&container["volumeMounts"])[0];
    let cache = argument("cache-dir");
    // A folder that the server makes, below one that belongs to root.
    assert!(cache.starts_with(&format!("{}/", text(&mount["mountPath"]))), "{cache}");
    assert!(list(&pod["volumes"]).iter().all(|volume| volume["emptyDir"]["sizeLimit"].is_string()));
}

#[test]
fn pods_stop_after_the_drain_and_one_by_one() {
    let drain: u64 = argument("drain-seconds").parse().unwrap();
    let before = container()["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    assert!(pod()["terminationGracePeriodSeconds"].as_u64().unwrap() > drain + before);
    let deployment = object("Deployment", "wardset");
    assert_eq!(deployment["spec"]["replicas"], 3);
    assert_eq!(
        deployment["spec"]["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}})
    );
    assert_eq!(object("PodDisruptionBudget", "wardset")["spec"]["maxUnavailable"], 1);
}

#[test]
fn pods_are_probed_on_the_port_without_tls() {
    for (probe, path) in
        [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
    {
        assert_eq!(container()[probe]["httpGet"], json!({"path": path, "port": "admin"}), "{probe}");
    }
}

#[test]
fn image_is_of_this_version_and_of_no_registry() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(container()["image"], format!("wardset:{version}"));
    let chart: Value = serde_saphyr::from_str(&read("deploy/chart/wardset/Chart.yaml")).unwrap();
    assert_eq!(chart["appVersion"], version);
}

#[test]
fn definition_of_policies_is_the_charts() {
    let mut installed = object("CustomResourceDefinition", "policies.wardset.dev");
    let path = Repository::find().unwrap().crd();
    let mut definition: Value = serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(installed["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    for object in [&mut installed, &mut definition] {
        object["metadata"].take();
    }
    assert_eq!(installed, definition);
}

/// Every object that a manual names by `kind/name` or `-n` exists in `install.yaml`.
#[test]
fn manuals_name_objects_that_exist() {
    for (manual, least) in [("deploy/RUNBOOK.md", 15), ("deploy/README.md", 4)] {
        let manual_text = read(manual);
        let mut named = 0;
        for command in commands(&manual_text) {
            let mut words = command.split_whitespace();
            while let Some(word) = words.next() {
                if word == "-n" || word == "--namespace" {
                    assert_eq!(words.next(), Some(NAMESPACE), "{manual}: {command}");
                }
                let Some((resource, name)) = word.split_once('/') else { continue };
                let kind = match resource {
                    "deployment" => "Deployment",
                    "secret" => "Secret",
                    "service" => "Service",
                    "resourcequota" => "ResourceQuota",
                    "mutatingwebhookconfiguration" => "MutatingWebhookConfiguration",
                    "validatingwebhookconfiguration" => "ValidatingWebhookConfiguration",
                    "crd" => "CustomResourceDefinition",
                    "namespace" | "policies.wardset.dev" => {
                        assert!(name.bytes().all(|byte| byte.is_ascii_uppercase()), "{manual}: {command}");
                        continue;
                    }
                    // Paths, labels, addresses.
                    _ => {
                        assert!(
                            resource.contains(['.', ':', '"', '$', '|'])
                                || ["deploy", "examples"].contains(&resource),
                            "{manual}: `{word}` in {command}"
                        );
                        continue;
                    }
                };
                object(kind, name);
                named += 1;
            }
        }
        assert!(named >= least, "{manual}: {named} objects");
    }
}

/// Returns the commands of a manual: the lines of ```sh blocks, and code in backticks that begins like a command.
fn commands(manual: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    for (number, part) in manual.split("```").enumerate() {
        if number % 2 == 1 {
            commands.extend(part.strip_prefix("sh\n").unwrap_or_default().lines());
        } else {
            let inline = part.split('`').skip(1).step_by(2);
            commands.extend(inline.filter(|code| code.starts_with("kubectl ") || code.starts_with("helm ")));
        }
    }
    commands
}

#[test]
fn every_value_is_in_the_manual_with_the_files_it_names() {
    let manual = read("deploy/README.md");
    let values: Value = serde_saphyr::from_str(&read("deploy/chart/wardset/values.yaml")).unwrap();
    for (name, value) in values.as_object().unwrap() {
        assert!(manual.contains(&format!("`{name}")), "`{name}`");
        for member in value.as_object().into_iter().flat_map(|members| members.keys()) {
            let found = [format!("`{name}.{member}"), format!("`.{member}`"), format!("`{name}`")];
            assert!(found.iter().any(|word| manual.contains(word)), "`{name}.{member}`");
        }
    }
    for manual in ["README.md", "RUNBOOK.md"] {
        let folder = Repository::find().unwrap().deploy();
        for link in fs::read_to_string(folder.join(manual)).unwrap().split("](").skip(1) {
            let path = link.split([')', '#']).next().unwrap();
            assert!(path.is_empty() || folder.join(path).exists(), "{manual}: `{path}`");
        }
    }
}

#[test]
fn difference_is_the_first_line_that_differs() {
    let folder = tempfile::tempdir().unwrap();
    let file = Manifest::new(folder.path().join("a.yaml"), "a: 1\nb: 2\n".to_owned());
    assert!(file.difference().unwrap().starts_with("`a.yaml` cannot be read"));
    file.write().unwrap();
    assert_eq!(file.difference(), None);
    fs::write(&file.path, "a: 1\nb: 3\n").unwrap();
    assert_eq!(
        file.difference().unwrap(),
        "`a.yaml` is not what its sources make: line 2: expected `b: 2`, found `b: 3`"
    );
}
