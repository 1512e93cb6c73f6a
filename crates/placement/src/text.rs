//! Strings that are borrowed from the document.

use std::{borrow::Borrow, borrow::Cow, collections::BTreeMap, fmt, ops::Deref};

use serde::{Deserialize, Serialize};

/// A string of the document: borrowed from its JSON text unless the text has escapes.
///
/// A plain `Cow<str>` inside an `Option`, a `Vec` or a map is always copied by serde; this is not.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Labels as the document holds them.
pub type Labels<'a> = BTreeMap<Text<'a>, Text<'a>>;

impl<'a> Text<'a> {
    /// Borrows `text`. Unlike `From`, it can make constants.
    #[must_use]
    pub const fn new(text: &'a str) -> Self {
        Text(Cow::Borrowed(text))
    }

    /// Copies a borrowed string.
    #[must_use]
    pub fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Text<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Text::new(text)
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Text(Cow::Owned(text))
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes a value in at most about `max` bytes, and cuts the rest off. It takes no longer than that part takes.
pub(super) fn limited(value: &impl fmt::Display, max: usize) -> String {
    let mut line = Limited { text: String::new(), max };
    // The only error is that the line is full.
    let _ = fmt::write(&mut line, format_args!("{value}"));
    line.text
}

struct Limited {
    text: String,
    max: usize,
}

impl fmt::Write for Limited {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = self.max - self.text.len().min(self.max);
        if part.len() <= room {
            self.text.push_str(part);
            return Ok(());
        }
        self.text.push_str(&part[..part.floor_char_boundary(room)]);
        self.text.push('…');
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::limited;

    #[test]
    fn a_limited_line_ends_between_two_characters() {
        assert_eq!(limited(&"ab", 2), "ab");
        assert_eq!(limited(&"aéb", 2), "a…");
        assert_eq!(limited(&format_args!("{}-{}", "ab", "cd"), 3), "ab-…");
    }
}
