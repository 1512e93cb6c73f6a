//! Ways to write the same object again. None may restart pods, and none may conflict with the policies.

use serde_json::{Value, json};

use crate::gate::Gate;
use crate::life::{affinity, tolerations, words};
use crate::pods::{WORKERS_AND_GPU, generation};
use crate::support::{Namespace, Run, example};

/// Returns the example with a toleration of its own, in a list that both kinds of patches replace as a whole.
fn with_toleration() -> Value {
    let mut object = example();
    object["spec"]["template"]["spec"]["tolerations"] = json!([{ "key": "own", "operator": "Exists" }]);
    object
}

fn write(namespace: &Namespace, verb: &[&str], object: &Value) -> Run {
    let mut object = object.clone();
    object["metadata"]["namespace"] = namespace.name().into();
    namespace.run_with_input(&[verb, &["--filename=-"]].concat(), &object.to_string())
}

/// Returns kubectl's message about the object. Asserts that there is no warning.
fn said(run: Run) -> String {
    let run = run.succeeded();
    assert_eq!(words(&run.stderr), "");
    run.stdout.strip_prefix("daemonset.apps/fluentd-agent ").unwrap().trim_end().to_owned()
}

fn same(before: &Value, after: &Value) {
    assert_eq!(after["spec"], before["spec"]);
    assert_eq!(generation(after), generation(before));
}

#[test]
fn apply_is_unchanged_if_the_author_sets_no_extended_list() {
    let gate = Gate::shared();
    let namespace = gate.namespace("apply");
    assert_eq!(said(write(&namespace, &["apply"], &example())), "created");
    let first = namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
    let decided = gate.decisions(namespace.name());
    assert_eq!(said(write(&namespace, &["apply"], &example())), "unchanged");
    // kubectl noticed without a request that nothing changed.
    assert_eq!(gate.decisions(namespace.name()), decided);
    let second = namespace.daemonset("fluentd-agent");
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
}

#[test]
fn apply_repeats_the_same_additions_if_the_author_sets_an_extended_list() {
    let gate = Gate::shared();
    let namespace = gate.namespace("apply-list");
    assert_eq!(said(write(&namespace, &["apply"], &with_toleration())), "created");
    let first = namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
    let own_first = json!([{ "key": "own", "operator": "Exists" }, tolerations()[0]]);
    assert_eq!(first["spec"]["template"]["spec"]["tolerations"], own_first);
    let pods = namespace.pod_names(&first);
    for _ in 0..2 {
        // kubectl finds additions in its list, sends its own list again and reports the response as a change.
        assert_eq!(said(write(&namespace, &["apply"], &with_toleration())), "configured");
        let again = namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
        same(&first, &again);
    }
    let again = namespace.daemonset("fluentd-agent");
    assert_eq!((namespace.revisions(), namespace.pod_names(&again)), (vec![1], pods));
    let last = gate.decisions(namespace.name());
    assert_eq!(last[last.len() - 2].short(), "mutate update allowed /spec/template/spec/tolerations/-");
}

#[test]
fn server_side_apply_repeats_without_conflict_or_new_generation() {
    let gate = Gate::shared();
    for object in [example(), with_toleration()] {
        let namespace = gate.namespace("server-side");
        let apply = ["apply", "--server-side"];
        assert_eq!(said(write(&namespace, &apply, &object)), "serverside-applied");
        let first = namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
        assert_eq!(first["spec"]["template"]["spec"]["affinity"], affinity());
        for _ in 0..2 {
            assert_eq!(said(write(&namespace, &apply, &object)), "serverside-applied");
            same(&first, &namespace.settled("fluentd-agent", &WORKERS_AND_GPU));
        }
        assert_eq!(namespace.revisions(), [1]);
    }
}

#[test]
fn server_side_apply_needs_force_once_if_policies_extended_a_list() {
    let gate = Gate::shared();
    let namespace = gate.namespace("to-server-side");
    for (object, conflicts) in [(example(), false), (with_toleration(), true)] {
        assert_eq!(said(write(&namespace, &["apply"], &object)), "created");
        let first = namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
        if conflicts {
            // kubectl's client-side apply counts as another field manager, and its list is longer.
            let words = write(&namespace, &["apply", "--server-side"], &object).failed().stderr;
            let with = "conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.template.spec.tolerations\n";
            assert!(words.starts_with(&format!("error: Apply failed with 1 conflict: {with}")), "{words}");
            let forced = ["apply", "--server-side", "--force-conflicts"];
            assert_eq!(said(write(&namespace, &forced, &object)), "serverside-applied");
        }
        assert_eq!(said(write(&namespace, &["apply", "--server-side"], &object)), "serverside-applied");
        same(&first, &namespace.settled("fluentd-agent", &WORKERS_AND_GPU));
        namespace.succeed(&["delete", "daemonset", "fluentd-agent"]);
    }
}

