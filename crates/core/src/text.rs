//! Text that strangers wrote, made fit for a line: of a log, of a header, of a terminal.

use std::error::Error;

/// `text` in one line of printable characters, of at most `most` bytes. Control characters would forge log lines, break
/// HTTP headers and steer terminals.
#[must_use]
pub fn one_line(text: &str, most: usize) -> String {
    cut(printable(text), most)
}

/// An error with its causes, outermost first, as one line. `Display` of the house's errors never repeats its source.
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static), most: usize) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    one_line(&text, most)
}

/// Returns the one of `known` that `written` probably means: at most one edit away for short names, two for longer ones.
#[must_use]
pub fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let most = if written.chars().count() < 5 { 1 } else { 2 };
    let distance = |name: &&str| strsim::osa_distance(&written.to_lowercase(), &name.to_lowercase());
    known.into_iter().filter(|name| distance(name) <= most).min_by_key(distance)
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    // A string is always valid JSON; only maps with other keys than strings are not.
    serde_json::to_string(text).unwrap_or_default()
}

/// Returns `text` with a blank for each character that is not printable.
pub(crate) fn printable(text: &str) -> String {
    let text = text.trim();
    // Nearly all text is, and goes as it is.
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return text.to_owned();
    }
    text.chars().map(|c| if c.is_control() || is_layout(c) { ' ' } else { c }).collect()
}

/// Shortens `text` to `most` bytes at a character boundary, with an ellipsis for the rest.
pub(crate) fn cut(mut text: String, most: usize) -> String {
    const ELLIPSIS: char = '…';
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most.saturating_sub(ELLIPSIS.len_utf8())));
        text.push(ELLIPSIS);
    }
    text
}

/// Line and paragraph separators, and characters that change the direction of the text behind them.
fn is_layout(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
