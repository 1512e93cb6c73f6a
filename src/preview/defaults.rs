//! Compares a stored object with a manifest. Defaults that the API server adds do not count as differences.
//!
//! The defaults are those of pkg/apis/core/v1/defaults.go and pkg/apis/apps/v1/defaults.go, as far as they reach
//! DaemonSets. A default counts only with its value: another value is a change.

use serde_json::{Map, Value, json};

/// Facts about the pod that decide some defaults.
#[derive(Clone, Copy)]
struct Pod {
    host_network: bool,
}

/// Whether `stored` is `written` with defaults.
pub(super) fn equals(stored: &Value, written: &Value) -> bool {
    let host_network = written.pointer("/spec/hostNetwork") == Some(&Value::Bool(true));
    same("", stored, written, Pod { host_network })
}

/// Maps whose keys people choose, so that nothing in them is a default.
const FREE: [&str; 6] = ["labels", "annotations", "nodeSelector", "matchLabels", "data", "options"];

/// Compares the values of a member `key`.
fn same(key: &str, stored: &Value, written: &Value, pod: Pod) -> bool {
    match (stored, written) {
        (Value::Object(stored), Value::Object(written)) if FREE.contains(&key) => stored == written,
        (Value::Object(stored), Value::Object(written)) if matches!(key, "limits" | "requests") => {
            stored.len() == written.len()
                && stored.iter().all(|(name, value)| {
                    written.get(name).is_some_and(|written| is_same_quantity(value, written))
                })
        }
        (Value::Object(stored), Value::Object(written)) => {
            let of_written = written.iter().all(|(name, value)| match stored.get(name) {
                Some(stored) => same(name, stored, value, pod),
                None => is_left_out(name, value),
            });
            let absent = || stored.iter().filter(|(name, _)| !written.contains_key(*name));
            of_written && absent().all(|(name, value)| is_default(key, name, value, stored, pod))
        }
        (Value::Array(stored), Value::Array(written)) => {
            stored.len() == written.len()
                && stored.iter().zip(written).all(|(stored, written)| same(key, stored, written, pod))
        }
        (Value::Object(members), Value::Null) if !FREE.contains(&key) => {
            members.iter().all(|(name, value)| is_default(key, name, value, members, pod))
        }
        (stored, written) if matches!(key, "sizeLimit" | "divisor") => is_same_quantity(stored, written),
        (stored, written) => stored == written || (is_empty(stored) && is_empty(written)),
    }
}

/// Whether the API server does not store this member of a manifest: it is empty, or the zero of a field that is not a
/// pointer.
fn is_left_out(name: &str, value: &Value) -> bool {
    let zero = [&json!(false), &json!(""), &json!(0)].contains(&value);
    let is_plain = matches!(
        name,
        "hostPID"
            | "hostIPC"
            | "hostNetwork"
            | "stdin"
            | "stdinOnce"
            | "tty"
            | "readOnly"
            | "value"
            | "hostPort"
            | "hostIP"
            | "subPath"
            | "nodeName"
            | "minReadySeconds"
            | "key"
            | "workingDir"
    );
    is_empty(value) || (zero && is_plain)
}

