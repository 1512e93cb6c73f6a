//! The imports through which a guest can read, and their results: only data that the manifest declares and the operator
//! allows.

use std::collections::BTreeMap;

use wardset_core::policy::NamespaceLabels;

use super::*;

/// The result of a guest's read.
#[derive(Debug, PartialEq)]
enum Finds<'t> {
    Text(&'t str),
    /// The document has no value at this pointer.
    Nothing,
    /// The host stops the guest, and the review fails with the class `access`.
    Closed,
}

use Finds::{Closed, Nothing, Text};

/// The manifest's `reads`, the pointer, the result in the object, the result in the old object.
const READS: &[(&str, &str, Finds<'static>, Finds<'static>)] = &[
    // The declared pointer, and pointers below it.
    ("/metadata/labels", "/metadata/labels", Text(r#"{"team":"edge"}"#), Text("{}")),
    ("/metadata/labels", "/metadata/labels/team", Text(r#""edge""#), Nothing),
    ("/metadata/labels", "/metadata/labels/none", Nothing, Nothing),
    ("/metadata/labels", "/metadata/labels/team/below", Nothing, Nothing),
    ("/metadata/labels", "/metadata/labels/", Nothing, Nothing),
    // Parents, and the whole document.
    ("/metadata/labels", "/metadata", Closed, Closed),
    ("/metadata/labels", "", Closed, Closed),
    ("/metadata/labels", "/", Closed, Closed),
    ("none", "", Closed, Closed),
    ("none", "/metadata/name", Closed, Closed),
    // Siblings, and names that only begin with the same letters.
    ("/metadata/labels", "/metadata/annotations", Closed, Closed),
    ("/metadata/labels", "/metadata/labels2", Closed, Closed),
    ("/metadata/labels", "/metadata/label", Closed, Closed),
    ("/metadata/labels", "/Metadata/labels", Closed, Closed),
    ("/metadata/name /kind", "/metadata/uid", Closed, Closed),
    ("/metadata/name /kind", "/kind", Text(r#""DaemonSet""#), Text(r#""DaemonSet""#)),
    // The whole document is declared.
    (r#""""#, "/status/currentNumberScheduled", Text("3"), Text("3")),
    // Another spelling is another pointer, or a malformed one.
    ("/metadata/annotations/a~1b", "/metadata/annotations/a/b", Closed, Closed),
    ("/metadata/annotations/a~1b", "/metadata/annotations/a~01b", Closed, Closed),
    ("/metadata/annotations/a~1b", "/metadata/annotations/a~1b", Text(r#""slash""#), Text(r#""slash""#)),
    ("/metadata/annotations/a~0b", "/metadata/annotations/a~0b", Text(r#""tilde""#), Text(r#""tilde""#)),
    ("/metadata/annotations/a~0b", "/metadata/annotations/a~1b", Closed, Closed),
    ("/metadata/annotations/a~1b", "/metadata/annotations/a~2b", Closed, Closed),
    ("/metadata/annotations/a~1b", "/metadata/annotations/a~", Closed, Closed),
    ("/metadata/labels", "metadata/labels", Closed, Closed),
    ("/metadata/labels", "/metadata/labels/../name", Nothing, Nothing),
    ("/metadata/labels", "/metadata/%6cabels", Closed, Closed),
    // Indexes of arrays.
    (
        "/spec/template/spec/containers/0/name",
        "/spec/template/spec/containers/0/name",
        Text(r#""agent""#),
        Text(r#""agent""#),
    ),
    ("/spec/template/spec/containers/0/name", "/spec/template/spec/containers/0/image", Closed, Closed),
    ("/spec/template/spec/containers/0", "/spec/template/spec/containers/1", Closed, Closed),
    ("/spec/template/spec/containers/0", "/spec/template/spec/containers/00", Closed, Closed),
    ("/spec/template/spec/containers/0", "/spec/template/spec/containers/-", Closed, Closed),
    ("/spec/template/spec/containers", "/spec/template/spec/containers/00", Nothing, Nothing),
    ("/spec/template/spec/containers", "/spec/template/spec/containers/-", Nothing, Nothing),
    (
        "/spec/template/spec/containers",
        "/spec/template/spec/containers/18446744073709551616",
        Nothing,
        Nothing,
    ),
];

#[tokio::test]
async fn a_guest_can_read_only_declared_pointers() {
    for (reads, pointer, object, old_object) in READS {
        for (door, expected) in [("object", object), ("old-object", old_object)] {
            let guest = reader(door, reads, pointer);
            let decision = decide(&in_force(&guest, false).await, &update()).await;
            assert_eq!(found(&decision), *expected, "`{door}` at `{pointer}`, declared: `{reads}`");
        }
    }
}

/// In a create, the old object is absent at every pointer.
#[tokio::test]
async fn a_create_has_no_old_object() {
    let guest = reader("old-object", r#""""#, "");
    let decision = decide(&in_force(&guest, false).await, &review(Of::Create, false)).await;
    assert_eq!(found(&decision), Nothing);
}

#[tokio::test]
async fn cluster_data_requires_manifest_and_operator() {
    let labels = r#"{"team":"edge"}"#;
    let known = || NamespaceLabels::Known(BTreeMap::from([("team".to_owned(), "edge".to_owned())]).into());
    for (declared, allowed, labelled, expected) in [
        (true, true, true, Text(labels)),
        (true, true, false, Nothing),
        (false, true, true, Closed),
        (false, false, true, Closed),
    ] {
        let guest = reader("data", if declared { "cluster" } else { "none" }, "");
        let namespace_labels = if labelled { known() } else { NamespaceLabels::Unknown };
        let (snapshot, context) =
            (in_force(&guest, allowed).await, Context { namespace_labels, nodes: None });
        let until = Instant::now() + SOON;
        let decision = snapshot.decide(&review(Of::Create, false), &context, Phase::Mutate, until).await;
        assert_eq!(found(&decision), expected, "declared: {declared}, allowed: {allowed}");
    }
    // If the manifest declares it and the operator does not allow it, the policy does not become active: see
    // `cluster-declared` in the table.
}

/// While a module is loaded there is no review, so each import fails, even if the manifest declares it.
#[tokio::test]
async fn every_import_fails_while_a_module_is_loaded() {
    let calls = [
        "(call $object (i32.const 0x1000) (i32.const 0) (i32.const 0x40))",
        "(call $old-object (i32.const 0x1000) (i32.const 0) (i32.const 0x40))",
        "(call $data (i32.const 0) (i32.const 0x40))",
        "(call $write (i32.const 3) (i32.const 0x1000) (i32.const 1))",
    ];
    let settled = "(i32.store (i32.const 0) (i32.const 0)) (i32.const 0)";
    for call in calls {
        let start = format!("(func $start {call}) (start $start)");
        let manifest = format!("(func (export \"manifest\") (result i32) {call} (i32.const 0x4000))");
        let settings =
            format!("(func (export \"validate-settings\") (param i32 i32) (result i32) {call} {settled})");
        for (when, fields) in [("start", start), ("manifest", manifest), ("settings", settings)] {
            let guest = format!(";;@ cluster namespace-labels\n{fields}\n");
            let by = match Module::load(&ENGINE, &guests::made("looks", &guest), None).await {
                Err(error) => refused(&error),
                Ok(module) => {
                    let policies = [(allowing(true), Arc::new(module))];
                    unusable(&Snapshot::new(Arc::clone(&ENGINE), policies).await.err().unwrap())
                }
            };
            let closed = if when == "settings" { By::Settings(Access) } else { By::Start(Access) };
            assert_eq!(by, closed, "{when}: {call}");
        }
    }
}

/// Returns a guest that reads through an import and puts the result into a warning.
fn reader(door: &str, reads: &str, pointer: &str) -> String {
    let (declared, call) = match door {
        "data" => ("none", "(call $data (i32.const 0) (i32.const 0x40))".to_owned()),
        _ => (
            reads,
            format!("(call ${door} (i32.const 0x1000) (i32.const {}) (i32.const 0x40))", pointer.len()),
        ),
    };
    let cluster = if reads == "cluster" { ";;@ cluster namespace-labels\n" } else { "" };
    format!(
        ";;@ reads {declared}\n{cluster}\
         (data (i32.const 0x1000) \"{pointer}\")\n\
         (data (i32.const 0x1800) \"nothing\")\n\
         (func (export \"evaluate\") (type $evaluate)\n\
           {call}\n\
           (if (result i32) (i32.load8_u (i32.const 0x40))\n\
             (then (call $warned (i32.load (i32.const 0x44)) (i32.load (i32.const 0x48))))\n\
             (else (call $warned (i32.const 0x1800) (i32.const 7)))))\n"
    )
}

async fn in_force(guest: &str, allowed: bool) -> Snapshot {
    let module = Module::load(&ENGINE, &guests::made("reader", guest), None).await.unwrap();
    Snapshot::new(Arc::clone(&ENGINE), [(allowing(allowed), Arc::new(module))]).await.unwrap()
}

fn allowing(cluster_data: bool) -> Policy {
    let mut policy = policy("hostile", 0, Mode::Enforce, OnError::Fail, "10s");
    if cluster_data {
        policy.cluster_data = vec![wardset_core::policy::ClusterData::NamespaceLabels];
    }
    policy
}

fn update() -> Review {
    let mut old = object();
    annotate(&mut old);
    old["metadata"]["labels"] = json!({});
    let mut new = object();
    annotate(&mut new);
    let bytes = crate::support::admission_review(&new, Some(&old));
    match Question::parse(&bytes).unwrap() {
        Question::Decide(review) => *review,
        Question::PassOver { reason, .. } => panic!("skipped: {reason}"),
    }
}

/// Adds keys that a pointer has to escape.
fn annotate(object: &mut Value) {
    object["metadata"]["annotations"]["a/b"] = json!("slash");
    object["metadata"]["annotations"]["a~b"] = json!("tilde");
}

fn found(decision: &Decision) -> Finds<'_> {
    match &report(decision, "hostile").result {
        PolicyResult::Allowed { warnings, .. } if warnings.len() == 1 => match &*warnings[0].message {
            "nothing" => Nothing,
            text => Text(text),
        },
        PolicyResult::Failed(failure) if failure.class == Access => Closed,
        other => panic!("{other:?}"),
    }
}
