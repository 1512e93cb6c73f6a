//! The indexer: one pass over JSON text that finds the start and end of each value.
//!
//! It accepts exactly the values that `serde_json` accepts (property-tested), except objects with a duplicate key.

use std::collections::HashSet;

/// The type of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeKind {
    Object,
    Array,
    Key,
    String,
    /// Number, `true`, `false` or `null`.
    Scalar,
}

/// One value or key: its span in the text, and the index of the next node outside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexNode {
    pub(super) start: u32,
    pub(super) end: u32,
    /// The index of the first node after this one's subtree.
    pub(super) next: u32,
    pub(super) kind: NodeKind,
    /// Whether the node is a string or key that contains a backslash.
    pub(super) escaped: bool,
}

/// The error for text that is not a JSON document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {offset}")]
pub struct SyntaxError {
    /// Offset in bytes from the start of the text.
    pub offset: usize,
    /// The problem at this offset.
    pub problem: SyntaxProblem,
}

/// The problem of a text that is not a JSON document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxProblem {
    /// The text at the offset is not the expected one.
    #[error("expected {0}")]
    Expected(&'static str),
    /// The text nests deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// An object names a key twice.
    #[error("duplicate key in an object")]
    RepeatedKey,
    /// A number exceeds 64-bit floats, so readers that build a tree of values could not represent it.
    #[error("number too large for a 64-bit float")]
    Number,
    /// The text is larger than 4 GiB.
    #[error("larger than 4 GiB")]
    TooLarge,
}

/// Limit of the nesting, in levels: the same as `serde_json`'s. Kubernetes objects rarely reach 20.
pub const MAX_DEPTH: usize = 128;

/// Number of members of an object up to which comparing the heads of all keys is faster than hashing the keys.
const PAIRWISE_KEYS: usize = 32;

/// Number of digits up to which a number without an exponent fits in a 64-bit float, whose maximum has 309 digits.
const MANY_DIGITS: usize = 300;

/// The result of one step of the indexer. The error is boxed, so that the result fits in a register.
type Step<T> = Result<T, Box<SyntaxError>>;

/// Indexes `text`, which may nest at most `depth` levels deep.
pub(super) fn index(text: &str, depth: usize) -> Result<Vec<IndexNode>, SyntaxError> {
    if u32::try_from(text.len()).is_err() {
        return Err(SyntaxError { offset: 0, problem: SyntaxProblem::TooLarge });
    }
    // DaemonSets from the API server have about one node per 12 bytes (measured). Growing the vector would copy them.
    let nodes = Vec::with_capacity(text.len() / 9 + 8);
    let heads = Vec::with_capacity(PAIRWISE_KEYS);
    let mut indexer = Indexer { text, bytes: text.as_bytes(), at: 0, nodes, depth, heads };
    indexer.document().map_err(|error| *error)?;
    Ok(indexer.nodes)
}

struct Indexer<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    nodes: Vec<IndexNode>,
    depth: usize,
    /// The heads of the keys of all open objects, outermost first.
    heads: Vec<u64>,
}

/// Returns the head of a quoted key of `len` bytes: its first eight bytes, combined with its length.
fn head(from_key: &[u8], len: usize) -> u64 {
    let word = match from_key.first_chunk::<8>() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => from_key.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    // The bytes after a short key do not belong to it.
    let own = if len < 8 { word & ((1 << (8 * len)) - 1) } else { word };
    // The first byte is always a quote, so the length replaces it.
    own ^ len as u64
}

