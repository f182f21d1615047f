//! `encrypt/`, `decrypt/`, `rewrap/` and `datakey/`.

use std::sync::Arc;

use super::batch::{self, Item, Must, Rows, text};
use super::encoding::{decode, encode};
use super::key::{Failure, Key};
use super::keys::{Keys, generate};
use super::policy::{KeyType, Policy, Secret};
use super::{Transit, name};
use crate::logical::{Call, Error, Operation, Response, Result};

const NOT_FOUND: &str = "encryption key not found";

/// What a request asks for: one item, or a batch of them.
struct Asked<'c> {
    items: Vec<Item<'c>>,
    batch: bool,
}

/// How items went.
#[derive(Default)]
struct Tally {
    done: bool,
    user: bool,
    internal: bool,
}

/// The context of an item, or what is wrong with the item.
type Context = std::result::Result<Secret, String>;

/// What an item came to: the text and the version, or why not.
type Outcome = std::result::Result<(String, u64), Failure>;

impl Asked<'_> {
    /// The contexts; all items have one, or none has. An error of an item is said at its place.
    fn contexts(&self, check: impl Fn(&Item<'_>) -> std::result::Result<(), String>) -> Result<Vec<Context>> {
        let with = self.items.first().is_some_and(|item| !item.context.is_empty());
        let mut contexts = Vec::with_capacity(self.items.len());
        for item in &self.items {
            if item.context.is_empty() == with {
                return Err(Error::bad_request("context should be set either in all the request blocks or in none"));
            }
            contexts.push(check(item).and_then(|()| decode(&item.context)));
        }
        Ok(contexts)
    }
}

impl Tally {
    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Ok(_) => self.done = true,
            Err(Failure::User(_)) => self.user = true,
            Err(Failure::Internal(_)) => self.internal = true,
        }
    }

    /// The answer to a batch: its status says whether all went well, unless the client wants another.
    fn answer(&self, call: &Call<'_>, rows: Rows) -> Result<Response> {
        let mut response = Response::data(rows.into_data());
        let mut status = match (self.user, self.internal) {
            (true, _) => 400,
            (false, true) => 500,
            (false, false) => return Ok(response),
        };
        if let Some(wanted) = call.input.int("partial_failure_response_code")?.filter(|_| self.done) {
            match u16::try_from(wanted) {
                // What is below 200 is no answer in HTTP, and some have no body.
                Ok(wanted @ 200..=599) if !matches!(wanted, 204 | 205 | 304) => status = wanted,
                _ => {
                    response = response.warn(format!(
                        "invalid HTTP response code override from partial_failure_response_code, reverting to {status}"
                    ));
                }
            }
        }
        Ok(response.with_status(status))
    }
}

/// The error of a request for one item.
fn single(failure: &Failure) -> Error {
    match failure {
        Failure::User(text) => Error::bad_request(text.as_ref()),
        Failure::Internal(text) => Error::wrapped(500, text),
    }
}

/// What an item of a key without associated data gets that has some. The peer's batches do not count it as an error.
fn no_associated(key: &Key, item: &Item<'_>, at: usize) -> Option<Failure> {
    let wrong = !item.associated.is_empty() && !key.policy.kind.is_aead();
    let kind = key.policy.kind.name();
    wrong.then(|| Failure::User(format!("'[{at}].associated_data' provided for non-AEAD cipher suite {kind}").into()))
}

impl Transit {
    pub(super) async fn exists(&self, call: &Call<'_>) -> Result<bool> {
        Ok(self.keys.find(call.storage, name(call)?).await?.is_some())
    }

