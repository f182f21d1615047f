//! `sys/mounts`, `sys/auth`, `sys/remount`.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use super::{System, locked, show};
use crate::core::mount::{AUTH, Class, Config, Entry, is_protected};
use crate::core::quota::Rule;
use crate::core::random;
use crate::json::{Object, Value};
use crate::logical::{Call, Error, Response, Result, TokenType, parse_seconds};

pub async fn list_secret(system: &System, _: &Call<'_>) -> Result<Response> {
    list(system, Class::Secret)
}

pub async fn list_auth(system: &System, _: &Call<'_>) -> Result<Response> {
    list(system, Class::Auth)
}

fn list(system: &System, class: Class) -> Result<Response> {
    let table = system.open()?.mounts.table();
    let mounts = table.values().filter(|mount| mount.entry.class == class);
    let shown = mounts.map(|mount| (mount.entry.path.clone(), show::entry(&mount.entry).into()));
    Ok(Response::flat(shown.collect()))
}

pub async fn read_secret(system: &System, call: &Call<'_>) -> Result<Response> {
    read(system, call, Class::Secret)
}

pub async fn read_auth(system: &System, call: &Call<'_>) -> Result<Response> {
    read(system, call, Class::Auth)
}

/// The path of a mount, and whether it is its `tune`.
struct Place {
    path: String,
    full: String,
    tune: bool,
}

fn place(call: &Call<'_>, class: Class) -> Place {
    let path = call.input.capture("path");
    let (path, tune) = path.strip_suffix("/tune").map_or((path, false), |path| (path, true));
    let path = format!("{}/", path.trim_matches('/'));
    let full = if class == Class::Auth { format!("{AUTH}{path}") } else { path.clone() };
    Place { path, full, tune }
}

fn read(system: &System, call: &Call<'_>, class: Class) -> Result<Response> {
    let place = place(call, class);
    let mount = system.open()?.mounts.at(&place.full);
    if !place.tune {
        let what = if class == Class::Auth { "auth engine" } else { "secret engine mount" };
        let missing = || Error::bad_request(format!("No {what} at {}", place.path));
        return Ok(Response::flat(show::entry(&mount.ok_or_else(missing)?.entry)));
    }
    let missing = || Error::bad_request(format!("cannot fetch sysview for path {:?}", place.full));
    let mount = mount.ok_or_else(missing)?;
    let mut shown = object! {
        "default_lease_ttl": mount.info.default_ttl,
        "description": mount.entry.description.as_str(),
        "force_no_cache": mount.entry.config.force_no_cache,
        "max_lease_ttl": mount.info.max_ttl,
    };
    if let Some(options) = mount.entry.options.as_ref().filter(|options| !options.is_empty()) {
        shown.insert("options".to_owned(), options.into());
    }
    shown.extend(show::extras(&mount.entry.config));
    if let Some(lockout) = &mount.entry.config.lockout {
        shown.extend(locked::shown(lockout));
    }
    Ok(Response::flat(shown))
}

pub async fn mount_secret(system: &System, call: &Call<'_>) -> Result<Response> {
    mount(system, call, Class::Secret).await
}

pub async fn mount_auth(system: &System, call: &Call<'_>) -> Result<Response> {
    mount(system, call, Class::Auth).await
}

async fn mount(system: &System, call: &Call<'_>, class: Class) -> Result<Response> {
    let place = place(call, class);
    if place.tune {
        return tune(system, call, &place).await;
    }
    let input = &call.input;
    let kind = input.text("type")?.unwrap_or_default();
    let kind = if kind.is_empty() { input.text("plugin_name")?.unwrap_or_default() } else { kind };
    if kind.is_empty() {
        return Err(Error::bad_request("backend type must be specified as a string"));
    }
    let mut options = Some(input.text_map("options")?.unwrap_or_default());
    let kind = match kind.as_str() {
        "kv-v2" => {
            options.get_or_insert_default().insert("version".to_owned(), "2".to_owned());
            "kv".to_owned()
        }
        "kv-v1" | "generic" => "kv".to_owned(),
        _ => kind,
    };
    if kind == "kv"
        && let Some(version) = options.as_ref().and_then(|options| options.get("version"))
        && !matches!(version.as_str(), "1" | "2")
    {
        return Err(Error::bad_request("options: version must be 1 or 2"));
    }
    let mut config = Config::default();
    if class == Class::Auth {
        config.token_type = Some(TokenType::DefaultService);
    }
    if let Some(given) = input.map("config")? {
        apply(&mut config, &given, system)?;
    }
    let mut entry = Entry {
        path: place.path,
        class,
        kind,
        description: input.text("description")?.unwrap_or_default(),
        accessor: String::new(),
        uuid: String::new(),
        local: input.bool("local")?.unwrap_or(false),
        seal_wrap: input.bool("seal_wrap")?.unwrap_or(false),
        options,
        config,
    };
    let config = input.map("config")?.unwrap_or_default();
    if let Some(Value::Object(lockout)) = config.get("user_lockout_config") {
        locked::tune(&mut entry, lockout)?;
    }
    system.open()?.mounts.mount(entry).await?;
    Ok(Response::empty())
}

