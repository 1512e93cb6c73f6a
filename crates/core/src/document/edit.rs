//! RFC 6902 operations, applied as splices of the text and the index.

use jsonptr::{Pointer, PointerBuf};

use super::index::{IndexNode, NodeKind, index};
use super::{Document, SyntaxError, array_index, tokens};
use crate::patch::PatchOperation;

/// The reason why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The value is not JSON.
    #[error("`{path}`: the value is not JSON")]
    Value {
        /// The path of the value.
        path: PointerBuf,
        /// The cause.
        source: SyntaxError,
    },
    /// The parent is missing, or is neither an object nor an array.
    #[error("`{path}`: the parent is not an object or array")]
    NoParent {
        /// The path.
        path: PointerBuf,
    },
    /// The path leads to no value that could be replaced or removed.
    #[error("`{path}`: nothing is there")]
    Missing {
        /// The path.
        path: PointerBuf,
    },
    /// The last token is not an index of the array.
    #[error("`{path}`: not a position in an array of {len}")]
    Position {
        /// The path.
        path: PointerBuf,
        /// The number of elements in the array.
        len: usize,
    },
    /// The operation removes the whole document.
    #[error("the whole document can't be removed")]
    Root,
    /// The result would nest too deep or be too large.
    #[error("`{path}`: the result exceeds the limits of a document")]
    Result {
        /// The path.
        path: PointerBuf,
        /// The cause.
        source: SyntaxError,
    },
}

impl Document {
    /// Applies one operation. If it fails, the document stays unchanged.
    ///
    /// # Errors
    ///
    /// The errors that RFC 6902 defines for `add`, `replace` and `remove`, a value that is not JSON, and a result that
    /// exceeds the limits of a document.
    pub fn apply(&mut self, operation: &PatchOperation) -> Result<(), EditError> {
        match operation {
            PatchOperation::Add { path, value } => self.add(path, value),
            PatchOperation::Replace { path, value } => {
                let (at, parents) =
                    self.locate(path).ok_or_else(|| EditError::Missing { path: path.clone() })?;
                self.put(path, at, &parents, value)
            }
            PatchOperation::Remove { path } => self.remove(path),
        }
    }

    fn add(&mut self, path: &Pointer, value: &str) -> Result<(), EditError> {
        let Some((parent_path, last)) = path.split_back() else {
            return self.put(path, 0, &[], value);
        };
        let no_parent = || EditError::NoParent { path: path.to_buf() };
        let (parent, mut parents) = self.locate(parent_path).ok_or_else(no_parent)?;
        let token = last.decoded();
        parents.push(parent);
        let end = self.nodes[parent].next as usize;
        let close = self.nodes[parent].end as usize - 1;
        match self.nodes[parent].kind {
            NodeKind::Object => {
                if let Some(at) = self.child(parent, &token) {
                    return self.put(path, at, &parents, value);
                }
                let comma = if end == parent + 1 { "" } else { "," };
                let key = crate::text::quoted(&token);
                let escaped = key.contains('\\');
                let member =
                    IndexNode { start: 0, end: key.len() as u32, next: 1, kind: NodeKind::Key, escaped };
                self.insert(
                    path,
                    &parents,
                    close,
                    end,
                    value,
                    Text { before: &[comma, &key, ":"].concat(), after: "" },
                    Some((comma.len(), member)),
                )
            }
            NodeKind::Array => {
                let len = self.elements(parent).count();
                let position = if token == "-" { Some(len) } else { array_index(&token) };
                let position = position.filter(|position| *position <= len);
                let position = position.ok_or_else(|| EditError::Position { path: path.to_buf(), len })?;
                let next = self.elements(parent).nth(position);
                match next {
                    Some(next) => {
                        let start = self.nodes[next].start as usize;
                        self.insert(path, &parents, start, next, value, Text { before: "", after: "," }, None)
                    }
                    None => {
                        let before = if len == 0 { "" } else { "," };
                        self.insert(path, &parents, close, end, value, Text { before, after: "" }, None)
                    }
                }
            }
            _ => Err(no_parent()),
        }
    }

    fn remove(&mut self, path: &Pointer) -> Result<(), EditError> {
        let (at, parents) = self.locate(path).ok_or_else(|| EditError::Missing { path: path.to_buf() })?;
        let Some(&parent) = parents.last() else { return Err(EditError::Root) };
        // A member of an object starts at its key. The comma before it is removed or, if it is the first, the one
        // after it.
        let first = if self.nodes[parent].kind == NodeKind::Object { at - 1 } else { at };
        let past = self.nodes[at].next as usize;
        let (mut start, mut end) = (self.nodes[first].start as usize, self.nodes[at].end as usize);
        let bytes = self.text.as_bytes();
        if first > parent + 1 {
            while bytes[start - 1] != b',' {
                start -= 1;
            }
            start -= 1;
        } else if past < self.nodes[parent].next as usize {
            end = self.nodes[past].start as usize;
        }
        self.splice(start..end, "", first..past, Vec::new(), &parents);
        Ok(())
    }

