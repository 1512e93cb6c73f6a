//! The reviews that are measured: made up here, in the shape and size of real ones.

use serde::Serialize;
use serde_json::{Value, json};

/// How large a review is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Size {
    /// About 7 KB, as the DaemonSet of a network agent is: init containers, host paths, probes.
    #[serde(rename = "7 KB")]
    Usual,
    /// About 100 KB: the same with a long list of environment variables in each of its containers.
    #[serde(rename = "100 KB")]
    Large,
}

impl Size {
    /// The word in reports.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Usual => "7 KB",
            Self::Large => "100 KB",
        }
    }
}

/// The bytes of an AdmissionReview of a create, as the API server sends them.
#[must_use]
pub fn review(size: Size) -> Vec<u8> {
    let object = daemon_set(size);
    let review = json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "0df28fbd-5f5f-11e8-bc74-36e6bb280816",
            "kind": {"group": "apps", "version": "v1", "kind": "DaemonSet"},
            "resource": {"group": "apps", "version": "v1", "resource": "daemonsets"},
            "requestKind": {"group": "apps", "version": "v1", "kind": "DaemonSet"},
            "requestResource": {"group": "apps", "version": "v1", "resource": "daemonsets"},
            "name": "node-agent",
            "namespace": "platform",
            "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:delivery:deployer", "uid": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:delivery", "system:authenticated"]},
            "object": object,
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "kubectl-client-side-apply",
                "fieldValidation": "Strict"},
        },
    });
    review.to_string().into_bytes()
}

/// The DaemonSet in that review.
#[must_use]
pub fn daemon_set(size: Size) -> Value {
    let variables = match size {
        Size::Usual => 12,
        Size::Large => 640,
    };
    let container = |name: &str, n: usize| {
        json!({
            "name": name,
            "image": format!("registry.example.com/platform/{name}:v3.29.1"),
            "imagePullPolicy": "IfNotPresent",
            "command": [format!("/opt/bin/{name}"), "--config=/etc/node-agent/config.yaml", "--log-level=info"],
            "env": environment(n),
            "resources": {"requests": {"cpu": "250m", "memory": "128Mi"}},
            "volumeMounts": mounts(),
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "securityContext": {"privileged": true},
        })
    };
    let mut agent = container("node-agent", variables);
    agent["livenessProbe"] = probe("liveness");
    agent["readinessProbe"] = probe("readiness");
    let labels = json!({"app.kubernetes.io/name": "node-agent", "app.kubernetes.io/part-of": "platform"});
    json!({
        "kind": "DaemonSet",
        "apiVersion": "apps/v1",
        "metadata": {
            "name": "node-agent",
            "namespace": "platform",
            "creationTimestamp": null,
            "labels": labels,
            "annotations": {"deprecated.daemonset.template.generation": "0", "example.com/owner": "team-platform@example.com"},
        },
        "spec": {
            "selector": {"matchLabels": {"app.kubernetes.io/name": "node-agent"}},
            "template": {
                "metadata": {"creationTimestamp": null, "labels": labels},
                "spec": {
                    "volumes": volumes(),
                    "initContainers": [container("upgrade", 0), container("install", variables / 2)],
                    "containers": [agent],
                    "restartPolicy": "Always",
                    "terminationGracePeriodSeconds": 0,
                    "dnsPolicy": "ClusterFirst",
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "serviceAccountName": "node-agent",
                    "serviceAccount": "node-agent",
                    "securityContext": {},
                    "schedulerName": "default-scheduler",
                    "tolerations": [
                        {"key": "example.com/dedicated", "operator": "Exists", "effect": "NoSchedule"},
                        {"key": "CriticalAddonsOnly", "operator": "Exists"},
                    ],
                },
            },
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            "revisionHistoryLimit": 10,
        },
        "status": {"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0},
    })
}

fn environment(n: usize) -> Vec<Value> {
    let variable = |i: usize| match i % 3 {
        0 => {
            json!({"name": format!("AGENT_OPTION_{i}"), "value": format!("value of option {i}, \"quoted\"")})
        }
        1 => json!({"name": format!("AGENT_NODE_{i}"),
            "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}}),
        _ => json!({"name": format!("AGENT_SETTING_{i}"),
            "valueFrom": {"configMapKeyRef": {"name": "node-agent-config", "key": format!("setting_{i}"), "optional": true}}}),
    };
    (0..n).map(variable).collect()
}

const PATHS: [(&str, &str); 7] = [
    ("lib-modules", "/lib/modules"),
    ("run", "/var/run/node-agent"),
    ("lib", "/var/lib/node-agent"),
    ("lock", "/run/xtables.lock"),
    ("bin", "/opt/node-agent/bin"),
    ("log", "/var/log/node-agent"),
    ("policy", "/var/run/nodeagent-policy"),
];

fn mounts() -> Vec<Value> {
    let mount = |(name, path): &(&str, &str)| json!({"name": name, "readOnly": *name == "lib-modules", "mountPath": path});
    PATHS.iter().map(mount).collect()
}

fn volumes() -> Vec<Value> {
    let volume = |(name, path): &(&str, &str)| json!({"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}});
    PATHS.iter().map(volume).collect()
}

fn probe(name: &str) -> Value {
    json!({
        "exec": {"command": ["/opt/bin/node-agent", format!("--{name}")]},
        "initialDelaySeconds": 10, "timeoutSeconds": 10, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn have_the_size_that_their_name_says() {
        for (size, expected) in [(Size::Usual, 6_800..7_600), (Size::Large, 97_000..103_000)] {
            let found = review(size).len();
            assert!(expected.contains(&found), "{}: {found}", size.label());
        }
    }
}
