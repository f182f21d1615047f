//! Where what was rendered goes: a file that is replaced whole.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bulla_core::file::{self, Fresh, NewMode, check_replaceable, replace_as};

use rustix::fs::OFlags;

use super::functions::ExtraFile;
use crate::config::TemplateConfig;
use crate::owner::id;

/// The mode of a file that was not there, where nobody says.
const MODE: u32 = 0o644;
/// The largest file that is looked at before it is replaced.
const LONGEST: u64 = 64 << 20;

/// Whether a file was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It is new, or other than before.
    Yes,
    /// It was so already.
    Unchanged,
}

/// Writes a template's file, if it is not so already.
///
/// # Errors
/// Why not, without contents.
pub(super) fn write(template: &TemplateConfig, contents: &[u8]) -> Result<Written, String> {
    let path = &template.destination;
    let no_place = |error: io::Error| format!("cannot replace {}: {error}", path.display());
    check_replaceable(path).map_err(no_place)?;
    make_folders(path, template.create_dest_dirs)?;
    let user = id(template.user.as_deref(), "passwd")?;
    let group = id(template.group.as_deref(), "group")?;
    // Whoever may write to the folder may have put something there: neither a link nor a stranger's file says who is to read this one.
    let is_trusted = |owner: u32| owner == 0 || owner == rustix::process::geteuid().as_raw() || Some(owner) == user;
    let there = fs::symlink_metadata(path).ok();
    let there = there.filter(|there| there.is_file() && is_trusted(there.uid()));
    let has_owner = |there: &fs::Metadata| {
        user.is_none_or(|user| user == there.uid()) && group.is_none_or(|group| group == there.gid())
    };
    if let Some(there) = &there
        && has_owner(there)
        && template.perms.is_none_or(|perms| perms == there.permissions().mode() & 0o7777)
        && there.len() == contents.len() as u64
        && file::read_regular(path, LONGEST).is_ok_and(|before| before.expose() == contents)
    {
        return Ok(Written::Unchanged);
    }
    let mode = template.perms.or(there.as_ref().map(|there| there.permissions().mode() & 0o7777)).unwrap_or(MODE);
    if template.backup && there.is_some() {
        keep_before(path);
    }
    let fresh = Fresh { mode: NewMode::Exactly(mode), user, group };
    // Where there was a file its owner stays, if that can be.
    let kept = there.as_ref().filter(|_| user.is_none() && group.is_none());
    let kept = kept.map(|there| Fresh { user: Some(there.uid()), group: Some(there.gid()), ..fresh });
    if let Some(kept) = kept
        && replace_as(path, contents, kept).is_ok()
    {
        return Ok(Written::Yes);
    }
    replace_as(path, contents, fresh).map_err(|error| error.to_string())?;
    Ok(Written::Yes)
}

/// Writes what `writeToFile` was given.
///
/// # Errors
/// Why not, without contents.
pub(super) fn write_extra(extra: &ExtraFile) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("writeToFile: {}: {error}", extra.path.display());
    let name = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let user = id(name(&extra.user).as_deref(), "passwd")?;
    let group = id(name(&extra.group).as_deref(), "group")?;
    if !extra.append {
        make_folders(&extra.path, true)?;
        let fresh = Fresh { mode: NewMode::Exactly(extra.mode), user, group };
        return replace_as(&extra.path, extra.contents.expose(), fresh).map_err(|error| failed(&error));
    }
    let append = || -> io::Result<()> {
        // Not through a link, nor to a pipe that somebody reads, nor into a file that has another name.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut open = fs::OpenOptions::new();
        open.append(true).create(true).mode(extra.mode & 0o600).custom_flags(flags.bits().cast_signed());
        let mut file = open.open(&extra.path)?;
        let there = file.metadata()?;
        if !there.is_file() || there.nlink() != 1 {
            return Err(io::Error::other("it is no file of its own"));
        }
        std::os::unix::fs::fchown(&file, user, group)?;
        file.set_permissions(fs::Permissions::from_mode(extra.mode))?;
        io::Write::write_all(&mut file, extra.contents.expose())
    };
    append().map_err(|error| failed(&error))
}

fn make_folders(path: &Path, wanted: bool) -> Result<(), String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let Some(folder) = folder.filter(|folder| !folder.exists()) else { return Ok(()) };
    if !wanted {
        return Err(format!("there is no folder {}, and create_dest_dirs is false", folder.display()));
    }
    let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(folder);
    made.map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))
}

