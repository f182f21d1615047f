//! Running a program as another user: who that is, and taking on all of it or nothing.

use std::ffi::OsString;
use std::io;
use std::process::Command;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::error::Failure;

/// A user of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    name: Option<String>,
    uid: Uid,
    gid: Gid,
    /// All groups, the first one included, sorted.
    groups: Vec<Gid>,
    home: Option<String>,
}

impl User {
    /// The user called `said`, or of the number `UID`, or `UID:GID` as containers write it.
    ///
    /// `/etc/passwd` and `/etc/group` are read first: a static binary has no name service, and a container has nothing
    /// else. Users that stand elsewhere (LDAP) are asked of `getent`.
    ///
    /// # Errors
    /// If there is no such user.
    pub(crate) fn find(said: &str) -> Result<Self, Failure> {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
        if let Some(user) = look_up(said, &passwd, &groups) {
            return Ok(user);
        }
        if let Some(entry) = getent("passwd", said)
            && let Some(mut user) = look_up(said, &entry, &groups)
        {
            // `name gid gid …`
            let initial = getent("initgroups", user.name.as_deref().unwrap_or(said)).unwrap_or_default();
            user.groups.extend(initial.split_whitespace().skip(1).filter_map(|gid| gid.parse().ok()).map(gid_of));
            user.groups.sort_by_key(|gid| gid.as_raw());
            user.groups.dedup();
            return Ok(user);
        }
        numeric(said).ok_or_else(|| Failure::generic(format!("--user {said}: there is no such user")))
    }

    /// Its number.
    pub(crate) fn uid(&self) -> Uid {
        self.uid
    }

    /// Its first group's number.
    pub(crate) fn gid(&self) -> Gid {
        self.gid
    }

    /// The variables that go with being that user.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (OsString, OsString)> {
        let name = self.name.as_ref();
        [("HOME", self.home.as_ref()), ("USER", name), ("LOGNAME", name)]
            .into_iter()
            .filter_map(|(variable, value)| Some((variable.into(), value?.into())))
    }

    /// Makes the calling thread run as this user, for ever; what it starts does too. Credentials on Linux belong to threads,
    /// so the other threads of bulla keep theirs.
    ///
    /// All numbers are read back afterwards, from what the kernel says about the thread.
    ///
    /// # Errors
    /// If any of it could not be taken on. The thread must then start nothing.
    pub(crate) fn assume_on_this_thread(&self) -> io::Result<()> {
        if !self.is_assumed()? {
            set_thread_groups(&self.groups)?;
            set_thread_res_gid(self.gid, self.gid, self.gid)?;
            set_thread_res_uid(self.uid, self.uid, self.uid)?;
        }
        if self.is_assumed()? {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "the kernel did not give up every privilege"))
    }

    fn is_assumed(&self) -> io::Result<bool> {
        Ok(self.matches_status(&std::fs::read_to_string("/proc/thread-self/status")?))
    }

    /// Whether the lines of a `/proc/PID/status` are those of this user alone: the real, effective, saved and file system
    /// numbers, the groups, and no capability unless it is root.
    fn matches_status(&self, status: &str) -> bool {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(|line| line.split_whitespace().collect::<Vec<_>>())
        };
        let four = |name, number: u32| field(name).is_some_and(|is| is == vec![number.to_string(); 4]);
        let mut groups: Vec<u32> =
            field("Groups").into_iter().flatten().filter_map(|group| group.parse().ok()).collect();
        groups.sort_unstable();
        groups.dedup();
        // Whether the first group stands in the list makes no difference to what the process may do.
        let same_groups = groups.iter().all(|group| self.groups.contains(&gid_of(*group)))
            && self.groups.iter().all(|group| *group == self.gid || groups.contains(&group.as_raw()));
        let powerless = |name| field(name).is_some_and(|set| set.iter().all(|set| set.bytes().all(|b| b == b'0')));
        four("Uid", self.uid.as_raw())
            && four("Gid", self.gid.as_raw())
            && same_groups
            && (self.uid.is_root() || (powerless("CapPrm") && powerless("CapEff") && powerless("CapAmb")))
    }
}

