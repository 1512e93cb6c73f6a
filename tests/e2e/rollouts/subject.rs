//! Generated DaemonSets, and their updates.

use serde_json::{Value, json};

use super::trial::{DRAINED, RESERVED, TEMPLATE, daemon_set, port_holder};
use crate::dice::Dice;

/// A generated DaemonSet, with the fields that its updates change.
pub(crate) struct Subject {
    name: String,
    /// Two ports of nodes that no other DaemonSet uses.
    ports: [u32; 2],
    template: usize,
    nodes: Vec<String>,
    tolerations: Value,
    port: Option<u32>,
    host_network: bool,
    strategy: Value,
    note: usize,
}

impl Subject {
    /// Generates a DaemonSet for some of these nodes.
    pub(crate) fn new(dice: &mut Dice, number: usize, nodes: &[String]) -> Self {
        let first = 10_000 + 2 * u32::try_from(number).unwrap();
        let mut subject = Self {
            name: format!("agent-{number:03}"),
            ports: [first, first + 1],
            template: 0,
            nodes: Vec::new(),
            tolerations: tolerations(dice),
            port: None,
            host_network: dice.one_in(4),
            strategy: strategy(dice),
            note: 0,
        };
        subject.choose_nodes(dice, nodes);
        subject.choose_port(dice);
        subject
    }

    /// Returns pods that have one of its ports on some of its nodes.
    pub(crate) fn port_holders(&self, dice: &mut Dice) -> Vec<Value> {
        let mut holders = Vec::new();
        for node in &self.nodes {
            for (port, chances) in [(self.ports[0], 12), (self.ports[1], 3)] {
                if dice.one_in(chances) {
                    holders.push(port_holder(node, port));
                }
            }
        }
        holders
    }

    /// Changes the template, or else only other fields.
    pub(crate) fn update(&mut self, dice: &mut Dice, nodes: &[String], template: bool) {
        if dice.one_in(3) {
            self.strategy = strategy(dice);
        }
        if !template {
            self.note += 1;
            return;
        }
        self.template += 1;
        if dice.one_in(4) {
            self.choose_nodes(dice, nodes);
        }
        if dice.one_in(2) {
            self.tolerations = tolerations(dice);
        }
        if dice.one_in(3) {
            self.choose_port(dice);
        }
    }

    /// Returns the object as an author writes it.
    pub(crate) fn manifest(&self) -> Value {
        let mut object = daemon_set(&self.name, self.strategy.clone());
        object["metadata"]["annotations"] = json!({ "wardset.dev/note": self.note.to_string() });
        let template = &mut object["spec"]["template"];
        template["metadata"]["annotations"][TEMPLATE] = self.template.to_string().into();
        let pod = &mut template["spec"];
        pod["tolerations"] = self.tolerations.clone();
        let names = json!([{ "key": "kubernetes.io/hostname", "operator": "In", "values": self.nodes }]);
        pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
            json!({ "nodeSelectorTerms": [{ "matchExpressions": names }] });
        if self.host_network {
            pod["hostNetwork"] = true.into();
        }
        if let Some(port) = self.port {
            let inside = if self.host_network { port } else { 80 };
            pod["containers"][0]["ports"] = json!([{ "containerPort": inside, "hostPort": port }]);
        }
        object
    }

    fn choose_nodes(&mut self, dice: &mut Dice, nodes: &[String]) {
        // The first nodes are plain.
        let mut rest = if dice.one_in(3) { nodes[nodes.len() / 2..].to_vec() } else { nodes.to_vec() };
        self.nodes = (0..=dice.below(6)).map(|_| rest.swap_remove(dice.below(rest.len()))).collect();
        self.nodes.sort();
    }

    fn choose_port(&mut self, dice: &mut Dice) {
        self.port =
            *dice.pick(&[None, None, None, Some(self.ports[0]), Some(self.ports[0]), Some(self.ports[1])]);
    }
}

fn tolerations(dice: &mut Dice) -> Value {
    let of = |key: &str| json!({ "key": key, "operator": "Exists" });
    match dice.below(4) {
        0 => json!([]),
        1 => json!([of(RESERVED)]),
        2 => json!([of(RESERVED), of(DRAINED)]),
        _ => json!([{ "operator": "Exists" }]),
    }
}

fn strategy(dice: &mut Dice) -> Value {
    let percentage = *dice.pick(&["10%", "25%", "40%", "60%"]);
    let (surge, unavailable) = match dice.below(8) {
        0 => (json!(0), json!(2)),
        1 => (json!(0), json!(3)),
        2 => (json!(0), json!(percentage)),
        3 => (json!(1), json!(0)),
        4 => (json!(2), json!(0)),
        5 => (json!(percentage), json!(0)),
        _ => (json!(0), json!(1)),
    };
    json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable } })
}
