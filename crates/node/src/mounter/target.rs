//! Where the kubelet has volumes: the only places where anything is ever mounted.
//!
//! `<pods>/<uid>/volumes/kubernetes.io~csi/<volume>/mount`. The kubelet makes all of it but the last folder. The place comes by way of
//! the half of the service that talks to the world, so it is looked up without following any link and without leaving the pods' folder
//! (`openat2` with `RESOLVE_BENEATH`, `RESOLVE_NO_SYMLINKS`): a place cannot be moved between the check and the mount.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;

use super::server::Failure;

/// A place that has the kubelet's form, relative to the folder of all pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target(PathBuf);

/// The last part of each.
const MOUNT: &str = "mount";

impl Target {
    /// Checks the form.
    ///
    /// # Errors
    /// [`Failure`] of kind `Refused` if it has another one.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let path = Path::new(text);
        let parts: Vec<&OsStr> = path
            .components()
            .map(|part| match part {
                Component::Normal(part) => Some(part),
                _ => None,
            })
            .collect::<Option<_>>()
            .unwrap_or_default();
        let [_, volumes, plugin, _, mount] = parts.as_slice() else {
            return Err(Failure::refused(format!("{text:?} is no place of a volume below the pods' folder")));
        };
        // Components hide doubled slashes and dots; the text must be the path, no other way to write it.
        let is_plain = path.components().collect::<PathBuf>().as_os_str() == path.as_os_str();
        if *volumes == "volumes" && *plugin == "kubernetes.io~csi" && *mount == MOUNT && is_plain && text.len() <= 4096
        {
            Ok(Self(path.to_owned()))
        } else {
            Err(Failure::refused(format!("{text:?} is no place of a CSI volume")))
        }
    }

    /// As it was given.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The folder above the place, which the kubelet made.
    pub(super) fn parent(&self, pods: impl AsFd) -> Result<OwnedFd, Failure> {
        let parent = self.0.parent().unwrap_or_else(|| Path::new(""));
        open(pods, parent).map_err(|error| Failure::of(error, &format!("opening {}", parent.display())))
    }

    /// The place itself, made if it is not there.
    pub(super) fn make(&self, pods: impl AsFd) -> Result<OwnedFd, Failure> {
        let parent = self.parent(pods)?;
        match mkdirat(&parent, MOUNT, Mode::from_raw_mode(0o750)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(Failure::of(error, &format!("making {}", self.0.display()))),
        }
        open(&parent, Path::new(MOUNT)).map_err(|error| Failure::of(error, &format!("opening {}", self.0.display())))
    }

    /// What is at the place now: the mounted root, or the bare folder.
    pub(super) fn open(&self, pods: impl AsFd) -> Result<OwnedFd, Failure> {
        open(pods, &self.0).map_err(|error| Failure::of(error, &format!("opening {}", self.0.display())))
    }
}

/// A folder below another one, without links. Mounts are crossed: pods' folders may be mounts, and the place itself is one.
pub(super) fn open(folder: impl AsFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // EAGAIN: something on the way was renamed meanwhile. It settles.
    for _ in 0..8 {
        match openat2(&folder, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kubelets_form_is_a_place() {
        let good = "0c9e-uid/volumes/kubernetes.io~csi/secrets/mount";
        assert!(Target::parse(good).is_ok());
        for bad in [
            "",
            "/0c9e-uid/volumes/kubernetes.io~csi/secrets/mount",
            "../x/volumes/kubernetes.io~csi/secrets/mount",
            "0c9e-uid/volumes/kubernetes.io~csi/../mount",
            "0c9e-uid/volumes/kubernetes.io~csi/./mount",
            "0c9e-uid//volumes/kubernetes.io~csi/secrets/mount",
            "0c9e-uid/volumes/kubernetes.io~csi/secrets/mount/",
            "0c9e-uid/volumes/kubernetes.io~csi/secrets/other",
            "0c9e-uid/volumes/kubernetes.io~secret/secrets/mount",
            "0c9e-uid/volumes/kubernetes.io~csi/secrets",
            "0c9e-uid/volumes/kubernetes.io~csi/a/b/mount",
            "0c9e-uid/volume-subpaths/kubernetes.io~csi/secrets/mount",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }
}
