//! The look into the places where a secret can be: byte for byte, in every form it has there.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use zeroize::Zeroizing;

use crate::error::Failure;
use crate::git::repository::Repository;

/// Files past this size are no settings.
const LARGEST: u64 = 64 << 20;
/// How deep temporary folders are looked through.
const DEPTH: usize = 3;

/// Where a secret can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Any object of the repository, reachable or not.
    Git,
    /// Any file below the working folder, and new files where temporary ones go.
    Disk,
    /// `/proc/PID/environ` of the program and of bulla.
    Environment,
    /// `/proc/PID/cmdline` of the program and of bulla.
    CommandLine,
    /// Any object of a cluster, as its API gives it to an administrator.
    Api,
    /// etcd's files.
    Etcd,
    /// Any file of a node that changed, but those of the pod.
    NodeFiles,
    /// The memory of any process of a node, but those of the pod.
    OtherMemory,
    /// The files of the one pod's volumes, which are memory.
    PodFiles,
    /// The memory of the one pod's processes.
    PodMemory,
}

impl Place {
    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Git => "Git, whole history",
            Self::Disk => "disk",
            Self::Environment => "/proc/PID/environ",
            Self::CommandLine => "command lines",
            Self::Api => "API, every object",
            Self::Etcd => "etcd's files",
            Self::NodeFiles => "the node's files",
            Self::OtherMemory => "others' memory",
            Self::PodFiles => "the pod's volume",
            Self::PodMemory => "the pod's memory",
        }
    }

    /// For programs.
    pub(super) fn id(self) -> &'static str {
        match self {
            Self::Git => "git",
            Self::Disk => "disk",
            Self::Environment => "environ",
            Self::CommandLine => "argv",
            Self::Api => "api",
            Self::Etcd => "etcd",
            Self::NodeFiles => "node-files",
            Self::OtherMemory => "other-memory",
            Self::PodFiles => "pod-volume",
            Self::PodMemory => "pod-memory",
        }
    }
}

/// A secret and the forms it can have.
pub(super) struct Secret {
    name: &'static str,
    value: String,
    forms: Vec<Vec<u8>>,
}

impl Secret {
    /// A secret, by a name that may be shown.
    pub(super) fn new(name: &'static str, value: &str) -> Self {
        let mut forms = vec![value.as_bytes().to_vec()];
        // In base64 it looks different for each of three places it can begin at in a longer text; the characters at the seams
        // depend on the neighbours and are left out.
        for offset in 0..3 {
            let padded = [vec![0; offset], value.as_bytes().to_vec()].concat();
            let encoded = BASE64_STANDARD_NO_PAD.encode(padded);
            let start = (offset * 4).div_ceil(3);
            let end = encoded.len() - usize::from(!(offset + value.len()).is_multiple_of(3));
            forms.push(encoded.as_bytes()[start..end].to_vec());
        }
        forms.push(value.bytes().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes());
        Self { name, value: value.to_owned(), forms }
    }

    /// The value itself.
    pub(super) fn value(&self) -> &str {
        &self.value
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        self.forms.iter().any(|form| memchr::memmem::find(bytes, form).is_some())
    }
}

/// What was seen in a place.
#[derive(Debug)]
pub(super) struct Look {
    /// Where.
    pub(super) place: Place,
    /// How much was looked at: `17 objects`.
    pub(super) looked: String,
    /// Which secret was where: `DB_PASSWORD in .env`.
    pub(super) found: BTreeSet<String>,
}

/// Looks into every object of the repository that `folder` is in.
///
/// # Errors
/// If git fails.
pub(super) fn into_git(folder: &Path, secrets: &[Secret]) -> Result<Look, Failure> {
    let mut objects = 0;
    let mut found = BTreeSet::new();
    Repository::at(folder)?.all_objects(|name, bytes| {
        objects += 1;
        note(&mut found, secrets, bytes, || format!("object {}", &name[..name.len().min(10)]));
    })?;
    Ok(Look { place: Place::Git, looked: format!("{objects} objects"), found })
}

/// When a file or a folder was last changed, by the clock of its file system, which nobody can set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(i64, i64);

impl Moment {
    /// That of the file at `path`.
    ///
    /// # Errors
    /// If it cannot be asked for.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        fs::symlink_metadata(path).map(|metadata| Self(metadata.ctime(), metadata.ctime_nsec()))
    }
}

