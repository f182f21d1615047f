//! `data/` and `subkeys/`: contents.

use super::merge::{merge, names};
use super::meta::{Meta, Version};
use super::{Kv2, answer, entry_path, meta_key, version_key};
use crate::json::{self, Object, Value};
use crate::logical::{Call, Error, Operation, Response, Result, go_type};

/// How often an entry is looked at that somebody changes meanwhile.
const LOOKS: usize = 1000;

impl Kv2 {
    pub(super) async fn read(&self, call: &Call<'_>) -> Result<Response> {
        let Some((meta, number, version, contents)) = self.contents(call).await? else {
            return Err(Error::not_found());
        };
        let status = contents.is_none().then_some(404);
        let contents = contents.map_or(Value::Null, |contents| Value::Raw(contents.into()));
        let data = answer("data", contents, meta.shown_version(number, &version));
        Ok(Response { status, ..Response::data(data) })
    }

    pub(super) async fn subkeys(&self, call: &Call<'_>) -> Result<Response> {
        let depth = usize::try_from(call.input.int("depth")?.unwrap_or(0)).unwrap_or(0);
        let Some((meta, number, version, contents)) = self.contents(call).await? else {
            return Err(Error::not_found());
        };
        let status = contents.is_none().then_some(404);
        let subkeys = match contents {
            Some(contents) => names(&parse(&contents)?, depth),
            None => Value::Null,
        };
        let data = answer("subkeys", subkeys, meta.shown_version(number, &version));
        Ok(Response { status, ..Response::data(data) })
    }

    /// The version that is asked for; without contents if it is deleted or destroyed.
    async fn contents(&self, call: &Call<'_>) -> Result<Option<(Meta, u64, Version, Option<Vec<u8>>)>> {
        let path = entry_path(call)?;
        let asked = call.input.int("version")?.unwrap_or(0);
        for _ in 0..LOOKS {
            let Some(meta) = Self::meta(call).await? else { return Ok(None) };
            let number = if asked == 0 { meta.current } else { u64::try_from(asked).unwrap_or(0) };
            let Some(version) = meta.versions.get(&number).copied() else { return Ok(None) };
            if version.is_gone() {
                return Ok(Some((meta, number, version, None)));
            }
            if let Some(contents) = call.storage.get(&version_key(path, number)).await? {
                return Ok(Some((meta, number, version, Some(contents.to_vec()))));
            }
            // Destroyed, or kept no longer, between the two looks. Whoever asks for the newest gets the one that took its place.
        }
        Err(Error::internal(&"the contents of a version are missing"))
    }

    pub(super) async fn write(&self, call: &Call<'_>) -> Result<Response> {
        let contents = match call.input.raw("data") {
            Some(value @ (Value::Object(_) | Value::Null)) => value,
            Some(other) => {
                let kind = go_type(other);
                return Err(Error::bad_request(format!(
                    "error converting input for field \"data\": '' expected type 'map[string]interface {{}}', got unconvertible type '{kind}'"
                )));
            }
            None => return Err(Error::bad_request("no data provided")),
        };
        self.put(call, |_| Ok(contents.clone())).await
    }

    pub(super) async fn patch(&self, call: &Call<'_>) -> Result<Response> {
        let Some(Value::Object(patch)) = call.input.raw("data") else {
            return Err(Error::bad_request("no data provided"));
        };
        self.put(call, |before| {
            let mut value = before.ok_or_else(Error::not_found)?;
            merge(&mut value, patch);
            Ok(value)
        })
        .await
    }

    /// Writes what `make` makes of the newest contents as the next version.
    async fn put(
        &self,
        call: &Call<'_>,
        make: impl Fn(Option<Value>) -> Result<Value> + Send + Sync,
    ) -> Result<Response> {
        let path = call.input.capture("path");
        if path.is_empty() || path.ends_with('/') {
            return Err(Error::bad_request("the path of a secret cannot be empty or end with a slash"));
        }
        let cas = cas(call)?;
        let config = Self::config(call).await?;
        let (key, mut attempt) = (meta_key(path), 0);
        loop {
            let mut transaction = call.storage.begin();
            let found: Option<Meta> = transaction.read(call.storage, &key).await?;
            call.check_new(found.is_some())?;
            let mut meta = found.unwrap_or_else(Meta::made_now);
            if (config.cas_required || meta.cas_required) && cas.is_none() {
                return Err(Error::bad_request("check-and-set parameter required for this call"));
            }
            if cas.is_some_and(|cas| u64::try_from(cas) != Ok(meta.current)) {
                return Err(Error::bad_request("check-and-set parameter did not match the current version"));
            }
            let before = match meta.versions.get(&meta.current) {
                Some(version) if call.request.operation == Operation::Patch && !version.is_gone() => {
                    let before = transaction.get(call.storage, &version_key(path, meta.current)).await?;
                    before.map(|before| parse(&before)).transpose()?
                }
                _ => None,
            };
            let contents = make(before)?;
            let (number, gone) = meta.add(&config);
            transaction.put(call.storage, &version_key(path, number), &zeroize::Zeroizing::new(contents.to_vec()))?;
            for old in gone {
                transaction.delete(call.storage, &version_key(path, old))?;
            }
            transaction.write(call.storage, &key, &meta)?;
            if transaction.try_commit(&mut attempt).await? {
                let version = meta.versions.get(&number).copied().unwrap_or_default();
                return Ok(Response::data(meta.shown_version(number, &version)));
            }
        }
    }
}

/// The version that is to be followed, if the request says.
fn cas(call: &Call<'_>) -> Result<Option<i64>> {
    let bad = || Error::bad_request("error parsing check-and-set parameter");
    let options: Object = match call.input.raw("options") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(options)) => options.clone(),
        Some(_) => return Err(bad()),
    };
    match options.get("cas") {
        None => Ok(None),
        Some(Value::Number(digits)) => digits.parse().map(Some).map_err(|_| bad()),
        Some(Value::String(text)) => text.parse().map(Some).map_err(|_| bad()),
        Some(_) => Err(bad()),
    }
}

fn parse(contents: &[u8]) -> Result<Value> {
    json::parse(contents).map_err(|error| Error::internal(&error))
}
