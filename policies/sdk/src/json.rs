//! A cursor over JSON text.
//!
//! It makes no tree: a policy reads few fields of a part, and skips the rest. The host sends valid JSON. If the text is
//! malformed nevertheless, each method says so, and none of them panics or loops.

use std::borrow::Cow;

/// Levels of lists and mappings below each other. More would exhaust the guest's small stack.
const MAX_DEPTH: u8 = 128;

/// A position in JSON text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Json<'j> {
    text: &'j str,
    at: usize,
    depth: u8,
}

impl<'j> Json<'j> {
    pub(crate) fn new(text: &'j str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// Returns the next byte after whitespace without moving past it; `None` at the end.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at).copied() {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                found => return found,
            }
        }
    }

    /// Moves past `byte` if it is the next one.
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Enters the list or mapping that begins with `bracket`. False if there is none, or if it is nested too deeply.
    pub(crate) fn enter(&mut self, bracket: u8) -> bool {
        let entered = self.depth < MAX_DEPTH && self.eat(bracket);
        self.depth += u8::from(entered);
        entered
    }

    /// Leaves the list or mapping at its closing bracket. False if there is something else.
    pub(crate) fn leave(&mut self, bracket: u8) -> bool {
        let left = self.eat(bracket);
        self.depth = self.depth.saturating_sub(u8::from(left));
        left
    }

    /// Moves past a string and returns it, borrowed unless it has escapes; `None` if there is no well-formed string.
    pub(crate) fn string(&mut self) -> Option<Cow<'j, str>> {
        if self.peek() != Some(b'"') {
            return None;
        }
        let (start, is_plain) = (self.at, self.pass_string()?);
        Some(if is_plain {
            Cow::Borrowed(self.text.get(start + 1..self.at - 1)?)
        } else {
            Cow::Owned(serde_json::from_str(self.text.get(start..self.at)?).ok()?)
        })
    }

    /// Moves past a number, `true`, `false` or `null` and returns its text; empty if there is something else.
    pub(crate) fn scalar(&mut self) -> &'j str {
        self.peek();
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_scalar = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let len = rest.as_bytes().iter().take_while(|byte| is_scalar(byte)).count();
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    /// Moves past a value of any kind. False if there is none.
    pub(crate) fn skip(&mut self) -> bool {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                Some(b'{' | b'[') => {
                    self.at += 1;
                    depth += 1;
                }
                Some(b'}' | b']') if depth > 0 => {
                    self.at += 1;
                    depth -= 1;
                }
                Some(b',' | b':') if depth > 0 => self.at += 1,
                Some(b'"') if self.pass_string().is_some() => {}
                _ if self.scalar().is_empty() => return false,
                _ => {}
            }
            if depth == 0 {
                return true;
            }
        }
    }

    /// Returns the number of entries of the list that comes next, without moving; `None` if there is no list.
    pub(crate) fn entries(mut self) -> Option<usize> {
        if !self.enter(b'[') {
            return None;
        }
        let mut n = 0;
        while self.peek() != Some(b']') {
            if (n > 0 && !self.eat(b',')) || !self.skip() {
                return None;
            }
            n += 1;
        }
        Some(n)
    }

    /// Returns the text of the value that comes next, without moving.
    pub(crate) fn value(mut self) -> &'j str {
        self.peek();
        let start = self.at;
        self.skip();
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Moves past the string that begins here. Returns whether it has no escapes; `None` if it does not end.
    fn pass_string(&mut self) -> Option<bool> {
        let (bytes, mut is_plain) = (self.text.as_bytes(), true);
        let mut at = self.at + 1;
        loop {
            match bytes.get(at)? {
                b'"' => break,
                b'\\' => {
                    is_plain = false;
                    at += 2;
                }
                _ => at += 1,
            }
        }
        self.at = at + 1;
        Some(is_plain)
    }
}
