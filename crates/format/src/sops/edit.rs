//! Changes an encrypted document in place.

use bulla_core::{DataKey, SecretBytes};
use bulla_document::{Document, Kind, NodeId, Scalar, Step, Syntax, Value};

use super::cipher::Cipher;
use super::collect::Collector;
use super::file::{EncryptedFile, MacCheck};
use super::mac::{Digests, Leaf};
use super::metadata::{self, Extra, Located, locate};
use super::open::{feed, shown, verify};
use super::pass::{Found, is_never_encrypted};
use super::plain;
use super::resolve::{Target, items, resolve};
use super::seal::{SELF_CHECK, seal_macs, seal_value};
use super::stash::Draw;
use super::{Error, Metadata};

/// See [`EncryptedFile::set`].
pub(super) fn set(
    file: &EncryptedFile,
    key: &DataKey,
    path: &[Step],
    value: &Value,
    check: MacCheck,
    now: &str,
) -> Result<Option<SecretBytes>, Error> {
    if path.is_empty() {
        return Err(Error::Path("the path is empty".to_owned()));
    }
    let mut cipher = Cipher::new(key);
    let target = resolve(&file.document, &file.located.nodes, path)?;
    let scalar = value.as_scalar();
    if let (Target::Node(node), Some(scalar)) = (target, &scalar)
        && file.document.kind(node) == Kind::Scalar
        && !file.document.has_aliases()
    {
        return set_scalar(file, &mut cipher, node, scalar, check, now);
    }

    if matches!(target, Target::Missing { .. }) && is_read_otherwise(file, scalar.as_ref()) {
        let added = set(file, key, path, &Value::str("-"), check, now)?;
        let added = added.map(|text| EncryptedFile::parse(file.kind, text)).transpose()?;
        return added.map_or(Ok(None), |added| set(&added, key, path, value, check, now));
    }

    let (Target::Node(at) | Target::Missing { at, .. }) = target;
    // What is below an alias stands elsewhere in the text; the alias is written out then.
    let alias = outermost_alias(&file.document, at);
    let found = collect(file, &cipher, alias.map_or(at, |(alias, _)| alias), check)?;
    let edited = match (target, alias) {
        (_, Some((alias, depth))) => replace_alias(file, alias, depth, found, path, value)?,
        (Target::Node(_), None) if found == *value => None,
        (Target::Node(node), None) => Some(replace(file, node, path, value)?),
        (Target::Missing { at, depth }, None) => Some(add(file, at, depth, path, value)?),
    };
    edited.map(|edited| reseal(file, &mut cipher, edited.text, Some(&edited.fresh), now)).transpose()
}

/// See [`EncryptedFile::unset`].
pub(super) fn unset(
    file: &EncryptedFile,
    key: &DataKey,
    path: &[Step],
    check: MacCheck,
    now: &str,
) -> Result<SecretBytes, Error> {
    let mut cipher = Cipher::new(key);
    let document = &file.document;
    let (Target::Node(node), Some(parent)) = (resolve(document, &file.located.nodes, path)?, path.len().checked_sub(1))
    else {
        return Err(Error::Path(format!("there is no value at {}", shown(path))));
    };
    let mut changes = document.patch();
    if let Some((alias, depth)) = outermost_alias(document, node).filter(|(alias, _)| *alias != node) {
        let mut tree = collect(file, &cipher, alias, check)?;
        take(&mut tree, &path[depth..]);
        changes.set_value(alias, &tree)?;
        return reseal(file, &mut cipher, changes.finish(), Some(&path[..depth]), now);
    }
    collect(file, &cipher, node, check)?;
    let siblings = |map| document.children(map).filter(|&id| document.kind(id) != Kind::Comment).count();
    match document.parent(node) {
        // Without its last entry a map of YAML's would be read as null.
        Some(map) if document.syntax() == Syntax::Yaml && parent > 0 && siblings(map) == 1 => {
            let empty = if document.kind(map) == Kind::Map { Value::Map(Vec::new()) } else { Value::Seq(Vec::new()) };
            changes.set_value(map, &empty)?;
        }
        _ => changes.remove(node)?,
    }
    reseal(file, &mut cipher, changes.finish(), None, now)
}