async fn tune(system: &System, call: &Call<'_>, place: &Place) -> Result<Response> {
    let failed = |error: Error| {
        let why = error.messages.join("; ");
        if why == "no mount entry found" {
            Error::bad_request(format!("tune of path {:?} failed: {why}", place.full))
        } else {
            error
        }
    };
    let lockout = call.input.map("user_lockout_config")?.unwrap_or_default();
    let options = call.input.text_map("options")?;
    let description = call.input.text("description")?;
    let change = |entry: &mut Entry| {
        apply(&mut entry.config, call.input.data, system)?;
        locked::tune(entry, &lockout)?;
        if let Some(description) = description {
            entry.description = description;
        }
        if let Some(options) = options {
            if entry.kind == "kv" && options.contains_key("version") {
                let version =
                    |options: &BTreeMap<String, String>| options.get("version").is_some_and(|version| version == "2");
                if version(&options) != entry.options.as_ref().is_some_and(version) {
                    // One version's engine on the other's entries: they would not be found, or be found raw.
                    return Err(Error::bad_request(
                        "the version of a kv mount cannot be changed on this server; mount another and copy",
                    ));
                }
            }
            entry.options.get_or_insert_default().extend(options);
        }
        Ok(())
    };
    system.open()?.mounts.tune(&place.full, change).await.map_err(failed)?;
    Ok(Response::empty())
}

/// Changes what is given of `config`.
fn apply(config: &mut Config, given: &Object, system: &System) -> Result<()> {
    let seconds = |name: &str| -> Result<Option<i64>> {
        let text = match given.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) if text == "system" => return Ok(Some(0)),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(digits)) => digits.to_string(),
            Some(_) => return Err(Error::bad_request(format!("{name} is a duration"))),
        };
        let seconds =
            parse_seconds(&text).map_err(|error| Error::bad_request(format!("unable to parse {name}: {error}")))?;
        if seconds < 0 { Err(Error::bad_request(format!("{name} cannot be negative"))) } else { Ok(Some(seconds)) }
    };
    config.default_lease_ttl = seconds("default_lease_ttl")?.unwrap_or(config.default_lease_ttl);
    config.max_lease_ttl = seconds("max_lease_ttl")?.unwrap_or(config.max_lease_ttl);
    let most = if config.max_lease_ttl > 0 { config.max_lease_ttl } else { system.open()?.times.max_ttl };
    if config.max_lease_ttl > 0 && config.default_lease_ttl > most {
        return Err(Error::bad_request(format!(
            "backend max lease TTL of {most} would be less than backend default lease TTL of {}",
            config.default_lease_ttl
        )));
    }
    if let Some(Value::Bool(force)) = given.get("force_no_cache") {
        config.force_no_cache = *force;
    }
    if let Some(visibility) = given.get("listing_visibility").and_then(Value::as_str) {
        if !matches!(visibility, "" | "hidden" | "unauth") {
            return Err(Error::bad_request(format!("invalid listing visibility type: {visibility:?}")));
        }
        visibility.clone_into(&mut config.listing_visibility);
    }
    if let Some(name) = given.get("token_type").and_then(Value::as_str).filter(|name| !name.is_empty()) {
        let invalid = || Error::bad_request("invalid value for 'token_type'");
        let token_type = TokenType::parse(name).filter(|one| *one != TokenType::Default).ok_or_else(invalid)?;
        config.token_type = Some(token_type);
    }
    let lists = [
        ("passthrough_request_headers", &mut config.passthrough_request_headers),
        ("allowed_response_headers", &mut config.allowed_response_headers),
        ("audit_non_hmac_request_keys", &mut config.audit_non_hmac_request_keys),
        ("audit_non_hmac_response_keys", &mut config.audit_non_hmac_response_keys),
    ];
    for (name, list) in lists {
        match given.get(name) {
            Some(Value::Array(values)) => *list = values.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(Value::String(joined)) => {
                *list = joined.split(',').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect();
            }
            _ => {}
        }
    }
    Ok(())
}

pub async fn unmount_secret(system: &System, call: &Call<'_>) -> Result<Response> {
    unmount(system, call, Class::Secret).await
}

