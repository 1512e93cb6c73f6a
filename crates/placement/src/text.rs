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
