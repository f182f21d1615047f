//! The search for an identity that opens a wrapped key, from cheap to dear.
//!
//! 1. native identities of the variable and the files, and of encrypted files that were opened before: in this process,
//!    no question asked;
//! 2. if the file is wrapped for an SSH key: SSH keys in files, then the command that prints one;
//! 3. the command that prints identities;
//! 4. plugins of identities found so far;
//! 5. identity files encrypted with a passphrase.
//!
//! sops loads everything at once, runs every command, and then tries all in no fixed order; what it opens, this opens.
//! A place or plugin that fails does not end the search: it is told if nothing fits.

use std::cell::Cell;
use std::io::Read;
use std::iter::once;
use std::sync::Arc;

use age::armor::ArmoredReader;
use age::{DecryptError, Decryptor};
use age_core::format::{FileKey, Stanza};
use bulla_core::{KeyError, KeyErrorKind, SecretBytes, WrappedKey};
use zeroize::Zeroizing;

use super::Key;
use super::identity::Identity;
use super::places::{Command, Holds, Place, Places, config_folder};
use super::recipient::Recipient;
use crate::failure::Failure;

/// The longest data key, or share of one, that is taken out of a file. They have 32 and 33 bytes.
const LONGEST: usize = 1024;
/// The longest wrapped key that is looked at. Post-quantum ones have some 2000 letters. The age crate reads a header again
/// from its beginning for every piece that comes, so that one of 1 MB takes a minute, and whoever writes a file may write
/// one.
const LONGEST_WRAPPED: usize = 1 << 15;

/// A search in progress: where was looked, and what went wrong there.
pub(super) struct Search {
    key: Arc<Key>,
    wrapped: WrappedKey,
    places: Vec<Looked>,
    /// Whether the file has a stanza for an SSH key. Known after the first look.
    ssh: bool,
}

struct Looked {
    place: Arc<Place>,
    /// What went wrong in using what it holds.
    failures: Vec<Failure>,
}

/// What a step of the search gives: the data key, or nothing.
type Step = Result<Option<SecretBytes>, KeyError>;

/// Whether unwrapping with `key` may have to ask a person, or run a program that does.
pub(super) fn may_ask(key: &Key) -> bool {
    let context = key.context.as_ref();
    if matches!(key.recipient, Recipient::Plugin(_)) {
        return true;
    }
    let native = context.age.native(context);
    if native.iter().flat_map(|place| place.holds.identities()).any(|identity| identity.belongs_to(&key.recipient)) {
        return false;
    }
    if let Recipient::Ssh(recipient) = &key.recipient {
        for place in context.age.ssh(context) {
            if let Holds::Ssh(ssh) = &place.holds
                && ssh.belongs_to(recipient)
            {
                return ssh.asks();
            }
        }
        if Places::has(Command::Ssh, context) {
            return true;
        }
    }
    Places::has(Command::Identities, context)
        || native.iter().any(|place| match &place.holds {
            Holds::Locked(locked) => locked.asks(),
            holds => holds.identities().iter().any(|identity| matches!(identity, Identity::Plugin(_))),
        })
}

impl Search {
    pub(super) fn new(key: Arc<Key>, wrapped: WrappedKey) -> Self {
        Self { key, wrapped, places: Vec::new(), ssh: false }
    }

    /// Whether the file is wrapped for an SSH key.
    pub(super) fn wants_ssh(&self) -> bool {
        self.ssh
    }

    /// Whether [`plugins_and_passphrases`](Self::plugins_and_passphrases) has anything to try.
    pub(super) fn has_more(&self) -> bool {
        self.places.iter().any(|looked| match &looked.place.holds {
            Holds::Locked(_) => true,
            holds => holds.identities().iter().any(|identity| matches!(identity, Identity::Plugin(_))),
        })
    }

    /// Goes on with a step that blocks, on a thread of its own.
    pub(super) async fn blocking(
        self,
        step: impl FnOnce(&mut Self) -> Step + Send + 'static,
    ) -> Result<(Self, Option<SecretBytes>), KeyError> {
        let mut search = self;
        let key = Arc::clone(&search.key);
        let (search, opened) = key
            .blocking(move |_| {
                let opened = step(&mut search);
                (search, opened)
            })
            .await?;
        Ok((search, opened?))
    }

