//! Logins with a signed JSON Web Token of somebody else: of a CI system, a cloud, another cluster.
//!
//! Who signs is said by the configuration, one of three ways: an issuer that is discovered, the address of a key set, or the keys themselves. Which
//! tokens log in, and as what, is said by roles. Logins by a browser (roles of the type `oidc`) are not served.
//!
//! ```text
//! config      the configuration
//! role/NAME   a role
//! ```

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;

mod bound;
mod config;
mod login;
mod role;

use super::jose::{Claims, Fetch, Jws, Keys, Limits, Remote, Source, TokenError, address};
use super::{legacy, params};
use crate::barrier::View;
use crate::json::Object;
use crate::logical::{Access, Auth, Engine, Error, Field, Input, Kind, Operation, Result, Route};
use config::Config;

/// The method.
pub struct Jwt {
    limits: Limits,
    ready: RwLock<Option<Arc<Ready>>>,
}

/// A configuration, set up.
struct Ready {
    config: Config,
    verifier: Verifier,
}

/// Who knows which tokens are signed by whom they should be.
enum Verifier {
    Keys(Keys),
    Remote(Box<Remote>),
}

const NAME: Field = Field::new("name", Kind::LowerText, "The role's name.");
static CONFIG: [Field; 17] = [
    Field::new("oidc_discovery_url", Kind::Text, "The issuer, whose keys are discovered (OpenID Connect Discovery)."),
    Field::new("oidc_discovery_ca_pem", Kind::Text, "The authorities to believe there, PEM. None: the system's."),
    Field::new("jwks_url", Kind::Text, "Where the keys are, as a JSON Web Key Set."),
    Field::new("jwks_ca_pem", Kind::Text, "The authorities to believe there, PEM. None: the system's."),
    Field::new("jwt_validation_pubkeys", Kind::Texts, "The keys: public keys or certificates, PEM."),
    Field::new(
        "jwt_supported_algs",
        Kind::Texts,
        "The algorithms that tokens may be signed by. None: all that are asymmetric.",
    ),
    Field::new("bound_issuer", Kind::Text, "What `iss` of tokens must be. None: anything."),
    Field::new("default_role", Kind::LowerText, "The role of logins that name none."),
    Field::new("skip_jwks_validation", Kind::Bool, "Whether keys that cannot be fetched now are a warning alone."),
    Field::new("namespace_in_state", Kind::Bool, "Kept, without effect."),
    Field::new("oidc_client_id", Kind::Text, "Not served: logins by a browser."),
    Field::new("oidc_client_secret", Kind::Text, "Not served: logins by a browser."),
    Field::new("oidc_response_mode", Kind::Text, "Not served: logins by a browser."),
    Field::new("oidc_response_types", Kind::Texts, "Not served: logins by a browser."),
    Field::new("provider_config", Kind::Map, "Not served: what is particular to some issuers."),
    Field::new("jwks_pairs", Kind::List, "Not served: several key sets."),
    Field::new("override_allowed_server_names", Kind::Texts, "Not served: other names of certificates."),
];
static ROLE: [Field; 38] = params::with([
    NAME,
    Field::new("role_type", Kind::Text, "`jwt`. (The other, `oidc`, is not served.)"),
    Field::new("user_claim", Kind::Text, "The claim that says who logs in."),
    Field::new("user_claim_json_pointer", Kind::Bool, "Whether that is a JSON pointer."),
    Field::new("bound_audiences", Kind::Texts, "What `aud` must be, one of these."),
    Field::new("bound_subject", Kind::Text, "What `sub` must be."),
    Field::new("bound_claims", Kind::Map, "Claims, and what each must be: one value, or one of a list."),
    Field::new("bound_claims_type", Kind::Text, "How those are compared: `string`, or `glob`, where * is any text."),
    Field::new(
        "claim_mappings",
        Kind::TextMap,
        "Claims that are copied to the token's metadata, and under which names.",
    ),
    Field::new("groups_claim", Kind::Text, "The claim that says the groups. It must be there; identity will use it."),
    Field::new(
        "expiration_leeway",
        Kind::SignedSeconds,
        "How long a token lives that does not say it. 0: 150 seconds; -1: not at all.",
    ),
    Field::new(
        "not_before_leeway",
        Kind::SignedSeconds,
        "Since when a token is good that says its end alone. 0: 150 seconds; -1: since then.",
    ),
    Field::new("clock_skew_leeway", Kind::SignedSeconds, "How much clocks may differ. 0: 60 seconds; -1: not at all."),
    Field::new("oauth2_metadata", Kind::Texts, "Kept, without effect: of logins by a browser."),
    Field::new("oidc_scopes", Kind::Texts, "Kept, without effect: of logins by a browser."),
    Field::new("oidc_disable_confirmation", Kind::Bool, "Kept, without effect: of logins by a browser."),
    Field::new("allowed_redirect_uris", Kind::Texts, "Kept, without effect: of logins by a browser."),
    Field::new("callback_mode", Kind::Text, "Kept, without effect: of logins by a browser."),
    Field::new("poll_interval", Kind::Int, "Kept, without effect: of logins by a browser."),
    Field::new("verbose_oidc_logging", Kind::Bool, "Kept, without effect: tokens are never logged."),
    Field::new("max_age", Kind::Seconds, "Kept, without effect: of logins by a browser."),
    Field::new("token_policies_template_claims", Kind::Bool, "Not served: policies that are templates."),
    legacy::FIELDS[0],
    legacy::FIELDS[1],
    legacy::FIELDS[2],
    legacy::FIELDS[3],
    legacy::FIELDS[4],
    legacy::FIELDS[5],
]);
const LOGIN: [Field; 2] =
    [Field::new("role", Kind::LowerText, "The role to log in as."), Field::new("jwt", Kind::Text, "The token.")];

