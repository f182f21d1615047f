//! Who may ask the sealing API to work for them.
//!
//! The API server's proxy, through which `kubeseal` comes, takes a client's `Authorization` away. So a token is taken from there or from
//! `X-Bulla-Authorization`, shown to the API server (TokenReview), and whoever it belongs to must be allowed (SubjectAccessReview) to
//! `create` `sealedsecrets/verify` or `sealedsecrets/rotate` of `bitnami.com` in the object's namespace. If the API server cannot be
//! asked, the answer is no.

use std::fmt;

use axum::http::{HeaderMap, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use zeroize::Zeroizing;

use crate::runtime::client::describe;

/// The audience of tokens that are made for this API alone: they open nothing else.
pub const AUDIENCE: &str = "bulla.dev/sealing";

/// The header that passes through the API server's proxy.
const HEADER: &str = "x-bulla-authorization";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Whether a SealedSecret opens.
    Verify,
    /// A SealedSecret sealed anew.
    Rotate,
}

impl Action {
    /// Its name: the subresource, and the word of `--allow-anonymous`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Rotate => "rotate",
        }
    }
}

impl std::str::FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "verify" => Ok(Self::Verify),
            "rotate" => Ok(Self::Rotate),
            other => Err(format!("{other:?} is neither verify nor rotate")),
        }
    }
}

/// Why somebody may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody knows who asks.
    Unknown,
    /// It is known, and they may not.
    Denied {
        /// Who.
        user: String,
        /// Where.
        namespace: String,
        /// What.
        action: Action,
    },
    /// The API server could not be asked.
    Unavailable(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => write!(
                f,
                "say who asks: a token of the API server, or one with the audience {AUDIENCE}, as `Bearer TOKEN` in the header \
                 Authorization, or in X-Bulla-Authorization behind the API server's proxy"
            ),
            Self::Denied { user, namespace, action } => write!(
                f,
                "{user} may not create sealedsecrets/{} of bitnami.com in the namespace {namespace:?}",
                action.name()
            ),
            Self::Unavailable(why) => write!(f, "the API server could not be asked who this is: {why}"),
        }
    }
}

/// Asks the API server.
#[derive(Clone)]
pub struct Access {
    client: Client,
    anonymous: Vec<Action>,
}

impl Access {
    /// `anonymous`: what anybody may ask who reaches the port, as with sealed-secrets' own controller.
    pub const fn new(client: Client, anonymous: Vec<Action>) -> Self {
        Self { client, anonymous }
    }

    /// Whether whoever sent `headers` may do this in `namespace`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn check(&self, headers: &HeaderMap, action: Action, namespace: &str, name: &str) -> Result<(), Refusal> {
        if self.anonymous.contains(&action) {
            return Ok(());
        }
        let token = token(headers).ok_or(Refusal::Unknown)?;
        let user = self.who(&token).await?;
        self.may(user, action, namespace, name).await
    }

    async fn who(&self, token: &str) -> Result<UserInfo, Refusal> {
        // A token for this API alone, then one for the API server.
        for audiences in [Some(vec![AUDIENCE.to_owned()]), None] {
            let asked = audiences.is_some();
            let review = TokenReview {
                spec: TokenReviewSpec { token: Some(token.to_owned()), audiences },
                ..TokenReview::default()
            };
            let api: Api<TokenReview> = Api::all(self.client.clone());
            let review = api.create(&PostParams::default(), &review).await.map_err(unavailable)?;
            let status = review.status.unwrap_or_default();
            // An API server that knows nothing of audiences answers without them, and says nothing of the token's.
            let ours = !asked || status.audiences.is_some_and(|found| found.iter().any(|each| each == AUDIENCE));
            if status.authenticated == Some(true) && ours {
                return status.user.ok_or(Refusal::Unknown);
            }
        }
        Err(Refusal::Unknown)
    }

    async fn may(&self, user: UserInfo, action: Action, namespace: &str, name: &str) -> Result<(), Refusal> {
        let attributes = ResourceAttributes {
            group: Some("bitnami.com".to_owned()),
            version: Some("v1alpha1".to_owned()),
            resource: Some("sealedsecrets".to_owned()),
            subresource: Some(action.name().to_owned()),
            verb: Some("create".to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            ..ResourceAttributes::default()
        };
        let who = user.username.clone().unwrap_or_default();
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username,
                uid: user.uid,
                groups: user.groups,
                extra: user.extra,
                resource_attributes: Some(attributes),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let review = api.create(&PostParams::default(), &review).await.map_err(unavailable)?;
        let status = review.status.unwrap_or_default();
        if status.allowed && status.denied != Some(true) {
            return Ok(());
        }
        Err(Refusal::Denied { user: who, namespace: namespace.to_owned(), action })
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the argument of `map_err`")]
fn unavailable(error: Error) -> Refusal {
    Refusal::Unavailable(describe(&error))
}

fn token(headers: &HeaderMap) -> Option<Zeroizing<String>> {
    [HEADER, header::AUTHORIZATION.as_str()].iter().find_map(|name| {
        let text = headers.get(*name)?.to_str().ok()?;
        let (scheme, token) = text.trim().split_once(' ')?;
        let token = token.trim();
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| Zeroizing::new(token.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn a_token_is_taken_from_either_header_and_only_as_a_bearers() {
        assert_eq!(token(&with("authorization", "Bearer abc")).unwrap().as_str(), "abc");
        assert_eq!(token(&with("x-bulla-authorization", "bearer  abc ")).unwrap().as_str(), "abc");
        for other in ["Basic abc", "Bearer", "Bearer ", "abc", ""] {
            assert!(token(&with("authorization", other)).is_none(), "{other:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do_and_never_the_token() {
        let denied = Refusal::Denied { user: "eve".into(), namespace: "n".into(), action: Action::Rotate };
        assert_eq!(denied.to_string(), "eve may not create sealedsecrets/rotate of bitnami.com in the namespace \"n\"");
        assert!(Refusal::Unknown.to_string().contains("X-Bulla-Authorization"));
    }
}
