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

/// The files of a cgroup.
struct MemoryFiles {
    folder: PathBuf,
    limit: &'static str,
    peak: &'static str,
    used: &'static str,
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

    /// Whether its pod has this name.
    pub(crate) fn is_of(&self, pod: &str) -> bool {
        let variables = fs::read(format!("/proc/{}/environ", self.id)).unwrap();
        variables.split(|byte| *byte == 0).any(|variable| variable == format!("POD_NAME={pod}").as_bytes())
    }

    /// Returns the memory of its cgroup.
    pub(crate) fn memory(&self) -> Memory {
        let files = self.memory_files();
        let read = |file: &str| fs::read_to_string(files.folder.join(file)).unwrap().trim().parse().unwrap();
        Memory { limit: read(files.limit), peak: read(files.peak) }
    }

    /// Lowers the limit of its cgroup to the memory that it uses, so that the kernel kills it if the cgroup needs more.
    pub(crate) fn take_spare_memory(&self) {
        let files = self.memory_files();
        let used = fs::read_to_string(files.folder.join(files.used)).unwrap();
        fs::write(files.folder.join(files.limit), used.trim()).unwrap();
    }

    /// Finds the files of its cgroup, of either version.
    fn memory_files(&self) -> MemoryFiles {
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", self.id)).unwrap();
        let path = |controller: &str| {
            groups.lines().find_map(|line| {
                let mut words = line.splitn(3, ':').skip(1);
                let names = words.next()?;
                names.split(',').any(|name| name == controller).then(|| words.next())?
            })
        };
        match path("memory") {
            Some(path) => MemoryFiles {
                folder: format!("/sys/fs/cgroup/memory{path}").into(),
                limit: "memory.limit_in_bytes",
                peak: "memory.max_usage_in_bytes",
                used: "memory.usage_in_bytes",
            },
            None => MemoryFiles {
                folder: format!("/sys/fs/cgroup{}", path("").unwrap()).into(),
                limit: "memory.max",
                peak: "memory.peak",
                used: "memory.current",
            },
        }
    }
}
