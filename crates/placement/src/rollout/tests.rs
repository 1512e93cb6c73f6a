use serde::Deserialize as _;
use serde_json::{Value, json};

use super::super::{KubernetesVersion, UnavailableNodes};
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
    let answers = |object: &DaemonSet<'_>| object.spec.template.spec.answers(nodes, version);
    let (before, after) = (old.as_ref().map(answers), answers(&new));
    let old = old.as_ref().zip(before.as_ref()).map(|(object, answers)| Placed { object, answers });
    let update = Update { title: TITLE, old, new: Placed { object: &new, answers: &after }, change };
    BlastRadius::of(&update, nodes, pods)
}

fn own<'a>(nodes: &'a [Node<'a>], available: bool) -> Vec<ExistingPod<'a>> {
    let pod = |node: &'a Node<'a>| ExistingPod {
        node: &node.name,
        bound: true,
        owner: TITLE,
        available: available && node.ready == Some(true),
        terminating: false,
        overdue: false,
        ports: Vec::new(),
    };
    nodes.iter().map(pod).collect()
}

fn unavailable(nodes: UnavailableNodes, limit: usize) -> Obstacle {
    Obstacle::Unavailable { nodes, limit, certain: true }
}

fn not_ready(count: usize) -> UnavailableNodes {
    UnavailableNodes { not_ready: count, ..UnavailableNodes::default() }
}

fn port_taken(count: usize) -> UnavailableNodes {
    UnavailableNodes { port_taken: count, ..UnavailableNodes::default() }
}

fn port(number: u32) -> HostPort<'static> {
    HostPort { port: number, protocol: "TCP".into(), address: "0.0.0.0".into() }
}

/// A pod spec with this port of the node.
fn pod_with(port: u32) -> Value {
    json!({"containers": [{"ports": [{"containerPort": 80, "hostPort": port}]}]})
}

