//! `kv metadata`: what is kept about a secret of version 2.

use bulla_core::json::{Object, Value};

use super::kv::{MOUNT, Place, show_path, show_titled};
use super::values::{nothing_at, success, written};
use super::{Command, Output};
use crate::client::Call;
use crate::context::{Context, say};
use crate::failure::Failure;
use crate::flags::{Flag, Kind, flag};
use crate::show::{Format, plain};

const CAS_REQUIRED: Flag = flag("cas-required", Kind::Switch, "Writes must name the current version");
const CUSTOM: Flag = flag("custom-metadata", Kind::Pairs, "A note, as often as needed");
const DELETE_AFTER: Flag = flag("delete-version-after", Kind::Time, "How long a version lives");
const MOST: Flag = flag("max-versions", Kind::Number, "How many versions are kept");

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "kv metadata get",
        usage: "KEY",
        about: "Read what is kept about a secret",
        output: Output::FieldAndFormat,
        flags: &[MOUNT],
        words: (1, Some(1)),
        run: get,
    },
    Command {
        name: "kv metadata put",
        usage: "KEY",
        about: "Write what is kept about a secret",
        output: Output::Format,
        flags: &[MOUNT, CAS_REQUIRED, CUSTOM, DELETE_AFTER, MOST],
        words: (1, Some(1)),
        run: put,
    },
    Command {
        name: "kv metadata patch",
        usage: "KEY",
        about: "Change parts of what is kept about a secret",
        output: Output::Format,
        flags: &[
            MOUNT,
            CAS_REQUIRED,
            CUSTOM,
            DELETE_AFTER,
            MOST,
            flag("remove-custom-metadata", Kind::Texts, "A note to remove"),
        ],
        words: (1, Some(1)),
        run: patch,
    },
    Command {
        name: "kv metadata delete",
        usage: "KEY",
        about: "Remove a secret, its versions and what is kept about it",
        output: Output::None,
        flags: &[MOUNT],
        words: (1, Some(1)),
        run: delete,
    },
];

fn place(context: &Context<'_>) -> Result<Place, Failure> {
    let place = Place::find(context)?;
    if place.is_v2 { Ok(place) } else { Err(Failure::usage("Metadata not supported on KV Version 1")) }
}

fn get(context: &Context<'_>) -> Result<u8, Failure> {
    let path = place(context)?.path("metadata");
    let answer = context.read(&Call::get(&path)).map_err(|failure| failure.doing(&format!("Error reading {path}")))?;
    let Some(answer) = answer else { return Err(nothing_at(&path)) };
    let is_special = answer.wrap_info.is_some() || context.flags.full("field").is_some();
    if is_special || context.format()? != Format::Table {
        return context.show(&answer);
    }
    context.show_warnings(&answer);
    let mut metadata = answer.data.unwrap_or_default();
    let versions = metadata.remove("versions");
    show_path("Metadata Path", &path)?;
    show_titled("Metadata", &metadata)?;
    let versions = versions.as_ref().and_then(Value::as_object).into_iter().flatten();
    let mut versions: Vec<(u64, &Object)> =
        versions.filter_map(|(number, version)| Some((number.parse().ok()?, version.as_object()?))).collect();
    versions.sort_unstable_by_key(|(number, _)| *number);
    for (number, version) in versions {
        say("")?;
        show_titled(&format!("Version {number}"), version)?;
    }
    Ok(0)
}

fn put(context: &Context<'_>) -> Result<u8, Failure> {
    let path = place(context)?.path("metadata");
    written(context, &path, &Call::put(&path, body(context)))
}

fn patch(context: &Context<'_>) -> Result<u8, Failure> {
    let path = place(context)?.path("metadata");
    let mut body = body(context);
    let removed = context.flags.texts("remove-custom-metadata").iter().flat_map(|keys| keys.split(','));
    for key in removed.filter(|key| !key.is_empty()) {
        let notes = body.entry("custom_metadata".to_owned()).or_insert_with(|| Value::Object(Object::new()));
        if let Value::Object(notes) = notes {
            notes.insert(key.to_owned(), Value::Null);
        }
    }
    written(context, &path, &Call::patch(&path, body))
}

fn body(context: &Context<'_>) -> Object {
    let flags = &context.flags;
    let mut body = Object::new();
    if let Some(number) = flags.number("max-versions").filter(|number| *number >= 0) {
        body.insert("max_versions".to_owned(), number.into());
    }
    if let Some(required) = flags.switch("cas-required") {
        body.insert("cas_required".to_owned(), required.into());
    }
    if let Some(seconds) = flags.seconds("delete-version-after") {
        body.insert("delete_version_after".to_owned(), plain::go_duration(seconds).into());
    }
    let notes: Object = flags.pairs("custom-metadata").map(|(key, value)| (key.to_owned(), value.into())).collect();
    if !notes.is_empty() {
        body.insert("custom_metadata".to_owned(), notes.into());
    }
    body
}

fn delete(context: &Context<'_>) -> Result<u8, Failure> {
    let path = place(context)?.path("metadata");
    context.call(&Call::delete(&path)).map_err(|failure| failure.doing(&format!("Error deleting {path}")))?;
    success(context, &format!("Success! Data deleted (if it existed) at: {path}"))
}
