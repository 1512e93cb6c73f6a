//! The licences of the shared libraries in the image, from the packages of the machine that they come from.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// Returns the files with the licences of libraries, by their path in the image. They stay where Debian has them.
///
/// If a machine has no packages of Debian, a message names the library whose licence the image lacks.
///
/// # Errors
/// A package has no file with its licence.
pub(crate) fn of(libraries: &[String]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for library in libraries {
        let Some(package) = package(library) else {
            eprintln!(
                "the image has no licence of `{library}`, because `dpkg-query` knows no package with it\n\
                 hint: add it before you distribute the image"
            );
            continue;
        };
        let path = format!("usr/share/doc/{package}/copyright");
        let text = fs::read(format!("/{path}"))
            .with_context(|| format!("failed to read the licence of `{library}`, `/{path}`"))?;
        files.insert(path, text);
    }
    Ok(files)
}

/// Returns the package of a file; `None` if no package has it, or if there is no `dpkg-query`.
fn package(library: &str) -> Option<String> {
    // Debian's lists have the path with or without `/usr`, which is the same folder.
    let other = library.strip_prefix("/usr").map_or_else(|| format!("/usr{library}"), str::to_owned);
    let found = [library, &other].into_iter().find_map(|path| {
        process::stdout(Command::new("dpkg-query").env("LC_ALL", "C").args(["--search", path])).ok()
    })?;
    name(&found).map(str::to_owned)
}

/// Reads a line such as `libc6:amd64: /lib/x86_64-linux-gnu/libc.so.6`.
fn name(found: &str) -> Option<&str> {
    let (packages, _) = found.lines().next()?.split_once(": ")?;
    packages.split([':', ',']).next().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_name_of_a_package() {
        assert_eq!(name("libc6:amd64: /lib/x86_64-linux-gnu/libc.so.6\n"), Some("libc6"));
        assert_eq!(name("libgcc-s1: /lib/libgcc_s.so.1\n"), Some("libgcc-s1"));
        assert_eq!(name("libc6:amd64, libc6:i386: /lib64/ld-linux-x86-64.so.2\n"), Some("libc6"));
        assert_eq!(name("diversion by dash from\n"), None);
        assert_eq!(name(""), None);
    }

    #[test]
    fn a_library_of_nobody_has_no_licence() {
        assert!(of(&["/lib/no-such-library.so".to_owned()]).unwrap().is_empty());
    }
}
