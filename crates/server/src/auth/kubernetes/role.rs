//! Which service accounts log in, and as what.

use serde::{Deserialize, Serialize};

use super::account::Account;
use super::selector;
use crate::auth::glob;
use crate::auth::legacy::Legacy;
use crate::auth::params::Params;
use crate::barrier::View;
use crate::logical::{Call, Error, Response, Result, format_go};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Role {
    pub params: Params,
    legacy: Legacy,
    names: Vec<String>,
    namespaces: Option<Vec<String>>,
    /// Empty: none.
    pub selector: String,
    /// Empty: any.
    pub audience: String,
    alias_by: AliasBy,
}

/// By what a service account is known to identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AliasBy {
    #[default]
    Uid,
    Name,
}

impl AliasBy {
    const fn name(self) -> &'static str {
        match self {
            Self::Uid => "serviceaccount_uid",
            Self::Name => "serviceaccount_name",
        }
    }
}

impl Role {
    /// Whether an account's name is one that may log in.
    pub fn has_name(&self, account: &Account) -> bool {
        self.names.iter().any(|pattern| glob::matches(pattern, &account.name))
    }

    /// Whether its namespace is one that is named.
    pub fn has_namespace(&self, account: &Account) -> bool {
        self.namespaces.iter().flatten().any(|pattern| glob::matches(pattern, &account.namespace))
    }
}

fn key(name: &str) -> String {
    format!("role/{}", name.to_lowercase())
}

fn name(call: &Call<'_>) -> String {
    call.input.capture("name").to_lowercase()
}

pub async fn find(storage: &View, name: &str) -> Result<Option<Role>> {
    Ok(storage.read(&key(name)).await?)
}

pub async fn list(call: &Call<'_>) -> Result<Response> {
    let (after, limit) = call.input.page()?;
    Response::list(call.storage.list("role/", &after, limit).await?)
}

pub async fn exists(call: &Call<'_>) -> Result<bool> {
    Ok(find(call.storage, &name(call)).await?.is_some())
}

pub async fn delete(call: &Call<'_>) -> Result<Response> {
    call.storage.delete(&key(&name(call))).await?;
    Ok(Response::empty())
}

pub async fn read(call: &Call<'_>) -> Result<Response> {
    let role = find(call.storage, &name(call)).await?.ok_or_else(Error::not_found)?;
    let mut shown = role.params.shown();
    shown.extend(object! {
        "alias_name_source": role.alias_by.name(),
        "bound_service_account_names": role.names,
        "bound_service_account_namespace_selector": role.selector,
        "bound_service_account_namespaces": role.namespaces,
    });
    if !role.audience.is_empty() {
        shown.insert("audience".to_owned(), role.audience.into());
    }
    role.legacy.show(&mut shown);
    Ok(Response::data(shown))
}

pub async fn write(call: &Call<'_>) -> Result<Response> {
    let (name, mut attempt) = (name(call), 0);
    loop {
        let mut transaction = call.storage.begin();
        let found: Option<Role> = transaction.read(call.storage, &key(&name)).await?;
        call.check_new(found.is_some())?;
        let role = changed(found.unwrap_or_default(), call)?;
        transaction.write(call.storage, &key(&name), &role)?;
        if transaction.try_commit(&mut attempt).await? {
            let mut response = Response::empty();
            if role.params.max_ttl > call.mount.max_ttl {
                response = response.warn(
                    "max_ttl is greater than the system or backend mount's maximum TTL value; issued tokens' max TTL value will be truncated",
                );
            }
            return Ok(response);
        }
    }
}

fn changed(mut role: Role, call: &Call<'_>) -> Result<Role> {
    let input = &call.input;
    role.params.apply(input)?;
    role.legacy.apply(&mut role.params, input)?;
    if role.params.period > call.mount.max_ttl {
        let (period, most) = (format_go(role.params.period), format_go(call.mount.max_ttl));
        return Err(Error::bad_request(format!(
            "token period of '\"{period}\"' is greater than the backend's maximum lease TTL of '\"{most}\"'"
        )));
    }
    if role.params.max_ttl > 0 && role.params.ttl > role.params.max_ttl {
        return Err(Error::bad_request("token ttl should not be greater than token max ttl"));
    }
    let is_mixed = |patterns: &[String]| patterns.len() > 1 && patterns.iter().any(|pattern| pattern == "*");
    let mixed = || Error::bad_request("can not mix \"*\" with values");
    role.names = input.texts("bound_service_account_names")?.unwrap_or(role.names);
    if role.names.is_empty() {
        return Err(Error::bad_request("\"bound_service_account_names\" can not be empty"));
    }
    if is_mixed(&role.names) {
        return Err(mixed());
    }
    role.namespaces = input.texts("bound_service_account_namespaces")?.or(role.namespaces);
    // What is not given is none, also where there was one.
    role.selector = input.text("bound_service_account_namespace_selector")?.unwrap_or_default();
    let namespaces = role.namespaces.as_deref().unwrap_or_default();
    if namespaces.is_empty() && role.selector.is_empty() {
        return Err(Error::bad_request(
            "\"bound_service_account_namespaces\" can not be empty if \"bound_service_account_namespace_selector\" is not set",
        ));
    }
    if !role.selector.is_empty() && selector::parse(&role.selector).is_none() {
        return Err(Error::bad_request("invalid \"bound_service_account_namespace_selector\" configured"));
    }
    if is_mixed(namespaces) {
        return Err(mixed());
    }
    role.audience = input.text("audience")?.unwrap_or(role.audience);
    role.alias_by = match input.text("alias_name_source")?.as_deref() {
        None | Some("") => role.alias_by,
        Some("serviceaccount_uid") => AliasBy::Uid,
        Some("serviceaccount_name") => AliasBy::Name,
        Some(_) => {
            return Err(Error::bad_request(
                "invalid alias_name_source, must be one of: serviceaccount_uid, serviceaccount_name",
            ));
        }
    };
    Ok(role)
}
