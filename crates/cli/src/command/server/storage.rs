//! Opens what the configuration names.

use std::sync::Arc;

use bulla_core::Env;
use bulla_server::config::Storage;
use bulla_server::storage::{Embedded, Memory, Postgres, Scan, StorageError};

/// Opens a storage for this process alone.
pub(super) async fn open(storage: &Storage, env: &dyn Env) -> Result<Arc<dyn Scan>, StorageError> {
    match storage.clone().with_env(env) {
        Storage::Memory => Ok(Arc::new(Memory::default())),
        Storage::Embedded(folder) => {
            let failed = |error: std::io::Error| StorageError::Backend {
                action: "open",
                reason: format!("cannot make {}: {error}", folder.display()),
            };
            std::fs::create_dir_all(&folder).map_err(failed)?;
            Ok(Arc::new(Embedded::open(&folder.join("bulla.redb"))?))
        }
        Storage::Postgresql(settings) => Ok(Arc::new(Postgres::open(&settings).await?)),
    }
}
