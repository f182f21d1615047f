//! Opens what the configuration names.

use std::sync::Arc;

use bulla_server::config::Storage;
use bulla_server::storage::postgres::{Settings, Tables};
use bulla_server::storage::{Embedded, Memory, Postgres, Scan, StorageError};

/// Opens a storage for this process alone.
pub(super) async fn open(storage: Storage) -> Result<Arc<dyn Scan>, StorageError> {
    match storage {
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

/// Opens one that has something, for this process alone, and makes nothing.
pub(super) async fn open_filled(storage: Storage) -> Result<Arc<dyn Scan>, StorageError> {
    match storage {
        Storage::Memory => open(storage).await,
        Storage::Embedded(folder) => Ok(Arc::new(Embedded::open_existing(&folder.join("bulla.redb"))?)),
        Storage::Postgresql(settings) => {
            Ok(Arc::new(Postgres::open(&Settings { tables: Tables::Filled, ..settings }).await?))
        }
    }
}
