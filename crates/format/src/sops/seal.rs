//! Encrypts a plaintext document.

use bulla_core::{DataKey, SecretBytes};
use bulla_document::{Document, EmitOptions, Kind, NodeId, Patch, Scalar, Syntax, Value, emit};

use super::cipher::{Cipher, ValueType};
use super::file::{EncryptedFile, FileKind, MacCheck};
use super::layout::{self, Recorder};
use super::mac::{Digests, Leaf, Macs};
use super::metadata::{self, Extra};
use super::pass::{empty_leaf, hash_plain, is_never_encrypted};
use super::place::Place;
use super::plain;
use super::rules::{Matched, Selector};
use super::stash::{Draw, Stash};
use super::timestamp;
use super::walk::{Visit, Walk};
use super::{Error, Metadata};

/// Texts up to this size are opened again before they are given out. For larger ones that would double the cost.
pub(super) const SELF_CHECK: usize = 1 << 20;

/// Encrypts a text that has a tree in it.
pub(super) fn text(
    syntax: Syntax,
    text: SecretBytes,
    metadata: Metadata,
    key: &DataKey,
    stash: Option<&Stash>,
) -> Result<SecretBytes, Error> {
    let document = Document::parse(syntax, text)?;
    if document.roots().is_empty() {
        return Err(Error::Empty);
    }
    if !metadata::nodes(&document).is_empty() {
        return Err(Error::AlreadyEncrypted);
    }
    let metadata = with_keys(metadata)?;
    let selector = Selector::new(&metadata.rules)?;
    let recorder = Recorder::default();
    // What an alias stands for may change when its anchor's value does, as a key it is not written out.
    if document.text().len() > SELF_CHECK && !document.has_aliases() {
        return seal(&document, &selector, metadata, key, stash, recorder);
    }
    let sealed = seal(&document, &selector, metadata.clone(), key, stash, recorder)?;
    match opens_as(&document, &sealed, key) {
        Ok(true) => return Ok(sealed),
        Ok(false) => {}
        Err(_) if document.has_alias_as_key() => {
            let what =
                "an alias stands as a key, and would be another key once its anchor's value is encrypted; write it out";
            return Err(Error::Rule(what.to_owned()));
        }
        Err(error) => return Err(error),
    }
    // Something around the values does not come back by itself.
    let mut said = Macs::new(&Metadata::default());
    hash_plain(&document, &selector, &mut said)?;
    let mut recorder = Recorder::default();
    recorder.whole(&said.finish().bound, document.text().expose());
    let sealed = seal(&document, &selector, metadata, key, stash, recorder)?;
    if !opens_as(&document, &sealed, key)? {
        return Err(Error::SelfCheck("it becomes another text".to_owned()));
    }
    Ok(sealed)
}

fn seal(
    document: &Document,
    selector: &Selector,
    mut metadata: Metadata,
    key: &DataKey,
    stash: Option<&Stash>,
    mut recorder: Recorder,
) -> Result<SecretBytes, Error> {
    let with_room = if ends_in_comment(document) { Some(with_room_for_metadata(document)?) } else { None };
    let document = with_room.as_ref().unwrap_or(document);
    let room = metadata::nodes(document);
    let mut sealer = Sealer::new(key, stash, Macs::new(&metadata), selector);
    let mut patch = document.patch();
    sealer.document(document, &room, &mut patch, &mut recorder)?;

    let layout = recorder.finish();
    let Sealer { mut cipher, mut draw, macs, .. } = sealer;
    let mut extra = seal_macs(&mut cipher, &mut metadata, &macs.finish())?;
    extra.layout =
        layout.map(|layout| seal_text(&mut cipher, &mut draw, layout::ASSOCIATED, layout.expose())).transpose()?;
    let tree = metadata::to_tree(&metadata, &extra);
    for &node in &room {
        patch.set_value(node, &tree)?;
    }
    if room.is_empty() {
        for &root in document.roots() {
            patch.insert(root, &metadata::entries(&tree, document.syntax()))?;
        }
    }
    Ok(patch.finish())
}

/// Whether an encrypted text opens and is the document's text again.
fn opens_as(document: &Document, sealed: &SecretBytes, key: &DataKey) -> Result<bool, Error> {
    let opened = EncryptedFile::parse(FileKind::Text(document.syntax()), sealed.clone())
        .and_then(|file| file.decrypt(key, MacCheck::Strict))
        .map_err(|error| Error::SelfCheck(error.to_string()))?;
    Ok(opened.text == *document.text())
}

