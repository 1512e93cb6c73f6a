//! The server's own certificates in a cluster. They are issued once and renewed during reviews. Certificates from
//! another issuer are never overwritten.

use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::installed::{Installed, Server};
use crate::load::Load;
use crate::support::{Namespace, eventually, example};

/// Short intervals, so that a CA is replaced within seconds.
const QUICK: [&str; 2] = ["--ca-overlap-seconds=2", "--ca-retirement-seconds=3"];

#[test]
fn rotates_ca_and_certificate_without_failed_reviews() {
    let installed = Installed::apply();
    let server = installed.serve_with(&QUICK);
    let old = installed.bundles_written("");
    let namespace = Namespace::new("rotation");
    installed.review_namespace(namespace.name());
    namespace.apply(&example());
    let load = Load::start(server.webhook, &old);
    renew(&installed, "ca");

    // Meanwhile every call of the API server succeeds: it verifies each new connection against `caBundle`.
    let (mut asked, mut most) = (0, 0);
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        namespace
            .run(&["annotate", "daemonset", "fluentd-agent", "--overwrite", &format!("try={asked}")])
            .succeeded();
        asked += 1;
        let bundles = installed.bundles();
        let trusted = authorities(&bundles[0]);
        most = most.max(trusted);
        if trusted == 1 && bundles[0] != old && bundles.iter().all(|bundle| *bundle == bundles[0]) {
            break;
        }
        assert!(Instant::now() < limit, "expected one new CA after {asked} updates, found {trusted} CAs");
    }
    assert_eq!(most, 2, "expected both CAs in the bundle for a while");
    let tally = load.end();
    eprintln!(
        "CA changed: {asked} updates through the API server, {} reviews on open connections, {} failed",
        tally.sent,
        tally.failed.len()
    );
    assert_eq!(tally.failed, Vec::<String>::new());
    trusted_by_all(&server);
}

#[test]
fn renews_certificate_on_request_and_keeps_the_ca() {
    let installed = Installed::apply();
    let server = installed.serve();
    let ca = installed.bundles_written("");
    let before = secret(&installed);
    renew(&installed, "leaf");
    let after = eventually(Duration::from_secs(20), "the certificate is renewed", || {
        let now = secret(&installed);
        if now["data"]["tls.crt"] == before["data"]["tls.crt"] { Err("the same") } else { Ok(now) }
    });
    assert_eq!(after["metadata"]["annotations"].get("wardset.dev/renew"), None);
    assert_eq!(after["data"]["ca.crt"], before["data"]["ca.crt"]);
    assert_eq!(installed.bundles()[0], ca);
    trusted_by_all(&server);
}

#[test]
fn restores_an_overwritten_ca_bundle() {
    let installed = Installed::apply();
    let server = installed.serve();
    let ca = installed.bundles_written("");
    let other = base64::engine::general_purpose::STANDARD.encode(pem_of_another_ca());
    let patch = json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": other}]);
    let configuration = "mutatingwebhookconfiguration/wardset";
    installed.kubectl.succeed(&["patch", configuration, "--type=json", "-p", &patch.to_string()]);
    eventually(Duration::from_secs(20), "the CA is back", || {
        let bundles = installed.bundles();
        if bundles.iter().all(|bundle| *bundle == ca) { Ok(()) } else { Err(bundles) }
    });
    trusted_by_all(&server);
}

#[test]
fn serves_supplied_certificates_and_never_writes_them() {
    let installed = Installed::apply();
    let certificate = rcgen::generate_simple_self_signed(vec!["wardset.wardset.svc".to_owned()]).unwrap();
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let data = json!({"data": {
        "tls.crt": encode(certificate.cert.pem()), "tls.key": encode(certificate.signing_key.serialize_pem()),
    }});
    let name = "wardset-certificates";
    installed.kubectl.succeed(&[
        "-n",
        "wardset",
        "patch",
        "secret",
        name,
        "--type=merge",
        "-p",
        &data.to_string(),
    ]);
    let before = secret(&installed);
    let server = installed.serve();
    renew(&installed, "leaf");
    let ca = encode(certificate.cert.pem());
    let tally = Load::one(server.webhook, &ca);
    assert_eq!(tally.failed, Vec::<String>::new());
    let after = secret(&installed);
    assert_eq!(after["data"], before["data"]);
    assert!(
        installed.bundles().iter().all(String::is_empty),
        "the server wrote a `caBundle` although the CA is not its own"
    );
}

#[test]
fn replicas_that_start_together_issue_one_ca() {
    let installed = Installed::apply();
    let starting: Vec<Server> = (0..3).map(|_| installed.start("127.0.0.1:0", &[])).collect();
    let servers: Vec<Server> = starting.into_iter().map(Server::ready).collect();
    let ca = installed.bundles_written("");
    assert_eq!(authorities(&ca), 1);
    for server in &servers {
        assert_eq!(Load::one(server.webhook, &ca).failed, Vec::<String>::new());
    }
}

fn renew(installed: &Installed, what: &str) {
    let annotation = format!("wardset.dev/renew={what}");
    installed.kubectl.succeed(&["-n", "wardset", "annotate", "secret", "wardset-certificates", &annotation]);
}

fn secret(installed: &Installed) -> Value {
    installed.kubectl.json(&["-n", "wardset", "get", "secret", "wardset-certificates"])
}

/// Returns the number of CAs in a bundle.
fn authorities(bundle: &str) -> usize {
    let pem = base64::engine::general_purpose::STANDARD.decode(bundle).unwrap();
    String::from_utf8(pem).unwrap().matches("BEGIN CERTIFICATE").count()
}

/// Waits until the server reports that its certificate verifies against the `caBundle` of each configuration.
fn trusted_by_all(server: &Server) {
    for configuration in ["mutating", "validating"] {
        let sample = format!("wardset_certificate_trusted{{configuration=\"{configuration}\"}}");
        eventually(Duration::from_secs(20), &sample, || match server.metric(&sample) {
            Some(1.0) => Ok(()),
            other => Err(other),
        });
    }
    assert!(server.metric("wardset_certificate_not_after_seconds{certificate=\"leaf\"}").is_some());
}

fn pem_of_another_ca() -> String {
    rcgen::generate_simple_self_signed(vec!["other".to_owned()]).unwrap().cert.pem()
}
