//! Which versions of this server have opened the storage, and when each did for the first time.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{API_VERSION, now_nanos};
use crate::barrier::{Barrier, View};
use crate::logical::Result;

/// A version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// As clients are told.
    pub version: String,
    /// When it opened the storage first, in nanoseconds since 1970.
    pub installed: i64,
}

/// All of them, in the order that they came in.
pub async fn all(barrier: &Arc<Barrier>) -> Result<Vec<Version>> {
    Ok(View::plain(barrier, "sys/core/").read(KEY).await?.unwrap_or_default())
}

/// Notes this one, if it is new.
pub(super) async fn note(barrier: &Arc<Barrier>) -> Result<()> {
    let mut versions = all(barrier).await?;
    if versions.iter().any(|one| one.version == API_VERSION) {
        return Ok(());
    }
    versions.push(Version { version: API_VERSION.to_owned(), installed: now_nanos() });
    Ok(View::plain(barrier, "sys/core/").write(KEY, &versions).await?)
}

/// Where they are, below `sys/core/`.
const KEY: &str = "versions";

#[cfg(test)]
mod tests {
    use bulla_core::DataKey;

    use super::*;
    use crate::storage::Memory;

    #[tokio::test]
    async fn each_version_is_noted_once() {
        let barrier = Barrier::initialize(Arc::new(Memory::default()), DataKey::generate().unwrap()).await.unwrap();
        let barrier = Arc::new(barrier);
        let before = Version { version: "0.9.0".to_owned(), installed: 5 };
        View::plain(&barrier, "sys/core/").write(KEY, &vec![before.clone()]).await.unwrap();
        for _ in 0..2 {
            note(&barrier).await.unwrap();
        }
        let versions = all(&barrier).await.unwrap();
        assert_eq!(versions.iter().map(|one| one.version.as_str()).collect::<Vec<_>>(), ["0.9.0", API_VERSION]);
        assert!(versions[0] == before && versions[1].installed > 5);
    }
}
