//! Who signs the tokens.

use serde::{Deserialize, Serialize};

use super::{Jwt, Verifier, no_browser};
use crate::auth::jose::{Algorithm, Fetch, Keys, address, is_open};
use crate::barrier::View;
use crate::json::{Object, Value};
use crate::logical::{Call, Error, Response, Result};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    pub oidc_discovery_url: String,
    pub oidc_discovery_ca_pem: String,
    pub jwks_url: String,
    pub jwks_ca_pem: String,
    pub jwt_validation_pubkeys: Vec<String>,
    pub jwt_supported_algs: Vec<String>,
    pub bound_issuer: String,
    pub default_role: String,
    pub namespace_in_state: bool,
}

const KEY: &str = "config";

pub async fn find(storage: &View) -> Result<Option<Config>> {
    Ok(storage.read(KEY).await?)
}

impl Config {
    /// Whether tokens may be signed so.
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        self.jwt_supported_algs.is_empty() || self.jwt_supported_algs.iter().any(|name| name == algorithm.name())
    }
}

pub async fn read(call: &Call<'_>) -> Result<Response> {
    let config = find(call.storage).await?.ok_or_else(Error::not_found)?;
    let none = Vec::<String>::new();
    Ok(Response::data(object! {
        "bound_issuer": config.bound_issuer,
        "default_role": config.default_role,
        "jwks_ca_pem": config.jwks_ca_pem,
        "jwks_url": config.jwks_url,
        "jwt_supported_algs": config.jwt_supported_algs,
        "jwt_validation_pubkeys": config.jwt_validation_pubkeys,
        "namespace_in_state": config.namespace_in_state,
        "oidc_client_id": "",
        "oidc_discovery_ca_pem": config.oidc_discovery_ca_pem,
        "oidc_discovery_url": config.oidc_discovery_url,
        "oidc_response_mode": "",
        "oidc_response_types": none.clone(),
        "override_allowed_server_names": none,
        "provider_config": Object::new(),
        "status": "valid",
    }))
}

/// Everything is written anew: what is not given is as at the beginning.
pub async fn write(method: &Jwt, call: &Call<'_>) -> Result<Response> {
    let input = &call.input;
    let text = |name: &str| -> Result<String> { Ok(input.text(name)?.unwrap_or_default()) };
    let before = find(call.storage).await?;
    let config = Config {
        oidc_discovery_url: text("oidc_discovery_url")?,
        oidc_discovery_ca_pem: text("oidc_discovery_ca_pem")?,
        jwks_url: text("jwks_url")?,
        jwks_ca_pem: text("jwks_ca_pem")?,
        jwt_validation_pubkeys: input.texts("jwt_validation_pubkeys")?.unwrap_or_default(),
        jwt_supported_algs: input.texts("jwt_supported_algs")?.unwrap_or_default(),
        bound_issuer: text("bound_issuer")?,
        default_role: text("default_role")?.to_lowercase(),
        namespace_in_state: input
            .bool("namespace_in_state")?
            .unwrap_or_else(|| before.is_none_or(|before| before.namespace_in_state)),
    };
    check_served(call)?;
    let given =
        [!config.oidc_discovery_url.is_empty(), !config.jwks_url.is_empty(), !config.jwt_validation_pubkeys.is_empty()];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err(Error::bad_request(
            "exactly one of 'jwt_validation_pubkeys', 'jwks_url', 'jwks_pairs', 'oidc_discovery_url', or 'provider_config' must be set",
        ));
    }
    let mut response = Response::empty();
    let skip = input.bool("skip_jwks_validation")?.unwrap_or_default();
    if let Err(error) = check_keys(method, &config).await {
        match error {
            Wrong::Settings(error) => return Err(Error::bad_request(error)),
            Wrong::Fetching(error) if !skip => return Err(Error::bad_request(error)),
            Wrong::Fetching(error) => response = response.warn(error),
        }
    }
    if let Some(name) = config.jwt_supported_algs.iter().find(|name| Algorithm::parse(name).is_none()) {
        return Err(Error::bad_request(format!("invalid jwt_supported_algs: unsupported signing algorithm {name:?}")));
    }
    let place = if config.jwks_url.is_empty() { &config.oidc_discovery_url } else { &config.jwks_url };
    if address(place).is_ok_and(|url| is_open(&url)) {
        // A query may have a key in it; the warning is written down.
        let place = place.split(['?', '#']).next().unwrap_or_default();
        response = response.warn(format!("{place} is not https: whoever is on the way there can log in as anybody"));
    }
    if !config.oidc_discovery_url.is_empty() && config.bound_issuer.is_empty() {
        // As the peer has it. Some issuers sign for all their tenants with the same keys.
        response = response.warn(
            "bound_issuer is not set: tokens of any issuer that signs with these keys are believed; set it to what iss has in yours",
        );
    }
    call.storage.write(KEY, &config).await?;
    Ok(response)
}

/// What the peer has, and this has not: refused, not passed over.
fn check_served(call: &Call<'_>) -> Result<()> {
    let input = &call.input;
    let (id, secret) = (input.text("oidc_client_id")?, input.text("oidc_client_secret")?);
    let is_given = |text: Option<String>| text.is_some_and(|text| !text.is_empty());
    match (is_given(id), is_given(secret)) {
        (false, false) => {}
        (true, true) => return Err(no_browser()),
        _ => return Err(Error::bad_request("both 'oidc_client_id' and 'oidc_client_secret' must be set for OIDC")),
    }
    for name in
        ["oidc_response_mode", "oidc_response_types", "provider_config", "jwks_pairs", "override_allowed_server_names"]
    {
        let is_empty = match input.raw(name) {
            None | Some(Value::Null) => true,
            Some(Value::String(text)) => text.is_empty(),
            Some(Value::Array(values)) => values.is_empty(),
            Some(Value::Object(object)) => object.is_empty(),
            Some(_) => false,
        };
        if !is_empty {
            let instead = if name == "jwks_pairs" { "; mount the method once for each key set" } else { "" };
            return Err(Error::bad_request(format!("{name} is not served{instead}")));
        }
    }
    Ok(())
}

enum Wrong {
    Settings(String),
    Fetching(String),
}

/// Whether the keys are there.
async fn check_keys(method: &Jwt, config: &Config) -> std::result::Result<(), Wrong> {
    if !config.jwt_validation_pubkeys.is_empty() {
        let keys = Keys::from_pem(&config.jwt_validation_pubkeys);
        return keys.map(drop).map_err(|error| Wrong::Settings(format!("error parsing public key: {error}")));
    }
    if config.oidc_discovery_url.contains(".well-known") {
        return Err(Wrong::Settings("'oidc_discovery_url' contains '.well-known' component".to_owned()));
    }
    let (what, authorities) = if config.jwks_url.is_empty() {
        ("error checking oidc discovery URL", &config.oidc_discovery_ca_pem)
    } else {
        ("error checking jwks URL", &config.jwks_ca_pem)
    };
    if let Err(error) = Fetch::new(authorities, method.limits) {
        let name = if config.jwks_url.is_empty() { "oidc_discovery_ca_pem" } else { "jwks_ca_pem" };
        return Err(Wrong::Settings(format!("error checking {name}: {error}")));
    }
    match Verifier::new(config, method.limits) {
        Err(error) => Err(Wrong::Settings(format!("{what}: {error}"))),
        Ok(Verifier::Remote(remote)) => {
            remote.probe(None).await.map_err(|error| Wrong::Fetching(format!("{what}: {error}")))
        }
        Ok(Verifier::Keys(_)) => Ok(()),
    }
}