/// Whether a YAML document ends in a comment.
fn ends_in_comment(document: &Document) -> bool {
    let is_comment =
        |root: &NodeId| document.subtree(*root).next_back().is_some_and(|last| document.kind(last) == Kind::Comment);
    document.syntax() == Syntax::Yaml && document.roots().iter().any(is_comment)
}

/// The same document with metadata in it, to be replaced.
///
/// To which map or list a comment belongs depends on what follows it, and its associated data is the place of that. So that it
/// is where every reader of the file will see it, the entry that will follow has to stand there first.
fn with_room_for_metadata(document: &Document) -> Result<Document, Error> {
    let mut patch = document.patch();
    let entry = Value::Map(vec![("version".to_owned(), Value::str("0"))]);
    for &root in document.roots() {
        patch.insert(root, &metadata::entries(&entry, document.syntax()))?;
    }
    Ok(Document::parse(document.syntax(), patch.finish())?)
}

/// Encrypts any bytes.
pub(super) fn binary(
    mut content: SecretBytes,
    metadata: Metadata,
    key: &DataKey,
    stash: Option<&Stash>,
) -> Result<SecretBytes, Error> {
    const DATA: &[u8] = b"data:";
    let mut metadata = with_keys(metadata)?;
    // As in sops, the one value is always encrypted.
    metadata.rules = super::Rules::default();
    let mut place = Place::default();
    place.enter_key("data");
    let mut macs = Macs::for_binary(&metadata);
    macs.leaf(0, &place, Leaf::Str, content.expose(), true);

    let mut cipher = Cipher::new(key);
    let mut draw = Draw::new(stash);
    let extra = seal_macs(&mut cipher, &mut metadata, &macs.finish())?;
    let tree = Value::Map(vec![("sops".to_owned(), metadata::to_tree(&metadata, &extra))]);
    let tail = emit(&[tree], Syntax::Json, EmitOptions::default())?;
    // Without the opening bracket, which stands before `data` already.
    let tail = tail.expose().strip_prefix(b"{").unwrap_or_default();

    let mut out = SecretBytes::with_capacity(content.len() / 3 * 4 + tail.len() + 256);
    out.extend_from_slice(b"{\n\t\"data\": \"");
    if !content.is_empty() {
        let iv = match draw.take(DATA, ValueType::Str, content.expose()) {
            Some(iv) => iv,
            None => cipher.fresh_iv()?,
        };
        cipher
            .seal_in_place(content.expose_mut(), ValueType::Str, DATA, &iv, &mut out)
            .map_err(|reason| Error::Value { path: "data".to_owned(), reason })?;
    }
    out.extend_from_slice(b"\",");
    out.extend_from_slice(tail);
    Ok(out)
}

/// A file that nobody can open is never written.
fn with_keys(metadata: Metadata) -> Result<Metadata, Error> {
    let metadata = metadata.normalized();
    if metadata.groups.is_empty() {
        return Err(Error::Metadata("there is no key that could open the file".to_owned()));
    }
    Ok(metadata)
}

/// Encrypts both MACs: sops' into the metadata, bulla's into what is given back.
pub(super) fn seal_macs(cipher: &mut Cipher, metadata: &mut Metadata, digests: &Digests) -> Result<Extra, Error> {
    let none = &mut Draw::new(None);
    let date = date(metadata)?;
    metadata.mac = seal_text(cipher, none, date.as_bytes(), digests.sops.as_bytes())?;
    let mac = seal_text(cipher, none, bound_associated(&date).as_bytes(), &digests.bound)?;
    Ok(Extra { layout: None, mac: Some(mac) })
}

/// `lastmodified` as sops prints it: the MAC's associated data.
pub(super) fn date(metadata: &Metadata) -> Result<String, Error> {
    timestamp::to_the_second(&metadata.last_modified)
        .ok_or_else(|| Error::Metadata("\"lastmodified\" is missing or no time stamp".to_owned()))
}

/// The associated data of bulla's MAC.
pub(super) fn bound_associated(date: &str) -> String {
    format!("bulla:mac:{date}")
}

fn seal_text(cipher: &mut Cipher, draw: &mut Draw<'_>, associated: &[u8], plain: &[u8]) -> Result<String, Error> {
    let mut out = Vec::new();
    let iv = match draw.take(associated, ValueType::Str, plain) {
        Some(iv) => iv,
        None => cipher.fresh_iv()?,
    };
    cipher
        .seal(plain, ValueType::Str, associated, &iv, &mut out)
        .map_err(|reason| Error::Value { path: "sops".to_owned(), reason })?;
    // What is sealed is ASCII.
    Ok(String::from_utf8(out).unwrap_or_default())
}

