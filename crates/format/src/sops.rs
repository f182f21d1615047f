//! Files in sops' format: values as `ENC[AES256_GCM,…]`, everything else readable, a `sops` block of metadata.
//!
//! Source: <https://github.com/getsops/sops> and what its binary does.

mod cipher;
mod collect;
pub mod config;
mod edit;
mod error;
mod exposed;
mod file;
mod kind;
mod layout;
mod mac;
mod metadata;
mod open;
mod pass;
mod place;
mod plain;
mod resolve;
mod rules;
mod seal;
mod stash;
mod timestamp;
mod walk;

pub use error::Error;
pub use exposed::{Exposed, LeftPlain, selects};
pub use file::{EncryptedFile, FileKind, MacCheck, PlainFile, encrypt};
pub use kind::{is_encrypted, kind_of};
pub use metadata::{MasterKey, Metadata};
pub use rules::Rules;
pub use stash::Stash;
