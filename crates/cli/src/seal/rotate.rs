//! What the controller does for a `SealedSecret`: seals it anew, or says whether it opens.

use bulla_core::SecretBytes;
use bulla_document::{Scalar, Step, Syntax, Value};

use super::SealedObject;
use super::cluster::Controller;
use super::manifest::{self, Part, unreadable};
use crate::app::App;
use crate::error::Failure;
use crate::exit::Code;
use crate::term;

/// What the controller said of a `SealedSecret`.
#[derive(serde::Serialize)]
pub(crate) struct Verdict {
    namespace: String,
    name: String,
    opens: bool,
    /// Why not, where the controller says it.
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
}

/// Asks for every `SealedSecret` of a text whether it opens.
///
/// # Errors
/// When there is no answer to that.
pub(crate) fn validate(
    app: &App,
    controller: &Controller,
    name: &str,
    parts: &[Part],
) -> Result<Vec<Verdict>, Failure> {
    let mut verdicts = Vec::new();
    for (object, sealed) in sealed_objects(name, parts)? {
        let answer = app.block_on(controller.post("/v1/verify", json(object)?))??;
        let verdict = |opens, reason: String| Verdict {
            namespace: sealed.metadata.namespace.clone(),
            name: sealed.metadata.name.clone(),
            opens,
            reason,
        };
        match answer.status {
            200 => verdicts.push(verdict(true, String::new())),
            409 => {
                let why = String::from_utf8_lossy(&answer.body)
                    .chars()
                    .take(500)
                    .filter(|char| !char.is_control())
                    .collect::<String>();
                verdicts.push(verdict(false, why.trim().to_owned()));
            }
            _ => return Err(controller.refused("cannot validate sealed secret", &answer)),
        }
    }
    Ok(verdicts)
}

/// That all of them open.
///
/// # Errors
/// [`Code::CannotDecryptTree`], a line for each that does not.
pub(crate) fn check(verdicts: &[Verdict]) -> Result<(), Failure> {
    let wrong: Vec<_> = verdicts
        .iter()
        .filter(|verdict| !verdict.opens)
        .map(|verdict| {
            let why = if verdict.reason.is_empty() { String::new() } else { format!(": {}", verdict.reason) };
            format!("unable to decrypt sealed secret: {:?}{why}", verdict.name)
        })
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(Failure::new(Code::CannotDecryptTree, wrong.join("\n"))) }
}

/// The values of a `SealedSecret`, sealed anew by the controller, in its own text.
///
/// Only values of items that it has are taken from the answer. Its scope, name and template are nobody else's to change.
///
/// # Errors
/// [`Code::CannotEncryptTree`].
pub(crate) fn re_encrypt(
    app: &App,
    controller: &Controller,
    name: &str,
    parts: &[Part],
) -> Result<Vec<(usize, SealedObject)>, Failure> {
    let mut done = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let Some(object) = &part.object else { continue };
        let mut sealed = SealedObject::read(object).map_err(|what| unreadable(name, what))?;
        let answer = app.block_on(controller.post("/v1/rotate", json(object)?))??;
        if answer.status != 200 {
            let doing = if answer.status == 409 { "unable to rotate secret" } else { "cannot re-encrypt secret" };
            return Err(controller.refused(doing, &answer));
        }
        take(&mut sealed, &answer.body)
            .map_err(|what| Failure::new(Code::CannotEncryptTree, format!("{name}: {}: {what}", controller.name())))?;
        done.push((index, sealed));
    }
    if done.is_empty() { Err(unreadable(name, "no SealedSecret is in it")) } else { Ok(done) }
}

/// The text of `part` with the values of `sealed`.
pub(crate) fn in_place(part: &Part, sealed: &SealedObject) -> Result<SecretBytes, Failure> {
    let document = &part.document;
    let path = [Step::Key("spec".to_owned()), Step::Key("encryptedData".to_owned())];
    let mut patch = document.patch();
    let map = part.root().and_then(|root| document.find(root, &path));
    for (item, value) in &sealed.encrypted {
        let node = map.and_then(|map| document.child(map, &Step::Key(item.clone())));
        let set = node.map(|node| {
            if document.is_alias(node) {
                return patch.set_value(node, &Value::str(value.as_str()));
            }
            patch.set_scalar(node, &Scalar::Str(value.as_bytes().into()))
        });
        match set {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(Failure::new(Code::CannotDump, error.to_string())),
            None => {
                return Err(Failure::new(Code::CannotDump, format!("{item:?} has no place of its own in the text")));
            }
        }
    }
    let text = patch.finish();
    // An alias may have brought one value to two places.
    let read = manifest::read("the result", &text)?.into_iter().find_map(|part| part.object);
    let found = read.and_then(|object| SealedObject::read(&object).ok());
    match found {
        Some(found) if found.encrypted == sealed.encrypted && found.template_fields() == sealed.template_fields() => {
            Ok(text)
        }
        _ => Err(Failure::new(Code::CannotDump, "its aliases (*name) tie places together; write them out")),
    }
}

/// Reads the controller's answer into `sealed`.
fn take(sealed: &mut SealedObject, answer: &[u8]) -> Result<(), String> {
    let text = SecretBytes::from(answer);
    let document = bulla_document::Document::parse(Syntax::Json, text).map_err(|_| "the answer is no JSON")?;
    let root = document.roots().first().ok_or("the answer is empty")?;
    let new = SealedObject::read_fields(&document.to_value(*root))?;
    if (new.scope(), &new.metadata.name, &new.metadata.namespace)
        != (sealed.scope(), &sealed.metadata.name, &sealed.metadata.namespace)
    {
        return Err("the answer is for another scope, name or namespace; it is not taken".to_owned());
    }
    for (item, value) in &mut sealed.encrypted {
        let (_, fresh) = new
            .encrypted
            .iter()
            .find(|(key, _)| key == item)
            .ok_or_else(|| format!("the answer lacks {item:?}; nothing is taken"))?;
        value.clone_from(fresh);
    }
    if new.encrypted.len() > sealed.encrypted.len() {
        // Controllers up to 0.36 put rendered templates among the values.
        term::note("the controller's answer has items that the SealedSecret does not have; they are left out");
    }
    Ok(())
}

fn sealed_objects<'p>(name: &str, parts: &'p [Part]) -> Result<Vec<(&'p Value, SealedObject)>, Failure> {
    let objects = parts.iter().filter_map(|part| part.object.as_ref()).flat_map(manifest::items);
    let read: Vec<_> = objects
        .map(|object| Ok((object, SealedObject::read(object).map_err(|what| unreadable(name, what))?)))
        .collect::<Result<_, Failure>>()?;
    if read.is_empty() { Err(unreadable(name, "no SealedSecret is in it")) } else { Ok(read) }
}

fn json(object: &Value) -> Result<Vec<u8>, Failure> {
    let mut out = SecretBytes::new();
    super::write(object, super::Format::Json, &mut out)?;
    Ok(out.expose().to_vec())
}