/// What encrypting one document needs, reused from value to value.
pub(super) struct Sealer<'s> {
    cipher: Cipher,
    draw: Draw<'s>,
    macs: Macs,
    selector: &'s Selector,
    /// The last encrypted form.
    sealed: Vec<u8>,
    scratch: SecretBytes,
}

impl<'s> Sealer<'s> {
    fn new(key: &DataKey, stash: Option<&'s Stash>, macs: Macs, selector: &'s Selector) -> Self {
        Self {
            cipher: Cipher::new(key),
            draw: Draw::new(stash),
            macs,
            selector,
            sealed: Vec::new(),
            scratch: SecretBytes::new(),
        }
    }

    fn document(
        &mut self,
        document: &Document,
        skip: &[NodeId],
        patch: &mut Patch<'_>,
        recorder: &mut Recorder,
    ) -> Result<(), Error> {
        let mut walk = Walk::new(document, self.selector, skip);
        let mut deciding = None;
        while let Some(visit) = walk.next()? {
            if document.is_alias(visit.id) {
                self.alias(document, &visit, &mut walk, patch, recorder)?;
                continue;
            }
            if let Some(tag) = document.custom_tag(visit.id) {
                self.macs.tag(visit.document, walk.place(), tag, visit.encrypted);
            }
            match visit.kind {
                Kind::Comment => {
                    if self.selector.decides(document.scalar(visit.id).as_bytes().unwrap_or_default()) {
                        deciding = Some(visit.id);
                    }
                    self.comment(document, &visit, walk.place(), patch, recorder)?;
                }
                Kind::Scalar => {
                    let scalar = document.scalar(visit.id);
                    if self.scalar(&visit, walk.place(), &scalar)? {
                        if deciding.is_some_and(|comment| is_within(document, comment, visit.id)) {
                            let what = "the comment behind the block's `|` or `>` decides what is encrypted, and goes when the \
                                        block is encrypted; write it on a line above";
                            return Err(Error::Rule(format!("{}: {what}", walk.place())));
                        }
                        patch.set_scalar(visit.id, &Scalar::Str(self.sealed.as_slice().into()))?;
                        if !document.restores(visit.id)
                            && let Some((plain, _)) = plain::of(&scalar, &mut self.scratch)
                        {
                            let leaf = Leaf::of(&scalar);
                            recorder.value(visit.document, walk.place(), leaf, plain, document.source(visit.id));
                        }
                    }
                }
                Kind::Map | Kind::Seq => {
                    if let Some(leaf) = empty_leaf(document, &visit) {
                        self.macs.leaf(visit.document, walk.place(), leaf, b"", false);
                    }
                }
            }
        }
        Ok(())
    }

    /// Replaces an alias by what it stands for: encrypted, the anchor's values are bound to the anchor's place.
    fn alias(
        &mut self,
        document: &Document,
        visit: &Visit,
        walk: &mut Walk<'_, '_>,
        patch: &mut Patch<'_>,
        recorder: &mut Recorder,
    ) -> Result<(), Error> {
        let has_comment_rule = |id| {
            document.kind(id) == Kind::Comment
                && self.selector.decides(document.scalar(id).as_bytes().unwrap_or_default())
        };
        if document.subtree(visit.id).any(has_comment_rule) {
            let what = "a comment that decides what is encrypted stands in what an alias repeats; write it out";
            return Err(Error::Rule(format!("{}: {what}", walk.place())));
        }
        let value = document.to_value(visit.id);
        let mut place = walk.place().clone();
        let sealed = self.tree(visit.document, &mut place, visit.matched, &value)?;
        patch.set_value(visit.id, &sealed)?;
        recorder.alias(visit.document, walk.place(), document.source(visit.id));
        walk.skip_below(visit.id);
        Ok(())
    }

