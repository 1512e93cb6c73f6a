//! The object under review: raw JSON text with an index over it.
//!
//! Callers read a document by JSON Pointer and change it by RFC 6902 operations. Neither builds a tree of values. The
//! text stays as the author wrote it, so unknown fields survive byte for byte. Parsing takes one pass over the text
//! instead of an allocation per value (docs/adr/0002).
//!
//! ```text
//! text   {"spec":{"tolerations":[{"operator":"Exists"}]}}
//! nodes  object key object key array object key string        (preorder, each with its span)
//! ```
//!
//! This module never checks the meaning of a value. Policies and the API server do.

mod diff;
mod edit;
mod index;

pub use diff::diff;
pub use edit::EditError;
pub use index::{MAX_DEPTH, SyntaxError, SyntaxProblem};

use std::borrow::Cow;

use index::{IndexNode, NodeKind};
use jsonptr::{Pointer, Token};

/// JSON text that is known to be well formed, indexed for reads by pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    text: String,
    nodes: Vec<IndexNode>,
}

/// Levels of an AdmissionReview above its objects: the root and `request`.
const ENVELOPE_DEPTH: usize = 2;

impl Document {
    /// Indexes `text`.
    ///
    /// # Errors
    ///
    /// - The text is not one JSON value, nests deeper than 128 levels, or is larger than 4 GiB.
    /// - An object has a duplicate key. Readers disagree on which value counts, so no policy may decide on it.
    pub fn parse(text: impl Into<String>) -> Result<Self, SyntaxError> {
        let text = text.into();
        let nodes = index::index(&text, MAX_DEPTH)?;
        Ok(Self { text, nodes })
    }

    /// Indexes an AdmissionReview, whose objects may nest as deep as a document on its own.
    pub(crate) fn parse_enveloped(text: &str) -> Result<Self, SyntaxError> {
        let nodes = index::index(text, MAX_DEPTH + ENVELOPE_DEPTH)?;
        Ok(Self { text: text.to_owned(), nodes })
    }