/// See [`EncryptedFile::with_metadata`].
pub(super) fn with_metadata(
    file: &EncryptedFile,
    key: &DataKey,
    metadata: Metadata,
    check: MacCheck,
) -> Result<SecretBytes, Error> {
    let old = &file.located.metadata;
    if metadata.rules != old.rules {
        return Err(Error::Rule("other selection rules take the file to be encrypted anew".to_owned()));
    }
    if metadata.groups.iter().all(Vec::is_empty) {
        return Err(Error::Metadata("there is no key that could open the file".to_owned()));
    }
    let mut cipher = Cipher::new(key);
    let metadata = Metadata { mac: old.mac.clone(), last_modified: old.last_modified.clone(), ..metadata.normalized() };
    let mut macs = file.macs();
    let mut new_macs = file.macs_with(&metadata);
    file.pass(&cipher).run(|visit, place, found| {
        feed(&mut macs, &file.document, visit, place, &found);
        feed(&mut new_macs, &file.document, visit, place, &found);
        Ok(())
    })?;
    verify(file, &cipher, &macs.finish(), check)?;
    // sops' MAC and its IV stay; what is made anew for it here is dropped.
    let extra = seal_macs(&mut cipher, &mut metadata.clone(), &new_macs.finish())?;
    let extra = Extra { layout: file.located.extra.layout.clone(), ..extra };
    let mut patch = file.document.patch();
    metadata::update(&mut patch, &file.document, &file.located, &metadata::to_tree(&metadata, &extra))?;
    opens_again(file, &cipher, patch.finish())
}

/// Replaces one value by one value: everything else stays where it is, so one pass over what was read is enough.
fn set_scalar(
    file: &EncryptedFile,
    cipher: &mut Cipher,
    target: NodeId,
    new: &Scalar<'_>,
    check: MacCheck,
    now: &str,
) -> Result<Option<SecretBytes>, Error> {
    let mut scratch = SecretBytes::new();
    let (plain, value_type) = plain::of(new, &mut scratch).unzip();
    let plain = plain.unwrap_or_default();
    let mut macs = file.macs();
    let mut new_macs = file.macs();
    let mut is_equal = false;
    // Where it stands, if it is to be encrypted there.
    let mut sealed_at = None;
    file.pass(cipher).run(|visit, place, found| {
        feed(&mut macs, &file.document, visit, place, &found);
        match found {
            Found::Value(value) if visit.id == target => {
                is_equal = value.scalar == new;
                let sealed = visit.encrypted && !is_never_encrypted(new);
                // What is no string loses its tag where it is written.
                if let Some(tag) = file.document.custom_tag(target).filter(|_| sealed || new.as_bytes().is_some()) {
                    new_macs.tag(visit.document, place, tag, visit.encrypted);
                }
                new_macs.leaf(visit.document, place, Leaf::of(new), plain, visit.encrypted && *new != Scalar::Null);
                sealed_at = sealed.then(|| place.clone());
            }
            found => feed(&mut new_macs, &file.document, visit, place, &found),
        }
        Ok(())
    })?;
    verify(file, cipher, &macs.finish(), check)?;
    if is_equal {
        return Ok(None);
    }
    // What has no form in plain must not be encrypted either: the file would decrypt no more.
    file.document.patch().set_scalar(target, new)?;
    let mut patch = file.document.patch();
    match (sealed_at, value_type) {
        (Some(place), Some(value_type)) => {
            let mut sealed = Vec::new();
            seal_value(cipher, &mut Draw::new(None), place.associated(), value_type, plain, &mut sealed)
                .map_err(|error| error.at(&place))?;
            patch.set_scalar(target, &Scalar::Str(sealed.into()))?;
        }
        _ => patch.set_scalar(target, new)?,
    }
    update_macs(file, cipher, &file.document, &file.located, &mut patch, &new_macs.finish(), now)?;
    opens_again(file, cipher, patch.finish()).map(Some)
}

