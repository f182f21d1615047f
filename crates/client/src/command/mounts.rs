//! What `secrets` and `auth` have in common: the flags of a mount, its tuning, the lists.

use bulla_core::json::{Object, Value};

use crate::answer::{number, read_object, text, truth};
use crate::client::Call;
use crate::context::{Context, clean, say};
use crate::failure::Failure;
use crate::flags::{Flag, Kind, flag};
use crate::show::{Format, Shown, plain, table};

pub(super) const DETAILED: &[Flag] = &[flag("detailed", Kind::Switch, "Show all that is known of each")];

/// Flags of settings of a mount.
pub(super) const PASSTHROUGH: Flag = flag("passthrough-request-headers", Kind::Texts, "A header that reaches it");
pub(super) const RESPONSE: Flag = flag("allowed-response-headers", Kind::Texts, "A header that it may answer with");
pub(super) const REQUEST_KEYS: Flag =
    flag("audit-non-hmac-request-keys", Kind::Texts, "A field of requests that audit shows");
pub(super) const RESPONSE_KEYS: Flag =
    flag("audit-non-hmac-response-keys", Kind::Texts, "A field of answers that audit shows");
pub(super) const DEFAULT_TTL: Flag =
    flag("default-lease-ttl", Kind::Time, "How long leases last if nothing else is said");
pub(super) const MAX_TTL: Flag = flag("max-lease-ttl", Kind::Time, "The longest that leases last");
pub(super) const DESCRIPTION: Flag = flag("description", Kind::Text, "What it is for");
pub(super) const VISIBILITY: Flag = flag("listing-visibility", Kind::Text, "unauth: shown to everybody; hidden");
pub(super) const OPTIONS: Flag = flag("options", Kind::Pairs, "An option of its kind, as often as needed");
pub(super) const VERSION: Flag = flag("version", Kind::Number, "The version of its kind: 2 for versioned secrets");
pub(super) const PLUGIN_VERSION: Flag = flag("plugin-version", Kind::Text, "The version of the plugin");
pub(super) const PLUGIN_NAME: Flag = flag("plugin-name", Kind::Text, "The name of the plugin, if not its kind's");
pub(super) const PATH: Flag = flag("path", Kind::Text, "Where, if not at its kind's name");
pub(super) const LOCAL: Flag = flag("local", Kind::Switch, "Not replicated");
pub(super) const SEAL_WRAP: Flag = flag("seal-wrap", Kind::Switch, "Critical values wrapped by the seal too");
pub(super) const ENTROPY: Flag = flag("external-entropy-access", Kind::Switch, "");
pub(super) const NO_CACHE: Flag = flag("force-no-cache", Kind::Switch, "Without a cache");
pub(super) const TOKEN_TYPE: Flag = flag("token-type", Kind::Text, "The type of its tokens");

/// Settings as `config` of a mount or the body of `tune` has them.
pub(super) fn config(context: &Context<'_>) -> Object {
    let flags = &context.flags;
    let mut config = Object::new();
    for (flag, name) in [("default-lease-ttl", "default_lease_ttl"), ("max-lease-ttl", "max_lease_ttl")] {
        if let Some(seconds) = flags.seconds(flag) {
            config.insert(name.to_owned(), plain::go_duration(seconds).into());
        }
    }
    for (flag, name) in [
        ("passthrough-request-headers", "passthrough_request_headers"),
        ("allowed-response-headers", "allowed_response_headers"),
        ("audit-non-hmac-request-keys", "audit_non_hmac_request_keys"),
        ("audit-non-hmac-response-keys", "audit_non_hmac_response_keys"),
    ] {
        if !flags.texts(flag).is_empty() {
            config.insert(name.to_owned(), flags.texts(flag).into());
        }
    }
    for (flag, name) in [
        ("listing-visibility", "listing_visibility"),
        ("token-type", "token_type"),
        ("plugin-version", "plugin_version"),
    ] {
        if let Some(text) = flags.text(flag) {
            config.insert(name.to_owned(), text.into());
        }
    }
    if flags.is_on("force-no-cache") {
        config.insert("force_no_cache".to_owned(), true.into());
    }
    config
}

/// `-options` and `-version` together.
pub(super) fn options(context: &Context<'_>) -> Option<Object> {
    let mut options: Object =
        context.flags.pairs("options").map(|(key, value)| (key.to_owned(), value.into())).collect();
    if let Some(version) = context.flags.number("version").filter(|version| *version > 0) {
        options.insert("version".to_owned(), version.to_string().into());
    }
    (!options.is_empty()).then_some(options)
}

