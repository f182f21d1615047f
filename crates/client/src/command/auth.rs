//! `auth`: methods of logging in.

use super::mounts::{self, DETAILED};
use super::values::success;
use super::{Command, Output};
use crate::client::Call;
use crate::context::{Context, clean, mount, say};
use crate::failure::Failure;
use crate::show::{Format, table};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "auth list",
        usage: "",
        about: "List auth methods",
        output: Output::Format,
        flags: DETAILED,
        words: (0, Some(0)),
        run: list,
    },
    Command {
        name: "auth enable",
        usage: "TYPE",
        about: "Mount an auth method",
        output: Output::None,
        flags: &[
            mounts::PATH,
            mounts::DESCRIPTION,
            mounts::DEFAULT_TTL,
            mounts::MAX_TTL,
            mounts::OPTIONS,
            mounts::VERSION,
            mounts::TOKEN_TYPE,
            mounts::LOCAL,
            mounts::SEAL_WRAP,
            mounts::ENTROPY,
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
        name: "auth disable",
        usage: "PATH",
        about: "Unmount an auth method, and delete what it has",
        output: Output::None,
        flags: &[],
        words: (1, Some(1)),
        run: disable,
    },
    Command {
        name: "auth tune",
        usage: "PATH",
        about: "Change an auth method's settings",
        output: Output::None,
        flags: &[
            mounts::DESCRIPTION,
            mounts::DEFAULT_TTL,
            mounts::MAX_TTL,
            mounts::OPTIONS,
            mounts::VERSION,
            mounts::TOKEN_TYPE,
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
        name: "auth move",
        usage: "SOURCE DESTINATION",
        about: "Move an auth method to another path",
        output: Output::None,
        flags: &[],
        words: (2, Some(2)),
        run: move_,
    },
];

fn list(context: &Context<'_>) -> Result<u8, Failure> {
    let mounts = mounts::mounted(context, "sys/auth")
        .map_err(|failure| failure.doing("Error listing enabled authentications"))?;
    match context.format()? {
        Format::Table if context.flags.is_on("detailed") => mounts::show_detailed(&mounts, "Token Type"),
        Format::Table => {
            let rows = mounts::rows(&mounts, &["type", "accessor", "description", "plugin_version"]);
            say(&table::with_header(&["Path", "Type", "Accessor", "Description", "Version"], &rows))?;
            Ok(0)
        }
        format => mounts::show_all(&mounts, format),
    }
}

fn enable(context: &Context<'_>) -> Result<u8, Failure> {
    let kind = context.word(0).trim();
    let at = mounts::enable(context, "sys/auth", kind)
        .map_err(|failure| failure.doing(&format!("Error enabling {kind} auth")))?;
    success(context, &format!("Success! Enabled {kind} auth method at: {at}"))
}

fn disable(context: &Context<'_>) -> Result<u8, Failure> {
    let mount = mount(context.word(0));
    let path = format!("sys/auth/{}", clean(&mount));
    context
        .call(&Call::delete(&path))
        .map_err(|failure| failure.doing(&format!("Error disabling auth method at {mount}")))?;
    success(context, &format!("Success! Disabled the auth method (if it existed) at: {mount}"))
}

fn tune(context: &Context<'_>) -> Result<u8, Failure> {
    let mount = mount(context.word(0));
    let path = format!("sys/mounts/auth/{}/tune", clean(&mount));
    mounts::tune(context, &path).map_err(|failure| failure.doing(&format!("Error tuning auth method {mount}")))?;
    success(context, &format!("Success! Tuned the auth method at: {mount}"))
}

fn move_(context: &Context<'_>) -> Result<u8, Failure> {
    let full = |number| format!("auth/{}", mount(clean(context.word(number)).trim_start_matches("auth/")));
    mounts::remount(context, "auth method", &full(0), &full(1))
}
