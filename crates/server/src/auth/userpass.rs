//! Names and passwords. Passwords are kept as bcrypt hashes.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::params::{self, Params};
use crate::barrier::View;
use crate::core::is_from;
use crate::logical::{Access, Auth, Call, Engine, Error, Field, Kind, Operation, Response, Result, Route};

/// bcrypt's cost, as the peer has it.
const COST: u32 = 10;
/// A hash that no password has: so that a name that is not there takes as long as one that is.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuuNl0d3kW7rEwXM6sJpmDDTOeBpvcVqVq";

/// The method.
pub struct Userpass;

#[derive(Clone, Default, Serialize, Deserialize)]
struct User {
    hash: String,
    #[serde(default)]
    params: Params,
}

const USERNAME: Field = Field::new("username", Kind::LowerText, "The user's name.");
const PASSWORD: Field = Field::new("password", Kind::Text, "The password.");
const HASH: Field = Field::new("password_hash", Kind::Text, "A bcrypt hash of the password, in its place.");
const POLICIES: Field = Field::new("policies", Kind::Texts, "`token_policies`, as older clients name it.");
const TTL: Field = Field::new("ttl", Kind::Seconds, "`token_ttl`, as older clients name it.");
const MAX_TTL: Field = Field::new("max_ttl", Kind::Seconds, "`token_max_ttl`, as older clients name it.");
static USER: [Field; 16] = params::with([USERNAME, PASSWORD, HASH, POLICIES, TTL, MAX_TTL]);

#[async_trait]
impl Engine for Userpass {
    const ABOUT: &'static str = "Logs in who knows the password of a name.";

    fn routes() -> Vec<Route<Self>> {
        vec![
            Route::<Self>::new("users/?", "The names of all users")
                .on(Operation::List, |method, call| Box::pin(method.list(call))),
            Route::<Self>::new("users/{username}", "A user")
                .fields(&USER)
                .exists(|_, call| Box::pin(exists(call)))
                .on(Operation::Read, |method, call| Box::pin(method.read(call)))
                .on(Operation::Update, |method, call| Box::pin(method.write(call)))
                .on(Operation::Delete, |method, call| Box::pin(method.delete(call))),
            Route::<Self>::new("users/{username}/password", "A user's password")
                .fields(&[USERNAME, PASSWORD, HASH])
                .on(Operation::Update, |method, call| Box::pin(method.set_password(call))),
            Route::<Self>::new("users/{username}/policies", "A user's policies")
                .fields(const { &[USERNAME, POLICIES, params::FIELDS[6]] })
                .on(Operation::Update, |method, call| Box::pin(method.set_policies(call))),
            Route::<Self>::new("login/{username}", "Log in")
                .fields(&[USERNAME, PASSWORD])
                .access(Access::Open)
                .on(Operation::Update, |method, call| Box::pin(method.log_in(call))),
        ]
    }

    async fn renew_login(&self, storage: &View, auth: Auth) -> Result<Auth> {
        let name = auth.metadata.get("username").cloned().unwrap_or_default();
        match storage.read::<User>(&key(&name)).await? {
            Some(user) => user.params.renew(auth),
            None => Err(Error::bad_request("the user is not there any more, not renewing")),
        }
    }
}

fn key(name: &str) -> String {
    format!("user/{}", name.to_lowercase())
}

async fn exists(call: &Call<'_>) -> Result<bool> {
    Ok(find(call).await?.is_some())
}

async fn find(call: &Call<'_>) -> Result<Option<User>> {
    Ok(call.storage.read(&key(call.input.capture("username"))).await?)
}

impl Userpass {
    async fn list(&self, call: &Call<'_>) -> Result<Response> {
        let (after, limit) = call.input.page()?;
        Response::list(call.storage.list("user/", &after, limit).await?)
    }

    async fn read(&self, call: &Call<'_>) -> Result<Response> {
        let user = find(call).await?.ok_or_else(Error::not_found)?;
        Ok(Response::data(user.params.shown()))
    }

