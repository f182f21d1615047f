//! Data keys wrapped with age: <https://age-encryption.org/v1>, C2SP `age`.
//!
//! Wrapped form: an age file with one recipient, armored, with a line end after its last line; in it the data key as it
//! is. Recipients: X25519 (`age1…`), post-quantum (`age1pq1…`), SSH (`ssh-ed25519 …`, `ssh-rsa …`), hardware keys
//! (`age1tag1…`, `age1tagpq1…`) and those of plugins (`age1NAME1…`).
//!
//! Identities are looked for in [the places of sops](places); [what is cheap is tried first](search).

mod agent;
mod hybrid;
mod identity;
mod locked;
mod places;
mod plugin;
mod recipient;
mod search;
mod ssh;
mod stanza;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::iter::once;
use std::sync::Arc;

use age::armor::{ArmoredWriter, Format};
use age::{EncryptError, Encryptor};
use async_trait::async_trait;
use bulla_core::{KeyError, KeyErrorKind, KeyId, KeyService, Operation, SecretBytes, WrappedKey, is_private_key};

use self::places::Command;
use self::recipient::Recipient;
use self::search::Search;
use crate::registry::Context;

pub(crate) use self::places::Places;

/// Opens the service for `id`.
///
/// # Errors
/// [`KeyErrorKind::BadConfig`] for a malformed recipient.
pub(crate) fn open(id: &KeyId, context: &Arc<Context>) -> Result<Arc<dyn KeyService>, KeyError> {
    let KeyId::Age { recipient: text } = id else {
        return Err(KeyError::new(KeyErrorKind::Unsupported, id, "this is not an age recipient"));
    };
    let text = text.trim();
    let recipient = Recipient::parse(text).map_err(|what| {
        // A private key in the wrong place must not go on into a message.
        let private = is_private_key(text);
        let hidden = KeyId::Age { recipient: "(a private key)".to_owned() };
        let shown = if private { &hidden } else { id };
        KeyError::new(KeyErrorKind::BadConfig, shown, format!("not a recipient: {what}"))
    })?;
    let key = Key { id: id.clone(), text: text.to_owned(), recipient, context: Arc::clone(context) };
    Ok(Arc::new(Service(Arc::new(key))))
}

/// The key service of one recipient.
struct Service(Arc<Key>);

/// A recipient and what is needed to find its identity.
struct Key {
    id: KeyId,
    text: String,
    recipient: Recipient,
    context: Arc<Context>,
}

#[async_trait]
impl KeyService for Service {
    fn id(&self) -> &KeyId {
        &self.0.id
    }

    async fn may_ask(&self, operation: Operation) -> bool {
        match operation {
            Operation::Wrap => self.0.recipient.native().is_err(),
            Operation::Unwrap => search::may_ask(&self.0),
        }
    }

    async fn wrap(&self, plaintext: &SecretBytes) -> Result<WrappedKey, KeyError> {
        let key = &self.0;
        // A native recipient is less work than handing it to another thread.
        if let Ok(recipient) = key.recipient.native() {
            return seal(recipient, plaintext).map_err(|error| key.cannot_wrap(&error));
        }
        let plaintext = plaintext.clone();
        key.blocking(move |key| key.wrap_with_plugin(&plaintext)).await?
    }

    async fn unwrap(&self, wrapped: &WrappedKey) -> Result<SecretBytes, KeyError> {
        let key = &self.0;
        let places = &key.context.age;
        let mut search = Search::new(Arc::clone(key), wrapped.clone());

        if let Some(plain) = search.native(places.native(&key.context))? {
            return Ok(plain);
        }
        if search.wants_ssh() {
            let files = places.ssh(&key.context).to_vec();
            let printed = async { vec![places.printed(Command::Ssh, &key.text, &key.context).await] };
            let (next, opened) = search.blocking(move |search| search.ssh(&files)).await?;
            if let Some(plain) = opened {
                return Ok(plain);
            }
            let printed = printed.await;
            let (next, opened) = next.blocking(move |search| search.ssh(&printed)).await?;
            if let Some(plain) = opened {
                return Ok(plain);
            }
            search = next;
        }
        let printed = places.printed(Command::Identities, &key.text, &key.context).await;
        if let Some(plain) = search.native(&[printed])? {
            return Ok(plain);
        }
        if search.has_more() {
            let (next, opened) = search.blocking(Search::plugins_and_passphrases).await?;
            if let Some(plain) = opened {
                return Ok(plain);
            }
            search = next;
        }
        Err(search.into_error())
    }
}

impl Key {
    /// Runs what blocks on a thread of its own.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, KeyError> {
        let key = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&key)).await;
        done.map_err(|_| KeyError::new(KeyErrorKind::Other, &self.id, "the operation was broken off"))
    }

    /// Has a plugin wrap. Blocks.
    fn wrap_with_plugin(&self, plaintext: &SecretBytes) -> Result<WrappedKey, KeyError> {
        let Recipient::Plugin(recipient) = &self.recipient else {
            return Err(self.cannot_wrap(&EncryptError::MissingRecipients));
        };
        let plugin = plugin::Wrap::new(recipient, self.plugin_host());
        let sealed = seal(&plugin, plaintext);
        sealed.map_err(|error| match plugin.into_failure() {
            Some(failure) => failure.of(&self.id),
            None => self.cannot_wrap(&error),
        })
    }

    fn plugin_host(&self) -> plugin::Host<'_> {
        let Context { env, options, age, .. } = self.context.as_ref();
        plugin::Host { env: env.as_ref(), ask: age.ask.as_ref(), timeout: options.timeout }
    }

    fn cannot_wrap(&self, error: &EncryptError) -> KeyError {
        let what = match error {
            EncryptError::Io(error) => error.to_string(),
            // The age crate has its words in several languages, and loads them all for one.
            error => format!("{error:?}"),
        };
        KeyError::new(KeyErrorKind::Other, &self.id, format!("cannot wrap: {what}"))
    }
}

/// Makes the armored age file.
fn seal(recipient: &dyn age::Recipient, plaintext: &SecretBytes) -> Result<WrappedKey, EncryptError> {
    let encryptor = Encryptor::with_recipients(once(recipient))?;
    let mut text = Vec::with_capacity(2048);
    let mut file = encryptor.wrap_output(ArmoredWriter::wrap_output(&mut text, Format::AsciiArmor)?)?;
    file.write_all(plaintext.expose())?;
    file.finish()?.finish()?;
    let text = String::from_utf8(text).map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidData))?;
    Ok(WrappedKey::new(text))
}
