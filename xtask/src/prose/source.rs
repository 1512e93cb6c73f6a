//! Finds the comments and the string literals of a source file.

/// Text of consecutive lines, as Markdown: a comment, or a whole document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passage {
    /// Line of the file at which the text starts, from 1.
    pub(super) line: usize,
    pub(super) text: String,
}

/// A string literal as its file spells it, quotes included.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Literal {
    /// Line of the file at which the literal starts, from 1.
    pub(super) line: usize,
    pub(super) text: String,
}

/// A comment: one line, or a block between `/*` and `*/`.
struct Comment<'a> {
    line: usize,
    marker: &'static str,
    text: &'a str,
    /// Whether code precedes the comment on its line.
    trailing: bool,
}

#[derive(Clone, Copy)]
enum Token {
    Comment,
    Literal,
    Other,
}

/// Returns the comments and the string literals of a Rust, Go or WIT file.
pub(super) fn slashes(source: &str) -> (Vec<Passage>, Vec<Literal>) {
    let (mut comments, mut literals) = (Vec::new(), Vec::new());
    let (mut line, mut at) = (1, 0);
    while at < source.len() {
        let (token, length) = token(&source[at..]);
        let text = &source[at..at + length];
        match token {
            Token::Comment => {
                let before = source[..at].rsplit('\n').next().unwrap_or_default();
                let marker = ["///", "//!", "//", "/*"]
                    .into_iter()
                    .find(|marker| text.starts_with(marker))
                    .unwrap_or("");
                let text = text[marker.len()..].trim_end_matches("*/");
                comments.push(Comment { line, marker, text, trailing: !before.trim().is_empty() });
            }
            Token::Literal => literals.push(Literal { line, text: text.to_owned() }),
            Token::Other => {}
        }
        line += text.matches('\n').count();
        at += length;
    }
    (join(&comments), literals)
}

/// Returns the comments of a TOML, YAML or shell file, and those of a Helm template. A `#` at the start of a line counts
/// even inside a string of many lines: only a parser for each format could tell.
pub(super) fn hashes(source: &str) -> Vec<Passage> {
    let mut comments = Vec::new();
    let mut block = false;
    for (line, text) in (1..).zip(source.lines()) {
        let start = text.trim_start();
        let opened = start.strip_prefix("{{/*").or_else(|| start.strip_prefix("{{- /*"));
        if block || opened.is_some() {
            let (text, rest) = opened.unwrap_or(start).split_once("*/").unzip();
            block = rest.is_none();
            comments.push(Comment {
                line,
                marker: "/*",
                text: text.unwrap_or(opened.unwrap_or(start)),
                trailing: false,
            });
        } else if start.starts_with('#') && !start.starts_with("#!") {
            comments.push(Comment {
                line,
                marker: "#",
                text: start.trim_start_matches('#'),
                trailing: false,
            });
        } else if let Some((_, text)) =
            text.match_indices(" # ").map(|(at, _)| text.split_at(at)).find(|(code, _)| !is_quoted(code))
        {
            comments.push(Comment { line, marker: "#", text: &text[2..], trailing: true });
        }
    }
    join(&comments)
}

/// Returns the kind and the length of the first token. The quote of a lifetime opens no literal.
fn token(source: &str) -> (Token, usize) {
    let until =
        |from: usize, end: &str| source[from..].find(end).map_or(source.len(), |at| from + at + end.len());
    let mut chars = source.chars();
    match (chars.next(), chars.next()) {
        (Some('/'), Some('/')) => (Token::Comment, source.find('\n').unwrap_or(source.len())),
        (Some('/'), Some('*')) => (Token::Comment, until(2, "*/")),
        (Some('"'), _) => (Token::Literal, string(source)),
        // A raw string of Go: Rust and WIT have backticks in comments and strings alone.
        (Some('`'), _) => (Token::Literal, until(1, "`")),
        (Some('\''), Some('\\')) => (Token::Other, until(3, "'")),
        (Some('\''), Some(char)) if chars.next() == Some('\'') => (Token::Other, 2 + char.len_utf8()),
        (Some(first), _) if is_name(first) => {
            let name = source.find(|char| !is_name(char)).unwrap_or(source.len());
            let hashes = source[name..].find(|char| char != '#').unwrap_or(0);
            if ["r", "br", "cr"].contains(&&source[..name]) && source[name + hashes..].starts_with('"') {
                (Token::Literal, until(name + hashes + 1, &format!("\"{}", "#".repeat(hashes))))
            } else {
                (Token::Other, name)
            }
        }
        (first, _) => (Token::Other, first.map_or(1, char::len_utf8)),
    }
}

/// Returns the length of the string in quotes that `source` starts with.
fn string(source: &str) -> usize {
    let mut escaped = true;
    for (at, char) in source.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    source.len()
}

fn is_name(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// Tells whether `code` ends inside quotes.
fn is_quoted(code: &str) -> bool {
    ['"', '\''].into_iter().any(|quote| code.matches(quote).count() % 2 == 1)
}

/// Joins comments on consecutive lines. A comment that follows code stands alone.
fn join(comments: &[Comment<'_>]) -> Vec<Passage> {
    comments
        .chunk_by(|one, next| {
            next.line == one.line + 1 && next.marker == one.marker && !one.trailing && !next.trailing
        })
        .filter_map(|lines| {
            let text = lines.iter().map(|comment| comment.text.strip_prefix(' ').unwrap_or(comment.text));
            Some(Passage { line: lines.first()?.line, text: text.collect::<Vec<_>>().join("\n") })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(passages: &[Passage]) -> Vec<(usize, &str)> {
        passages.iter().map(|passage| (passage.line, passage.text.as_str())).collect()
    }

    #[test]
    fn joins_comments_of_one_kind_on_consecutive_lines() {
        let (passages, _) = slashes(
            "//! Module.\n/// One\n/// two.\nfn f<'a>() {} // beside\n// own\n\n// apart\n/* block */",
        );
        let expected =
            [(1, "Module."), (2, "One\ntwo."), (4, "beside"), (5, "own"), (7, "apart"), (8, "block ")];
        assert_eq!(texts(&passages), expected);
    }

    #[test]
    fn tells_literals_from_comments_lifetimes_and_characters() {
        let (passages, literals) = slashes(
            r##"let a: &'a str = "x // \" no"; let b = ['"', '\'', '/']; br#"raw " // no"#; r"\"; r#type // yes"##,
        );
        assert_eq!(texts(&passages), [(1, "yes")]);
        let literals: Vec<_> = literals.iter().map(|literal| literal.text.as_str()).collect();
        assert_eq!(literals, [r#""x // \" no""#, r##"br#"raw " // no"#"##, r#"r"\""#]);
    }

    #[test]
    fn counts_lines_inside_literals() {
        let (passages, literals) = slashes("\"one\ntwo\"\n// three\n");
        assert_eq!((texts(&passages), literals[0].line), (vec![(3, "three")], 1));
    }

    #[test]
    fn finds_comments_after_hashes_and_in_templates() {
        let source =
            "#!/bin/sh\n# One\n# two\nkey: \"a # b\" # beside\n{{- /* three\nfour */ -}}\nurl: a#b\n";
        assert_eq!(texts(&hashes(source)), [(2, "One\ntwo"), (4, "beside"), (5, "three\nfour ")]);
    }
}
