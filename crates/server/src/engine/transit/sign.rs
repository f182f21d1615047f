//! `sign/`, `verify/` and `hmac/`.

use std::sync::Arc;

use super::batch::{self, Rows, Texts, text};
use super::encoding::decode;
use super::hash::Hash;
use super::key::{Failure, Key, Signing};
use super::policy::{KeyType, Secret};
use super::rsa::{Padding, Salt};
use super::{Transit, name};
use crate::json::{Object, Value};
use crate::logical::{Call, Error, Response, Result};

/// Why an item has no result: the text of an item, and the error of a request that has no other.
struct Wrong {
    text: String,
    error: Error,
}

impl Wrong {
    /// The request is not right.
    fn asked(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { error: Error::bad_request(text.clone()), text }
    }

    /// The peer blames itself, whoever is at fault.
    fn own(failure: &Failure) -> Self {
        Self { text: failure.text().to_owned(), error: Error::wrapped(500, failure.text()) }
    }

    /// The client or the peer, as the failure says.
    fn of(failure: &Failure) -> Self {
        match failure {
            Failure::User(text) => Self::asked(text.clone()),
            Failure::Internal(_) => Self::own(failure),
        }
    }
}

/// The input of an item.
fn input(item: &Object, missing: &str) -> std::result::Result<Secret, Wrong> {
    let input = Texts::text(item, "input").ok_or_else(|| Wrong::asked(missing))?;
    decode(input).map_err(|error| Wrong::asked(format!("unable to decode input as base64: {error}")))
}

fn item_context(item: &Object) -> std::result::Result<Secret, Wrong> {
    decode(Texts::text(item, "context").unwrap_or_default())
        .map_err(|_| Wrong::asked("failed to base64-decode context"))
}

/// What is asked of signatures, by the fields of a request.
fn signing(call: &Call<'_>) -> Result<Signing> {
    let mut named = call.input.capture("urlalgorithm").to_owned();
    for field in ["urlalgorithm", "hash_algorithm", "algorithm"] {
        if named.is_empty() {
            named = text(call, field)?.into_owned();
        }
    }
    let hash = match named.as_str() {
        "" => Some(Hash::Sha256),
        "none" => None,
        name => Some(Hash::parse(name).ok_or_else(|| Error::bad_request(format!("invalid hash algorithm {name:?}")))?),
    };
    let jws = match text(call, "marshaling_algorithm")?.as_ref() {
        "" | "asn1" => false,
        "jws" => true,
        other => return Err(Error::bad_request(format!("invalid marshaling type {other:?}"))),
    };
    let salt = text(call, "salt_length")?;
    let salt = match salt.to_lowercase().as_str() {
        "" | "auto" | "0" => Salt::Any,
        "hash" | "-1" => Salt::Hash,
        digits => {
            let bytes: i64 = digits
                .parse()
                .map_err(|_| Error::bad_request(format!("salt length neither 'auto', 'hash', nor an int: {salt}")))?;
            let bytes =
                usize::try_from(bytes).map_err(|_| Error::bad_request(format!("salt length is invalid: {bytes}")))?;
            Salt::Bytes(bytes)
        }
    };
    let padding = match text(call, "signature_algorithm")?.as_ref() {
        "" | "pss" => Some(Padding::Pss(salt)),
        "pkcs1v15" => Some(Padding::Pkcs1),
        _ => None,
    };
    Ok(Signing {
        hash,
        prehashed: call.input.bool("prehashed")?.unwrap_or(false),
        jws,
        // Keys that are not RSA have none.
        padding: padding.unwrap_or(Padding::Pss(Salt::Any)),
    })
}

/// Whether the key can sign as is asked.
fn check(call: &Call<'_>, key: &Key, how: Signing, what: &str) -> Result<()> {
    let kind = key.policy.kind;
    if !kind.signs() {
        return Err(Error::bad_request(format!("key type {} does not support {what}", kind.name())));
    }
    // Of an Ed25519 key the hash is part of the signature.
    if how.hash.is_none() && kind != KeyType::Ed25519 && !(how.prehashed && how.padding == Padding::Pkcs1) {
        return Err(Error::bad_request(
            "hash_algorithm=none requires both prehashed=true and signature_algorithm=pkcs1v15",
        ));
    }
    let padding = text(call, "signature_algorithm")?;
    if kind.is_rsa() && !matches!(padding.as_ref(), "" | "pss" | "pkcs1v15") {
        return Err(Error::wrapped(500, &format!("unsupported rsa signature algorithm {padding}")));
    }
    Ok(())
}

