//! Limits on a module's shape, checked before compilation.
//!
//! They reject modules that would cost the compiler all of its time or memory. One pass reads headers and counts, and
//! keeps nothing. Accepted modules are still compiled within limits (`compile.rs`), so an unforeseen shape costs one
//! child process, and no more.

use wasmparser::{Parser, Payload};

use crate::load_error::LoadError;

/// The limits of a module, with everything that is nested in it. Runtimes of languages come closest: Go has 37,233
/// segments, CPython 426,843 bytes in one function and 40 modules, StarlingMonkey 13,498 functions.
const MOST: [(What, u64); 9] = [
    (What::Modules, 64),
    (What::Depth, 16),
    (What::Types, 32_768),
    (What::Functions, 100_000),
    (What::BodyBytes, 1 << 20),
    (What::Locals, 32_768),
    (What::AllLocals, 4 << 20),
    (What::Segments, 100_000),
    (What::Names, 32_768),
];

/// The kinds of parts that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// Core modules and components, the outermost included.
    Modules,
    /// How deep they are nested.
    Depth,
    Types,
    Functions,
    /// Of one function.
    BodyBytes,
    /// Of one function.
    Locals,
    AllLocals,
    /// Of data and of elements.
    Segments,
    /// Imports, exports, aliases, instances.
    Names,
}

impl What {
    fn words(self) -> &'static str {
        match self {
            Self::Modules => "core modules and components",
            Self::Depth => "levels of components in components",
            Self::Types => "types",
            Self::Functions => "functions",
            Self::BodyBytes => "bytes in one function",
            Self::Locals => "local variables in one function",
            Self::AllLocals => "local variables",
            Self::Segments => "segments of data and elements",
            Self::Names => "imports, exports and aliases",
        }
    }
}

/// Refuses a shape that no policy has. Bytes that make no sense are left to the compiler, which says better why.
///
/// # Errors
///
/// The first limit that is passed.
pub(crate) fn check(bytes: &[u8]) -> Result<(), LoadError> {
    let mut counts = Counts::default();
    // The compiler will stop at the same malformed payload.
    for payload in Parser::new(0).parse_all(bytes).map_while(Result::ok) {
        if counts.take(&payload)?.is_none() {
            break;
        }
    }
    Ok(())
}

#[derive(Default)]
struct Counts([u64; MOST.len()]);

impl Counts {
    /// `None` if the head of a payload is malformed.
    fn take(&mut self, payload: &Payload<'_>) -> Result<Option<()>, LoadError> {
        match payload {
            Payload::Version { .. } => {
                self.add(What::Modules, 1)?;
                self.add(What::Depth, 1)?;
            }
            Payload::End(_) => {
                let depth = &mut self.0[What::Depth as usize];
                *depth = depth.saturating_sub(1);
            }
            Payload::TypeSection(section) => self.add(What::Types, section.count().into())?,
            Payload::CoreTypeSection(section) => self.add(What::Types, section.count().into())?,
            Payload::ComponentTypeSection(section) => self.add(What::Types, section.count().into())?,
            Payload::FunctionSection(section) => self.add(What::Functions, section.count().into())?,
            Payload::ComponentCanonicalSection(section) => {
                self.add(What::Functions, section.count().into())?;
            }
            Payload::DataSection(section) => self.add(What::Segments, section.count().into())?,
            Payload::ElementSection(section) => self.add(What::Segments, section.count().into())?,
            Payload::ImportSection(section) => self.add(What::Names, section.count().into())?,
            Payload::ExportSection(section) => self.add(What::Names, section.count().into())?,
            Payload::GlobalSection(section) => self.add(What::Names, section.count().into())?,
            Payload::ComponentImportSection(section) => self.add(What::Names, section.count().into())?,
            Payload::ComponentExportSection(section) => self.add(What::Names, section.count().into())?,
            Payload::ComponentAliasSection(section) => self.add(What::Names, section.count().into())?,
            Payload::ComponentInstanceSection(section) => self.add(What::Names, section.count().into())?,
            Payload::InstanceSection(section) => self.add(What::Names, section.count().into())?,
            Payload::CodeSectionEntry(body) => {
                within(What::BodyBytes, body.range().len() as u64)?;
                let Ok(groups) = body.get_locals_reader() else { return Ok(None) };
                let mut locals = 0;
                for group in groups {
                    let Ok((number, _)) = group else { return Ok(None) };
                    locals += u64::from(number);
                    within(What::Locals, locals)?;
                }
                self.add(What::AllLocals, locals)?;
            }
            _ => {}
        }
        Ok(Some(()))
    }

    fn add(&mut self, what: What, number: u64) -> Result<(), LoadError> {
        let count = &mut self.0[what as usize];
        *count = count.saturating_add(number);
        within(what, *count)
    }
}

fn within(what: What, found: u64) -> Result<(), LoadError> {
    let (_, most) = MOST[what as usize];
    if found > most { Err(LoadError::Shape { what: what.words(), found, most }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_stands_at_its_own_place() {
        for (at, (what, _)) in MOST.into_iter().enumerate() {
            assert_eq!(what as usize, at, "{what:?}");
        }
    }

    #[test]
    fn bytes_that_make_no_sense_are_left_to_the_compiler() {
        for bytes in [&b""[..], b"\0asm", b"\0asm\x0d\0\x01\0\x01\xff\xff\xff\xff\x0f"] {
            assert!(check(bytes).is_ok(), "{bytes:?}");
        }
    }
}