#[test]
fn second_author_of_an_extended_list_must_force_apply() {
    // Two field managers can share a list only if both write the stored list. Neither of these has the policies'
    // additions.
    let gate = Gate::shared();
    let namespace = gate.namespace("two-authors");
    let apply = ["apply", "--server-side", "--field-manager=other"];
    assert_eq!(
        said(write(&namespace, &["apply", "--server-side"], &with_toleration())),
        "serverside-applied"
    );
    let first = namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
    let words = write(&namespace, &apply, &with_toleration()).failed().stderr;
    let conflict = "conflict with \"kubectl\": .spec.template.spec.tolerations\n";
    assert!(words.starts_with(&format!("error: Apply failed with 1 conflict: {conflict}")), "{words}");
    assert_eq!(said(write(&namespace, &apply, &example())), "serverside-applied");
    let forced = [&apply[..], &["--force-conflicts"]].concat();
    assert_eq!(said(write(&namespace, &forced, &with_toleration())), "serverside-applied");
    same(&first, &namespace.settled("fluentd-agent", &WORKERS_AND_GPU));
}

#[test]
fn replace_without_additions_stores_them_again() {
    let gate = Gate::shared();
    let namespace = gate.namespace("replace");
    assert_eq!(said(write(&namespace, &["create"], &with_toleration())), "created");
    let first = namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
    assert_eq!(said(write(&namespace, &["replace"], &with_toleration())), "replaced");
    same(&first, &namespace.settled("fluentd-agent", &WORKERS_AND_GPU));
    assert_eq!(namespace.revisions(), [1]);
}

#[test]
fn dry_run_gets_the_same_answer_and_stores_nothing() {
    let gate = Gate::shared();
    let namespace = gate.namespace("dry-run");
    let run = write(&namespace, &["create", "--dry-run=server", "--output=json"], &example()).succeeded();
    let tried: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        namespace.run(&["get", "ds"]).stderr,
        format!("No resources found in {} namespace.\n", namespace.name())
    );
    let dry = gate.decisions(namespace.name());
    assert!(dry.len() == 2 && dry.iter().all(|decided| decided.dry_run), "{dry:#?}");

    assert_eq!(said(write(&namespace, &["create"], &example())), "created");
    let stored = namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
    same(&tried, &stored);
    assert_eq!(tried["metadata"]["labels"], stored["metadata"]["labels"]);
    let wet = gate.decisions(namespace.name())[2..].to_vec();
    let answers = |decided: &[crate::gate::Decided]| -> Vec<(String, String)> {
        decided.iter().map(|decided| (decided.short(), decided.policies.clone())).collect()
    };
    assert_eq!(answers(&wet), answers(&dry));

    let mut other = example();
    other["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other");
    assert_eq!(
        said(write(&namespace, &["replace", "--dry-run=server"], &other)),
        "replaced (server dry run)"
    );
    same(&stored, &namespace.daemonset("fluentd-agent"));
}

#[test]
fn object_with_generate_name_gets_the_same_changes() {
    let gate = Gate::shared();
    let namespace = gate.namespace("generate");
    let mut object = example();
    object["metadata"].as_object_mut().unwrap().remove("name");
    object["metadata"]["generateName"] = json!("fluentd-");
    let run = write(&namespace, &["create", "--output=name"], &object).succeeded();
    let name = run.stdout.trim_end().strip_prefix("daemonset.apps/").unwrap();
    assert!(name.starts_with("fluentd-") && name.len() > "fluentd-".len(), "{name}");
    let stored = namespace.settled(name, &WORKERS_AND_GPU);
    assert_eq!(stored["spec"]["template"]["spec"]["affinity"], affinity());
    let names: Vec<String> =
        gate.decisions(namespace.name()).into_iter().map(|decided| decided.name).collect();
    assert_eq!(names, ["", name]);
}

#[test]
fn keeps_messages_of_kubectl_and_the_api_server() {
    let gate = Gate::shared();
    let namespace = gate.namespace("refused");
    assert_eq!(said(write(&namespace, &["create"], &example())), "created");
    let decided = gate.decisions(namespace.name());
    // A DaemonSet cannot be scaled.
    let words = namespace.run(&["scale", "ds", "fluentd-agent", "--replicas=3"]).failed().stderr;
    assert_eq!(words, "Error from server (NotFound): the server could not find the requested resource\n");
    let words = namespace.run(&["set", "image", "ds", "fluentd-agent", "another=image"]).failed().stderr;
    assert_eq!(words, "error: unable to find container named \"another\"\n");
    assert_eq!(gate.decisions(namespace.name()), decided);
    // The API server calls the webhook before it checks whether the object exists.
    let words = write(&namespace, &["create"], &example()).failed().stderr;
    assert!(
        words.contains(
            "(AlreadyExists): error when creating \"STDIN\": daemonsets.apps \"fluentd-agent\" already exists"
        ),
        "{words}"
    );
    assert!(gate.decisions(namespace.name()).len() > decided.len());
}
