//! `sys/rekey` and `sys/rekey-recovery-key`, for everybody where the listener says so, and `sys/rotate/root` and `sys/rotate/recovery`, for who
//! has a token.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::System;
use super::root::{bare, share};
use crate::core::hex;
use crate::core::quorum::{Made, NewKey, Place, RekeyStatus, VerifyStatus, Which};
use crate::json::{Object, Value};
use crate::logical::{Call, Error, Field, Kind, Response, Result};
use crate::seal::Shares;

pub const INIT: &[Field] = &[
    Field::new("secret_shares", Kind::Int, "Into how many shares the new key is divided."),
    Field::new("secret_threshold", Kind::Int, "How many of them are needed."),
    Field::new("require_verification", Kind::Bool, "Whether the new shares have to be given back before they count."),
    Field::new("pgp_keys", Kind::Texts, "Not supported."),
    Field::new("backup", Kind::Bool, "Not supported: it is a copy of shares that are encrypted for PGP keys."),
];

/// Which of the four it is.
fn place(call: &Call<'_>) -> Place {
    let which = if call.path.contains("recovery") { Which::Recovery } else { Which::Unseal };
    if call.path.starts_with("rotate/") { Place::Rotation(which) } else { Place::Rekey(which) }
}

fn shown(place: Place, fields: Object) -> Response {
    if matches!(place, Place::Rekey(_)) { bare(fields) } else { Response::data(fields) }
}

fn show_status(place: Place, status: &RekeyStatus) -> Object {
    let begun = status.begun.as_ref();
    let nonce = begun.map_or("", |begun| &begun.nonce);
    let mut shares = begun.map_or(Shares { shares: 0, threshold: 0 }, |begun| begun.wanted.shares);
    if matches!(place, Place::Rotation(_)) && begun.is_some() && shares.shares == 0 {
        // What a seal opens with is one whole, there.
        shares = Shares { shares: 1, threshold: 1 };
    }
    let verification_nonce = begun.and_then(|begun| begun.verification_nonce.as_deref()).unwrap_or_default();
    let mut shown = object! {
        "started": begun.is_some(),
        "t": shares.threshold,
        "n": shares.shares,
        "required": status.required,
    };
    let details = object! {
        "nonce": nonce,
        "progress": begun.map_or(0, |begun| begun.progress),
        "verification_required": begun.is_some_and(|begun| begun.wanted.verify),
    };
    match place {
        Place::Rekey(_) => {
            shown.extend(details);
            shown.extend(object! { "pgp_fingerprints": Value::Null, "backup": false });
            if !verification_nonce.is_empty() {
                shown.insert("verification_nonce".to_owned(), verification_nonce.into());
            }
        }
        Place::Rotation(_) if begun.is_some() => {
            shown.extend(details);
            shown.insert("verification_nonce".to_owned(), verification_nonce.into());
        }
        Place::Rotation(_) => {}
    }
    shown
}

fn answer_made(place: Place, made: &Made, fields: Object) -> Response {
    // Those that wait for a verification can be made again.
    let irreplaceable = !made.shares.is_empty() && made.verification_nonce.is_none();
    Response { irreplaceable, ..shown(place, fields) }
}

fn show_made(place: Place, made: &Made) -> Object {
    let texts = |form: fn(&[u8]) -> String| made.shares.iter().map(|share| form(share.expose())).collect::<Vec<_>>();
    let mut shown = object! {
        "nonce": made.nonce.as_str(),
        "complete": true,
        "keys": texts(hex),
        "keys_base64": texts(|share| STANDARD.encode(share)),
        "pgp_fingerprints": Value::Null,
        "backup": false,
        "verification_required": made.verification_nonce.is_some(),
    };
    match (&made.verification_nonce, place) {
        (None, Place::Rekey(_)) => {}
        (nonce, _) => {
            shown.insert("verification_nonce".to_owned(), nonce.clone().unwrap_or_default().into());
        }
    }
    shown
}

fn show_verification(status: &VerifyStatus) -> Object {
    object! {
        "nonce": status.nonce.clone().unwrap_or_default(),
        "started": status.nonce.is_some(),
        "t": status.shares.threshold,
        "n": status.shares.shares,
        "progress": status.progress,
    }
}

