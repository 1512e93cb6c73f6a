//! Certificates without cert-manager: several replicas run at once against an in-memory API server.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use wardset::certificates::development;
use wardset::certificates::own::{Certificates, ISSUED, Lifetimes, Names, RENEW};
use wardset::certificates::{self, ServedCertificate, trust};
use wardset::metrics::Metrics;

use crate::apiserver::{ApiServer, until};

const HOST: &str = "wardset.policy.svc";

/// One server process, reduced to its certificates.
struct Replica {
    served: Arc<ServedCertificate>,
    metrics: Arc<Metrics>,
    leader: watch::Sender<bool>,
    running: AbortHandle,
}

impl Replica {
    fn start(api: &ApiServer, leads: bool) -> Self {
        let metrics = Arc::new(Metrics::new());
        let served = Arc::new(ServedCertificate::new(metrics.certificates.clone()));
        let leader = watch::Sender::new(leads);
        let names = Names {
            namespace: "policy".to_owned(),
            service: "wardset".to_owned(),
            secret: "wardset-tls".to_owned(),
            webhooks: "wardset".to_owned(),
            extra: Vec::new(),
        };
        let seconds = Duration::from_secs;
        let lifetimes =
            Lifetimes::new(seconds(900), seconds(3600), Duration::from_millis(300), seconds(1)).unwrap();
        let certificates = Certificates::new(
            api.client(),
            names,
            lifetimes,
            leader.subscribe(),
            Arc::clone(&served),
            Arc::clone(&metrics),
        );
        let running = tokio::spawn(certificates.unwrap().run()).abort_handle();
        Self { served, metrics, leader, running }
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.served.current().map(|pair| pair.chain().to_vec()).unwrap_or_default()
    }

    fn serial(&self) -> Option<String> {
        self.served.current().map(|pair| pair.leaf.serial.clone())
    }

