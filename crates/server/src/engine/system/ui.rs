//! `sys/internal`: what clients look up before they ask for anything else.

use std::sync::Arc;

use super::{System, show};
use crate::core::mount::{Class, Mount};
use crate::core::policy::{Acl, Grant, capability};
use crate::core::{API_VERSION, is_from};
use crate::json::{Object, Value};
use crate::logical::{Access, Call, Described, Error, Kind, Operation, Response, Result};

/// What the caller may do; nothing without a token.
async fn acl(system: &System, call: &Call<'_>) -> Result<Option<Arc<Acl>>> {
    let Some(token) = &call.request.token else { return Ok(None) };
    let open = system.open()?;
    match open.tokens.find(token).await? {
        // Looking is no use of a token; one whose uses are gone, or from elsewhere, sees nothing all the same.
        Some((_, entry)) if entry.uses < 0 || !is_from(&entry.auth.bound_cidrs, call.request.remote) => {
            Err(Error::no_token())
        }
        Some((_, entry)) => Ok(Some(open.policies.acl(&entry.policies).await?)),
        None => Err(Error::no_token()),
    }
}

pub async fn mounts(system: &System, call: &Call<'_>) -> Result<Response> {
    let acl = acl(system, call).await?;
    let (mut secret, mut auth) = (Object::new(), Object::new());
    for mount in system.open()?.mounts.table().values() {
        let allowed = acl.as_ref().is_some_and(|acl| acl.allows_below(&mount.info.path));
        if allowed || mount.entry.config.listing_visibility == "unauth" {
            let shown = if allowed { show::entry(&mount.entry) } else { brief(mount) };
            let class = if mount.entry.class == Class::Auth { &mut auth } else { &mut secret };
            class.insert(mount.entry.path.clone(), shown.into());
        }
    }
    Ok(Response::data(object! { "auth": auth, "secret": secret }))
}

fn brief(mount: &Mount) -> Object {
    let options = mount.entry.options.as_ref().map_or(Value::Null, Value::from);
    object! { "description": mount.entry.description.as_str(), "options": options, "type": mount.entry.kind.as_str() }
}

pub async fn mount(system: &System, call: &Call<'_>) -> Result<Response> {
    let path = call.input.capture("path");
    let refused = || {
        let path = if path.ends_with('/') { path.to_owned() } else { format!("{path}/") };
        Error::new(
            403,
            format!(
                "preflight capability check returned 403, please ensure client's policies grant access to path {path:?}"
            ),
        )
    };
    let Some(acl) = acl(system, call).await? else { return Err(Error::no_token()) };
    let open = system.open()?;
    // Also the path of a method without `auth/` before it, as older clients ask.
    let (mount, _) = open.mounts.route(path).ok_or_else(refused)?;
    if !acl.allows_below(&mount.info.path) {
        return Err(refused());
    }
    let mut shown = show::entry(&mount.entry);
    shown.insert("path".to_owned(), mount.entry.path.as_str().into());
    Ok(Response::data(shown))
}

fn acl_of_caller(call: &Call<'_>) -> Result<Response> {
    let caller = call.caller.ok_or_else(Error::no_token)?;
    if caller.acl.is_root() {
        return Ok(Response::data(object! { "root": true }));
    }
    let shown = |grant: &Grant| {
        let bits = grant.capabilities;
        let names: Vec<&str> =
            capability::NAMES.iter().filter(|(_, bit)| bits & bit != 0).map(|(name, _)| *name).collect();
        Value::from(object! { "capabilities": names })
    };
    let (exact, globs) = caller.acl.patterns();
    let exact: Object = exact.into_iter().map(|(pattern, grant)| (pattern.to_owned(), shown(grant))).collect();
    let globs: Object = globs.into_iter().map(|(pattern, grant)| (pattern.to_owned(), shown(grant))).collect();
    Ok(Response::data(object! { "exact_paths": exact, "glob_paths": globs, "root": false }))
}

pub async fn acl_handler(_: &System, call: &Call<'_>) -> Result<Response> {
    acl_of_caller(call)
}

pub async fn catalog(system: &System, _: &Call<'_>) -> Result<Response> {
    let open = system.open()?;
    let (auth, secret) = (open.mounts.catalog().kinds(Class::Auth), open.mounts.catalog().kinds(Class::Secret));
    let mut detailed = Vec::new();
    for (class, kinds) in [("auth", &auth), ("secret", &secret)] {
        detailed.extend(kinds.iter().map(|kind| {
            Value::from(object! {
                "builtin": true,
                "deprecation_status": "supported",
                "name": *kind,
                "type": class,
                "version": format!("v{API_VERSION}.builtin"),
            })
        }));
    }
    Ok(Response::data(object! { "auth": auth, "secret": secret, "detailed": detailed }))
}

