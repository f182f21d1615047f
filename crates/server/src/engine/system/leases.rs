//! `sys/leases`.

use super::System;
use crate::core::lease::Lease;
use crate::core::{now_millis, now_nanos, time_text};
use crate::json::{Object, Value};
use crate::logical::{Call, Error, Response, Result};

fn id(call: &Call<'_>) -> Result<String> {
    let id = call.input.text("lease_id")?.unwrap_or_default();
    if id.is_empty() { Err(Error::bad_request("lease_id must be specified")) } else { Ok(id) }
}

fn prefix(call: &Call<'_>) -> String {
    let prefix = call.input.capture("prefix");
    if prefix.is_empty() || prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") }
}

pub async fn lookup(system: &System, call: &Call<'_>) -> Result<Response> {
    let (open, id) = (system.open()?, id(call)?);
    let lease = match open.token_of_lease(&id).await? {
        Some((_, token)) => Some(Lease {
            id,
            issued: token.created,
            renewed: token.renewed,
            expires: token.expires,
            renewable: token.auth.renewable,
            ..Lease::default()
        }),
        None => open.leases.find(&id).await?,
    };
    let lease = lease.ok_or_else(|| Error::bad_request("invalid lease"))?;
    let renewed = if lease.renewed == 0 { Value::Null } else { time_text(lease.renewed).into() };
    Ok(Response::data(object! {
        "expire_time": time_text(lease.expires.saturating_mul(1_000_000)),
        "id": lease.id.as_str(),
        "issue_time": time_text(lease.issued),
        "last_renewal": renewed,
        "path": lease.id.rsplit_once('/').map_or("", |(path, _)| path),
        "renewable": lease.renewable,
        "ttl": lease.seconds_left(),
    }))
}

/// How many names an answer has at most.
const MOST_NAMES: usize = 10_000;

pub async fn list(system: &System, call: &Call<'_>) -> Result<Response> {
    let (open, prefix) = (system.open()?, prefix(call));
    let (after, limit) = call.input.page()?;
    let most = if limit == 0 { MOST_NAMES } else { limit.min(MOST_NAMES) };
    // One more says that there are more.
    let mut names = open.leases.list(&prefix, &after, most + 1).await?;
    names.extend(open.leases_of_tokens(&prefix, &after, most + 1).await?);
    names.sort_unstable();
    names.dedup();
    let is_cut = names.len() > most;
    names.truncate(most);
    let last = names.last().cloned();
    let response = Response::list(names)?;
    Ok(match last.filter(|_| is_cut && limit != most) {
        Some(last) => response.warn(format!("There are more than these {most}: ask again with after={last}")),
        None => response,
    })
}

pub async fn renew(system: &System, call: &Call<'_>) -> Result<Response> {
    let open = system.open()?;
    let (missing, id) = (|| Error::bad_request("lease not found"), id(call)?);
    if open.token_of_lease(&id).await?.is_some() {
        return Err(Error::bad_request("tokens cannot be renewed through this endpoint"));
    }
    let lease = open.leases.find(&id).await?.ok_or_else(missing)?;
    if !lease.renewable {
        return Err(Error::bad_request("lease is not renewable"));
    }
    let now = now_millis();
    if lease.expires <= now || lease.latest <= now {
        return Err(Error::bad_request("lease expired"));
    }
    let mount = open.mounts.at(&lease.mount).ok_or_else(missing)?;
    let wanted = call.input.seconds("increment")?.filter(|seconds| *seconds > 0).unwrap_or(mount.info.default_ttl);
    let expires = now.saturating_add(wanted.saturating_mul(1000)).min(lease.latest);
    let ttl = (expires - now) / 1000;
    let what = crate::logical::Lease { mount: &mount.info, storage: &mount.view, internal: &lease.internal, ttl };
    mount.backend.renew_secret(&what).await?;
    let renewed = open.leases.change(&lease.id, &open.expiry, |lease| {
        lease.expires = expires;
        lease.renewed = now_nanos();
    });
    let lease = renewed.await?.ok_or_else(missing)?;
    Ok(Response { lease: Some((lease.id.clone(), ttl, lease.renewable)), ..Response::empty() }.with_status(200))
}