    async fn write(&self, call: &Call<'_>) -> Result<Response> {
        let found = find(call).await?;
        let mut user = found.unwrap_or_default();
        match new_hash(call).await? {
            Some(hash) => user.hash = hash,
            None if user.hash.is_empty() => {
                return Err(Error::bad_request("must provide either password or password_hash"));
            }
            None => {}
        }
        let input = &call.input;
        if let Some(names) = input.texts("policies")? {
            user.params.policies = params::parse_policies(&names);
        }
        user.params.ttl = input.seconds("ttl")?.unwrap_or(user.params.ttl);
        user.params.max_ttl = input.seconds("max_ttl")?.unwrap_or(user.params.max_ttl);
        user.params.apply(input)?;
        call.storage.write(&key(input.capture("username")), &user).await?;
        Ok(Response::empty())
    }

    async fn delete(&self, call: &Call<'_>) -> Result<Response> {
        call.storage.delete(&key(call.input.capture("username"))).await?;
        Ok(Response::empty())
    }

    async fn set_password(&self, call: &Call<'_>) -> Result<Response> {
        let mut user = find(call).await?.ok_or_else(|| Error::wrapped(500, "username does not exist"))?;
        let none = || Error::bad_request("must provide either password or password_hash");
        user.hash = new_hash(call).await?.ok_or_else(none)?;
        call.storage.write(&key(call.input.capture("username")), &user).await?;
        Ok(Response::empty())
    }

    async fn set_policies(&self, call: &Call<'_>) -> Result<Response> {
        let mut user = find(call).await?.ok_or_else(|| Error::wrapped(500, "username does not exist"))?;
        let names = match call.input.texts("token_policies")? {
            Some(names) => Some(names),
            None => call.input.texts("policies")?,
        };
        user.params.policies = params::parse_policies(&names.unwrap_or_default());
        call.storage.write(&key(call.input.capture("username")), &user).await?;
        Ok(Response::empty())
    }

    /// A wrong name and a wrong password are one answer, and take the same time.
    async fn log_in(&self, call: &Call<'_>) -> Result<Response> {
        let name = call.input.capture("username").to_lowercase();
        let password = Zeroizing::new(call.input.text("password")?.unwrap_or_default());
        if password.is_empty() {
            return Err(Error::new(500, "missing password"));
        }
        let user = find(call).await?;
        let hash = user.as_ref().map_or(NOBODY, |user| user.hash.as_str()).to_owned();
        let right = blocking(move || bcrypt::verify(password.as_bytes(), &hash).unwrap_or(false)).await?;
        let Some(user) = user.filter(|_| right) else {
            return Err(Error::bad_request("invalid username or password"));
        };
        if !is_from(&user.params.bound_cidrs, call.request.remote) {
            return Err(Error::no_token());
        }
        let mut auth = user.params.auth(call.request.remote);
        auth.metadata.insert("username".to_owned(), name.clone());
        auth.display_name = name;
        Ok(Response { auth: Some(auth), ..Response::empty() })
    }
}

/// The hash of the password that is given, or the one that is given.
async fn new_hash(call: &Call<'_>) -> Result<Option<String>> {
    let password = Zeroizing::new(call.input.text("password")?.unwrap_or_default());
    let hash = call.input.text("password_hash")?.unwrap_or_default();
    match (password.is_empty(), hash.is_empty()) {
        (true, true) => Ok(None),
        (false, false) => Err(Error::bad_request("password and password_hash cannot both be given")),
        (true, false) => {
            hash.parse::<bcrypt::HashParts>().map_err(|_| Error::bad_request("password_hash is no bcrypt hash"))?;
            Ok(Some(hash))
        }
        // Past 72 bytes bcrypt would not look.
        (false, true) if password.len() > 72 => Err(Error::bad_request("a password has at most 72 bytes")),
        (false, true) => {
            let hash = blocking(move || bcrypt::hash(password.as_bytes(), COST)).await?;
            hash.map(Some).map_err(|error| Error::internal(&error))
        }
    }
}

/// How many passwords are hashed at once. Whoever sends many gets in the way of other logins, not of everything else.
static HASHING: Semaphore = Semaphore::const_new(2);

/// Off the threads that answer others: a hash takes tens of milliseconds.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let _place = HASHING.acquire().await.map_err(|error| Error::internal(&error))?;
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::internal(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_nobody_is_one_and_costs_as_much_as_any() {
        assert_eq!(NOBODY.parse::<bcrypt::HashParts>().unwrap().get_cost(), COST);
        assert_eq!(bcrypt::verify(b"password", NOBODY).ok(), Some(false));
    }
}
