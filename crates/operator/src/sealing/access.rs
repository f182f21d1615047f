//! Who asks, and whether they may: `TokenReview`, then `SubjectAccessReview`.
//!
//! The token comes as `Authorization: Bearer …`, or, since the API server's proxy takes that header away, as
//! `X-Bulla-Authorization: Bearer …`. It is reviewed for the audience [`AUDIENCE`], then for the API server's own. What is asked of
//! RBAC is `create` on `sealedsecrets/verify` or `sealedsecrets/rotate` (`bitnami.com`) in the object's namespace.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use bulla_kube::client::describe;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::rate::Rate;

/// The audience of tokens that are made for this API.
pub const AUDIENCE: &str = "bulla.dev/sealing";
/// The header beside `Authorization`.
pub const HEADER: &str = "x-bulla-authorization";
/// For how long a token's review is remembered.
const REMEMBERED: Duration = Duration::from_secs(10);
/// How many reviews are remembered.
const REVIEWS: usize = 1000;

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Find out whether an object opens.
    Verify,
    /// Have an object sealed anew.
    Rotate,
}

impl Verb {
    /// The subresource that RBAC names.
    pub const fn subresource(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Rotate => "rotate",
        }
    }
}

/// By a token's digest: who it is, if anybody, and when that was asked.
type Reviews = HashMap<[u8; 32], (Option<UserInfo>, Instant)>;

/// Asks the API server who may.
pub struct Access {
    client: Client,
    /// What everybody may, as in sealed-secrets (`--allow-anonymous`).
    anonymous: BTreeSet<Verb>,
    reviews: Mutex<Reviews>,
    /// How often tokens that are not known are reviewed, whoever sends them.
    rate: Rate,
}

/// Why somebody may not.
#[derive(Debug)]
pub struct Refusal {
    /// 401, 403, 429 or 503 if the API server cannot be asked.
    pub status: StatusCode,
    /// Why, and what to do.
    pub message: String,
}

impl Access {
    /// Asks by `client`, except about `anonymous`.
    pub fn new(client: Client, anonymous: BTreeSet<Verb>) -> Self {
        Self { client, anonymous, reviews: Mutex::default(), rate: Rate::new(20, 50) }
    }

    /// Who it is; `None` is anybody, where anybody may.
    ///
    /// # Errors
    /// [`Refusal`]: 401 without a token that is good.
    pub async fn who(&self, headers: &HeaderMap, verb: Verb) -> Result<Option<UserInfo>, Refusal> {
        if self.anonymous.contains(&verb) {
            return Ok(None);
        }
        let Some(token) = token(headers) else {
            return Err(Refusal {
                status: StatusCode::UNAUTHORIZED,
                message: format!(
                    "this needs a token: send one in the header {HEADER} (Bearer …), for example of: kubectl create token \
                     SERVICEACCOUNT --audience {AUDIENCE}"
                ),
            });
        };
        match self.review(token).await? {
            Some(user) => Ok(Some(user)),
            None => Err(Refusal {
                status: StatusCode::UNAUTHORIZED,
                message: "the token is not one that the cluster knows, or its time is over".to_owned(),
            }),
        }
    }

    /// Whether they may do it in a namespace.
    ///
    /// # Errors
    /// [`Refusal`]: 403, with the rule that is missing.
    pub async fn may(&self, user: Option<&UserInfo>, verb: Verb, namespace: &str) -> Result<(), Refusal> {
        let Some(user) = user else { return Ok(()) };
        let subresource = verb.subresource();
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username.clone(),
                uid: user.uid.clone(),
                groups: user.groups.clone(),
                extra: user.extra.clone().map(|extra| extra.into_iter().collect::<BTreeMap<_, _>>()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some("bitnami.com".to_owned()),
                    resource: Some("sealedsecrets".to_owned()),
                    subresource: Some(subresource.to_owned()),
                    verb: Some("create".to_owned()),
                    namespace: Some(namespace.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await.map_err(|error| unavailable(&error))?;
        if answer.status.is_some_and(|status| status.allowed) {
            return Ok(());
        }
        let who = user.username.as_deref().unwrap_or_default();
        Err(Refusal {
            status: StatusCode::FORBIDDEN,
            message: format!(
                "{who} may not do this in namespace {namespace:?}: it takes the verb create on sealedsecrets/{subresource} in the API group \
                 bitnami.com"
            ),
        })
    }

    async fn review(&self, token: &str) -> Result<Option<UserInfo>, Refusal> {
        let id: [u8; 32] = Sha256::digest(token).into();
        let known = self.reviews().get(&id).filter(|(_, at)| at.elapsed() < REMEMBERED).cloned();
        if let Some((user, _)) = known {
            return Ok(user);
        }
        if self.rate.take("").is_err() {
            let message = "too many tokens are sent that are not known; ask again in a moment".to_owned();
            return Err(Refusal { status: StatusCode::TOO_MANY_REQUESTS, message });
        }
        let mut user = self.ask(token, Some(vec![AUDIENCE.to_owned()])).await?;
        if user.is_none() {
            user = self.ask(token, None).await?;
        }
        let mut reviews = self.reviews();
        if reviews.len() >= REVIEWS {
            reviews.retain(|_, (_, at)| at.elapsed() < REMEMBERED);
        }
        if reviews.len() < REVIEWS {
            reviews.insert(id, (user.clone(), Instant::now()));
        }
        Ok(user)
    }

    async fn ask(&self, token: &str, audiences: Option<Vec<String>>) -> Result<Option<UserInfo>, Refusal> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: audiences.clone() },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await.map_err(|error| unavailable(&error))?;
        let status = answer.status.unwrap_or_default();
        // An authenticator that knows no audiences says none: such a token is not for us.
        let is_for_us =
            audiences.is_none_or(|wanted| status.audiences.iter().flatten().any(|audience| wanted.contains(audience)));
        Ok(status.user.filter(|_| status.authenticated == Some(true) && is_for_us))
    }

    fn reviews(&self) -> std::sync::MutexGuard<'_, Reviews> {
        self.reviews.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(HEADER).or_else(|| headers.get("authorization"))?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()).then_some(token.trim())
}

fn unavailable(error: &kube::Error) -> Refusal {
    // The request has the token in it; the answer never has.
    Refusal {
        status: StatusCode::SERVICE_UNAVAILABLE,
        message: format!("the API server cannot be asked who you are: {}", describe(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_found_in_either_header() {
        let headers = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            headers
        };
        assert_eq!(token(&headers("authorization", "Bearer abc")), Some("abc"));
        assert_eq!(token(&headers(HEADER, "bearer abc")), Some("abc"));
        assert_eq!(token(&headers("authorization", "Basic abc")), None);
        assert_eq!(token(&headers("authorization", "Bearer ")), None);
        assert_eq!(token(&HeaderMap::new()), None);
    }
}
