use serde::Deserialize as _;
use serde_json::{Value, json};

use super::*;

const TITLE: &str = "monitoring/agent";

/// A DaemonSet with a strategy and a pod spec.
fn daemon_set(strategy: Value, pod: Value) -> Value {
    json!({"spec": {"updateStrategy": {"rollingUpdate": strategy}, "template": {"spec": pod}}})
}

fn nodes(ready: usize, not_ready: usize) -> Vec<Node<'static>> {
    let node =
        |n: usize, ready| Node { name: format!("n{n:03}").into(), ready: Some(ready), ..Node::default() };
    (0..ready).map(|n| node(n, true)).chain((ready..ready + not_ready).map(|n| node(n, false))).collect()
}

fn radius(
    old: Option<&Value>,
    new: &Value,
    nodes: &[Node<'_>],
    pods: Option<&[ExistingPod<'_>]>,
) -> BlastRadius {
    let old = old.map(|old| DaemonSet::deserialize(old).expect("a DaemonSet"));
    let new = DaemonSet::deserialize(new).expect("a DaemonSet");
    let version = KubernetesVersion::NEWEST;
    let change = ObjectChange::Template;
    let update = Update { title: TITLE, old: old.as_ref(), new: &new, change };
    let nodes: Vec<&Node<'_>> = nodes.iter().collect();
    BlastRadius::of(&update, &ClusterState { nodes: &nodes, pods, version })
}

fn own<'a>(nodes: &'a [Node<'a>], available: bool) -> Vec<ExistingPod<'a>> {
    let pod = |node: &'a Node<'a>| ExistingPod {
        node: &node.name,
        owner: TITLE,
        available: available && node.ready == Some(true),
        terminating: false,
        ports: Vec::new(),
    };
    nodes.iter().map(pod).collect()
}

#[test]
fn a_new_daemon_set_creates_its_pods_at_once() {
    let radius = radius(None, &daemon_set(json!({}), json!({})), &nodes(5, 0), None);
    assert_eq!((radius.created, radius.waves(), &radius.obstacle), (5, 0, &None));
    assert_eq!(radius.lines(), ["5 pods created at once"]);
}

#[test]
fn a_rolling_restart_takes_as_many_steps_as_the_limit_needs() {
    let object = daemon_set(json!({"maxUnavailable": "25%"}), json!({}));
    let radius = radius(Some(&object), &object, &nodes(10, 0), None);
    assert_eq!(radius.lines(), ["rolling restart of 10 pods, 3 at a time (maxUnavailable), in 4 steps"]);
}

#[test]
fn pods_on_nodes_that_no_longer_match_are_deleted_at_once_even_with_on_delete() {
    let mut nodes = nodes(4, 0);
    nodes[0].labels.insert("gpu".into(), "true".into());
    let old = daemon_set(json!({}), json!({}));
    let mut new = daemon_set(json!({}), json!({"nodeSelector": {"gpu": "true"}}));
    new["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    let radius = radius(Some(&old), &new, &nodes, None);
    assert_eq!((radius.deleted, radius.restarted, radius.waves()), (3, 1, 0));
    assert_eq!(
        radius.lines(),
        [
            "3 pods deleted at once, on nodes that no longer match; no limit of the update strategy applies",
            "1 pod replaced only after a manual deletion (OnDelete)",
        ]
    );
}

#[test]
fn without_a_toleration_of_no_schedule_the_rollout_removes_the_pod_later() {
    let mut nodes = nodes(2, 0);
    nodes[0].taints.push(super::super::Taint::new("t", "", "NoSchedule"));
    let old = daemon_set(json!({}), json!({"tolerations": [{"operator": "Exists"}]}));
    let radius = radius(Some(&old), &daemon_set(json!({}), json!({})), &nodes, None);
    assert_eq!((radius.deleted, radius.not_replaced, radius.restarted), (0, 1, 1));
}

#[test]
fn nodes_that_are_not_ready_use_up_the_limit() {
    let object = daemon_set(json!({"maxUnavailable": "5%"}), json!({}));
    let stuck = |not_ready| radius(Some(&object), &object, &nodes(288 - not_ready, not_ready), None).obstacle;
    assert_eq!(stuck(14), None);
    let obstacle = stuck(20).expect("an obstacle");
    assert_eq!(
        obstacle,
        Obstacle::Unavailable { not_ready: 20, port_taken: 0, limit: 15, name: "maxUnavailable" }
    );
    assert_eq!(obstacle.to_string(), "maxUnavailable (15) is used up by 20 nodes not Ready");
}

#[test]
fn the_repair_of_a_crash_loop_is_no_stuck_rollout() {
    let object = daemon_set(json!({"maxUnavailable": 1}), json!({}));
    let nodes = nodes(5, 3);
    let radius = radius(Some(&object), &object, &nodes, Some(&own(&nodes, false)));
    assert_eq!((radius.obstacle.is_none(), radius.replaced_at_once, radius.restarted), (true, 8, 0));
}

#[test]
fn a_second_update_before_the_pods_are_available_replaces_all_of_them_at_once() {
    let object = daemon_set(json!({"maxUnavailable": 1}), json!({}));
    let nodes = nodes(5, 0);
    let mut pods = own(&nodes, true);
    pods[0].available = false;
    pods[1].available = false;
    let radius = radius(Some(&object), &object, &nodes, Some(&pods));
    assert_eq!((radius.replaced_at_once, radius.restarted), (2, 3));
    assert_eq!(
        radius.lines()[0],
        "2 pods replaced at once, because they are not available; maxUnavailable does not apply to them"
    );
}

#[test]
fn a_surge_waits_for_ever_for_the_port_of_the_old_pod() {
    let ports = |port: u32| json!({"containers": [{"ports": [{"containerPort": 9100, "hostPort": port}]}]});
    let of = |port| daemon_set(json!({"maxSurge": 1}), ports(port));
    let nodes = nodes(3, 0);
    let obstacle = |old: u32, new: u32| radius(Some(&of(old)), &of(new), &nodes, None).obstacle;
    assert_eq!(obstacle(9100, 9100), Some(Obstacle::SurgePort { port: "9100/TCP".into() }));
    assert_eq!(obstacle(9100, 9200), None);
    // If no old pod is available, the controller deletes the old pods first.
    let repair = radius(Some(&of(9100)), &of(9100), &nodes, Some(&own(&nodes, false)));
    assert_eq!(repair.obstacle, None);
}

#[test]
fn a_port_that_another_pod_has_uses_up_the_limit() {
    let object = daemon_set(
        json!({"maxUnavailable": 2}),
        json!({"hostNetwork": true, "containers": [{"ports": [{"containerPort": 9100}]}]}),
    );
    let nodes = nodes(6, 0);
    let mut pods = own(&nodes[..4], true);
    let port = HostPort { port: 9100, protocol: "TCP".into(), address: "0.0.0.0".into() };
    pods.extend(nodes[4..].iter().map(|node| ExistingPod {
        node: &node.name,
        owner: "other/exporter",
        available: true,
        terminating: false,
        ports: vec![port.clone()],
    }));
    let radius = radius(Some(&object), &object, &nodes, Some(&pods));
    assert_eq!(radius.created, 2);
    assert_eq!(
        radius.obstacle,
        Some(Obstacle::Unavailable { not_ready: 0, port_taken: 2, limit: 2, name: "maxUnavailable" })
    );
}

#[test]
fn metadata_alone_restarts_no_pod() {
    let object = daemon_set(json!({}), json!({}));
    let typed = DaemonSet::deserialize(&object).expect("a DaemonSet");
    let nodes = nodes(3, 0);
    let nodes: Vec<&Node<'_>> = nodes.iter().collect();
    let cluster = ClusterState { nodes: &nodes, pods: None, version: KubernetesVersion::NEWEST };
    let lines = |change| {
        let update = Update { title: TITLE, old: Some(&typed), new: &typed, change };
        BlastRadius::of(&update, &cluster).lines()
    };
    assert_eq!(lines(ObjectChange::Metadata), ["metadata only: no pod restarts"]);
    assert_eq!(lines(ObjectChange::Nothing), ["no effect"]);
    assert_eq!(lines(ObjectChange::Specification), ["no pod is created, deleted or restarted"]);
}

#[test]
fn nodes_that_cannot_become_available_make_the_steps_smaller() {
    let object = daemon_set(json!({"maxUnavailable": 3}), json!({}));
    let radius = radius(Some(&object), &object, &nodes(8, 2), None);
    assert_eq!((radius.blocked, radius.waves(), radius.obstacle.is_none()), (2, 8, true));
    assert_eq!(
        radius.lines()[1],
        "rolling restart of 8 pods, 1 at a time (maxUnavailable 3, less 2 blocked nodes), in 8 steps"
    );
}

#[test]
fn without_pods_the_taint_of_a_node_that_is_not_ready_does_not_hide_its_pod() {
    let object = daemon_set(json!({"maxUnavailable": 3}), json!({}));
    let mut nodes = nodes(8, 4);
    for node in &mut nodes[8..] {
        node.taints.push(super::super::Taint::new("node.kubernetes.io/unreachable", "", "NoSchedule"));
    }
    let obstacle = radius(Some(&object), &object, &nodes, None).obstacle;
    assert_eq!(
        obstacle,
        Some(Obstacle::Unavailable { not_ready: 4, port_taken: 0, limit: 3, name: "maxUnavailable" })
    );
}

#[test]
fn a_surge_cannot_finish_if_another_pod_has_the_new_port_everywhere() {
    let of = |port: u32| {
        daemon_set(json!({"maxSurge": 1}), json!({"containers": [{"ports": [{"hostPort": port}]}]}))
    };
    let nodes = nodes(3, 0);
    let mut pods = own(&nodes, true);
    let port = HostPort { port: 9100, protocol: "TCP".into(), address: "0.0.0.0".into() };
    pods.extend(nodes.iter().map(|node| ExistingPod {
        node: &node.name,
        owner: "m/other",
        available: true,
        terminating: false,
        ports: vec![port.clone()],
    }));
    let obstacle = radius(Some(&of(80)), &of(9100), &nodes, Some(&pods)).obstacle;
    assert_eq!(
        obstacle,
        Some(Obstacle::Unavailable { not_ready: 0, port_taken: 3, limit: 1, name: "maxSurge" })
    );
}