pub async fn revoke(system: &System, call: &Call<'_>) -> Result<Response> {
    let (open, id) = (system.open()?, id(call)?);
    if let Some((hash, _)) = open.token_of_lease(&id).await? {
        open.revoke_token(&hash).await?;
    } else if let Some(lease) = open.leases.find(&id).await? {
        open.revoke_lease(&lease).await?;
    }
    Ok(Response::empty())
}

/// The leases, and the tokens of logins, that were made below a path.
async fn below(system: &System, prefix: &str) -> Result<(Vec<Lease>, Vec<String>)> {
    let open = system.open()?;
    let mut leases = Vec::new();
    for id in open.leases.below(prefix).await? {
        leases.extend(open.leases.find(&id).await?);
    }
    let below_auth = prefix.starts_with(crate::core::mount::AUTH);
    let tokens = if below_auth { open.tokens_below(prefix).await? } else { Vec::new() };
    Ok((leases, tokens))
}

pub async fn revoke_prefix(system: &System, call: &Call<'_>) -> Result<Response> {
    let open = system.open()?;
    let (leases, tokens) = below(system, &prefix(call)).await?;
    for lease in leases {
        open.revoke_lease(&lease).await?;
    }
    for hash in tokens {
        open.revoke_token(&hash).await?;
    }
    Ok(Response::empty())
}

/// Whether the engine takes them back or not, they are gone here.
pub async fn revoke_force(system: &System, call: &Call<'_>) -> Result<Response> {
    let open = system.open()?;
    let (leases, tokens) = below(system, &prefix(call)).await?;
    for lease in leases {
        if open.revoke_lease(&lease).await.is_err() {
            open.leases.bury(&lease, &open.expiry).await?;
        }
    }
    for hash in tokens {
        open.revoke_token(&hash).await?;
    }
    Ok(Response::empty())
}

/// Those that nobody tries to take back any more.
pub async fn irrevocable(system: &System, call: &Call<'_>) -> Result<Response> {
    let open = system.open()?;
    if call.input.text("type")?.as_deref() != Some("irrevocable") {
        return Err(Error::not_found());
    }
    let (mut leases, mut count) = (Vec::new(), 0_usize);
    for id in open.leases.below("").await? {
        let Some(lease) = open.leases.find(&id).await?.filter(Lease::is_irrevocable) else { continue };
        count += 1;
        if leases.len() < MOST_NAMES {
            leases.push(Value::from(object! { "error": lease.error, "lease_id": lease.id, "mount_id": lease.mount }));
        }
    }
    let response = Response::data(object! { "lease_count": count, "leases": leases });
    Ok(if count > MOST_NAMES { response.warn(format!("These are {MOST_NAMES} of them")) } else { response })
}

/// Nothing is left lying about that would have to be looked for: what a lease has is written and deleted together.
pub async fn tidy(_: &System, _: &Call<'_>) -> Result<Response> {
    Ok(Response::empty()
        .warn("There is nothing to tidy: leases and their index are written together.")
        .with_status(202))
}

pub async fn count(system: &System, call: &Call<'_>) -> Result<Response> {
    let open = system.open()?;
    let irrevocable = call.input.text("type")?.is_some_and(|kind| kind == "irrevocable");
    let mut counts: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
    for id in open.leases.below("").await? {
        if let Some(lease) = open.leases.find(&id).await?
            && (!irrevocable || lease.is_irrevocable())
        {
            *counts.entry(lease.mount).or_default() += 1;
        }
    }
    let total: u64 = counts.values().sum();
    let counts: Object = counts.into_iter().map(|(mount, count)| (mount, count.into())).collect();
    Ok(Response::data(object! { "counts": counts, "lease_count": total }))
}
