//! What is known of an entry.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::core::{now_nanos, time_text};
use crate::json::Object;
use crate::logical::format_go;

/// How many versions are kept where nobody says.
const KEPT: u64 = 10;

/// Settings of a mount.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    pub max_versions: u64,
    pub cas_required: bool,
    pub needs_meta_cas: bool,
    /// Seconds; 0: not set, less: versions are never deleted by themselves.
    pub delete_after: i64,
}

/// An entry.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    pub current: u64,
    pub oldest: u64,
    /// Nanoseconds since 1970.
    pub created: i64,
    pub updated: i64,
    pub max_versions: u64,
    pub cas_required: bool,
    pub needs_meta_cas: bool,
    pub delete_after: i64,
    pub custom: BTreeMap<String, String>,
    /// How often the metadata was written.
    pub revision: u64,
    pub versions: BTreeMap<u64, Version>,
}

/// A version.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Version {
    /// Nanoseconds since 1970.
    pub created: i64,
    /// When it is or was deleted; 0: never.
    pub deleted: i64,
    pub destroyed: bool,
}

impl Meta {
    /// A new entry.
    pub fn made_now() -> Self {
        let now = now_nanos();
        Self { created: now, updated: now, ..Self::default() }
    }

    /// Adds a version; gives its number, and those that are kept no longer.
    pub fn add(&mut self, config: &Config) -> (u64, Vec<u64>) {
        let now = now_nanos();
        self.current += 1;
        let after = match (self.delete_after, config.delete_after) {
            (_, i64::MIN..=-1) => 0,
            (own @ 1.., mount @ 1..) => own.min(mount),
            (own, mount) => own.max(mount).max(0),
        };
        let deleted = if after > 0 { now.saturating_add(after.saturating_mul(1_000_000_000)) } else { 0 };
        self.versions.insert(self.current, Version { created: now, deleted, destroyed: false });
        self.updated = now;
        (self.current, self.prune(config))
    }

    fn prune(&mut self, config: &Config) -> Vec<u64> {
        // The more generous of the two.
        let kept = match self.max_versions.max(config.max_versions) {
            0 => KEPT,
            kept => kept,
        };
        let mut gone = Vec::new();
        while self.versions.len() as u64 > kept
            && let Some((version, _)) = self.versions.pop_first()
        {
            gone.push(version);
        }
        if !gone.is_empty() {
            self.oldest = self.versions.keys().next().copied().unwrap_or(self.current);
        }
        gone
    }

    /// For `metadata/`.
    pub fn shown(&self) -> Object {
        let versions: Object =
            self.versions.iter().map(|(number, version)| (number.to_string(), version.shown().into())).collect();
        object! {
            "cas_required": self.cas_required,
            "created_time": time_text(self.created),
            "current_metadata_version": self.revision,
            "current_version": self.current,
            "custom_metadata": super::text_map(&self.custom),
            "delete_version_after": format_go(self.delete_after),
            "max_versions": self.max_versions,
            "metadata_cas_required": self.needs_meta_cas,
            "oldest_version": self.oldest,
            "updated_time": time_text(self.updated),
            "versions": versions,
        }
    }

    /// For answers on `data/`.
    pub fn shown_version(&self, number: u64, version: &Version) -> Object {
        let mut shown = version.shown();
        shown.insert("version".to_owned(), number.into());
        shown.insert("custom_metadata".to_owned(), super::text_map(&self.custom));
        shown
    }
}

impl Version {
    /// Whether its contents are not given.
    pub fn is_gone(&self) -> bool {
        self.destroyed || self.deleted != 0 && self.deleted <= now_nanos()
    }

    fn shown(&self) -> Object {
        let deleted = if self.deleted == 0 { String::new() } else { time_text(self.deleted) };
        object! { "created_time": time_text(self.created), "deletion_time": deleted, "destroyed": self.destroyed }
    }
}