    fn tree(&mut self, document: u32, place: &mut Place, matched: Matched, value: &Value) -> Result<Value, Error> {
        let mark = place.mark();
        Ok(match value {
            Value::Map(entries) if !entries.is_empty() => {
                let sealed = entries.iter().map(|(key, value)| {
                    let matched = self.selector.at_key(matched.below(), key);
                    place.enter_key(key);
                    let sealed = self.tree(document, place, matched, value);
                    place.leave_to(mark);
                    Ok((key.clone(), sealed?))
                });
                Value::Map(sealed.collect::<Result<_, Error>>()?)
            }
            Value::Seq(items) if !items.is_empty() => {
                let sealed = (0..).zip(items).map(|(index, value)| {
                    place.enter_index(index);
                    let sealed = self.tree(document, place, matched.below(), value);
                    place.leave_to(mark);
                    sealed
                });
                Value::Seq(sealed.collect::<Result<_, Error>>()?)
            }
            Value::Map(_) | Value::Seq(_) => {
                let leaf = if matches!(value, Value::Map(_)) { Leaf::EmptyMap } else { Leaf::EmptyList };
                self.macs.leaf(document, place, leaf, b"", false);
                value.clone()
            }
            scalar => {
                let Some(scalar) = scalar.as_scalar() else { return Ok(Value::Null) };
                let encrypted = self.selector.encrypts(matched);
                if self.leaf(document, place, encrypted, &scalar)? {
                    Value::Str(self.sealed.clone().into())
                } else {
                    value.clone()
                }
            }
        })
    }

    fn scalar(&mut self, visit: &Visit, place: &Place, scalar: &Scalar<'_>) -> Result<bool, Error> {
        self.leaf(visit.document, place, visit.encrypted, scalar)
    }

    /// Takes a value in. `true` if it is to be replaced by what is in `sealed` now.
    fn leaf(&mut self, document: u32, place: &Place, encrypted: bool, scalar: &Scalar<'_>) -> Result<bool, Error> {
        let leaf = Leaf::of(scalar);
        let Some((plain, value_type)) = plain::of(scalar, &mut self.scratch) else {
            self.macs.leaf(document, place, leaf, b"", false);
            return Ok(false);
        };
        self.macs.leaf(document, place, leaf, plain, encrypted);
        if !encrypted || is_never_encrypted(scalar) {
            return Ok(false);
        }
        self.sealed.clear();
        seal_value(&mut self.cipher, &mut self.draw, place.associated(), value_type, plain, &mut self.sealed)
            .map_err(|error| error.at(place))?;
        Ok(true)
    }

    fn comment(
        &mut self,
        document: &Document,
        visit: &Visit,
        place: &Place,
        patch: &mut Patch<'_>,
        recorder: &mut Recorder,
    ) -> Result<(), Error> {
        let scalar = document.scalar(visit.id);
        let text = scalar.as_bytes().unwrap_or_default();
        if !visit.encrypted || text.is_empty() || document.is_virtual(visit.id) {
            return Ok(());
        }
        self.sealed.clear();
        let (cipher, draw) = (&mut self.cipher, &mut self.draw);
        seal_value(cipher, draw, place.associated(), ValueType::Comment, text, &mut self.sealed)
            .map_err(|error| error.at(place))?;
        if self.selector.is_fooled_by(&self.sealed) {
            let what =
                "unencrypted_comment_regex matches an encrypted comment, which then could not be told from a plain one";
            return Err(Error::Rule(what.to_owned()));
        }
        patch.set_scalar(visit.id, &Scalar::Str(self.sealed.as_slice().into()))?;
        if !document.restores(visit.id) {
            recorder.comment(visit.document, place.associated(), text, document.source(visit.id));
        }
        Ok(())
    }
}

/// Whether a comment stands in the text of a value: behind the header of a block.
fn is_within(document: &Document, comment: NodeId, value: NodeId) -> bool {
    let (comment, value) = (document.source(comment).as_ptr_range(), document.source(value).as_ptr_range());
    value.start <= comment.start && comment.end <= value.end
}

/// Why one value could not be sealed.
pub(super) enum SealError {
    Reason(&'static str),
    Random(getrandom::Error),
}

impl SealError {
    pub(super) fn at(self, place: &Place) -> Error {
        match self {
            Self::Reason(reason) => Error::Value { path: place.to_string(), reason },
            Self::Random(error) => Error::Random(error),
        }
    }
}

/// Appends the encrypted form of one value, with the IV that it had if it is known.
pub(super) fn seal_value(
    cipher: &mut Cipher,
    draw: &mut Draw<'_>,
    associated: &[u8],
    value_type: ValueType,
    plain: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), SealError> {
    let iv = match draw.take(associated, value_type, plain) {
        Some(iv) => iv,
        None => cipher.fresh_iv().map_err(SealError::Random)?,
    };
    cipher.seal(plain, value_type, associated, &iv, out).map_err(SealError::Reason)
}
