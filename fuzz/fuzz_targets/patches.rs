//! A document and edits, one per line. Wardset and another implementation of RFC 6902 must agree on each edit, and on
//! each error. The index must stay correct. The difference of the first and the last document must turn the first into
//! the last.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::Value;
use wardset_core::PointerBuf;
use wardset_core::document::{Document, MAX_DEPTH, diff};
use wardset_core::patch::{self, PatchOperation};
use wardset_core::verdict::Edit;

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(bytes) else { return Corpus::Reject };
    let mut lines = text.split('\n');
    let Some(first) = lines.next().and_then(|line| Document::parse(line).ok()) else {
        return Corpus::Reject;
    };
    let mut document = first.clone();
    let mut tree: Value = tree(&first);
    for operation in lines.filter_map(wardset_fuzz::edit).filter_map(operation) {
        // Removing the root is an error here; json-patch makes it null.
        if matches!(&operation, PatchOperation::Remove { path } if path.is_root()) {
            continue;
        }
        let before = document.clone();
        let ours = document.apply(&operation);
        let theirs = match operation.value().map(Document::parse) {
            // Malformed JSON, or a duplicate key. A tree would keep the last value of that key.
            Some(Err(_)) => None,
            _ => patched(&tree, std::slice::from_ref(&operation)),
        };
        let theirs = theirs.filter(|tree| wardset_fuzz::depth(tree) < MAX_DEPTH);
        assert_eq!(ours.is_ok(), theirs.is_some(), "{operation:?}: {ours:?}");
        if let Some(theirs) = theirs {
            tree = theirs;
        } else {
            assert_eq!(document, before, "refused, and changed");
        }
        assert_eq!(Document::parse(document.text()).expect("is a document still"), document, "{operation:?}");
        assert_eq!(self::tree(&document), tree, "{operation:?}");
    }
    for (old, new) in [(&first, &document), (&document, &first)] {
        let operations = diff(old, new);
        assert!(operations.is_empty() || old != new, "{operations:?}");
        let mut ours = old.clone();
        for operation in &operations {
            ours.apply(operation).expect("a difference can be applied");
        }
        assert_eq!(self::tree(&ours), self::tree(new), "{operations:?}");
        let theirs = patched(&self::tree(old), &operations).expect("a difference can be applied");
        assert_eq!(theirs, self::tree(new), "{operations:?}");
    }
    Corpus::Keep
});

fn operation(edit: Edit) -> Option<PatchOperation> {
    let pointer = |path: String| PointerBuf::parse(path).ok();
    Some(match edit {
        Edit::Add { path, value } => PatchOperation::Add { path: pointer(path)?, value },
        Edit::Replace { path, value } => PatchOperation::Replace { path: pointer(path)?, value },
        Edit::Remove { path } => PatchOperation::Remove { path: pointer(path)? },
    })
}

fn tree(document: &Document) -> Value {
    serde_json::from_str(document.text()).expect("a document is JSON")
}

fn patched(tree: &Value, operations: &[PatchOperation]) -> Option<Value> {
    let patch: json_patch::Patch =
        serde_json::from_str(&patch::to_json(operations)).expect("operations are JSON");
    let mut tree = tree.clone();
    json_patch::patch(&mut tree, &patch).is_ok().then_some(tree)
}