/// Reads a changed text, encrypts what is plaintext in it, and makes its MACs.
///
/// What was changed is read from the text itself, so that what is signed is what any reader will see there.
fn reseal(
    file: &EncryptedFile,
    cipher: &mut Cipher,
    text: SecretBytes,
    fresh: Option<&[Step]>,
    now: &str,
) -> Result<SecretBytes, Error> {
    let document = Document::parse(file.document.syntax(), text)?;
    let located = locate(&document)?;
    let fresh = match fresh.map(|path| resolve(&document, &located.nodes, path)).transpose()? {
        Some(Target::Node(node)) => Some(node),
        Some(Target::Missing { .. }) => return Err(Error::Path("the value cannot be written there".to_owned())),
        None => None,
    };
    let mut macs = file.macs();
    let mut patch = document.patch();
    // Two ciphers: the pass borrows one for as long as it runs.
    let mut second = cipher.clone_for_sealing();
    let pass = super::pass::Pass { document: &document, selector: &file.selector, skip: &located.nodes, cipher, fresh };
    let mut sealed = Vec::new();
    let mut scratch = SecretBytes::new();
    pass.run(|visit, place, found| {
        feed(&mut macs, &document, visit, place, &found);
        if let Found::Value(value) = found
            && value.is_fresh
            && let Some((plain, value_type)) = plain::of(value.scalar, &mut scratch)
        {
            sealed.clear();
            seal_value(&mut second, &mut Draw::new(None), place.associated(), value_type, plain, &mut sealed)
                .map_err(|error| error.at(place))?;
            patch.set_scalar(visit.id, &Scalar::Str(sealed.as_slice().into()))?;
        }
        Ok(())
    })?;
    update_macs(file, cipher, &document, &located, &mut patch, &macs.finish(), now)?;
    opens_again(file, cipher, patch.finish())
}

/// Gives a changed file back once it is known to be whole, where that costs little.
fn opens_again(file: &EncryptedFile, cipher: &Cipher, text: SecretBytes) -> Result<SecretBytes, Error> {
    if text.len() > SELF_CHECK {
        return Ok(text);
    }
    let check = if file.has_bound_mac() { MacCheck::Strict } else { MacCheck::Check };
    EncryptedFile::parse(file.kind, text.clone())
        .and_then(|changed| {
            let mut macs = changed.macs();
            changed.pass(cipher).run(|visit, place, found| {
                feed(&mut macs, &changed.document, visit, place, &found);
                Ok(())
            })?;
            verify(&changed, cipher, &macs.finish(), check)
        })
        .map_err(|error| Error::SelfCheck(error.to_string()))?;
    Ok(text)
}

/// Writes new MACs and their date into the metadata of `document`.
fn update_macs(
    file: &EncryptedFile,
    cipher: &mut Cipher,
    document: &Document,
    located: &Located,
    patch: &mut bulla_document::Patch<'_>,
    digests: &Digests,
    now: &str,
) -> Result<(), Error> {
    let old = &file.located;
    let mut metadata = Metadata { last_modified: now.to_owned(), ..old.metadata.clone() };
    let extra = seal_macs(cipher, &mut metadata, digests)?;
    // A file that sops wrote has no MAC of ours, and one value's change is no reason to add it.
    let extra = Extra { layout: old.extra.layout.clone(), mac: old.extra.mac.as_ref().and(extra.mac) };
    metadata::update(patch, document, located, &metadata::to_tree(&metadata, &extra))
}

/// Decrypts what is below a node, and checks the file.
fn collect(file: &EncryptedFile, cipher: &Cipher, node: NodeId, check: MacCheck) -> Result<Value, Error> {
    let mut collector = Collector::new(&file.document, node);
    let mut macs = file.macs();
    file.pass(cipher).run(|visit, place, found| {
        feed(&mut macs, &file.document, visit, place, &found);
        collector.take(visit.id, &found);
        Ok(())
    })?;
    verify(file, cipher, &macs.finish(), check)?;
    Ok(collector.finish())
}

/// Whether a value, written in plain, would be read as another: in dotenv the two characters `\n` are a line end.
fn is_read_otherwise(file: &EncryptedFile, value: Option<&Scalar<'_>>) -> bool {
    file.document.syntax() == Syntax::Dotenv
        && value.and_then(Scalar::as_bytes).is_some_and(|text| text.windows(2).any(|pair| pair == b"\\n"))
}

/// A changed text in which a new tree is plaintext still.
struct Edited {
    text: SecretBytes,
    /// Where the new tree stands.
    fresh: Vec<Step>,
}

