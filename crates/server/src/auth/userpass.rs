//! Names and passwords. Passwords are kept as bcrypt hashes.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::params::{self, Params};
use crate::barrier::View;
use crate::core::lockout::Login;
use crate::core::{Link, is_from};
use crate::logical::{Access, Auth, Call, Engine, Error, Field, Kind, Operation, Response, Result, Route};

/// bcrypt's cost, as the peer has it.
const COST: u32 = 10;
/// A hash that no password has: so that a name that is not there takes as long as one that is.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuuNl0d3kW7rEwXM6sJpmDDTOeBpvcVqVq";

/// The method.
pub struct Userpass {
    link: Link,
}

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

fn missing() -> Error {
    Error::wrapped(500, "username does not exist")
}

/// Reads a user, changes it and writes it, as one step. `change` may be asked more than once.
async fn change(call: &Call<'_>, change: impl Fn(Option<User>) -> Result<User> + Send + Sync) -> Result<Response> {
    let (key, mut attempt) = (key(call.input.capture("username")), 0);
    loop {
        let mut transaction = call.storage.begin();
        let user = change(transaction.read(call.storage, &key).await?)?;
        transaction.write(call.storage, &key, &user)?;
        if transaction.try_commit(&mut attempt).await? {
            return Ok(Response::empty());
        }
    }
}

impl Userpass {
    /// One that finds the server by `link`.
    pub fn new(link: &Link) -> Self {
        Self { link: link.clone() }
    }

    async fn list(&self, call: &Call<'_>) -> Result<Response> {
        let (after, limit) = call.input.page()?;
        Response::list(call.storage.list("user/", &after, limit).await?)
    }

    async fn read(&self, call: &Call<'_>) -> Result<Response> {
        let user = find(call).await?.ok_or_else(Error::not_found)?;
        Ok(Response::data(user.params.shown()))
    }

    async fn write(&self, call: &Call<'_>) -> Result<Response> {
        let hash = new_hash(call).await?;
        let input = &call.input;
        change(call, |user| {
            call.check_new(user.is_some())?;
            let mut user = user.unwrap_or_default();
            if let Some(hash) = &hash {
                user.hash.clone_from(hash);
            } else if user.hash.is_empty() {
                return Err(Error::bad_request("must provide either password or password_hash"));
            }
            if let Some(names) = input.texts("policies")? {
                user.params.policies = params::parse_policies(&names);
            }
            user.params.ttl = input.seconds("ttl")?.unwrap_or(user.params.ttl);
            user.params.max_ttl = input.seconds("max_ttl")?.unwrap_or(user.params.max_ttl);
            user.params.apply(input)?;
            Ok(user)
        })
        .await
    }

    async fn delete(&self, call: &Call<'_>) -> Result<Response> {
        call.storage.delete(&key(call.input.capture("username"))).await?;
        Ok(Response::empty())
    }

    async fn set_password(&self, call: &Call<'_>) -> Result<Response> {
        // Before the hash, which takes long, and after it.
        find(call).await?.ok_or_else(missing)?;
        let none = || Error::bad_request("must provide either password or password_hash");
        let hash = new_hash(call).await?.ok_or_else(none)?;
        change(call, |user| Ok(User { hash: hash.clone(), ..user.ok_or_else(missing)? })).await
    }

    async fn set_policies(&self, call: &Call<'_>) -> Result<Response> {
        let names = match call.input.texts("token_policies")? {
            Some(names) => Some(names),
            None => call.input.texts("policies")?,
        };
        let policies = params::parse_policies(&names.unwrap_or_default());
        change(call, |user| {
            let mut user = user.ok_or_else(missing)?;
            user.params.policies.clone_from(&policies);
            Ok(user)
        })
        .await
    }

