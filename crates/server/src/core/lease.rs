//! Leases: secrets that engines gave out and take back. (A token's end is its own; see [`super::token`].)
//!
//! ```text
//! sys/lease/ID                      the lease, under hidden names: its id is a path
//! sys/expire/lease/HASH             its id             HASH = hex of SHA-256 of the id
//! sys/expire/of/TOKEN/HASH          nothing: the token with the hash TOKEN has it
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::expiry::{Index, Subject};
use super::{hex, now_millis, now_nanos, random};
use crate::barrier::{Barrier, View};
use crate::logical::Result;
use crate::storage::MAX_KEY;

/// After so many failures nobody tries to take a lease back by itself any more.
pub const ATTEMPTS: u32 = 6;

/// A lease.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Lease {
    /// Its id: the path that made it, and a random name.
    pub id: String,
    /// The path of the mount that made it.
    pub mount: String,
    /// The hash of the token that has it; none for a batch token.
    pub token: Option<String>,
    /// When it was made, in nanoseconds since 1970.
    pub issued: i64,
    /// When it was renewed last; 0: never.
    pub renewed: i64,
    /// When it ends, in milliseconds since 1970.
    pub expires: i64,
    /// No renewal goes beyond, in milliseconds since 1970.
    pub latest: i64,
    /// Whether it can be renewed.
    pub renewable: bool,
    /// What the engine needs.
    pub internal: BTreeMap<String, String>,
    /// How often taking it back has failed.
    pub attempts: u32,
    /// Why it failed last.
    pub error: String,
}

impl Lease {
    /// The seconds it has left.
    pub fn seconds_left(&self) -> i64 {
        ((self.expires - now_millis()) / 1000).max(0)
    }

    /// Whether nobody tries to take it back any more.
    pub const fn is_irrevocable(&self) -> bool {
        self.attempts >= ATTEMPTS
    }
}

/// All leases.
pub struct Leases {
    leases: View,
    index: View,
}

impl Leases {
    /// The leases in `barrier`.
    pub fn new(barrier: &Arc<Barrier>) -> Self {
        Self { leases: View::hidden(barrier, "sys/lease/"), index: View::plain(barrier, "sys/expire/") }
    }

    /// Makes a lease of what `path` gave out.
    pub async fn make(&self, path: &str, mut lease: Lease, expiry: &Index) -> Result<Lease> {
        lease.id = format!("{}/{}", path.trim_end_matches('/'), random::text(24)?);
        lease.issued = now_nanos();
        let hash = hash(&lease.id);
        let mut transaction = self.leases.begin();
        transaction.write(&self.leases, &lease.id, &lease)?;
        transaction.put(&self.index, &format!("lease/{hash}"), lease.id.as_bytes())?;
        if let Some(token) = &lease.token {
            transaction.put(&self.index, &format!("of/{token}/{hash}"), b"")?;
        }
        expiry.set(&mut transaction, &Subject::Lease(hash), 0, lease.expires)?;
        transaction.commit().await?;
        expiry.wake(lease.expires);
        Ok(lease)
    }

    /// The lease with this id.
    pub async fn find(&self, id: &str) -> Result<Option<Lease>> {
        // One that is longer than a key cannot be there.
        if id.is_empty() || id.ends_with('/') || id.len() > MAX_KEY {
            Ok(None)
        } else {
            Ok(self.leases.read(id).await?)
        }
    }

    /// The id of the lease with this hash of its id.
    pub async fn id(&self, hash: &str) -> Result<Option<String>> {
        let id = self.index.get(&format!("lease/{hash}")).await?;
        Ok(id.map(|id| String::from_utf8_lossy(&id).into_owned()))
    }

    /// The ids of the leases that a token has, some at a time.
    pub async fn of_token(&self, token: &str, limit: usize) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        for hash in self.index.list(&format!("of/{token}/"), "", limit).await? {
            match self.id(&hash).await? {
                Some(id) => ids.push(id),
                // A stray: nothing is left of the lease.
                None => self.index.delete(&format!("of/{token}/{hash}")).await?,
            }
        }
        Ok(ids)
    }

    /// The first `limit` names below a prefix, behind the name `after`.
    pub async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>> {
        Ok(self.leases.list(prefix, after, limit).await?)
    }

    /// All ids below a prefix.
    pub async fn below(&self, prefix: &str) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        let mut folders = vec![prefix.to_owned()];
        while let Some(folder) = folders.pop() {
            for name in self.leases.list(&folder, "", 0).await? {
                let path = format!("{folder}{name}");
                if name.ends_with('/') { folders.push(path) } else { ids.push(path) }
            }
        }
        Ok(ids)
    }

    /// Changes a lease; none if it is gone.
    pub async fn change(
        &self,
        id: &str,
        expiry: &Index,
        change: impl Fn(&mut Lease) + Send + Sync,
    ) -> Result<Option<Lease>> {
        let mut attempt = 0;
        loop {
            let mut transaction = self.leases.begin();
            let Some(mut lease) = transaction.read::<Lease>(&self.leases, id).await? else { return Ok(None) };
            let before = if lease.is_irrevocable() { 0 } else { lease.expires };
            change(&mut lease);
            transaction.write(&self.leases, id, &lease)?;
            // What is irrevocable waits for a person, not in the way of the others.
            let after = if lease.is_irrevocable() { 0 } else { lease.expires };
            expiry.set(&mut transaction, &Subject::Lease(hash(id)), before, after)?;
            if transaction.try_commit(&mut attempt).await? {
                expiry.wake(after);
                return Ok(Some(lease));
            }
        }
    }

    /// Deletes a lease that has been taken back.
    pub async fn bury(&self, lease: &Lease, expiry: &Index) -> Result<()> {
        let hash = hash(&lease.id);
        let mut attempt = 0;
        loop {
            let mut transaction = self.leases.begin();
            let Some(now) = transaction.read::<Lease>(&self.leases, &lease.id).await? else { return Ok(()) };
            transaction.delete(&self.leases, &lease.id)?;
            transaction.delete(&self.index, &format!("lease/{hash}"))?;
            if let Some(token) = &now.token {
                transaction.delete(&self.index, &format!("of/{token}/{hash}"))?;
            }
            expiry.set(&mut transaction, &Subject::Lease(hash.clone()), now.expires, 0)?;
            if transaction.try_commit(&mut attempt).await? {
                return Ok(());
            }
        }
    }
}

fn hash(id: &str) -> String {
    hex(digest::digest(&digest::SHA256, id.as_bytes()).as_ref())
}