    /// Tries the native identities in these places.
    pub(super) fn native(&mut self, places: &[Arc<Place>]) -> Step {
        self.look(places);
        let unlocked: Vec<_> = places
            .iter()
            .filter_map(|place| match &place.holds {
                Holds::Locked(locked) => locked.opened(),
                _ => None,
            })
            .collect();
        let recipient = &self.key.recipient;
        let ssh = Cell::new(self.ssh);
        let opened = self.open(|stanzas| {
            ssh.set(stanzas.iter().any(|stanza| stanza.tag.starts_with("ssh-")));
            let all = || {
                let open = places.iter().flat_map(|place| place.holds.identities());
                open.chain(unlocked.iter().flat_map(|identities| identities.iter()))
            };
            // With many identities, the one that the recipient belongs to is found faster than tried for.
            let likely = all().filter(|identity| identity.belongs_to(recipient));
            likely.chain(all()).find_map(|identity| identity.unwrap_native(stanzas))
        });
        self.ssh = ssh.get();
        opened
    }

    /// Tries the SSH keys in these places. May ask for passphrases; blocks.
    pub(super) fn ssh(&mut self, places: &[Arc<Place>]) -> Step {
        let first = self.look(places);
        for index in first..self.places.len() {
            let place = Arc::clone(&self.places[index].place);
            if let Holds::Ssh(ssh) = &place.holds
                && let Some(plain) = self.open_fallible(index, |key, stanzas| {
                    ssh.unwrap(stanzas, key.context.age.ask.as_ref()).transpose()
                })?
            {
                return Ok(Some(plain));
            }
        }
        Ok(None)
    }

    /// Tries the plugins of all identities found so far, then what is encrypted with a passphrase. Blocks.
    pub(super) fn plugins_and_passphrases(&mut self) -> Step {
        for index in 0..self.places.len() {
            let place = Arc::clone(&self.places[index].place);
            if let Some(plain) = self.plugins(index, place.holds.identities())? {
                return Ok(Some(plain));
            }
        }
        for index in 0..self.places.len() {
            let place = Arc::clone(&self.places[index].place);
            let Holds::Locked(locked) = &place.holds else { continue };
            let context = Arc::clone(&self.key.context);
            match locked.identities(context.env.as_ref(), context.age.ask.as_ref()) {
                Err(failure) => self.places[index].failures.push(failure),
                Ok(identities) => {
                    let native = |stanzas: &[Stanza]| identities.iter().find_map(|id| id.unwrap_native(stanzas));
                    if let Some(plain) = self.open(native)? {
                        return Ok(Some(plain));
                    }
                    if let Some(plain) = self.plugins(index, &identities)? {
                        return Ok(Some(plain));
                    }
                }
            }
        }
        Ok(None)
    }

    fn plugins(&mut self, index: usize, identities: &[Identity]) -> Step {
        let likely = |identity: &&super::plugin::Identity| match &self.key.recipient {
            Recipient::Plugin(recipient) => recipient.name() == identity.name(),
            _ => false,
        };
        let mut plugins: Vec<_> = identities.iter().filter_map(Identity::plugin).collect();
        // The plugin that the recipient names comes first.
        plugins.sort_by_key(|identity| !likely(identity));
        for identity in plugins {
            let opened = self.open_fallible(index, |key, stanzas| identity.unwrap(stanzas, &key.plugin_host()))?;
            if opened.is_some() {
                return Ok(opened);
            }
        }
        Ok(None)
    }

    /// The error of a search that found nothing.
    pub(super) fn into_error(self) -> KeyError {
        let failures = || {
            self.places.iter().flat_map(|looked| {
                let unreadable = match &looked.place.holds {
                    Holds::Failed(failure) => Some(failure),
                    _ => None,
                };
                unreadable.into_iter().chain(&looked.failures)
            })
        };
        let looked: Vec<String> = self.places.iter().map(Looked::describe).collect();
        let kind = failures().next().map_or(KeyErrorKind::NotFound, |failure| failure.kind);
        let hint = failures().find_map(|failure| failure.hint.clone()).unwrap_or_else(|| self.advice());
        let what = format!("no identity opens it; looked in {}", looked.join("; "));
        KeyError::new(kind, &self.key.id, what).with_hint(hint)
    }