/// Replaces what stands at `path`.
fn replace(file: &EncryptedFile, node: NodeId, path: &[Step], value: &Value) -> Result<Edited, Error> {
    let mut changes = file.document.patch();
    changes.set_value(node, value)?;
    Ok(Edited { text: changes.finish(), fresh: path.to_vec() })
}

/// Writes an alias out, with one value in it changed. `None` if that value is equal already.
fn replace_alias(
    file: &EncryptedFile,
    alias: NodeId,
    depth: usize,
    mut tree: Value,
    path: &[Step],
    value: &Value,
) -> Result<Option<Edited>, Error> {
    if !put(&mut tree, &path[depth..], value)? {
        return Ok(None);
    }
    replace(file, alias, &path[..depth], &tree).map(Some)
}

/// Adds what is missing below `at`, to which `depth` steps lead.
fn add(file: &EncryptedFile, at: NodeId, depth: usize, path: &[Step], value: &Value) -> Result<Edited, Error> {
    let (step, below) = path[depth..].split_first().ok_or_else(|| Error::Path("the path is empty".to_owned()))?;
    let mut changes = file.document.patch();
    let mut fresh = path[..depth].to_vec();
    match (file.document.kind(at), step) {
        (Kind::Map, Step::Key(key)) => {
            changes.insert(at, &[(key.clone(), nested(below, value))])?;
            fresh.push(step.clone());
        }
        (Kind::Seq, Step::Index(_)) => {
            changes.push(at, &nested(below, value))?;
            // Any index past the end stands for the end.
            fresh.push(Step::Index(items(&file.document, at).count()));
        }
        // A single value on the way.
        _ => changes.set_value(at, &nested(&path[depth..], value))?,
    }
    Ok(Edited { text: changes.finish(), fresh })
}

/// `value` at the end of maps and lists that `steps` lead through.
fn nested(steps: &[Step], value: &Value) -> Value {
    steps.iter().rev().fold(value.clone(), |value, step| match step {
        Step::Key(key) => Value::Map(vec![(key.clone(), value)]),
        Step::Index(_) => Value::Seq(vec![value]),
    })
}

/// Sets a value in a tree. `false` if it is equal already.
fn put(tree: &mut Value, path: &[Step], value: &Value) -> Result<bool, Error> {
    let Some((step, below)) = path.split_first() else {
        let changes = tree != value;
        tree.clone_from(value);
        return Ok(changes);
    };
    match (&mut *tree, step) {
        (Value::Map(entries), Step::Key(key)) => match entries.iter_mut().find(|(name, _)| name == key) {
            Some((_, entry)) => return put(entry, below, value),
            None => entries.push((key.clone(), nested(below, value))),
        },
        (Value::Seq(items), Step::Index(index)) => match items.get_mut(*index) {
            Some(item) => return put(item, below, value),
            None => items.push(nested(below, value)),
        },
        (Value::Map(_) | Value::Seq(_), _) => {
            return Err(Error::Path("a key leads into a map and an index into a list only".to_owned()));
        }
        (scalar, _) => *scalar = nested(path, value),
    }
    Ok(true)
}

/// Takes a value out of a tree.
fn take(tree: &mut Value, path: &[Step]) {
    let Some((step, below)) = path.split_first() else { return };
    match (tree, step) {
        (Value::Map(entries), Step::Key(key)) => {
            let Some(index) = entries.iter().position(|(name, _)| name == key) else { return };
            if below.is_empty() {
                entries.remove(index);
            } else {
                take(&mut entries[index].1, below);
            }
        }
        (Value::Seq(items), Step::Index(index)) if *index < items.len() => {
            if below.is_empty() {
                items.remove(*index);
            } else {
                take(&mut items[*index], below);
            }
        }
        _ => {}
    }
}

/// The outermost alias that a node stands in or is, and how many steps lead to it.
fn outermost_alias(document: &Document, node: NodeId) -> Option<(NodeId, usize)> {
    let mut found = None;
    let mut at = Some(node);
    while let Some(id) = at {
        if document.is_alias(id) {
            found = Some(id);
        }
        at = document.parent(id);
    }
    let alias = found?;
    let mut depth = 0;
    let mut at = alias;
    while let Some(parent) = document.parent(at) {
        depth += 1;
        at = parent;
    }
    Some((alias, depth))
}
