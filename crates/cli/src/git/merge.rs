//! The merge driver: three versions of an encrypted file become one, or a conflict to edit.
//!
//! The outcome is encrypted with ours' data key where nobody was removed (see [`metadata`]), and unchanged values keep their
//! ciphertext. It is decrypted again before it is given out. Whatever cannot be done leaves ours as it was and counts as a
//! conflict, which is how Git treats files that it cannot merge.

use bulla_core::{DataKey, SecretBytes};
use bulla_format::sops::{self, EncryptedFile, Exposed, FileKind, MacCheck, Metadata, PlainFile, Stash};

use crate::app::App;
use crate::engine::{self, Access};
use crate::error::Failure;
use crate::git::conflict;
use crate::git::metadata::{self, Choice, KeysEqual, Side};
use crate::git::text::{self, Merged};
use crate::rekey::{self, Recipients};

/// Three versions of one file.
pub(crate) struct Versions {
    /// The common ancestor; empty if there is none.
    pub(crate) base: SecretBytes,
    /// The branch that is merged into.
    pub(crate) ours: SecretBytes,
    /// The branch that is merged.
    pub(crate) theirs: SecretBytes,
}

/// The outcome of a merge.
pub(crate) enum Outcome {
    /// An encrypted file.
    Merged(SecretBytes),
    /// Two encrypted files in one (see [`conflict`]), and where they differ.
    Conflict(SecretBytes, Vec<String>),
    /// Neither side is encrypted: a file for Git's own merge.
    Plain,
}

/// A conflict with its sides decrypted.
pub(crate) struct OpenConflict {
    /// Ours, to take metadata from; its IVs are in `plain`.
    pub(crate) file: EncryptedFile,
    /// The data key of both.
    pub(crate) key: DataKey,
    /// Both plaintexts in one, with markers; and the IVs of ours' values.
    pub(crate) plain: PlainFile,
}

/// Merges. `name` is the file's path in the repository.
///
/// # Errors
/// If a version cannot be decrypted, or the sides disagree on more than values.
pub(crate) fn merge(
    app: &App,
    access: &Access,
    name: &str,
    versions: Versions,
    check: MacCheck,
) -> Result<Outcome, Failure> {
    let kind = crate::kind::kind_of(app.personality, None, name, versions.ours.expose());
    let mut keys = Keys::new(app, access, name);
    let ours = Version::read(&mut keys, "ours", kind, versions.ours, check)?;
    let theirs = Version::read(&mut keys, "theirs", kind, versions.theirs, check)?;
    if ours.file.is_none() && theirs.file.is_none() {
        return Ok(Outcome::Plain);
    }
    let base = if versions.base.is_empty() {
        None
    } else {
        Some(Version::read(&mut keys, "the common ancestor", kind, versions.base, check)?)
    };
    let (metadata, key, side) = who(app, access, name, base.as_ref(), &ours, &theirs)?;
    let stash = match side {
        Side::Ours => &ours.plain.stash,
        Side::Theirs => &theirs.plain.stash,
    };
    let readable = [ours.exposed(name)?, theirs.exposed(name)?];
    let sealer = Sealer { name, kind, metadata: &metadata, key: &key, readable };
    let base_text = base.as_ref().map(|base| &base.plain.text);
    let merged = text::merge(kind, base_text, &ours.plain.text, &theirs.plain.text)
        .map_err(|what| Failure::generic(format!("{name}: {what}")))?;
    match sealer.outcome(merged, stash) {
        // A comment that selects a value may not have come along with it: whoever edits the conflict sees both.
        Err(Refused::Exposed(_)) => {
            Ok(sealer.outcome(text::apart(ours.plain.text.clone(), theirs.plain.text.clone()), stash)?)
        }
        outcome => Ok(outcome?),
    }
}

/// What a merged text is encrypted with.
struct Sealer<'a> {
    name: &'a str,
    kind: FileKind,
    metadata: &'a Metadata,
    key: &'a DataKey,
    /// What of either side can be read without a key.
    readable: [Exposed; 2],
}

/// Why a merged text is not given out.
enum Refused {
    /// A value that was encrypted would be plain; the message.
    Exposed(Failure),
    /// Anything else.
    Failed(Failure),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Exposed(failure) | Refused::Failed(failure) => failure,
        }
    }
}

