//! A DaemonSet from creation to deletion, as a user of kubectl sees it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::gate::Gate;
use crate::pods::{WORKERS_AND_GPU, generation};
use crate::support::{Namespace, eventually, example};

/// Returns the tolerations that the policies add to `examples/fluentd-ds.yaml`.
pub(crate) fn tolerations() -> Value {
    json!([{ "key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule" }])
}

/// Returns the affinity that the policies add to `examples/fluentd-ds.yaml`.
pub(crate) fn affinity() -> Value {
    json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
        { "matchExpressions": [
            { "key": "eks.amazonaws.com/compute-type", "operator": "NotIn", "values": ["fargate"] },
            { "key": "type", "operator": "NotIn", "values": ["virtual-kubelet"] },
            { "key": "node-role.kubernetes.io/control-plane", "operator": "DoesNotExist" },
            { "key": "node-role.kubernetes.io/master", "operator": "DoesNotExist" },
            { "key": "node-role.kubernetes.io/controlplane", "operator": "DoesNotExist" },
        ] },
    ] } } })
}

/// The pointers of the additions, as in the log of a review.
pub(crate) const ADDED: &str = "/metadata/labels/app.kubernetes.io~1component,/spec/template/spec/tolerations,/spec/template/spec/affinity";

/// Returns the messages of a run, without two that Wardset does not cause: kubectl's about `--record`, and the API
/// server's about the label `node-role.kubernetes.io/master`, which `workers-only` uses.
pub(crate) fn words(stderr: &str) -> String {
    let others =
        |line: &&str| line.starts_with("Flag --record has been deprecated") || line.contains(OLD_ROLE);
    stderr.lines().filter(|line| !others(line)).flat_map(|line| [line, "\n"]).collect()
}

/// The API server's warning about the old label. It appears for each object that uses the label.
const OLD_ROLE: &str =
    "node-role.kubernetes.io/master is use \"node-role.kubernetes.io/control-plane\" instead";

