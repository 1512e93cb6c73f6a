//! The review under decision: the facts of the request and typed reads of the document.

use std::cell::OnceCell;

use serde::Deserialize;

#[cfg(target_arch = "wasm32")]
use crate::host::Host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::Document as Host;
use crate::{
    ClusterData, Denial, Level, NodeCounts, Operation, Patch, PodEffect, Request, Stop, TemplateGate, shape,
};

/// One AdmissionRequest under decision.
///
/// It keeps each part that was read, so that typed values can borrow from it and the host is asked once for each part.
#[derive(Debug)]
pub struct Review {
    request: Request,
    host: Host,
    parts: OnceCell<Box<Part>>,
}

impl Review {
    pub(crate) fn new(request: Request, host: Host) -> Self {
        Self { request, host, parts: OnceCell::new() }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn host_mut(&mut self) -> &mut Host {
        &mut self.host
    }

    /// Returns the facts that are not in the object.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Whether the object is new.
    pub fn is_create(&self) -> bool {
        self.request.operation == Operation::Create
    }

    /// Whether `spec.template` may be changed. If not, do not deny for its content either: the author did not touch it.
    pub fn template_is_open(&self) -> bool {
        self.request.template == TemplateGate::Open
    }

    /// Reads the value at `pointer`; missing and null are both none.
    ///
    /// Ask for small parts and for the fields that the policy needs. Unknown fields are skipped, and
    /// [`Text`](crate::Text) borrows.
    ///
    /// # Errors
    /// A denial (422) if a value has another type. It points at this value and says how to write it.
    pub fn object<'r, T: Deserialize<'r>>(&'r self, pointer: &str) -> Result<Option<T>, Stop> {
        self.read(false, pointer)
    }

    /// Reads the stored object in the same way; always none on a create.
    ///
    /// # Errors
    /// As [`Review::object`].
    pub fn old_object<'r, T: Deserialize<'r>>(&'r self, pointer: &str) -> Result<Option<T>, Stop> {
        self.read(true, pointer)
    }

    /// Whether there is a value other than null at `pointer`.
    pub fn has(&self, pointer: &str) -> bool {
        !self.known_absent(pointer) && self.text(false, pointer).is_some()
    }

    /// Returns the labels of the object's namespace, which the manifest must ask for; none if the host does not know them.
    ///
    /// # Errors
    /// [`Stop::Fail`] if the host's answer is not an object of strings.
    pub fn namespace_labels(&self) -> Result<Option<std::collections::BTreeMap<String, String>>, Stop> {
        let Some(text) = self.host.data(ClusterData::NamespaceLabels) else { return Ok(None) };
        serde_json::from_str(&text).map_err(|error| Stop::Fail(format!("namespace labels: {error}")))
    }

    /// Counts the nodes of the cluster by their answer to the object's pods. The manifest must ask for
    /// [`ClusterData::Nodes`].
    ///
    /// None if the host does not know the nodes, or if the operator does not allow them.
    pub fn node_counts(&self) -> Option<NodeCounts> {
        self.host.node_counts(&[])
    }

    /// Counts the nodes in the same way for the object with the changes of `patch`. If a change does not apply, the evaluation
    /// fails.
    pub fn node_counts_with(&self, patch: &Patch<'_>) -> Option<NodeCounts> {
        let edits: Vec<_> = patch.changes().iter().map(|change| change.edit.clone()).collect();
        self.host.node_counts(&edits)
    }

    /// Counts the nodes in the same way for the stored object; always none on a create.
    pub fn old_node_counts(&self) -> Option<NodeCounts> {
        self.host.old_node_counts()
    }

    /// Predicts the effect on the pods if the object is stored. None in the same cases as [`Review::node_counts`].
    pub fn pod_effect(&self) -> Option<PodEffect> {
        self.host.pod_effect()
    }

    /// Writes a line to the operator's log.
    pub fn log(&self, level: Level, message: &str) {
        self.host.log(level, message);
    }

    fn read<'r, T: Deserialize<'r>>(&'r self, old: bool, pointer: &str) -> Result<Option<T>, Stop> {
        let Some(text) = self.text(old, pointer) else { return Ok(None) };
        shape::read(text).map(Some).map_err(|error| {
            let name = crate::pointer::split_last(pointer).map_or_else(String::new, |(_, name)| name);
            Denial::invalid(error.pointer(pointer), error.message(), error.fix(&name)).into()
        })
    }

    /// Returns the JSON text at `pointer`, from an earlier read or from the host.
    fn text(&self, old: bool, pointer: &str) -> Option<&str> {
        let mut cell = &self.parts;
        while let Some(part) = cell.get() {
            if part.old == old && part.pointer == pointer {
                return part.text.as_deref();
            }
            cell = &part.next;
        }
        let text = if old { self.host.old_object(pointer) } else { self.host.object(pointer) };
        let text = text.filter(|text| text != "null");
        let part = Part { old, pointer: pointer.to_owned(), text, next: OnceCell::new() };
        cell.get_or_init(|| Box::new(part)).text.as_deref()
    }

    /// Whether a part above `pointer` was read and is missing.
    fn known_absent(&self, pointer: &str) -> bool {
        let mut cell = &self.parts;
        while let Some(part) = cell.get() {
            if !part.old && part.text.is_none() && crate::pointer::is_within(pointer, &part.pointer) {
                return true;
            }
            cell = &part.next;
        }
        false
    }
}

/// An element of a list that only grows, behind a shared reference. Typed values borrow from it as long as the review lives.
#[derive(Debug)]
struct Part {
    old: bool,
    pointer: String,
    text: Option<String>,
    next: OnceCell<Box<Part>>,
}
