//! Roles: what tokens that are made by them may have.

use serde::{Deserialize, Serialize};

use crate::auth::params::check_cidrs;
use crate::barrier::View;
use crate::json::Value;
use crate::logical::{Call, Error, Field, Kind, Response, Result, TokenType};

pub static FIELDS: [Field; 20] = [
    Field::new("role_name", Kind::Text, "The role's name."),
    Field::new("allowed_policies", Kind::Texts, "The policies that its tokens may have. None: those of the caller."),
    Field::new("allowed_policies_glob", Kind::Texts, "The same, with `*`."),
    Field::new("disallowed_policies", Kind::Texts, "The policies that its tokens may not have."),
    Field::new("disallowed_policies_glob", Kind::Texts, "The same, with `*`."),
    Field::new("allowed_entity_aliases", Kind::Texts, "Not supported yet."),
    Field::new("orphan", Kind::Bool, "Whether its tokens outlive who makes them."),
    Field::new("path_suffix", Kind::Text, "Behind the path of its tokens."),
    Field::new("renewable", Kind::Bool, "Whether its tokens can be renewed."),
    Field::new("period", Kind::Seconds, "`token_period`, as older clients name it."),
    Field::new("explicit_max_ttl", Kind::Seconds, "`token_explicit_max_ttl`, as older clients name it."),
    Field::new("bound_cidrs", Kind::Texts, "`token_bound_cidrs`, as older clients name it."),
    Field::new("token_period", Kind::Seconds, "How long each renewal gives its tokens, without an end."),
    Field::new("token_explicit_max_ttl", Kind::Seconds, "How long its tokens live at most."),
    Field::new("token_bound_cidrs", Kind::Texts, "Networks that its tokens can be used from."),
    Field::new("token_strictly_bind_ip", Kind::Bool, "Whether from the address of who makes them alone."),
    Field::new("token_no_default_policy", Kind::Bool, "Whether the policy `default` is left out."),
    Field::new("token_num_uses", Kind::Int, "How often its tokens can be used."),
    Field::new("token_type", Kind::Text, "How its tokens are kept."),
    Field::new("format", Kind::Text, "Without effect."),
];

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Role {
    pub name: String,
    pub allowed: Vec<String>,
    pub allowed_globs: Vec<String>,
    pub disallowed: Vec<String>,
    pub disallowed_globs: Vec<String>,
    pub orphan: bool,
    pub path_suffix: String,
    pub not_renewable: bool,
    pub period: i64,
    pub explicit_max_ttl: i64,
    pub bound_cidrs: Vec<String>,
    pub strictly_bind_ip: bool,
    pub no_default_policy: bool,
    pub num_uses: i64,
    pub token_type: Option<TokenType>,
}

impl Role {
    /// Whether its tokens have policies of its own, rather than the caller's.
    pub fn limits_policies(&self) -> bool {
        [&self.allowed, &self.allowed_globs, &self.disallowed, &self.disallowed_globs]
            .iter()
            .any(|list| !list.is_empty())
    }
}

fn key(call: &Call<'_>) -> String {
    key_of(call.input.capture("role_name"))
}

fn key_of(name: &str) -> String {
    format!("roles/{name}")
}

pub async fn find(call: &Call<'_>) -> Result<Option<Role>> {
    named(call.storage, call.input.capture("role_name")).await
}

pub async fn named(storage: &View, name: &str) -> Result<Option<Role>> {
    Ok(storage.read(&key_of(name)).await?)
}

pub async fn exists(call: &Call<'_>) -> Result<bool> {
    Ok(find(call).await?.is_some())
}

pub async fn list(call: &Call<'_>) -> Result<Response> {
    let (after, limit) = call.input.page()?;
    Response::list(call.storage.list("roles/", &after, limit).await?)
}