/// Looks a name or a number up in the text of `/etc/passwd` and `/etc/group`.
fn look_up(said: &str, passwd: &str, group: &str) -> Option<User> {
    // NAME:PASSWORD:UID:GID:COMMENT:HOME:SHELL
    let fields = |line: &'_ str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let entries = || passwd.lines().map(fields).filter(|entry| entry.len() >= 6);
    let entry = entries().find(|entry| entry[0] == said).or_else(|| entries().find(|entry| entry[2] == said))?;
    let (uid, gid) = (entry[2].parse().ok()?, entry[3].parse().ok()?);
    if uid == u32::MAX || gid == u32::MAX {
        return None;
    }
    // NAME:PASSWORD:GID:MEMBER,MEMBER
    let member_of = group
        .lines()
        .map(fields)
        .filter(|group| group.len() >= 4 && group[3].split(',').any(|member| member == entry[0]));
    let mut groups: Vec<Gid> = member_of.filter_map(|group| group[2].parse().ok()).map(gid_of).collect();
    groups.push(gid_of(gid));
    groups.sort_by_key(|gid| gid.as_raw());
    groups.dedup();
    Some(User {
        name: Some(entry[0].clone()),
        uid: Uid::from_raw(uid),
        gid: gid_of(gid),
        groups,
        home: Some(entry[5].clone()).filter(|home| !home.is_empty()),
    })
}

/// `UID` or `UID:GID` of a user that has no name, as in containers. Without a GID it has the group of the same number.
fn numeric(said: &str) -> Option<User> {
    let (uid, gid) = said.split_once(':').unwrap_or((said, said));
    let (uid, gid): (u32, u32) = (uid.parse().ok()?, gid.parse().ok()?);
    // The kernel takes -1 for "leave it as it is".
    if uid == u32::MAX || gid == u32::MAX {
        return None;
    }
    Some(User { name: None, uid: Uid::from_raw(uid), gid: gid_of(gid), groups: vec![gid_of(gid)], home: None })
}

fn gid_of(number: u32) -> Gid {
    Gid::from_raw_unchecked(number)
}

fn getent(database: &str, key: &str) -> Option<String> {
    let output = Command::new("getent").arg("--").args([database, key]).output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).ok())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/srv/app:/bin/false\nbroken:x:1\n";
    const GROUP: &str = "root:x:0:\napp:x:1001:\nssl:x:50:other,app\nadm:x:4:other\n";

    #[test]
    fn a_user_has_its_own_groups_and_no_others() {
        let user = look_up("app", PASSWD, GROUP).unwrap();
        assert_eq!((user.uid.as_raw(), user.gid.as_raw()), (1000, 1001));
        assert_eq!(user.groups.iter().map(|gid| gid.as_raw()).collect::<Vec<_>>(), [50, 1001]);
        assert_eq!(look_up("1000", PASSWD, GROUP), Some(user));
        assert_eq!(look_up("broken", PASSWD, GROUP), None);
        assert_eq!(look_up("nobody-here", PASSWD, GROUP), None);
    }

    #[test]
    fn a_number_without_a_name_is_a_user_of_containers() {
        assert_eq!(numeric("4242:5").unwrap().gid.as_raw(), 5);
        assert_eq!(numeric("4242").unwrap().gid.as_raw(), 4242);
        for said in ["", "x", "-1", "4294967295", "1:4294967295", "1:2:3"] {
            assert_eq!(numeric(said), None, "{said}");
        }
    }

    #[test]
    fn a_status_with_anything_left_of_another_user_is_not_accepted() {
        let user = look_up("app", PASSWD, GROUP).unwrap();
        let good = "Uid:\t1000\t1000\t1000\t1000\nGid:\t1001\t1001\t1001\t1001\nGroups:\t50 1001 \n\
                    CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapAmb:\t0000000000000000\n";
        assert!(user.matches_status(good));
        assert!(user.matches_status(&good.replace("50 1001", "50")));
        for (from, to) in [
            ("1000\nGid", "0\nGid"),
            ("Gid:\t1001", "Gid:\t0"),
            ("50 1001", "0 50 1001"),
            ("50 1001", "1001"),
            ("CapEff:\t0", "CapEff:\t1"),
            ("CapPrm:\t0", "CapPrm:\t8"),
            ("CapAmb", "Other"),
        ] {
            assert!(!user.matches_status(&good.replace(from, to)), "{from} -> {to}");
        }
    }
}
