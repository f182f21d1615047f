//! `sealing-keys list` and `show`.

use bulla_kube::api::SealingKey;
use bulla_kube::api::sealing_key::KeyState;
use bulla_operator::sealing::keys::envelope::recipients;
use bulla_operator::sealing::keys::store::Found;
use bulla_operator::sealing::keys::{secret, usage};
use clap::Args;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Output, api, table};
use crate::app::App;
use crate::args::sealing_keys::WhereArgs;
use crate::error::Failure;
use crate::exit::Code;
use crate::{output, term};

/// Arguments of `list`.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    place: WhereArgs,

    /// How the list is written
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// Arguments of `show`.
#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// The key's name
    name: String,

    #[command(flatten)]
    place: WhereArgs,

    /// How it is written
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// Lists all keys, the newest first.
///
/// # Errors
/// If the API server refuses.
pub(crate) fn run(app: &App, args: &ListArgs) -> Result<Code, Failure> {
    let keys = app.block_on(read(app, &args.place))??;
    match args.output {
        Output::Json => output::print(format!("{:#}\n", Value::Array(keys)).as_bytes())?,
        Output::Text => {
            let head = ["NAME", "ALGORITHM", "STATE", "NOT BEFORE", "VALUES", "OPENED BY"].map(str::to_owned).to_vec();
            let rows: Vec<_> = std::iter::once(head).chain(keys.iter().map(row)).collect();
            output::print(table(&rows).as_bytes())?;
        }
    }
    Ok(Code::Success)
}

/// Shows one key.
///
/// # Errors
/// If there is none of this name, or the API server refuses.
pub(crate) fn show(app: &App, args: &ShowArgs) -> Result<Code, Failure> {
    let keys = app.block_on(read(app, &args.place))??;
    let key = keys.into_iter().find(|key| key["name"] == args.name.as_str());
    let key = key.ok_or_else(|| {
        let what = format!("there is no sealing key {} in {}", args.name, args.place.controller_namespace);
        Failure::new(Code::NoFile, what).with_hint("`bulla sealing-keys list` shows the names")
    })?;
    match args.output {
        Output::Json => output::print(format!("{key:#}\n").as_bytes())?,
        Output::Text => {
            let line = |(name, value): (&str, &Value)| match value {
                Value::Null => None,
                Value::String(text) => Some(vec![format!("{name}:"), text.clone()]),
                other => Some(vec![format!("{name}:"), other.to_string()]),
            };
            let fields = ["name", "kind", "fingerprint", "algorithm", "state", "notBefore", "values", "lastUsed"];
            let mut rows: Vec<_> = fields.iter().filter_map(|name| line((name, &key[name]))).collect();
            rows.push(vec!["openedBy:".to_owned(), opened_by(&key)]);
            let certificate = key["certificate"].as_str().unwrap_or_default();
            output::print(format!("{}{certificate}", table(&rows)).as_bytes())?;
        }
    }
    Ok(Code::Success)
}

async fn read(app: &App, place: &WhereArgs) -> Result<Vec<Value>, Failure> {
    let client = place.client(app).await?;
    let found = place.store_of(&client).list().await.map_err(|error| api(&error))?;
    let mut keys = describe(&found);
    // Who may see the keys need not see all SealedSecrets: then what the controller wrote down stays.
    match usage::count(&client).await {
        Ok(count) => {
            for key in &mut keys {
                let values = key["fingerprint"].as_str().map(|key| count.by_key.get(key).copied().unwrap_or_default());
                key["values"] = json!(values);
            }
            if count.unknown > 0 {
                term::note(&format!("of {} values it is not known which key they are sealed to", count.unknown));
            }
        }
        Err(error) => term::warn(&format!("cannot count values: {}", api(&error).message)),
    }
    Ok(keys)
}

/// All keys as JSON, newest first. Nothing in it is secret.
fn describe(found: &Found) -> Vec<Value> {
    let mut keys: Vec<Value> = found.wrapped.iter().map(wrapped).chain(found.plain.iter().map(plain)).collect();
    keys.sort_by(|a, b| b["notBefore"].as_str().cmp(&a["notBefore"].as_str()));
    keys
}

fn wrapped(key: &SealingKey) -> Value {
    let to = recipients(&key.spec.wrapped);
    let name = |id: &bulla_core::KeyId| format!("{} {id}", id.kind());
    let groups: Vec<Vec<String>> = to.groups.iter().map(|group| group.iter().map(name).collect()).collect();
    let status = key.status.clone().unwrap_or_default();
    json!({
        "name": key.name_any(),
        "kind": "SealingKey",
        "fingerprint": key.spec.fingerprint,
        "algorithm": key.spec.algorithm,
        "state": key.spec.state,
        "notBefore": key.spec.not_before,
        "values": status.values,
        "lastUsed": status.last_used,
        "keyGroups": groups,
        "threshold": to.threshold,
        "certificate": key.spec.certificate,
    })
}

fn plain(plain: &Secret) -> Value {
    let pair = secret::read(plain);
    let state = secret::state_of(plain);
    match pair {
        Ok(pair) => json!({
            "name": plain.name_any(),
            "kind": "Secret",
            "fingerprint": pair.private.fingerprint().to_string(),
            "algorithm": format!("rsa-{}", pair.private.public_key().rsa_bits().unwrap_or_default()),
            "state": state,
            "notBefore": pair.not_before.to_string(),
            "certificate": pair.certificate.map(|certificate| certificate.to_pem()),
        }),
        Err(reason) => json!({"name": plain.name_any(), "kind": "Secret", "state": state, "error": reason}),
    }
}

fn row(key: &Value) -> Vec<String> {
    let text = |field: &str| match &key[field] {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    vec![text("name"), text("algorithm"), text("state"), text("notBefore"), text("values"), opened_by(key)]
}

/// In words: `kms arn… or age age1…`, `2 of (…) (…)`, or that it is plain.
fn opened_by(key: &Value) -> String {
    if let Some(error) = key["error"].as_str() {
        return format!("nobody: {error}");
    }
    let Some(groups) = key["keyGroups"].as_array() else {
        return "anyone who reads Secrets: it is plain".to_owned();
    };
    let group = |group: &Value| {
        let names = group.as_array().into_iter().flatten().filter_map(Value::as_str);
        names.collect::<Vec<_>>().join(" or ")
    };
    match groups.as_slice() {
        [one] => group(one),
        several => {
            let needed = key["threshold"].as_u64().unwrap_or(several.len() as u64);
            let groups = several.iter().map(|one| format!("({})", group(one)));
            format!("{needed} of {}", groups.collect::<Vec<_>>().join(" "))
        }
    }
}

/// A state as the table has it.
pub(super) const fn state_name(state: KeyState) -> &'static str {
    match state {
        KeyState::Active => "Active",
        KeyState::Retired => "Retired",
        KeyState::Compromised => "Compromised",
    }
}