pub async fn unmount_auth(system: &System, call: &Call<'_>) -> Result<Response> {
    unmount(system, call, Class::Auth).await
}

async fn unmount(system: &System, call: &Call<'_>, class: Class) -> Result<Response> {
    let place = place(call, class);
    if place.tune {
        // What is tuned cannot be deleted, and the mount is not what was asked for.
        return Err(Error::unsupported_operation());
    }
    if is_protected(&place.full) {
        return Err(Error::bad_request(format!("cannot unmount {:?}", place.path)));
    }
    let open = system.open()?;
    match open.mounts.at(&place.full) {
        None => return Ok(Response::empty()),
        // Auth methods are taken away under `sys/auth`, with `sudo`.
        Some(mount) if mount.entry.class != class => {
            return Err(Error::bad_request(format!("cannot unmount {:?}", place.path)));
        }
        Some(_) => {}
    }
    // While the engine is there to take them back.
    revoke_all(system, &place.full).await?;
    open.mounts.unmount(&place.full, class).await?;
    let gone = |rules: &mut Vec<Rule>| {
        rules.retain(|rule| rule.mount != place.full);
        Ok(())
    };
    open.quotas.change(gone).await?;
    // And what was made meanwhile: from here on nothing more is.
    revoke_all(system, &place.full).await?;
    Ok(Response::empty())
}

/// Takes back the leases of a mount, and of a method the tokens of its logins.
async fn revoke_all(system: &System, full: &str) -> Result<()> {
    let open = system.open()?;
    for id in open.leases.below(full).await? {
        if let Some(lease) = open.leases.find(&id).await? {
            open.revoke_lease(&lease).await?;
        }
    }
    if full.starts_with(AUTH) { revoke_logins(system, full).await } else { Ok(()) }
}

/// Takes back the tokens that logins by a method gave.
async fn revoke_logins(system: &System, full: &str) -> Result<()> {
    let open = system.open()?;
    for accessor in open.tokens.accessors().await? {
        if let Some(hash) = open.tokens.by_accessor(&accessor).await?
            && let Some(entry) = open.tokens.by_hash(&hash).await?
            && entry.path.starts_with(full)
        {
            open.revoke_token(&hash).await?;
        }
    }
    Ok(())
}

pub async fn remount(system: &System, call: &Call<'_>) -> Result<Response> {
    let path = |name: &str| -> Result<String> {
        let path = call.input.text(name)?.unwrap_or_default();
        let path = path.trim_matches('/');
        if path.is_empty() {
            Err(Error::bad_request("both 'from' and 'to' must be specified"))
        } else {
            Ok(format!("{path}/"))
        }
    };
    let (from, to) = (path("from")?, path("to")?);
    if is_protected(&from) || is_protected(&to) {
        return Err(Error::bad_request(format!("cannot remount {:?}", from.trim_end_matches('/'))));
    }
    if from.starts_with(AUTH) != to.starts_with(AUTH) {
        return Err(Error::bad_request("cannot move an auth method to a secrets engine's path, or the other way"));
    }
    let open = system.open()?;
    if open.mounts.at(&from).is_some() {
        // Leases and tokens are found by the path that made them: they do not move.
        revoke_all(system, &from).await?;
    }
    open.mounts.remount(&from, &to).await?;
    let moved = |rules: &mut Vec<Rule>| {
        rules.iter_mut().filter(|rule| rule.mount == from).for_each(|rule| rule.mount.clone_from(&to));
        Ok(())
    };
    open.quotas.change(moved).await?;
    revoke_all(system, &from).await?;
    let id = random::uuid()?;
    let mut moves = system.moves.lock().unwrap_or_else(PoisonError::into_inner);
    moves.truncate(MOVES - 1);
    moves.push_front(Move { id: id.clone(), from, to });
    Ok(Response::flat(object! { "migration_id": id.as_str() }))
}

/// A mount that was moved: clients ask until they hear that it was.
pub struct Move {
    id: String,
    from: String,
    to: String,
}

/// So many are remembered, until the server is sealed.
const MOVES: usize = 64;

pub async fn remount_status(system: &System, call: &Call<'_>) -> Result<Response> {
    let id = call.input.capture("migration_id");
    let moves = system.moves.lock().unwrap_or_else(PoisonError::into_inner);
    let moved = moves.iter().find(|moved| moved.id == id).ok_or_else(Error::not_found)?;
    let info = object! { "source_mount": moved.from.as_str(), "target_mount": moved.to.as_str(), "status": "success" };
    Ok(Response::data(object! { "migration_id": id, "migration_info": info }))
}
