//! From the text of one document to its tree.
//!
//! The parser is libyaml's port to Rust, since kubectl's parser is libyaml's port to Go: both take and refuse the same
//! texts. It gives events; this module makes a tree of them and holds it to the limits.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::Read as _;
use std::sync::{Arc, Once};

use libyaml_safer::{Event, EventData, Mark, Parser};

use super::error::{Problem, YamlError};
use super::limits::{MAX_ALIAS_BYTES, MAX_DEPTH, MAX_VALUES};
use super::node::{Content, Place, Size, YamlMember, YamlNode};
use super::scalar::{self, Scalar};

/// The parts of a file's limits that its documents so far have not used.
#[derive(Debug)]
pub(super) struct Budget {
    values: usize,
    alias_bytes: usize,
}

impl Budget {
    /// Returns the limits of one file.
    pub(super) fn of_a_file() -> Self {
        Self { values: MAX_VALUES, alias_bytes: MAX_ALIAS_BYTES }
    }
}

/// Parses the only document of `text`, as [`tree`] does, and contains a panic of the parser: libyaml-safer 0.3.0 panics at a
/// tag directly before a comma, such as `[!x, 1]` (`scan_tag`). A file of a stranger must not end a server.
pub(super) fn document(
    text: &str,
    first_line: usize,
    budget: &mut Budget,
) -> Result<Option<YamlNode>, YamlError> {
    // After a panic nothing of the parser is used again, and the caller reads `budget` no more.
    let parse = std::panic::AssertUnwindSafe(|| tree(text, first_line, budget));
    silently(|| std::panic::catch_unwind(parse))
        .unwrap_or_else(|_| Err(YamlError::at(Problem::Parser, Place { line: first_line, column: 1 })))
}

thread_local! {
    /// Whether this thread is inside [`silently`].
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Calls `f`, whose panics on this thread print no message: the error of the file describes them. Panics of other
/// threads print theirs.
fn silently<T>(f: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !SILENT.get() {
                print(panic);
            }
        }));
    });
    SILENT.set(true);
    // `f` contains its panics, so the next line always runs.
    let value = f();
    SILENT.set(false);
    value
}

/// Parses the only document of `text`; `None` if it has none. `first_line` is the line of the file at which `text` begins.
/// Takes the document's values from `budget`.
fn tree(text: &str, first_line: usize, budget: &mut Budget) -> Result<Option<YamlNode>, YamlError> {
    // kubectl ends each line with a line break, the last one too. The parser needs it: without one it panics at the end of
    // a block scalar (libyaml-safer 0.3.0, `read_line_break`).
    let end: &[u8] = if text.ends_with('\n') { b"" } else { b"\n" };
    let mut parser = Parser::new();
    parser.set_input(text.as_bytes().chain(end));
    let mut builder = Builder { first_line, budget, open: Vec::new(), anchors: HashMap::new(), root: None };
    let mut documents = 0;
    loop {
        let Event { data, start_mark, .. } = parser.parse().map_err(|error| builder.syntax(text, &error))?;
        let place = builder.place(start_mark);
        match data {
            EventData::StreamStart { .. } | EventData::DocumentEnd { .. } => {}
            EventData::DocumentStart { .. } => {
                documents += 1;
                if documents > 1 {
                    return Err(YamlError::at(Problem::SecondDocument, place));
                }
            }
            EventData::StreamEnd => return Ok(builder.root),
            EventData::Scalar { anchor, tag, value, plain_implicit, .. } => {
                builder.scalar(place, anchor, tag.as_deref(), &value, plain_implicit)?;
            }
            EventData::Alias { anchor } => builder.alias(place, &anchor)?,
            EventData::SequenceStart { anchor, .. } => {
                builder.open(Open { place, anchor, kind: OpenKind::List(Vec::new()) })?;
            }
            EventData::MappingStart { anchor, .. } => {
                builder.open(Open { place, anchor, kind: OpenKind::Mapping(Building::default()) })?;
            }
            EventData::SequenceEnd | EventData::MappingEnd => builder.close()?,
        }
    }
}

struct Builder<'b> {
    first_line: usize,
    budget: &'b mut Budget,
    /// The lists and mappings that are not complete, outermost first.
    open: Vec<Open>,
    anchors: HashMap<String, Anchored>,
    root: Option<YamlNode>,
}

/// The value of an anchor.
enum Anchored {
    /// As the file has it, since a key and a value write it in different ways.
    Scalar(Scalar),
    Tree(YamlNode),
}

