//! The review under decision: the request's facts and typed reads of the document.

use std::cell::OnceCell;

use serde::Deserialize;

#[cfg(target_arch = "wasm32")]
use crate::host::Host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::Document as Host;
use crate::{ClusterData, Denial, Level, Operation, Request, Stop, TemplateGate};

/// One AdmissionRequest under decision.
///
/// It keeps the text of each part that was read, so that what is read can borrow from it, and so that the
/// same part is asked for once.
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

    /// The facts that are not in the object.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Whether the object is new.
    pub fn is_create(&self) -> bool {
        self.request.operation == Operation::Create
    }

    /// Whether `spec.template` may be changed. Where not, don't deny for what stands in it either: its
    /// author did not touch it.
    pub fn template_is_open(&self) -> bool {
        self.request.template == TemplateGate::Open
    }

    /// Reads what stands at `pointer`; missing and null are both none.
    ///
    /// Ask for small parts and for the fields that the policy needs: unknown fields are skipped, and
    /// [`Text`](crate::Text) borrows.
    ///
    /// # Errors
    /// A denial (422) that names the pointer and what was expected, where the part has another type.
    pub fn object<'r, T: Deserialize<'r>>(&'r self, pointer: &str) -> Result<Option<T>, Stop> {
        self.read(false, pointer)
    }

    /// The same for the object as it is stored; always none on a create.
    ///
    /// # Errors
    /// As [`Review::object`].
    pub fn old_object<'r, T: Deserialize<'r>>(&'r self, pointer: &str) -> Result<Option<T>, Stop> {
        self.read(true, pointer)
    }

    /// Whether something other than null stands at `pointer`.
    pub fn has(&self, pointer: &str) -> bool {
        !self.known_absent(pointer) && self.text(false, pointer).is_some()
    }

    /// The labels of the object's namespace, which the manifest must ask for; none where the host doesn't
    /// know them.
    ///
    /// # Errors
    /// [`Stop::Fail`] where the host gave something else than an object of strings.
    pub fn namespace_labels(&self) -> Result<Option<std::collections::BTreeMap<String, String>>, Stop> {
        let Some(text) = self.host.data(ClusterData::NamespaceLabels) else { return Ok(None) };
        serde_json::from_str(&text).map_err(|error| Stop::Fail(format!("namespace labels: {error}")))
    }

    /// Writes a line to the operator's log.
    pub fn log(&self, level: Level, message: &str) {
        self.host.log(level, message);
    }

    fn read<'r, T: Deserialize<'r>>(&'r self, old: bool, pointer: &str) -> Result<Option<T>, Stop> {
        let Some(text) = self.text(old, pointer) else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|error| mismatch(pointer, &error))
    }

    /// The text at `pointer`, from what was read already or from the host.
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

    /// Whether a part above `pointer` was read and is not there.
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

/// A list that only grows, behind a shared reference: what is read can borrow from it for as long as the
/// review lives.
#[derive(Debug)]
struct Part {
    old: bool,
    pointer: String,
    text: Option<String>,
    next: OnceCell<Box<Part>>,
}

fn mismatch(pointer: &str, error: &serde_json::Error) -> Stop {
    let message = error.to_string();
    // The position is one in the part's compact text, which the author never sees.
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
    Denial::invalid(
        pointer,
        format!("`{pointer}` can't be read: {message}"),
        "write the field as the apps/v1 DaemonSet reference describes it",
    )
    .into()
}