impl Sealer<'_> {
    /// Encrypts the merged text, and in a conflict that of theirs, and puts both into one.
    fn outcome(&self, merged: Merged, stash: &Stash) -> Result<Outcome, Refused> {
        let (ours, proven) = self.seal(merged.text, stash)?;
        let Some(conflict) = merged.conflict else { return Ok(Outcome::Merged(ours)) };
        let (theirs, _) = self.seal(conflict.theirs, &proven.stash)?;
        match conflict::fold(ours.expose(), theirs.expose()) {
            Some(folded) => Ok(Outcome::Conflict(folded, conflict.paths)),
            None => Err(Refused::Failed(Failure::generic(format!(
                "{}: the conflict has no form in this file: it has conflict markers itself",
                self.name
            )))),
        }
    }

    /// Encrypts a text, and decrypts it again with both MACs: nothing is given out that does not open, or that shows what
    /// neither side does.
    fn seal(&self, text: SecretBytes, stash: &Stash) -> Result<(SecretBytes, PlainFile), Refused> {
        let encrypted = sops::encrypt(self.kind, text, self.metadata.clone(), self.key, Some(stash))
            .map_err(|error| Refused::Failed(Failure::encrypting(self.name, error)))?;
        let failed =
            |error| Refused::Failed(Failure::decrypting(self.name, error).context("the merged file does not open"));
        let exposed = Exposed::of(self.kind, &encrypted).map_err(failed)?;
        if let Some(place) = exposed.beyond(&self.readable.each_ref()) {
            return Err(Refused::Exposed(Failure::generic(format!(
                "{}: {place} is encrypted on its side and would be plain in the merged file: what selects it (a rule, or a \
                 comment) does not merge",
                self.name
            ))));
        }
        let plain = EncryptedFile::parse(self.kind, encrypted.clone())
            .and_then(|file| file.decrypt(self.key, MacCheck::Check))
            .map_err(failed)?;
        Ok((encrypted, plain))
    }
}

/// Decrypts a file that the merge driver left with conflict markers: as ours, with both versions in the plaintext, markers around
/// what differs. `None` if there are no markers.
///
/// # Errors
/// If its sides cannot be decrypted.
pub(crate) fn open_conflict(
    app: &App,
    access: &Access,
    name: &str,
    kind: FileKind,
    text: &SecretBytes,
    check: MacCheck,
) -> Result<Option<OpenConflict>, Failure> {
    let Some(sides) = conflict::unfold(text.expose()) else { return Ok(None) };
    let mut keys = Keys::new(app, access, name);
    let hint = |failure: Failure| {
        if conflict::is_folded(text.expose()) {
            return failure;
        }
        failure
            .with_hint("Git merged this file by lines, without bulla; merge it anew with: git mergetool --tool=bulla")
    };
    let ours = Version::read(&mut keys, "ours", kind, sides.ours, check).map_err(hint)?;
    let theirs = Version::read(&mut keys, "theirs", kind, sides.theirs, check).map_err(hint)?;
    let (Some((file, key)), Some(_)) = (ours.file, theirs.file) else {
        return Err(Failure::generic(format!("{name}: has conflict markers, and its sides are not encrypted")));
    };
    // Sides that are equal in the plain are no conflict any more.
    let text = conflict::fold(ours.plain.text.expose(), theirs.plain.text.expose()).unwrap_or(theirs.plain.text);
    Ok(Some(OpenConflict { file, key, plain: PlainFile { text, ..ours.plain } }))
}

/// One version, decrypted if it was encrypted.
struct Version {
    /// The file and its data key; `None` for a plain one.
    file: Option<(EncryptedFile, DataKey)>,
    plain: PlainFile,
}

impl Version {
    fn read(
        keys: &mut Keys<'_>,
        which: &str,
        kind: FileKind,
        text: SecretBytes,
        check: MacCheck,
    ) -> Result<Self, Failure> {
        let name = format!("{} ({which})", keys.name);
        match EncryptedFile::parse(kind, text.clone()) {
            Ok(file) => {
                let key = keys.of(&name, file.metadata())?;
                let plain = file.decrypt(&key, check).map_err(|error| Failure::decrypting(&name, error))?;
                Ok(Self { file: Some((file, key)), plain })
            }
            // What is plain need not read as its ending says: a template, any bytes.
            Err(error) if is_plain(kind, &text, &error) => {
                Ok(Self { file: None, plain: PlainFile { kind, text, stash: Stash::default() } })
            }
            Err(error) => Err(Failure::decrypting(&name, error)),
        }
    }

    /// What of it can be read without a key.
    fn exposed(&self, name: &str) -> Result<Exposed, Failure> {
        let text = self.file.as_ref().map_or(&self.plain.text, |(file, _)| file.text());
        Exposed::of(self.plain.kind, text).map_err(|error| Failure::decrypting(name, error))
    }

