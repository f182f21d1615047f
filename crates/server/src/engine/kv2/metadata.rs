//! `metadata/` and `detailed-metadata/`: what is known of entries.

use std::collections::BTreeMap;

use super::meta::Meta;
use super::{Kv2, entry_path, meta_key, version_key};
use crate::core::now_nanos;
use crate::json::{Object, Value};
use crate::logical::{Call, Error, Response, Result, go_type};

/// As the peer has it: how many names, how long each may be, and its text.
const CUSTOM: (usize, usize, usize) = (64, 128, 512);

impl Kv2 {
    pub(super) async fn read_metadata(&self, call: &Call<'_>) -> Result<Response> {
        entry_path(call)?;
        let meta = Self::meta(call).await?.ok_or_else(Error::not_found)?;
        Ok(Response::data(meta.shown()))
    }

    pub(super) async fn write_metadata(&self, call: &Call<'_>) -> Result<Response> {
        let custom = match call.input.raw("custom_metadata") {
            Some(value) => Some(custom(value)?.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()),
            None => None,
        };
        self.put_metadata(call, Missing::Made, |meta| {
            if let Some(custom) = &custom {
                meta.custom = BTreeMap::clone(custom);
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn patch_metadata(&self, call: &Call<'_>) -> Result<Response> {
        let changes = call.input.raw("custom_metadata").map(custom).transpose()?;
        self.put_metadata(call, Missing::Refused, |meta| {
            for (key, value) in changes.iter().flatten() {
                match value {
                    Some(value) => drop(meta.custom.insert(key.clone(), value.clone())),
                    None => drop(meta.custom.remove(key)),
                }
            }
            if meta.custom.len() > CUSTOM.0 {
                return Err(too_many());
            }
            Ok(())
        })
        .await
    }

    async fn put_metadata(
        &self,
        call: &Call<'_>,
        missing: Missing,
        change: impl Fn(&mut Meta) -> Result<()> + Send + Sync,
    ) -> Result<Response> {
        let (path, input) = (entry_path(call)?, &call.input);
        let config = Self::config(call).await?;
        let cas = input.int("metadata_cas")?;
        let delete_after = input.seconds("delete_version_after")?;
        if delete_after.is_some_and(|seconds| seconds < 0) {
            return Err(Error::bad_request("delete_version_after cannot be negative"));
        }
        let (key, mut attempt) = (meta_key(path), 0);
        loop {
            let mut transaction = call.storage.begin();
            let found: Option<Meta> = transaction.read(call.storage, &key).await?;
            let is_new = found.is_none();
            call.check_new(!is_new)?;
            let mut meta = match (found, missing) {
                (Some(meta), _) => meta,
                (None, Missing::Made) => Meta::made_now(),
                (None, Missing::Refused) => return Err(Error::not_found()),
            };
            if (config.needs_meta_cas || meta.needs_meta_cas) && cas.is_none() {
                return Err(Error::bad_request("metadata check-and-set parameter required for this call"));
            }
            if is_new && cas.is_some_and(|cas| cas != 0) {
                return Err(Error::bad_request("metadata_cas must be 0 when creating new metadata"));
            }
            if cas.is_some_and(|cas| u64::try_from(cas) != Ok(meta.revision)) {
                return Err(Error::bad_request("metadata check-and-set parameter did not match the current version"));
            }
            if let Some(max) = input.int("max_versions")? {
                meta.max_versions = u64::try_from(max).unwrap_or(0);
            }
            meta.cas_required = input.bool("cas_required")?.unwrap_or(meta.cas_required);
            meta.needs_meta_cas = input.bool("metadata_cas_required")?.unwrap_or(meta.needs_meta_cas);
            meta.delete_after = delete_after.unwrap_or(meta.delete_after);
            change(&mut meta)?;
            meta.revision += 1;
            meta.updated = now_nanos();
            transaction.write(call.storage, &key, &meta)?;
            if transaction.try_commit(&mut attempt).await? {
                return Ok(Response::empty());
            }
        }
    }

    /// Deletes an entry with all its versions.
    pub(super) async fn delete_all(&self, call: &Call<'_>) -> Result<Response> {
        // In a folder's place there is no entry.
        let Ok(path) = entry_path(call) else { return Ok(Response::empty()) };
        let (key, mut attempt) = (meta_key(path), 0);
        loop {
            let mut transaction = call.storage.begin();
            let Some(meta) = transaction.read::<Meta>(call.storage, &key).await? else { return Ok(Response::empty()) };
            for number in meta.versions.keys() {
                transaction.delete(call.storage, &version_key(path, *number))?;
            }
            transaction.delete(call.storage, &key)?;
            if transaction.try_commit(&mut attempt).await? {
                return Ok(Response::empty());
            }
        }
    }

    async fn names(call: &Call<'_>) -> Result<(String, Vec<String>)> {
        let mut folder = call.input.capture("path").to_owned();
        if !folder.is_empty() && !folder.ends_with('/') {
            folder.push('/');
        }
        let (after, limit) = call.input.page()?;
        let names = call.storage.list(&meta_key(&folder), &after, limit).await?;
        Ok((folder, names))
    }

    pub(super) async fn list(&self, call: &Call<'_>) -> Result<Response> {
        Response::list(Self::names(call).await?.1)
    }

    pub(super) async fn scan(&self, call: &Call<'_>) -> Result<Response> {
        Response::list(call.storage.scan(&meta_key(call.input.capture("path"))).await?)
    }

    pub(super) async fn list_detailed(&self, call: &Call<'_>) -> Result<Response> {
        let (folder, names) = Self::names(call).await?;
        Self::detailed(call, &folder, names).await
    }

    pub(super) async fn scan_detailed(&self, call: &Call<'_>) -> Result<Response> {
        let folder = call.input.capture("path");
        Self::detailed(call, folder, call.storage.scan(&meta_key(folder)).await?).await
    }

    async fn detailed(call: &Call<'_>, folder: &str, names: Vec<String>) -> Result<Response> {
        let mut info = Object::new();
        for name in &names {
            if name.ends_with('/') {
                info.insert(name.clone(), Object::new().into());
            } else if let Some(meta) = call.storage.read::<Meta>(&meta_key(&format!("{folder}{name}"))).await? {
                info.insert(name.clone(), meta.shown().into());
            }
        }
        let mut response = Response::list(names)?;
        if let Some(data) = &mut response.data {
            data.insert("key_info".to_owned(), info.into());
        }
        Ok(response)
    }
}

/// What a write does to an entry that is not there.
#[derive(Clone, Copy)]
enum Missing {
    Made,
    Refused,
}

fn too_many() -> Error {
    Error::bad_request(format!("custom_metadata validation failed: payload must contain at most {} keys", CUSTOM.0))
}

/// Names and texts; `None` where one is to be deleted.
fn custom(value: &Value) -> Result<BTreeMap<String, Option<String>>> {
    let fail = |what: String| Error::bad_request(format!("custom_metadata validation failed: {what}"));
    let object = match value {
        Value::Object(object) => object,
        Value::Null => return Ok(BTreeMap::new()),
        other => return Err(fail(format!("'' expected a map, got '{}'", other.kind()))),
    };
    if object.len() > CUSTOM.0 {
        return Err(too_many());
    }
    let mut custom = BTreeMap::new();
    for (key, value) in object {
        let text = match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(digits) => Some(digits.to_string()),
            Value::Bool(value) => Some(if *value { "1" } else { "0" }.to_owned()),
            Value::Null => None,
            other => {
                let kind = go_type(other);
                return Err(fail(format!("'' expected type 'string', got unconvertible type '{kind}'")));
            }
        };
        if key.is_empty() || key.len() > CUSTOM.1 {
            return Err(fail(format!("length of key {key:?} must be between 1 and {}", CUSTOM.1)));
        }
        if let Some(length) = text.as_ref().map(String::len).filter(|length| *length == 0 || *length > CUSTOM.2) {
            let most = CUSTOM.2;
            let wrong = format!("length of value for key {key:?} is {length} but must be 0 < len(value) <= {most}");
            return Err(Error::wrapped(400, &format!("custom_metadata validation failed: {wrong}")));
        }
        if key.chars().chain(text.iter().flat_map(|text| text.chars())).any(char::is_control) {
            return Err(fail(format!("key {key:?} or its value has characters that cannot be printed")));
        }
        custom.insert(key.clone(), text);
    }
    Ok(custom)
}