    /// Replaces the value at `at` by `value`.
    fn put(&mut self, path: &Pointer, at: usize, parents: &[usize], value: &str) -> Result<(), EditError> {
        let value = value.trim_matches([' ', '\t', '\n', '\r']);
        let mut nodes = self.value_nodes(path, parents.len(), value)?;
        let node = &self.nodes[at];
        let (span, past) = (node.start as usize..node.end as usize, node.next as usize);
        if at == 0 {
            // A new root also replaces the space around the old one.
            value.clone_into(&mut self.text);
            self.nodes = nodes;
            return Ok(());
        }
        shift(&mut nodes, span.start, at);
        self.splice(span, value, at..past, nodes, parents);
        Ok(())
    }

    /// Inserts `value`, and the `key` of a new member, into the text and the nodes.
    #[expect(clippy::too_many_arguments, reason = "the two callers differ in nearly all of them")]
    fn insert(
        &mut self,
        path: &Pointer,
        parents: &[usize],
        offset: usize,
        at: usize,
        value: &str,
        around: Text<'_>,
        key: Option<(usize, IndexNode)>,
    ) -> Result<(), EditError> {
        let value = value.trim_matches([' ', '\t', '\n', '\r']);
        let mut nodes = self.value_nodes(path, parents.len(), value)?;
        let keys = usize::from(key.is_some());
        shift(&mut nodes, offset + around.before.len(), at + keys);
        if let Some((lead, member)) = key {
            nodes.push(member);
            nodes.rotate_right(1);
            shift(&mut nodes[..1], offset + lead, at);
        }
        let text = [around.before, value, around.after].concat();
        self.splice(offset..offset, &text, at..at, nodes, parents);
        Ok(())
    }

    /// Indexes `value`, to be inserted `depth` levels deep.
    ///
    /// # Errors
    ///
    /// The value is not JSON, or the document would exceed its limits.
    fn value_nodes(&self, path: &Pointer, depth: usize, value: &str) -> Result<Vec<IndexNode>, EditError> {
        let nodes = index(value, super::MAX_DEPTH)
            .map_err(|source| EditError::Value { path: path.to_buf(), source })?;
        let deepest = depth + depth_of(&nodes);
        let problem = if deepest >= super::index::MAX_DEPTH {
            super::index::SyntaxProblem::TooDeep
        } else if u32::try_from(self.text.len() + value.len() + path.len() * 2 + 64).is_err() {
            super::index::SyntaxProblem::TooLarge
        } else {
            return Ok(nodes);
        };
        Err(EditError::Result { path: path.to_buf(), source: SyntaxError { offset: 0, problem } })
    }

    /// Finds a value and the containers around it, outermost first.
    fn locate(&self, pointer: &Pointer) -> Option<(usize, Vec<usize>)> {
        let mut parents = Vec::with_capacity(8);
        let at = tokens(pointer).try_fold(0, |at, token| {
            parents.push(at);
            self.child(at, &token)
        })?;
        Some((at, parents))
    }

    /// Replaces a range of the text together with its nodes, and shifts the nodes behind it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "`value_nodes` refuses results that don't fit in 32 bits, and wrapping arithmetic shifts in both directions"
    )]
    fn splice(
        &mut self,
        text: std::ops::Range<usize>,
        with: &str,
        nodes: std::ops::Range<usize>,
        new: Vec<IndexNode>,
        parents: &[usize],
    ) {
        let bytes = (with.len() as i64 - text.len() as i64) as i32;
        let count = (new.len() as i64 - nodes.len() as i64) as i32;
        for after in &mut self.nodes[nodes.end..] {
            after.start = after.start.wrapping_add_signed(bytes);
            after.end = after.end.wrapping_add_signed(bytes);
            after.next = after.next.wrapping_add_signed(count);
        }
        for parent in parents {
            let parent = &mut self.nodes[*parent];
            parent.end = parent.end.wrapping_add_signed(bytes);
            parent.next = parent.next.wrapping_add_signed(count);
        }
        if nodes.is_empty() {
            let count = new.len();
            self.nodes.extend(new);
            self.nodes[nodes.start..].rotate_right(count);
        } else {
            self.nodes.splice(nodes, new);
        }
        self.text.replace_range(text, with);
    }
}

/// The text before and after an inserted value.
struct Text<'t> {
    before: &'t str,
    after: &'t str,
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "`value_nodes` refuses results that don't fit in 32 bits"
)]
fn shift(nodes: &mut [IndexNode], bytes: usize, count: usize) {
    for node in nodes {
        node.start += bytes as u32;
        node.end += bytes as u32;
        node.next += count as u32;
    }
}

/// Returns the depth of the deepest nesting of containers.
fn depth_of(nodes: &[IndexNode]) -> usize {
    let mut open: Vec<u32> = Vec::new();
    let mut deepest = 0;
    for (at, node) in nodes.iter().enumerate() {
        while open.last().is_some_and(|end| *end as usize <= at) {
            open.pop();
        }
        if matches!(node.kind, NodeKind::Object | NodeKind::Array) {
            open.push(node.next);
            deepest = deepest.max(open.len());
        }
    }
    deepest
}
