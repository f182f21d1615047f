//! A server for trying things out: in memory, unsealed, with a known root token.

use std::collections::BTreeMap;

use bulla_core::SecretBytes;

use crate::core::mount::{Class, Config, Entry};
use crate::core::{Core, Init};
use crate::logical::{Error, Result, TokenText};
use crate::seal::Shares;

/// What a person needs to know.
pub struct Dev {
    /// The one share of the unseal key.
    pub unseal_key: SecretBytes,
    /// The root token.
    pub root_token: TokenText,
}

/// Initializes and unseals `core`, makes `root_token` its root token (or a random one), and mounts versioned secrets at `secret/`.
///
/// # Errors
/// If it is initialized already.
pub async fn start(core: &Core, root_token: Option<TokenText>) -> Result<Dev> {
    let made = core.initialize(Init { shares: Shares { shares: 1, threshold: 1 } }).await?;
    let unseal_key = made.shares.into_iter().next().ok_or_else(|| Error::internal(&"no share was made"))?;
    core.unseal(unseal_key.clone()).await?;
    let open = core.open()?;
    let root_token = match root_token {
        Some(text) => {
            let (hash, _) = open.tokens.find(&made.root_token).await?.ok_or_else(Error::no_token)?;
            let issued = open.root_token(Some(text)).await?;
            open.revoke_token_alone(&hash).await?;
            issued.token
        }
        None => made.root_token,
    };
    let secret = Entry {
        path: "secret/".to_owned(),
        class: Class::Secret,
        kind: "kv".to_owned(),
        description: "key/value secret storage".to_owned(),
        accessor: String::new(),
        uuid: String::new(),
        local: false,
        seal_wrap: false,
        options: Some(BTreeMap::from([("version".to_owned(), "2".to_owned())])),
        config: Config::default(),
    };
    open.mounts.mount(secret).await?;
    Ok(Dev { unseal_key, root_token })
}
