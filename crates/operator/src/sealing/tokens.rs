//! Whose a token is: `TokenReview`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bulla_kube::client::describe;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::api::PostParams;
use kube::{Api, Client};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::rate::Rate;

/// For how long a token's review is remembered.
const REMEMBERED: Duration = Duration::from_secs(10);
/// How many reviews are remembered.
const REVIEWS: usize = 1000;

/// By the digest of a token and its audience: who it is, if anybody, and when that was asked.
type Reviews = HashMap<[u8; 32], (Option<UserInfo>, Instant)>;

/// Asks the API server whose tokens are.
pub struct Tokens {
    client: Client,
    reviews: Mutex<Reviews>,
    /// How often tokens that are not known are reviewed, whoever sends them.
    rate: Rate,
}

/// Why it is not known whose a token is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReviewError {
    /// Too many are sent.
    #[error("too many tokens are sent that are not known; ask again in a moment")]
    TooMany,
    /// The API server does not say. The request has the token in it; its answer never has.
    #[error("the API server cannot be asked whose a token is: {0}")]
    Unavailable(String),
}

impl Tokens {
    /// Asks by `client`, so often a second and so often at once.
    pub fn new(client: Client, per_second: u32, burst: u32) -> Self {
        Self { client, reviews: Mutex::default(), rate: Rate::new(per_second, burst) }
    }

    /// Whose a token for `audience` is, as it was a moment ago; an empty one is the API server's own. `None` is nobody's.
    ///
    /// # Errors
    /// [`ReviewError`].
    pub async fn review(&self, token: &str, audience: &str) -> Result<Option<UserInfo>, ReviewError> {
        let id: [u8; 32] = Sha256::new().chain_update(audience).chain_update([0]).chain_update(token).finalize().into();
        let known = self.reviews().get(&id).filter(|(_, at)| at.elapsed() < REMEMBERED).cloned();
        if let Some((user, _)) = known {
            return Ok(user);
        }
        let user = self.ask(token, audience).await?;
        let mut reviews = self.reviews();
        if reviews.len() >= REVIEWS {
            reviews.retain(|_, (_, at)| at.elapsed() < REMEMBERED);
        }
        if reviews.len() < REVIEWS {
            reviews.insert(id, (user.clone(), Instant::now()));
        }
        Ok(user)
    }

    /// The same, as it is now.
    ///
    /// # Errors
    /// [`ReviewError`].
    pub async fn ask(&self, token: &str, audience: &str) -> Result<Option<UserInfo>, ReviewError> {
        self.rate.take("").map_err(|_| ReviewError::TooMany)?;
        let audiences = (!audience.is_empty()).then(|| vec![audience.to_owned()]);
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: audiences.clone() },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|error| ReviewError::Unavailable(describe(&error)))?;
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
