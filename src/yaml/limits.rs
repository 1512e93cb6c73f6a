//! The limits of one YAML stream. `docs/limits.md` lists them.

/// Number of values that one file may have, those behind aliases counted each time. A bundle of all CRDs of a large
/// operator has about 100,000.
pub(super) const MAX_VALUES: usize = 1_000_000;

/// Bytes of strings and keys that the aliases of one file may repeat. Each alias of a long string is a copy of it.
pub(super) const MAX_ALIAS_BYTES: usize = 16 << 20;

/// Number of lists and mappings inside each other; JSON documents have the same limit.
pub(super) const MAX_DEPTH: usize = 127;
