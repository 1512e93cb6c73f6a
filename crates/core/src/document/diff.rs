//! The difference of two documents, as RFC 6902 operations.
//!
//! A chain of policies may add a map and then a member of it, or add a value and remove it again. The patch for the
//! API server compares only the first and the last document, so it contains no intermediate changes.

use jsonptr::{Pointer, PointerBuf};

use super::Document;
use super::index::NodeKind;
use crate::patch::PatchOperation;

/// Returns the operations that turn `old` into `new`; none if they are equal.
///
/// Objects are compared member by member. In an array, equal elements at both ends stay, and the rest is compared
/// pair by pair. So the result is minimal if elements were appended or changed in place, and always correct.
#[must_use]
pub fn diff(old: &Document, new: &Document) -> Vec<PatchOperation> {
    let mut differ = Differ { old, new, operations: Vec::new() };
    differ.value(Pointer::root(), 0, 0);
    differ.operations
}

struct Differ<'d> {
    old: &'d Document,
    new: &'d Document,
    operations: Vec<PatchOperation>,
}

impl Differ<'_> {
    fn value(&mut self, path: &Pointer, old: usize, new: usize) {
        if self.same(old, new) {
            return;
        }
        match (self.old.nodes[old].kind, self.new.nodes[new].kind) {
            (NodeKind::Object, NodeKind::Object) => self.object(path, old, new),
            (NodeKind::Array, NodeKind::Array) => self.array(path, old, new),
            _ => self
                .operations
                .push(PatchOperation::Replace { path: path.to_buf(), value: self.new.span(new).to_owned() }),
        }
    }

    fn object(&mut self, path: &Pointer, old: usize, new: usize) {
        let (was, is) = (self.old, self.new);
        // Policies append members, so nearly every old member keeps its position and needs no search by name.
        let mut positions = is.members(new);
        for (key, _) in was.members(old) {
            let name = was.unquoted(key);
            let keeps_position = positions.next().is_some_and(|(key, _)| is.unquoted(key) == name);
            if !keeps_position && is.child(new, &name).is_none() {
                self.operations
                    .push(PatchOperation::Remove { path: path.with_trailing_token(name.as_ref()) });
            }
        }
        let mut positions = was.members(old);
        for (key, value) in is.members(new) {
            let name = is.unquoted(key);
            let same_position = positions.next().filter(|(key, _)| was.unquoted(*key) == name);
            match same_position.map(|(_, former)| former).or_else(|| was.child(old, &name)) {
                Some(former) if self.same(former, value) => {}
                Some(former) => self.value(&path.with_trailing_token(name.as_ref()), former, value),
                None => self.add(path.with_trailing_token(name.as_ref()), value),
            }
        }
    }

    fn array(&mut self, path: &Pointer, old: usize, new: usize) {
        let was: Vec<usize> = self.old.elements(old).collect();
        let is: Vec<usize> = self.new.elements(new).collect();
        let head = was.iter().zip(&is).take_while(|(old, new)| self.same(**old, **new)).count();
        let tail = was[head..].iter().rev().zip(is[head..].iter().rev());
        let tail = tail.take_while(|(old, new)| self.same(**old, **new)).count();
        let (was, is) = (&was[head..was.len() - tail], &is[head..is.len() - tail]);
        let pairs = was.len().min(is.len());
        for n in 0..pairs {
            self.value(&path.with_trailing_token(head + n), was[n], is[n]);
        }
        for n in (pairs..was.len()).rev() {
            self.operations.push(PatchOperation::Remove { path: path.with_trailing_token(head + n) });
        }
        for (n, element) in is.iter().enumerate().skip(pairs) {
            let path =
                if tail == 0 { path.with_trailing_token("-") } else { path.with_trailing_token(head + n) };
            self.add(path, *element);
        }
    }

    fn add(&mut self, path: PointerBuf, value: usize) {
        self.operations.push(PatchOperation::Add { path, value: self.new.span(value).to_owned() });
    }

    fn same(&self, old: usize, new: usize) -> bool {
        self.old.span(old) == self.new.span(new)
    }
}