/// Whether the API server adds this member with this value. `parent` is the member that holds it, and `siblings` are the
/// members beside it.
fn is_default(parent: &str, name: &str, value: &Value, siblings: &Map<String, Value>, pod: Pod) -> bool {
    let is = |default: Value| *value == default;
    match (parent, name) {
        _ if is_empty(value) => true,
        ("spec", "restartPolicy") => is(json!("Always")),
        ("spec", "dnsPolicy") => is(json!("ClusterFirst")),
        ("spec", "schedulerName") => is(json!("default-scheduler")),
        ("spec", "terminationGracePeriodSeconds") => is(json!(30)),
        ("spec", "serviceAccount") => siblings.get("serviceAccountName") == Some(value),
        ("", "revisionHistoryLimit") => is(json!(10)),
        ("", "minReadySeconds") => is(json!(0)),
        ("", "updateStrategy") => same(name, value, &json!({}), pod),
        ("updateStrategy", "type") => is(json!("RollingUpdate")),
        ("updateStrategy", "rollingUpdate") => same(name, value, &json!({}), pod),
        ("rollingUpdate", "maxSurge") => is(json!(0)),
        ("rollingUpdate", "maxUnavailable") => is(json!(1)),
        (_, "terminationMessagePath") => is(json!("/dev/termination-log")),
        (_, "terminationMessagePolicy") => is(json!("File")),
        (_, "imagePullPolicy") => is(json!("Always")) || is(json!("IfNotPresent")),
        ("ports", "protocol") => is(json!("TCP")),
        ("ports", "hostPort") => pod.host_network && siblings.get("containerPort") == Some(value),
        ("resources", "requests") => {
            siblings.get("limits").is_some_and(|limits| same(name, value, limits, pod))
        }
        (_, "successThreshold" | "timeoutSeconds") => is(json!(1)),
        (_, "failureThreshold") => is(json!(3)),
        (_, "periodSeconds") => is(json!(10)),
        ("httpGet", "path") => is(json!("/")),
        ("httpGet", "scheme") => is(json!("HTTP")),
        ("grpc", "service") | ("env", "value") | ("hostPath", "type") => is(json!("")),
        ("fieldRef", "apiVersion") => is(json!("v1")),
        ("resourceFieldRef", "divisor") => is(json!("0")),
        ("serviceAccountToken", "expirationSeconds") => is(json!(3600)),
        (_, "defaultMode") => is(json!(420)),
        (_, "procMount") => is(json!("Default")),
        _ => false,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Whether two quantities are equal: the API server stores `1024Mi` as `1Gi`, and the number 1 as `"1"`.
fn is_same_quantity(a: &Value, b: &Value) -> bool {
    a == b || quantity(a).is_some_and(|a| Some(a) == quantity(b))
}

/// Returns a quantity in thousandths of a thousandth; `None` if the text is not a simple quantity.
fn quantity(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let end =
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let power = |base: i128, exponent: u32| base.checked_pow(exponent);
    let factor = match suffix {
        "n" | "u" => return None,
        "m" => 1_000,
        "" => 1_000_000,
        "k" | "M" | "G" | "T" | "P" | "E" => {
            power(1000, "kMGTPE".find(suffix)? as u32 + 1)?.checked_mul(1_000_000)?
        }
        "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei" => {
            power(1024, "KMGTPE".find(suffix.get(..1)?)? as u32 + 1)?.checked_mul(1_000_000)?
        }
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut scale: i128 = 1;
    let mut total: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    for digit in fraction.chars() {
        scale = scale.checked_mul(10)?;
        total = total.checked_mul(10)?.checked_add(i128::from(digit.to_digit(10)?))?;
    }
    let scaled = total.checked_mul(factor)?;
    (scaled % scale == 0).then_some(scaled / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(container: Value, spec: Value) -> Value {
        let mut spec = spec;
        spec["containers"] = json!([container]);
        json!({"spec": spec})
    }

    #[test]
    fn values_that_the_api_server_writes_in_another_form_are_no_change() {
        for (stored, written) in [
            (
                json!({"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}),
                json!({"resources": {"limits": {"cpu": 1, "memory": "1024Mi"}}}),
            ),
            (
                json!({"resources": {"limits": {"cpu": "500m"}, "requests": {"cpu": "500m"}}}),
                json!({"resources": {"limits": {"cpu": "0.5"}}}),
            ),
            (
                json!({"livenessProbe": {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "periodSeconds": 10}}),
                json!({"livenessProbe": {"httpGet": {"port": 80}}}),
            ),
            (json!({"env": [{"name": "A", "value": ""}]}), json!({"env": [{"name": "A"}]})),
            (json!({"name": "a"}), json!({"name": "a", "stdin": false, "args": []})),
        ] {
            assert!(
                equals(&pod(stored.clone(), json!({})), &pod(written.clone(), json!({}))),
                "{stored} {written}"
            );
        }
        assert!(equals(&pod(json!({}), json!({})), &pod(json!({}), json!({"hostPID": false}))));
    }

    #[test]
    fn another_value_than_the_default_is_a_change() {
        for (stored, written) in [
            (json!({"securityContext": {"privileged": true}}), json!({})),
            (
                json!({"ports": [{"containerPort": 80, "hostPort": 80}]}),
                json!({"ports": [{"containerPort": 80}]}),
            ),
            (json!({"restartPolicy": "Always"}), json!({})),
            (json!({"resources": {"limits": {"cpu": "2"}}}), json!({"resources": {"limits": {"cpu": "1"}}})),
            (json!({"imagePullPolicy": "Never"}), json!({})),
        ] {
            assert!(
                !equals(&pod(stored.clone(), json!({})), &pod(written.clone(), json!({}))),
                "{stored} {written}"
            );
        }
        for (stored, written) in [
            (json!({"terminationGracePeriodSeconds": 300}), json!({})),
            (json!({"nodeSelector": {"mode": "x", "zone": "a"}}), json!({"nodeSelector": {"zone": "a"}})),
        ] {
            assert!(!equals(&pod(json!({}), stored.clone()), &pod(json!({}), written)), "{stored}");
        }
        let labels = |labels: Value| json!({"metadata": {"labels": labels}});
        assert!(!equals(&labels(json!({"a": "x", "mode": "y"})), &labels(json!({"a": "x"}))));
    }

    #[test]
    fn a_port_of_the_nodes_network_has_its_host_port_by_default() {
        let port = |port: Value| pod(json!({"ports": [port]}), json!({"hostNetwork": true}));
        let stored = port(json!({"containerPort": 80, "hostPort": 80, "protocol": "TCP"}));
        assert!(equals(&stored, &port(json!({"containerPort": 80}))));
    }
}
