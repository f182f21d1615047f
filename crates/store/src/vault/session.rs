//! What a login gives: a token, as long as it lasts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bulla_core::SecretString;
use bulla_kms::vault_http::Reply;
use bytes::Bytes;
use jiff::Timestamp;
use reqwest::Method as HttpMethod;

use super::Login;
use super::answer::Answer;
use super::connection::Server;
use super::error;
use super::json::Json;
use super::query::{Query, fields};
use crate::store::{Lease, Session, StoreError, StoreErrorKind, after};

/// Somebody who logged in. Dropped, the token goes on living at the server until it ends; [`close`](Session::close) ends it.
pub struct VaultSession {
    server: Arc<Server>,
    token: SecretString,
    is_renewable: bool,
    account: Option<(String, String)>,
    opened: Instant,
    life: Mutex<Life>,
}

impl std::fmt::Debug for VaultSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VaultSession").field("account", &self.account).finish_non_exhaustive()
    }
}

/// When the token began, or was last renewed, and for how long. No duration is without end.
#[derive(Clone, Copy, Debug)]
struct Life {
    begun: Timestamp,
    duration: Option<Duration>,
}

/// Logs in with a token that somebody else signed.
pub(super) async fn log_in(server: Arc<Server>, login: &Login) -> Result<VaultSession, StoreError> {
    let Login { mount, role, jwt, .. } = login;
    let path = format!("auth/{mount}/login");
    // A mount is a path, too.
    let query = Query::new(super::Method::Post, &path, None::<&()>)
        .ok()
        .filter(|query| query.path() == path && !mount.contains('?'))
        .ok_or_else(|| {
            StoreError::new(StoreErrorKind::Invalid, format!("{mount:.200?} is no mount of an auth method"))
        })?;
    let (begun, opened) = (Timestamp::now(), Instant::now());
    let body = Bytes::from_owner(fields(&[("role", role), ("jwt", jwt.expose())]));
    let reply = server.send(HttpMethod::POST, query.path(), None, body, None).await?;
    if !reply.status.is_success() {
        return Err(error::login_refused(&server.address, mount, role, &reply, jwt));
    }
    let confused = || error::confused(&server.address, &path);
    let auth = Json::parse(reply.body.expose()).and_then(|json| json.member("auth")).ok_or_else(confused)?;
    let token = auth.member("client_token").and_then(Json::secret_text).filter(|token| !token.is_empty());
    let token = token.and_then(|token| SecretString::from_utf8(token).ok()).ok_or_else(confused)?;
    let is_renewable = auth.member("renewable").and_then(Json::truth).unwrap_or(false);
    let life = Mutex::new(Life { begun, duration: duration(auth) });
    let account = account(auth);
    Ok(VaultSession { server, token, is_renewable, account, opened, life })
}

/// How long a token lives.
fn duration(auth: Json<'_>) -> Option<Duration> {
    let seconds = auth.member("lease_duration").and_then(Json::number).unwrap_or(0);
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Namespace and name of the service account, if it was the method `kubernetes` that gave the token: it alone says all of these.
fn account(auth: Json<'_>) -> Option<(String, String)> {
    let metadata = auth.member("metadata")?;
    let text = |name| metadata.member(name).and_then(Json::public_text);
    text("service_account_uid").filter(|uid| !uid.is_empty())?;
    text("service_account_secret_name")?;
    Some((text("service_account_namespace")?, text("service_account_name")?))
}

impl VaultSession {
    /// Whether the server knows it as this service account and nothing more particular: not as a pod. Then what it reads is the same for
    /// every pod of the account.
    ///
    /// The method `kubernetes` has the account reviewed and says which it is. The method `jwt` may bind a role to any claim of a token, so that
    /// two pods of an account can have different rights; its tokens are no account's.
    pub fn is_of(&self, namespace: &str, account: &str) -> bool {
        self.account.as_ref().is_some_and(|known| known.0 == namespace && known.1 == account)
    }

    /// When most of its life is over, so that it should be extended; `None` if it cannot be.
    pub fn due(&self) -> Option<Timestamp> {
        let Life { begun, duration } = self.life();
        duration.filter(|_| self.is_renewable).map(|duration| after(begun, duration.mul_f64(0.6)))
    }

    /// How long ago somebody logged in.
    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Whether it can still be used: a little less than as long as it lives, so that it does not end under way.
    pub fn is_live(&self) -> bool {
        let Life { begun, duration } = self.life();
        duration.is_none_or(|duration| {
            Timestamp::now() < after(begun, duration.saturating_sub((duration / 10).min(Duration::from_secs(30))))
        })
    }

    fn life(&self) -> Life {
        *self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, method: HttpMethod, path: &str, query: Option<&str>, body: Bytes) -> Result<Reply, StoreError> {
        let reply = self.server.send(method, path, query, body, Some(&self.token)).await?;
        if reply.status.is_success() {
            Ok(reply)
        } else {
            Err(error::refused(&self.server.address, path, &reply, &self.token))
        }
    }

    async fn post(&self, path: &str, values: &[(&str, &str)]) -> Result<Reply, StoreError> {
        self.ask(HttpMethod::POST, path, None, Bytes::from_owner(fields(values))).await
    }
}

#[async_trait]
impl Session for VaultSession {
    type Query = Query;
    type Answer = Answer;

    fn ends(&self) -> Option<Timestamp> {
        let Life { begun, duration } = self.life();
        duration.map(|duration| after(begun, duration))
    }

    async fn read(&self, query: &Query) -> Result<Answer, StoreError> {
        let begun = Timestamp::now();
        let body = Bytes::from(query.body.clone());
        let reply = self.ask(query.method.http(), &query.path, query.parameters.as_deref(), body).await?;
        Answer::read(reply.body, query.method, begun).ok_or_else(|| error::confused(&self.server.address, &query.path))
    }

    async fn extend(&self) -> Result<(), StoreError> {
        if !self.is_renewable {
            return Ok(());
        }
        let begun = Timestamp::now();
        let reply = self.post("auth/token/renew-self", &[]).await?;
        let auth = Json::parse(reply.body.expose()).and_then(|json| json.member("auth"));
        let auth = auth.ok_or_else(|| error::confused(&self.server.address, "auth/token/renew-self"))?;
        *self.life.lock().unwrap_or_else(PoisonError::into_inner) = Life { begun, duration: duration(auth) };
        Ok(())
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, StoreError> {
        let (begun, path) = (Timestamp::now(), "sys/leases/renew");
        let reply = self.post(path, &[("lease_id", &lease.id)]).await?;
        let json = Json::parse(reply.body.expose()).ok_or_else(|| error::confused(&self.server.address, path))?;
        let seconds = json.member("lease_duration").and_then(Json::number).unwrap_or(0);
        let is_renewable = json.member("renewable").and_then(Json::truth).unwrap_or(false);
        Ok(Lease { id: lease.id.clone(), begun, duration: Duration::from_secs(seconds), is_renewable })
    }

    async fn revoke(&self, lease: &str) -> Result<(), StoreError> {
        self.post("sys/leases/revoke", &[("lease_id", lease)]).await.map(drop)
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.post("auth/token/revoke-self", &[]).await.map(drop)
    }
}
