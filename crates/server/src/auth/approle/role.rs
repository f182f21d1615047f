//! Roles.

use super::{Role, done, find_role, missing, name, need_role, role_key};
use crate::auth::params::{check_cidrs, parse_policies};
use crate::core::random;
use crate::json::{Object, Value};
use crate::logical::{Call, Error, Input, Response, Result};

pub async fn list(call: &Call<'_>) -> Result<Response> {
    let (after, limit) = call.input.page()?;
    Response::list(call.storage.list("role/", &after, limit).await?)
}

pub async fn exists(call: &Call<'_>) -> Result<bool> {
    Ok(find_role(call).await?.is_some())
}

pub async fn read(call: &Call<'_>) -> Result<Response> {
    let role = find_role(call).await?.ok_or_else(Error::not_found)?;
    Ok(Response::data(shown(&role)))
}

pub fn shown(role: &Role) -> Object {
    let mut shown = role.params.shown();
    let cidrs = &role.secret_id_bound_cidrs;
    shown.extend(object! {
        "bind_secret_id": role.bind_secret_id,
        "local_secret_ids": role.local_secret_ids,
        "secret_id_bound_cidrs": if cidrs.is_empty() { Value::Null } else { cidrs.as_slice().into() },
        "secret_id_num_uses": role.secret_id_num_uses,
        "secret_id_ttl": role.secret_id_ttl,
    });
    shown
}

pub async fn write(call: &Call<'_>) -> Result<Response> {
    let id = call.input.text("role_id")?.filter(|id| !id.is_empty());
    change(call, |role| {
        call.check_new(role.is_some())?;
        let mut role = role.unwrap_or_default();
        apply(&mut role, &call.input)?;
        if let Some(id) = &id {
            role.id.clone_from(id);
        }
        Ok(role)
    })
    .await
}

/// Changes what is given.
pub fn apply(role: &mut Role, input: &Input<'_>) -> Result<()> {
    role.bind_secret_id = input.bool("bind_secret_id")?.unwrap_or(role.bind_secret_id);
    role.local_secret_ids = input.bool("local_secret_ids")?.unwrap_or(role.local_secret_ids);
    for field in ["bound_cidr_list", "secret_id_bound_cidrs"] {
        if let Some(cidrs) = input.texts(field)? {
            check_cidrs(&cidrs)?;
            role.secret_id_bound_cidrs = cidrs;
        }
    }
    role.secret_id_num_uses = input.int("secret_id_num_uses")?.unwrap_or(role.secret_id_num_uses);
    role.secret_id_ttl = input.seconds("secret_id_ttl")?.unwrap_or(role.secret_id_ttl);
    if role.secret_id_num_uses < 0 || role.secret_id_ttl < 0 {
        return Err(Error::bad_request("num_uses and ttl cannot be negative"));
    }
    if let Some(names) = input.texts("policies")? {
        role.params.policies = parse_policies(&names);
    }
    role.params.apply(input)
}

/// Reads a role, changes it and writes it, as one step; `change` may be asked more than once. An id belongs to one role.
pub async fn change(call: &Call<'_>, change: impl Fn(Option<Role>) -> Result<Role> + Send + Sync) -> Result<Response> {
    let (name, mut attempt) = (name(call), 0);
    loop {
        let mut transaction = call.storage.begin();
        let found: Option<Role> = transaction.read(call.storage, &role_key(&name)).await?;
        let before = found.as_ref().map_or_else(String::new, |role| role.id.clone());
        let mut role = change(found)?;
        if !role.bind_secret_id && role.secret_id_bound_cidrs.is_empty() && role.params.bound_cidrs.is_empty() {
            return Err(Error::wrapped(500, "at least one constraint should be enabled on the role"));
        }
        if role.id.is_empty() {
            role.id = random::uuid()?;
        }
        let taken = transaction.get(call.storage, &id_key(&role.id)).await?;
        if taken.is_some_and(|owner| owner.as_slice() != name.as_bytes()) {
            return Err(Error::bad_request("role_id already in use"));
        }
        if !before.is_empty() && before != role.id {
            transaction.delete(call.storage, &id_key(&before))?;
        }
        transaction.put(call.storage, &id_key(&role.id), name.as_bytes())?;
        transaction.write(call.storage, &role_key(&name), &role)?;
        if transaction.try_commit(&mut attempt).await? {
            return Ok(done());
        }
    }
}

/// Where a role is found by its id.
pub fn id_key(id: &str) -> String {
    // An id is any text; its hex is one segment.
    format!("id/{}", crate::core::hex(id.as_bytes()))
}

pub async fn delete(call: &Call<'_>) -> Result<Response> {
    let (name, mut attempt) = (name(call), 0);
    loop {
        // Before the role: a process that is killed here leaves none that a new role of this name would have.
        delete_secrets(call, &name).await?;
        let mut transaction = call.storage.begin();
        let Some(role) = transaction.read::<Role>(call.storage, &role_key(&name)).await? else { return Ok(done()) };
        transaction.delete(call.storage, &id_key(&role.id))?;
        transaction.delete(call.storage, &role_key(&name))?;
        if transaction.try_commit(&mut attempt).await? {
            break;
        }
    }
    // And what was made meanwhile: from here on nothing more is.
    delete_secrets(call, &name).await?;
    Ok(done())
}

async fn delete_secrets(call: &Call<'_>, name: &str) -> Result<()> {
    for accessor in call.storage.list(&format!("accessor/{name}/"), "", 0).await? {
        super::secret::remove(call.storage, name, &accessor).await?;
    }
    Ok(())
}

pub async fn read_id(call: &Call<'_>) -> Result<Response> {
    let role = find_role(call).await?.ok_or_else(Error::not_found)?;
    Ok(Response::data(object! { "role_id": role.id.as_str() }))
}

pub async fn write_id(call: &Call<'_>) -> Result<Response> {
    need_role(call).await?;
    let id = call.input.text("role_id")?.unwrap_or_default();
    if id.is_empty() {
        return Err(Error::bad_request("missing role_id"));
    }
    change(call, |role| Ok(Role { id: id.clone(), ..role.ok_or_else(|| missing(call))? })).await
}