    fn says(&self, line: &str) -> bool {
        self.metrics.to_text().lines().any(|found| found == line)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn secret() -> String {
    ApiServer::secret("policy", "wardset-tls")
}

/// Returns the value of a key of the Secret.
fn value(api: &ApiServer, key: &str) -> Option<Vec<u8>> {
    let secret = api.get(&secret())?;
    Some(STANDARD.decode(secret["data"].get(key)?.as_str().unwrap()).unwrap())
}

fn cas(api: &ApiServer) -> usize {
    certificates::certificates(&value(api, "ca.crt").unwrap_or_default()).map_or(0, |cas| cas.len())
}

fn configuration() -> Value {
    let entry = |name: &str, service: &str| {
        json!({
            "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"service": {"namespace": "policy", "name": service, "path": "/mutate"}},
        })
    };
    json!({"metadata": {"name": "wardset"}, "webhooks": [
        entry("daemonsets.wardset.dev", "wardset"), entry("other.example", "other"),
        entry("system.wardset.dev", "wardset"),
    ]})
}

/// Returns the CA bundles of a configuration's entries.
fn bundles(api: &ApiServer, path: &str) -> Vec<Option<Vec<u8>>> {
    let configuration = api.get(path).unwrap();
    let entries = configuration["webhooks"].as_array().unwrap();
    let bundle =
        |entry: &Value| entry["clientConfig"]["caBundle"].as_str().map(|text| STANDARD.decode(text).unwrap());
    entries.iter().map(bundle).collect()
}

/// Returns whether both configurations have the bundle of the Secret, and only in Wardset's own entries.
fn in_order(api: &ApiServer) -> bool {
    let bundle = value(api, "ca.crt");
    ApiServer::configurations("wardset")
        .iter()
        .all(|path| bundle.is_some() && bundles(api, path) == [bundle.clone(), None, bundle.clone()])
}

/// Returns a Secret with a certificate and CA from another issuer.
fn supplied() -> Value {
    let folder = tempfile::tempdir().unwrap();
    development::make(folder.path()).unwrap();
    let text = |file: &str| STANDARD.encode(std::fs::read(folder.path().join(file)).unwrap());
    json!({"type": "kubernetes.io/tls", "data": {
        "tls.crt": text("tls/tls.crt"), "tls.key": text("tls/tls.key"), "ca.crt": text("ca.pem"),
    }})
}

fn writes_to(api: &ApiServer, path: &str) -> usize {
    api.writes().iter().filter(|write| write.ends_with(path)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_issue_at_the_same_time_keep_one_ca() {
    for existing in
        [None, Some(json!({"type": "Opaque"})), Some(json!({"data": {"tls.crt": "", "tls.key": ""}}))]
    {
        let api = ApiServer::new();
        if let Some(existing) = &existing {
            api.put(&secret(), existing.clone());
        }
        api.race(3);
        let replicas: Vec<_> = (0..3).map(|_| Replica::start(&api, false)).collect();
        for replica in &replicas {
            replica.served.loaded().await;
        }
        until("all replicas serve the same certificate", || {
            replicas.iter().all(|replica| replica.chain() == replicas[0].chain())
        })
        .await;
        assert_eq!((cas(&api), writes_to(&api, &secret()), api.conflicts()), (1, 1, 2), "{:?}", api.writes());
        let bundle = value(&api, "ca.crt").unwrap();
        trust::verify(&replicas[0].chain(), &bundle, HOST, SystemTime::now()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_writes_ca_bundle_again_if_it_is_overwritten() {
    let api = ApiServer::new();
    let paths = ApiServer::configurations("wardset");
    for path in &paths {
        api.put(path, configuration());
    }
    let follower = Replica::start(&api, false);
    follower.served.loaded().await;
    until("the follower reports that its certificate is not trusted", || {
        follower.says(r#"wardset_certificate_trusted{configuration="mutating"} 0"#)
    })
    .await;
    assert_eq!(api.writes().len(), 1, "{:?}", api.writes());

    let leader = Replica::start(&api, true);
    until("caBundle is written", || in_order(&api)).await;
    // `helm upgrade` with a placeholder does this.
    api.edit(&paths[0], |found| found["webhooks"][2]["clientConfig"]["caBundle"] = json!("Cg=="));
    until("caBundle is written again", || in_order(&api)).await;
    api.delete(&paths[1]);
    api.put(&paths[1], configuration());
    until("the leader writes caBundle into a recreated configuration", || in_order(&api)).await;
    for replica in [&leader, &follower] {
        for kind in ["mutating", "validating"] {
            let line = format!(r#"wardset_certificate_trusted{{configuration="{kind}"}} 1"#);
            until(&line, || replica.says(&line)).await;
        }
    }
    // A new leader does the same.
    leader.leader.send_replace(false);
    follower.leader.send_replace(true);
    api.edit(&paths[0], |found| found["webhooks"][0]["clientConfig"]["caBundle"] = json!("Cg=="));
    until("the new leader writes caBundle", || in_order(&api)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_a_supplied_certificate_and_never_overwrites_it() {
    for with_ca in [true, false] {
        let api = ApiServer::new();
        let paths = ApiServer::configurations("wardset");
        for path in &paths {
            api.put(path, configuration());
        }
        let supply = || {
            let mut object = supplied();
            if !with_ca {
                object["data"].as_object_mut().unwrap().remove("ca.crt");
            }
            object
        };
        api.put(&secret(), supply());
        let leader = Replica::start(&api, true);
        leader.served.loaded().await;
        let first = leader.serial();
        api.edit(&secret(), |found| found["metadata"]["annotations"] = json!({RENEW: "ca"}));
        // After an invalid pair, the previous one stays active.
        let good = api.get(&secret()).unwrap();
        api.edit(&secret(), |found| found["data"]["tls.key"] = json!("AAAA"));
        until("the bad pair is refused", || {
            leader.says(r#"wardset_certificate_reloads_total{result="refused"} 1"#)
        })
        .await;
        assert_eq!(leader.serial(), first);
        api.put(&secret(), good);
        api.put(&secret(), supply());
        until("the replacement is served", || leader.serial() != first).await;
        if with_ca {
            until("their CA is written to caBundle", || in_order(&api)).await;
        }
        // If a user deletes the Secret and creates it again, Wardset issues nothing in between.
        let second = leader.serial();
        api.delete(&secret());
        api.edit(&paths[0], |found| found["metadata"]["labels"] = json!({"seen": "true"}));
        api.put(&secret(), supply());
        until("the recreated Secret is served", || leader.serial() != second).await;
        assert_eq!(writes_to(&api, &secret()), 0, "{:?}", api.writes());
        let patched = api.writes().iter().any(|write| write.starts_with("PATCH"));
        assert_eq!(patched, with_ca, "{:?}", api.writes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leaves_ca_bundle_alone_if_cert_manager_injects_it() {
    let api = ApiServer::new();
    for path in ApiServer::configurations("wardset") {
        let mut injected = configuration();
        injected["metadata"]["annotations"] = json!({"cert-manager.io/inject-ca-from": "policy/wardset"});
        api.put(&path, injected);
    }
    let leader = Replica::start(&api, true);
    until("the leader sees the injected configurations", || {
        leader.says(r#"wardset_certificate_trusted{configuration="validating"} 0"#)
    })
    .await;
    assert_eq!(api.writes(), [format!("POST {}", secret())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_stays_trusted_during_three_ca_rotations() {
    let api = ApiServer::new();
    let paths = ApiServer::configurations("wardset");
    for path in &paths {
        api.put(path, configuration());
    }
    let replicas: Vec<_> = (0..3).map(|index| Replica::start(&api, index == 0)).collect();
    until("caBundle is written", || {
        in_order(&api) && replicas.iter().all(|replica| replica.serial().is_some())
    })
    .await;
    let trusted = || {
        for replica in &replicas {
            // Reads the chain first, because a later bundle trusts it too.
            let chain = replica.chain();
            for bundle in paths.iter().flat_map(|path| bundles(&api, path)).flatten() {
                trust::verify(&chain, &bundle, HOST, SystemTime::now()).unwrap();
            }
        }
    };
    for rotation in 1..=3 {
        let (before, ca) = (replicas[0].serial(), value(&api, "ca.crt"));
        api.edit(&secret(), |found| found["metadata"]["annotations"][RENEW] = json!("ca"));
        until(&format!("rotation {rotation}"), || {
            trusted();
            let (bundle, renewed) =
                (value(&api, "ca.crt"), replicas.iter().all(|replica| replica.serial() != before));
            renewed && in_order(&api) && cas(&api) == 1 && bundle != ca
        })
        .await;
        let annotations = api.get(&secret()).unwrap()["metadata"]["annotations"].clone();
        assert_eq!(annotations.as_object().unwrap().keys().collect::<Vec<_>>(), [ISSUED]);
        assert!(value(&api, "next-ca.crt").is_none() && value(&api, "next-ca.key").is_none());
    }
    let before = replicas[2].serial();
    api.edit(&secret(), |found| found["metadata"]["annotations"][RENEW] = json!("leaf"));
    until("only the leaf is renewed", || replicas.iter().all(|replica| replica.serial() != before)).await;
    assert_eq!(cas(&api), 1);
    for line in [
        r#"wardset_certificate_changes_total{change="issue-all"} 1"#,
        r#"wardset_certificate_changes_total{change="begin-ca-rotation"} 3"#,
        r#"wardset_certificate_changes_total{change="switch-leaf-to-next-ca"} 3"#,
        r#"wardset_certificate_changes_total{change="drop-old-cas"} 3"#,
        r#"wardset_certificate_changes_total{change="renew-leaf"} 1"#,
    ] {
        let found = replicas.iter().any(|replica| replica.says(line));
        assert!(found, "{line}: {}", replicas[0].metrics.to_text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repairs_a_malformed_secret_and_keeps_serving_meanwhile() {
    let api = ApiServer::new();
    for path in ApiServer::configurations("wardset") {
        api.put(&path, configuration());
    }
    let leader = Replica::start(&api, true);
    until("caBundle is written", || in_order(&api)).await;
    for key in ["tls.crt", "tls.key", "ca.crt", "ca.key"] {
        api.edit(&secret(), |found| found["data"][key] = json!(STANDARD.encode("garbage")));
        until(&format!("`{key}` is repaired"), || {
            let whole = value(&api, key).is_some_and(|value| value != b"garbage");
            assert!(leader.serial().is_some());
            whole && in_order(&api) && cas(&api) == 1 && value(&api, "next-ca.crt").is_none()
        })
        .await;
    }
    api.edit(&secret(), |found| found["data"] = json!({}));
    until("an emptied Secret is filled again", || value(&api, "tls.crt").is_some() && in_order(&api)).await;
    api.delete(&secret());
    until("a deleted Secret is created again", || value(&api, "tls.crt").is_some() && in_order(&api)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_its_certificate_while_the_api_server_is_down() {
    let api = ApiServer::new();
    for path in ApiServer::configurations("wardset") {
        api.put(&path, configuration());
    }
    api.set_down(true);
    let leader = Replica::start(&api, true);
    assert!(leader.serial().is_none());
    api.set_down(false);
    until("the server issues certificates after the API server is up", || in_order(&api)).await;
    let before = leader.serial();
    api.set_down(true);
    api.edit(&secret(), |found| found["metadata"]["annotations"][RENEW] = json!("leaf"));
    assert_eq!(leader.serial(), before);
    api.set_down(false);
    until("the server handles the missed change", || leader.serial() != before).await;
}