    fn metadata(&self) -> Option<&Metadata> {
        self.file.as_ref().map(|(file, _)| file.metadata())
    }

    fn key(&self) -> Option<&DataKey> {
        self.file.as_ref().map(|(_, key)| key)
    }
}

/// Whether a text that cannot be read as an encrypted file is none.
fn is_plain(kind: FileKind, text: &SecretBytes, error: &sops::Error) -> bool {
    let has = |part: &[u8]| text.expose().windows(part.len()).any(|window| window == part);
    match error {
        sops::Error::MetadataNotFound => true,
        sops::Error::Document(_) => kind == FileKind::Binary || !has(b"sops") || !has(b"ENC["),
        _ => false,
    }
}

/// Data keys that were unwrapped: three versions mostly have one.
struct Keys<'a> {
    app: &'a App,
    access: &'a Access,
    name: &'a str,
    known: Vec<(Metadata, DataKey)>,
}

impl<'a> Keys<'a> {
    fn new(app: &'a App, access: &'a Access, name: &'a str) -> Self {
        Self { app, access, name, known: Vec::new() }
    }

    fn of(&mut self, name: &str, metadata: &Metadata) -> Result<DataKey, Failure> {
        let same =
            |known: &Metadata| known.groups == metadata.groups && known.shamir_threshold == metadata.shamir_threshold;
        if let Some((_, key)) = self.known.iter().find(|(known, _)| same(known)) {
            return Ok(key.clone());
        }
        let key = engine::unwrap(self.app, self.access, name, metadata)?;
        self.known.push((metadata.clone(), key.clone()));
        Ok(key)
    }
}

/// Who can open the outcome, with which data key, and whose IVs it keeps.
fn who(
    app: &App,
    access: &Access,
    name: &str,
    base: Option<&Version>,
    ours: &Version,
    theirs: &Version,
) -> Result<(Metadata, DataKey, Side), Failure> {
    let now = rekey::now();
    let of = |metadata: &Metadata, key: &DataKey, side| {
        Ok((Metadata { last_modified: now.clone(), ..metadata.clone() }, key.clone(), side))
    };
    // A side that is not encrypted says nothing about who can open the file.
    let (our, their) = match (&ours.file, &theirs.file) {
        (Some(our), Some(their)) => (our, their),
        (Some((file, key)), None) => return of(file.metadata(), key, Side::Ours),
        (None, Some((file, key))) => return of(file.metadata(), key, Side::Theirs),
        (None, None) => return Err(Failure::generic(format!("{name}: is not encrypted"))),
    };
    let (our_metadata, their_metadata) = (our.0.metadata(), their.0.metadata());
    let base_metadata = base.and_then(Version::metadata);
    let (mut merged, groups) = metadata::merge(base_metadata, our_metadata, their_metadata)
        .map_err(|what| Failure::generic(format!("{name}: {what}")))?;
    merged.last_modified.clone_from(&now);
    let base_key = base.and_then(Version::key);
    let equal = KeysEqual {
        ours_theirs: our.1 == their.1,
        base_ours: base_key == Some(&our.1),
        base_theirs: base_key == Some(&their.1),
    };
    let recipients = Recipients { groups, threshold: merged.shamir_threshold }.checked()?;
    merged.shamir_threshold = recipients.threshold;
    let (key, side, holder) =
        match metadata::choose(base_metadata, our_metadata, their_metadata, equal, &recipients.groups) {
            Choice::Of(Side::Ours) => (our.1.clone(), Side::Ours, Some(our_metadata)),
            Choice::Of(Side::Theirs) => (their.1.clone(), Side::Theirs, Some(their_metadata)),
            Choice::Fresh => (rekey::generate()?, Side::Ours, None),
        };
    merged.groups = match holder {
        None => rekey::wrap(app, access, name, &key, &recipients)?,
        Some(holder)
            if metadata::ids(holder) == recipients.groups && holder.shamir_threshold == recipients.threshold =>
        {
            holder.groups.clone()
        }
        Some(holder) => {
            let mut known = holder.clone();
            if equal.ours_theirs
                && let ([group], [_]) = (known.groups.as_mut_slice(), recipients.groups.as_slice())
            {
                // One data key: what the other side wrapped it for needs no wrapping.
                let others = [our_metadata, their_metadata].into_iter().flat_map(|side| side.groups.iter().flatten());
                group.extend(others.filter(|key| metadata::entry(holder, &key.id).is_none()).cloned());
            }
            rekey::rewrap(app, access, name, &key, &known, &recipients)?
        }
    };
    Ok((merged, key, side))
}