/// A pod of another DaemonSet that has port 9100 on each of these nodes.
fn others<'a>(nodes: &'a [Node<'a>]) -> impl Iterator<Item = ExistingPod<'a>> {
    nodes.iter().map(|node| ExistingPod {
        node: &node.name,
        bound: true,
        owner: "other/exporter",
        available: true,
        terminating: false,
        overdue: false,
        ports: vec![port(9100)],
    })
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
    nodes[0].labels = [("gpu".into(), "true".into())].into_iter().collect();
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
    assert_eq!(obstacle, unavailable(not_ready(20), 15));
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
    pods.extend(others(&nodes[4..]));
    let radius = radius(Some(&object), &object, &nodes, Some(&pods));
    assert_eq!(radius.created, 2);
    assert_eq!(radius.obstacle, Some(unavailable(port_taken(2), 2)));
}

#[test]
fn metadata_alone_restarts_no_pod() {
    let object = daemon_set(json!({}), json!({}));
    let typed = DaemonSet::deserialize(&object).expect("a DaemonSet");
    let nodes = nodes(3, 0);
    let answers = typed.spec.template.spec.answers(&nodes, KubernetesVersion::NEWEST);
    let placed = Placed { object: &typed, answers: &answers };
    let lines = |change| {
        let update = Update { title: TITLE, old: Some(placed), new: placed, change };
        BlastRadius::of(&update, &nodes, None).lines()
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
    assert_eq!(obstacle, Some(unavailable(not_ready(4), 3)));
}

#[test]
fn a_surge_cannot_finish_if_another_pod_has_the_new_port_everywhere() {
    let of = |port: u32| {
        daemon_set(json!({"maxSurge": 1}), json!({"containers": [{"ports": [{"hostPort": port}]}]}))
    };
    let nodes = nodes(3, 0);
    let mut pods = own(&nodes, true);
    pods.extend(others(&nodes));
    let obstacle = radius(Some(&of(80)), &of(9100), &nodes, Some(&pods)).obstacle;
    assert_eq!(obstacle, Some(Obstacle::SurgeUnavailable { nodes: port_taken(3) }));
}

#[test]
fn a_deleted_pod_that_does_not_end_uses_up_the_limit() {
    let object = daemon_set(json!({"maxUnavailable": 1}), json!({}));
    let nodes = nodes(3, 0);
    let mut pods = own(&nodes, true);
    pods[0].terminating = true;
    assert_eq!(radius(Some(&object), &object, &nodes, Some(&pods)).obstacle, None);
    pods[0].overdue = true;
    let obstacle = radius(Some(&object), &object, &nodes, Some(&pods)).obstacle.expect("an obstacle");
    assert_eq!(obstacle.to_string(), "maxUnavailable (1) is used up by 1 node whose old pod does not end");
    // A surge creates a pod beside it, unless both need the same port.
    let surge = |port| daemon_set(json!({"maxSurge": 1}), pod_with(port));
    assert_eq!(radius(Some(&surge(80)), &surge(80), &nodes, Some(&pods)).obstacle, None);
    pods.push(ExistingPod { terminating: false, overdue: false, ..pods[0].clone() });
    pods[0].ports = vec![port(80)];
    assert_eq!(
        radius(Some(&surge(9100)), &surge(80), &nodes, Some(&pods)).obstacle,
        Some(Obstacle::SurgePort { port: "80/TCP".into() })
    );
}

#[test]
fn a_rollout_finishes_if_its_last_pods_are_those_that_stay_pending() {
    let of = |limit: usize, port| daemon_set(json!({"maxUnavailable": limit}), pod_with(port));
    let obstacle = |ready: usize, taken: usize, limit| {
        let nodes = nodes(ready, 0);
        let pods: Vec<ExistingPod<'_>> =
            own(&nodes, true).into_iter().chain(others(&nodes[..taken])).collect();
        radius(Some(&of(limit, 80)), &of(limit, 9100), &nodes, Some(&pods)).obstacle
    };
    // The controller replaces all pods in one step.
    assert_eq!(obstacle(2, 2, 2), None);
    assert_eq!(obstacle(3, 2, 3), None);
    // It chooses two of three in any order, then nothing is left of the limit.
    assert_eq!(obstacle(3, 3, 2), Some(unavailable(port_taken(3), 2)));
    // It depends on the order.
    let obstacle = obstacle(3, 2, 2).expect("an obstacle");
    assert_eq!(
        (obstacle.is_certain(), obstacle.to_string().as_str()),
        (
            false,
            "maxUnavailable (2) is used up by 2 nodes on which another pod uses the port, \
             unless the controller replaces their pods last"
        )
    );
}

#[test]
fn a_rollout_that_depends_on_the_order_may_not_finish() {
    let of = |port| daemon_set(json!({"maxUnavailable": 1}), pod_with(port));
    let nodes = nodes(2, 0);
    let pods: Vec<ExistingPod<'_>> = own(&nodes, true).into_iter().chain(others(&nodes[..1])).collect();
    let radius = radius(Some(&of(80)), &of(9100), &nodes, Some(&pods));
    let last = radius.lines().pop().expect("a line");
    assert!(
        last.starts_with("the rollout may not finish: maxUnavailable (1) is used up by 1 node "),
        "{last}"
    );
}

#[test]
fn a_surge_cannot_finish_if_another_pod_has_the_new_port_on_one_node() {
    let of = |port| daemon_set(json!({"maxSurge": 3}), pod_with(port));
    let nodes = nodes(5, 0);
    let pods: Vec<ExistingPod<'_>> = own(&nodes, true).into_iter().chain(others(&nodes[..1])).collect();
    assert_eq!(
        radius(Some(&of(80)), &of(9100), &nodes, Some(&pods)).obstacle,
        Some(Obstacle::SurgeUnavailable { nodes: port_taken(1) })
    );
}

#[test]
fn an_available_pod_on_a_node_that_is_not_ready_is_one_to_replace() {
    let nodes = nodes(1, 2);
    let mut pods = own(&nodes, true);
    pods[1].available = true;
    let obstacle = |strategy: Value| {
        let object = daemon_set(strategy, json!({}));
        radius(Some(&object), &object, &nodes, Some(&pods)).obstacle
    };
    assert_eq!(obstacle(json!({"maxSurge": 2})), Some(Obstacle::SurgeUnavailable { nodes: not_ready(1) }));
    assert_eq!(obstacle(json!({"maxUnavailable": 1})), Some(unavailable(not_ready(2), 1)));
    // The pod on the third node uses up one of two, and that on the second node the other, if it is not the last.
    let unsure = Obstacle::Unavailable { nodes: not_ready(2), limit: 2, certain: false };
    assert_eq!(obstacle(json!({"maxUnavailable": 2})), Some(unsure));
}

#[test]
fn a_surge_keeps_pods_on_nodes_with_a_taint_until_others_are_available() {
    let mut nodes = nodes(2, 1);
    nodes[0].taints.push(super::super::Taint::new("t", "", "NoSchedule"));
    let pods = own(&nodes, true);
    let object = daemon_set(json!({"maxSurge": 1}), json!({}));
    let radius_of = |nodes: &[Node<'_>]| radius(Some(&object), &object, nodes, Some(&pods)).obstacle;
    assert_eq!(radius_of(&nodes), Some(Obstacle::SurgeRemoval { pods: 1, nodes: not_ready(1) }));
    let mut ready = nodes.clone();
    ready[2].ready = Some(true);
    assert_eq!(radius_of(&ready), None);
}

#[test]
fn after_a_stuck_surge_the_next_update_is_stuck_too() {
    let object = daemon_set(json!({"maxSurge": 1}), pod_with(9100));
    let nodes = nodes(1, 0);
    let mut pods = own(&nodes, true);
    pods[0].ports = vec![port(9100)];
    // The new pod of the first update waits for the port.
    pods.push(ExistingPod { available: false, ..pods[0].clone() });
    assert_eq!(
        radius(Some(&object), &object, &nodes, Some(&pods)).obstacle,
        Some(Obstacle::SurgePort { port: "9100/TCP".into() })
    );
    // The ports of the pods count, not those of the stored template: an earlier update changed it.
    let changed = daemon_set(json!({"maxSurge": 1}), pod_with(80));
    assert!(radius(Some(&changed), &object, &nodes, Some(&pods)).obstacle.is_some());
}

#[test]
fn a_percentage_of_no_nodes_replaces_no_available_pod() {
    let mut nodes = nodes(2, 0);
    for node in &mut nodes {
        node.taints.push(super::super::Taint::new("t", "", "NoSchedule"));
    }
    let pods = own(&nodes, true);
    let radius_of = |strategy: Value| {
        let object = daemon_set(strategy, json!({}));
        radius(Some(&object), &object, &nodes, Some(&pods))
    };
    let percentage = radius_of(json!({"maxUnavailable": "50%"}));
    assert_eq!(
        (percentage.limit, percentage.obstacle),
        (RolloutLimit::MaxUnavailable(0), Some(Obstacle::NoNodes))
    );
    assert_eq!(radius_of(json!({"maxUnavailable": 1})).obstacle, None);
    assert_eq!(radius_of(json!({"maxSurge": 1})).obstacle, None);
    let surge = json!({"maxSurge": "50%", "maxUnavailable": 0});
    assert_eq!(radius_of(surge).obstacle, Some(Obstacle::NoNodes));
}

#[test]
fn a_pod_that_waits_for_the_scheduler_ends_without_a_kubelet() {
    let object = daemon_set(json!({"maxUnavailable": 1}), json!({}));
    let mut nodes = nodes(2, 1);
    nodes[2].taints.push(super::super::Taint::new("node.kubernetes.io/unreachable", "", "NoSchedule"));
    let mut pods = own(&nodes, true);
    assert_eq!(
        radius(Some(&object), &object, &nodes, Some(&pods)).obstacle,
        Some(unavailable(not_ready(1), 1))
    );
    pods[2].bound = false;
    assert_eq!(radius(Some(&object), &object, &nodes, Some(&pods)).obstacle, None);
}
