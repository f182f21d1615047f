//! Logging in.

use super::role::id_key;
use super::secret::{check_subset, remove};
use super::{Role, SecretId, role_key, secret_key};
use crate::core::lockout::{Login, Outcome};
use crate::core::{Link, is_from, now_nanos};
use crate::logical::{Call, Error, Response, Result};

/// What sets apart the ids of logins from networks that are none of a role's. It is in no id.
const ELSEWHERE: char = '\0';

/// A wrong role and a wrong secret id are one answer, and count alike.
pub async fn log_in(link: &Link, call: &Call<'_>) -> Result<Response> {
    let id = call.input.text("role_id")?.unwrap_or_default();
    if id.is_empty() {
        return Err(Error::new(500, "missing role_id"));
    }
    let secret = call.input.text("secret_id")?.unwrap_or_default();
    let invalid = || Error::bad_request("invalid role or secret ID");
    if id.contains(ELSEWHERE) {
        return Err(invalid());
    }
    let storage = call.storage;
    let name = storage.get(&id_key(&id)).await?.map(|name| String::from_utf8_lossy(&name).into_owned());
    let role: Option<Role> = match &name {
        Some(name) => storage.read(&role_key(name)).await?,
        None => None,
    };
    // Before a use is counted: who may not come from there takes none away.
    let comes_from_afar = role.as_ref().is_some_and(|role| {
        !is_from(&role.secret_id_bound_cidrs, call.request.remote)
            || !is_from(&role.params.bound_cidrs, call.request.remote)
    });
    // From elsewhere nobody locks out those who may come, and is counted as a role that is not there is; under a name that no other id has.
    let counted = if comes_from_afar { format!("{ELSEWHERE}{id}") } else { id.clone() };
    let (open, login) = (link.open()?, Login::new(call, &counted));
    open.lockouts.check(&login)?;
    let Some((name, role)) = name.zip(role).filter(|_| !comes_from_afar) else {
        if comes_from_afar {
            // The answer is that of a role that is not there: which there are is nobody's to know from elsewhere.
            tracing::info!("a login came from a network that is none of the role's");
        }
        if secret.is_empty() {
            return Err(missing_secret());
        }
        // As long as it takes to look for a secret id.
        storage.get(&secret_key(storage, &id, &secret).await?).await?;
        open.lockouts.conclude(&login, Outcome::Wrong)?;
        return Err(invalid());
    };
    let mut auth = role.params.auth(call.request.remote);
    if role.bind_secret_id {
        if secret.is_empty() {
            return Err(missing_secret());
        }
        let entry = take(call, &name, &role, &secret).await?;
        open.lockouts.conclude(&login, entry.is_some().into())?;
        let entry = entry.ok_or_else(invalid)?;
        // The one address that a role binds strictly is fewer still.
        if !entry.token_cidrs.is_empty() && !role.params.strictly_bind_ip {
            auth.bound_cidrs = entry.token_cidrs;
        }
        auth.metadata = entry.metadata;
    }
    auth.metadata.insert("role_name".to_owned(), name);
    auth.internal.insert("role_id".to_owned(), id);
    Ok(Response { auth: Some(auth), ..Response::empty() })
}

fn missing_secret() -> Error {
    Error::bad_request("missing secret_id")
}

/// Counts a use of a secret id. `None`: there is no such, or it has no more, or it is not one where the login comes from.
///
/// # Errors
/// 500 if it gives tokens for networks that are none of its role's any more. No use is counted then.
async fn take(call: &Call<'_>, name: &str, role: &Role, secret: &str) -> Result<Option<SecretId>> {
    let key = secret_key(call.storage, name, secret).await?;
    let mut attempt = 0;
    loop {
        let mut transaction = call.storage.begin();
        let Some(mut entry) = transaction.read::<SecretId>(call.storage, &key).await? else { return Ok(None) };
        if !entry.is_alive() {
            remove(call.storage, name, &entry.accessor).await?;
            return Ok(None);
        }
        if !is_from(&entry.cidrs, call.request.remote) {
            tracing::info!("a login came from a network that is none of the secret id's");
            return Ok(None);
        }
        // The role's networks may be fewer since the secret id was made.
        check_subset(&role.params.bound_cidrs, &entry.token_cidrs)?;
        match entry.uses {
            0 => return Ok(Some(entry)),
            1 => {
                transaction.delete(call.storage, &key)?;
                transaction.delete(call.storage, &format!("accessor/{name}/{}", entry.accessor))?;
            }
            _ => {
                entry.uses -= 1;
                entry.updated = now_nanos();
                transaction.write(call.storage, &key, &entry)?;
            }
        }
        if transaction.try_commit(&mut attempt).await? {
            return Ok(Some(entry));
        }
    }
}
