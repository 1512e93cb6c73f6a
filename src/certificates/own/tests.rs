//! Tests of the plan over simulated time, and of the repair of a damaged Secret.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use proptest::prelude::*;
use x509_parser::prelude::*;

use super::plan::apply;
use super::*;
use crate::certificates::{Pair, trust};

const HOST: &str = "wardset.policy.svc";
const SECOND: Duration = Duration::from_secs(1);

fn names() -> Vec<String> {
    let names = Names {
        namespace: "policy".to_owned(),
        service: "wardset".to_owned(),
        secret: "wardset-tls".to_owned(),
        webhooks: "wardset".to_owned(),
        extra: vec!["Gate.example".to_owned()],
    };
    names.dns().unwrap()
}

/// Returns 2026-01-01, a fixed time, so that no test depends on the current date.
fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + 1_767_225_600 * SECOND
}

fn lifetimes() -> Lifetimes {
    Lifetimes::new(900 * SECOND, 3600 * SECOND, 60 * SECOND, 300 * SECOND).unwrap()
}

/// A Secret, written in the same way as by the task.
#[derive(Clone)]
struct Store {
    secret: Option<Secret>,
    lifetimes: Lifetimes,
}

impl Store {
    fn empty() -> Self {
        Self { secret: None, lifetimes: lifetimes() }
    }

    fn filled(now: SystemTime) -> Self {
        let mut store = Self::empty();
        assert_eq!(store.step(now, None), Action::IssueAll);
        store
    }

    fn contents(&self) -> Contents {
        Contents::read(self.secret.as_ref())
    }

    fn own(&self) -> Own {
        match self.contents() {
            Contents::Own(own) => *own,
            other => panic!("expected content that Wardset wrote, found {other:?}"),
        }
    }

    fn plan(&self, now: SystemTime, live_for: Option<Duration>) -> CertificatePlan {
        plan(now, &self.contents(), &names(), &self.lifetimes, live_for)
    }

    /// Makes a plan and executes it.
    fn step(&mut self, now: SystemTime, live_for: Option<Duration>) -> Action {
        let action = self.plan(now, live_for).action;
        if !matches!(action, Action::WaitUntil(_) | Action::LeaveAlone) {
            let own = match self.contents() {
                Contents::Own(own) => *own,
                _ => Own::default(),
            };
            let own = apply(action, now, own, &names(), &self.lifetimes).unwrap();
            own.write(self.secret.get_or_insert_default());
        }
        action
    }

    /// Makes and executes plans until there is nothing to do.
    fn settle(&mut self, now: SystemTime) -> Vec<Action> {
        let mut actions = Vec::new();
        loop {
            match self.step(now, Some(self.lifetimes.overlap())) {
                Action::WaitUntil(_) | Action::LeaveAlone => return actions,
                action => actions.push(action),
            }
            assert!(actions.len() < 6, "{actions:?}");
        }
    }

    fn data(&mut self) -> &mut BTreeMap<String, ByteString> {
        self.secret.as_mut().unwrap().data.as_mut().unwrap()
    }

    fn value(&mut self, key: &str) -> Vec<u8> {
        self.data()[key].0.clone()
    }

    fn put(&mut self, key: &str, value: impl Into<Vec<u8>>) {
        self.data().insert(key.to_owned(), ByteString(value.into()));
    }

    fn annotate(&mut self, key: &str, value: &str) {
        let annotations = self.secret.as_mut().unwrap().metadata.annotations.as_mut().unwrap();
        annotations.insert(key.to_owned(), value.to_owned());
    }

    fn annotation(&self, key: &str) -> Option<&String> {
        self.secret.as_ref()?.metadata.annotations.as_ref()?.get(key)
    }

    fn verifies(&self, bundle: &str, now: SystemTime) -> bool {
        let contents = self.contents();
        trust::verify(contents.pair().unwrap().chain(), bundle.as_bytes(), HOST, now).is_ok()
    }
}

