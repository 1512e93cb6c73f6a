//! Rollouts that people ask about.

use std::time::Duration;

use serde_json::{Value, json};
use wardset_placement::{BlastRadius, Obstacle, RolloutLimit, UnavailableNodes};

use super::trial::{Kind, TEMPLATE, Trial, daemon_set, is_ready, is_terminating, outdated};
use crate::support::eventually;

fn agent(limit: Value) -> Value {
    let mut agent = daemon_set("agent", json!({ "type": "RollingUpdate", "rollingUpdate": limit }));
    agent["spec"]["template"]["spec"]["tolerations"] = json!([{ "operator": "Exists" }]);
    agent
}

fn on(mut agent: Value, nodes: &[String]) -> Value {
    let names = json!([{ "key": "kubernetes.io/hostname", "operator": "In", "values": nodes }]);
    agent["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
        json!({ "nodeSelectorTerms": [{ "matchExpressions": names }] });
    agent
}

/// Changes the template.
fn update(agent: &mut Value, template: usize) {
    agent["spec"]["template"]["metadata"]["annotations"][TEMPLATE] = template.to_string().into();
}

/// Predicts the update, lets the controller work, and returns the prediction and the pods.
fn roll_out(trial: &Trial, agent: &Value) -> (BlastRadius, Vec<Value>) {
    let before = trial.at_rest();
    let mut predicted = trial.predict(std::slice::from_ref(agent), &before);
    trial.replace(std::slice::from_ref(agent));
    (predicted.remove(0).radius, trial.at_rest())
}

#[test]
fn three_nodes_that_are_not_ready_stop_a_rollout_of_one_at_a_time() {
    let trial = Trial::new("not-ready", &[(Kind::Plain, 3), (Kind::Lost, 3)]);
    let mut agent = on(agent(json!({ "maxUnavailable": 1 })), trial.nodes());
    trial.create(std::slice::from_ref(&agent));
    trial.at_rest();
    trial.lose_nodes();
    update(&mut agent, 1);
    let (radius, pods) = roll_out(&trial, &agent);
    let nodes = UnavailableNodes { not_ready: 3, ..UnavailableNodes::default() };
    assert_eq!(radius.obstacle, Some(Obstacle::Unavailable { nodes, limit: 1, certain: true }));
    assert_eq!((radius.restarted, radius.replaced_at_once), (3, 3));
    // The controller has deleted the pods on the lost nodes, and waits for them for ever. It does not touch the others.
    assert_eq!(pods.iter().filter(|pod| is_terminating(pod)).count(), 3);
    let old = outdated(&agent, &pods);
    assert_eq!((old.len(), old.iter().all(|pod| is_ready(pod))), (3, true));
    trial.end();
}

#[test]
fn new_pod_of_a_surge_waits_for_the_port_of_the_old_one() {
    let trial = Trial::new("surge-port", &[(Kind::Plain, 2)]);
    let mut agent = on(agent(json!({ "maxSurge": 1, "maxUnavailable": 0 })), trial.nodes());
    agent["spec"]["template"]["spec"]["containers"][0]["ports"] =
        json!([{ "containerPort": 9100, "hostPort": 9100 }]);
    trial.create(std::slice::from_ref(&agent));
    update(&mut agent, 1);
    let (radius, pods) = roll_out(&trial, &agent);
    assert_eq!(radius.obstacle, Some(Obstacle::SurgePort { port: "9100/TCP".into() }));
    assert_eq!((outdated(&agent, &pods).len(), pods.len()), (2, 3));
    let condition = eventually(Duration::from_secs(60), "the scheduler tells why the new pod waits", || {
        let pods = trial.pods();
        let pending = pods.iter().find(|pod| pod["status"]["phase"] == "Pending").unwrap();
        let condition = &pending["status"]["conditions"][0];
        if condition["reason"] == "Unschedulable" { Ok(condition.clone()) } else { Err(pending.clone()) }
    });
    let message = condition["message"].as_str().unwrap();
    assert!(message.contains("didn't have free ports for the requested pod ports"), "{message}");

    // The next update waits for the same port. Without a surge, the controller deletes the old pods first.
    update(&mut agent, 2);
    let (radius, pods) = roll_out(&trial, &agent);
    assert_eq!(radius.obstacle, Some(Obstacle::SurgePort { port: "9100/TCP".into() }));
    assert_eq!(outdated(&agent, &pods).len(), 2);
    agent["spec"]["updateStrategy"]["rollingUpdate"] = json!({ "maxSurge": 0, "maxUnavailable": 1 });
    update(&mut agent, 3);
    let (radius, pods) = roll_out(&trial, &agent);
    assert_eq!((radius.obstacle, outdated(&agent, &pods).len()), (None, 0));
    trial.end();
}

#[test]
fn second_update_within_min_ready_seconds_replaces_the_new_pods_and_waits_again() {
    let trial = Trial::new("min-ready", &[(Kind::Plain, 4)]);
    let mut agent = on(agent(json!({ "maxUnavailable": 1 })), trial.nodes());
    // Nothing becomes available during the test, unless the test says so.
    agent["spec"]["minReadySeconds"] = 3600.into();
    trial.create(std::slice::from_ref(&agent));

    // No pod is available yet, so the limit protects none.
    update(&mut agent, 1);
    let (radius, pods) = roll_out(&trial, &agent);
    assert_eq!((&radius.obstacle, radius.replaced_at_once, radius.restarted), (&None, 4, 0));
    assert_eq!(outdated(&agent, &pods).len(), 0);

    // All pods are available. The controller replaces one, which uses up the limit for an hour.
    trial.make_available(&pods.iter().collect::<Vec<_>>());
    update(&mut agent, 2);
    let (radius, pods) = roll_out(&trial, &agent);
    assert_eq!((&radius.obstacle, radius.replaced_at_once, radius.restarted), (&None, 0, 4));
    let of = |pods: &[Value], template: &str| {
        pods.iter().filter(|pod| pod["metadata"]["annotations"][TEMPLATE] == template).count()
    };
    assert_eq!((of(&pods, "1"), of(&pods, "2")), (3, 1));

    // The second update replaces that one at once, and the hour begins again. The rollout is not stuck.
    update(&mut agent, 3);
    let (radius, pods) = roll_out(&trial, &agent);
    assert_eq!((&radius.obstacle, radius.replaced_at_once, radius.restarted), (&None, 1, 3));
    assert_eq!(radius.limit, RolloutLimit::MaxUnavailable(1));
    assert_eq!((of(&pods, "1"), of(&pods, "2"), of(&pods, "3")), (3, 0, 1));
    let new: Vec<&Value> =
        pods.iter().filter(|pod| pod["metadata"]["annotations"][TEMPLATE] == "3").collect();
    trial.make_available(&new);
    let pods = trial.at_rest();
    assert_eq!((of(&pods, "1"), of(&pods, "3")), (2, 2));
    trial.end();
}

#[test]
fn repair_of_a_crash_loop_finishes() {
    let trial = Trial::new("repair", &[(Kind::Plain, 4)]);
    let mut agent = on(agent(json!({ "maxUnavailable": 1 })), trial.nodes());
    trial.create(std::slice::from_ref(&agent));
    let pods = trial.at_rest();
    trial.break_pods(&pods.iter().collect::<Vec<_>>());
    update(&mut agent, 1);
    let (radius, pods) = roll_out(&trial, &agent);
    assert_eq!((&radius.obstacle, radius.replaced_at_once, radius.restarted), (&None, 4, 0));
    assert_eq!((outdated(&agent, &pods).len(), pods.len()), (0, 4));
    assert!(pods.iter().all(is_ready));
    trial.end();
}
