//! The contract in `wit/policy.wit`, as text and as data.

use wit_parser::{Resolve, WorldId};

/// The contract's text.
pub const CONTRACT: &str = include_str!("../../../wit/policy.wit");

/// The contract's package, without its version.
pub(crate) const PACKAGE: &str = "wardset:policy";

/// The contract's world of a policy module.
pub(crate) const WORLD: &str = "policy";

/// Parses the contract.
///
/// # Errors
///
/// The text is not WIT, which a test excludes.
pub(crate) fn resolve() -> anyhow::Result<(Resolve, WorldId)> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("policy.wit", CONTRACT)?;
    let world = resolve.select_world(&[package], Some(WORLD))?;
    Ok((resolve, world))
}

/// Returns the version of the contract, such as `0.1.0`.
pub(crate) fn version() -> &'static str {
    let line = CONTRACT.lines().find_map(|line| line.strip_prefix("package wardset:policy@"));
    line.map_or("", |version| version.trim_end_matches(';'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_has_a_world_of_three_exports() {
        let (resolve, world) = resolve().unwrap();
        assert_eq!(resolve.worlds[world].exports.len(), 3);
    }

    #[test]
    fn the_version_is_that_of_the_package() {
        let (resolve, world) = resolve().unwrap();
        let package = resolve.worlds[world].package.unwrap();
        assert_eq!(resolve.packages[package].name.version.as_ref().unwrap().to_string(), version());
    }
}