#[test]
fn any_replica_fills_an_empty_secret_and_then_waits_until_renewal() {
    let mut store = Store::empty();
    assert_eq!(store.plan(start(), None), CertificatePlan { action: Action::IssueAll, urgent: true });
    // The Secret as the chart creates it.
    store.secret = Some(Secret { type_: Some("Opaque".to_owned()), ..Secret::default() });
    assert_eq!(store.step(start(), None), Action::IssueAll);
    let due = start() + 600 * SECOND;
    assert_eq!(store.plan(start(), None), CertificatePlan { action: Action::WaitUntil(due), urgent: false });
    let keys: Vec<_> = store.data().keys().cloned().collect();
    assert_eq!(keys, ["ca.crt", "ca.key", "tls.crt", "tls.key"]);
    assert_eq!(store.secret.as_ref().unwrap().type_.as_deref(), Some("Opaque"));
    let bundle = store.own().bundle();
    assert!(store.verifies(&bundle, start()) && store.verifies(&bundle, start() + 900 * SECOND));
    assert!(!store.verifies(&bundle, start() + 901 * SECOND));
}

#[test]
fn issues_certificates_for_the_service_and_nothing_else() {
    let store = Store::filled(start());
    let contents = store.contents();
    let chain = contents.pair().unwrap().chain();
    assert_eq!(chain.len(), 2);
    let (_, leaf) = parse_x509_certificate(&chain[0]).unwrap();
    let (_, ca) = parse_x509_certificate(&chain[1]).unwrap();
    assert_eq!(
        contents.pair().unwrap().leaf.names,
        [HOST, "wardset.policy.svc.cluster.local", "wardset.policy", "gate.example"]
    );
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth && !usage.any && usage.other.is_empty());
    assert!(leaf.key_usage().unwrap().unwrap().value.digital_signature() && !leaf.is_ca());
    assert!(ca.is_ca() && ca.key_usage().unwrap().unwrap().value.key_cert_sign());
    assert_eq!(ca.basic_constraints().unwrap().unwrap().value.path_len_constraint, Some(0));
    for certificate in [&leaf, &ca] {
        let curve = certificate.public_key().algorithm.parameters.as_ref().unwrap().as_oid().unwrap();
        assert_eq!(curve.to_id_string(), "1.2.840.10045.3.1.7", "P-256");
        let begins = start() - CLOCK_SKEW;
        assert_eq!(certificate.validity().not_before.timestamp(), crate::certificates::unix_seconds(begins));
    }
}

#[test]
fn rejects_names_that_no_certificate_can_have() {
    for name in ["*.example", "10.0.0.1", "::1", "", "a b"] {
        let names = Names {
            namespace: "policy".to_owned(),
            service: "wardset".to_owned(),
            secret: String::new(),
            webhooks: String::new(),
            extra: vec![name.to_owned()],
        };
        assert_eq!(names.dns(), Err(NamesError(name.to_owned())));
    }
}

#[test]
fn renews_the_leaf_when_a_third_of_its_lifetime_is_left() {
    let mut store = Store::filled(start());
    let bundle = store.own().bundle();
    assert!(matches!(store.plan(start() + 599 * SECOND, None).action, Action::WaitUntil(_)));
    let now = start() + 600 * SECOND;
    assert_eq!(store.plan(now, None), CertificatePlan { action: Action::RenewLeaf, urgent: false });
    store.step(now, None);
    assert!(store.verifies(&bundle, now + 899 * SECOND));
    assert_eq!(store.own().bundle(), bundle);
}

#[test]
fn renews_the_leaf_if_it_lacks_a_required_name() {
    let store = Store::filled(start());
    let mut more = names();
    more.push("another.example".to_owned());
    let plan = plan(start(), &store.contents(), &more, &store.lifetimes, None);
    assert_eq!(plan, CertificatePlan { action: Action::RenewLeaf, urgent: false });
}

