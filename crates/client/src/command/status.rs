//! `status`: whether the server is sealed. 0: no; 1: no answer; 2: yes.

use bulla_core::json::{Object, Value};

use super::{Command, Output};
use crate::answer::{number, read_object, text, truth};
use crate::client::Call;
use crate::context::{Context, say};
use crate::failure::Failure;
use crate::show::{Format, Shown, plain, table};

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "status",
    usage: "",
    about: "Show whether the server is sealed (exit status 0: no, 2: yes, 1: no answer)",
    output: Output::FieldAndFormat,
    flags: &[],
    words: (0, Some(0)),
    run: status,
}];

fn status(context: &Context<'_>) -> Result<u8, Failure> {
    let failed = |failure: Failure| failure.doing("Error checking seal status").with_status(1);
    let seal = context.call(&Call::get("sys/seal-status")).map_err(failed)?;
    let seal = read_object(seal.body()).map_err(failed)?;
    let leader = match context.call(&Call::get("sys/leader").preparing()) {
        Ok(reply) => read_object(reply.body()).unwrap_or_default(),
        // A sealed server has none.
        Err(_) => Object::new(),
    };
    let sealed = truth(&seal, "sealed");
    show(context, &seal, &leader)?;
    Ok(if sealed { 2 } else { 0 })
}

/// Fields in JSON, in the peer's order. `true`: shown also where the server leaves them out.
const FIELDS: &[(&str, bool)] = &[
    ("type", true),
    ("initialized", true),
    ("sealed", true),
    ("t", true),
    ("n", true),
    ("progress", true),
    ("nonce", true),
    ("version", true),
    ("commit_date", true),
    ("migration", true),
    ("cluster_name", false),
    ("cluster_id", false),
    ("recovery_seal", true),
    ("storage_type", false),
    ("build_date", true),
];

/// Prints what the server says of its seal.
pub(super) fn show(context: &Context<'_>, seal: &Object, leader: &Object) -> Result<(), Failure> {
    if let Some(name) = context.flags.full("field") {
        context.show_field(seal.get(name).or_else(|| leader.get(name)), name, "map")?;
        return Ok(());
    }
    let format = context.format()?;
    if format != Format::Table {
        let mut fields: Vec<(&str, Shown<'_>)> = Vec::new();
        for &(name, always) in FIELDS {
            let lacking = match name {
                "t" | "n" | "progress" => Value::from(0),
                "initialized" | "sealed" | "migration" | "recovery_seal" => Value::Bool(false),
                _ => Value::from(""),
            };
            let value = seal.get(name).filter(|value| !value.is_null());
            match value {
                Some(value) if always || value.as_str() != Some("") => fields.push((name, Shown::Ref(value))),
                None if always => fields.push((name, Shown::Value(lacking))),
                _ => {}
            }
        }
        if !leader.is_empty() || context.flags.text("reset").is_none() && context.words().is_empty() {
            for name in ["ha_enabled", "is_self", "active_time", "leader_address", "leader_cluster_address"] {
                let value =
                    leader.get(name).filter(|value| !matches!(value, Value::Bool(false)) && value.as_str() != Some(""));
                match value {
                    Some(value) => fields.push((name, Shown::Ref(value))),
                    None if name == "ha_enabled" => fields.push((name, Shown::Value(Value::Bool(false)))),
                    None => {}
                }
            }
        } else {
            fields.push(("ha_enabled", Shown::Value(Value::Bool(false))));
        }
        return say(&Shown::Fields(fields).text(format));
    }
    say(&table::with_header(&["Key", "Value"], &rows(seal, leader)))
}

fn rows(seal: &Object, leader: &Object) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    let recovery = if truth(seal, "recovery_seal") { "Recovery " } else { "" };
    row(&format!("{recovery}Seal Type"), text(seal, "type").to_owned());
    row("Initialized", truth(seal, "initialized").to_string());
    row("Sealed", truth(seal, "sealed").to_string());
    row(&format!("Total {recovery}Shares"), number(seal, "n").to_string());
    row("Threshold", number(seal, "t").to_string());
    if truth(seal, "sealed") {
        row("Unseal Progress", format!("{}/{}", number(seal, "progress"), number(seal, "t")));
        row("Unseal Nonce", text(seal, "nonce").to_owned());
    }
    if truth(seal, "migration") {
        row("Seal Migration in Progress", "true".to_owned());
    }
    row("Version", text(seal, "version").to_owned());
    row("Commit Date", text(seal, "commit_date").to_owned());
    row("Storage Type", text(seal, "storage_type").to_owned());
    if !text(seal, "cluster_name").is_empty() && !text(seal, "cluster_id").is_empty() {
        row("Cluster Name", text(seal, "cluster_name").to_owned());
        row("Cluster ID", text(seal, "cluster_id").to_owned());
    }
    row("HA Enabled", truth(leader, "ha_enabled").to_string());
    if truth(leader, "ha_enabled") && !truth(seal, "sealed") {
        let cluster = text(leader, "leader_cluster_address");
        row("HA Cluster", if cluster.is_empty() { "n/a".to_owned() } else { cluster.to_owned() });
        let is_active = truth(leader, "is_self");
        row("HA Mode", if is_active { "active" } else { "standby" }.to_owned());
        if is_active && !text(leader, "active_time").is_empty() {
            row("Active Since", text(leader, "active_time").to_owned());
        }
        if !is_active {
            let address = text(leader, "leader_address");
            row(
                "Active Node Address",
                if address.is_empty() { "<none>".to_owned() } else { plain::value(&address.into()) },
            );
        }
    }
    rows
}
