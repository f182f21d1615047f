//! A role's id and its secret, from files. The file with the secret is removed once it is read, unless that is not wanted.

use std::path::Path;

use bulla_core::SecretString;
use bytes::Bytes;

use super::{is_there, read};
use crate::api::{self, Api, Call, text_at};

/// Where they are.
pub(super) struct Files<'a> {
    pub(super) secret_id: Option<&'a Path>,
    pub(super) remove: bool,
}

/// The role's id, if the file has it. Once it is known the file may go.
pub(super) fn role_id(path: &Path, is_known: bool) -> Result<Option<SecretString>, String> {
    match read(path) {
        Ok(None) if !is_known => Err(format!("{}: it is empty", path.display())),
        Err(error) if !is_known => Err(error),
        read => Ok(read.ok().flatten()),
    }
}

/// The body of a login. `remembered` is the secret that was read before, `unwrapped` the wrapping token that it was in: that works once, and its file
/// may stay.
pub(super) async fn body(
    files: &Files<'_>,
    role_id: &SecretString,
    wrapping_path: Option<&str>,
    (remembered, unwrapped): (&mut Option<SecretString>, &mut Option<SecretString>),
    api: &Api,
) -> Result<Bytes, String> {
    let Some(path) = files.secret_id else { return Ok(api::form(&[("role_id", role_id.expose())])) };
    if is_there(path) {
        match read(path)? {
            Some(text) => {
                match wrapping_path {
                    Some(_) if remembered.is_some() && unwrapped.as_ref() == Some(&text) => {}
                    Some(expected) => {
                        *remembered = Some(unwrap(&text, expected, api).await?);
                        *unwrapped = Some(text);
                    }
                    None => *remembered = Some(text),
                }
                if files.remove
                    && let Err(error) = std::fs::remove_file(path)
                {
                    tracing::error!(%error, path = %path.display(), "the file with the secret id could not be removed");
                }
            }
            None if remembered.is_some() => {
                tracing::warn!(path = %path.display(), "the file is empty: the secret id before is used");
            }
            None => return Err(format!("{}: it is empty", path.display())),
        }
    }
    let secret_id = remembered.as_ref().ok_or_else(|| format!("{}: there is no secret id", path.display()))?;
    Ok(api::form(&[("role_id", role_id.expose()), ("secret_id", secret_id.expose())]))
}

/// The secret in a wrapping token. Where that does not come from the path it should, somebody else wrapped it.
async fn unwrap(token: &SecretString, expected: &str, api: &Api) -> Result<SecretString, String> {
    let told = |what: &str, error: &dyn std::fmt::Display| format!("the wrapped secret id: {what}: {error}");
    let lookup = Call::put("sys/wrapping/lookup", api::form(&[("token", token.expose())]), None);
    let found = api.ask(lookup).await.map_err(|error| told("looking it up", &error))?;
    let path = text_at(&found, &["data", "creation_path"]);
    if path.as_ref().map(SecretString::expose) != Some(expected) {
        tracing::error!(expected, "SECURITY: the wrapped secret id was not made by the path it should come from");
        return Err("unable to validate wrapping token creation path".to_owned());
    }
    let unwrap = Call::put("sys/wrapping/unwrap", Bytes::new(), Some(token));
    let answer = api.ask(unwrap).await.map_err(|error| told("unwrapping it", &error))?;
    text_at(&answer, &["data", "secret_id"]).ok_or_else(|| told("unwrapping it", &"there is no secret id in it"))
}