#[test]
fn signs_with_the_next_ca_only_after_the_overlap() {
    let mut store = Store::filled(start());
    let old = store.own().bundle();
    let now = start() + 2400 * SECOND;
    // By now, a renewal of the leaf is due as well.
    store.step(now, None);
    assert_eq!(store.step(now, None), Action::BeginCaRotation);
    assert_eq!(store.own().trusted.len(), 2);
    assert!(store.verifies(&old, now), "the old CA still signs");
    assert!(matches!(store.step(now, None), Action::WaitUntil(_)));
    assert!(matches!(store.step(now, Some(59 * SECOND)), Action::WaitUntil(until) if until == now + SECOND));
    assert_eq!(store.step(now, Some(60 * SECOND)), Action::SwitchLeafToNextCa);
    assert!(!store.verifies(&old, now), "the new CA signs");
    // The old CA stays trusted for the retirement.
    let both = store.own().bundle();
    assert_eq!(store.own().trusted.len(), 2);
    assert!(matches!(store.step(now + 299 * SECOND, Some(SECOND)), Action::WaitUntil(_)));
    assert_eq!(store.step(now + 300 * SECOND, Some(SECOND)), Action::DropOldCas);
    let new = store.own().bundle();
    assert!(both.starts_with(&new) && !both.ends_with(&new), "the signing CA comes first");
    assert!(store.verifies(&new, now) && store.annotation(RETIRE).is_none());
}

#[test]
fn signs_with_the_next_ca_before_the_old_one_expires_even_if_no_configuration_has_it() {
    let mut store = Store::filled(start());
    let mut switched = None;
    for second in (0..3600).step_by(5) {
        let now = start() + second * SECOND;
        let end = store.contents().pair().unwrap().leaf.not_after;
        assert!(now <= end, "the leaf has ended after {second} s");
        if store.step(now, None) == Action::SwitchLeafToNextCa {
            switched.get_or_insert(second);
        }
    }
    assert_eq!(switched, Some(3300), "a third of a leaf's time before the CA's end");
}

#[test]
fn renews_on_request_and_removes_the_request_in_the_same_write() {
    let mut store = Store::filled(start());
    store.annotate(RENEW, "leaf");
    assert_eq!(store.settle(start()), [Action::RenewLeaf]);
    assert_eq!(store.annotation(RENEW), None);
    store.annotate(RENEW, "ca");
    assert_eq!(store.step(start(), None), Action::BeginCaRotation);
    assert_eq!(store.annotation(RENEW), None);
    assert_eq!(store.settle(start()), [Action::SwitchLeafToNextCa]);
    store.annotate(RENEW, "everything");
    assert_eq!(store.settle(start()), []);
}

#[test]
fn recognises_its_own_certificates_by_their_serial_number() {
    let ours = Store::filled(start());
    let mut theirs = Store::filled(start());
    let foreign = |store: &Store| matches!(store.contents(), Contents::Foreign(_));
    assert!(!foreign(&ours));

    let mut unsigned = ours.clone();
    unsigned.secret.as_mut().unwrap().metadata.annotations = None;
    assert!(foreign(&unsigned));

    let mut replaced = ours.clone();
    for key in ["tls.crt", "tls.key"] {
        replaced.put(key, theirs.value(key));
    }
    assert!(foreign(&replaced) && replaced.contents().pair().is_some());
    // Their CA is passed on, because they put it there as well.
    assert_eq!(replaced.contents().bundle(), Some(ours.own().bundle()));
    replaced.data().remove("ca.crt");
    assert_eq!(replaced.contents().bundle(), None);

    // A half-written replacement already belongs to them: the other half may follow.
    let mut half = ours.clone();
    half.put("tls.crt", theirs.value("tls.crt"));
    assert!(foreign(&half) && half.contents().pair().is_none());
    for store in [&unsigned, &replaced, &half] {
        assert_eq!(store.plan(start() + 9000 * SECOND, None).action, Action::LeaveAlone);
    }
}

