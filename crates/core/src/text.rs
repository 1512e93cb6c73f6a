//! Untrusted text, made safe for one line of a log, a header or a terminal.

use std::error::Error;

/// Maximum length of a name in a log line, in bytes. Kubernetes' own names have at most 253.
pub const MAX_LOGGED: usize = 256;

/// Returns `text` as one line of printable characters, at most `most` bytes long.
///
/// Control characters could forge log lines, break HTTP headers and control terminals.
#[must_use]
pub fn one_line(text: &str, most: usize) -> String {
    cut(printable(text), most)
}

/// Returns `text` with a blank for each unprintable character. Line breaks stay.
#[must_use]
pub fn printable_lines(text: &str) -> String {
    text.chars().map(|c| if c != '\n' && is_unprintable(c) { ' ' } else { c }).collect()
}

/// Returns an error and its causes, outermost first, as one line. No error of this repository repeats its source.
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

/// Returns the known name that is closest to `written`, if any is close enough.
///
/// Close enough means one edit if `written` has less than five characters, else two.
#[must_use]
pub fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let most = if written.chars().count() < 5 { 1 } else { 2 };
    let distance = |name: &&str| strsim::osa_distance(&written.to_lowercase(), &name.to_lowercase());
    known.into_iter().filter(|name| distance(name) <= most).min_by_key(distance)
}

/// Returns `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    // Serialization of a string can't fail; only that of a map whose keys are not strings can.
    serde_json::to_string(text).unwrap_or_default()
}

/// Trims `text`, and replaces each unprintable character by a blank.
pub(crate) fn printable(text: &str) -> String {
    let text = text.trim();
    // The fast path: nearly all text is printable ASCII.
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return text.to_owned();
    }
    text.chars().map(|c| if is_unprintable(c) { ' ' } else { c }).collect()
}

/// Shortens `text` to `most` bytes, with an ellipsis for the rest. It ends after a word, unless the word is very long.
pub(crate) fn cut(mut text: String, most: usize) -> String {
    const ELLIPSIS: char = '…';
    const LONG_WORD: usize = 64;
    if text.len() > most {
        let end = text.floor_char_boundary(most.saturating_sub(ELLIPSIS.len_utf8()));
        let word = text[..end].rfind(' ').filter(|blank| end - blank <= LONG_WORD && 2 * blank > end);
        text.truncate(word.unwrap_or(end));
        text.push(ELLIPSIS);
    }
    text
}

/// Returns whether `c` controls a terminal, separates lines or paragraphs, or changes the direction of the following text.
fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || is_direction(c)
}

/// Returns whether `c` changes the direction in which a terminal shows the following text. A reader then sees other text
/// than a program.
#[must_use]
pub fn is_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All characters of Unicode's property `Bidi_Control`.
    const DIRECTIONS: &str =
        "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";

    #[test]
    fn one_line_has_neither_control_characters_nor_directions() {
        assert_eq!(DIRECTIONS.chars().count(), 12);
        for c in DIRECTIONS.chars().chain("\u{1b}\u{7f}\u{85}\u{9b}\u{2028}\u{2029}\n\t".chars()) {
            assert_eq!(one_line(&format!("a{c}b"), 8), "a b", "{c:?}");
        }
        assert_eq!(one_line("é 雪 😀", 99), "é 雪 😀");
    }

    #[test]
    fn a_cut_text_ends_after_a_word() {
        assert_eq!(one_line("three nodes refuse it", 19), "three nodes…");
        assert_eq!(one_line("three nodes refuse it", 21), "three nodes refuse it");
        assert_eq!(one_line("x toleration", 10), "x toler…");
        assert_eq!(one_line(&"ä".repeat(99), 9), "äää…");
    }

    #[test]
    fn printable_lines_keep_line_breaks_and_indentation() {
        assert_eq!(printable_lines("  a\u{202e}b\n\u{1b}[2J\té\n"), "  a b\n [2J é\n");
    }
}