    /// Returns the value at `at` as a document of its own.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an index into nodes, of which there are fewer than bytes"
    )]
    pub(crate) fn part(&self, at: usize) -> Self {
        let IndexNode { start, next, .. } = self.nodes[at];
        let mut nodes = self.nodes[at..next as usize].to_vec();
        // Both ends of a node lie in the part, so no subtraction wraps.
        for node in &mut nodes {
            node.start -= start;
            node.end -= start;
            node.next -= at as u32;
        }
        Self { text: self.span(at).to_owned(), nodes }
    }

    /// Finds a nested member of the root object, such as `request.uid`; `None` if a member is missing or null.
    pub(crate) fn get_at(&self, path: &str) -> Option<usize> {
        self.get_below(0, path)
    }

    /// Finds a nested member of the value at `at`, as [`Document::get_at`] does for the root.
    pub(crate) fn get_below(&self, mut at: usize, path: &str) -> Option<usize> {
        let mut rest = Some(path);
        while let Some(path) = rest {
            let dot = path.bytes().position(|byte| byte == b'.');
            let (key, more) = dot.map_or((path, None), |dot| (&path[..dot], Some(&path[dot + 1..])));
            at = if self.nodes[at].kind == NodeKind::Object { self.member(at, key)? } else { return None };
            rest = more;
        }
        (self.span(at) != "null").then_some(at)
    }

    pub(crate) fn text_at(&self, at: usize) -> &str {
        self.span(at)
    }

    pub(crate) fn string_at(&self, at: usize) -> Option<Cow<'_, str>> {
        (self.nodes[at].kind == NodeKind::String).then(|| self.unquoted(at))
    }

    pub(crate) fn elements_at(&self, array: usize) -> impl Iterator<Item = usize> {
        self.elements(array)
    }

    /// Returns the whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the text of the value at `pointer`; `None` if there is no value.
    #[must_use]
    pub fn get(&self, pointer: &Pointer) -> Option<&str> {
        self.find(pointer).map(|at| self.span(at))
    }

    /// Like [`Document::get`], but treats a JSON `null` as absent, as Kubernetes does.
    #[must_use]
    pub fn get_set(&self, pointer: &Pointer) -> Option<&str> {
        self.get(pointer).filter(|text| *text != "null")
    }

    /// Returns whether the value at `pointer` differs from that of another document. Missing and null are the same.
    #[must_use]
    pub fn differs_at(&self, other: &Self, pointer: &Pointer) -> bool {
        let tree =
            |text: Option<&str>| text.and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
        let (one, other) = (self.get_set(pointer), other.get_set(pointer));
        // The API server encodes all objects alike, so equal values are nearly always equal text.
        one != other && tree(one) != tree(other)
    }

    /// Returns the string at `pointer`; `None` if there is no string.
    #[must_use]
    pub fn string(&self, pointer: &Pointer) -> Option<Cow<'_, str>> {
        let at = self.find(pointer)?;
        (self.nodes[at].kind == NodeKind::String).then(|| self.unquoted(at))
    }

    /// Returns the members of the map of strings at `pointer`, such as labels; none if there is no object.
    ///
    /// Null becomes the empty string, as in Go. Members of other types are skipped.
    pub fn strings(&self, pointer: &Pointer) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        self.find(pointer)
            .into_iter()
            .filter(|at| self.nodes[*at].kind == NodeKind::Object)
            .flat_map(|at| self.members(at))
            .filter_map(|(key, value)| {
                let value = match self.nodes[value].kind {
                    NodeKind::String => self.unquoted(value),
                    _ if self.span(value) == "null" => Cow::Borrowed(""),
                    _ => return None,
                };
                Some((self.unquoted(key), value))
            })
    }

    /// Returns whether `pointer` leads to an object whose members are all strings or null.
    #[must_use]
    pub fn holds_strings(&self, pointer: &Pointer) -> bool {
        let is_string = |at: usize| self.nodes[at].kind == NodeKind::String || self.span(at) == "null";
        self.find(pointer).is_some_and(|at| {
            self.nodes[at].kind == NodeKind::Object && self.members(at).all(|(_, value)| is_string(value))
        })
    }

    /// Returns the document as a tree of values. Few callers need one: conditions, and comparisons of whole objects.
    #[must_use]
    pub fn to_value(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    fn find(&self, pointer: &Pointer) -> Option<usize> {
        tokens(pointer).try_fold(0, |at, token| self.child(at, &token))
    }

    fn child(&self, parent: usize, token: &str) -> Option<usize> {
        match self.nodes[parent].kind {
            NodeKind::Object => self.member(parent, token),
            NodeKind::Array => self.elements(parent).nth(array_index(token)?),
            _ => None,
        }
    }

    /// Finds the value of a member of `object`. A plain loop, because a read spends most of its time here.
    fn member(&self, object: usize, token: &str) -> Option<usize> {
        let nodes = self.nodes.get(..self.nodes[object].next as usize)?;
        let mut key = object + 1;
        while let [at, value, ..] = nodes.get(key..)? {
            if self.key_is(at, token) {
                return Some(key + 1);
            }
            key = value.next as usize;
        }
        None
    }

    fn members(&self, object: usize) -> impl Iterator<Item = (usize, usize)> {
        let end = self.nodes[object].next as usize;
        let mut at = object + 1;
        std::iter::from_fn(move || {
            (at < end).then(|| {
                let member = (at, at + 1);
                at = self.nodes[at + 1].next as usize;
                member
            })
        })
    }

    fn elements(&self, array: usize) -> impl Iterator<Item = usize> {
        let end = self.nodes[array].next as usize;
        let mut at = array + 1;
        std::iter::from_fn(move || {
            (at < end).then(|| {
                let element = at;
                at = self.nodes[at].next as usize;
                element
            })
        })
    }

    fn span(&self, at: usize) -> &str {
        let node = &self.nodes[at];
        &self.text[node.start as usize..node.end as usize]
    }

    fn key_is(&self, key: &IndexNode, token: &str) -> bool {
        if key.escaped {
            return self.decoded(key) == token;
        }
        // The lengths of most keys differ, so compare them first. The span includes the two quotes.
        (key.end - key.start) as usize == token.len() + 2
            && self.text.as_bytes()[key.start as usize + 1..key.end as usize - 1] == *token.as_bytes()
    }

    fn unquoted(&self, at: usize) -> Cow<'_, str> {
        self.decoded(&self.nodes[at])
    }

    /// Returns the unescaped text of the string or key at `node`.
    fn decoded(&self, node: &IndexNode) -> Cow<'_, str> {
        let (start, end) = (node.start as usize, node.end as usize);
        let inside = &self.text[start + 1..end - 1];
        if node.escaped {
            // The index accepts only strings that serde_json accepts (property-tested), so the fallback never runs.
            serde_json::from_str::<String>(&self.text[start..end]).map_or(Cow::Borrowed(inside), Cow::Owned)
        } else {
            Cow::Borrowed(inside)
        }
    }
}

/// Returns the decoded tokens of a pointer.
///
/// It costs a third of `Pointer::tokens` with `Token::decoded`, because most tokens are short and need no decoding.
fn tokens(pointer: &Pointer) -> impl Iterator<Item = Cow<'_, str>> {
    let mut rest = pointer.as_str();
    std::iter::from_fn(move || {
        let token = rest.strip_prefix('/')?;
        let (mut end, mut plain) = (0, true);
        while let Some(byte) = token.as_bytes().get(end).filter(|byte| **byte != b'/') {
            plain &= *byte != b'~';
            end += 1;
        }
        let token = token.get(..end)?;
        rest = &rest[1 + end..];
        Some(if plain {
            Cow::Borrowed(token)
        } else {
            Token::from_encoded(token).ok()?.decoded().into_owned().into()
        })
    })
}

/// Parses an RFC 6901 token as an array index: digits without a leading zero.
fn array_index(token: &str) -> Option<usize> {
    let plain = token.bytes().all(|byte| byte.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    if plain { token.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
