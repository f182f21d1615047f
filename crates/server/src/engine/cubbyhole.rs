//! Storage that each token has for itself, and that is gone with it.

use async_trait::async_trait;

use crate::barrier::View;
use crate::core::Link;
use crate::json;
use crate::logical::{Call, Engine, Error, Operation, Response, Result, Route};

/// The engine.
pub struct Cubbyhole {
    link: Link,
}

impl Cubbyhole {
    /// One that finds its tokens by `link`.
    pub fn new(link: &Link) -> Self {
        Self { link: link.clone() }
    }

    fn view(&self, call: &Call<'_>) -> Result<View> {
        let caller = call.caller.ok_or_else(Error::no_token)?;
        if caller.entry.batch {
            return Err(Error::wrapped(500, "cubbyhole operations are only supported by \"service\" type tokens"));
        }
        self.link.open()?.tokens.cubbyhole(&caller.hash)
    }
}

#[async_trait]
impl Engine for Cubbyhole {
    const ABOUT: &'static str =
        "Storage that each token has for itself. Nobody else reads it, and it is gone with the token.";

    fn routes() -> Vec<Route<Self>> {
        vec![
            Route::<Self>::new("{path*}", "An entry, or the names below a folder")
                .any_field()
                .exists(|engine, call| Box::pin(engine.exists(call)))
                .on(Operation::Read, |engine, call| Box::pin(engine.read(call)))
                .on(Operation::Update, |engine, call| Box::pin(engine.write(call)))
                .on(Operation::Delete, |engine, call| Box::pin(engine.delete(call)))
                .on(Operation::List, |engine, call| Box::pin(engine.list(call))),
        ]
    }
}

impl Cubbyhole {
    async fn exists(&self, call: &Call<'_>) -> Result<bool> {
        Ok(self.view(call)?.get(call.path).await?.is_some())
    }

    async fn read(&self, call: &Call<'_>) -> Result<Response> {
        let stored = self.view(call)?.get(call.path).await?.ok_or_else(Error::not_found)?;
        Ok(Response::data(json::parse_object(&stored).map_err(|error| Error::internal(&error))?))
    }

    async fn write(&self, call: &Call<'_>) -> Result<Response> {
        if call.path.is_empty() || call.path.ends_with('/') {
            return Err(Error::bad_request("cannot write to a path ending in '/'"));
        }
        if call.request.data.is_empty() {
            return Err(Error::wrapped(500, "missing data fields"));
        }
        self.view(call)?.put(call.path, &json::object_to_vec(&call.request.data)).await?;
        Ok(Response::empty())
    }

    async fn delete(&self, call: &Call<'_>) -> Result<Response> {
        self.view(call)?.delete(call.path).await?;
        Ok(Response::empty())
    }

    async fn list(&self, call: &Call<'_>) -> Result<Response> {
        let (after, limit) = call.input.page()?;
        Response::list(self.view(call)?.list(call.path, &after, limit).await?)
    }
}
