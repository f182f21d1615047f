//! `lease`: look up, renew, revoke.

use super::values::success;
use super::{Command, Output};
use crate::client::Call;
use crate::context::{Context, clean, warn};
use crate::failure::Failure;
use crate::flags::{Kind, flag};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "lease lookup",
        usage: "ID",
        about: "Show a lease",
        output: Output::Format,
        flags: &[],
        words: (1, Some(1)),
        run: lookup,
    },
    Command {
        name: "lease renew",
        usage: "ID",
        about: "Let a lease live longer",
        output: Output::Format,
        flags: &[flag("increment", Kind::Time, "By this long"), flag("i", Kind::Time, "")],
        words: (1, Some(1)),
        run: renew,
    },
    Command {
        name: "lease revoke",
        usage: "ID",
        about: "Revoke leases and their secrets",
        output: Output::None,
        flags: &[
            flag("force", Kind::Switch, "Forget the lease whatever the engine says; needs -prefix"),
            flag("prefix", Kind::Switch, "All whose id begins so"),
            flag("sync", Kind::Switch, "Wait until it is done"),
        ],
        words: (1, Some(1)),
        run: revoke,
    },
];

fn lookup(context: &Context<'_>) -> Result<u8, Failure> {
    let id = clean(context.word(0));
    let call = Call::put("sys/leases/lookup", bulla_core::object! { "lease_id": id });
    let answer = context.ask(&call).map_err(|failure| failure.doing(&format!("error looking up lease id {id}")))?;
    context.show(&answer.unwrap_or_default())
}

fn renew(context: &Context<'_>) -> Result<u8, Failure> {
    let id = clean(context.word(0));
    let increment = context.flags.seconds("increment").or_else(|| context.flags.seconds("i")).unwrap_or(0);
    let call = Call::put("sys/leases/renew", bulla_core::object! { "lease_id": id, "increment": increment });
    let answer = context.ask(&call).map_err(|failure| failure.doing(&format!("Error renewing {id}")))?;
    context.show(&answer.unwrap_or_default())
}

fn revoke(context: &Context<'_>) -> Result<u8, Failure> {
    let flags = &context.flags;
    let (force, prefix, sync) = (flags.is_on("force"), flags.is_on("prefix"), flags.is_on("sync"));
    let id = clean(context.word(0));
    if force && !prefix {
        return Err(Failure::usage("Specifying -force requires also specifying -prefix"));
    }
    if force {
        warn(&format!(
            "Warning! Force-removing leases can cause {} to become out of sync with\nsecret engines!",
            context.name.product()
        ));
    }
    let (path, doing, done) = match (force, prefix) {
        (true, _) => (
            format!("sys/leases/revoke-force/{id}"),
            "force revoking leases with prefix",
            "Force revoked any leases with prefix",
        ),
        (_, true) => {
            (format!("sys/leases/revoke-prefix/{id}"), "revoking leases with prefix", "Revoked any leases with prefix")
        }
        _ => ("sys/leases/revoke".to_owned(), "revoking lease", "Revoked lease"),
    };
    let mut body = bulla_core::object! { "sync": sync };
    if !prefix {
        body.insert("lease_id".to_owned(), id.into());
    }
    context.call(&Call::put(&path, body)).map_err(|failure| failure.doing(&format!("Error {doing} {id}")))?;
    if sync || force {
        return success(context, &format!("Success! {done}: {id}"));
    }
    success(context, "All revocation operations queued successfully!")
}