/// The one item of a request, of the fields it has.
fn one(call: &Call<'_>, names: &[&str], always: &[&str]) -> Result<Texts<'static>> {
    let mut item = Object::new();
    for name in names {
        if always.contains(name) || call.input.has(name) {
            item.insert((*name).to_owned(), Value::String(text(call, name)?.into_owned()));
        }
    }
    Ok(Texts::single(item))
}

impl Transit {
    async fn signing_key(&self, call: &Call<'_>, missing: &str) -> Result<Arc<Key>> {
        let key = self.keys.find_fresh(call.storage, name(call)?).await?;
        key.ok_or_else(|| Error::bad_request(missing))
    }

    pub(super) async fn sign(&self, call: &Call<'_>) -> Result<Response> {
        let how = signing(call)?;
        let version = call.input.int("key_version")?.unwrap_or(0);
        let key = self.signing_key(call, "signing key not found").await?;
        check(call, &key, how, "signing")?;
        let batch = batch::of(call)?;
        let items = match batch {
            Some(batch) => Texts::of(batch)?,
            None => one(call, &["input", "context"], &["input"])?,
        };
        let mut rows = Rows::new(items.len());
        for item in items.iter() {
            let signed = input(item, "missing input").and_then(|input| {
                let context = item_context(item)?;
                let signed = key.sign(version, context.expose(), input.expose(), how);
                signed.map_err(|failure| Wrong::own(&failure))
            });
            if batch.is_none() {
                let signed = signed.map_err(|wrong| wrong.error)?;
                let mut data = object! { "signature": signed.signature, "key_version": signed.version };
                if let Some(public) = signed.public {
                    data.insert("public_key".to_owned(), public.into());
                }
                return Ok(Response::data(data));
            }
            rows.begin();
            let reference = Texts::text(item, "reference").unwrap_or_default();
            match signed {
                Ok(signed) => {
                    rows.number("key_version", signed.version);
                    // The peer's own spelling, in batches alone.
                    if let Some(public) = &signed.public {
                        rows.text("publickey", public);
                    }
                    rows.text("reference", reference);
                    rows.text("signature", &signed.signature);
                }
                Err(wrong) => {
                    rows.text("error", &wrong.text);
                    rows.number("key_version", 0);
                    rows.text("reference", reference);
                }
            }
            rows.end();
            rows.turn(true).await;
        }
        Ok(Response::data(rows.into_data()))
    }

    pub(super) async fn verify(&self, call: &Call<'_>) -> Result<Response> {
        let batch = batch::of(call)?;
        let items = match batch {
            Some(batch) => Texts::of(batch)?,
            None => one(call, &["input", "signature", "hmac", "context"], &["input"])?,
        };
        if is_of_hmacs(&items, batch.is_some())? {
            return self.verify_hmacs(call, &items, batch.is_some()).await;
        }
        let how = signing(call)?;
        let key = self.keys.find(call.storage, name(call)?).await?;
        let key = key.ok_or_else(|| Error::bad_request("signature verification key not found"))?;
        check(call, &key, how, "verification")?;
        let mut rows = Rows::new(items.len());
        for item in items.iter() {
            let valid = input(item, "missing input").and_then(|input| {
                let signature = Texts::text(item, "signature").ok_or_else(|| Wrong::asked("missing signature"))?;
                let context = item_context(item)?;
                let valid = key.verify(context.expose(), input.expose(), signature, how);
                valid.map_err(|failure| Wrong::of(&failure))
            });
            if batch.is_none() {
                return Ok(Response::data(object! { "valid": valid.map_err(|wrong| wrong.error)? }));
            }
            rows.begin();
            if let Err(wrong) = &valid {
                rows.text("error", &wrong.text);
            }
            rows.text("reference", Texts::text(item, "reference").unwrap_or_default());
            rows.bool("valid", valid.unwrap_or(false));
            rows.end();
            rows.turn(true).await;
        }
        Ok(Response::data(rows.into_data()))
    }

    pub(super) async fn hmac(&self, call: &Call<'_>) -> Result<Response> {
        let version = call.input.int("key_version")?.unwrap_or(0);
        let key = self.signing_key(call, "encryption key not found").await?;
        key.hmac_version(version).map_err(|failure| Error::bad_request(failure.text()))?;
        let hash = hmac_hash(call)?;
        let batch = batch::of(call)?;
        let items = match batch {
            Some(batch) => Texts::of(batch)?,
            None => one(call, &["input"], &[])?,
        };
        let mut rows = Rows::new(items.len());
        for item in items.iter() {
            let sum = input(item, "missing input for HMAC").and_then(|input| {
                let sum = key.hmac(version, hash, input.expose());
                sum.map_err(|failure| Wrong::of(&failure))
            });
            if batch.is_none() {
                return Ok(Response::data(object! { "hmac": sum.map_err(|wrong| wrong.error)? }));
            }
            rows.begin();
            match &sum {
                Ok(sum) => rows.text("hmac", sum),
                Err(wrong) => rows.text("error", &wrong.text),
            }
            rows.text("reference", Texts::text(item, "reference").unwrap_or_default());
            rows.end();
            rows.turn(false).await;
        }
        Ok(Response::data(rows.into_data()))
    }

    async fn verify_hmacs(&self, call: &Call<'_>, items: &Texts<'_>, batch: bool) -> Result<Response> {
        let key = self.keys.find(call.storage, name(call)?).await?;
        let key = key.ok_or_else(|| Error::bad_request("encryption key not found"))?;
        let hash = hmac_hash(call)?;
        let mut rows = Rows::new(items.len());
        for item in items.iter() {
            let valid = input(item, "missing input").and_then(|input| {
                let sum = Texts::text(item, "hmac").ok_or_else(|| Wrong::asked("missing hmac"))?;
                let valid = key.verify_hmac(hash, input.expose(), sum);
                valid.map_err(|failure| Wrong::of(&failure))
            });
            if !batch {
                return Ok(Response::data(object! { "valid": valid.map_err(|wrong| wrong.error)? }));
            }
            rows.begin();
            if let Err(wrong) = &valid {
                rows.text("error", &wrong.text);
            }
            rows.text("reference", Texts::text(item, "reference").unwrap_or_default());
            // The peer leaves out what is not so.
            if matches!(valid, Ok(true)) {
                rows.bool("valid", true);
            }
            rows.end();
            rows.turn(false).await;
        }
        Ok(Response::data(rows.into_data()))
    }
}

/// Whether all items have HMACs to verify; else all have signatures.
fn is_of_hmacs(items: &Texts<'_>, batch: bool) -> Result<bool> {
    let (mut signatures, mut hmacs, mut missing) = (false, false, false);
    for item in items.iter() {
        match (item.contains_key("signature"), item.contains_key("hmac")) {
            (true, _) => signatures = true,
            (false, true) => hmacs = true,
            (false, false) => missing = true,
        }
    }
    let text = match (signatures, hmacs, missing) {
        (true, true, _) => "elements of batch_input must all provide 'signature' or all provide 'hmac'",
        (true, false, true) => "some elements of batch_input are missing 'signature'",
        (false, true, true) => "some elements of batch_input are missing 'hmac'",
        (false, false, _) if batch => "no batch_input elements have 'signature' or 'hmac'",
        (false, false, _) => "neither a 'signature' nor an 'hmac' were given to verify",
        (_, hmacs, false) => return Ok(hmacs),
    };
    Err(Error::bad_request(text))
}

fn hmac_hash(call: &Call<'_>) -> Result<Hash> {
    let mut named = call.input.capture("urlalgorithm").to_owned();
    for field in ["urlalgorithm", "algorithm"] {
        if named.is_empty() {
            named = text(call, field)?.into_owned();
        }
    }
    match named.as_str() {
        "" => Ok(Hash::Sha256),
        "none" => Err(Error::bad_request("algorithm cannot be none")),
        name => Hash::parse(name).ok_or_else(|| Error::bad_request(format!("unsupported algorithm {name:?}"))),
    }
}