    fn advice(&self) -> String {
        let file = config_folder(&self.key.context)
            .map_or_else(|| "~/.config/sops/age/keys.txt".into(), |folder| folder.join("sops/age/keys.txt"));
        let file = file.display();
        match &self.key.recipient {
            Recipient::Ssh(_) => {
                "set SOPS_AGE_SSH_PRIVATE_KEY_FILE to the file of this public key's private key".to_owned()
            }
            Recipient::Plugin(recipient) => {
                let name = recipient.name();
                format!("put the identity AGE-PLUGIN-{}-1… into {file}", name.to_ascii_uppercase())
            }
            Recipient::Tag(_) | Recipient::TagPq(_) => {
                format!("put the identity AGE-PLUGIN-…-1… of the hardware key into {file}")
            }
            Recipient::X25519(_) | Recipient::Hybrid(_) => {
                format!("put its identity into {file}, or set SOPS_AGE_KEY_FILE to the file that holds it")
            }
        }
    }

    /// Notes places to look in; returns the index of the first.
    fn look(&mut self, places: &[Arc<Place>]) -> usize {
        let first = self.places.len();
        let looked = places.iter().map(|place| Looked { place: Arc::clone(place), failures: Vec::new() });
        self.places.extend(looked);
        first
    }

    /// Opens the file with a file key that may fail to be had; the failure is noted at the place `index`.
    fn open_fallible(
        &mut self,
        index: usize,
        find: impl Fn(&Key, &[Stanza]) -> Result<Option<FileKey>, Failure>,
    ) -> Step {
        let failed = Cell::new(None);
        let opened = self.open(|stanzas| match find(&self.key, stanzas) {
            Ok(found) => found.map(Ok),
            Err(failure) => {
                failed.set(Some(failure));
                None
            }
        });
        self.places[index].failures.extend(failed.take());
        opened
    }

    /// Opens the file with the file key that `find` gives for its stanzas.
    ///
    /// # Errors
    /// If the file is damaged. `None` is no error.
    fn open(&self, find: impl Fn(&[Stanza]) -> Option<Result<FileKey, DecryptError>>) -> Step {
        let damaged = |what: &str| {
            KeyError::new(KeyErrorKind::BadCiphertext, &self.key.id, format!("the wrapped key is damaged: {what}"))
        };
        let text = self.wrapped.as_str().trim_start();
        if !text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----") && !text.starts_with("age-encryption.org/") {
            return Err(damaged("it is no age file"));
        }
        if text.len() > LONGEST_WRAPPED {
            return Err(damaged("it is too long for one"));
        }
        let file = Decryptor::new_buffered(ArmoredReader::new(text.as_bytes())).map_err(|error| {
            damaged(match error {
                DecryptError::UnknownFormat => "it is of an age version that is not known",
                DecryptError::InvalidHeader => "its header is malformed",
                _ => "it is cut off, or its armor is malformed",
            })
        })?;
        let finder = Finder(find);
        let mut payload = match file.decrypt(once(&finder as &dyn age::Identity)) {
            Ok(payload) => payload,
            Err(DecryptError::NoMatchingKeys) => return Ok(None),
            Err(DecryptError::InvalidMac) => return Err(damaged("its header was changed")),
            Err(_) => return Err(damaged("its header is malformed")),
        };
        let mut plain = Zeroizing::new([0; LONGEST]);
        let mut len = 0;
        loop {
            match payload.read(&mut plain[len..]) {
                Ok(0) if len == LONGEST => return Err(damaged("what it holds is too long for a data key")),
                Ok(0) => return Ok(Some(SecretBytes::from(&plain[..len]))),
                Ok(n) => len += n,
                Err(_) => return Err(damaged("its contents were changed, or are cut off")),
            }
        }
    }
}

impl Looked {
    fn describe(&self) -> String {
        if self.failures.is_empty() {
            return self.place.describe();
        }
        let name = &self.place.name;
        let failures: Vec<_> = self
            .failures
            .iter()
            .map(|failure| {
                let what = &failure.what;
                if what.starts_with(name.as_str()) { what.clone() } else { format!("{name}: {what}") }
            })
            .collect();
        failures.join("; ")
    }
}

/// A function that finds the file key, as the age crate wants it.
struct Finder<F>(F);

impl<F: Fn(&[Stanza]) -> Option<Result<FileKey, DecryptError>>> age::Identity for Finder<F> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.0(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        self.0(stanzas)
    }
}
