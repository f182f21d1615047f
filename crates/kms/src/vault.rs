//! Data keys wrapped by the transit engine of Vault or `OpenBao`.
//!
//! Wrapped form: the `ciphertext` of <https://openbao.org/api-docs/secret/transit/#encrypt-data>, `vault:v1:…`, where the
//! number is the version of the key; older versions unwrap until the server forgets them. The plaintext travels as standard
//! base64. A key that does not exist is made by the first `encrypt`, if the token may create it: the engine's own behaviour,
//! which sops' users rely on.
//!
//! The server's address is part of the key. Everything else is set by the variables in [`variable`].

mod allowlist;
pub mod client;
mod error;
pub mod http;
mod login;
mod server;
mod settings;
mod tls;
pub mod trust;
mod uri;
pub mod variable;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulla_core::{KeyError, KeyErrorKind, KeyId, KeyService, SecretBytes, WrappedKey};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::registry::Context;
use server::Server;
use settings::Settings;

/// The settings and servers of this process. Empty until a key of a transit engine is used.
#[derive(Default)]
pub(crate) struct State {
    settings: OnceLock<Result<Arc<Settings>, Failure>>,
    servers: Mutex<HashMap<String, Arc<Server>>>,
}

/// Opens the service for `id`. Asks no one.
pub(crate) fn open(id: &KeyId, context: &Arc<Context>) -> Result<Arc<dyn KeyService>, KeyError> {
    let bad = |why: String| KeyError::new(KeyErrorKind::BadConfig, id, why);
    let KeyId::VaultTransit { address, mount, key } = id else {
        return Err(bad("not a key of a transit engine".to_owned()));
    };
    uri::address(address).map_err(bad)?;
    let encrypt = uri::path_of("encrypt", mount, key).map_err(bad)?;
    let decrypt = uri::path_of("decrypt", mount, key).map_err(bad)?;
    Ok(Arc::new(TransitKey {
        id: id.clone(),
        address: address.clone(),
        encrypt,
        decrypt,
        context: Arc::clone(context),
    }))
}

struct TransitKey {
    id: KeyId,
    address: String,
    encrypt: Vec<String>,
    decrypt: Vec<String>,
    context: Arc<Context>,
}

impl TransitKey {
    fn server(&self) -> Result<Arc<Server>, Failure> {
        let context = &self.context;
        let settings = context
            .vault
            .settings
            .get_or_init(|| Settings::read(&*context.env, context.options.timeout).map(Arc::new))
            .clone()?;
        settings.allow(&self.address)?;
        let mut servers = context.vault.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = servers.get(&self.address) {
            return Ok(Arc::clone(server));
        }
        let server = Arc::new(Server::new(&self.address, settings, &*context.env, context.dns.clone())?);
        servers.insert(self.address.clone(), Arc::clone(&server));
        Ok(server)
    }

    async fn encrypt(&self, plaintext: &SecretBytes) -> Result<WrappedKey, Failure> {
        let mut encoded = Zeroizing::new(String::with_capacity(plaintext.len().div_ceil(3) * 4));
        STANDARD.encode_string(plaintext.expose(), &mut encoded);
        let reply = self.server()?.operate(&self.encrypt, &[("plaintext", &encoded)]).await?;
        let answer = server::parse(&reply)?;
        let ciphertext = answer.data.and_then(|data| data.ciphertext).ok_or_else(|| error::lacks("ciphertext"))?;
        Ok(WrappedKey::new(ciphertext))
    }

    async fn decrypt(&self, wrapped: &WrappedKey) -> Result<SecretBytes, Failure> {
        let reply = self.server()?.operate(&self.decrypt, &[("ciphertext", wrapped.as_str().trim())]).await?;
        let answer = server::parse(&reply)?;
        let encoded = answer.data.and_then(|data| data.plaintext).ok_or_else(|| error::lacks("plaintext"))?;
        let mut plaintext = SecretBytes::zeroed(base64::decoded_len_estimate(encoded.len()));
        let len = STANDARD
            .decode_slice(encoded, plaintext.expose_mut())
            .map_err(|_| Failure::new(KeyErrorKind::Other, "the server's plaintext is not base64"))?;
        plaintext.truncate(len);
        Ok(plaintext)
    }

    /// `work` within the time that one operation may take, its failure told as this key's.
    async fn timed<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, KeyError> {
        let limit = match self.context.vault.settings.get() {
            Some(Ok(settings)) => settings.timeout,
            _ => settings::timeout(&*self.context.env, self.context.options.timeout).map_err(|f| f.of(&self.id))?,
        };
        match tokio::time::timeout(limit, work).await {
            Ok(result) => result.map_err(|failure| failure.of(&self.id)),
            Err(_) => Err(error::too_slow(&self.address, limit).of(&self.id)),
        }
    }
}

#[async_trait]
impl KeyService for TransitKey {
    fn id(&self) -> &KeyId {
        &self.id
    }

    async fn wrap(&self, plaintext: &SecretBytes) -> Result<WrappedKey, KeyError> {
        self.timed(self.encrypt(plaintext)).await
    }

    async fn unwrap(&self, wrapped: &WrappedKey) -> Result<SecretBytes, KeyError> {
        self.timed(self.decrypt(wrapped)).await
    }
}
