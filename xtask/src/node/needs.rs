//! The things that a machine must have for a real node.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The things that differ between machines.
#[derive(Debug)]
pub(crate) struct Needs {
    /// The folder of the network plugins.
    pub(crate) plugins: PathBuf,
}

/// Checks for root and for all programs.
///
/// # Errors
/// One is missing; the error names all missing ones, and the command that installs them.
pub(crate) fn check() -> Result<Needs> {
    if cfg!(not(target_os = "linux")) {
        bail!("expected Linux, found `{}`\nhint: run them in a virtual machine", env::consts::OS);
    }
    let user = rustix::process::geteuid();
    if !user.is_root() {
        bail!(
            "expected root, found user {}, who can make no namespaces, mounts and cgroups\n\
             hint: run them as root, best in a virtual machine; they leave the machine as it was",
            user.as_raw()
        );
    }
    let folders: Vec<PathBuf> =
        env::var_os("PATH").iter().flat_map(|path| env::split_paths(path).collect::<Vec<_>>()).collect();
    let plugins = PLUGIN_FOLDERS.map(Path::new).into_iter().find(|folder| folder.join("bridge").is_file());
    let mut missing: Vec<&str> = Vec::new();
    let mut packages: Vec<&str> = Vec::new();
    let mut add = |name, package| {
        missing.push(name);
        if !packages.contains(&package) {
            packages.push(package);
        }
    };
    for (program, package) in PROGRAMS {
        if !folders.iter().any(|folder| folder.join(program).is_file()) {
            add(program, package);
        }
    }
    for plugin in PLUGINS {
        if !plugins.is_some_and(|folder| folder.join(plugin).is_file()) {
            add(plugin, "containernetworking-plugins");
        }
    }
    match plugins {
        Some(plugins) if missing.is_empty() => Ok(Needs { plugins: plugins.to_owned() }),
        _ => bail!("{}", words(&missing, &packages)),
    }
}

fn words(missing: &[&str], packages: &[&str]) -> String {
    let quoted: Vec<String> = missing.iter().map(|name| format!("`{name}`")).collect();
    format!(
        "this machine lacks {}\nhint: `apt-get install --no-install-recommends {}`",
        quoted.join(", "),
        packages.join(" ")
    )
}

/// Programs, each with Debian's package.
const PROGRAMS: [(&str, &str); 11] = [
    ("containerd", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("mount", "mount"),
    ("ip", "iproute2"),
    ("sh", "dash"),
    ("cc", "gcc"),
    ("ldd", "libc-bin"),
];

/// The network plugins that the node uses.
const PLUGINS: [&str; 3] = ["bridge", "host-local", "loopback"];

/// The folders of Debian's package, and of the plugins' own releases.
const PLUGIN_FOLDERS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_missing_programs_and_the_command_that_installs_them() {
        assert_eq!(
            words(&["containerd", "bridge"], &["containerd", "containernetworking-plugins"]),
            "this machine lacks `containerd`, `bridge`\n\
             hint: `apt-get install --no-install-recommends containerd containernetworking-plugins`"
        );
    }
}