/// Returns the cells of a table by row.
fn table(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

fn assert_stored(stored: &Value) {
    assert_eq!(
        stored["metadata"]["labels"],
        json!({ "k8s-app": "fluentd-agent", "app.kubernetes.io/component": "node-agent" })
    );
    let template = &stored["spec"]["template"];
    assert_eq!(template["metadata"]["labels"], json!({ "k8s-app": "fluentd-agent" }));
    assert_eq!(template["spec"]["tolerations"], tolerations());
    assert_eq!(template["spec"]["affinity"], affinity());
    assert_eq!(stored["spec"]["selector"], example()["spec"]["selector"]);
}

#[test]
fn create_stores_the_changed_object_and_places_a_pod_on_each_worker() {
    let gate = Gate::shared();
    let namespace = gate.namespace("create");
    let run = namespace.run(&["create", "--filename", &namespace.example_file()]).succeeded();
    assert_eq!((&*run.stdout, &*words(&run.stderr)), ("daemonset.apps/fluentd-agent created\n", ""));
    assert_stored(&namespace.daemonset("fluentd-agent"));
    let settled = namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
    assert_eq!(settled["status"]["numberMisscheduled"], 0);
    for pod in namespace.pods(&settled) {
        // The label is absent, because the controller creates pods from the template, and Wardset never reviews pods.
        assert_eq!(pod["metadata"]["labels"]["app.kubernetes.io/component"], Value::Null);
    }

    let decided = gate.decisions(namespace.name());
    let short: Vec<String> = decided.iter().map(|decided| decided.short()).collect();
    assert_eq!(short, [format!("mutate create allowed {ADDED}"), "validate create allowed".to_owned()]);
    assert!(decided.iter().all(|decided| decided.user == "kubernetes-admin" && !decided.dry_run));
    // By now the controller has written the status several times, and Wardset received none of these requests.
    assert_eq!(gate.metric("wardset_skipped_total"), 0);
}

#[test]
fn api_server_warns_about_the_old_role_label_of_workers_only() {
    // Documents the current behaviour: every author whose object gets the requirement sees this warning.
    let gate = Gate::shared();
    let namespace = gate.namespace("advice");
    let run =
        namespace.run(&["create", "--dry-run=server", "--filename", &namespace.example_file()]).succeeded();
    let place = "spec.template.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution\
                 .nodeSelectorTerms[0].matchExpressions[3].key";
    assert_eq!(run.stderr, format!("Warning: {place}: {OLD_ROLE}\n"));
}

#[test]
fn kubectl_shows_the_stored_object() {
    let gate = Gate::shared();
    let namespace = gate.namespace("show");
    let file = namespace.example_file();
    let run = namespace.run(&["apply", "--filename", &file, "--record"]).succeeded();
    assert_eq!((&*run.stdout, &*words(&run.stderr)), ("daemonset.apps/fluentd-agent created\n", ""));
    assert_eq!(
        namespace
            .succeed(&["rollout", "status", "daemonset", "fluentd-agent", "--timeout=60s"])
            .lines()
            .last(),
        Some("daemon set \"fluentd-agent\" successfully rolled out")
    );
    let stored = namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
    assert_stored(&stored);

    let shown = namespace.succeed(&["get", "daemonsets"]);
    let shown = table(&shown);
    assert_eq!(
        shown[0].join(" "),
        "NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE",
        "the policy changes the affinity and leaves the node selector empty"
    );
    assert_eq!(shown[1][..7], ["fluentd-agent", "4", "4", "4", "4", "4", "<none>"]);

    let shown = namespace.succeed(&["get", "ds", "--output=wide"]);
    let wide = ["fluentd", "quay.io/fluentd_elasticsearch/fluentd:v4.5.2", "k8s-app=fluentd-agent"];
    assert_eq!(table(&shown)[1][8..], wide);

    let shown: Value =
        serde_json::from_str(&namespace.succeed(&["get", "ds", "fluentd-agent", "--output=json"])).unwrap();
    assert_stored(&shown);
    assert_eq!(yaml(&namespace), STORED);
    let shown = namespace.succeed(&["describe", "ds", "fluentd-agent"]);
    for line in [
        "Selector:       k8s-app=fluentd-agent",
        "Labels:         app.kubernetes.io/component=node-agent",
        "Desired Number of Nodes Scheduled: 4",
        "Number of Nodes Misscheduled: 0",
        "Pods Status:  4 Running / 0 Waiting / 0 Succeeded / 0 Failed",
        "  Tolerations:     nvidia.com/gpu:NoSchedule op=Exists",
    ] {
        assert!(shown.lines().any(|found| found == line), "`{line}` is missing in\n{shown}");
    }
    assert_eq!(shown.matches("SuccessfulCreate").count(), 4, "{shown}");

    let history = namespace.succeed(&["rollout", "history", "ds", "fluentd-agent"]);
    let cause = format!("kubectl apply --namespace={} --filename={file} --record=true", namespace.name());
    assert_eq!(table(&history)[2].join(" "), format!("1 {cause}"));
    let history = namespace.succeed(&["rollout", "history", "ds", "fluentd-agent", "--revision=1"]);
    assert!(
        history.starts_with("daemonset.apps/fluentd-agent with revision #1\nPod Template:\n"),
        "{history}"
    );
    assert!(history.contains("Image:\tquay.io/fluentd_elasticsearch/fluentd:v4.5.2\n"), "{history}");
    assert!(history.contains("Tolerations:\tnvidia.com/gpu:NoSchedule op=Exists\n"), "{history}");

    let shown = namespace.succeed(&["get", "all", "--selector=k8s-app=fluentd-agent", "--output=wide"]);
    let rows = table(&shown);
    let mut nodes: Vec<&str> = rows
        .iter()
        .filter(|row| row.first().is_some_and(|name| name.starts_with("pod/")))
        .map(|row| row[6])
        .collect();
    nodes.sort_unstable();
    assert_eq!(nodes, WORKERS_AND_GPU);
    assert!(rows.iter().any(|row| row.first() == Some(&"daemonset.apps/fluentd-agent")), "{shown}");
    let shown = namespace.succeed(&["get", "ds,po", "--selector=k8s-app=fluentd-agent", "--output=name"]);
    assert_eq!(shown.matches("pod/fluentd-agent-").count(), 4, "{shown}");
    assert!(shown.starts_with("daemonset.apps/fluentd-agent\n"), "{shown}");
}

#[test]
fn delete_removes_the_pods_without_a_review() {
    let gate = Gate::shared();
    let namespace = gate.namespace("delete");
    namespace.succeed(&["create", "--filename", &namespace.example_file()]);
    let stored = namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
    let before = gate.decisions(namespace.name());
    assert_eq!(
        namespace.succeed(&["delete", "ds", "fluentd-agent"]),
        format!("daemonset.apps \"fluentd-agent\" deleted from {} namespace\n", namespace.name())
    );
    eventually(Duration::from_secs(60), "all pods are gone", || {
        let left = namespace.pods(&stored);
        if left.is_empty() { Ok(()) } else { Err(left.len()) }
    });
    assert_eq!(namespace.run(&["get", "daemonsets"]).stderr, nothing_found(&namespace));
    assert_eq!(namespace.revisions(), Vec::<u64>::new());
    assert_eq!(gate.decisions(namespace.name()), before);
}

#[test]
fn never_delays_finalizers_or_deletions() {
    let gate = Gate::shared();
    let namespace = gate.namespace("finalizers");
    namespace.succeed(&["create", "--filename", &namespace.example_file()]);
    let before = gate.decisions(namespace.name());
    let finalizers = |patch: &Value| {
        namespace.succeed(&["patch", "ds", "fluentd-agent", "--type=merge", "--patch", &patch.to_string()]);
    };
    finalizers(&json!({ "metadata": { "finalizers": ["wardset.dev/test"] } }));
    namespace.succeed(&["delete", "ds", "fluentd-agent", "--wait=false"]);
    // The object still exists, and further writes cause no reviews.
    namespace.succeed(&["label", "ds", "fluentd-agent", "app.kubernetes.io/component-"]);
    let stored = namespace.daemonset("fluentd-agent");
    assert_eq!(stored["metadata"]["labels"], json!({ "k8s-app": "fluentd-agent" }));
    assert!(generation(&stored) >= 1 && stored["metadata"]["deletionTimestamp"].is_string());
    finalizers(&json!({ "metadata": { "finalizers": null } }));
    eventually(Duration::from_secs(60), "the object is gone", || {
        let run = namespace.run(&["get", "daemonset", "fluentd-agent"]);
        if run.success { Err(run.stdout) } else { Ok(()) }
    });
    assert_eq!(gate.decisions(namespace.name()), before);
}

#[test]
fn other_kinds_are_not_reviewed() {
    let gate = Gate::shared();
    let (namespace, elsewhere) = (gate.namespace("others"), Namespace::new("others"));
    for kind in ["Deployment", "ReplicaSet"] {
        let labels = json!({ "app": kind });
        let mut spec = example()["spec"].take();
        spec["replicas"] = json!(2);
        spec["selector"]["matchLabels"] = labels.clone();
        spec["template"]["metadata"]["labels"] = labels;
        let object = json!({
            "apiVersion": "apps/v1", "kind": kind, "metadata": { "name": kind.to_lowercase() }, "spec": spec,
        });
        let stored = |namespace: &Namespace| {
            namespace.apply(&object);
            let mut stored = namespace.json(&["get", kind, &kind.to_lowercase()]);
            let name = namespace.name().to_owned();
            // These fields differ between any two objects.
            for key in ["uid", "resourceVersion", "creationTimestamp", "namespace", "annotations"] {
                stored["metadata"][key] = Value::Null;
            }
            stored["status"] = Value::Null;
            serde_json::from_str::<Value>(&stored.to_string().replace(&name, "NAMESPACE")).unwrap()
        };
        assert_eq!(stored(&namespace), stored(&elsewhere));
    }
    assert_eq!(gate.decisions(namespace.name()), []);
    assert_eq!(gate.metric("wardset_skipped_total"), 0);
}

fn nothing_found(namespace: &Namespace) -> String {
    format!("No resources found in {} namespace.\n", namespace.name())
}

/// Returns the output of `kubectl get -o yaml`, without lines that differ between runs.
fn yaml(namespace: &Namespace) -> String {
    let shown = namespace.succeed(&["get", "ds", "fluentd-agent", "--output=yaml"]);
    let mut kept = String::new();
    let mut skips = false;
    for line in shown.lines() {
        let key = line.trim_start().split(':').next().unwrap();
        // A long annotation continues on lines with a deeper indent.
        skips = skips && line.starts_with("      ")
            || ["/last-applied-configuration", "/change-cause"].iter().any(|end| key.ends_with(end))
            || ["uid", "resourceVersion", "creationTimestamp", "namespace"].contains(&key);
        if !skips {
            kept.extend([line, "\n"]);
        }
    }
    kept
}

/// `examples/fluentd-ds.yaml` with the API server's defaults and the policies' additions.
const STORED: &str = "\
apiVersion: apps/v1
kind: DaemonSet
metadata:
  annotations:
    deprecated.daemonset.template.generation: \"1\"
  generation: 1
  labels:
    app.kubernetes.io/component: node-agent
    k8s-app: fluentd-agent
  name: fluentd-agent
spec:
  revisionHistoryLimit: 10
  selector:
    matchLabels:
      k8s-app: fluentd-agent
  template:
    metadata:
      labels:
        k8s-app: fluentd-agent
    spec:
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms:
            - matchExpressions:
              - key: eks.amazonaws.com/compute-type
                operator: NotIn
                values:
                - fargate
              - key: type
                operator: NotIn
                values:
                - virtual-kubelet
              - key: node-role.kubernetes.io/control-plane
                operator: DoesNotExist
              - key: node-role.kubernetes.io/master
                operator: DoesNotExist
              - key: node-role.kubernetes.io/controlplane
                operator: DoesNotExist
      containers:
      - image: quay.io/fluentd_elasticsearch/fluentd:v4.5.2
        imagePullPolicy: IfNotPresent
        name: fluentd
        resources: {}
        terminationMessagePath: /dev/termination-log
        terminationMessagePolicy: File
      dnsPolicy: ClusterFirst
      restartPolicy: Always
      schedulerName: default-scheduler
      securityContext: {}
      terminationGracePeriodSeconds: 30
      tolerations:
      - effect: NoSchedule
        key: nvidia.com/gpu
        operator: Exists
  updateStrategy:
    rollingUpdate:
      maxSurge: 0
      maxUnavailable: 1
    type: RollingUpdate
status:
  currentNumberScheduled: 4
  desiredNumberScheduled: 4
  numberAvailable: 4
  numberMisscheduled: 0
  numberReady: 4
  observedGeneration: 1
  updatedNumberScheduled: 4
";
