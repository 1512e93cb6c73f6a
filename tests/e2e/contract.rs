//! How the API server treats a webhook's answers: the claims of the webhook contract that Wardset's server cannot
//! prove.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::canned::{Answer, Asked, Canned, encode};
use crate::registration::Kind::{self, Mutating, Validating};
use crate::support::{Namespace, Run, example};

/// Returns a webhook that gets two reviews of each DaemonSet: before and after the change and validation.
fn canned(own: &Value, answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> (Canned, Namespace) {
    let canned = Canned::start(&[(Mutating, own.clone()), (Validating, own.clone())], answer);
    let namespace = canned.namespace("contract");
    (canned, namespace)
}

/// Requests the creation of a DaemonSet in a dry run. The webhook chooses its answer by the name.
fn ask(namespace: &Namespace, name: &str) -> Run {
    ask_for(namespace, name, &example(), &[])
}

fn ask_for(namespace: &Namespace, name: &str, object: &Value, args: &[&str]) -> Run {
    let mut object = object.clone();
    object["metadata"]["name"] = name.into();
    object["metadata"]["namespace"] = namespace.name().into();
    let args = [&["create", "--dry-run=server", "--filename=-"], args].concat();
    namespace.run_with_input(&args, &object.to_string())
}

/// Returns kubectl's message if the webhook's answer is invalid.
fn no_answer(why: &str) -> String {
    format!(
        "Error from server (InternalError): error when creating \"STDIN\": Internal error occurred: failed calling \
         webhook \"canned.wardset.dev\": {why}\n"
    )
}

#[test]
fn api_server_requires_patch_and_patch_type_together() {
    let (_canned, namespace) = canned(&json!({}), |asked| {
        let patch = encode(&json!([{ "op": "add", "path": "/metadata/labels/added", "value": "yes" }]));
        let (kind, response) = match asked.name() {
            "patch-alone" => (Mutating, json!({ "allowed": true, "patch": patch })),
            "type-alone" => (Mutating, json!({ "allowed": true, "patchType": "JSONPatch" })),
            "other-type" => (Mutating, json!({ "allowed": true, "patchType": "MergePatch", "patch": patch })),
            "both" => (Mutating, json!({ "allowed": true, "patchType": "JSONPatch", "patch": patch })),
            "late-patch" => (Validating, json!({ "allowed": true, "patch": patch })),
            "late-type" => (Validating, json!({ "allowed": true, "patchType": "JSONPatch" })),
            _ => (Mutating, json!({ "allowed": true })),
        };
        if asked.kind == kind { asked.respond(&response) } else { asked.allow() }
    });
    let invalid = "received invalid webhook response: ";
    for (name, why) in [
        ("patch-alone", format!("{invalid}webhook returned response.patch but not response.patchType")),
        ("type-alone", format!("{invalid}webhook returned response.patchType but not response.patch")),
        ("other-type", "unsupported patch type \"MergePatch\"".to_owned()),
        ("late-patch", format!("{invalid}validating webhook may not return response.patch")),
        ("late-type", format!("{invalid}validating webhook may not return response.patchType")),
    ] {
        assert_eq!(ask(&namespace, name).failed().stderr, no_answer(&why), "{name}");
    }
    assert_eq!(ask(&namespace, "neither").succeeded().stderr, "");
    let stored = ask_for(&namespace, "both", &example(), &["--output=json"]).succeeded().stdout;
    let stored: Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(stored["metadata"]["labels"], json!({ "k8s-app": "fluentd-agent", "added": "yes" }));
}

#[test]
fn api_server_rejects_answers_with_another_uid_or_version() {
    let (_canned, namespace) = canned(&json!({}), |asked| match asked.name() {
        "other-uid" => asked.respond(&json!({ "allowed": true, "uid": "another" })),
        "no-version" => (200, json!({ "response": { "uid": asked.request()["uid"], "allowed": true } })),
        "unknown-member" => asked.respond(&json!({ "allowed": true, "unheardOf": 1 })),
        _ => asked.allow(),
    });
    let words = ask(&namespace, "other-uid").failed().stderr;
    assert!(words.contains("received invalid webhook response: expected response.uid=\""), "{words}");
    assert!(words.ends_with("\", got \"another\"\n"), "{words}");
    let words = ask(&namespace, "no-version").failed().stderr;
    let why = "received invalid webhook response: expected webhook response of admission.k8s.io/v1, \
               Kind=AdmissionReview, got /, Kind=";
    assert_eq!(words, no_answer(why));
    ask(&namespace, "unknown-member").succeeded();
}

#[test]
fn denial_counts_with_any_code_and_failure_policy() {
    let (_canned, namespace) = canned(&json!({ "failurePolicy": "Ignore" }), |asked| {
        let code = asked.name().strip_prefix("code-").and_then(|code| code.parse::<u16>().ok());
        match (code, asked.name()) {
            (Some(code), _) => asked.respond(&json!({
                "allowed": false, "status": { "code": code, "reason": "Forbidden", "message": "no way" },
            })),
            (None, "bare") => asked.respond(&json!({ "allowed": false })),
            (None, _) => {
                asked.respond(&json!({ "allowed": true, "status": { "code": 403, "message": "hm" } }))
            }
        }
    });
    // The API server replaces codes that are not error codes with 400.
    for (sent, came) in [(0, 400), (200, 400), (399, 400), (403, 403), (422, 422), (500, 500), (503, 503)] {
        let run = ask_for(&namespace, &format!("code-{sent}"), &example(), &["--v=6"]).failed();
        let words = "Error from server (Forbidden): error when creating \"STDIN\": admission webhook \
                     \"canned.wardset.dev\" denied the request: no way\n";
        assert!(run.stderr.ends_with(words), "{sent}: {}", run.stderr);
        assert!(run.stderr.contains(&format!("status=\"{came} ")), "{sent}: {}", run.stderr);
    }
    assert_eq!(
        ask(&namespace, "bare").failed().stderr,
        "Error from server: error when creating \"STDIN\": admission webhook \"canned.wardset.dev\" denied the request \
         without explanation\n"
    );
    // Only `allowed` counts.
    assert_eq!(ask(&namespace, "allowed").succeeded().stderr, "");
}

/// Answers with the status that the name contains, or after a delay.
fn failing(asked: &Asked) -> Answer {
    match asked.name().strip_prefix("status-").and_then(|status| status.parse().ok()) {
        Some(status) => (status, "policy `x` could not decide\n".into()),
        None => {
            thread::sleep(Duration::from_secs(3));
            asked.allow()
        }
    }
}

#[test]
fn failure_policy_fail_refuses_if_the_status_is_not_200() {
    let (_canned, namespace) = canned(&json!({ "timeoutSeconds": 1 }), failing);
    // The answer's text reaches the author, unless the API server has its own text for the status.
    for (status, why) in [
        (400, "the server rejected our request for an unknown reason"),
        (403, "policy `x` could not decide"),
        (429, "the server has received too many requests and has asked us to try again later"),
        (
            500,
            "an error on the server (\"policy `x` could not decide\") has prevented the request from succeeding",
        ),
        (503, "the server is currently unable to handle the request"),
    ] {
        let words = ask(&namespace, &format!("status-{status}")).failed().stderr;
        assert_eq!(words, no_answer(&format!("failed to call webhook: {why}")), "{status}");
    }
    let words = ask(&namespace, "late").failed().stderr;
    assert!(words.contains("failed to call webhook: Post \"https://127.0.0.1:"), "{words}");
    assert!(words.ends_with("/mutate?timeout=1s\": context deadline exceeded\n"), "{words}");
}

#[test]
fn failure_policy_ignore_allows_if_the_status_is_not_200() {
    let (canned, namespace) = canned(&json!({ "timeoutSeconds": 1, "failurePolicy": "Ignore" }), failing);
    for name in ["status-400", "status-429", "status-500", "status-503", "late"] {
        assert_eq!(ask(&namespace, name).succeeded().stderr, "", "{name}");
    }
    assert_eq!(canned.asked().len(), 10, "expected one call of each kind per request");
}

#[test]
fn each_review_carries_the_configured_timeout() {
    let canned = Canned::start(
        &[(Mutating, json!({ "timeoutSeconds": 7 })), (Validating, json!({ "timeoutSeconds": 30 }))],
        Asked::allow,
    );
    let namespace = canned.namespace("contract");
    ask(&namespace, "any").succeeded();
    let queries: Vec<(Kind, String)> =
        canned.asked().into_iter().map(|asked| (asked.kind, asked.query)).collect();
    assert_eq!(queries, [(Mutating, "timeout=7s".to_owned()), (Validating, "timeout=30s".to_owned())]);
}

#[test]
fn warnings_are_cut_to_256_characters_if_they_exceed_4096_in_total() {
    let (_canned, namespace) = canned(&json!({}), |asked| {
        // `NUMBER-of-LENGTH` requests NUMBER texts that differ in their first character.
        let mut words = asked.name().split("-of-").map_while(|number| number.parse::<usize>().ok());
        let (Some(number), Some(length), Mutating) = (words.next(), words.next(), asked.kind) else {
            return asked.allow();
        };
        // Each character takes two bytes, which distinguishes characters from bytes.
        let text = |first| format!("{first}{}", "ä".repeat(length - 1));
        let warnings: Vec<String> = ('A'..).take(number).map(text).collect();
        asked.respond(&json!({ "allowed": true, "warnings": warnings }))
    });
    for (sent, number, length) in [
        ("1-of-1000", 1, 1000),
        ("1-of-4096", 1, 4096),
        ("1-of-4097", 1, 256),
        ("16-of-256", 16, 256),
        ("13-of-300", 13, 300),
        ("14-of-300", 14, 256),
        ("20-of-300", 16, 256),
        // The API server notices the limit only after it has added one warning too many.
        ("17-of-256", 17, 256),
        ("20-of-256", 17, 256),
    ] {
        let words = ask(&namespace, sent).succeeded().stderr;
        let lengths: Vec<usize> =
            words.lines().map(|line| line.strip_prefix("Warning: ").unwrap().chars().count()).collect();
        assert_eq!(lengths, vec![length; number], "{sent}");
    }
}

#[test]
fn drops_warnings_with_control_characters_and_shows_duplicates_once() {
    let (_canned, namespace) = canned(&json!({}), |asked| {
        let warnings = match asked.name() {
            "lines" => json!(["one\ntwo", "three"]),
            "control" => json!(["a\ttab", "an \u{1b}[31mescape", "kept"]),
            "prefix" => json!(["Warning: x"]),
            "repeated" => json!(["x", "x", ""]),
            "quoted" => json!(["it says \"no\" and \\"]),
            _ => {
                return asked.respond(&json!({
                    "allowed": false, "warnings": ["careful"],
                    "status": { "code": 403, "reason": "Forbidden", "message": "first\nsecond" },
                }));
            }
        };
        // Both kinds return the warning, and kubectl shows it once.
        asked.respond(&json!({ "allowed": true, "warnings": warnings }))
    });
    for (name, shown) in [
        ("lines", "Warning: three\n"),
        ("control", "Warning: kept\n"),
        ("prefix", "Warning: Warning: x\n"),
        ("repeated", "Warning: x\n"),
        ("quoted", "Warning: it says \"no\" and \\\n"),
    ] {
        assert_eq!(ask(&namespace, name).succeeded().stderr, shown, "{name}");
    }
    // A denial may contain line breaks, and its warnings are shown too.
    assert_eq!(
        ask(&namespace, "denied").failed().stderr,
        "Warning: careful\nError from server (Forbidden): error when creating \"STDIN\": admission webhook \
         \"canned.wardset.dev\" denied the request: first\nsecond\n"
    );
}
