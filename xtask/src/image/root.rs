//! The files of the image.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// The files of an image by path, without the leading slash. All belong to root, and only root could change them.
#[derive(Debug)]
pub(crate) struct Root {
    files: BTreeMap<String, File>,
}

/// A file of the image.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    pub(crate) mode: u32,
}

impl Root {
    /// Returns the files for a program: itself with this name, its shared libraries at the paths where it expects them, and its user.
    ///
    /// There is no shell, and no CA certificates: the kubelet mounts the CA of the API server, and the program has those of
    /// public registries.
    ///
    /// # Errors
    /// A file cannot be read, or the program needs a library that this machine does not have.
    pub(crate) fn of(program: &Path, name: &str) -> Result<Self> {
        let mut root = Self { files: BTreeMap::new() };
        root.add(name, read(program)?, 0o755);
        let mut ldd = Command::new("ldd");
        let printed = process::stdout(ldd.env("LC_ALL", "C").arg(program))
            .with_context(|| format!("failed to list the shared libraries of `{}`", program.display()))?;
        for library in libraries(&printed)? {
            root.add(library.trim_start_matches('/'), read(Path::new(library))?, 0o755);
        }
        root.add("etc/passwd", PASSWD.into(), 0o644);
        root.add("etc/group", GROUP.into(), 0o644);
        Ok(root)
    }

    /// Returns the files in the order of their paths.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &File)> {
        self.files.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// Returns the paths of the shared libraries, as the program names them.
    pub(crate) fn libraries(&self) -> Vec<String> {
        let library =
            |path: &str| ["lib/", "lib64/", "usr/lib/"].iter().any(|folder| path.starts_with(folder));
        self.files.keys().filter(|path| library(path)).map(|path| format!("/{path}")).collect()
    }

    /// Returns all folders, the outer ones first.
    pub(crate) fn folders(&self) -> BTreeSet<&str> {
        let ends = |path: &'_ str| path.match_indices('/').map(|(at, _)| at).collect::<Vec<_>>();
        self.files.keys().flat_map(|path| ends(path).into_iter().map(|end| &path[..end])).collect()
    }

    /// Returns the number of files.
    pub(crate) fn files(&self) -> usize {
        self.files.len()
    }

    /// Returns the bytes of each file.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (&str, usize)> {
        self.entries().map(|(path, file)| (path, file.bytes.len()))
    }

    /// Writes the files into a new folder.
    ///
    /// # Errors
    /// The folder exists, or the system refuses a file.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let context = |path: &Path| format!("failed to write `{}`", path.display());
        fs::create_dir(folder).with_context(|| context(folder))?;
        for inner in self.folders() {
            let path = folder.join(inner);
            fs::create_dir(&path)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
                .with_context(|| context(&path))?;
        }
        for (inner, file) in self.entries() {
            let path = folder.join(inner);
            fs::write(&path, &file.bytes)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(file.mode)))
                .with_context(|| context(&path))?;
        }
        Ok(())
    }

    pub(crate) fn add(&mut self, path: &str, bytes: Vec<u8>, mode: u32) {
        self.files.insert(path.to_owned(), File { bytes, mode });
    }

    #[cfg(test)]
    pub(crate) fn with(files: &[(&str, &str, u32)]) -> Self {
        let mut root = Self { files: BTreeMap::new() };
        for (path, text, mode) in files {
            root.add(path, text.as_bytes().to_vec(), *mode);
        }
        root
    }
}

/// Returns the paths in the output of `ldd`: shared libraries, and the program that loads them.
fn libraries(printed: &str) -> Result<Vec<&str>> {
    let mut libraries = Vec::new();
    for line in printed.lines().map(str::trim) {
        // `libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x…)`, or `/lib64/ld-linux-x86-64.so.2 (0x…)`
        let (name, place) = line.split_once(" => ").unwrap_or((line, line));
        if place == "not found" {
            bail!(
                "the program needs `{name}`, which this machine does not have\nhint: build the program here"
            );
        }
        // The kernel provides `linux-vdso.so.1`, which has no path.
        libraries.extend(place.split(' ').next().filter(|path| path.starts_with('/')));
    }
    Ok(libraries)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read `{}`", path.display()))
}

/// The name of the user, for programs that ask for it.
const PASSWD: &str = "wardset:x:65532:65532::/nonexistent:/nonexistent\n";

const GROUP: &str = "wardset:x:65532:\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_paths_of_libraries_and_loader() {
        let printed = "\tlinux-vdso.so.1 (0x00007ffd1)\n\
            \tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x00007f1)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f2)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f3)\n";
        assert_eq!(
            libraries(printed).unwrap(),
            [
                "/lib/x86_64-linux-gnu/libgcc_s.so.1",
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
        assert_eq!(libraries("\tstatically linked\n").unwrap(), [""; 0]);
        let error = libraries("\tlibodd.so.1 => not found\n").unwrap_err().to_string();
        assert!(error.starts_with("the program needs `libodd.so.1`, which"), "{error}");
    }

    #[test]
    fn root_of_a_program_starts_it() {
        let shell = Root::of(Path::new("/bin/sh"), "wardset").unwrap();
        let paths: Vec<&str> = shell.entries().map(|(path, _)| path).collect();
        assert!(paths.contains(&"wardset") && paths.contains(&"etc/passwd"), "{paths:?}");
        assert!(paths.iter().any(|path| path.contains("/libc.so")), "{paths:?}");
        assert!(paths.iter().any(|path| path.contains("/ld-linux")), "{paths:?}");
        assert!(Root::of(Path::new("/no/such/program"), "wardset").is_err());
    }

    #[test]
    fn writes_files_with_their_modes_whatever_the_umask_says() {
        let root = Root::with(&[("a/b/program", "x", 0o755), ("a/text", "y", 0o644)]);
        assert_eq!(root.folders().into_iter().collect::<Vec<_>>(), ["a", "a/b"]);
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("root");
        root.write(&folder).unwrap();
        let mode = |path: &str| fs::metadata(folder.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(["a", "a/b", "a/b/program", "a/text"].map(mode), [0o755, 0o755, 0o755, 0o644]);
        assert!(format!("{:#}", root.write(&folder).unwrap_err()).contains("exists"));
    }
}
