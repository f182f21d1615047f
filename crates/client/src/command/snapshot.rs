//! `operator raft snapshot`: all of a server's storage in one file. "raft" is what the peer calls it.

use std::path::Path;

use bulla_core::file::{Fresh, NewMode, Replacement};

use super::{Command, Output};
use crate::client::Call;
use crate::context::Context;
use crate::failure::Failure;

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "operator raft snapshot save",
    usage: "FILE",
    about: "Save all of the server's storage, as it is now, into a file",
    output: Output::None,
    flags: &[],
    words: (1, Some(1)),
    run: save,
}];

/// What is there already stays until the new one is whole, and on the disk.
fn save(context: &Context<'_>) -> Result<u8, Failure> {
    let name = context.word(0).trim();
    if name.is_empty() {
        return Err(Failure::usage("Output file name is required"));
    }
    let failed = |failure: Failure| failure.doing("Error taking the snapshot");
    let local = |error: bulla_core::file::FileError| failed(Failure::remote(error.to_string()));
    // Made when the first piece is there: what is refused leaves nothing, and asks for no file that can be written.
    let mut file: Option<Replacement> = None;
    let fresh = Fresh { mode: NewMode::Exactly(0o600), user: None, group: None };
    let client = context.client()?;
    let call = Call::get("sys/storage/raft/snapshot");
    let refused = client
        .save(&call, |piece| {
            let file = match &mut file {
                Some(file) => file,
                None => file.insert(Replacement::begin(Path::new(name), fresh).map_err(local)?),
            };
            file.write(piece).map_err(local)
        })
        .map_err(failed)?;
    if let Some(reply) = refused {
        return Err(failed(client.refused(&call, &reply)));
    }
    let file = file.ok_or_else(|| failed(Failure::remote("the server has sent nothing")))?;
    file.finish().map_err(local)?;
    Ok(0)
}
