//! `kv`: secrets of both versions of the engine.

use bulla_core::json::{Object, Value};
use reqwest::Method;

use super::values::{self, nothing_at, success};
use super::{Command, Output};
use crate::answer::Answer;
use crate::client::{Call, Role};
use crate::context::{Context, clean, mount, say, warn};
use crate::failure::Failure;
use crate::flags::{Flag, Kind, flag};
use crate::show::{Format, table};

pub(super) const MOUNT: Flag = flag("mount", Kind::Text, "Where the engine is mounted; the path is below it then");
const VERSIONS: Flag = flag("versions", Kind::Texts, "Version numbers, separated by commas");
const CAS: Flag = flag("cas", Kind::Number, "Write only if this is the current version; 0: if there is none");

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "kv get",
        usage: "KEY",
        about: "Read a secret",
        output: Output::FieldAndFormat,
        flags: &[MOUNT, flag("version", Kind::Number, "This version, not the current one")],
        words: (1, Some(1)),
        run: get,
    },
    Command {
        name: "kv put",
        usage: "KEY [DATA]",
        about: "Write a secret whole",
        output: Output::FieldAndFormat,
        flags: &[MOUNT, CAS],
        words: (1, None),
        run: put,
    },
    Command {
        name: "kv patch",
        usage: "KEY [DATA]",
        about: "Change parts of a secret",
        output: Output::FieldAndFormat,
        flags: &[
            MOUNT,
            CAS,
            flag("method", Kind::Text, "patch, or rw: read, then write"),
            flag("remove-data", Kind::Texts, "A key to remove, as often as needed"),
        ],
        words: (1, None),
        run: patch,
    },
    Command {
        name: "kv list",
        usage: "PATH",
        about: "List secrets",
        output: Output::Format,
        flags: &[MOUNT],
        words: (0, Some(1)),
        run: list,
    },
    Command {
        name: "kv scan",
        usage: "PATH",
        about: "List secrets, folders' too",
        output: Output::Format,
        flags: &[MOUNT],
        words: (0, Some(1)),
        run: scan,
    },
    Command {
        name: "kv delete",
        usage: "PATH",
        about: "Delete versions; they can come back",
        output: Output::FieldAndFormat,
        flags: &[MOUNT, VERSIONS],
        words: (1, Some(1)),
        run: delete,
    },
    Command {
        name: "kv undelete",
        usage: "KEY",
        about: "Bring deleted versions back",
        output: Output::Format,
        flags: &[MOUNT, VERSIONS],
        words: (1, Some(1)),
        run: undelete,
    },
    Command {
        name: "kv destroy",
        usage: "KEY",
        about: "Remove versions for ever",
        output: Output::Format,
        flags: &[MOUNT, VERSIONS],
        words: (1, Some(1)),
        run: destroy,
    },
    Command {
        name: "kv rollback",
        usage: "KEY",
        about: "Write an earlier version again",
        output: Output::Format,
        flags: &[MOUNT, flag("version", Kind::Number, "The version to write again")],
        words: (1, Some(1)),
        run: rollback,
    },
    Command {
        name: "kv enable-versioning",
        usage: "MOUNT",
        about: "Make an engine of version 1 one of version 2",
        output: Output::Format,
        flags: &[],
        words: (1, Some(1)),
        run: enable_versioning,
    },
];

/// A secret's place.
pub(super) struct Place {
    mount: String,
    /// What is below the mount.
    rest: String,
    pub(super) is_v2: bool,
}

impl Place {
    /// Asks the server which engine the command is about.
    pub(super) fn find(context: &Context<'_>) -> Result<Self, Failure> {
        let word = context.path(0);
        let named = context.flags.full("mount").map(clean);
        let probe = format!("sys/internal/ui/mounts/{}", named.unwrap_or(word));
        let client = context.client()?;
        let call = Call::get(&probe).preparing();
        let reply = client.send(&call)?;
        // Servers that do not know the question have version 1 alone.
        if reply.status() == 404 {
            let path = named.map_or_else(|| word.to_owned(), |mount| join(&[mount, word]));
            return Ok(Self { mount: String::new(), rest: path, is_v2: false });
        }
        if !reply.is_success() {
            return Err(client.refused(&call, &reply));
        }
        let answer =
            Answer::read(reply.body())?.ok_or_else(|| Failure::remote("nil response from pre-flight request"))?;
        let mount = answer.data().get("path").and_then(Value::as_str).unwrap_or_default().to_owned();
        let options = answer.data().get("options").and_then(Value::as_object);
        let is_v2 = options.and_then(|options| options.get("version")).and_then(Value::as_str) == Some("2");
        let rest = if named.is_some() { word.to_owned() } else { below(&mount, word).to_owned() };
        Ok(Self { mount: clean(&mount).to_owned(), rest, is_v2 })
    }