/// Mounts something of a kind at the path that the flags say, below `place`. Gives the path.
pub(super) fn enable(context: &Context<'_>, place: &str, kind: &str) -> Result<String, Failure> {
    let flags = &context.flags;
    let kind = if kind == "plugin" { flags.full("plugin-name").unwrap_or(kind) } else { kind };
    let at = clean(flags.full("path").unwrap_or(kind)).to_owned();
    let mut config = config(context);
    let version = config.remove("plugin_version");
    let mut body = bulla_core::object! {
        "type": kind,
        "description": flags.text("description").unwrap_or_default(),
        "local": flags.is_on("local"),
        "seal_wrap": flags.is_on("seal-wrap"),
        "external_entropy_access": flags.is_on("external-entropy-access"),
        "config": config,
    };
    if let Some(options) = options(context) {
        body.insert("options".to_owned(), options.into());
    }
    if let Some(version) = version {
        body.insert("plugin_version".to_owned(), version);
    }
    context.call(&Call::post(&format!("{place}/{at}"), body))?;
    Ok(format!("{at}/"))
}

/// Tunes what is mounted at `path`.
pub(super) fn tune(context: &Context<'_>, path: &str) -> Result<(), Failure> {
    let mut body = config(context);
    if let Some(text) = context.flags.text("description") {
        body.insert("description".to_owned(), text.into());
    }
    if let Some(options) = options(context) {
        body.insert("options".to_owned(), options.into());
    }
    context.call(&Call::post(path, body)).map(drop)
}

/// Moves a mount, and waits until it is done.
pub(super) fn remount(context: &Context<'_>, what: &str, from: &str, to: &str) -> Result<u8, Failure> {
    let doing = format!("Error moving {what} {from} to {to}");
    let call = Call::post("sys/remount", bulla_core::object! { "from": from, "to": to });
    let answer = context.ask(&call).map_err(|failure| failure.doing(&doing))?;
    let id = answer.as_ref().map_or("", |answer| text(answer.data(), "migration_id")).to_owned();
    if id.is_empty() {
        say(&format!("Success! Moved {what} {from} to: {to}"))?;
        return Ok(0);
    }
    let named = format!("{what} {from} to {to}, with migration ID {id}");
    say(&format!("Started moving {named}"))?;
    let path = format!("sys/remount/status/{id}");
    // A thousand looks, as long as a large mount may take.
    for look in 0..1000 {
        let answer = context.ask(&Call::get(&path).preparing()).map_err(|failure| failure.doing(&doing))?;
        let status = answer.as_ref().and_then(|answer| answer.data().get("migration_info")).and_then(Value::as_object);
        match status.map(|status| text(status, "status")) {
            Some("success") => {
                say(&format!("Success! Finished moving {named}"))?;
                return Ok(0);
            }
            Some("failure") => return Err(Failure::usage(format!("Failure! Error encountered moving {named}"))),
            Some(_) if look == 0 => say(&format!("Waiting for terminal status in migration of {named}"))?,
            Some(_) => std::thread::sleep(std::time::Duration::from_millis(300)),
            None => return Err(Failure::remote(format!("{doing}: the server says nothing about migration {id}"))),
        }
    }
    Err(Failure::remote(format!("{doing}: it is not done after five minutes")))
}

/// What is mounted, by path.
pub(super) fn mounted(context: &Context<'_>, path: &str) -> Result<Object, Failure> {
    let reply = context.call(&Call::get(path))?;
    let mut whole = read_object(reply.body())?;
    match whole.remove("data") {
        Some(Value::Object(data)) => Ok(data),
        // Older answers have the mounts beside the other fields.
        _ => Ok(whole.into_iter().filter(|(path, mount)| path.ends_with('/') && mount.as_object().is_some()).collect()),
    }
}

/// Fields of a mount in JSON, in the peer's order.
const FIELDS: &[&str] = &[
    "uuid",
    "type",
    "description",
    "accessor",
    "config",
    "options",
    "local",
    "seal_wrap",
    "external_entropy_access",
    "plugin_version",
    "running_plugin_version",
    "running_sha256",
    "deprecation_status",
];
const CONFIG: &[&str] = &[
    "default_lease_ttl",
    "max_lease_ttl",
    "force_no_cache",
    "audit_non_hmac_request_keys",
    "audit_non_hmac_response_keys",
    "listing_visibility",
    "passthrough_request_headers",
    "allowed_response_headers",
    "token_type",
];