#[test]
fn repairs_each_damaged_key_and_keeps_the_old_ca_trusted() {
    let now = start() + 10 * SECOND;
    let another = Store::filled(start()).value("tls.key");
    for (key, value, expected) in [
        ("tls.crt", Some(&b"garbage"[..]), vec![Action::RenewLeaf]),
        ("tls.crt", None, vec![Action::RenewLeaf]),
        ("tls.key", Some(b"garbage"), vec![Action::RenewLeaf]),
        ("tls.key", Some(&another), vec![Action::RenewLeaf]),
        ("ca.crt", Some(b"garbage"), vec![Action::Mend]),
        ("ca.crt", None, vec![Action::Mend]),
        ("ca.key", Some(b"garbage"), vec![Action::BeginCaRotation, Action::SwitchLeafToNextCa]),
        ("ca.key", Some(&another), vec![Action::BeginCaRotation, Action::SwitchLeafToNextCa]),
        ("next-ca.crt", Some(b"garbage"), vec![Action::Mend]),
    ] {
        let mut store = Store::filled(start());
        let trusted = store.own().trusted;
        match value {
            Some(value) => store.put(key, value),
            None => drop(store.data().remove(key)),
        }
        assert!(
            store.own().damaged()[0].starts_with(&key[..key.len() - 4]),
            "{key}: {:?}",
            store.own().damaged()
        );
        assert_eq!(store.settle(now), expected, "{key}");
        let own = store.own();
        assert!(own.damaged().is_empty(), "{key}: {:?}", own.damaged());
        assert!(trusted.iter().all(|ca| own.trusted.contains(ca)), "{key}");
        assert!(store.verifies(&own.bundle(), now), "{key}");
        assert_eq!(store.value("ca.crt"), own.bundle().as_bytes(), "{key}: each CA stands there once");
    }
}

#[test]
fn issues_everything_if_all_keys_are_lost_and_keeps_readable_cas_trusted() {
    let mut store = Store::filled(start());
    let before = store.own().bundle();
    for key in ["tls.crt", "tls.key", "ca.key"] {
        store.put(key, "garbage");
    }
    store.put("ca.crt", format!("-----BEGIN CERTIFICATE-----\ngarbage\n-----END CERTIFICATE-----\n{before}"));
    assert_eq!(store.plan(start(), None), CertificatePlan { action: Action::IssueAll, urgent: true });
    assert_eq!(store.settle(start()), [Action::IssueAll]);
    assert!(store.own().bundle().ends_with(&before));
    assert_eq!(store.settle(start() + 300 * SECOND), [Action::DropOldCas]);
}

#[test]
fn keeps_a_valid_certificate_if_the_clock_jumps() {
    let mut store = Store::filled(start());
    let day = 24 * 3600 * SECOND;
    for now in [start() + day, start(), start() - day, start() + 9 * day, start()] {
        store.settle(now);
        let bundle = store.own().bundle();
        assert!(store.verifies(&bundle, now));
    }
}

#[test]
fn never_prints_a_key() {
    let mut store = Store::filled(start());
    store.annotate(RENEW, "ca");
    store.step(start(), None);
    let printed = format!("{:?}", store.contents());
    for key in ["tls.key", "ca.key", "next-ca.key"] {
        let key = String::from_utf8(store.value(key)).unwrap();
        let line = key.lines().nth(1).unwrap();
        assert!(!printed.contains("PRIVATE") && !printed.contains(line), "{printed}");
    }
}

/// Returns the value that was current at a time: the last one written until then.
fn at<T>(history: &[(SystemTime, T)], moment: SystemTime) -> Option<&T> {
    history.iter().rev().find(|(since, _)| *since <= moment).map(|(_, value)| value)
}

/// A simulated cluster in which every component is as late as it may be.
struct Cluster {
    store: Store,
    served: Vec<(SystemTime, Pair)>,
    bundles: Vec<(SystemTime, String)>,
    done: Vec<Action>,
}

