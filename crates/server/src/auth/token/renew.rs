//! Renewing tokens.

use super::create::lesser;
use super::{Token, role};
use crate::barrier::View;
use crate::core::mount::AUTH;
use crate::core::token::Entry;
use crate::core::ttl::{self, Wanted};
use crate::core::{now_millis, now_nanos};
use crate::logical::{Auth, Call, Error, Issued, Response, Result, TokenText};

pub async fn given(method: &Token, call: &Call<'_>) -> Result<Response> {
    let token = call.input.text("token")?.unwrap_or_default();
    if token.is_empty() {
        return Err(Error::bad_request("missing token ID"));
    }
    let token = TokenText::new(token);
    let found = method.open()?.tokens.find(&token).await?;
    let (hash, _) = found.ok_or_else(|| Error::bad_request("token not found"))?;
    renew(method, call, &hash, Some(token)).await
}

pub async fn own(method: &Token, call: &Call<'_>) -> Result<Response> {
    let caller = call.caller.ok_or_else(Error::no_token)?;
    renew(method, call, &caller.hash, call.request.token.clone()).await
}

pub async fn by_accessor(method: &Token, call: &Call<'_>) -> Result<Response> {
    let accessor = call.input.text("accessor")?.unwrap_or_default();
    if accessor.is_empty() {
        return Err(Error::wrapped(400, "missing accessor"));
    }
    let hash = method.open()?.tokens.by_accessor(&accessor).await?;
    let hash = hash.ok_or_else(|| Error::wrapped(400, "invalid accessor"))?;
    renew(method, call, &hash, None).await
}

/// What a token is renewed from that its method gave, or that has a role: the role may be another by now, or be gone.
async fn as_role_says(storage: &View, entry: &Entry) -> Result<Auth> {
    if entry.role.is_empty() {
        return Ok(entry.auth.clone());
    }
    let role = role::named(storage, &entry.role).await?.ok_or_else(|| {
        let gone = format!("original token role {:?} could not be found, not renewing", entry.role);
        Error::wrapped(500, &format!("failed to renew entry: {gone}"))
    })?;
    let mut auth = entry.auth.clone();
    auth.period = role.period;
    // What was asked for when it was made is not taken back. (The peer takes it back.)
    auth.explicit_max_ttl = lesser(auth.explicit_max_ttl, role.explicit_max_ttl);
    Ok(auth)
}

async fn renew(method: &Token, call: &Call<'_>, hash: &str, text: Option<TokenText>) -> Result<Response> {
    let open = method.open()?;
    let not_renewable = || Error::bad_request("lease is not renewable");
    if text.as_ref().is_some_and(|text| text.expose().starts_with("b.")) {
        return Err(Error::bad_request("batch tokens cannot be renewed"));
    }
    let entry = open.tokens.by_hash(hash).await?.ok_or_else(|| Error::bad_request("token not found"))?;
    if !entry.auth.renewable || entry.expires == 0 {
        return Err(not_renewable());
    }
    // The mount that gave it says how long it may live, and its method whether it still may.
    let (mount, _) = open.mounts.route(&entry.path).ok_or_else(not_renewable)?;
    let is_login = mount.info.path.starts_with(AUTH) && mount.entry.kind != "token";
    let auth = if is_login {
        let judged = mount.backend.renew_login(&mount.view, entry.auth.clone()).await;
        judged.map_err(|error| Error::wrapped(500, &format!("failed to renew entry: {}", error.messages.join("; "))))?
    } else {
        as_role_says(&mount.view, &entry).await?
    };
    let wanted = Wanted {
        ttl: call.input.seconds("increment")?.unwrap_or(0).max(0),
        default_ttl: auth.ttl,
        max_ttl: auth.max_ttl,
        period: auth.period,
        explicit_max_ttl: auth.explicit_max_ttl,
        age: (now_nanos() - entry.created) / 1_000_000_000,
    };
    let (ttl, warnings) = ttl::resolve(wanted, &mount.info);
    if ttl < 1 {
        return Err(Error::bad_request("past the max TTL, cannot renew"));
    }
    let change = |entry: &mut Entry| {
        entry.expires = now_millis().saturating_add(ttl.saturating_mul(1000));
        entry.renewed = now_nanos();
        entry.auth = auth.clone();
        Ok(())
    };
    let entry = open.tokens.change(hash, &open.expiry, change).await?;
    let issued = Issued {
        token: text.unwrap_or_else(|| TokenText::new(String::new())),
        accessor: entry.accessor.clone(),
        policies: entry.policies.clone(),
        metadata: entry.auth.metadata.clone(),
        lease_duration: ttl,
        renewable: true,
        token_type: entry.token_type(),
        orphan: entry.is_orphan(),
        num_uses: entry.auth.num_uses,
    };
    Ok(Response { issued: Some(issued), warnings, ..Response::empty() })
}
