//! Decrypts an encrypted document, all of it or a part.

use bulla_core::{DataKey, SecretBytes};
use bulla_document::{Document, Kind, NodeId, Scalar, Step, Syntax, Value};
use subtle::ConstantTimeEq as _;

use super::cipher::{Cipher, Sealed, ValueType};
use super::collect::Collector;
use super::file::{EncryptedFile, FileKind, MacCheck, PlainFile};
use super::layout::{self, Given, Layout, is_context_free};
use super::mac::{Digests, Macs};
use super::pass::{Found, hash_plain};
use super::place::Place;
use super::resolve::{Target, items, resolve};
use super::seal::{bound_associated, date};
use super::stash::Stash;
use super::walk::Visit;
use super::{Error, Metadata};

/// How far the record of how values were written is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Restore {
    Everything,
    /// Only what means the same wherever it stands.
    ContextFree,
}

/// A decrypted text, and whether it has to be read again to know that it says what it should.
struct Opened {
    text: SecretBytes,
    stash: Stash,
    /// What the values hash to, if something was restored that depends on its surroundings.
    to_verify: Option<Digests>,
}

/// See [`EncryptedFile::decrypt`].
pub(super) fn decrypt(file: &EncryptedFile, key: &DataKey, check: MacCheck) -> Result<PlainFile, Error> {
    let cipher = Cipher::new(key);
    let opened = match file.kind {
        FileKind::Binary => open_binary(file, &cipher, check)?,
        FileKind::Text(syntax) => {
            let opened = open_text(file, &cipher, check, Restore::Everything)?;
            if let Ok(opened) = that_says_the_same(file, &cipher, syntax, opened)? {
                opened
            } else {
                // An anchor was changed since, or a block does not stand as deep as it did.
                let opened = open_text(file, &cipher, check, Restore::ContextFree)?;
                match that_says_the_same(file, &cipher, syntax, opened)? {
                    // The values are what was proven. The text would give some of them, decrypted, to other places.
                    Err(_) if file.document.has_aliases() => return Err(Error::Alias),
                    Ok(opened) | Err(opened) => opened,
                }
            }
        }
    };
    Ok(PlainFile { kind: file.kind, text: opened.text, stash: opened.stash })
}

/// See [`EncryptedFile::extract`].
pub(super) fn extract(file: &EncryptedFile, key: &DataKey, path: &[Step], check: MacCheck) -> Result<Value, Error> {
    let cipher = Cipher::new(key);
    let Target::Node(node) = resolve(&file.document, &file.located.nodes, path)? else {
        return Err(Error::Path(format!("there is no value at {}", shown(path))));
    };
    let mut collector = Collector::new(&file.document, node);
    let mut macs = file.macs();
    file.pass(&cipher).run(|visit, place, found| {
        feed(&mut macs, &file.document, visit, place, &found);
        collector.take(visit.id, &found);
        Ok(())
    })?;
    verify(file, &cipher, &macs.finish(), check)?;
    Ok(collector.finish())
}

/// A path as messages show it.
pub(super) fn shown(path: &[Step]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for step in path {
        // Appending to a `String` never fails.
        let _ = match step {
            Step::Key(key) => write!(text, "[{key:?}]"),
            Step::Index(index) => write!(text, "[{index}]"),
        };
    }
    text
}

/// Gives what was found to the MACs.
pub(super) fn feed(macs: &mut Macs, document: &Document, visit: &Visit, place: &Place, found: &Found<'_>) {
    let is_comment = matches!(found, Found::Comment { .. } | Found::CommentItem { .. });
    if let Some(tag) = document.custom_tag(visit.id).filter(|_| !is_comment) {
        macs.tag(visit.document, place, tag, visit.encrypted);
    }
    feed_leaf(macs, visit, place, found);
}

/// Gives a found value to the MACs, without its tag.
fn feed_leaf(macs: &mut Macs, visit: &Visit, place: &Place, found: &Found<'_>) {
    if let Found::Value(value) = found {
        let is_value = !matches!(value.scalar, Scalar::Null);
        macs.leaf(visit.document, place, value.leaf, value.plain, visit.encrypted && is_value);
    }
}

