//! A key of 32 bytes that the configuration names: `seal "static"`.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_core::{DataKey, SecretBytes};
use zeroize::Zeroizing;

use super::{AutoSeal, SealError, Wrapped, unwrap_by, wrap_by};

/// The seal's name, and its kind: the same for all such keys, which have ids.
const NAME: &str = "static";

/// The current key, and the one before it if keys are being changed.
pub struct Fixed {
    id: String,
    key: DataKey,
    previous: Option<(String, DataKey)>,
}

impl Fixed {
    /// A seal with `key`, known as `id`.
    pub const fn new(id: String, key: DataKey) -> Self {
        Self { id, key, previous: None }
    }

    /// The same, which also opens what the key before it wrapped.
    #[must_use]
    pub fn with_previous(mut self, id: String, key: DataKey) -> Self {
        self.previous = Some((id, key));
        self
    }
}

/// Which static key wrapped this; `None` if none did.
pub(super) fn key_id(one: &Wrapped) -> Option<&str> {
    if one.seal == NAME { Some(one.wrapped.rsplit_once(':')?.0) } else { None }
}

/// Reads a key: 32 raw bytes, or those as base64 or hex, with or without a line's end.
pub fn read_key(bytes: &SecretBytes) -> Result<DataKey, SealError> {
    let bad = || SealError::Config("a static key is 32 bytes, raw, in base64 or in hex".to_owned());
    if bytes.len() == DataKey::LEN {
        return DataKey::from_bytes(bytes.clone()).map_err(|_| bad());
    }
    let text = bytes.expose().trim_ascii();
    let decoded = if text.len() == 2 * DataKey::LEN {
        let digit = |at: usize| char::from(text[at]).to_digit(16);
        let byte = |at: usize| u8::try_from(digit(2 * at)? * 16 + digit(2 * at + 1)?).ok();
        (0..DataKey::LEN).map(byte).collect::<Option<Vec<u8>>>().ok_or_else(bad)?
    } else {
        STANDARD.decode(text).map_err(|_| bad())?
    };
    let decoded = Zeroizing::new(decoded);
    DataKey::from_bytes(SecretBytes::from(decoded.as_slice())).map_err(|_| bad())
}

#[async_trait]
impl AutoSeal for Fixed {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn made(&self, one: &Wrapped) -> bool {
        let previous = self.previous.as_ref().map(|(id, _)| id.as_str());
        key_id(one).is_some_and(|id| id == self.id || Some(id) == previous)
    }

    fn is_current(&self, one: &Wrapped) -> bool {
        key_id(one) == Some(&self.id)
    }

    async fn wrap(&self, root_key: &DataKey) -> Result<String, SealError> {
        Ok(format!("{}:{}", self.id, wrap_by(&self.key, &self.name(), root_key)?))
    }

    async fn unwrap(&self, wrapped: &str) -> Result<DataKey, SealError> {
        let (id, sealed) = wrapped.rsplit_once(':').ok_or_else(|| SealError::WrongKey(self.name()))?;
        let key = match &self.previous {
            _ if id == self.id => &self.key,
            Some((previous, key)) if id == previous => key,
            _ => {
                let what = format!("the root key was wrapped by the static key {id:?}, which is not configured");
                return Err(SealError::Config(what));
            }
        };
        unwrap_by(key, &self.name(), sealed)
    }
}
