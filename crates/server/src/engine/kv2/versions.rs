//! Deleting, bringing back and destroying versions.

use super::meta::{Meta, Version};
use super::{Kv2, entry_path, meta_key, version_key};
use crate::core::now_nanos;
use crate::logical::{Call, Error, Response, Result};

impl Kv2 {
    pub(super) async fn delete_newest(&self, call: &Call<'_>) -> Result<Response> {
        self.change(call, |meta| vec![meta.current], delete).await
    }

    pub(super) async fn delete_versions(&self, call: &Call<'_>) -> Result<Response> {
        let versions = versions(call, "No version number provided")?;
        self.change(call, |_| versions.clone(), delete).await
    }

    pub(super) async fn undelete_versions(&self, call: &Call<'_>) -> Result<Response> {
        let versions = versions(call, "No version number provided")?;
        let undelete = |version: &mut Version| {
            if !version.destroyed {
                version.deleted = 0;
            }
            Contents::Stay
        };
        self.change(call, |_| versions.clone(), undelete).await
    }

    pub(super) async fn destroy_versions(&self, call: &Call<'_>) -> Result<Response> {
        let versions = versions(call, "no version number provided")?;
        let destroy = |version: &mut Version| {
            version.destroyed = true;
            Contents::Go
        };
        self.change(call, |_| versions.clone(), destroy).await
    }

    /// Changes some versions of an entry. Those that are not there are passed over, and so is an entry that is not there.
    async fn change(
        &self,
        call: &Call<'_>,
        which: impl Fn(&Meta) -> Vec<u64> + Send + Sync,
        change: impl Fn(&mut Version) -> Contents + Send + Sync,
    ) -> Result<Response> {
        // In a folder's place there is no entry.
        let Ok(path) = entry_path(call) else { return Ok(Response::empty()) };
        let (key, mut attempt) = (meta_key(path), 0);
        loop {
            let mut transaction = call.storage.begin();
            let Some(mut meta) = transaction.read::<Meta>(call.storage, &key).await? else {
                return Ok(Response::empty());
            };
            for number in which(&meta) {
                if let Some(version) = meta.versions.get_mut(&number)
                    && change(version) == Contents::Go
                {
                    transaction.delete(call.storage, &version_key(path, number))?;
                }
            }
            transaction.write(call.storage, &key, &meta)?;
            if transaction.try_commit(&mut attempt).await? {
                return Ok(Response::empty());
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Contents {
    Stay,
    Go,
}

fn delete(version: &mut Version) -> Contents {
    if !version.is_gone() {
        version.deleted = now_nanos();
    }
    Contents::Stay
}

fn versions(call: &Call<'_>, none: &str) -> Result<Vec<u64>> {
    let versions = call.input.ints("versions")?.unwrap_or_default();
    if versions.is_empty() {
        return Err(Error::bad_request(none));
    }
    Ok(versions.into_iter().filter_map(|version| u64::try_from(version).ok()).collect())
}
