//! The first steps of a storage, which can be taken again: until the seal's record is written, which is the last of them, nobody has a key to what
//! is there, nor was anybody served. An audit device that cannot be opened, a process that is killed: the next initialization begins anew.

use std::sync::Arc;

use bulla_core::DataKey;

use crate::barrier::{Barrier, BarrierError, KEYRING};
use crate::logical::{Error, Result};
use crate::seal::Shares;
use crate::storage::{Batch, Storage};

/// What tells a keyring that was begun here from one whose seal's record is lost. Written with the keyring, deleted with the seal's record.
pub(super) const BEGUN: &str = "core/initializing";

/// Makes a keyring, in place of what an initialization left that did not come to its end.
///
/// # Errors
/// 400 if there is a keyring of which nobody knows that.
pub(super) async fn make_barrier(storage: &Arc<dyn Storage>, root_key: &DataKey, shares: Shares) -> Result<Barrier> {
    let make = || {
        let begun = Batch { conditions: Vec::new(), writes: vec![(BEGUN.to_owned(), Some(b"1".to_vec()))] };
        Barrier::initialize_with(Arc::clone(storage), root_key.clone(), shares, begun)
    };
    match make().await {
        Err(error) if error.is_conflict() => {}
        made => return Ok(made?),
    }
    if storage.get(BEGUN).await.map_err(BarrierError::from)?.is_none() {
        return Err(Error::bad_request(
            "the storage has a keyring and no seal's record: a part of it was lost, and without that nothing opens it; put back a whole copy, or empty the storage and initialize again",
        ));
    }
    tracing::warn!("an earlier initialization did not come to its end; what it left is deleted");
    clear(storage.as_ref()).await.map_err(BarrierError::from)?;
    Ok(make().await?)
}

/// Deletes everything, what says that it may be deleted last.
async fn clear(storage: &dyn Storage) -> std::result::Result<(), crate::storage::StorageError> {
    let last = |key: &str| key == KEYRING || key == BEGUN;
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let mut writes = Vec::new();
        for name in storage.list(&folder, "", 0).await? {
            let key = format!("{folder}{name}");
            if name.ends_with('/') {
                folders.push(key);
            } else if !last(&key) {
                writes.push((key, None));
            }
        }
        storage.commit(Batch { conditions: Vec::new(), writes }).await?;
    }
    let writes = vec![(KEYRING.to_owned(), None), (BEGUN.to_owned(), None)];
    storage.commit(Batch { conditions: Vec::new(), writes }).await
}

#[cfg(test)]
mod tests;