    /// The path of an operation; of version 1, which has none, the secret's own.
    pub(super) fn path(&self, operation: &str) -> String {
        if self.is_v2 { join(&[&self.mount, operation, &self.rest]) } else { join(&[&self.mount, &self.rest]) }
    }
}

/// What of `path` is below `mount`. The mount may begin with a namespace that the path does not have.
fn below<'a>(mount: &str, path: &'a str) -> &'a str {
    let mut mount = clean(mount);
    loop {
        match path.strip_prefix(mount) {
            Some("") => return "",
            Some(rest) if rest.starts_with('/') => return clean(rest),
            _ => match mount.split_once('/') {
                Some((_, shorter)) => mount = shorter,
                None => return path,
            },
        }
    }
}

fn join(parts: &[&str]) -> String {
    parts.iter().copied().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

fn get(context: &Context<'_>) -> Result<u8, Failure> {
    let place = Place::find(context)?;
    let path = place.path("data");
    let mut call = Call::get(&path);
    if let Some(version) = context.flags.number("version").filter(|version| *version > 0 && place.is_v2) {
        call = call.with_query("version", version.to_string());
    }
    let answer = context.read(&call).map_err(|failure| failure.doing(&format!("Error reading {path}")))?;
    let Some(answer) = answer else { return Err(nothing_at(&path)) };
    let data = if place.is_v2 { answer.data().get("data").and_then(Value::as_object) } else { answer.data.as_ref() };
    if let Some(name) = context.flags.full("field") {
        return match (data, place.is_v2 && answer.wrap_info.is_none()) {
            (Some(data), true) => context.show_field(data.get(name), name, "map"),
            (None, true) => Err(Failure::remote(format!("No data found at {path}"))),
            _ => context.show_field(answer.field(name).as_ref(), name, "secret"),
        };
    }
    if answer.wrap_info.is_some() || context.format()? != Format::Table {
        return context.show(&answer);
    }
    context.show_warnings(&answer);
    if place.is_v2 {
        show_path("Secret Path", &path)?;
        if let Some(metadata) = answer.data().get("metadata").and_then(Value::as_object) {
            show_titled("Metadata", metadata)?;
            say("")?;
        }
    }
    if let Some(data) = data {
        show_titled("Data", data)?;
    }
    Ok(0)
}

/// Prints where something is.
pub(super) fn show_path(title: &str, path: &str) -> Result<(), Failure> {
    say(&format!("{}\n{path}\n", table::title(title, path.len())))
}

/// Prints an object under a title.
pub(super) fn show_titled(title: &str, object: &Object) -> Result<(), Failure> {
    say(&table::title_of(title, object))?;
    say(&table::object(object))
}

fn put(context: &Context<'_>) -> Result<u8, Failure> {
    let data = context.data(1)?;
    if data.is_empty() {
        return Err(Failure::usage("Must supply data"));
    }
    let place = Place::find(context)?;
    let path = place.path("data");
    let body = if place.is_v2 { versioned(data, context.flags.number("cas").filter(|cas| *cas > -1)) } else { data };
    written(context, &place, &path, &Call::put(&path, body))
}

/// A body of version 2.
fn versioned(data: Object, cas: Option<i64>) -> Object {
    let options: Object = cas.map(|cas| ("cas".to_owned(), Value::from(cas))).into_iter().collect();
    bulla_core::object! { "data": data, "options": options }
}

fn written(context: &Context<'_>, place: &Place, path: &str, call: &Call<'_>) -> Result<u8, Failure> {
    if !place.is_v2 {
        return values::written(context, path, call);
    }
    let answer = context.ask(call).map_err(|failure| failure.doing(&format!("Error writing data to {path}")))?;
    match answer {
        None => success(context, &format!("Success! Data written to: {path}")),
        Some(answer) => show_written(context, path, &answer),
    }
}

fn show_written(context: &Context<'_>, path: &str, answer: &Answer) -> Result<u8, Failure> {
    let is_special = answer.wrap_info.is_some() || context.flags.full("field").is_some();
    if is_special || context.format()? != Format::Table {
        return context.show(answer);
    }
    context.show_warnings(answer);
    show_path("Secret Path", path)?;
    show_titled("Metadata", answer.data())?;
    Ok(0)
}

fn patch(context: &Context<'_>) -> Result<u8, Failure> {
    let mut data = context.data(1)?;
    let removed = context.flags.texts("remove-data").iter().flat_map(|keys| keys.split(','));
    for key in removed.filter(|key| !key.is_empty()) {
        data.insert(key.to_owned(), Value::Null);
    }
    if data.is_empty() {
        return Err(Failure::usage("Must supply data"));
    }
    let place = Place::find(context)?;
    if !place.is_v2 {
        return Err(Failure::remote("K/V engine mount must be version 2 for patch support"));
    }
    let path = place.path("data");
    let method = context.flags.full("method");
    if method == Some("rw") {
        return read_then_write(context, &place, &path, data);
    }
    if !matches!(method, None | Some("patch")) {
        return Err(Failure::usage("Invalid method: -method is patch or rw"));
    }
    let cas = context.flags.number("cas").filter(|cas| *cas > 0);
    let call = Call::patch(&path, versioned(data, cas));
    let client = context.client()?;
    let reply = client.send(&call)?;
    // Older servers cannot; policies may allow to write, and not to patch.
    if matches!(reply.status(), 403 | 405) && method.is_none() {
        if reply.status() == 403 {
            warn(&format!("The policy does not allow to patch {path}: it is read, and written whole."));
        }
        return read_then_write(
            context,
            &place,
            &path,
            call.body.and_then(|mut body| take(&mut body, "data")).unwrap_or_default(),
        );
    }
    if !reply.is_success() {
        return Err(client.refused(&call, &reply).doing(&format!("Error writing data to {path}")));
    }
    match Answer::read(reply.body())? {
        Some(answer) => show_written(context, &path, &answer),
        None => success(context, &format!("Success! Data written to: {path}")),
    }
}

fn read_then_write(context: &Context<'_>, place: &Place, path: &str, data: Object) -> Result<u8, Failure> {
    let (version, mut whole) = current(context, path, None)?;
    for (key, value) in data {
        if value.is_null() {
            whole.remove(&key);
        } else {
            whole.insert(key, value);
        }
    }
    let cas = context.flags.number("cas").filter(|cas| *cas > 0).unwrap_or(version);
    written(context, place, path, &Call::put(path, versioned(whole, Some(cas))))
}

/// A version's number and its data; the current one if none is named.
fn current(context: &Context<'_>, path: &str, version: Option<i64>) -> Result<(i64, Object), Failure> {
    let mut call = Call::get(path).preparing();
    if let Some(version) = version {
        call = call.with_query("version", version.to_string());
    }
    let answer = context.read(&call).map_err(|failure| failure.doing(&format!("Error doing pre-read at {path}")))?;
    let Some(answer) = answer else { return Err(nothing_at(path)) };
    let mut data = answer.data.unwrap_or_default();
    let metadata = take(&mut data, "metadata")
        .ok_or_else(|| Failure::remote(format!("No metadata found at {path}; it was not written")))?;
    let number = crate::answer::number(&metadata, "version");
    match take(&mut data, "data") {
        Some(data) => Ok((number, data)),
        None if version.is_some() => Err(Failure::remote("Cannot roll back to a version that has been deleted")),
        None => Err(Failure::remote(format!("No data found at {path}; the current version is deleted"))),
    }
}

fn take(object: &mut Object, name: &str) -> Option<Object> {
    match object.remove(name) {
        Some(Value::Object(inner)) => Some(inner),
        _ => None,
    }
}

fn list(context: &Context<'_>) -> Result<u8, Failure> {
    listing(context, "list")
}

fn scan(context: &Context<'_>) -> Result<u8, Failure> {
    listing(context, "scan")
}

fn listing(context: &Context<'_>, how: &str) -> Result<u8, Failure> {
    if context.words().is_empty() && context.flags.full("mount").is_none() {
        return Err(Failure::usage("Not enough arguments (expected 1, got 0)"));
    }
    let place = Place::find(context)?;
    let path = place.path("metadata");
    values::names(context, &path, &Call::get(&path).with_query(how, "true"))
}

fn delete(context: &Context<'_>) -> Result<u8, Failure> {
    let place = Place::find(context)?;
    let path = place.path("data");
    let versions = versions(context);
    let some = place.path("delete");
    let call = if place.is_v2 && !versions.is_empty() {
        Call::post(&some, bulla_core::object! { "versions": versions })
    } else {
        Call::delete(&path)
    };
    let answer = context.ask(&call).map_err(|failure| failure.doing(&format!("Error deleting {path}")))?;
    match answer {
        Some(answer) => context.show(&answer),
        None => success(context, &format!("Success! Data deleted (if it existed) at: {path}")),
    }
}

fn versions(context: &Context<'_>) -> Vec<String> {
    let numbers = context.flags.texts("versions").iter().flat_map(|list| list.split(','));
    numbers.map(|number| number.trim().to_owned()).filter(|number| !number.is_empty()).collect()
}

fn undelete(context: &Context<'_>) -> Result<u8, Failure> {
    change_versions(context, "undelete", "Undelete")
}

fn destroy(context: &Context<'_>) -> Result<u8, Failure> {
    change_versions(context, "destroy", "Destroy")
}

fn change_versions(context: &Context<'_>, operation: &str, title: &str) -> Result<u8, Failure> {
    let versions = versions(context);
    if versions.is_empty() {
        return Err(Failure::usage(format!(
            "No versions provided, use the \"-versions\" flag to specify the version to {operation}."
        )));
    }
    let place = Place::find(context)?;
    if !place.is_v2 {
        return Err(Failure::usage(format!("{title} not supported on KV Version 1")));
    }
    let path = place.path(operation);
    values::written(
        context,
        &path,
        &Call::new(Method::PUT, &path).with_body(bulla_core::object! { "versions": versions }),
    )
}

fn rollback(context: &Context<'_>) -> Result<u8, Failure> {
    let Some(version) = context.flags.number("version") else {
        return Err(Failure::usage("Version flag must be specified"));
    };
    if version < 1 {
        return Err(Failure::usage("Invalid value for the version flag"));
    }
    let place = Place::find(context)?;
    if !place.is_v2 {
        return Err(Failure::remote("K/V engine mount must be version 2 for rollback support"));
    }
    let path = place.path("data");
    // What is current may be deleted; it is its number that matters.
    let newest = context
        .read(&Call::get(&path).preparing())
        .map_err(|failure| failure.doing(&format!("Error doing pre-read at {path}")))?;
    let Some(newest) = newest else { return Err(nothing_at(&path)) };
    let number = newest
        .data()
        .get("metadata")
        .and_then(Value::as_object)
        .map(|metadata| crate::answer::number(metadata, "version"));
    let number = number
        .ok_or_else(|| Failure::remote(format!("No metadata found at {path}; rollback only works on existing data")))?;
    let (_, data) = current(context, &path, Some(version))?;
    let mut call = Call::put(&path, versioned(data, Some(number)));
    call.role = Role::Main;
    values::written(context, &path, &call)
}

fn enable_versioning(context: &Context<'_>) -> Result<u8, Failure> {
    let mount = mount(context.word(0));
    let path = format!("sys/mounts/{}/tune", clean(&mount));
    let options = bulla_core::object! { "version": "2" };
    let call = Call::post(&path, bulla_core::object! { "options": options });
    context.call(&call).map_err(|failure| failure.doing(&format!("Error tuning secrets engine {mount}")))?;
    success(context, &format!("Success! Tuned the secrets engine at: {mount}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_mount_does_not_need_the_namespace_before_it() {
        assert_eq!(below("secret/", "secret/a/b"), "a/b");
        assert_eq!(below("secret/", "secret"), "");
        assert_eq!(below("ns1/secret/", "secret/a"), "a");
        assert_eq!(below("secret/", "other/a"), "other/a");
        assert_eq!(below("sec/", "secret/a"), "secret/a");
    }
}
