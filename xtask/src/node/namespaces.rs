//! The namespaces of the node: mounts, network and processes of its own.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cluster::{ADDRESS, BRIDGE, SERVICE};
use crate::process;

/// Returns the command that runs this program in new namespaces; the caller adds its arguments.
///
/// The first process of the namespace is a shell, because it waits for orphans too. If this process is killed, so are
/// `unshare`, the shell and everything else.
///
/// # Errors
/// The system does not tell the path of this program.
pub(crate) fn command() -> Result<Command> {
    let program = env::current_exe().context("failed to find the path of this program")?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    command.args(["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["sh", "-c", "\"$@\" & wait $!", "sh"]).arg(program);
    Ok(command)
}

/// Makes namespaces with a mount and a bridge, and ends them.
///
/// # Errors
/// The system refuses one.
pub(crate) fn probe() -> Result<()> {
    let script = "mount -t tmpfs tmpfs /mnt && ip link add probe type bridge";
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "sh", "-c", script]);
    process::stdout(&mut unshare).map(drop).context("the system refuses namespaces, mounts or bridges")
}

/// Hides folders of the machine, hides settings of the kernel, and makes the bridge. Call it in the new namespaces only.
///
/// # Errors
/// The system refuses.
pub(crate) fn furnish(home: &Path) -> Result<()> {
    for folder in FOLDERS {
        run("mount", &["-t", "tmpfs", "-o", "mode=755", "tmpfs", folder])?;
    }
    for (setting, value) in KERNEL {
        // The kubelet finds the value that it wants, so it does not change the setting of the whole machine.
        let file = home.join(setting.rsplit('/').next().unwrap_or(setting));
        fs::write(&file, value).with_context(|| format!("failed to write `{}`", file.display()))?;
        run("mount", &["--bind", &file.to_string_lossy(), setting])?;
    }
    for words in [
        "link set lo up".to_owned(),
        format!("link add {BRIDGE} type bridge"),
        format!("address add {ADDRESS}/24 dev {BRIDGE}"),
        // Pods find the API server at this address, with no rule of a packet filter.
        format!("address add {SERVICE}/32 dev {BRIDGE}"),
        format!("link set {BRIDGE} up"),
    ] {
        run("ip", &words.split(' ').collect::<Vec<_>>())?;
    }
    Ok(())
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    process::stdout(Command::new(program).args(args)).map(drop)
}

/// Folders that containerd, the kubelet and the network plugins use, whatever their flags say.
pub(crate) const FOLDERS: [&str; 6] = [
    "/run/containerd",
    "/run/netns",
    "/run/cni-node",
    "/var/lib/kubelet",
    "/var/log/pods",
    "/var/log/containers",
];

/// Settings of the kernel that the kubelet changes, with the values that it wants.
const KERNEL: [(&str, &str); 4] = [
    ("/proc/sys/vm/overcommit_memory", "1"),
    ("/proc/sys/vm/panic_on_oom", "0"),
    ("/proc/sys/kernel/panic", "10"),
    ("/proc/sys/kernel/panic_on_oops", "1"),
];
