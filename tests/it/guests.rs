//! Builds the guests of `tests/guests` from text.
//!
//! A guest is either a whole component, or fields for the frame (see `frame.wat`). Lines that begin with `;;@`
//! configure the frame:
//!
//! ```text
//! ;;@ memory 20          initial memory in pages; default 1
//! ;;@ reads /a /b        the manifest's `reads`; default `""`, the whole document; `none` for none
//! ;;@ writes /a          the manifest's `writes`; default none
//! ;;@ cluster namespace-labels
//! ;;@ schema {}          the manifest's `settings-schema`, up to the end of the line
//! ;;@ base               the next fields belong to the module `$base`
//! ;;@ component          the next fields belong to the component
//! ```

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::fs;
use std::path::PathBuf;

/// Returns the component of the guest `name`.
pub(crate) fn component(name: &str) -> Vec<u8> {
    let text = text(name);
    let whole = if text.lines().any(|line| line.starts_with("(component") || line.starts_with("(module")) {
        text
    } else {
        framed(name, &text)
    };
    parse(name, &whole)
}

/// Returns the component of a guest that a test generates as fields for the frame.
pub(crate) fn made(name: &str, text: &str) -> Vec<u8> {
    parse(name, &framed(name, text))
}

fn parse(name: &str, whole: &str) -> Vec<u8> {
    wat::parse_str(whole).unwrap_or_else(|error| panic!("guest `{name}`: {error}"))
}

/// Returns the description of the guest on one line: the comment at the top of its file.
pub(crate) fn purpose(name: &str) -> String {
    let text = text(name);
    let lines = text.lines().take_while(|line| line.starts_with(";; ")).map(|line| &line[3..]);
    lines.collect::<Vec<_>>().join(" ")
}

/// Returns the names of all guests, sorted.
pub(crate) fn all() -> Vec<String> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = files
        .map(|path| path.file_name().unwrap().to_str().unwrap().strip_suffix(".wat").unwrap().to_owned())
        .filter(|name| name != "frame")
        .collect();
    names.sort();
    names
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/guests")
}

fn text(name: &str) -> String {
    let path = folder().join(format!("{name}.wat"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("guest `{name}`: {error}"))
}

/// A guest's own fields, grouped by the part of the frame that contains them, and its manifest.
struct Fields {
    main: String,
    base: String,
    component: String,
    pages: String,
    manifest: Manifest,
}

struct Manifest {
    name: String,
    reads: Vec<String>,
    writes: Vec<String>,
    cluster: bool,
    schema: String,
}

fn framed(name: &str, text: &str) -> String {
    let fields = Fields::parse(name, text);
    let own = [&*fields.main, &fields.base].concat();
    let mut kept = String::new();
    let mut replaced = false;
    for line in self::text("frame").lines() {
        if let Some(field) = line.trim().strip_prefix(";;? ") {
            let definition =
                if field.starts_with('"') { format!("(export {field})") } else { format!("(func {field} ") };
            replaced = own.contains(&definition);
        } else if line.trim() == ";;." {
            replaced = false;
        } else if !replaced && !line.starts_with(";;") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept.replace("{pages}", &fields.pages)
        .replace("{manifest}", &fields.manifest.segment())
        .replace("{base}", &fields.base)
        .replace("{component}", &fields.component)
        .replace("{main}", &fields.main)
}

impl Fields {
    fn parse(name: &str, text: &str) -> Self {
        let mut parts = [String::new(), String::new(), String::new()];
        let mut part = 0;
        let mut pages = "1".to_owned();
        let mut manifest = Manifest {
            name: name.chars().take(63).collect(),
            reads: vec![String::new()],
            writes: Vec::new(),
            cluster: false,
            schema: "{}".to_owned(),
        };
        let pointers = |rest: &str| match rest {
            "none" => Vec::new(),
            rest => rest.split(' ').map(|pointer| pointer.trim_matches('"').to_owned()).collect(),
        };
        for line in text.lines() {
            let Some(said) = line.strip_prefix(";;@ ") else {
                parts[part].push_str(line);
                parts[part].push('\n');
                continue;
            };
            match said.split_once(' ').unwrap_or((said, "")) {
                ("memory", rest) => pages = rest.to_owned(),
                ("reads", rest) => manifest.reads = pointers(rest),
                ("writes", rest) => manifest.writes = pointers(rest),
                ("cluster", "namespace-labels") => manifest.cluster = true,
                ("schema", rest) => manifest.schema = rest.to_owned(),
                ("base", "") => part = 1,
                ("component", "") => part = 2,
                _ => panic!("guest `{name}`: `;;@ {said}` is unknown"),
            }
        }
        let [main, base, component] = parts;
        Self { main, base, component, pages, manifest }
    }
}

impl Manifest {
    /// Returns the record `manifest` as a data segment, in the layout of the canonical ABI.
    fn segment(&self) -> String {
        const AT: usize = 0x4000;
        const RECORD: usize = 56;
        let mut heap: Vec<u8> = Vec::new();
        let mut put = |bytes: &[u8], len: usize| {
            while !heap.len().is_multiple_of(4) {
                heap.push(0);
            }
            let at = AT + RECORD + heap.len();
            heap.extend_from_slice(bytes);
            pair(at, len)
        };
        let mut record: Vec<u8> = Vec::new();
        for text in [&*self.name, "1.0.0", "A guest of the tests"] {
            record.extend(put(text.as_bytes(), text.len()));
        }
        for list in [&self.reads, &self.writes] {
            let elements: Vec<u8> = list.iter().flat_map(|text| put(text.as_bytes(), text.len())).collect();
            record.extend(put(&elements, list.len()));
        }
        record.extend(put(&[0], usize::from(self.cluster)));
        record.extend(put(self.schema.as_bytes(), self.schema.len()));
        assert_eq!(record.len(), RECORD);
        let bytes: String = record.iter().chain(&heap).map(|byte| format!("\\{byte:02x}")).collect();
        format!("(data (i32.const {AT}) \"{bytes}\")")
    }
}

/// Returns a pointer and a length in their layout in memory.
fn pair(at: usize, len: usize) -> [u8; 8] {
    let word = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let mut both = [0; 8];
    both[..4].copy_from_slice(&word(at));
    both[4..].copy_from_slice(&word(len));
    both
}
