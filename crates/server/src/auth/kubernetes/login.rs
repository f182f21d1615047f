//! Logging in.

use bulla_core::SecretString;

use super::account::Account;
use super::cluster::Cluster;
use super::role::{self, Role};
use super::{Kubernetes, selector};
use crate::auth::jose::{Algorithm, Claims, Expected, Jws, Leeways, Times, TokenError};
use crate::auth::params::LONGEST_ROLE;
use crate::core::{is_from, now_millis};
use crate::logical::{Call, Error, Response, Result};

/// What clusters sign with.
const ALGORITHMS: [Algorithm; 6] =
    [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512, Algorithm::Es256, Algorithm::Es384, Algorithm::Es512];

pub async fn log_in(method: &Kubernetes, call: &Call<'_>) -> Result<Response> {
    let given = |name: &str| -> Result<String> {
        let text = call.input.text(name)?.unwrap_or_default();
        if text.is_empty() { Err(Error::bad_request(format!("missing {name}"))) } else { Ok(text) }
    };
    let name = given("role")?;
    if name.len() > LONGEST_ROLE {
        return Err(Error::bad_request("invalid role name: it is too long"));
    }
    let token = SecretString::from(given("jwt")?);
    let role = role::find(call.storage, &name).await?;
    let role = role.ok_or_else(|| Error::bad_request(format!("invalid role name {name:?}")))?;
    if !is_from(&role.params.bound_cidrs, call.request.remote) {
        return Err(Error::no_token());
    }
    let cluster = method.cluster(call.storage).await?;
    let cluster = cluster.ok_or_else(|| Error::new(500, "could not load backend configuration"))?;
    let place = method.places.try_acquire();
    let _place = place.map_err(|_| Error::new(429, "too many logins at once; try again"))?;
    let reviewer = method.reviewer(&cluster.config).await;
    let account = admit(&cluster, &role, &name, &token, reviewer.as_ref()).await?;
    let mut auth = role.params.auth(call.request.remote);
    auth.display_name = format!("{}-{}", account.namespace, account.name);
    auth.internal.insert("role".to_owned(), name.clone());
    auth.metadata = [
        ("role", name),
        ("service_account_name", account.name),
        ("service_account_namespace", account.namespace),
        ("service_account_secret_name", account.secret),
        ("service_account_uid", account.uid),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    Ok(Response { auth: Some(auth), ..Response::empty() })
}

/// Whose the token is, if he may log in.
async fn admit(
    cluster: &Cluster,
    role: &Role,
    name: &str,
    token: &SecretString,
    reviewer: Option<&SecretString>,
) -> Result<Account> {
    let local = cluster.config.local_verification;
    if local && role.audience.is_empty() {
        return Err(Error::bad_request(format!(
            "the role {name:?} has no audience: where tokens are verified locally, one that is meant for somebody else would log in"
        )));
    }
    let claims = read(cluster, token, reviewer).await.map_err(denied)?;
    let audiences = [role.audience.clone()];
    let expected = Expected {
        issuer: cluster.config.expected_issuer(),
        subject: "",
        audiences: if role.audience.is_empty() { &[] } else { &audiences },
        leeways: Leeways::default(),
        times: if local { Times::End } else { Times::Optional },
    };
    claims.check(&expected, now_millis() / 1000).map_err(denied)?;
    let account = Account::of(&claims).map_err(|error| Error::new(403, error))?;
    if !role.has_name(&account) {
        return Err(Error::new(403, "service account name not authorized"));
    }
    let named = role.has_namespace(&account);
    if !named && role.selector.is_empty() {
        return Err(Error::new(403, "namespace not authorized"));
    }
    if local {
        check_subject(&account, &claims)?;
    } else {
        review(cluster, role, &account, &claims, token, reviewer).await?;
    }
    // Last: what it takes the namespace from must be believed by then.
    if !named {
        check_labels(cluster, role, &account, reviewer).await?;
    }
    Ok(account)
}

async fn read(
    cluster: &Cluster,
    token: &SecretString,
    reviewer: Option<&SecretString>,
) -> std::result::Result<Claims, TokenError> {
    let token = Jws::parse(token.expose())?;
    if !ALGORITHMS.contains(&token.algorithm) {
        return Err(TokenError::Algorithm);
    }
    cluster.read(token, reviewer).await
}

/// A signature that is wrong is told to nobody; why a token is not taken is.
fn denied(error: TokenError) -> Error {
    match error {
        TokenError::Signature(why) => {
            tracing::info!(why, "a login's token is not signed by the cluster");
            Error::no_token()
        }
        TokenError::Busy => Error::new(503, error.to_string()),
        other => Error::new(403, other.to_string()),
    }
}

/// Whether a token that is verified here says one thing, whichever of its claims is asked.
fn check_subject(account: &Account, claims: &Claims) -> Result<()> {
    let subject = format!("system:serviceaccount:{}:{}", account.namespace, account.name);
    let is_whole = !account.namespace.is_empty() && !account.name.is_empty() && !account.uid.is_empty();
    if is_whole && claims.text("sub").map_err(denied)? == Some(subject.as_str()) {
        Ok(())
    } else {
        Err(Error::no_token())
    }
}

/// Asks the cluster, and compares what it says with what the token says.
async fn review(
    cluster: &Cluster,
    role: &Role,
    account: &Account,
    claims: &Claims,
    token: &SecretString,
    reviewer: Option<&SecretString>,
) -> Result<()> {
    let audiences =
        if role.audience.is_empty() { claims.audiences().map_err(denied)? } else { vec![role.audience.clone()] };
    match cluster.review(token, &audiences, reviewer.unwrap_or(token)).await {
        Ok(found) if !account.uid.is_empty() && found == (Account { secret: String::new(), ..account.clone() }) => {
            Ok(())
        }
        Ok(_) => {
            tracing::warn!("a login's token names another service account than the cluster does");
            Err(Error::no_token())
        }
        Err(why) => {
            tracing::warn!(host = %cluster.host, why, "the review of a login's token did not succeed");
            Err(Error::no_token())
        }
    }
}

/// Whether the namespace has the labels that the role wants.
async fn check_labels(
    cluster: &Cluster,
    role: &Role,
    account: &Account,
    reviewer: Option<&SecretString>,
) -> Result<()> {
    let wanted = selector::parse(&role.selector).ok_or_else(|| Error::new(403, "namespace not authorized"))?;
    // It becomes part of an address.
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if account.namespace.is_empty() || !account.namespace.chars().all(is_name) {
        return Err(Error::new(403, "namespace not authorized"));
    }
    match cluster.has_labels(&account.namespace, &wanted, reviewer).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::new(403, "namespace not authorized")),
        Err(error) => Err(Error::new(403, format!("namespace not authorized err={error}"))),
    }
}
