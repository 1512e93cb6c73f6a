//! Regular expressions.

use regex_lite::{Regex, RegexBuilder};

use super::fault::Fault;
use super::meter::Meter;

/// Maximum size of a compiled regular expression, in bytes.
const MAX_SIZE: usize = 256 << 10;

/// Size of the first attempt to compile, in bytes. Each further attempt has four times as much.
const MIN_SIZE: usize = 1 << 10;

/// Maximum nesting of groups, in levels. The parser uses a stack frame for each level.
const MAX_GROUPS: u32 = 16;

/// Bytes of a compiled expression that a search visits in one step, for each byte of the text. A state takes about 32
/// bytes, and a search visits only some of them.
const SIZE_PER_STEP: usize = 256;

/// Bytes of a compiled expression that are built in one step.
const BUILT_PER_STEP: usize = 16;

/// A compiled regular expression. A search takes time proportional to its size and to the length of the text.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    regex: Regex,
    /// The compiled size, rounded up to a power of two.
    size: usize,
}

impl Pattern {
    /// Compiles a regular expression.
    ///
    /// # Errors
    ///
    /// The problem, in one line.
    pub(super) fn compile(pattern: &str) -> Result<Self, String> {
        let mut size = MIN_SIZE;
        loop {
            match RegexBuilder::new(pattern).size_limit(size).nest_limit(MAX_GROUPS).build() {
                Ok(regex) => return Ok(Self { regex, size }),
                // The library does not tell a large expression from an invalid one, so the last attempt decides.
                Err(error) if size == MAX_SIZE => return Err(error.to_string().replace('\n', " ")),
                Err(_) => size *= 4,
            }
        }
    }

    /// Counts the steps of the compilation.
    pub(super) fn charge_compilation(&self, meter: &mut Meter) -> Result<(), Fault> {
        meter.step(self.size / BUILT_PER_STEP)
    }

    /// Finds matches, one after the other. The steps of each search are counted before it begins.
    pub(super) fn find_iter<'t>(
        &self,
        text: &'t str,
        most: usize,
        meter: &mut Meter,
    ) -> Result<Vec<&'t str>, Fault> {
        let mut found = Vec::new();
        self.charge(text, meter)?;
        for part in self.regex.find_iter(text).take(most) {
            // Each search can read all of the rest, for example with `a.*b|a`.
            self.charge(&text[part.start()..], meter)?;
            found.push(part.as_str());
        }
        Ok(found)
    }

    pub(super) fn is_match(&self, text: &str, meter: &mut Meter) -> Result<bool, Fault> {
        self.charge(text, meter)?;
        Ok(self.regex.is_match(text))
    }

    fn charge(&self, text: &str, meter: &mut Meter) -> Result<(), Fault> {
        meter.step(text.len().saturating_mul(self.size / SIZE_PER_STEP))
    }
}
