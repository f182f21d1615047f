//! Keys that are fetched from whoever signs: a JSON Web Key Set at an address, or at the address that an issuer's discovery document names.
//!
//! A set is kept. It is fetched again when a token names a key that is not in it, or when it is old; never more often than [`Limits::pause`], by one
//! request at a time, and what comes is bounded in size and time: who sends tokens without end makes no more requests than who sends a few.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use reqwest::Url;
use tokio::sync::{Mutex, MutexGuard, Semaphore};

use super::fetch::{Bearer, Fetch, Limits, address, printable};
use super::key::Keys;
use super::{Claims, Jws, TokenError};
use crate::json::{self, Value};

/// Where keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// At this address.
    Set(Url),
    /// Where the discovery document of this issuer says.
    Issuer(String),
}

/// Keys that are fetched.
pub struct Remote {
    source: Source,
    fetch: Fetch,
    limits: Limits,
    known: RwLock<Option<Arc<Known>>>,
    /// When the far side is asked next at the earliest.
    next: Mutex<Option<Instant>>,
    waiting: Semaphore,
}

struct Known {
    keys: Keys,
    since: Instant,
}

/// How many requests wait for keys at most.
const WAITING: usize = 64;

impl Remote {
    /// Fetches when it is used.
    pub fn new(source: Source, fetch: Fetch, limits: Limits) -> Self {
        Self {
            source,
            fetch,
            limits,
            known: RwLock::default(),
            next: Mutex::default(),
            waiting: Semaphore::new(WAITING),
        }
    }

    /// What a token says, if one of the keys signed it.
    ///
    /// # Errors
    /// [`TokenError::Signature`] if none did, or there are none to be had; [`TokenError::Busy`] if too many wait for them.
    pub async fn verify(&self, token: Jws<'_>, bearer: Bearer<'_>) -> Result<Claims, TokenError> {
        const UNKNOWN: TokenError = TokenError::Signature("failed to verify id token signature");
        let seen = self.known();
        let known = seen.clone().filter(|known| known.since.elapsed() < self.limits.stale);
        // When keys are old, one request looks for newer ones. The others do not wait for it.
        if known.as_ref().is_some_and(|known| known.since.elapsed() >= self.limits.fresh)
            && let Ok(next) = self.next.try_lock()
            && let Some(newer) = self.newer(next, seen.as_ref(), bearer).await
        {
            return newer.keys.verify(token).map_err(|_| UNKNOWN);
        }
        let token = match &known {
            None => token,
            Some(known) => match known.keys.verify(token) {
                Ok(claims) => return Ok(claims),
                Err(token) => token,
            },
        };
        // A key that is not known: those who sign may have a new one.
        let _place = self.waiting.try_acquire().map_err(|_| TokenError::Busy)?;
        let next = self.next.lock().await;
        match self.newer(next, seen.as_ref(), bearer).await {
            Some(newer) => newer.keys.verify(token).map_err(|_| UNKNOWN),
            None if known.is_some() => Err(UNKNOWN),
            None => Err(TokenError::Signature("fetching keys failed; the server's log says why")),
        }
    }

