//! Whole files, encrypted and decrypted.

use bulla_core::{DataKey, SecretBytes};
use bulla_document::{Document, Step, Syntax, Value};

use super::cipher::Cipher;
use super::mac::Macs;
use super::metadata::{Located, locate};
use super::pass::Pass;
use super::rules::Selector;
use super::{Error, Metadata, Stash, edit, open, seal};

/// What a file's plaintext is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A text with a tree in it; the encrypted file has the same syntax.
    Text(Syntax),
    /// Any bytes; the encrypted file is JSON: `{"data": "ENC[…]", "sops": {…}}`.
    Binary,
}

/// How a file's integrity is checked before anything of it is given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MacCheck {
    /// Not at all (`--ignore-mac`).
    Ignore,
    /// sops' MAC must match, and bulla's where there is one.
    #[default]
    Check,
    /// Both MACs must be there and match (`--strict`).
    Strict,
}

/// A decrypted file.
pub struct PlainFile {
    /// What it is.
    pub kind: FileKind,
    /// The plaintext: the bytes that were encrypted, where bulla encrypted them.
    pub text: SecretBytes,
    /// What [`encrypt`] needs to keep the ciphertext of unchanged values.
    pub stash: Stash,
}

/// An encrypted file as read: metadata parsed, values still encrypted.
pub struct EncryptedFile {
    pub(super) kind: FileKind,
    pub(super) document: Document,
    pub(super) located: Located,
    pub(super) selector: Selector,
}

impl EncryptedFile {
    /// Reads an encrypted file.
    ///
    /// # Errors
    /// [`Error::MetadataNotFound`] if it is not encrypted, [`Error::Metadata`], [`Error::Document`] and [`Error::Rule`] if it
    /// cannot be read.
    pub fn parse(kind: FileKind, text: SecretBytes) -> Result<Self, Error> {
        let syntax = match kind {
            FileKind::Text(syntax) => syntax,
            FileKind::Binary => Syntax::Json,
        };
        let document = Document::parse(syntax, text)?;
        let located = locate(&document)?;
        let selector = Selector::new(&located.metadata.rules)?;
        Ok(Self { kind, document, located, selector })
    }

    /// What the plaintext is.
    pub const fn kind(&self) -> FileKind {
        self.kind
    }

    /// The metadata.
    pub const fn metadata(&self) -> &Metadata {
        &self.located.metadata
    }

    /// Whether the file has bulla's own MAC, so that [`MacCheck::Strict`] can pass.
    pub const fn has_bound_mac(&self) -> bool {
        self.located.extra.mac.is_some()
    }

    /// The encrypted text, as read.
    pub fn text(&self) -> &SecretBytes {
        self.document.text()
    }

    /// Decrypts the file. Nothing is given out unless its integrity is proven as `check` says.
    ///
    /// # Errors
    /// [`Error::Value`], [`Error::Mac`].
    pub fn decrypt(&self, key: &DataKey, check: MacCheck) -> Result<PlainFile, Error> {
        open::decrypt(self, key, check)
    }

    /// Decrypts one value or tree, of the first document. The whole file's integrity is checked first.
    ///
    /// # Errors
    /// [`Error::Path`] if there is no such value, else as [`decrypt`](Self::decrypt).
    pub fn extract(&self, key: &DataKey, path: &[Step], check: MacCheck) -> Result<Value, Error> {
        open::extract(self, key, path, check)
    }

    /// Sets one value or tree of the first document in place: its ciphertext, the MACs and `lastmodified` change and nothing else.
    /// `None` if the value is equal already. `now` is the new `lastmodified`, `2006-01-02T15:04:05Z`.
    ///
    /// As in sops: maps that are missing on the way are made, an index past the end of a list appends, a single value on
    /// the way is replaced by a map or list. A key into a list and an index into a map are errors.
    ///
    /// # Errors
    /// [`Error::Path`] if the path does not fit, else as [`decrypt`](Self::decrypt).
    pub fn set(
        &self,
        key: &DataKey,
        path: &[Step],
        value: &Value,
        check: MacCheck,
        now: &str,
    ) -> Result<Option<SecretBytes>, Error> {
        edit::set(self, key, path, value, check, now)
    }

    /// Removes one value or tree of the first document in place.
    ///
    /// # Errors
    /// [`Error::Path`] if there is no such value, else as [`decrypt`](Self::decrypt).
    pub fn unset(&self, key: &DataKey, path: &[Step], check: MacCheck, now: &str) -> Result<SecretBytes, Error> {
        edit::unset(self, key, path, check, now)
    }

    /// The same file with other keys (`updatekeys`, `groups`): values, MAC and `lastmodified` stay as they are; bulla's own
    /// MAC, which covers the keys, is made anew. `metadata.mac` and `metadata.last_modified` are ignored.
    ///
    /// # Errors
    /// As [`decrypt`](Self::decrypt): the file's integrity is checked first. [`Error::Rule`] if the selection rules are not the
    /// file's, which takes [`encrypt`] to change.
    pub fn with_metadata(&self, key: &DataKey, metadata: Metadata, check: MacCheck) -> Result<SecretBytes, Error> {
        edit::with_metadata(self, key, metadata, check)
    }

    pub(super) fn pass<'f>(&'f self, cipher: &'f Cipher) -> Pass<'f> {
        let (document, selector) = (&self.document, &self.selector);
        Pass { document, selector, skip: &self.located.nodes, cipher, fresh: None }
    }

    pub(super) fn macs(&self) -> Macs {
        self.macs_with(&self.located.metadata)
    }

    pub(super) fn macs_with(&self, metadata: &Metadata) -> Macs {
        match self.kind {
            FileKind::Binary => Macs::for_binary(metadata),
            FileKind::Text(_) => Macs::new(metadata),
        }
    }
}

/// Encrypts a plaintext. `metadata.mac` is ignored and made; `metadata.last_modified` is used as given. With a `stash` of
/// the same file, unchanged values keep their ciphertext. The rules do not count for binary files.
///
/// # Errors
/// [`Error::AlreadyEncrypted`], [`Error::Empty`], [`Error::Rule`], [`Error::Document`].
pub fn encrypt(
    kind: FileKind,
    text: SecretBytes,
    metadata: Metadata,
    key: &DataKey,
    stash: Option<&Stash>,
) -> Result<SecretBytes, Error> {
    match kind {
        FileKind::Text(syntax) => seal::text(syntax, text, metadata, key, stash),
        FileKind::Binary => seal::binary(text, metadata, key, stash),
    }
}