impl Cluster {
    /// Asserts that the certificate of each replica verifies against the bundle of each API server.
    fn check(&self, now: SystemTime) {
        for behind in [0, 30].map(|seconds| seconds * SECOND) {
            let Some(bundle) = at(&self.bundles, now - behind) else { continue };
            for late in [0, 100].map(|seconds| seconds * SECOND) {
                let Some(pair) = at(&self.served, now - late) else { continue };
                let verified = trust::verify(pair.chain(), bundle.as_bytes(), HOST, now);
                assert!(
                    verified.is_ok(),
                    "{:?} after {:?}: {verified:?}",
                    self.done,
                    now.duration_since(start())
                );
            }
        }
    }

    fn lead(&mut self, now: SystemTime) {
        let wanted = self.store.contents().bundle();
        let live = self.bundles.last().filter(|(_, bundle)| Some(bundle) == wanted.as_ref());
        let live_for = live.map(|(since, _)| now.duration_since(*since).unwrap());
        match self.store.step(now, live_for) {
            Action::WaitUntil(_) => {}
            action => {
                assert_ne!(action, Action::LeaveAlone);
                self.done.push(action);
                self.served.push((now, self.store.contents().pair().unwrap().clone()));
            }
        }
    }

    fn write_bundle(&mut self, now: SystemTime) {
        let wanted = self.store.contents().bundle();
        if let Some(wanted) =
            wanted.filter(|wanted| self.bundles.last().is_none_or(|(_, found)| found != wanted))
        {
            self.bundles.push((now, wanted));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5, ..ProptestConfig::default() })]

    /// Simulates years with at least three rotations. The leaf of any replica must verify against the bundle of any
    /// API server. The leader is absent at times, acts late, and receives requests to renew.
    #[test]
    fn serves_a_trusted_certificate_at_every_instant(
        steps in prop::collection::vec((1_u32..40, 0_u8..10, 0_u8..60), 500..600),
    ) {
        let mut cluster =
            Cluster { store: Store::empty(), served: Vec::new(), bundles: Vec::new(), done: Vec::new() };
        let mut now = start();
        cluster.lead(now);
        cluster.write_bundle(now);
        for (index, (seconds, present, asked)) in steps.iter().enumerate() {
            now += *seconds * SECOND;
            match asked {
                0 => cluster.store.annotate(RENEW, "ca"),
                1 => cluster.store.annotate(RENEW, "leaf"),
                _ => {}
            }
            // The leader is absent from time to time, but never for long.
            if index % 4 == 0 || *present > 3 {
                cluster.lead(now);
            }
            if index % 3 == 0 || *present > 5 {
                cluster.write_bundle(now);
            }
            cluster.check(now);
        }
        let rotations = cluster.done.iter().filter(|action| **action == Action::SwitchLeafToNextCa).count();
        prop_assert!(rotations >= 3, "{rotations} rotations in {:?}", now.duration_since(start()));
        prop_assert!(!cluster.done[1..].contains(&Action::IssueAll));
    }

    /// Garbage in the Secret causes no panic, and Wardset repairs the content that it wrote.
    #[test]
    fn recovers_from_garbage_in_any_key(
        damage in prop::collection::vec((0_usize..6, prop::collection::vec(any::<u8>(), 0..40), any::<prop::sample::Index>()), 1..5),
        rotating in any::<bool>(),
    ) {
        let mut store = Store::filled(start());
        if rotating {
            store.annotate(RENEW, "ca");
            store.step(start(), None);
        }
        for (key, bytes, place) in damage {
            let key = ["tls.crt", "tls.key", "ca.crt", "ca.key", "next-ca.crt", "next-ca.key"][key];
            let mut value = store.data().get(key).map(|value| value.0.clone()).unwrap_or_default();
            let from = place.index(value.len() + 1);
            let to = value.len().min(from + bytes.len());
            value.splice(from..to, bytes);
            store.put(key, value);
        }
        store.settle(start());
        if let Contents::Own(own) = store.contents() {
            prop_assert!(own.damaged().is_empty());
            prop_assert!(store.verifies(&own.bundle(), start()));
        }
    }
}
