//! The look into the node, with root's eyes: etcd's files, every file that changed, the memory of every process.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::demo::look::{Look, Moment, Place, Secret, note};
use crate::error::Failure;

/// What is read at once.
const CHUNK: usize = 1 << 20;
/// The longest form of a secret is shorter; so much of a chunk is looked at once more with the next.
const OVERLAP: usize = 256;
/// Where a node writes.
const FOLDERS: [&str; 6] = ["var", "tmp", "run", "etc", "root", "home"];
/// What is no disk and no memory of anybody's: names of file systems.
const VIRTUAL: [&str; 3] = ["proc", "sys", "dev"];
/// How deep below `/root` and `/home`: people have a lot there, programs of a node write near the top.
const HOMES: usize = 3;

/// The node as it is looked at.
pub(super) struct Node<'a> {
    /// The pod that may have the secret.
    pod: &'a str,
    began: Moment,
    /// The folder of the journey itself.
    top: &'a Path,
}

impl<'a> Node<'a> {
    pub(super) const fn new(pod: &'a str, began: Moment, top: &'a Path) -> Self {
        Self { pod, began, top }
    }

    /// Everything.
    pub(super) fn look(&self, secrets: &[Secret]) -> Result<Vec<Look>, Failure> {
        let processes = processes()?;
        let mut looks = vec![etcd(&processes, secrets)?];
        looks.extend(self.files(&processes, secrets));
        looks.extend(self.memory(&processes, secrets));
        Ok(looks)
    }

    /// The files that kubelets' nodes have and that changed since the journey began: those of the pod, and all others.
    fn files(&self, processes: &[Process], secrets: &[Secret]) -> [Look; 2] {
        let (mut pods, mut others) = (Tally::default(), Tally::default());
        let mut seen = BTreeSet::new();
        for kubelet in processes.iter().filter(|process| process.is("kubelet")) {
            // Each mount namespace once.
            if !seen.insert(fs::read_link(kubelet.path("ns/mnt")).unwrap_or_default()) {
                continue;
            }
            let root = kubelet.path("root");
            for folder in FOLDERS {
                let depth = if ["root", "home"].contains(&folder) { HOMES } else { usize::MAX };
                let walk = walkdir::WalkDir::new(root.join(folder)).max_depth(depth).into_iter();
                let within = |entry: &walkdir::DirEntry| {
                    let inside = entry.path().strip_prefix(&root).unwrap_or(entry.path());
                    !VIRTUAL.iter().any(|name| inside.starts_with(name))
                        && !is_etcd(entry.path())
                        && !self.is_own(inside)
                };
                for entry in walk.filter_entry(within).filter_map(Result::ok) {
                    // A pipe or a device holds nothing, and may not end.
                    let Ok(metadata) = entry.metadata() else { continue };
                    if !metadata.is_file() || Moment::of(entry.path()).is_ok_and(|changed| changed < self.began) {
                        continue;
                    }
                    let inside = entry.path().strip_prefix(&root).unwrap_or(entry.path());
                    let is_the_pods = inside.to_string_lossy().contains(self.pod) && is_memory(entry.path());
                    let tally = if is_the_pods { &mut pods } else { &mut others };
                    let Ok(file) = File::open(entry.path()) else { continue };
                    tally.count += 1;
                    let name = || format!("/{}", inside.display());
                    scan(metadata.len(), |buffer, at| file.read_at(buffer, at), secrets, &mut tally.found, name);
                }
            }
        }
        [pods.look(Place::PodFiles, "files"), others.look(Place::NodeFiles, "files")]
    }