    /// Fetches the keys now, whatever is known of them.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn probe(&self, bearer: Bearer<'_>) -> Result<(), String> {
        self.keys(bearer).await.map(|keys| self.learn(keys)).map(drop)
    }

    fn known(&self) -> Option<Arc<Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, keys: Keys) -> Arc<Known> {
        let known = Arc::new(Known { keys, since: Instant::now() });
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&known));
        known
    }

    /// Keys that came after `seen`: those that another request fetched meanwhile, or those that are fetched now, if that may be.
    async fn newer(
        &self,
        mut next: MutexGuard<'_, Option<Instant>>,
        seen: Option<&Arc<Known>>,
        bearer: Bearer<'_>,
    ) -> Option<Arc<Known>> {
        let now = self.known();
        let changed = now.as_ref().is_some_and(|now| seen.is_none_or(|seen| !Arc::ptr_eq(now, seen)));
        if changed {
            return now;
        }
        if next.is_some_and(|next| Instant::now() < next) {
            return None;
        }
        // Before it, as whoever asks may go away in the middle; and after it, so that a far side that takes its time is left alone as long.
        *next = Some(Instant::now() + self.limits.pause);
        let fetched = self.keys(bearer).await;
        *next = Some(Instant::now() + self.limits.pause);
        match fetched {
            Ok(keys) => Some(self.learn(keys)),
            Err(error) => {
                tracing::warn!(source = %self.source, %error, "keys for tokens could not be fetched");
                None
            }
        }
    }

    async fn keys(&self, bearer: Bearer<'_>) -> Result<Keys, String> {
        let whole = async {
            let set = match &self.source {
                Source::Set(url) => url.clone(),
                Source::Issuer(issuer) => self.discover(issuer).await?,
            };
            let answer = self.fetch.found(set, bearer).await?;
            Keys::from_jwks(answer.expose()).map_err(str::to_owned)
        };
        let timed = tokio::time::timeout(self.limits.time, whole).await;
        timed.map_err(|_| format!("no answer in {:?}", self.limits.time))?
    }

    /// Where the keys of an issuer are (`OpenID` Connect Discovery 1.0).
    async fn discover(&self, issuer: &str) -> Result<Url, String> {
        let place = address(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')))?;
        let secure = place.scheme() == "https";
        let answer = self.fetch.found(place, None).await?;
        let document = json::parse_strict(answer.expose())
            .map_err(|_| "failed to decode OIDC discovery document: it is not a JSON object")?;
        let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("issuer") != issuer {
            let named = printable(text("issuer"));
            return Err(format!("issuer did not match the returned issuer, expected {issuer:?} got {named:?}"));
        }
        let set = address(text("jwks_uri")).map_err(|error| format!("its jwks_uri: {error}"))?;
        if secure && set.scheme() != "https" {
            return Err("its jwks_uri is not https".to_owned());
        }
        Ok(set)
    }
}

/// Where it is, without what may be a secret in an address: a query, who asks.
impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = match self {
            Self::Set(url) => url.clone(),
            Self::Issuer(issuer) => match Url::parse(issuer) {
                Ok(url) => url,
                Err(_) => return f.write_str("an issuer that is no address"),
            },
        };
        write!(f, "{}{}", url.origin().ascii_serialization(), url.path())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_address_is_logged_without_what_may_be_a_secret_in_it() {
        let url = "https://user:word@keys.example:8443/set/1?token=secret#part";
        for source in [Source::Set(Url::parse(url).unwrap()), Source::Issuer(url.to_owned())] {
            assert_eq!(source.to_string(), "https://keys.example:8443/set/1");
        }
        assert!(!Source::Issuer("secret".to_owned()).to_string().contains("secret"));
    }

    #[tokio::test]
    async fn who_comes_when_too_many_wait_for_keys_is_told_that_the_server_is_busy() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/", silent.local_addr().unwrap())).unwrap();
        let limits = Limits { time: Duration::from_secs(30), ..Limits::USUAL };
        let remote = Remote::new(Source::Set(url), Fetch::new("", limits).unwrap(), limits);
        // {"alg":"ES256"}, {}, and a signature of 64 bytes.
        let text = format!("eyJhbGciOiJFUzI1NiJ9.e30.{}", "A".repeat(86));
        let waiting = (0..WAITING).map(|_| remote.verify(Jws::parse(&text).unwrap(), None));
        let waiting = futures_util::future::join_all(waiting);
        let one_more = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            remote.verify(Jws::parse(&text).unwrap(), None).await
        };
        tokio::select! {
            _ = waiting => panic!("nobody answers"),
            refused = one_more => assert_eq!(refused.err(), Some(TokenError::Busy)),
        }
    }
}
