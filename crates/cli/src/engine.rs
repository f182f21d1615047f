//! The steps that commands are made of: find out the type, unwrap the data key, decrypt.

use std::ffi::OsString;
use std::sync::Arc;

use bulla_core::{DataKey, Env, SecretBytes};
use bulla_format::sops::{self, EncryptedFile, FileKind, MacCheck, Metadata, PlainFile};
use bulla_kms::groups::{self, Services};
use bulla_kms::keyservice::Client;
use bulla_kms::{Options, Registry, vault_variable};

use crate::app::App;
use crate::args::{AccessArgs, given};
use crate::error::Failure;
use crate::exit::Code;
use crate::{audit, convert, old_context, term};

/// How data keys are reached: the services, and the order in which kinds of keys are tried.
#[derive(Clone)]
pub(crate) struct Access {
    /// The services.
    pub(crate) services: Services,
    /// Kinds of keys to try first.
    pub(crate) order: Vec<String>,
}

impl Access {
    /// What the flags ask for.
    ///
    /// # Errors
    /// [`Code::DuplicateKeyKind`], a malformed URI of a key service, or an audit that cannot be kept.
    pub(crate) fn new(app: &App, args: &AccessArgs) -> Result<Self, Failure> {
        Self::with(app.env.clone(), args)
    }

    /// As [`new`](Self::new), for files that nobody chose to open, as Git shows them: no Vault server gets the user's token only because a
    /// file names it. It has to be that of `VAULT_ADDR`, or one of the list of those that may be asked.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn unasked(app: &App, args: &AccessArgs) -> Result<Self, Failure> {
        Self::with(Arc::new(KnownServers(app.env.clone())), args)
    }

    fn with(env: Arc<dyn Env>, args: &AccessArgs) -> Result<Self, Failure> {
        audit::check()?;
        let mut options = Options::default();
        options.timeout = args.key_timeout.unwrap_or(options.timeout);
        let remote = args
            .keyservice
            .iter()
            .map(|uri| uri.trim())
            .filter(|uri| !uri.is_empty())
            .map(|uri| {
                let client = Client::new(uri);
                let client = client.map_err(|error| Failure::generic(format!("--keyservice {uri}: {error}")))?;
                Ok(client.with_timeout(options.timeout))
            })
            .collect::<Result<_, Failure>>()?;
        let local = args.enable_local_keyservice.then(|| Registry::new(env, options));
        Ok(Self { services: Services { remote, local }, order: order(given(args.decryption_order.as_ref()))? })
    }
}

/// An environment in which only Vault servers that the user named may be asked.
struct KnownServers(Arc<dyn Env>);

impl Env for KnownServers {
    fn var(&self, name: &str) -> Option<OsString> {
        let said = self.0.var(name);
        if name != vault_variable::ALLOWLIST || said.is_some() {
            return said;
        }
        Some(self.0.var(vault_variable::ADDR).unwrap_or_else(|| "none".into()))
    }
}

/// An encrypted file with its data key and its plaintext.
pub(crate) struct Opened {
    /// The file as it was read.
    pub(crate) file: EncryptedFile,
    /// Its data key.
    pub(crate) key: DataKey,
    /// What was in it.
    pub(crate) plain: PlainFile,
}

/// Reads an encrypted file, unwraps its data key, checks its integrity and decrypts it. `name` stands for it in messages.
///
/// # Errors
/// [`Code::NoDataKey`], [`Code::CannotDecryptTree`], [`Code::MacMismatch`], [`Code::Generic`] if it is not encrypted.
pub(crate) fn open(
    app: &App,
    access: &Access,
    name: &str,
    kind: FileKind,
    text: SecretBytes,
    check: MacCheck,
) -> Result<Opened, Failure> {
    let (file, key) = parse(app, access, name, kind, text)?;
    let plain = file.decrypt(&key, check).map_err(|error| Failure::decrypting(name, error))?;
    Ok(Opened { file, key, plain })
}

/// Reads an encrypted file and unwraps its data key. Its integrity is not checked yet.
///
/// # Errors
/// [`Code::NoDataKey`], [`Code::Generic`] if it is not encrypted.
pub(crate) fn parse(
    app: &App,
    access: &Access,
    name: &str,
    kind: FileKind,
    text: SecretBytes,
) -> Result<(EncryptedFile, DataKey), Failure> {
    let file = EncryptedFile::parse(kind, text).map_err(|error| Failure::decrypting(name, error))?;
    let key = unwrap(app, access, name, file.metadata())?;
    Ok((file, key))
}

/// Whether a file that was only met in a folder is one of ours. Of two minds, it is: the error then shows when it is opened.
pub(crate) fn is_encrypted(kind: FileKind, text: &SecretBytes) -> bool {
    const MARK: &[u8] = b"sops";
    text.expose().windows(MARK.len()).any(|window| window == MARK)
        && match EncryptedFile::parse(kind, text.clone()) {
            Ok(_) => true,
            Err(sops::Error::MetadataNotFound) => false,
            Err(_) => kind != FileKind::Binary,
        }
}

/// Writes an encrypted file of type `from` as one of type `to`, with the same keys. The same bytes where the types are the
/// same.
///
/// # Errors
/// A tree that the other type has no form for.
pub(crate) fn recast(
    app: &App,
    name: &str,
    text: SecretBytes,
    from: FileKind,
    to: FileKind,
    key: &DataKey,
) -> Result<SecretBytes, Failure> {
    if from == to {
        return Ok(text);
    }
    let file = EncryptedFile::parse(from, text).map_err(|error| Failure::decrypting(name, error))?;
    let plain = file.decrypt(key, MacCheck::Check).map_err(|error| Failure::decrypting(name, error))?;
    let plain = convert::convert(app, plain.text, from, to).map_err(|failure| failure.context(name))?;
    sops::encrypt(to, plain, file.metadata().clone(), key, None).map_err(|error| Failure::encrypting(name, error))
}

/// Unwraps the data key of a file.
///
/// # Errors
/// [`Code::NoDataKey`] with what each key answered.
pub(crate) fn unwrap(app: &App, access: &Access, name: &str, metadata: &Metadata) -> Result<DataKey, Failure> {
    let groups: Vec<Vec<_>> = metadata
        .groups
        .iter()
        .map(|group| group.iter().map(|key| (key.id.clone(), key.wrapped.clone())).collect())
        .collect();
    let unwrap = |groups: &[Vec<_>]| {
        app.block_on(groups::unwrap_data_key(&access.services, groups, metadata.shamir_threshold, &access.order))
    };
    let error = match unwrap(&groups)? {
        Ok(key) => {
            tracing::debug!(file = name, "data key unwrapped");
            return Ok(key);
        }
        Err(error) => error,
    };
    for groups in old_context::variations(metadata, &groups) {
        if let Ok(key) = unwrap(&groups)? {
            term::warn(&format!(
                "{name} was written by a sops before 3.3.0 that confused encryption contexts; rotate it"
            ));
            return Ok(key);
        }
    }
    Err(Failure::unwrapping(name, &error))
}

fn order(said: Option<&str>) -> Result<Vec<String>, Failure> {
    let mut order = Vec::new();
    for kind in said.unwrap_or("age,pgp").split(',').filter(|kind| !kind.is_empty()) {
        if order.iter().any(|known| known == kind) {
            return Err(Failure::new(Code::DuplicateKeyKind, format!("Duplicate decryption key type: {kind}")));
        }
        order.push(kind.to_owned());
    }
    Ok(order)
}