    /// The memory of every process but this one: of the pod, and of all others.
    fn memory(&self, processes: &[Process], secrets: &[Secret]) -> [Look; 2] {
        let (mut pods, mut others) = (Tally::default(), Tally::default());
        for process in processes {
            let groups = fs::read_to_string(process.path("cgroup")).unwrap_or_default();
            // The runtime writes a pod's uid with dashes or underscores.
            let is_the_pods = groups.contains(self.pod) || groups.contains(&self.pod.replace('-', "_"));
            let tally = if is_the_pods { &mut pods } else { &mut others };
            let (Ok(memory), Ok(maps)) = (File::open(process.path("mem")), fs::read_to_string(process.path("maps")))
            else {
                continue;
            };
            let regions: Vec<(u64, u64)> = maps.lines().filter_map(region).collect();
            if regions.is_empty() {
                continue;
            }
            tally.count += 1;
            for (start, end) in regions {
                let name = || format!("process {} {}", process.pid, process.name());
                let read = |buffer: &mut [u8], at: u64| memory.read_at(buffer, start + at);
                scan(end - start, read, secrets, &mut tally.found, name);
            }
        }
        [pods.look(Place::PodMemory, "processes"), others.look(Place::OtherMemory, "processes")]
    }

    fn is_own(&self, inside: &Path) -> bool {
        self.top.strip_prefix("/").is_ok_and(|top| inside.starts_with(top))
    }
}

#[derive(Default)]
struct Tally {
    count: usize,
    found: BTreeSet<String>,
}

impl Tally {
    fn look(self, place: Place, what: &str) -> Look {
        Look { place, looked: format!("{} {what}", self.count), found: self.found }
    }
}

/// A process of this machine.
struct Process {
    pid: u32,
    arguments: Vec<String>,
}

impl Process {
    fn path(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.pid.to_string()).join(file)
    }

    /// Whether it is the component of this name: a program, or the first argument of one that is all of them.
    fn is(&self, component: &str) -> bool {
        let named = |argument: &String| Path::new(argument).file_name().is_some_and(|name| name == component);
        self.arguments.iter().take(2).any(named)
    }

    fn name(&self) -> String {
        fs::read_to_string(self.path("comm")).unwrap_or_default().trim_end().to_owned()
    }

    /// The value of a flag, written with `=` or after it.
    fn flag(&self, name: &str) -> Option<&str> {
        let mut arguments = self.arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.strip_prefix(name) {
                Some("") => return arguments.next().map(String::as_str),
                Some(rest) if rest.starts_with('=') => return Some(&rest[1..]),
                _ => {}
            }
        }
        None
    }
}

/// All processes but this one.
fn processes() -> Result<Vec<Process>, Failure> {
    let entries = fs::read_dir("/proc").map_err(|error| Failure::generic(format!("cannot read /proc: {error}")))?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let others = pids.filter(|pid| *pid != std::process::id());
    Ok(others
        .map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
            Process { pid, arguments: words.map(|word| String::from_utf8_lossy(word).into_owned()).collect() }
        })
        .collect())
}

/// Every byte of the files of every etcd of this machine.
fn etcd(processes: &[Process], secrets: &[Secret]) -> Result<Look, Failure> {
    let mut tally = Tally::default();
    for process in processes.iter().filter(|process| process.is("etcd")) {
        let Some(folder) = process.flag("--data-dir") else { continue };
        let root = process.path("root").join(folder.trim_start_matches('/'));
        for entry in walkdir::WalkDir::new(&root).into_iter().filter_map(Result::ok) {
            let Ok(metadata) = entry.metadata() else { continue };
            let (true, Ok(file)) = (metadata.is_file(), File::open(entry.path())) else { continue };
            tally.count += 1;
            let name = || entry.file_name().to_string_lossy().into_owned();
            scan(metadata.len(), |buffer, at| file.read_at(buffer, at), secrets, &mut tally.found, name);
        }
    }
    if tally.count == 0 {
        return Err(Failure::generic("no etcd runs on this machine whose files could be looked into")
            .with_hint("run it on a control-plane node, or with --without-node"));
    }
    Ok(tally.look(Place::Etcd, "files"))
}