impl Anchored {
    fn size(&self) -> Size {
        match self {
            Self::Scalar(Scalar::String(text)) => Size { values: 1, bytes: text.len(), depth: 0 },
            Self::Scalar(_) => Size { values: 1, bytes: 0, depth: 0 },
            Self::Tree(node) => node.size(),
        }
    }
}

struct Open {
    place: Place,
    anchor: Option<String>,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<YamlNode>),
    Mapping(Building),
}

/// A mapping that is not complete.
#[derive(Default)]
struct Building {
    members: Vec<YamlMember>,
    /// The position of each key in `members`.
    positions: HashMap<String, Position>,
    key: Option<Key>,
}

#[derive(Clone, Copy)]
struct Position {
    at: usize,
    /// False if the key comes from a merge (`<<`), which a later key may overwrite.
    written: bool,
}

enum Key {
    Name(String, Place),
    /// `<<`: the value's members belong to this mapping.
    Merge,
}

impl Builder<'_> {
    fn place(&self, mark: Mark) -> Place {
        #[expect(clippy::cast_possible_truncation, reason = "no text has more lines or columns than bytes")]
        Place { line: self.first_line + mark.line as usize, column: mark.column as usize + 1 }
    }

    fn syntax(&self, text: &str, error: &libyaml_safer::Error) -> YamlError {
        let place = error.problem_mark().map(|mark| self.place(mark));
        let context = error.context().zip(error.context_mark().map(|mark| self.place(mark)));
        let tab = error.problem_mark().is_some_and(|mark| {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "no text has more lines or columns than bytes"
            )]
            text.lines()
                .nth(mark.line as usize)
                .is_some_and(|line| line.chars().nth(mark.column as usize) == Some('\t'))
        });
        let problem = if tab { Problem::Tab } else { Problem::Syntax { problem: error.problem(), context } };
        YamlError::new(problem, place)
    }

    fn count(&mut self, values: usize, place: Place) -> Result<(), YamlError> {
        match self.budget.values.checked_sub(values) {
            Some(left) => self.budget.values = left,
            None => return Err(YamlError::at(Problem::TooManyValues, place)),
        }
        Ok(())
    }

    /// Counts the tree that an alias repeats, before any copy of it.
    fn count_alias(&mut self, size: Size, place: Place) -> Result<(), YamlError> {
        self.count(size.values, place)?;
        match self.budget.alias_bytes.checked_sub(size.bytes) {
            Some(left) => self.budget.alias_bytes = left,
            None => return Err(YamlError::at(Problem::TooManyAliasBytes, place)),
        }
        Ok(())
    }

    /// The mapping whose next key is due.
    fn at_key(&mut self) -> Option<&mut Building> {
        match self.open.last_mut() {
            Some(Open { kind: OpenKind::Mapping(mapping), .. }) if mapping.key.is_none() => Some(mapping),
            _ => None,
        }
    }

    fn scalar(
        &mut self,
        place: Place,
        anchor: Option<String>,
        tag: Option<&str>,
        text: &str,
        plain: bool,
    ) -> Result<(), YamlError> {
        let mismatch = |_| YamlError::at(Problem::Tag(tag.unwrap_or_default().to_owned()), place);
        let scalar = scalar::resolve(tag, text, plain).map_err(mismatch)?;
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, Anchored::Scalar(scalar.clone()));
        }
        if let Some(mapping) = self.at_key() {
            let is_merge = text == "<<" && (plain || tag == Some("tag:yaml.org,2002:merge"));
            mapping.key = Some(if is_merge { Key::Merge } else { key(scalar, place)? });
            return Ok(());
        }
        self.count(1, place)?;
        self.value(YamlNode { place: Some(place), content: content(scalar, place)? })
    }

    fn alias(&mut self, place: Place, anchor: &str) -> Result<(), YamlError> {
        let unknown = || YamlError::at(Problem::Alias(anchor.to_owned()), place);
        let size = self.anchors.get(anchor).ok_or_else(unknown)?.size();
        if self.open.len() + size.depth > MAX_DEPTH {
            return Err(YamlError::at(Problem::TooDeep, place));
        }
        self.count_alias(size, place)?;
        let node = match self.anchors.get(anchor).ok_or_else(unknown)? {
            Anchored::Scalar(scalar) => {
                let scalar = scalar.clone();
                if let Some(mapping) = self.at_key() {
                    mapping.key = Some(key(scalar, place)?);
                    return Ok(());
                }
                YamlNode { place: Some(place), content: content(scalar, place)? }
            }
            Anchored::Tree(node) => node.clone(),
        };
        let is_mapping = matches!(node.content, Content::Mapping(_));
        match self.open.last() {
            Some(Open { kind: OpenKind::Mapping(Building { key: None, .. }), .. }) => {
                let found = if is_mapping { "an alias of a mapping" } else { "an alias of a list" };
                Err(YamlError::at(Problem::Key(found), place))
            }
            // go-yaml merges a list only if it stands there itself.
            Some(Open { kind: OpenKind::Mapping(Building { key: Some(Key::Merge), .. }), .. })
                if !is_mapping =>
            {
                Err(YamlError::at(Problem::Merge, place))
            }
            _ => self.value(node),
        }
    }

    fn open(&mut self, open: Open) -> Result<(), YamlError> {
        if let Some(Open { kind: OpenKind::Mapping(Building { key: None, .. }), .. }) = self.open.last() {
            let found = if matches!(open.kind, OpenKind::List(_)) { "a list" } else { "a mapping" };
            return Err(YamlError::at(Problem::Key(found), open.place));
        }
        if self.open.len() == MAX_DEPTH {
            return Err(YamlError::at(Problem::TooDeep, open.place));
        }
        self.count(1, open.place)?;
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self) -> Result<(), YamlError> {
        let Some(Open { place, anchor, kind }) = self.open.pop() else { return Ok(()) };
        let content = match kind {
            OpenKind::List(items) => Content::List(Arc::new(items)),
            OpenKind::Mapping(mapping) => Content::Mapping(Arc::new(mapping.members)),
        };
        let node = YamlNode { place: Some(place), content };
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, Anchored::Tree(node.clone()));
        }
        self.value(node)
    }

    /// Puts a complete value where it belongs.
    fn value(&mut self, node: YamlNode) -> Result<(), YamlError> {
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(OpenKind::List(items)) => items.push(node),
            Some(OpenKind::Mapping(mapping)) => match mapping.key.take() {
                Some(Key::Name(key, place)) => mapping.write(key, place, node)?,
                Some(Key::Merge) => mapping.merge(node)?,
                // The value is a key's own: `scalar`, `alias` and `open` let no other come here.
                None => {}
            },
        }
        Ok(())
    }
}

