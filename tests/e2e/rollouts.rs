//! The real controller rolls out updates of generated DaemonSets. `BlastRadius` must say which rollouts cannot finish,
//! and no others.
//!
//! A rollout has finished if each pod of an older template is deleted. Nodes are Ready, tainted or lost, and pods are
//! available, crash-looping, terminating for ever, Pending or missing. Other pods have host ports.

mod cases;
mod subject;
mod trial;

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use self::subject::Subject;
use self::trial::{Kind, Prediction, Trial, is_ready, is_terminating, outdated, owner};
use crate::dice::Dice;
use crate::generated::node_of;
use crate::oracle::name;

/// `WARDSET_ROLLOUTS` sets another number.
const ROLLOUTS: usize = 100;
/// DaemonSets that share a namespace and nodes.
const AT_A_TIME: usize = 100;
/// Updates of each DaemonSet. The second one starts from the state that the first one leaves.
const UPDATES: usize = 2;

#[test]
fn controller_rolls_out_as_predicted() {
    let seed = std::env::var("WARDSET_SEED").map_or(0x2011, |seed| seed.parse().unwrap());
    let wanted = std::env::var("WARDSET_ROLLOUTS").map_or(ROLLOUTS, |number| number.parse().unwrap());
    let start = Instant::now();
    let mut dice = Dice::new(seed, 0);
    let mut tally = Tally::default();
    while tally.rollouts < wanted {
        let count = (wanted - tally.rollouts).div_ceil(UPDATES).min(AT_A_TIME);
        roll_out(&mut dice, count, &mut tally);
        eprintln!("{tally} after {} s", start.elapsed().as_secs());
    }
    assert!(tally.wrong.is_empty(), "WARDSET_SEED={seed}: {}", tally.wrong.join("\n"));
    // The generator covers both outcomes.
    assert!(tally.stuck > wanted / 8 && tally.finished > wanted / 8, "{tally}");
}

/// Rolls out the updates of some DaemonSets, and compares.
fn roll_out(dice: &mut Dice, count: usize, tally: &mut Tally) {
    let kinds = [(Kind::Plain, 9), (Kind::Reserved, 3), (Kind::Drained, 2), (Kind::Lost, 5)];
    let trial = Trial::new("rolls", &kinds);
    let mut subjects: Vec<Subject> = (0..count).map(|n| Subject::new(dice, n, trial.nodes())).collect();
    let holders: Vec<Value> = subjects.iter().flat_map(|subject| subject.port_holders(dice)).collect();
    trial.create(&holders);
    trial.create(&subjects.iter().map(Subject::manifest).collect::<Vec<_>>());
    trial.at_rest();
    trial.lose_nodes();
    for _ in 0..UPDATES {
        disturb(dice, &trial);
        let before = trial.at_rest();
        for subject in &mut subjects {
            // Without a new template, the product does not know which pods are outdated.
            let template = !outdated(&subject.manifest(), &before).is_empty() || !dice.one_in(8);
            subject.update(dice, trial.nodes(), template);
        }
        let updates: Vec<Value> = subjects.iter().map(Subject::manifest).collect();
        let predicted = trial.predict(&updates, &before);
        trial.replace(&updates);
        let after = trial.at_rest();
        let stored = trial.daemon_sets();
        for (update, prediction) in updates.iter().zip(&predicted) {
            let stored = stored.iter().find(|stored| name(stored) == name(update)).unwrap();
            // The controller has seen the same nodes.
            assert_eq!(stored["status"]["desiredNumberScheduled"], prediction.desired, "{update:#}");
            let of =
                |pods: &[Value]| pods.iter().filter(|pod| owner(pod) == name(update)).map(short).collect();
            tally.add(update, prediction, !outdated(update, &after).is_empty(), [of(&before), of(&after)]);
        }
    }
    trial.end();
}

/// Makes some pods crash or hang, and some pods on lost nodes available.
fn disturb(dice: &mut Dice, trial: &Trial) {
    let mut pods = trial.pods();
    pods.retain(|pod| !owner(pod).is_empty() && !is_terminating(pod) && pod["spec"]["nodeName"].is_string());
    pods.sort_by_key(|pod| (owner(pod).to_owned(), node_of(pod)));
    let (mut broken, mut hung, mut available) = (Vec::new(), Vec::new(), Vec::new());
    for own in pods.chunk_by(|one, other| owner(one) == owner(other)) {
        let all = dice.one_in(8);
        for pod in own {
            match (trial.is_lost(&node_of(pod)), is_ready(pod)) {
                (true, false) if dice.one_in(4) => available.push(pod),
                (false, true) if all || dice.one_in(8) => broken.push(pod),
                (false, true) if dice.one_in(10) => hung.push(pod),
                _ => {}
            }
        }
    }
    trial.break_pods(&broken);
    trial.make_available(&available);
    trial.hang_pods(&hung);
}

/// The outcomes so far.
#[derive(Default)]
struct Tally {
    rollouts: usize,
    stuck: usize,
    finished: usize,
    /// Rollouts whose outcome depends on the order of the controller, and those of them that got stuck.
    open: [usize; 2],
    /// Rollouts that got stuck without a prediction.
    missed: usize,
    /// Rollouts that finished against the prediction.
    false_alarms: usize,
    /// The kinds of predicted obstacles.
    kinds: BTreeMap<String, usize>,
    wrong: Vec<String>,
}

impl Tally {
    fn add(&mut self, update: &Value, prediction: &Prediction, stuck: bool, pods: [Vec<String>; 2]) {
        self.rollouts += 1;
        let obstacle = prediction.radius.obstacle.as_ref();
        if let Some(obstacle) = obstacle {
            let kind = format!("{obstacle:?}");
            let kind = kind.split([' ', '{']).next().unwrap_or_default().to_owned();
            *self.kinds.entry(kind).or_default() += 1;
        }
        match (obstacle, stuck) {
            (Some(obstacle), stuck) if !obstacle.is_certain() => {
                self.open[0] += 1;
                self.open[1] += usize::from(stuck);
            }
            (Some(_), true) => self.stuck += 1,
            (None, false) => self.finished += 1,
            (obstacle, stuck) => {
                let counter = if stuck { &mut self.missed } else { &mut self.false_alarms };
                *counter += 1;
                let [before, after] = pods.map(|pods| pods.join("\n  "));
                let message = format!(
                    "stuck: {stuck}, predicted: {obstacle:?}\n{:?}\n{update}\nbefore:\n  {before}\nafter:\n  {after}",
                    prediction.radius
                );
                eprintln!("{message}");
                self.wrong.push(message);
            }
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rollouts, stuck, finished, open: [open, of_them], missed, false_alarms, kinds, .. } = self;
        write!(
            f,
            "{rollouts} rollouts: {stuck} stuck and {finished} finished as predicted, {missed} missed, \
             {false_alarms} false; {open} depend on the order ({of_them} stuck); obstacles: {kinds:?}"
        )
    }
}

/// Describes a pod on one line.
fn short(pod: &Value) -> String {
    let state = match (is_terminating(pod), is_ready(pod)) {
        (true, _) => "terminating",
        (false, true) => "ready",
        (false, false) => "not ready",
    };
    let template = &pod["metadata"]["annotations"][trial::TEMPLATE];
    let ports = &pod["spec"]["containers"][0]["ports"];
    let bound = if pod["spec"]["nodeName"].is_string() { "bound" } else { "unbound" };
    format!("{} {bound} {state} template {template} {ports}", node_of(pod))
}