/// Finds the end of the plain bytes from `at` on: a quote, a backslash, a control character or the end. Nearly every
/// string consists of plain bytes.
///
/// The loop tests eight bytes at a time. Each of the three tests sets the highest bit of a byte that it finds, and
/// perhaps of later bytes. So the first bit that is set is right.
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    while let Some((chunk, _)) = bytes[at..].split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let found = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\'))) | control;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes[at..].iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f));
    at + rest.count()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "`index` refuses texts whose offsets don't fit in 32 bits"
)]
impl Indexer<'_> {
    fn document(&mut self) -> Step<()> {
        self.skip_space();
        self.value(0)?;
        self.skip_space();
        if self.at < self.bytes.len() {
            return Err(self.expected("the end of the document"));
        }
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Step<()> {
        match self.peek() {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string(NodeKind::String).map(drop),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.expected("a JSON value")),
        }
    }

    fn object(&mut self, depth: usize) -> Step<()> {
        let object = self.open(NodeKind::Object, depth)?;
        let own = self.heads.len();
        let mut doubtful = false;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                if self.peek() != Some(b'"') {
                    return Err(self.expected("a key in double quotes"));
                }
                let start = self.at;
                let escaped = self.string(NodeKind::Key)?;
                let head = head(&self.bytes[start..], self.at - start);
                // Keys with different heads differ. If two heads are equal, `distinct_keys` compares the whole keys.
                doubtful |= escaped || self.heads[own..].contains(&head);
                if self.heads.len() - own < PAIRWISE_KEYS {
                    self.heads.push(head);
                } else {
                    doubtful = true;
                }
                self.skip_space();
                self.byte(b':', "`:` after a key")?;
                self.skip_space();
                self.value(depth)?;
                if self.more(b'}', "`,` or `}`")? {
                    self.skip_space();
                } else {
                    break;
                }
            }
        }
        self.heads.truncate(own);
        self.close(object);
        if doubtful { self.distinct_keys(object) } else { Ok(()) }
    }

    fn array(&mut self, depth: usize) -> Step<()> {
        let array = self.open(NodeKind::Array, depth)?;
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
        } else {
            loop {
                self.value(depth)?;
                if self.more(b']', "`,` or `]`")? {
                    self.skip_space();
                } else {
                    break;
                }
            }
        }
        self.close(array);
        Ok(())
    }

    /// Reads a string or key, and returns whether it contains an escape sequence.
    fn string(&mut self, kind: NodeKind) -> Step<bool> {
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at = plain_end(self.bytes, self.at);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.expected("an escape sequence instead of a control character")),
                None => return Err(self.expected("`\"` at the end of a string")),
            }
        }
        self.at += 1;
        self.leaf(start, kind, escaped);
        Ok(escaped)
    }

    fn escape(&mut self) -> Step<()> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                match self.code_unit()? {
                    0xDC00..=0xDFFF => return Err(self.expected("a high surrogate before a low one")),
                    0xD800..=0xDBFF => {
                        if !self.bytes[self.at..].starts_with(b"\\u") {
                            return Err(self.expected("a low surrogate after a high one"));
                        }
                        self.at += 2;
                        if !(0xDC00..=0xDFFF).contains(&self.code_unit()?) {
                            return Err(self.expected("a low surrogate after a high one"));
                        }
                    }
                    _ => {}
                }
            }
            _ => return Err(self.expected("an escape sequence")),
        }
        Ok(())
    }

    fn code_unit(&mut self) -> Step<u16> {
        let digits = self
            .text
            .get(self.at..self.at + 4)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.expected("four hexadecimal digits"))?;
        self.at += 4;
        Ok(unit)
    }

    fn number(&mut self) -> Step<()> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        let has_exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if has_exponent {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        if (has_exponent || self.at - start > MANY_DIGITS)
            && serde_json::from_str::<serde_json::Number>(&self.text[start..self.at]).is_err()
        {
            return Err(Box::new(SyntaxError { offset: start, problem: SyntaxProblem::Number }));
        }
        self.leaf(start, NodeKind::Scalar, false);
        Ok(())
    }

    fn digits(&mut self) -> Step<()> {
        let digits = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Err(self.expected("a digit"));
        }
        self.at += digits;
        Ok(())
    }

    fn word(&mut self, word: &'static str) -> Step<()> {
        let start = self.at;
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.expected("a JSON value"));
        }
        self.at += word.len();
        self.leaf(start, NodeKind::Scalar, false);
        Ok(())
    }

    fn open(&mut self, kind: NodeKind, depth: usize) -> Step<usize> {
        // serde_json counts down from 128 and fails at zero, so at most 127 containers may be open.
        if depth >= self.depth {
            return Err(Box::new(SyntaxError { offset: self.at, problem: SyntaxProblem::TooDeep }));
        }
        let at = self.nodes.len();
        self.nodes.push(IndexNode { start: self.at as u32, end: 0, next: 0, kind, escaped: false });
        self.at += 1;
        Ok(at)
    }

    fn close(&mut self, container: usize) {
        let next = self.nodes.len() as u32;
        let node = &mut self.nodes[container];
        node.end = self.at as u32;
        node.next = next;
    }

    fn leaf(&mut self, start: usize, kind: NodeKind, escaped: bool) {
        let next = self.nodes.len() as u32 + 1;
        self.nodes.push(IndexNode { start: start as u32, end: self.at as u32, next, kind, escaped });
    }

    fn distinct_keys(&self, object: usize) -> Step<()> {
        let end = self.nodes[object].next as usize;
        let mut at = object + 1;
        let mut seen = HashSet::new();
        while at < end {
            let key = &self.nodes[at];
            let quoted = &self.text[key.start as usize..key.end as usize];
            let decoded = if key.escaped { serde_json::from_str(quoted).ok() } else { None };
            if !seen.insert(decoded.unwrap_or_else(|| quoted[1..quoted.len() - 1].to_owned())) {
                let offset = key.start as usize;
                return Err(Box::new(SyntaxError { offset, problem: SyntaxProblem::RepeatedKey }));
            }
            at = self.nodes[at + 1].next as usize;
        }
        Ok(())
    }

    /// Reads the separator after an element, and returns whether another element follows.
    fn more(&mut self, end: u8, what: &'static str) -> Step<bool> {
        self.skip_space();
        let found = self.peek();
        if found == Some(b',') || found == Some(end) {
            self.at += 1;
            return Ok(found == Some(b','));
        }
        Err(self.expected(what))
    }

    fn byte(&mut self, byte: u8, what: &'static str) -> Step<()> {
        if self.peek() != Some(byte) {
            return Err(self.expected(what));
        }
        self.at += 1;
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        // The fast path: the API server sends no space.
        if self.peek().is_some_and(|byte| byte > b' ') {
            return;
        }
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    #[cold]
    fn expected(&self, what: &'static str) -> Box<SyntaxError> {
        Box::new(SyntaxError { offset: self.at, problem: SyntaxProblem::Expected(what) })
    }
}
