//! `secrets`: engines.

use super::mounts::{self, DETAILED};
use super::values::success;
use super::{Command, Output};
use crate::client::Call;
use crate::context::{Context, clean, mount, say};
use crate::failure::Failure;
use crate::show::{Format, table};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "secrets list",
        usage: "",
        about: "List engines",
        output: Output::Format,
        flags: DETAILED,
        words: (0, Some(0)),
        run: list,
    },
    Command {
        name: "secrets enable",
        usage: "TYPE",
        about: "Mount an engine",
        output: Output::None,
        flags: &[
            mounts::PATH,
            mounts::DESCRIPTION,
            mounts::DEFAULT_TTL,
            mounts::MAX_TTL,
            mounts::OPTIONS,
            mounts::VERSION,
            mounts::LOCAL,
            mounts::SEAL_WRAP,
            mounts::ENTROPY,
            mounts::NO_CACHE,
            mounts::VISIBILITY,
            mounts::PASSTHROUGH,
            mounts::RESPONSE,
            mounts::REQUEST_KEYS,
            mounts::RESPONSE_KEYS,
            mounts::PLUGIN_NAME,
            mounts::PLUGIN_VERSION,
        ],
        words: (1, Some(1)),
        run: enable,
    },
    Command {
        name: "secrets disable",
        usage: "PATH",
        about: "Unmount an engine, and delete what it has",
        output: Output::None,
        flags: &[],
        words: (1, Some(1)),
        run: disable,
    },
    Command {
        name: "secrets tune",
        usage: "PATH",
        about: "Change an engine's settings",
        output: Output::None,
        flags: &[
            mounts::DESCRIPTION,
            mounts::DEFAULT_TTL,
            mounts::MAX_TTL,
            mounts::OPTIONS,
            mounts::VERSION,
            mounts::VISIBILITY,
            mounts::PASSTHROUGH,
            mounts::RESPONSE,
            mounts::REQUEST_KEYS,
            mounts::RESPONSE_KEYS,
            mounts::PLUGIN_VERSION,
        ],
        words: (1, Some(1)),
        run: tune,
    },
    Command {
        name: "secrets move",
        usage: "SOURCE DESTINATION",
        about: "Move an engine to another path",
        output: Output::None,
        flags: &[],
        words: (2, Some(2)),
        run: move_,
    },
];

fn list(context: &Context<'_>) -> Result<u8, Failure> {
    let mounts =
        mounts::mounted(context, "sys/mounts").map_err(|failure| failure.doing("Error listing secrets engines"))?;
    match context.format()? {
        Format::Table if context.flags.is_on("detailed") => mounts::show_detailed(&mounts, "Force No Cache"),
        Format::Table => {
            let rows = mounts::rows(&mounts, &["type", "accessor", "description"]);
            say(&table::with_header(&["Path", "Type", "Accessor", "Description"], &rows))?;
            Ok(0)
        }
        format => mounts::show_all(&mounts, format),
    }
}

fn enable(context: &Context<'_>) -> Result<u8, Failure> {
    let kind = context.word(0).trim();
    let at = mounts::enable(context, "sys/mounts", kind).map_err(|failure| failure.doing("Error enabling"))?;
    success(context, &format!("Success! Enabled the {kind} secrets engine at: {at}"))
}

fn disable(context: &Context<'_>) -> Result<u8, Failure> {
    let mount = mount(context.word(0));
    let path = format!("sys/mounts/{}", clean(&mount));
    context
        .call(&Call::delete(&path))
        .map_err(|failure| failure.doing(&format!("Error disabling secrets engine at {mount}")))?;
    success(context, &format!("Success! Disabled the secrets engine (if it existed) at: {mount}"))
}

fn tune(context: &Context<'_>) -> Result<u8, Failure> {
    let mount = mount(context.word(0));
    let path = format!("sys/mounts/{}/tune", clean(&mount));
    mounts::tune(context, &path).map_err(|failure| failure.doing(&format!("Error tuning secrets engine {mount}")))?;
    success(context, &format!("Success! Tuned the secrets engine at: {mount}"))
}

fn move_(context: &Context<'_>) -> Result<u8, Failure> {
    mounts::remount(context, "secrets engine", &mount(context.word(0)), &mount(context.word(1)))
}
