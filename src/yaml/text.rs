//! From the bytes of a file to its documents' texts.

use super::error::{Problem, YamlError};
use super::node::Place;

/// Why bytes are not text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// UTF-16, by its byte order mark or by the zeros between its letters.
    #[error("expected UTF-8, found UTF-16; to convert it: `iconv -f UTF-16 -t UTF-8`")]
    Utf16,
    /// A byte that UTF-8 has not, in a text that makes sense in an older 8-bit encoding.
    #[error(
        "expected UTF-8, found the byte 0x{byte:02x} at line {line}; the file looks like Latin-1, to convert it: \
         `iconv -f LATIN1 -t UTF-8`"
    )]
    Latin1 {
        /// The byte.
        byte: u8,
        /// Its line, from 1.
        line: usize,
    },
    /// A byte that UTF-8 has not, in a file that is no text in Latin-1 either.
    #[error(
        "expected text in UTF-8, found the byte 0x{byte:02x} at line {line}; hint: is it a binary or damaged file?"
    )]
    Binary {
        /// The byte.
        byte: u8,
        /// Its line, from 1.
        line: usize,
    },
}

/// Returns the bytes as text.
///
/// # Errors
///
/// Another encoding than UTF-8, by its name.
pub fn decode(bytes: Vec<u8>) -> Result<String, EncodingError> {
    if is_utf16(&bytes) {
        return Err(EncodingError::Utf16);
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let line = 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count();
        let byte = bytes[at];
        if is_latin1(bytes, at) {
            EncodingError::Latin1 { byte, line }
        } else {
            EncodingError::Binary { byte, line }
        }
    })
}

/// Whether the bytes begin with the mark of UTF-16, or with four of its letters of which every second byte is zero.
/// A text of fewer letters is no manifest.
fn is_utf16(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0xff, 0xfe, ..]
            | [0xfe, 0xff, ..]
            | [0, 1..=127, 0, 1..=127, 0, 1..=127, 0, 1..=127, ..]
            | [1..=127, 0, 1..=127, 0, 1..=127, 0, 1..=127, 0, ..]
    )
}

/// Whether bytes that are not UTF-8 from `at` are plausible in Latin-1: mostly ASCII, and no control characters, which
/// random bytes have. Valid UTF-8 before `at` that is more than ASCII speaks against it.
fn is_latin1(bytes: &[u8], at: usize) -> bool {
    let is_control = |byte: &u8| matches!(byte, 0..=8 | 11..=12 | 14..=31 | 127..=159);
    let high = bytes.iter().filter(|byte| !byte.is_ascii()).count();
    bytes[..at].is_ascii() && high * 3 <= bytes.len() && !bytes.iter().any(is_control)
}

/// The text of one document.
pub(super) struct Chunk<'t> {
    /// The line `---` before it with its line break; empty at the begin of a file.
    pub(super) separator: &'t str,
    pub(super) text: &'t str,
    /// The line of the file at which `text` begins, from 1.
    pub(super) first_line: usize,
}

/// Splits a file at the lines that begin with `---`, as kubectl's `YAMLReader` does: before any YAML is parsed.
pub(super) fn split(text: &str) -> Result<Vec<Chunk<'_>>, YamlError> {
    let mut chunks = Vec::new();
    let (mut separator, mut begin, mut first_line, mut at) = ("", 0, 1, 0);
    for (n, line) in text.split_inclusive('\n').enumerate() {
        if let Some(rest) = line.strip_prefix("---") {
            let rest = rest.trim();
            if !rest.is_empty() && !rest.starts_with('#') {
                let place = Place { line: n + 1, column: 4 };
                return Err(YamlError::at(Problem::Separator(line.trim_end().to_owned()), place));
            }
            chunks.push(Chunk { separator, text: &text[begin..at], first_line });
            (separator, begin, first_line) = (line, at + line.len(), n + 2);
        }
        at += line.len();
    }
    chunks.push(Chunk { separator, text: &text[begin..], first_line });
    // Nothing stands before a separator at the begin.
    chunks.retain(|chunk| !(chunk.text.is_empty() && chunk.separator.is_empty()));
    Ok(chunks)
}
