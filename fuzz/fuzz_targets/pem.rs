//! `tls.crt`, `tls.key` and a CA bundle, with `%%` lines between them. An accepted pair is complete and never shows
//! its key. An error names the file and never a part of the key. A chain is trusted only because of a CA in the
//! bundle.
//!
//! `@leaf`, `@ca`, `@key` and `@other` stand for keys and certificates of this process, because no key is committed.
//! Bytes behind `der:` are wrapped in PEM here, so that the fuzzer needs no base64.
#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use certificate::{Pair, certificates, trust};
use libfuzzer_sys::fuzz_target;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

struct Made {
    leaf: String,
    ca: String,
    key: String,
    other: String,
}

static MADE: LazyLock<Made> = LazyLock::new(|| {
    let key = || KeyPair::generate().expect("a key");
    let (ca_key, leaf_key) = (key(), key());
    let params = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2030, 1, 1);
        params
    };
    let mut ca = params(&[]);
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = ca.self_signed(&ca_key).expect("a CA");
    let issuer = Issuer::new(ca, ca_key);
    let leaf = params(&["localhost"]).signed_by(&leaf_key, &issuer).expect("a certificate");
    Made {
        leaf: leaf.pem(),
        ca: certificate.pem(),
        key: leaf_key.serialize_pem(),
        other: key().serialize_pem(),
    }
});

fuzz_target!(|bytes: &[u8]| {
    if let Some(der) = bytes.strip_prefix(b"der:") {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        check(pem.as_bytes(), MADE.key.as_bytes(), pem.as_bytes());
        return;
    }
    let mut parts = bytes.splitn(5, |byte| *byte == b'%').filter(|part| !part.is_empty()).map(filled);
    let mut part = || parts.next().unwrap_or_default();
    check(&part(), &part(), &part());
});

fn filled(part: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(part) else { return part.to_vec() };
    let made = &*MADE;
    let text = text.replace("@leaf", &made.leaf).replace("@ca", &made.ca);
    text.replace("@key", &made.key).replace("@other", &made.other).into_bytes()
}

fn check(chain: &[u8], key: &[u8], bundle: &[u8]) {
    let now = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    match Pair::from_pem(chain, key) {
        Ok(pair) => {
            assert_eq!(pair.chain(), certificates(chain).expect("a chain that was taken"));
            assert_eq!(pair.ca_not_after.is_some(), pair.chain().len() > 1);
            hides(&format!("{pair:?}"));
            trusts(pair.chain(), bundle);
        }
        Err(error) => {
            let words = wardset_core::text::with_causes(&error, 512);
            wardset_fuzz::assert_line(&words, 512);
            assert!(words.contains("`tls."), "names no file: {words}");
            hides(&words);
            // The bundle is also read if there is no pair.
            if let Ok(chain) = certificates(chain) {
                let _ = trust::verify(&chain, bundle, "localhost", now);
            }
        }
    }
}

fn trusts(chain: &[certificate::Der], bundle: &[u8]) {
    for (name, now) in [("localhost", 1_767_225_600), ("localhost", 0), ("elsewhere", 1_767_225_600), ("", 1)]
    {
        let verified = trust::verify(chain, bundle, name, UNIX_EPOCH + Duration::from_secs(now));
        match verified {
            Ok(()) => {
                let cas = certificates(bundle).expect("a bundle that was trusted");
                assert!(!cas.is_empty() && (name, now) == ("localhost", 1_767_225_600), "{name} at {now}");
                // Only this process can have signed a chain for `localhost` that verifies.
                let ours = certificates(MADE.ca.as_bytes()).expect("our CA");
                let leaf = certificates(MADE.leaf.as_bytes()).expect("our leaf");
                assert!(cas.contains(&ours[0]) || cas.contains(&leaf[0]), "trusted by another CA");
            }
            Err(error) => wardset_fuzz::assert_line(&wardset_core::text::with_causes(&error, 512), 512),
        }
    }
}

/// Checks that the text contains no line of a key that this process made.
///
/// Other keys don't count, because the fuzzer may write parts of a message into them.
fn hides(text: &str) {
    for key in [&MADE.key, &MADE.other] {
        for line in key.lines().filter(|line| !line.starts_with('-')) {
            assert!(!text.contains(line), "a line of the key is shown");
        }
    }
}