/// The file as it is gets a second name, `.bak`.
fn keep_before(path: &Path) {
    let beside = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let (backup, new) = (beside(".bak"), beside(".new.bak"));
    let _ = fs::remove_file(&new);
    if let Err(error) = fs::hard_link(path, &new).and_then(|()| fs::rename(&new, &backup)) {
        tracing::warn!(%error, path = %path.display(), "the file before is not kept");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config;

    fn template(destination: &Path, more: &str) -> TemplateConfig {
        let text = format!(
            "auto_auth {{ method \"token_file\" {{ config = {{ token_file_path = \"/t\" }} }} }}\ntemplate {{ contents = \"x\" destination = \"{}\"\n{more} }}",
            destination.display()
        );
        config::parse(&text).unwrap().templates.remove(0)
    }

    #[test]
    fn what_is_no_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        fs::create_dir(path("folder")).unwrap();
        std::os::unix::fs::symlink("/dev/null", path("link")).unwrap();
        for (name, why) in [
            ("pipe", "a pipe or a device"),
            ("link", "a pipe or a device"),
            ("folder", "it is a folder"),
            ("link/x", "Not a directory"),
        ] {
            let error = write(&template(&path(name), ""), b"1").unwrap_err();
            assert!(error.contains(why) && error.contains(name), "{error}");
            assert!(write_extra(&extra(&path(name), 0o600)).is_err(), "{name}");
        }
        assert!(write(&template(Path::new("/dev/null"), ""), b"1").is_err());
    }

    #[test]
    fn a_file_keeps_its_mode_unless_another_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/x");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert!(write(&template(&path, "create_dest_dirs = false"), b"1").unwrap_err().contains("no folder"));
        assert_eq!(write(&template(&path, ""), b"1").unwrap(), Written::Yes);
        assert_eq!(mode(), 0o644);
        assert_eq!(write(&template(&path, ""), b"1").unwrap(), Written::Unchanged);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(write(&template(&path, "backup = true"), b"2").unwrap(), Written::Yes);
        assert_eq!((mode(), fs::read(folder.path().join("a/b/x.bak")).unwrap()), (0o600, b"1".to_vec()));
        assert_eq!(write(&template(&path, "perms = \"0440\""), b"3").unwrap(), Written::Yes);
        assert_eq!((mode(), fs::read(&path).unwrap()), (0o440, b"3".to_vec()));
        assert!(write(&template(&path, "user = \"nobody-here\""), b"4").unwrap_err().contains("/etc/passwd"));
        assert_eq!(fs::read(&path).unwrap(), b"3");
    }

    #[test]
    fn a_mode_that_is_asked_for_comes_back_and_a_link_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("x"), folder.path().join("y"));
        let mode = || fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777;
        let private = template(&path, "perms = \"0400\"");
        write(&private, b"1").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(write(&private, b"1").unwrap(), Written::Yes);
        assert_eq!((mode(), write(&private, b"1").unwrap()), (0o400, Written::Unchanged));
        fs::remove_file(&path).unwrap();
        write_extra(&extra(&other, 0o666)).unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert_eq!(write(&template(&path, ""), b"a\n").unwrap(), Written::Yes);
        assert_eq!((mode(), fs::read(&path).unwrap()), (MODE, b"a\n".to_vec()));
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn nothing_is_appended_through_a_link_or_to_a_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        write_extra(&extra(&path("real"), 0o600)).unwrap();
        std::os::unix::fs::symlink(path("real"), path("link")).unwrap();
        fs::hard_link(path("real"), path("twin")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        for name in ["link", "twin", "pipe"] {
            let appended = ExtraFile { append: true, ..extra(&path(name), 0o600) };
            assert!(write_extra(&appended).is_err(), "{name}");
        }
        assert_eq!(fs::read(path("real")).unwrap(), b"a\n");
    }

    fn extra(path: &Path, mode: u32) -> ExtraFile {
        let (user, group) = (String::new(), String::new());
        ExtraFile { path: path.to_owned(), user, group, mode, contents: "a\n".into(), append: false }
    }

    #[test]
    fn a_second_file_is_written_whole_or_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let mut extra = extra(&folder.path().join("c/y"), 0o640);
        write_extra(&extra).unwrap();
        extra.append = true;
        write_extra(&extra).unwrap();
        assert_eq!(fs::read(&extra.path).unwrap(), b"a\na\n");
        assert_eq!(fs::metadata(&extra.path).unwrap().permissions().mode() & 0o7777, 0o640);
        extra.append = false;
        write_extra(&extra).unwrap();
        assert_eq!(fs::read(&extra.path).unwrap(), b"a\n");
    }
}
