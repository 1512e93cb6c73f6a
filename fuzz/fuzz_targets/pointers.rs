//! Two pointers and a document, one on each line. Parsing, prefixes, lookups and the permissions of a manifest must
//! agree with RFC 6901, token by token.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::Value;
use wardset_core::document::Document;
use wardset_core::manifest::{FORBIDDEN, MAX_POINTER, Manifest, ManifestError, ManifestParts};
use wardset_core::patch::is_within;
use wardset_core::{Pointer, PointerBuf};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(bytes) else { return Corpus::Reject };
    let mut lines = text.splitn(3, '\n');
    let (first, second) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    for text in [first, second] {
        assert_eq!(Pointer::parse(text).is_ok(), tokens(text).is_some(), "{text:?}");
    }
    manifest(first, second);
    let (Ok(path), Ok(prefix)) = (PointerBuf::parse(first), PointerBuf::parse(second)) else {
        return Corpus::Keep;
    };
    assert_eq!(is_within(&path, &prefix), is_below(first, second), "{first:?} below {second:?}");
    assert!(is_within(&path, &path) && is_within(&path, Pointer::root()));
    if let Some(document) = lines.next().and_then(|text| Document::parse(text).ok()) {
        let tree: Value = serde_json::from_str(document.text()).expect("a document is JSON");
        for pointer in [&path, &prefix] {
            let found = wardset_fuzz::at(&document, pointer.as_str());
            assert_eq!(found.as_ref(), tree.pointer(pointer.as_str()), "{pointer}");
            let string = document.string(pointer);
            assert_eq!(
                string.as_deref(),
                tree.pointer(pointer.as_str()).and_then(Value::as_str),
                "{pointer}"
            );
        }
    }
    Corpus::Keep
});

/// Checks that a manifest permits `touched` exactly if it is at or below `declared`, and that it can't declare a
/// pointer to a forbidden value.
fn manifest(touched: &str, declared: &str) {
    let parts = ManifestParts {
        name: "fuzzed".to_owned(),
        version: "0.1.0".to_owned(),
        description: "fuzzed".to_owned(),
        reads: vec![declared.to_owned()],
        writes: vec![declared.to_owned()],
        cluster: Vec::new(),
        settings_schema: "{}".to_owned(),
    };
    let forbidden = FORBIDDEN.iter().any(|forbidden| is_below(declared, forbidden.as_str()));
    match Manifest::try_from(parts) {
        Ok(manifest) => {
            assert!(tokens(declared).is_some() && !forbidden, "{declared:?} was taken");
            assert!(declared.len() <= MAX_POINTER, "{declared:?} was taken");
            if let Ok(touched) = PointerBuf::parse(touched) {
                let expected = is_below(touched.as_str(), declared);
                assert_eq!(manifest.may_read(&touched), expected, "{touched:?} below {declared:?}");
                assert_eq!(manifest.may_write(&touched), expected, "{touched:?} below {declared:?}");
            }
        }
        Err(ManifestError::Pointer { .. }) => assert_eq!(tokens(declared), None, "{declared:?} was refused"),
        Err(ManifestError::Forbidden { .. }) => assert!(forbidden, "{declared:?} was refused"),
        Err(ManifestError::TooLong { .. }) => {
            assert!(declared.len() > MAX_POINTER, "{declared:?} was refused")
        }
        Err(other) => panic!("{declared:?}: {other}"),
    }
}

/// Splits a pointer by RFC 6901: slow and simple, as an oracle.
fn tokens(pointer: &str) -> Option<Vec<String>> {
    if pointer.is_empty() {
        return Some(Vec::new());
    }
    pointer.strip_prefix('/')?.split('/').map(token).collect()
}

fn token(encoded: &str) -> Option<String> {
    let mut decoded = String::new();
    let mut rest = encoded.chars();
    while let Some(c) = rest.next() {
        decoded.push(match c {
            '~' => match rest.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            c => c,
        });
    }
    Some(decoded)
}

fn is_below(path: &str, prefix: &str) -> bool {
    match (tokens(path), tokens(prefix)) {
        (Some(path), Some(prefix)) => path.starts_with(&prefix),
        _ => false,
    }
}