async fn status_of(system: &System, place: Place) -> Result<Response> {
    let status = system.open()?.core()?.rekey_status(place).await?;
    Ok(shown(place, show_status(place, &status)))
}

pub async fn status(system: &System, call: &Call<'_>) -> Result<Response> {
    status_of(system, place(call)).await
}

pub async fn begin(system: &System, call: &Call<'_>) -> Result<Response> {
    let place = place(call);
    if call.input.texts("pgp_keys")?.is_some_and(|keys| !keys.is_empty()) {
        return Err(Error::bad_request(
            "pgp_keys are not supported by this server: take the shares over TLS, or use require_verification",
        ));
    }
    if call.input.bool("backup")?.unwrap_or(false) {
        return Err(Error::bad_request(
            "cannot request a backup of the new keys without providing PGP keys for encryption",
        ));
    }
    let number = |name: &str| -> Result<usize> { Ok(usize::try_from(call.input.int(name)?.unwrap_or(0)).unwrap_or(0)) };
    let shares = Shares { shares: number("secret_shares")?, threshold: number("secret_threshold")? };
    let wanted = NewKey { shares, verify: call.input.bool("require_verification")?.unwrap_or(false) };
    match system.open()?.core()?.begin_rekey(place, wanted).await? {
        None => status_of(system, place).await,
        Some(made) => {
            let mut fields = show_made(place, &made);
            fields.extend(object! { "t": shares.threshold, "n": shares.shares });
            fields.remove("nonce");
            Ok(answer_made(place, &made, fields))
        }
    }
}

pub async fn rotate_root_key(system: &System, _: &Call<'_>) -> Result<Response> {
    system.open()?.core()?.rotate_root_key().await?;
    Ok(Response::empty())
}

pub async fn cancel(system: &System, call: &Call<'_>) -> Result<Response> {
    system.open()?.core()?.cancel_rekey(place(call)).await?;
    Ok(Response::empty())
}

/// What is missing, in the words of the place.
fn missing(place: Place) -> &'static str {
    match place {
        Place::Rekey(_) => "'key' must be specified in request body as JSON",
        Place::Rotation(_) => "missing required field 'key'",
    }
}

fn nonce(call: &Call<'_>) -> Result<String> {
    let nonce = call.input.text("nonce")?.unwrap_or_default();
    match place(call) {
        Place::Rotation(_) if nonce.is_empty() => Err(Error::bad_request("missing required field 'nonce'")),
        _ => Ok(nonce),
    }
}

pub async fn give(system: &System, call: &Call<'_>) -> Result<Response> {
    let place = place(call);
    let (share, nonce) = (share(call, missing(place))?, nonce(call)?);
    match system.open()?.core()?.give_rekey_share(place, share, &nonce).await? {
        None => status_of(system, place).await,
        Some(made) => Ok(answer_made(place, &made, show_made(place, &made))),
    }
}

pub async fn verification(system: &System, call: &Call<'_>) -> Result<Response> {
    let place = place(call);
    Ok(shown(place, show_verification(&system.open()?.core()?.verify_status(place).await?)))
}

pub async fn verify(system: &System, call: &Call<'_>) -> Result<Response> {
    let place = place(call);
    let core = system.open()?.core()?;
    if matches!(place, Place::Rekey(_)) {
        core.rekey_status(place).await?;
    }
    let (share, nonce) = (share(call, missing(place))?, nonce(call)?);
    match core.give_new_share(place, share, &nonce).await? {
        None => Ok(shown(place, show_verification(&core.verify_status(place).await?))),
        Some(nonce) => Ok(shown(place, object! { "nonce": nonce, "complete": true })),
    }
}

pub async fn restart(system: &System, call: &Call<'_>) -> Result<Response> {
    let place = place(call);
    let status = system.open()?.core()?.restart_verification(place).await?;
    Ok(shown(place, show_verification(&status)))
}

/// There are none: backups are of shares that are encrypted for PGP keys.
pub async fn backup(_: &System, _: &Call<'_>) -> Result<Response> {
    Err(Error::bad_request("no backed-up keys found"))
}

pub async fn delete_backup(_: &System, _: &Call<'_>) -> Result<Response> {
    Ok(Response::empty())
}
