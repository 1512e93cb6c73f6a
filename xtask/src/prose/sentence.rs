//! Splits Markdown into sentences, and sentences into the words that count.

use std::ops::Range;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::source::Passage;

/// A sentence without markup.
#[derive(Debug)]
pub(super) struct Sentence {
    /// Line of the file at which the sentence starts, from 1.
    pub(super) line: usize,
    pub(super) text: String,
    /// The words that count, in lower case.
    pub(super) words: Vec<String>,
}

/// Splits Markdown into sentences.
pub(super) fn split(passage: &Passage) -> Vec<Sentence> {
    let mut sentences = Vec::new();
    let mut paragraph = Paragraph::default();
    let mut ignored = false;
    for (event, range) in Parser::new_ext(&passage.text, Options::ENABLE_TABLES).into_offset_iter() {
        let line = passage.line + passage.text[..range.start].matches('\n').count();
        match event {
            Event::Text(text) if !ignored => paragraph.push(&text, &text, line),
            Event::Code(code) if !ignored => {
                let code = format!("`{code}`");
                paragraph.push(&code, &mask(&code), line);
            }
            Event::SoftBreak | Event::HardBreak => paragraph.push(" ", " ", line),
            Event::Start(Tag::Emphasis | Tag::Strong | Tag::Link { .. } | Tag::Image { .. })
            | Event::End(TagEnd::Emphasis | TagEnd::Strong | TagEnd::Link | TagEnd::Image) => {}
            Event::Start(tag) => {
                ignored = matches!(tag, Tag::Heading { .. } | Tag::CodeBlock(_));
                std::mem::take(&mut paragraph).finish(&mut sentences);
            }
            Event::End(_) => {
                ignored = false;
                std::mem::take(&mut paragraph).finish(&mut sentences);
            }
            _ => {}
        }
    }
    sentences
}

/// A block of Markdown without markup.
#[derive(Debug, Default)]
struct Paragraph {
    shown: String,
    /// As long as `shown`, [masked](mask) if it doesn't count.
    counted: String,
    /// Offsets at which a line of the file starts.
    lines: Vec<(usize, usize)>,
}

impl Paragraph {
    fn push(&mut self, shown: &str, counted: &str, line: usize) {
        self.lines.push((self.shown.len(), line));
        self.shown.push_str(shown);
        self.counted.push_str(counted);
    }

    fn finish(mut self, sentences: &mut Vec<Sentence>) {
        for range in quotes(&self.counted).into_iter().chain(urls(&self.counted)) {
            self.counted.replace_range(range.clone(), &mask(&self.counted[range]));
        }
        let mut start = 0;
        for end in ends(&self.counted) {
            let words = words(&self.counted[start..end]);
            let text = &self.shown[start..end];
            let first = start + text.len() - text.trim_start().len();
            let line = self.lines.partition_point(|(offset, _)| *offset <= first).saturating_sub(1);
            if !words.is_empty() {
                sentences.push(Sentence { line: self.lines[line].1, text: text.trim().to_owned(), words });
            }
            start = end;
        }
    }
}

/// Returns text as long as `text` without a word. Backticks also let [`ends`] see code after a colon.
fn mask(text: &str) -> String {
    "`".repeat(text.len())
}

/// Finds text in double quotes.
fn quotes(text: &str) -> Vec<Range<usize>> {
    let quotes: Vec<usize> = text.match_indices('"').map(|(at, _)| at).collect();
    quotes.chunks_exact(2).map(|pair| pair[0]..pair[1] + 1).collect()
}

fn urls(text: &str) -> Vec<Range<usize>> {
    let url = |(at, _)| at..text[at..].find(char::is_whitespace).map_or(text.len(), |length| at + length);
    text.match_indices("https://").chain(text.match_indices("http://")).map(url).collect()
}

/// Finds the ends of sentences. A colon or a semicolon ends one before a capital letter or code.
fn ends(text: &str) -> Vec<usize> {
    let mut ends = Vec::new();
    for (at, _) in text.match_indices(char::is_whitespace) {
        let before = text[..at].trim_end_matches(')');
        let next = text[at..].trim_start().chars().next();
        let abbreviated = ["e.g.", "i.e.", "vs."].iter().any(|short| before.ends_with(short));
        let end = match before.chars().next_back() {
            Some('.' | '!' | '?') => !abbreviated,
            Some(':' | ';') => next.is_some_and(|next| next.is_uppercase() || "`([".contains(next)),
            _ => false,
        };
        if end {
            ends.push(at);
        }
    }
    ends.push(text.len());
    ends
}

/// Returns the words in lower case. `1,024`, `v1.2` and `don't` are one word each.
fn words(text: &str) -> Vec<String> {
    text.split(|char: char| !char.is_alphanumeric() && !"'’-.,".contains(char))
        .map(|word| word.trim_matches(|char: char| !char.is_alphanumeric()).to_lowercase())
        .filter(|word| !word.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(text: &str) -> Vec<Sentence> {
        split(&Passage { line: 1, text: text.to_owned() })
    }

    fn texts(text: &str) -> Vec<String> {
        sentences(text).into_iter().map(|sentence| sentence.text).collect()
    }

    #[test]
    fn ignores_code_urls_headings_and_quoted_messages() {
        let text = "# Where\n\nSee `what if` \"what\nwhere\" at https://what.where/if or [it](what).\n\n\
            ```\nwhat\n```\n\n    where\n\n<!-- what -->";
        assert_eq!(sentences(text)[0].words, ["see", "at", "or", "it"]);
        assert_eq!(sentences(text).len(), 1);
    }

    #[test]
    fn splits_sentences_list_items_and_table_cells() {
        assert_eq!(
            texts("One, e.g. two. Three (four.) five: six; Seven: `eight` 1.5"),
            ["One, e.g. two.", "Three (four.)", "five: six;", "Seven:", "`eight` 1.5"]
        );
        assert_eq!(texts("- one\n- two **three**\n\n1. four\n"), ["one", "two three", "four"]);
        assert_eq!(texts("| a | b |\n|---|---|\n| c | `d` e |"), ["a", "b", "c", "`d` e"]);
    }

    #[test]
    fn names_the_line_of_each_sentence() {
        let passage = Passage { line: 7, text: "One\ntwo. Three\nfour.\n\n- five".to_owned() };
        let lines: Vec<_> =
            split(&passage).into_iter().map(|sentence| (sentence.line, sentence.text)).collect();
        let expected = [(7, "One two."), (8, "Three four."), (11, "five")];
        assert_eq!(lines, expected.map(|(line, text)| (line, text.to_owned())));
    }
}