impl Building {
    fn write(&mut self, key: String, place: Place, value: YamlNode) -> Result<(), YamlError> {
        let member = YamlMember { key: key.clone(), place: Some(place), value };
        match self.positions.get_mut(&key) {
            Some(Position { written: true, .. }) => {
                return Err(YamlError::at(Problem::Duplicate(key), place));
            }
            Some(position) => {
                position.written = true;
                self.members[position.at] = member;
            }
            None => {
                self.positions.insert(key, Position { at: self.members.len(), written: true });
                self.members.push(member);
            }
        }
        Ok(())
    }

    /// Takes over the members of a merged mapping, or of each mapping of a list, of which the first counts most. As in
    /// Go, a merge overwrites the keys that stand before it.
    fn merge(&mut self, node: YamlNode) -> Result<(), YamlError> {
        let place = node.place;
        let mappings = match node.content {
            Content::Mapping(members) => vec![members],
            Content::List(items) => {
                let of = |item: &YamlNode| match &item.content {
                    Content::Mapping(members) => Ok(Arc::clone(members)),
                    _ => Err(YamlError::new(Problem::Merge, item.place)),
                };
                items.iter().rev().map(of).collect::<Result<_, _>>()?
            }
            _ => return Err(YamlError::new(Problem::Merge, place)),
        };
        for member in mappings.into_iter().flat_map(Arc::unwrap_or_clone) {
            match self.positions.get(&member.key) {
                Some(position) => self.members[position.at] = member,
                None => {
                    let position = Position { at: self.members.len(), written: false };
                    self.positions.insert(member.key.clone(), position);
                    self.members.push(member);
                }
            }
        }
        Ok(())
    }
}

fn key(scalar: Scalar, place: Place) -> Result<Key, YamlError> {
    let found = if scalar == Scalar::Null { "null" } else { "an integer beyond 64 bits" };
    let name = scalar::key(scalar).ok_or_else(|| YamlError::at(Problem::Key(found), place))?;
    Ok(Key::Name(name, place))
}

fn content(scalar: Scalar, place: Place) -> Result<Content, YamlError> {
    Ok(match scalar {
        Scalar::Null => Content::Null,
        Scalar::Bool(value) => Content::Bool(value),
        Scalar::String(value) => Content::String(value),
        number => {
            Content::Number(scalar::number(&number).ok_or_else(|| YamlError::at(Problem::NotFinite, place))?)
        }
    })
}