/// Prints mounts as JSON or YAML.
pub(super) fn show_all(mounts: &Object, format: Format) -> Result<u8, Failure> {
    let of = |mount: &Object, name: &'static str| match name {
        "options" => Shown::Value(mount.get(name).cloned().unwrap_or_default()),
        "local" | "seal_wrap" | "external_entropy_access" => Shown::Value(truth(mount, name).into()),
        _ => Shown::Value(text(mount, name).into()),
    };
    let one = |mount: &Object| {
        let fields = FIELDS.iter().map(|&name| match name {
            "config" => (name, show_config(mount.get(name).and_then(Value::as_object))),
            _ => (name, of(mount, name)),
        });
        Shown::Fields(fields.collect())
    };
    let mounts = mounts.iter().filter_map(|(path, mount)| Some((path.as_str(), one(mount.as_object()?))));
    say(&Shown::Fields(mounts.collect()).text(format))?;
    Ok(0)
}

fn show_config(config: Option<&Object>) -> Shown<'static> {
    let empty = Object::new();
    let config = config.unwrap_or(&empty);
    let field = |&name: &&'static str| {
        let value = config.get(name).cloned();
        match name {
            "default_lease_ttl" | "max_lease_ttl" => Some((name, Shown::Value(number(config, name).into()))),
            "force_no_cache" => Some((name, Shown::Value(truth(config, name).into()))),
            // Left out where empty.
            _ => value
                .filter(|value| {
                    !matches!(value, Value::Null) && value.as_str() != Some("") && *value != Value::Array(Vec::new())
                })
                .map(|value| (name, Shown::Value(value))),
        }
    };
    Shown::Fields(CONFIG.iter().filter_map(field).collect())
}

/// Rows of the short list.
pub(super) fn rows(mounts: &Object, columns: &[&str]) -> Vec<Vec<String>> {
    let row = |(path, mount): (&String, &Value)| {
        let mount = mount.as_object()?;
        let cells = columns.iter().map(|name| text(mount, name).to_owned());
        Some(std::iter::once(path.clone()).chain(cells).collect())
    };
    mounts.iter().filter_map(row).collect()
}

/// Prints the long list. `extra` is the column of the one kind that the other lacks: its header, and its field of the configuration.
pub(super) fn show_detailed(mounts: &Object, extra: &str) -> Result<u8, Failure> {
    let header = [
        "Path",
        "Plugin",
        "Accessor",
        "Default TTL",
        "Max TTL",
        extra,
        "Replication",
        "Seal Wrap",
        "External Entropy Access",
        "Options",
        "Description",
        "UUID",
        "Version",
        "Running Version",
        "Running SHA256",
        "Deprecation Status",
    ];
    let row = |(path, mount): (&String, &Value)| {
        let mount = mount.as_object()?;
        let empty = Object::new();
        let config = mount.get("config").and_then(Value::as_object).unwrap_or(&empty);
        let is_system = matches!(text(mount, "type"), "system" | "cubbyhole");
        let ttl = |name| match number(config, name) {
            _ if is_system => String::new(),
            0 => "system".to_owned(),
            seconds => seconds.to_string(),
        };
        let special = match extra {
            "Token Type" => text(config, "token_type").to_owned(),
            _ => truth(config, "force_no_cache").to_string(),
        };
        let options = mount.get("options").filter(|options| !options.is_null());
        Some(vec![
            path.clone(),
            text(mount, "type").to_owned(),
            text(mount, "accessor").to_owned(),
            ttl("default_lease_ttl"),
            ttl("max_lease_ttl"),
            special,
            if truth(mount, "local") { "local" } else { "replicated" }.to_owned(),
            truth(mount, "seal_wrap").to_string(),
            truth(mount, "external_entropy_access").to_string(),
            options.map_or_else(|| "map[]".to_owned(), plain::value),
            text(mount, "description").to_owned(),
            text(mount, "uuid").to_owned(),
            text(mount, "plugin_version").to_owned(),
            text(mount, "running_plugin_version").to_owned(),
            text(mount, "running_sha256").to_owned(),
            text(mount, "deprecation_status").to_owned(),
        ])
    };
    let rows: Vec<_> = mounts.iter().filter_map(row).collect();
    say(&table::with_header(&header, &rows))?;
    Ok(0)
}
