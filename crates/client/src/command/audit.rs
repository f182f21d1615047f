//! `audit`: devices.

use bulla_core::json::{Object, Value};

use super::mounts::{self, DETAILED};
use super::values::success;
use super::{Command, Output};
use crate::answer::{text, truth};
use crate::client::Call;
use crate::context::{Context, clean, mount, say};
use crate::failure::Failure;
use crate::flags::{Kind, flag};
use crate::show::{Format, Shown, plain, table};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "audit list",
        usage: "",
        about: "List audit devices",
        output: Output::Format,
        flags: DETAILED,
        words: (0, Some(0)),
        run: list,
    },
    Command {
        name: "audit enable",
        usage: "TYPE [CONFIG K=V...]",
        about: "Add an audit device",
        output: Output::None,
        flags: &[
            flag("description", Kind::Text, "What it is for"),
            flag("local", Kind::Switch, "Not replicated"),
            flag("path", Kind::Text, "Its name, if not its kind's"),
        ],
        words: (0, None),
        run: enable,
    },
    Command {
        name: "audit disable",
        usage: "PATH",
        about: "Remove an audit device",
        output: Output::None,
        flags: &[],
        words: (1, Some(1)),
        run: disable,
    },
];

fn list(context: &Context<'_>) -> Result<u8, Failure> {
    let devices = mounts::mounted(context, "sys/audit").map_err(|failure| failure.doing("Error listing audits"))?;
    let format = context.format()?;
    if format != Format::Table {
        say(&shown(&devices).text(format))?;
        return Ok(0);
    }
    if devices.is_empty() {
        say("No audit devices are enabled.")?;
        return Ok(2);
    }
    let of = |device: &Object, name| text(device, name).to_owned();
    let is_long = context.flags.is_on("detailed");
    let row = |(path, device): (&String, &Value)| {
        let device = device.as_object()?;
        let mut row = vec![path.clone(), of(device, "type"), of(device, "description")];
        if is_long {
            row.push(if truth(device, "local") { "local" } else { "replicated" }.to_owned());
            let options = device.get("options").and_then(Value::as_object).into_iter().flatten();
            row.push(
                options.map(|(key, value)| format!("{key}={}", plain::value(value))).collect::<Vec<_>>().join(" "),
            );
        }
        Some(row)
    };
    let rows: Vec<_> = devices.iter().filter_map(row).collect();
    let header: &[&str] = if is_long {
        &["Path", "Type", "Description", "Replication", "Options"]
    } else {
        &["Path", "Type", "Description"]
    };
    say(&table::with_header(header, &rows))?;
    Ok(0)
}

fn shown(devices: &Object) -> Shown<'_> {
    fn one<'a>((path, device): (&'a String, &'a Value)) -> Option<(&'a str, Shown<'a>)> {
        let device = device.as_object()?;
        let fields = Shown::Fields(vec![
            ("type", Shown::Value(text(device, "type").into())),
            ("description", Shown::Value(text(device, "description").into())),
            ("options", Shown::Value(device.get("options").cloned().unwrap_or_default())),
            ("local", Shown::Value(truth(device, "local").into())),
            ("path", Shown::Value(text(device, "path").into())),
        ]);
        Some((path, fields))
    }
    Shown::Fields(devices.iter().filter_map(one).collect())
}

fn enable(context: &Context<'_>) -> Result<u8, Failure> {
    let kind = context.word(0).trim();
    if kind.is_empty() {
        let what =
            "Error enabling audit device: audit type missing. Valid types include 'file', 'socket' and 'syslog'.";
        return Err(Failure::usage(what));
    }
    let at = clean(context.flags.full("path").unwrap_or(kind));
    let body = bulla_core::object! {
        "type": kind,
        "description": context.flags.text("description").unwrap_or_default(),
        "options": context.data(1)?,
        "local": context.flags.is_on("local"),
    };
    let path = format!("sys/audit/{at}");
    context.call(&Call::put(&path, body)).map_err(|failure| failure.doing("Error enabling audit device"))?;
    success(context, &format!("Success! Enabled the {kind} audit device at: {at}/"))
}

fn disable(context: &Context<'_>) -> Result<u8, Failure> {
    let at = mount(context.word(0));
    let path = format!("sys/audit/{}", clean(&at));
    context.call(&Call::delete(&path)).map_err(|failure| failure.doing("Error disabling audit device"))?;
    success(context, &format!("Success! Disabled audit device (if it was enabled) at: {at}"))
}