pub async fn read(call: &Call<'_>) -> Result<Response> {
    let role = find(call).await?.ok_or_else(Error::not_found)?;
    let mut shown = object! {
        "allowed_entity_aliases": Value::Null,
        "allowed_policies": role.allowed.as_slice(),
        "allowed_policies_glob": role.allowed_globs.as_slice(),
        "disallowed_policies": role.disallowed.as_slice(),
        "disallowed_policies_glob": role.disallowed_globs.as_slice(),
        "explicit_max_ttl": role.explicit_max_ttl,
        "name": role.name.as_str(),
        "orphan": role.orphan,
        "path_suffix": role.path_suffix.as_str(),
        "period": role.period,
        "renewable": !role.not_renewable,
        "token_explicit_max_ttl": role.explicit_max_ttl,
        "token_no_default_policy": role.no_default_policy,
        "token_period": role.period,
        "token_type": role.token_type.unwrap_or(TokenType::DefaultService).name(),
    };
    if !role.bound_cidrs.is_empty() {
        shown.insert("bound_cidrs".to_owned(), role.bound_cidrs.as_slice().into());
        shown.insert("token_bound_cidrs".to_owned(), role.bound_cidrs.as_slice().into());
    }
    if role.num_uses > 0 {
        shown.insert("token_num_uses".to_owned(), role.num_uses.into());
    }
    Ok(Response::data(shown))
}

pub async fn write(call: &Call<'_>) -> Result<Response> {
    let (key, mut attempt) = (key(call), 0);
    loop {
        let mut transaction = call.storage.begin();
        let found: Option<Role> = transaction.read(call.storage, &key).await?;
        call.check_new(found.is_some())?;
        let role = changed(found.unwrap_or_default(), call)?;
        transaction.write(call.storage, &key, &role)?;
        if transaction.try_commit(&mut attempt).await? {
            return Ok(Response::empty());
        }
    }
}

/// With what is given.
fn changed(mut role: Role, call: &Call<'_>) -> Result<Role> {
    let input = &call.input;
    input.capture("role_name").clone_into(&mut role.name);
    if let Some(names) = input.texts("allowed_policies")? {
        role.allowed = crate::core::policies(&names, true);
    }
    let lists = [
        ("allowed_policies_glob", &mut role.allowed_globs),
        ("disallowed_policies", &mut role.disallowed),
        ("disallowed_policies_glob", &mut role.disallowed_globs),
    ];
    for (field, list) in lists {
        if let Some(names) = input.texts(field)? {
            // Nobody has these, so `root` does not stand for the others.
            *list = crate::core::policy_names(&names);
        }
    }
    if input.texts("allowed_entity_aliases")?.is_some_and(|aliases| !aliases.is_empty()) {
        return Err(Error::bad_request(
            "allowed_entity_aliases needs the identity engine, which this server does not have yet",
        ));
    }
    role.orphan = input.bool("orphan")?.unwrap_or(role.orphan);
    role.not_renewable = input.bool("renewable")?.map_or(role.not_renewable, |renewable| !renewable);
    if let Some(suffix) = input.text("path_suffix")? {
        if suffix.chars().any(|c| c.is_control() || c.is_whitespace())
            || suffix.split('/').any(|segment| segment == "..")
        {
            return Err(Error::bad_request("path_suffix has characters that a path cannot have"));
        }
        role.path_suffix = suffix;
    }
    for field in ["period", "token_period"] {
        role.period = input.seconds(field)?.unwrap_or(role.period);
    }
    for field in ["explicit_max_ttl", "token_explicit_max_ttl"] {
        role.explicit_max_ttl = input.seconds(field)?.unwrap_or(role.explicit_max_ttl);
    }
    if role.period < 0 || role.explicit_max_ttl < 0 {
        return Err(Error::bad_request("a period and a time cannot be negative"));
    }
    for field in ["bound_cidrs", "token_bound_cidrs"] {
        if let Some(cidrs) = input.texts(field)? {
            check_cidrs(&cidrs)?;
            role.bound_cidrs = cidrs;
        }
    }
    role.strictly_bind_ip = input.bool("token_strictly_bind_ip")?.unwrap_or(role.strictly_bind_ip);
    role.no_default_policy = input.bool("token_no_default_policy")?.unwrap_or(role.no_default_policy);
    role.num_uses = input.int("token_num_uses")?.unwrap_or(role.num_uses).max(0);
    if let Some(name) = input.text("token_type")?.filter(|name| !name.is_empty()) {
        let invalid = || Error::bad_request(format!("invalid 'token_type' value {name:?}"));
        role.token_type = Some(TokenType::parse(&name).ok_or_else(invalid)?);
    }
    Ok(role)
}

pub async fn delete(call: &Call<'_>) -> Result<Response> {
    call.storage.delete(&key(call)).await?;
    Ok(Response::empty())
}