    pub(super) async fn encrypt(&self, call: &Call<'_>) -> Result<Response> {
        let asked = match batch::of(call)? {
            Some(batch) => Asked { items: batch::items(batch, Must::Plaintext)?, batch: true },
            None if !call.input.has("plaintext") => return Err(Error::bad_request("missing plaintext to encrypt")),
            None => {
                let item = Item {
                    plaintext: text(call, "plaintext")?,
                    context: text(call, "context")?,
                    associated: text(call, "associated_data")?,
                    version: call.input.int("key_version")?.unwrap_or(0),
                    ..Item::default()
                };
                Asked { items: vec![item], batch: false }
            }
        };
        let contexts = asked.contexts(|_| Ok(()))?;
        let (key, raced) = self.key_or_new(call, &asked).await?;
        let (mut rows, mut tally) = (Rows::new(asked.items.len()), Tally::default());
        for (at, (item, context)) in asked.items.iter().zip(&contexts).enumerate() {
            let forgiven = no_associated(&key, item, at);
            let outcome = match (context, &forgiven) {
                (Ok(_), Some(failure)) => Err(failure.clone()),
                // The peer looks at the plaintext first.
                (Ok(context), None) => key.encrypt(item.version, context.expose(), &item.plaintext, &item.associated),
                (Err(error), _) => match decode(&item.plaintext) {
                    Ok(_) => Err(Failure::User(error.clone().into())),
                    Err(first) => Err(Failure::User(first.into())),
                },
            };
            if forgiven.is_none() {
                tally.count(&outcome);
            }
            if !asked.batch {
                let (ciphertext, version) = outcome.map_err(|failure| single(&failure))?;
                let response = Response::data(object! { "ciphertext": ciphertext, "key_version": version });
                return Ok(if raced { response.warn(RACED) } else { response });
            }
            rows.begin();
            match &outcome {
                Ok((ciphertext, version)) => {
                    rows.text("ciphertext", ciphertext);
                    rows.number("key_version", *version);
                }
                Err(failure) => rows.text("error", failure.text()),
            }
            rows.text("reference", &item.reference);
            rows.end();
            rows.turn(!key.policy.kind.is_aead()).await;
        }
        let response = tally.answer(call, rows)?;
        Ok(if raced { response.warn(RACED) } else { response })
    }

    /// The key to encrypt with, made if it is not there; and whether somebody else made it meanwhile.
    async fn key_or_new(&self, call: &Call<'_>, asked: &Asked<'_>) -> Result<(Arc<Key>, bool)> {
        let name = name(call)?;
        if call.request.operation != Operation::Create {
            let key = self.keys.find_fresh(call.storage, name).await?;
            return key.map(|key| (key, false)).ok_or_else(|| Error::bad_request(NOT_FOUND));
        }
        let derived = asked.items.first().is_some_and(|item| !item.context.is_empty());
        let convergent = call.input.bool("convergent_encryption")?.unwrap_or(false);
        if convergent && !derived {
            return Err(Error::bad_request(
                "convergent encryption requires derivation to be enabled, so context is required",
            ));
        }
        let asked = text(call, "type")?;
        let asked = if call.input.has("type") { &asked } else { KeyType::Aes256.name() };
        let kind = match KeyType::parse(asked) {
            Some(kind) if kind.is_aead() => kind,
            Some(kind) if kind.is_ecdsa() => {
                return Err(Error::bad_request(format!("key type {asked} not supported for this operation")));
            }
            _ => return Err(Error::bad_request(format!("unknown key type {asked}"))),
        };
        if Keys::config(call.storage).await?.no_upsert {
            return Err(Error::bad_request(NOT_FOUND));
        }
        let change = self.keys.change(call.storage, name).await?;
        if let Some(key) = change.key.clone() {
            return Ok((key, true));
        }
        let mut policy = Policy { derived, convergent, ..Policy::new(name, kind) };
        policy.add(generate(kind, 0).await?);
        Ok((change.store(policy).await?, false))
    }

    pub(super) async fn decrypt(&self, call: &Call<'_>) -> Result<Response> {
        let asked = asked_ciphertexts(call, Must::Ciphertext)?;
        let contexts = asked.contexts(has_ciphertext)?;
        let key = self.keys.find(call.storage, name(call)?).await?;
        let key = key.ok_or_else(|| Error::bad_request(NOT_FOUND))?;
        let (mut rows, mut tally) = (Rows::new(asked.items.len()), Tally::default());
        for (at, (item, context)) in asked.items.iter().zip(&contexts).enumerate() {
            let forgiven = no_associated(&key, item, at);
            let outcome = match (context, &forgiven) {
                (Err(error), _) => Err(Failure::User(error.clone().into())),
                (Ok(_), Some(failure)) => Err(failure.clone()),
                (Ok(context), None) => key.decrypt(context.expose(), &item.ciphertext, &item.associated),
            };
            let outcome = outcome.map(|mut plaintext| (std::mem::take(&mut *plaintext), 0));
            if forgiven.is_none() || context.is_err() {
                tally.count(&outcome);
            }
            if !asked.batch {
                let (plaintext, _) = outcome.map_err(|failure| single(&failure))?;
                return Ok(Response::data(object! { "plaintext": plaintext }));
            }
            rows.begin();
            match outcome {
                Ok((plaintext, _)) => rows.text("plaintext", &zeroize::Zeroizing::new(plaintext)),
                Err(failure) => {
                    rows.text("error", failure.text());
                    rows.text("plaintext", "");
                }
            }
            rows.text("reference", &item.reference);
            rows.end();
            rows.turn(!key.policy.kind.is_aead()).await;
        }
        tally.answer(call, rows)
    }

