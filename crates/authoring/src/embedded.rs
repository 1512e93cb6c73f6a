//! The files that the crate embeds, by name and text.

mod lists {
    include!(concat!(env!("OUT_DIR"), "/files.rs"));
}

/// The templates, each in the folder of its language or in `common`.
pub(crate) const TEMPLATES: &[(&str, &str)] = lists::TEMPLATES;

/// Generated bindings, each in the folder of its language.
pub(crate) const BINDINGS: &[(&str, &str)] = lists::BINDINGS;

/// The sources of the Rust SDK.
pub(crate) const SDK: &[(&str, &str)] = lists::SDK;

/// The manifest of the Rust SDK.
pub(crate) const SDK_MANIFEST: &str = include_str!("../../../policies/sdk/Cargo.toml");

/// The manifest of the workspace that the SDK is part of.
pub(crate) const SDK_WORKSPACE: &str = include_str!("../../../policies/Cargo.toml");

/// Returns the files of one folder, with paths within it.
pub(crate) fn folder<'f>(
    files: &'f [(&'f str, &'f str)],
    folder: &str,
) -> impl Iterator<Item = (&'f str, &'f str)> {
    files.iter().filter_map(move |(path, text)| {
        path.strip_prefix(folder)?.strip_prefix('/').map(|path| (path, *text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embeds_the_linked_folders_of_the_sdk() {
        for expected in ["lib.rs", "placement/lib.rs", "cases/lib.rs"] {
            assert!(SDK.iter().any(|(path, _)| *path == expected), "{expected}");
        }
    }

    #[test]
    fn a_folder_has_only_its_own_files() {
        let files = [("c/a.h", "1"), ("cel/b", "2")];
        assert_eq!(folder(&files, "c").collect::<Vec<_>>(), [("a.h", "1")]);
    }
}