#[async_trait]
impl Engine for Jwt {
    const ABOUT: &'static str = "Logs in who has a signed token of an issuer that is believed.";
    const HAS_ROLES: bool = true;

    fn routes() -> Vec<Route<Self>> {
        let route = Route::<Self>::new;
        vec![
            route("config", "Who signs the tokens")
                .fields(&CONFIG)
                .on(Operation::Read, |_, call| Box::pin(config::read(call)))
                .on(Operation::Update, |method, call| Box::pin(config::write(method, call))),
            route("role/?", "The names of all roles").on(Operation::List, |_, call| Box::pin(role::list(call))),
            route("role/{name}", "A role: which tokens log in, and as what")
                .fields(&ROLE)
                .exists(|_, call| Box::pin(role::exists(call)))
                .on(Operation::Read, |_, call| Box::pin(role::read(call)))
                .on(Operation::Update, |_, call| Box::pin(role::write(call)))
                .on(Operation::Delete, |_, call| Box::pin(role::delete(call))),
            route("login", "Log in")
                .fields(&LOGIN)
                .access(Access::Open)
                .on(Operation::Update, |method, call| Box::pin(login::log_in(method, call))),
            route("oidc/auth_url", "Not served: logins by a browser")
                .access(Access::Open)
                .on(Operation::Update, |_, _| Box::pin(async { Err(no_browser()) })),
        ]
    }

    async fn login_role(&self, storage: &View, data: &Object) -> Result<Option<String>> {
        let given = Input::of(data).text("role")?.unwrap_or_default().to_lowercase();
        if !given.is_empty() {
            return Ok(Some(given));
        }
        let role = config::find(storage).await?.map(|config| config.default_role).unwrap_or_default();
        Ok((!role.is_empty()).then_some(role))
    }

    async fn renew_login(&self, storage: &View, auth: Auth) -> Result<Auth> {
        let name = auth.internal.get("role").cloned().unwrap_or_default();
        match role::find(storage, &name).await? {
            Some(role) => Ok(role.params.renew_as_is(auth)),
            None => Err(Error::bad_request(format!("role {name} does not exist during renewal"))),
        }
    }
}

impl Default for Jwt {
    fn default() -> Self {
        Self::with(Limits::USUAL)
    }
}

impl Jwt {
    /// With limits of one's own for what is fetched.
    pub fn with(limits: Limits) -> Self {
        Self { limits, ready: RwLock::default() }
    }

    /// The configuration, set up; `None` if there is none.
    async fn ready(&self, storage: &View) -> Result<Option<Arc<Ready>>> {
        let Some(config) = config::find(storage).await? else { return Ok(None) };
        let known = self.ready.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| known.config == config) {
            return Ok(Some(known));
        }
        let verifier = Verifier::new(&config, self.limits)
            .map_err(|error| Error::bad_request(format!("error configuring token validator: {error}")))?;
        let ready = Arc::new(Ready { config, verifier });
        *self.ready.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&ready));
        Ok(Some(ready))
    }
}

impl Verifier {
    /// Sets up what a configuration says. Fetches nothing.
    fn new(config: &Config, limits: Limits) -> std::result::Result<Self, String> {
        let remote = |source, authorities: &str| -> std::result::Result<Self, String> {
            Ok(Self::Remote(Box::new(Remote::new(source, Fetch::new(authorities, limits)?, limits))))
        };
        if !config.jwks_url.is_empty() {
            remote(Source::Set(address(&config.jwks_url)?), &config.jwks_ca_pem)
        } else if !config.oidc_discovery_url.is_empty() {
            address(&config.oidc_discovery_url)?;
            remote(Source::Issuer(config.oidc_discovery_url.clone()), &config.oidc_discovery_ca_pem)
        } else {
            Keys::from_pem(&config.jwt_validation_pubkeys).map(Self::Keys).map_err(str::to_owned)
        }
    }

    /// What a token says, if it is signed by whom it should be.
    async fn verify(&self, token: Jws<'_>) -> std::result::Result<Claims, TokenError> {
        match self {
            Self::Keys(keys) => keys.verify_at_last(token),
            Self::Remote(remote) => remote.verify(token, None).await,
        }
    }
}

/// What is said to who wants to log in with a browser.
fn no_browser() -> Error {
    Error::bad_request(
        "OIDC login is not served: logins by a browser (role_type \"oidc\") are not there yet; use a role of the type \"jwt\"",
    )
}