    pub(super) async fn rewrap(&self, call: &Call<'_>) -> Result<Response> {
        let asked = asked_ciphertexts(call, Must::Nothing)?;
        let contexts = asked.contexts(has_ciphertext)?;
        let key = self.keys.find_fresh(call.storage, name(call)?).await?;
        let key = key.ok_or_else(|| Error::bad_request(NOT_FOUND))?;
        let mut rows = Rows::new(asked.items.len());
        for (at, (item, context)) in asked.items.iter().zip(&contexts).enumerate() {
            let outcome = match (context, no_associated(&key, item, at)) {
                (Err(error), _) => Err(Failure::User(error.clone().into())),
                (Ok(_), Some(failure)) => Err(failure),
                (Ok(context), None) => key
                    .decrypt(context.expose(), &item.ciphertext, &item.associated)
                    .and_then(|plain| key.encrypt(item.version, context.expose(), &plain, &item.associated)),
            };
            let outcome = match outcome {
                Err(failure) if !asked.batch || matches!(failure, Failure::Internal(_)) => {
                    return Err(single(&failure));
                }
                outcome => outcome,
            };
            if !asked.batch {
                let (ciphertext, version) = outcome.map_err(|failure| single(&failure))?;
                return Ok(Response::data(object! { "ciphertext": ciphertext, "key_version": version }));
            }
            rows.begin();
            match &outcome {
                Ok((ciphertext, version)) => {
                    rows.text("ciphertext", ciphertext);
                    rows.number("key_version", *version);
                }
                Err(failure) => rows.text("error", failure.text()),
            }
            rows.text("reference", &item.reference);
            rows.end();
            rows.turn(!key.policy.kind.is_aead()).await;
        }
        Ok(Response::data(rows.into_data()))
    }

    pub(super) async fn data_key(&self, call: &Call<'_>) -> Result<Response> {
        let shown = match call.input.capture("plaintext") {
            "plaintext" => true,
            "wrapped" => false,
            _ => return Err(Error::bad_request("Invalid path, must be 'plaintext' or 'wrapped'")),
        };
        let context = context(call)?;
        let key = self.keys.find_fresh(call.storage, name(call)?).await?;
        let key = key.ok_or_else(|| Error::bad_request(NOT_FOUND))?;
        let bytes = match call.input.int("bits")?.unwrap_or(256) {
            512 => 64,
            256 => 32,
            128 => 16,
            _ => return Err(Error::bad_request("invalid bit length")),
        };
        let associated = text(call, "associated_data")?;
        let kind = key.policy.kind;
        if !associated.is_empty() && !kind.is_aead() {
            let text = format!("'associated_data' provided for non-AEAD cipher suite {}", kind.name());
            return Err(Error::bad_request(text));
        }
        let fresh = Secret::random(bytes)?;
        let mut plaintext = zeroize::Zeroizing::new(encode(fresh.expose()));
        let version = call.input.int("key_version")?.unwrap_or(0);
        let (ciphertext, version) =
            key.encrypt(version, context.expose(), &plaintext, &associated).map_err(|failure| single(&failure))?;
        let mut data = object! { "ciphertext": ciphertext, "key_version": version };
        if shown {
            data.insert("plaintext".to_owned(), std::mem::take(&mut *plaintext).into());
        }
        Ok(Response::data(data))
    }
}

const RACED: &str = "Attempted creation of the key during the encrypt operation, but it was created beforehand";

/// The context of a request that is not a batch.
pub fn context(call: &Call<'_>) -> Result<Secret> {
    decode(&text(call, "context")?).map_err(|_| Error::bad_request("failed to base64-decode context"))
}

fn has_ciphertext(item: &Item<'_>) -> std::result::Result<(), String> {
    if item.ciphertext.is_empty() { Err("missing ciphertext to decrypt".to_owned()) } else { Ok(()) }
}

fn asked_ciphertexts<'c>(call: &'c Call<'_>, must: Must) -> Result<Asked<'c>> {
    if let Some(batch) = batch::of(call)? {
        return Ok(Asked { items: batch::items(batch, must)?, batch: true });
    }
    let item = Item {
        ciphertext: text(call, "ciphertext")?,
        context: text(call, "context")?,
        associated: text(call, "associated_data")?,
        version: call.input.int("key_version")?.unwrap_or(0),
        ..Item::default()
    };
    if item.ciphertext.is_empty() {
        return Err(Error::bad_request("missing ciphertext to decrypt"));
    }
    Ok(Asked { items: vec![item], batch: false })
}