/// `OpenAPI`, of what every mount declares.
pub async fn openapi(system: &System, call: &Call<'_>) -> Result<Response> {
    let acl = acl(system, call).await?;
    let mut paths = Object::new();
    for mount in system.open()?.mounts.table().values() {
        if !acl.as_ref().is_some_and(|acl| acl.allows_below(&mount.info.path)) {
            continue;
        }
        for described in mount.backend.described() {
            let path = described.pattern.trim_end_matches("/?").replace("*}", "}");
            paths.insert(format!("/{}{path}", mount.info.path), item(described, &mount.entry).into());
        }
    }
    let info = object! {
        "title": "bulla API",
        "description": "HTTP API that gives you full access to the server. All API routes are prefixed with `/v1/`.",
        "version": API_VERSION,
    };
    let document = object! { "openapi": "3.0.2", "info": info, "paths": paths };
    Ok(Response { raw: Some(("application/json", Value::from(document).to_vec())), ..Response::empty() })
}

fn item(described: &Described, entry: &crate::core::mount::Entry) -> Object {
    let mut item = object! { "description": described.about };
    match described.access {
        Access::Open => drop(item.insert("x-vault-unauthenticated".to_owned(), true.into())),
        Access::Sudo => drop(item.insert("x-vault-sudo".to_owned(), true.into())),
        Access::Token => {}
    }
    if described.creates {
        item.insert("x-vault-createSupported".to_owned(), true.into());
    }
    let (in_path, in_body): (Vec<&crate::logical::Field>, Vec<&crate::logical::Field>) =
        described.fields.iter().partition(|field| {
            [format!("{{{}}}", field.name), format!("{{{}*}}", field.name)]
                .iter()
                .any(|name| described.pattern.contains(name))
        });
    let parameters: Vec<Value> = in_path
        .iter()
        .map(|field| {
            object! {
        "name": field.name, "description": field.about, "in": "path", "required": true, "schema": schema(field.kind),
    }.into()
        })
        .collect();
    if !parameters.is_empty() {
        item.insert("parameters".to_owned(), parameters.into());
    }
    let tag = if entry.class == Class::Auth {
        "auth"
    } else if entry.kind == "system" {
        "system"
    } else {
        "secrets"
    };
    for operation in &described.operations {
        let verb = match operation {
            Operation::Read | Operation::List | Operation::Scan => "get",
            Operation::Update | Operation::Create => "post",
            Operation::Patch => "patch",
            Operation::Delete => "delete",
            Operation::Help => continue,
        };
        let ok = if verb == "delete" { "204" } else { "200" };
        let responses = Object::from([(
            ok.to_owned(),
            object! { "description": if ok == "204" { "empty body" } else { "OK" } }.into(),
        )]);
        let mut one = object! { "tags": vec![tag], "summary": described.about, "responses": responses };
        if matches!(verb, "post" | "patch") && !in_body.is_empty() {
            let properties: Object = in_body
                .iter()
                .map(|field| {
                    let mut property = schema(field.kind);
                    property.insert("description".to_owned(), field.about.into());
                    (field.name.to_owned(), property.into())
                })
                .collect();
            let schema = object! { "type": "object", "properties": properties };
            let content = object! { "application/json": object! { "schema": schema } };
            one.insert("requestBody".to_owned(), object! { "required": true, "content": content }.into());
        }
        item.insert(verb.to_owned(), one.into());
    }
    item
}

fn schema(kind: Kind) -> Object {
    match kind {
        Kind::Text | Kind::LowerText => object! { "type": "string" },
        Kind::Int => object! { "type": "integer" },
        Kind::Float => object! { "type": "number", "format": "float" },
        Kind::Bool => object! { "type": "boolean" },
        Kind::Seconds | Kind::SignedSeconds => object! { "type": "integer", "format": "seconds" },
        Kind::Map => object! { "type": "object", "format": "map" },
        Kind::TextMap => object! { "type": "object", "format": "kvpairs" },
        Kind::Texts => object! { "type": "array", "items": object! { "type": "string" } },
        Kind::Ints => object! { "type": "array", "items": object! { "type": "integer" } },
        Kind::List => object! { "type": "array", "items": Object::new() },
    }
}
