//! Whether a snapshot is as the cluster made it whose keys are in it. Checksums show damage, and can be made by anybody; this cannot.

use crate::barrier::{KEYRING, Keyring};
use crate::seal::{Seals, Stored};
use crate::storage::snapshot::{self, SnapshotFile};
use crate::storage::{Storage, StorageError};

/// What is known of who made a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Author {
    /// The cluster itself: it is as it was made.
    Cluster,
    /// Somebody else: it was changed, or put together from parts.
    Another(String),
    /// Nobody can say: no seal opens it. What each said.
    Unknown(String),
}

/// Looks who made a snapshot, by a seal that opens what is in it.
///
/// # Errors
/// If it cannot be read.
pub async fn author(seals: &Seals, file: &SnapshotFile) -> Result<Author, StorageError> {
    let another = |why: &str| Author::Another(why.to_owned());
    let (Some(record), Some(keyring)) = (file.get(Stored::PATH).await?, file.get(KEYRING).await?) else {
        return Ok(another("it has no keys: it is not of a server that was initialized"));
    };
    let Ok(stored) = serde_json::from_slice::<Stored>(&record) else {
        return Ok(another("the seal's record in it cannot be read"));
    };
    let mut failures = Vec::new();
    for seal in &seals.current {
        let Some(one) = stored.made_by(seal.as_ref()) else {
            failures.push(format!("{}: the root key was never wrapped by this seal", seal.name()));
            continue;
        };
        let root_key = match seal.unwrap(&one.wrapped).await {
            Ok(root_key) => root_key,
            Err(error) => {
                failures.push(format!("{}: {error}", seal.name()));
                continue;
            }
        };
        let Ok(keyring) = Keyring::open(&keyring, root_key) else {
            return Ok(another("its root key does not open its keyring"));
        };
        let is_ours = file.summary().is_by(&snapshot::key(keyring.name_key()));
        return Ok(if is_ours {
            Author::Cluster
        } else {
            another("it is not as the cluster made it whose keys it has")
        });
    }
    Ok(Author::Unknown(failures.join("; ")))
}
