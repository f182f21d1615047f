//! File systems in memory: one for each volume, in no folder until it is whole.
//!
//! Made with the mount API of Linux 5.2 (`fsopen`, `fsmount`, `move_mount`): a file system is filled before anybody sees it, and one whose
//! maker dies is gone with it. On Linux 6.4 and later its pages never reach swap.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use super::protocol::Shape;
use super::server::Failure;

/// What the mount table shows as the file systems' source.
pub(super) const SOURCE: &str = "bulla";

/// One that is not mounted yet.
pub(super) struct Made {
    /// What is moved to the place.
    pub(super) mount: OwnedFd,
    /// Whether its pages stay out of swap.
    pub(super) noswap: bool,
}

/// Makes one whose root belongs to this user.
pub(super) fn make(shape: &Shape, user: u32) -> Result<Made, Failure> {
    static KERNEL_HAS_NOSWAP: AtomicBool = AtomicBool::new(true);
    let failed = |what: &'static str| move |error: Errno| Failure::of(error, what);
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("making a file system in memory"))?;
    let set = |key: &'static str, value: String| {
        fsconfig_set_string(&context, key, value)
            .map_err(|error| Failure::of(error, &format!("setting {key} of a file system")))
    };
    set("source", SOURCE.to_owned())?;
    set("size", shape.bytes.to_string())?;
    set("nr_inodes", shape.files.to_string())?;
    set("uid", user.to_string())?;
    if let Some(group) = shape.group {
        set("gid", group.to_string())?;
    }
    // With the group's bit what is made in it has the group too.
    set("mode", if shape.group.is_some() { "2755" } else { "0755" }.to_owned())?;
    let noswap = KERNEL_HAS_NOSWAP.load(Ordering::Relaxed) && fsconfig_set_flag(&context, "noswap").is_ok();
    KERNEL_HAS_NOSWAP.store(noswap, Ordering::Relaxed);
    fsconfig_create(&context).map_err(failed("making a file system in memory"))?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(failed("making a file system in memory"))?;
    Ok(Made { mount, noswap })
}

/// The root folder of what is mounted, to work in it.
pub(super) fn root(mount: &OwnedFd) -> Result<OwnedFd, Failure> {
    openat(mount, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| Failure::of(error, "opening the root of a file system"))
}
