//! `listener`: where requests are taken to be passed on.

use std::path::PathBuf;

use bulla_core::hcl::Body;

use super::fields::{Fields, labelled};

/// Where requests are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Where.
    pub place: Place,
    /// Whether requests must have the header `X-Vault-Request: true`, which no browser and no form can be made to send.
    pub require_request_header: bool,
    /// Whether `POST /agent/v1/quit` ends the agent.
    pub enable_quit: bool,
}

/// An address or a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address, `HOST:PORT`, with a certificate and its key if it has TLS.
    Tcp(String, Option<(PathBuf, PathBuf)>),
    /// A socket of this machine.
    Unix(PathBuf, SocketAccess),
}

/// Who may connect to a socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketAccess {
    /// Its mode, if not the system's.
    pub mode: Option<u32>,
    /// Its owner, by name or number, if not ourselves.
    pub user: Option<String>,
    /// Its group.
    pub group: Option<String>,
}

pub(super) fn read_all(body: &Body, notes: &mut Vec<String>) -> Result<Vec<ListenerConfig>, String> {
    let mut all = Vec::new();
    for block in labelled(body, "listener")? {
        let mut fields = Fields::new("listener", &block.body);
        let kind = fields.text("type")?.filter(|kind| !kind.is_empty()).or(block.label);
        match fields.text("role")?.as_deref() {
            None | Some("" | "default") => {}
            Some(role) => return Err(fields.wrong(format_args!("role {role:?} is not offered: there are no metrics"))),
        }
        let place = match kind.as_deref() {
            Some("tcp") => tcp(&mut fields)?,
            Some("unix") => {
                let mut name = |setting| Ok::<_, String>(fields.text(setting)?.filter(|name| !name.is_empty()));
                let (user, group) = (name("socket_user")?, name("socket_group")?);
                let access = SocketAccess { mode: fields.mode("socket_mode")?, user, group };
                let _ = fields.truth("tls_disable")?;
                Place::Unix(fields.needed("address")?.into(), access)
            }
            Some(other) => return Err(fields.wrong(format_args!("type {other:?} is not offered; there are tcp, unix"))),
            None => return Err(fields.wrong("its type must be specified")),
        };
        let enable_quit = match fields.block("agent_api")? {
            None => false,
            Some(block) => {
                let mut api = Fields::new("listener.agent_api", &block);
                let on = api.truth("enable_quit")?.unwrap_or(false);
                api.note_unknown(notes);
                on
            }
        };
        let require_request_header = fields.truth("require_request_header")?.unwrap_or(false);
        if let Some(name) = fields.unknown().iter().find(|name| name.starts_with("tls_") || name.starts_with("socket_"))
        {
            return Err(fields.wrong(format_args!(
                "{name} is not offered, and to ignore it could be less safe than it looks; take it out"
            )));
        }
        fields.note_unknown(notes);
        all.push(ListenerConfig { place, require_request_header, enable_quit });
    }
    Ok(all)
}

fn tcp(fields: &mut Fields<'_>) -> Result<Place, String> {
    let address = fields.text("address")?.filter(|address| !address.is_empty());
    let address = address.unwrap_or_else(|| "127.0.0.1:8200".to_owned());
    let files = (fields.text("tls_cert_file")?, fields.text("tls_key_file")?);
    // Less than 1.2 is never spoken; what is less than that asks for nothing.
    if fields.text("tls_min_version")?.is_some_and(|version| version == "tls13") {
        return Err(fields.wrong("tls_min_version = \"tls13\" is not offered: 1.2 and 1.3 are spoken; take it out"));
    }
    if fields.truth("tls_disable")?.unwrap_or(false) {
        return Ok(Place::Tcp(address, None));
    }
    match files {
        (Some(certificate), Some(key)) => Ok(Place::Tcp(address, Some((certificate.into(), key.into())))),
        _ => Err(fields.wrong("'tls_cert_file' and 'tls_key_file' are needed, or tls_disable = true")),
    }
}
