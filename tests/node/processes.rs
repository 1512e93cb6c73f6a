//! The processes of containers, as the kernel shows them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// A process of a replica.
pub(crate) struct Process {
    id: u32,
    /// The fields of `/proc/ID/status`.
    pub(crate) status: BTreeMap<String, String>,
}

/// The memory of a container in bytes.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) limit: u64,
    /// The highest use since the start.
    pub(crate) peak: u64,
}

/// Returns the processes with this name.
pub(crate) fn named(name: &str) -> Vec<Process> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let entry = entry.unwrap().file_name();
        let Some(id) = entry.to_str().and_then(|entry| entry.parse().ok()) else { continue };
        // A process may end at any time.
        let Ok(text) = fs::read_to_string(format!("/proc/{id}/status")) else { continue };
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        let status: BTreeMap<String, String> = pairs
            .map(|(key, value)| (key.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
            .collect();
        if status.get("Name").is_some_and(|found| found == name) {
            found.push(Process { id, status });
        }
    }
    found
}

impl Process {
    /// Returns the options of the mount of its root.
    pub(crate) fn root_options(&self) -> Vec<String> {
        let mounts = fs::read_to_string(format!("/proc/{}/mounts", self.id)).unwrap();
        let root = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/")).unwrap();
        root.split(' ').nth(3).unwrap().split(',').map(str::to_owned).collect()
    }

    /// Returns the memory of its cgroup, of either version.
    pub(crate) fn memory(&self) -> Memory {
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", self.id)).unwrap();
        let path = |controller: &str| {
            groups.lines().find_map(|line| {
                let mut words = line.splitn(3, ':').skip(1);
                let names = words.next()?;
                names.split(',').any(|name| name == controller).then(|| words.next())?
            })
        };
        let (folder, limit, peak) = match path("memory") {
            Some(path) => {
                (format!("/sys/fs/cgroup/memory{path}"), "memory.limit_in_bytes", "memory.max_usage_in_bytes")
            }
            None => (format!("/sys/fs/cgroup{}", path("").unwrap()), "memory.max", "memory.peak"),
        };
        let read = |file: &str| {
            let path = PathBuf::from(&folder).join(file);
            fs::read_to_string(path).unwrap().trim().parse().unwrap()
        };
        Memory { limit: read(limit), peak: read(peak) }
    }
}
