//! Settings of a role, one a path.

use super::role::{apply, change, shown};
use super::{Role, find_role, missing, need_role};
use crate::json::{Object, Value};
use crate::logical::{Call, Error, Response, Result};

/// Their paths.
pub const PATTERNS: &[&str] = &[
    "role/{role_name}/policies",
    "role/{role_name}/local-secret-ids",
    "role/{role_name}/bind-secret-id",
    "role/{role_name}/secret-id-num-uses",
    "role/{role_name}/secret-id-ttl",
    "role/{role_name}/secret-id-bound-cidrs",
    "role/{role_name}/bound-cidr-list",
    "role/{role_name}/token-bound-cidrs",
    "role/{role_name}/period",
    "role/{role_name}/token-num-uses",
    "role/{role_name}/token-ttl",
    "role/{role_name}/token-max-ttl",
];

/// The field that a path is for.
fn field(call: &Call<'_>) -> &'static str {
    match call.path.rsplit('/').next().unwrap_or_default() {
        "policies" => "token_policies",
        "local-secret-ids" => "local_secret_ids",
        "bind-secret-id" => "bind_secret_id",
        "secret-id-num-uses" => "secret_id_num_uses",
        "secret-id-ttl" => "secret_id_ttl",
        "secret-id-bound-cidrs" | "bound-cidr-list" => "secret_id_bound_cidrs",
        "token-bound-cidrs" => "token_bound_cidrs",
        "period" => "token_period",
        "token-num-uses" => "token_num_uses",
        "token-ttl" => "token_ttl",
        _ => "token_max_ttl",
    }
}

pub async fn read(call: &Call<'_>) -> Result<Response> {
    let role = find_role(call).await?.ok_or_else(Error::not_found)?;
    let field = field(call);
    let value = shown(&role).remove(field).unwrap_or_default();
    // None of them is nothing here.
    let value = if value == Value::Array(Vec::new()) && field.ends_with("cidrs") { Value::Null } else { value };
    if call.path.ends_with("/bound-cidr-list") {
        let old = Response::data(Object::from([("bound_cidr_list".to_owned(), value)]));
        return Ok(old.warn(
            "The \"bound_cidr_list\" field is deprecated and will be removed. Please use \"secret_id_bound_cidrs\" instead.",
        ));
    }
    Ok(Response::data(Object::from([(field.to_owned(), value)])))
}

pub async fn write(call: &Call<'_>) -> Result<Response> {
    need_role(call).await?;
    let field = field(call);
    // Older clients name it without `token_`.
    let old = match field {
        "secret_id_bound_cidrs" => "bound_cidr_list",
        field => field.strip_prefix("token_").unwrap_or(field),
    };
    let value = call.input.raw(field).or_else(|| call.input.raw(old));
    let value = value.ok_or_else(|| Error::bad_request(format!("missing {field}")))?;
    set(call, &Object::from([(field.to_owned(), value.clone())])).await
}

async fn set(call: &Call<'_>, data: &Object) -> Result<Response> {
    let input = crate::logical::Input { captures: Vec::new(), data, fields: call.input.fields };
    change(call, |role| {
        let mut role = role.ok_or_else(|| missing(call))?;
        apply(&mut role, &input)?;
        Ok(role)
    })
    .await
}

/// Sets it to what a new role has.
pub async fn delete(call: &Call<'_>) -> Result<Response> {
    if find_role(call).await?.is_none() {
        return Ok(Response::empty());
    }
    let field = field(call);
    set(call, &Object::from([(field.to_owned(), shown(&Role::default()).remove(field).unwrap_or_default())])).await
}