/// A region of memory that is a process' own, from a line of `/proc/PID/maps` (see proc(5)).
fn region(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, permissions) = (fields.next()?, fields.next()?);
    let path = fields.nth(3).unwrap_or_default();
    // What is shared is a file, and looked at there; what is not written is a program's text. The kernel's own pages cannot be read.
    if !permissions.starts_with("rw")
        || path == "[vvar]"
        || path == "[vsyscall]"
        || path.starts_with("/dev/") && path != "/dev/zero"
    {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

/// Reads `length` bytes in pieces that overlap, and notes what is in them. What cannot be read is left out: memory comes and goes.
fn scan(
    length: u64,
    read: impl Fn(&mut [u8], u64) -> std::io::Result<usize>,
    secrets: &[Secret],
    found: &mut BTreeSet<String>,
    name: impl Fn() -> String,
) {
    let most = usize::try_from(length).map_or(CHUNK, |length| length.min(CHUNK));
    let mut buffer = Zeroizing::new(vec![0; most + OVERLAP]);
    let (mut at, mut kept) = (0, 0);
    while at < length {
        let wanted = usize::try_from(length - at).unwrap_or(CHUNK).min(CHUNK);
        let count = match read(&mut buffer[kept..kept + wanted], at) {
            Ok(0) => return,
            Ok(count) => count,
            Err(_) => {
                // A page that is not there: go on behind it.
                (at, kept) = (at + 4096, 0);
                continue;
            }
        };
        let filled = kept + count;
        note(found, secrets, &buffer[..filled], &name);
        at += count as u64;
        kept = filled.min(OVERLAP);
        buffer.copy_within(filled - kept..filled, 0);
    }
}

/// Whether a file is memory: on a tmpfs.
fn is_memory(path: &Path) -> bool {
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    rustix::fs::statfs(path).is_ok_and(|system| system.f_type == TMPFS_MAGIC)
}

/// Whether a folder is etcd's, which is looked into for itself.
fn is_etcd(path: &Path) -> bool {
    path.is_dir() && path.join("member/wal").is_dir()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_stands_across_two_pieces_is_found() {
        let secret = [Secret::new("x", "0123456789abcdef0123456789abcdef")];
        for at in [0, 10, CHUNK - 40, CHUNK - 16, CHUNK - 1, CHUNK, CHUNK + 5, 2 * CHUNK - 7] {
            let mut bytes = vec![b'.'; 2 * CHUNK + 100];
            bytes[at..at + 32].copy_from_slice(b"0123456789abcdef0123456789abcdef");
            let read = |buffer: &mut [u8], from: u64| {
                let mut rest = &bytes[usize::try_from(from).unwrap()..];
                rest.read(buffer)
            };
            let mut found = BTreeSet::new();
            scan(bytes.len() as u64, read, &secret, &mut found, || "here".to_owned());
            assert_eq!(found.len(), 1, "{at}");
        }
    }

    #[test]
    fn own_memory_is_told_from_what_is_shared() {
        assert_eq!(region("7f00-7f10 rw-p 00000000 00:00 0 [heap]"), Some((0x7f00, 0x7f10)));
        assert_eq!(region("7f00-7f10 r-xp 00000000 08:01 5 /bin/x"), None);
        assert_eq!(region("7f00-7f10 rw-s 00000000 00:05 5 /dev/nvidia0"), None);
        assert_eq!(region("nonsense"), None);
    }

    #[test]
    fn a_flag_has_its_value_behind_it_or_after_it() {
        let process =
            |arguments: &[&str]| Process { pid: 1, arguments: arguments.iter().map(|&a| a.to_owned()).collect() };
        assert_eq!(process(&["etcd", "--data-dir=/x"]).flag("--data-dir"), Some("/x"));
        assert_eq!(process(&["etcd", "--data-dir", "/x"]).flag("--data-dir"), Some("/x"));
        assert_eq!(process(&["etcd", "--data-dirs=/x"]).flag("--data-dir"), None);
        assert!(process(&["/usr/bin/kubelet"]).is("kubelet") && process(&["/x/kube", "kubelet"]).is("kubelet"));
    }
}