    /// A wrong name, a wrong password, and a network that is none of the user's are one answer, and take the same time.
    async fn log_in(&self, call: &Call<'_>) -> Result<Response> {
        let name = call.input.capture("username").to_lowercase();
        if name.contains(ELSEWHERE) {
            return Err(invalid());
        }
        let comes_from_afar = |user: &User| !is_from(&user.params.bound_cidrs, call.request.remote);
        let user = find(call).await?;
        // From elsewhere nobody locks out those who may come, nor learns which password is right.
        let is_afar = user.as_ref().is_some_and(comes_from_afar);
        let counted = if is_afar { format!("{ELSEWHERE}{name}") } else { name.clone() };
        let (open, login) = (self.link.open()?, Login::new(call, &counted));
        open.lockouts.check(&login)?;
        let password = Zeroizing::new(call.input.text("password")?.unwrap_or_default());
        if password.is_empty() {
            return Err(Error::new(500, "missing password"));
        }
        let hash = user.filter(|_| !is_afar).map_or_else(|| NOBODY.to_owned(), |user| user.hash);
        let used = hash.clone();
        let right = blocking(move || {
            // One that is cheaper than that of nobody would tell by its time that the name is there.
            if hash.parse::<bcrypt::HashParts>().is_ok_and(|parts| parts.get_cost() < COST) {
                let _ = bcrypt::verify(password.as_bytes(), NOBODY);
            }
            bcrypt::verify(password.as_bytes(), &hash).unwrap_or(false)
        })
        .await?;
        // As the user is now: a hash takes long enough to be deleted, or to get another password or fewer policies.
        let user = if right { find(call).await? } else { None };
        let user = user.filter(|user| user.hash == used && !comes_from_afar(user));
        open.lockouts.conclude(&login, user.is_some().into())?;
        let user = user.ok_or_else(invalid)?;
        let mut auth = user.params.auth(call.request.remote);
        auth.metadata.insert("username".to_owned(), name.clone());
        auth.display_name = name;
        Ok(Response { auth: Some(auth), ..Response::empty() })
    }
}

fn invalid() -> Error {
    Error::bad_request("invalid username or password")
}

/// The hash of the password that is given, or the one that is given.
async fn new_hash(call: &Call<'_>) -> Result<Option<String>> {
    let password = Zeroizing::new(call.input.text("password")?.unwrap_or_default());
    let hash = call.input.text("password_hash")?.unwrap_or_default();
    match (password.is_empty(), hash.is_empty()) {
        (true, true) => Ok(None),
        (false, false) => Err(Error::bad_request("password and password_hash cannot both be given")),
        (true, false) => {
            let parts = hash.parse::<bcrypt::HashParts>();
            let cost = parts.map_err(|_| Error::bad_request("password_hash is no bcrypt hash"))?.get_cost();
            check_cost(cost)?;
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

/// Each step of the cost doubles the time of a hash: one of 31 would keep a processor for weeks.
fn check_cost(cost: u32) -> Result<()> {
    match cost {
        ..5 => Err(Error::bad_request(format!("bcrypt cost of {cost} is too low, want 5 at minimum"))),
        13.. => Err(Error::bad_request(format!("bcrypt cost of {cost} exceeds maximum cost of 12"))),
        _ => Ok(()),
    }
}

/// What sets apart the names of logins from networks that are none of a user's. It is in no name.
const ELSEWHERE: char = '\0';

/// How many passwords are hashed at once. Whoever sends many gets in the way of other logins, not of everything else.
static HASHING: Semaphore = Semaphore::const_new(2);
/// How many may be hashed or wait for it. More are told to come again: a queue without an end would go on for clients that are long gone.
const WAITING: usize = 64;
static PLACES: Semaphore = Semaphore::const_new(WAITING);

/// Off the threads that answer others: a hash takes tens of milliseconds.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let place = PLACES.try_acquire();
    let _place = place.map_err(|_| Error::new(429, "too many logins at once; try again"))?;
    let _turn = HASHING.acquire().await.map_err(|error| Error::internal(&error))?;
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::internal(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn so_many_wait_for_a_hash_and_no_more() {
        let (open, closed) = std::sync::mpsc::channel::<()>();
        let closed = std::sync::Arc::new(std::sync::Mutex::new(closed));
        let waiting: Vec<_> = (0..WAITING)
            .map(|_| {
                let closed = std::sync::Arc::clone(&closed);
                tokio::spawn(blocking(move || closed.lock().unwrap().recv().is_err()))
            })
            .collect();
        while PLACES.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(blocking(|| ()).await.unwrap_err().status, 429);
        drop(open);
        for one in waiting {
            assert!(one.await.unwrap().unwrap());
        }
        assert!(blocking(|| ()).await.is_ok());
    }

    #[test]
    fn costs_are_those_that_the_peer_takes() {
        for (cost, good) in [(4, false), (5, true), (10, true), (12, true), (13, false), (31, false)] {
            assert_eq!(check_cost(cost).is_ok(), good, "{cost}");
        }
    }

    #[test]
    fn the_hash_of_nobody_is_one_and_costs_as_much_as_any() {
        assert_eq!(NOBODY.parse::<bcrypt::HashParts>().unwrap().get_cost(), COST);
        assert_eq!(bcrypt::verify(b"password", NOBODY).ok(), Some(false));
    }
}
