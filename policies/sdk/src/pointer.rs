//! JSON Pointers (RFC 6901): the places that policies read and write.

use crate::Clause;

/// The parts that every DaemonSet has: the API server refuses an object without them, or always sends them. A
/// policy need not check for them.
pub(crate) const ALWAYS_THERE: [&str; 7] = [
    "",
    "/metadata",
    "/spec",
    "/spec/selector",
    "/spec/template",
    "/spec/template/metadata",
    "/spec/template/spec",
];

/// Returns the pointer to the member or element `token` of the value at `parent`.
#[must_use]
pub fn join(parent: &str, token: &str) -> String {
    let mut pointer = String::with_capacity(parent.len() + 1 + token.len() + 4);
    pointer.push_str(parent);
    pointer.push('/');
    for c in token.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
    pointer
}

/// Returns the pointer to a clause of the label selector at `selector`.
#[must_use]
pub fn of_clause(selector: &str, clause: &Clause<'_>) -> String {
    match clause.index() {
        Some(i) => format!("{selector}/matchExpressions/{i}"),
        None => join(&format!("{selector}/matchLabels"), &clause.requirement().key),
    }
}

/// Whether `pointer` is at or below `prefix`.
#[must_use]
pub fn is_within(pointer: &str, prefix: &str) -> bool {
    // Pointers into one object begin alike, so the byte after the prefix distinguishes most of them.
    let ends_a_token = pointer.len() == prefix.len() || pointer.as_bytes().get(prefix.len()) == Some(&b'/');
    ends_a_token && pointer.starts_with(prefix)
}

/// Splits a pointer into its parent and its last token, unescaped; none for the whole document.
pub(crate) fn split_last(pointer: &str) -> Option<(&str, String)> {
    let (parent, token) = pointer.rsplit_once('/')?;
    let token =
        if token.contains('~') { token.replace("~1", "/").replace("~0", "~") } else { token.to_owned() };
    Some((parent, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn join_escapes_tilde_and_slash_and_split_undoes_it() {
        let pointer = join("/metadata/labels", "a~b/c");
        assert_eq!(pointer, "/metadata/labels/a~0b~1c");
        assert_eq!(split_last(&pointer), Some(("/metadata/labels", "a~b/c".to_owned())));
        assert_eq!(split_last("/x/~01"), Some(("/x", "~1".to_owned())));
        assert_eq!(split_last(""), None);
    }

    #[test]
    fn a_prefix_covers_whole_tokens_only() {
        assert!(is_within("/metadata/labels/a", "/metadata/labels"));
        assert!(is_within("/metadata/labels", "/metadata/labels"));
        assert!(is_within("/anything", ""));
        assert!(!is_within("/metadata/labels2", "/metadata/labels"));
        assert!(!is_within("/metadata", "/metadata/labels"));
    }
}