/// Checks what was computed against what the file says.
pub(super) fn verify(file: &EncryptedFile, cipher: &Cipher, computed: &Digests, check: MacCheck) -> Result<(), Error> {
    if check == MacCheck::Ignore {
        return Ok(());
    }
    let metadata = &file.located.metadata;
    let date = date(metadata)?;
    if metadata.mac.is_empty() {
        return Err(Error::Mac("the file has no MAC".to_owned()));
    }
    let mut plain = SecretBytes::new();
    open_string(cipher, &metadata.mac, date.as_bytes(), &mut plain)
        .map_err(|reason| Error::Mac(format!("the file's MAC cannot be decrypted: {reason}")))?;
    if !bool::from(plain.expose().ct_eq(computed.sops.as_bytes())) {
        return Err(Error::Mac("values of the file were changed without its data key".to_owned()));
    }

    let Some(mac) = &file.located.extra.mac else {
        return match check {
            MacCheck::Strict => Err(Error::Mac(
                "the file has no MAC of bulla's, which strict checking demands; encrypting it again adds one"
                    .to_owned(),
            )),
            _ => Ok(()),
        };
    };
    open_string(cipher, mac, bound_associated(&date).as_bytes(), &mut plain)
        .map_err(|reason| Error::Mac(format!("bulla's MAC of the file cannot be decrypted: {reason}")))?;
    if !bool::from(plain.expose().ct_eq(&computed.bound)) {
        return Err(Error::Mac(
            "keys, types, recipients or rules of the file were changed, or values moved between keys, without its data key"
                .to_owned(),
        ));
    }
    Ok(())
}

fn open_string(cipher: &Cipher, text: &str, associated: &[u8], plain: &mut SecretBytes) -> Result<(), &'static str> {
    let sealed = Sealed::parse(text.as_bytes())?;
    if sealed.value_type != ValueType::Str {
        return Err("it is not a string");
    }
    cipher.open(&sealed, associated, plain)
}

/// The record of how values were written, and how it was encrypted. One that does not decrypt is as if there were none: nothing depends on it.
fn read_layout(file: &EncryptedFile, cipher: &Cipher, stash: &mut Stash) -> Layout {
    let mut record = SecretBytes::new();
    let Some(text) = &file.located.extra.layout else { return Layout::default() };
    if open_string(cipher, text, layout::ASSOCIATED, &mut record).is_err() {
        tracing::warn!("the record of how values were written does not decrypt; they are written plainly");
        return Layout::default();
    }
    if let Some(iv) = Sealed::parse(text.as_bytes()).ok().as_ref().and_then(Sealed::iv) {
        stash.put(layout::ASSOCIATED, ValueType::Str, record.expose(), iv);
    }
    Layout::parse(record)
}

fn open_text(file: &EncryptedFile, cipher: &Cipher, check: MacCheck, restore: Restore) -> Result<Opened, Error> {
    let document = &file.document;
    let mut patch = document.patch();
    let mut stash = Stash::new()?;
    let layout = read_layout(file, cipher, &mut stash);
    let mut macs = file.macs();
    // Hashed apart: what is read again is plaintext, of which the rules tell less.
    // An alias of what is decrypted, or of what goes with the metadata, would stand for something else.
    let mut to_verify = document.has_aliases();
    let mut said = (to_verify || layout.depends_on_surroundings()).then(|| Macs::new(&Metadata::default()));
    // The last node of what was replaced as a whole.
    let mut restored: Option<NodeId> = None;
    let mut given = Given::default();
    file.pass(cipher).run(|visit, place, found| {
        let id = visit.id;
        feed(&mut macs, &file.document, visit, place, &found);
        if let Some(said) = &mut said {
            feed_leaf(said, visit, place, &found);
        }
        keep_iv(&mut stash, place.associated(), &found);
        // What is below an alias that was put back is in the text no more.
        if restored.is_some_and(|last| id <= last) || document.is_virtual(id) || document.is_alias(id) {
            return Ok(());
        }
        if restore == Restore::Everything
            && !matches!(found, Found::Comment { .. } | Found::CommentItem { .. })
            && let Some(source) = layout.alias(visit.document, place)
        {
            patch.set_source(id, source);
            to_verify = true;
            restored = document.subtree(id).next_back();
            return Ok(());
        }
        match found {
            Found::Value(value) if value.sealed.is_some() => {
                let source = layout.value(&mut given, visit.document, place, value.leaf, value.plain);
                match source.map(|source| (source, is_context_free(source))) {
                    Some((source, context_free)) if context_free || restore == Restore::Everything => {
                        to_verify |= !context_free;
                        patch.set_source(id, source);
                    }
                    _ => patch.set_scalar(id, value.scalar)?,
                }
            }
            Found::Comment { text, associated, .. } => {
                match layout.comment(&mut given, visit.document, associated, text) {
                    Some(source) if restore == Restore::Everything => {
                        to_verify = true;
                        patch.set_source(id, source);
                    }
                    _ => patch.set_scalar(id, &Scalar::Str(text.into()))?,
                }
            }
            // A comment in a list again, or gone where the syntax has no place for one, as in sops.
            Found::CommentItem { text } => {
                if !patch.comment_out(id, text) {
                    patch.remove(id)?;
                }
            }
            // Without what sops made of comments nothing is left of the list, which would be null then.
            Found::Collection if document.kind(id) == Kind::Seq && items(document, id).next().is_none() => {
                patch.set_value(id, &Value::Seq(Vec::new()))?;
                restored = document.subtree(id).next_back();
            }
            Found::Value(_) | Found::Collection => {}
        }
        Ok(())
    })?;
    verify(file, cipher, &macs.finish(), check)?;
    for &node in &file.located.nodes {
        patch.remove(node)?;
    }
    let said = said.map(Macs::finish);
    if restore == Restore::Everything
        && let Some(whole) = said.as_ref().and_then(|said| layout.whole(&said.bound))
    {
        return Ok(Opened { text: SecretBytes::from(whole), stash, to_verify: None });
    }
    Ok(Opened { text: patch.finish(), stash, to_verify: said.filter(|_| to_verify) })
}

