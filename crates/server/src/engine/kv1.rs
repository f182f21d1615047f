//! Keys and values, the first version: an entry is what was written last.

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::json::{self, Value};
use crate::logical::{Call, Engine, Error, Operation, Response, Result, Route, parse_seconds};

/// The engine.
pub struct Kv1;

#[async_trait]
impl Engine for Kv1 {
    const ABOUT: &'static str =
        "Keeps what is written to a path, and gives it back. Nothing of what was there before is kept.";

    fn routes() -> Vec<Route<Self>> {
        vec![
            Route::<Self>::new("{path*}", "An entry, or the names below a folder")
                .any_field()
                .exists(|engine, call| Box::pin(engine.exists(call)))
                .unchanging(&[Operation::Read, Operation::List, Operation::Scan])
                .on(Operation::Read, |engine, call| Box::pin(engine.read(call)))
                .on(Operation::Update, |engine, call| Box::pin(engine.write(call)))
                .on(Operation::Delete, |engine, call| Box::pin(engine.delete(call)))
                .on(Operation::List, |engine, call| Box::pin(engine.list(call)))
                .on(Operation::Scan, |engine, call| Box::pin(engine.scan(call))),
        ]
    }
}

impl Kv1 {
    async fn exists(&self, call: &Call<'_>) -> Result<bool> {
        Ok(call.storage.get(call.path).await?.is_some())
    }

    async fn read(&self, call: &Call<'_>) -> Result<Response> {
        let stored = call.storage.get(call.path).await?.ok_or_else(Error::not_found)?;
        let data = json::parse_object(&stored).map_err(|error| Error::internal(&error))?;
        // A hint for whoever reads when to read again; nothing ends.
        let hint = data.get("ttl").or_else(|| data.get("lease")).and_then(hint);
        let lease_duration = hint.unwrap_or(call.mount.default_ttl);
        Ok(Response { lease_duration, ..Response::data(data) })
    }

    async fn write(&self, call: &Call<'_>) -> Result<Response> {
        if call.path.is_empty() || call.path.ends_with('/') {
            return Err(Error::bad_request("cannot write to a path ending in '/'"));
        }
        if call.request.data.is_empty() {
            return Err(Error::bad_request("missing data fields"));
        }
        let contents = Zeroizing::new(json::object_to_vec(&call.request.data));
        if call.request.operation != Operation::Create {
            call.storage.put(call.path, &contents).await?;
            return Ok(Response::empty());
        }
        let mut attempt = 0;
        loop {
            let mut transaction = call.storage.begin();
            call.check_new(transaction.get(call.storage, call.path).await?.is_some())?;
            transaction.put(call.storage, call.path, &contents)?;
            if transaction.try_commit(&mut attempt).await? {
                return Ok(Response::empty());
            }
        }
    }

    async fn delete(&self, call: &Call<'_>) -> Result<Response> {
        call.storage.delete(call.path).await?;
        Ok(Response::empty())
    }

    async fn list(&self, call: &Call<'_>) -> Result<Response> {
        let (after, limit) = call.input.page()?;
        Response::list(call.storage.list(call.path, &after, limit).await?)
    }

    async fn scan(&self, call: &Call<'_>) -> Result<Response> {
        Response::list(call.storage.scan(call.path).await?)
    }
}

fn hint(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => parse_seconds(text).ok(),
        Value::Number(digits) => digits.parse().ok(),
        _ => None,
    }
}
