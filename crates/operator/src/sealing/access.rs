//! Who asks, and whether they may: `TokenReview`, then `SubjectAccessReview`.
//!
//! The token comes as `Authorization: Bearer …`, or, since the API server's proxy takes that header away, as
//! `X-Bulla-Authorization: Bearer …`. It is reviewed for the audience [`AUDIENCE`], then for the API server's own. What is asked of
//! RBAC is `create` on `sealedsecrets/verify` or `sealedsecrets/rotate` (`bitnami.com`) in the object's namespace.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use bulla_kube::client::describe;
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};

use super::tokens::{ReviewError, Tokens};

/// The audience of tokens that are made for this API.
pub const AUDIENCE: &str = "bulla.dev/sealing";
/// The header beside `Authorization`.
pub const HEADER: &str = "x-bulla-authorization";
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

/// Asks the API server who may.
pub struct Access {
    client: Client,
    /// What everybody may, as in sealed-secrets (`--allow-anonymous`).
    anonymous: BTreeSet<Verb>,
    tokens: Tokens,
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
        Self { tokens: Tokens::new(client.clone(), 40, 100), client, anonymous }
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
        for audience in [AUDIENCE, ""] {
            let user = self.tokens.review(token, audience).await.map_err(|error| Refusal {
                status: match error {
                    ReviewError::TooMany => StatusCode::TOO_MANY_REQUESTS,
                    ReviewError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
                },
                message: error.to_string(),
            })?;
            if user.is_some() {
                return Ok(user);
            }
        }
        Ok(None)
    }
}

fn token(headers: &HeaderMap) -> Option<&str> {
    bearer(headers.get(HEADER).or_else(|| headers.get("authorization"))?)
}

/// The token of `Bearer TOKEN`.
pub(crate) fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
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