/// Looks into every file below `top`, and where temporary files go into those that were changed since the journey began. (What was there
/// before is not what it left: a copy of this very program has the example in it.)
///
/// # Errors
/// If a folder cannot be read.
pub(super) fn onto_disk(top: &Path, began: Moment, secrets: &[Secret]) -> Result<Look, Failure> {
    let mut files = 0;
    let mut found = BTreeSet::new();
    let mut look = |path: &Path| {
        // Pipes are not read: they hold nothing on disk, and who reads one takes its contents.
        let Ok(metadata) = fs::symlink_metadata(path) else { return };
        if metadata.is_file()
            && metadata.len() <= LARGEST
            && let Ok(bytes) = fs::read(path).map(Zeroizing::new)
        {
            files += 1;
            note(&mut found, secrets, &bytes, || path.strip_prefix(top).unwrap_or(path).display().to_string());
        }
    };
    for entry in walkdir::WalkDir::new(top) {
        let entry =
            entry.map_err(|error| Failure::generic(format!("cannot look through {}: {error}", top.display())))?;
        look(entry.path());
    }
    for folder in temporary_folders() {
        let is_new = |path: &Path| Moment::of(path).is_ok_and(|changed| changed >= began);
        let is_of_another_run = |entry: &walkdir::DirEntry| {
            entry.file_name().to_string_lossy().starts_with(super::FOLDER) && !top.starts_with(entry.path())
        };
        // Deeper than this only below folders that are new themselves: others may have a lot there.
        let within =
            |entry: &walkdir::DirEntry| (entry.depth() <= DEPTH || is_new(entry.path())) && !is_of_another_run(entry);
        for entry in walkdir::WalkDir::new(&folder).into_iter().filter_entry(within).filter_map(Result::ok) {
            if !entry.path().starts_with(top) && is_new(entry.path()) {
                look(entry.path());
            }
        }
    }
    Ok(Look { place: Place::Disk, looked: format!("{files} files"), found })
}

/// Looks into the environments that processes were started with.
pub(super) fn into_environments(processes: &[u32], secrets: &[Secret]) -> Look {
    into_proc(Place::Environment, "environ", processes, secrets)
}

/// Looks into the command lines of processes.
pub(super) fn into_command_lines(processes: &[u32], secrets: &[Secret]) -> Look {
    into_proc(Place::CommandLine, "cmdline", processes, secrets)
}

fn into_proc(place: Place, file: &str, processes: &[u32], secrets: &[Secret]) -> Look {
    let (mut read, mut closed) = (0, 0);
    let mut found = BTreeSet::new();
    for pid in processes {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        match fs::read(format!("/proc/{pid}/{file}")).map(Zeroizing::new) {
            Ok(bytes) => {
                read += 1;
                note(&mut found, secrets, &bytes, || format!("process {}", name.trim_end()));
            }
            // bulla itself is closed to other processes of the same user.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => closed += 1,
            Err(_) => {}
        }
    }
    let looked = match closed {
        0 => format!("{read} processes"),
        // Not even open to look.
        _ => format!("{read} open, {closed} closed"),
    };
    Look { place, looked, found }
}

/// Notes which secrets are in `bytes`, which is what `place` says.
pub(super) fn note(found: &mut BTreeSet<String>, secrets: &[Secret], bytes: &[u8], place: impl Fn() -> String) {
    for secret in secrets.iter().filter(|secret| secret.is_in(bytes)) {
        found.insert(format!("{} in {}", secret.name, place()));
    }
}

fn temporary_folders() -> BTreeSet<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let fixed = ["/dev/shm", "/var/tmp"].map(PathBuf::from);
    [std::env::temp_dir()].into_iter().chain(runtime).chain(fixed).collect()
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    #[test]
    fn a_secret_is_found_in_base64_wherever_it_begins_and_ends() {
        let secret = Secret::new("X", "hunter2-hunter2");
        for before in ["", "a", "ab", "abc"] {
            for after in ["", "x", "xy", "xyz"] {
                let text = BASE64_STANDARD.encode(format!("{before}hunter2-hunter2{after}"));
                assert!(secret.is_in(text.as_bytes()), "{before:?} {after:?}");
            }
        }
        assert!(secret.is_in(b"url://u:hunter2-hunter2@h"));
        assert!(!secret.is_in(BASE64_STANDARD.encode("hunter3-hunter2").as_bytes()));
        assert!(!secret.is_in(b"hunter"));
    }
}