fn keep_iv(stash: &mut Stash, associated: &[u8], found: &Found<'_>) {
    let (associated, sealed, plain) = match found {
        Found::Value(value) => match value.sealed {
            Some(sealed) => (associated, sealed, value.plain),
            None => return,
        },
        Found::Comment { text, sealed, associated } => (*associated, *sealed, *text),
        Found::Collection | Found::CommentItem { .. } => return,
    };
    if let Some(iv) = sealed.iv() {
        stash.put(associated, sealed.value_type, plain, iv);
    }
}

/// Checks that a text stands for the values that were decrypted, where that can be in doubt; gives it back as an error if not.
///
/// A text that had no line end at its end has none again. Where another value is the last now than was then, and that is a
/// block, the line end is a part of it: it is added.
fn that_says_the_same(
    file: &EncryptedFile,
    cipher: &Cipher,
    syntax: Syntax,
    mut opened: Opened,
) -> Result<Result<Opened, Opened>, Error> {
    let is_cut = syntax == Syntax::Yaml && !opened.text.expose().ends_with(b"\n");
    let said = match opened.to_verify.take() {
        Some(said) => said,
        None if is_cut => {
            let mut said = Macs::new(&Metadata::default());
            file.pass(cipher).run(|visit, place, found| {
                feed_leaf(&mut said, visit, place, &found);
                Ok(())
            })?;
            said.finish()
        }
        None => return Ok(Ok(opened)),
    };
    let says = |text: &SecretBytes| {
        let Ok(document) = Document::parse(syntax, text.clone()) else { return false };
        let mut macs = Macs::new(&Metadata::default());
        hash_plain(&document, &file.selector, &mut macs).is_ok() && macs.finish().bound.ct_eq(&said.bound).into()
    };
    if says(&opened.text) {
        return Ok(Ok(opened));
    }
    if is_cut {
        opened.text.extend_from_slice(b"\n");
        if says(&opened.text) {
            return Ok(Ok(opened));
        }
        opened.text.truncate(opened.text.len() - 1);
    }
    Ok(Err(opened))
}

/// The one value of a binary file.
fn open_binary(file: &EncryptedFile, cipher: &Cipher, check: MacCheck) -> Result<Opened, Error> {
    let path = [Step::Key("data".to_owned())];
    let Target::Node(data) = resolve(&file.document, &file.located.nodes, &path)? else {
        return Err(Error::Path("there is no \"data\" in it: it is not an encrypted binary file".to_owned()));
    };
    let mut stash = Stash::new()?;
    let mut macs = file.macs();
    let mut content = None;
    file.pass(cipher).run_taking(Some(data), &mut content, |visit, place, found| {
        feed(&mut macs, &file.document, visit, place, &found);
        keep_iv(&mut stash, place.associated(), &found);
        Ok(())
    })?;
    verify(file, cipher, &macs.finish(), check)?;
    let text = content.ok_or_else(|| Error::Path("its \"data\" is not a string".to_owned()))?;
    Ok(Opened { text, stash, to_verify: None })
}
