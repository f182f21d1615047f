//! Roles of machines: a role's id, and a secret id of it, log in.
//!
//! ```text
//! role/NAME           the role
//! id/ROLE_ID          the role's name
//! secret/HMAC         a secret id: HMAC-SHA-256(salt, role's name || 0 || secret id). Its text is stored nowhere.
//! accessor/NAME/ACCESSOR   HMAC of its secret id
//! ```

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

mod login;
mod part;
mod role;
mod secret;

use super::params::{self, Params};
use crate::barrier::View;
use crate::core::{Link, hex, now_nanos};
use crate::json::Object;
use crate::logical::{Access, Auth, Call, Engine, Error, Field, Input, Kind, Operation, Response, Result, Route};

/// The method.
pub struct AppRole {
    link: Link,
}

impl AppRole {
    /// One that finds the server by `link`.
    pub fn new(link: &Link) -> Self {
        Self { link: link.clone() }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
struct Role {
    id: String,
    bind_secret_id: bool,
    secret_id_bound_cidrs: Vec<String>,
    secret_id_num_uses: i64,
    secret_id_ttl: i64,
    local_secret_ids: bool,
    params: Params,
}

impl Default for Role {
    fn default() -> Self {
        Self {
            id: String::new(),
            bind_secret_id: true,
            secret_id_bound_cidrs: Vec::new(),
            secret_id_num_uses: 0,
            secret_id_ttl: 0,
            local_secret_ids: false,
            params: Params::default(),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct SecretId {
    accessor: String,
    /// How often it still logs in; 0: as often as wanted.
    uses: i64,
    ttl: i64,
    /// Nanoseconds since 1970; 0: it has no end.
    expires: i64,
    created: i64,
    updated: i64,
    metadata: BTreeMap<String, String>,
    cidrs: Vec<String>,
    token_cidrs: Vec<String>,
}

impl SecretId {
    fn is_alive(&self) -> bool {
        self.expires == 0 || self.expires > now_nanos()
    }
}

const NAME: Field = Field::new("role_name", Kind::LowerText, "The role's name.");
const SECRET: Field = Field::new("secret_id", Kind::Text, "The secret id.");
const ACCESSOR: Field = Field::new("secret_id_accessor", Kind::Text, "The secret id's accessor.");
const ID: Field = Field::new("role_id", Kind::Text, "The role's id.");
static ROLE: [Field; 19] = params::with([
    NAME,
    ID,
    Field::new("bind_secret_id", Kind::Bool, "Whether a secret id is needed."),
    Field::new("bound_cidr_list", Kind::Texts, "`secret_id_bound_cidrs`, as older clients name it."),
    Field::new("secret_id_bound_cidrs", Kind::Texts, "Networks that logins come from. None: all."),
    Field::new("secret_id_num_uses", Kind::Int, "How often a secret id logs in. 0: as often as wanted."),
    Field::new("secret_id_ttl", Kind::Seconds, "How long a secret id lives. 0: it has no end."),
    Field::new("local_secret_ids", Kind::Bool, "Kept, without effect."),
    Field::new("policies", Kind::Texts, "`token_policies`, as older clients name it."),
]);
static NEW_SECRET: [Field; 7] = [
    NAME,
    SECRET,
    Field::new("metadata", Kind::Text, "What is known of who gets it: an object of texts, as text."),
    Field::new("cidr_list", Kind::Texts, "Networks that it logs in from."),
    Field::new("token_bound_cidrs", Kind::Texts, "Networks that its tokens are used from."),
    Field::new("num_uses", Kind::Int, "How often it logs in."),
    Field::new("ttl", Kind::Seconds, "How long it lives."),
];

#[async_trait]
impl Engine for AppRole {
    const ABOUT: &'static str = "Logs in machines: a role's id says which, a secret id that it may.";
    const HAS_ROLES: bool = true;

    fn routes() -> Vec<Route<Self>> {
        let route = Route::<Self>::new;
        let mut routes = vec![
            route("login", "Log in")
                .fields(&[ID, SECRET])
                .access(Access::Open)
                .on(Operation::Update, |method, call| Box::pin(login::log_in(&method.link, call))),
            route("role/?", "The names of all roles").on(Operation::List, |_, call| Box::pin(role::list(call))),
            route("role/{role_name}", "A role")
                .fields(&ROLE)
                .exists(|_, call| Box::pin(role::exists(call)))
                .on(Operation::Read, |_, call| Box::pin(role::read(call)))
                .on(Operation::Update, |_, call| Box::pin(role::write(call)))
                .on(Operation::Delete, |_, call| Box::pin(role::delete(call))),
            route("role/{role_name}/role-id", "A role's id")
                .fields(&[NAME, ID])
                .on(Operation::Read, |_, call| Box::pin(role::read_id(call)))
                .on(Operation::Update, |_, call| Box::pin(role::write_id(call))),
            route("role/{role_name}/secret-id/?", "Make a secret id; the accessors of all")
                .fields(&NEW_SECRET)
                .on(Operation::Update, |_, call| Box::pin(secret::make(call)))
                .on(Operation::List, |_, call| Box::pin(secret::list(call))),
            route("role/{role_name}/custom-secret-id", "Make a secret id of a text of one's own")
                .fields(&NEW_SECRET)
                .on(Operation::Update, |_, call| Box::pin(secret::make_custom(call))),
            route("role/{role_name}/secret-id/lookup", "What is known of a secret id")
                .fields(&[NAME, SECRET])
                .on(Operation::Update, |_, call| Box::pin(secret::look_up(call))),
            route("role/{role_name}/secret-id/destroy", "Destroy a secret id")
                .fields(&[NAME, SECRET])
                .on(Operation::Update, |_, call| Box::pin(secret::destroy(call)))
                .on(Operation::Delete, |_, call| Box::pin(secret::destroy(call))),
            route("role/{role_name}/secret-id-accessor/lookup", "What is known of a secret id, by its accessor")
                .fields(&[NAME, ACCESSOR])
                .on(Operation::Update, |_, call| Box::pin(secret::look_up_accessor(call))),
            route("role/{role_name}/secret-id-accessor/destroy", "Destroy a secret id, by its accessor")
                .fields(&[NAME, ACCESSOR])
                .on(Operation::Update, |_, call| Box::pin(secret::destroy_accessor(call)))
                .on(Operation::Delete, |_, call| Box::pin(secret::destroy_accessor(call))),
            route("tidy/secret-id", "Delete secret ids that have ended")
                .on(Operation::Update, |_, call| Box::pin(secret::tidy(call))),
        ];
        routes.extend(part::PATTERNS.iter().map(|pattern| {
            Route::<Self>::new(pattern, "One setting of a role")
                .fields(&ROLE)
                .on(Operation::Read, |_, call| Box::pin(part::read(call)))
                .on(Operation::Update, |_, call| Box::pin(part::write(call)))
                .on(Operation::Delete, |_, call| Box::pin(part::delete(call)))
        }));
        routes
    }

    async fn login_role(&self, storage: &View, data: &Object) -> Result<Option<String>> {
        let id = Input::of(data).text("role_id")?.filter(|id| id.len() <= LONGEST_ID);
        let Some(id) = id else { return Ok(None) };
        let name = storage.get(&role::id_key(&id)).await?;
        Ok(name.map(|name| String::from_utf8_lossy(&name).into_owned()))
    }

    async fn renew_login(&self, storage: &View, auth: Auth) -> Result<Auth> {
        let name = auth.metadata.get("role_name").cloned().unwrap_or_default();
        match storage.read::<Role>(&role_key(&name)).await? {
            Some(role) => role.params.renew(auth),
            None => Err(Error::bad_request(format!("role {name:?} does not exist during renewal"))),
        }
    }
}

/// No role has a longer id: its hex is in a key of the storage.
const LONGEST_ID: usize = crate::storage::MAX_KEY / 2;

fn role_key(name: &str) -> String {
    format!("role/{}", name.to_lowercase())
}

fn name(call: &Call<'_>) -> String {
    call.input.capture("role_name").to_lowercase()
}

async fn find_role(call: &Call<'_>) -> Result<Option<Role>> {
    Ok(call.storage.read(&role_key(&name(call))).await?)
}

async fn need_role(call: &Call<'_>) -> Result<Role> {
    find_role(call).await?.ok_or_else(|| missing(call))
}

fn missing(call: &Call<'_>) -> Error {
    Error::new(404, format!("role {:?} does not exist", name(call)))
}

/// Where a secret id is kept.
async fn secret_key(storage: &View, role: &str, secret: &str) -> Result<String> {
    let salt = crate::core::salt(storage, "salt").await?;
    let mut context = hmac::Context::with_key(&salt);
    context.update(role.as_bytes());
    context.update(&[0]);
    context.update(secret.as_bytes());
    Ok(format!("secret/{}", hex(context.sign().as_ref())))
}

/// Nothing to say.
fn done() -> Response {
    Response::empty()
}
