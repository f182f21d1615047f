//! Which tokens log in, and as what.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::bound::{Compare, values};
use super::no_browser;
use crate::auth::jose::Leeways;
use crate::auth::legacy::Legacy;
use crate::auth::params::Params;
use crate::barrier::View;
use crate::json::{self, Object, Value};
use crate::logical::{Call, Error, Input, Response, Result, format_go};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Role {
    pub params: Params,
    legacy: Legacy,
    pub user_claim: String,
    pub user_claim_json_pointer: bool,
    bound_audiences: Option<Vec<String>>,
    pub bound_subject: String,
    /// An object, as JSON.
    bound_claims: Option<String>,
    patterns: bool,
    claim_mappings: Option<BTreeMap<String, String>>,
    pub groups_claim: String,
    expiration_leeway: i64,
    not_before_leeway: i64,
    clock_skew_leeway: i64,
    browser: Browser,
}

/// What is kept for logins by a browser, and shown again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Browser {
    oauth2_metadata: Option<Vec<String>>,
    oidc_scopes: Option<Vec<String>>,
    oidc_disable_confirmation: bool,
    allowed_redirect_uris: Option<Vec<String>>,
    callback_mode: String,
    poll_interval: i64,
    verbose_oidc_logging: bool,
    max_age: i64,
}

impl Role {
    pub fn audiences(&self) -> &[String] {
        self.bound_audiences.as_deref().unwrap_or_default()
    }

    pub fn leeways(&self) -> Leeways {
        Leeways {
            expiration: self.expiration_leeway,
            not_before: self.not_before_leeway,
            clock_skew: self.clock_skew_leeway,
        }
    }

    /// The claims that are wanted.
    pub fn claims(&self) -> Result<Object> {
        match &self.bound_claims {
            None => Ok(Object::new()),
            // Fails closed: a role whose bounds cannot be read binds nobody, it must not let everybody in.
            Some(text) => json::parse_object(text.as_bytes()).map_err(|error| Error::internal(&error)),
        }
    }

    pub const fn compare(&self) -> Compare {
        if self.patterns { Compare::Patterns } else { Compare::Exactly }
    }

    /// Claims, and the names under which they are metadata.
    pub fn mappings(&self) -> impl Iterator<Item = (&String, &String)> {
        self.claim_mappings.iter().flatten()
    }
}

fn key(name: &str) -> String {
    format!("role/{}", name.to_lowercase())
}

fn name(call: &Call<'_>) -> String {
    call.input.capture("name").to_lowercase()
}

pub async fn find(storage: &View, name: &str) -> Result<Option<Role>> {
    Ok(storage.read(&key(name)).await?)
}

pub async fn list(call: &Call<'_>) -> Result<Response> {
    let (after, limit) = call.input.page()?;
    Response::list(call.storage.list("role/", &after, limit).await?)
}

pub async fn exists(call: &Call<'_>) -> Result<bool> {
    Ok(find(call.storage, &name(call)).await?.is_some())
}

pub async fn delete(call: &Call<'_>) -> Result<Response> {
    call.storage.delete(&key(&name(call))).await?;
    Ok(Response::empty())
}

pub async fn read(call: &Call<'_>) -> Result<Response> {
    let role = find(call.storage, &name(call)).await?.ok_or_else(Error::not_found)?;
    let claims = role.bound_claims.as_ref().map(|_| role.claims()).transpose()?;
    let browser = role.browser;
    let mut shown = role.params.shown();
    shown.extend(object! {
        "allowed_redirect_uris": browser.allowed_redirect_uris,
        "bound_audiences": role.bound_audiences,
        "bound_claims": claims,
        "bound_claims_type": if role.patterns { "glob" } else { "string" },
        "bound_subject": role.bound_subject,
        "callback_mode": browser.callback_mode,
        "claim_mappings": role.claim_mappings.as_ref().map(Value::from),
        "clock_skew_leeway": role.clock_skew_leeway,
        "expiration_leeway": role.expiration_leeway,
        "groups_claim": role.groups_claim,
        "max_age": browser.max_age,
        "not_before_leeway": role.not_before_leeway,
        "oauth2_metadata": browser.oauth2_metadata,
        "oidc_disable_confirmation": browser.oidc_disable_confirmation,
        "oidc_scopes": browser.oidc_scopes,
        "role_type": "jwt",
        "token_policies_template_claims": false,
        "user_claim": role.user_claim,
        "user_claim_json_pointer": role.user_claim_json_pointer,
        "verbose_oidc_logging": browser.verbose_oidc_logging,
    });
    if browser.poll_interval > 0 {
        shown.insert("poll_interval".to_owned(), browser.poll_interval.into());
    }
    role.legacy.show(&mut shown);
    Ok(Response::data(shown))
}

pub async fn write(call: &Call<'_>) -> Result<Response> {
    let (name, mut attempt) = (name(call), 0);
    loop {
        let mut transaction = call.storage.begin();
        let found: Option<Role> = transaction.read(call.storage, &key(&name)).await?;
        call.check_new(found.is_some())?;
        let role = changed(found.unwrap_or_default(), call)?;
        transaction.write(call.storage, &key(&name), &role)?;
        if transaction.try_commit(&mut attempt).await? {
            let mut response = Response::empty();
            if role.params.max_ttl > call.mount.max_ttl {
                response = response.warn(
                    "token max ttl is greater than the system or backend mount's maximum TTL value; issued tokens' max TTL value will be truncated",
                );
            }
            return Ok(response);
        }
    }
}

fn changed(mut role: Role, call: &Call<'_>) -> Result<Role> {
    let input = &call.input;
    let kind = input.text("role_type")?.filter(|kind| !kind.is_empty()).unwrap_or_else(|| "oidc".to_owned());
    if kind != "jwt" && kind != "oidc" {
        return Err(Error::bad_request(format!("invalid 'role_type': {kind}")));
    }
    role.params.apply(input)?;
    role.legacy.apply(&mut role.params, input)?;
    if role.params.period > call.mount.max_ttl {
        let (period, most) = (format_go(role.params.period), format_go(call.mount.max_ttl));
        return Err(Error::bad_request(format!(
            "'period' of '\"{period}\"' is greater than the backend's maximum lease TTL of '\"{most}\"'"
        )));
    }
    if input.bool("token_policies_template_claims")?.unwrap_or_default() {
        return Err(Error::bad_request("token_policies_template_claims is not served: policies are no templates here"));
    }
    role.expiration_leeway = input.seconds("expiration_leeway")?.unwrap_or(role.expiration_leeway);
    role.not_before_leeway = input.seconds("not_before_leeway")?.unwrap_or(role.not_before_leeway);
    role.clock_skew_leeway = input.seconds("clock_skew_leeway")?.unwrap_or(role.clock_skew_leeway);
    role.bound_audiences = input.texts("bound_audiences")?.or(role.bound_audiences);
    role.bound_subject = input.text("bound_subject")?.unwrap_or(role.bound_subject);
    bind_claims(&mut role, input)?;
    map_claims(&mut role, input)?;
    role.browser = keep(role.browser, input)?;
    role.user_claim = input.text("user_claim")?.unwrap_or(role.user_claim);
    if role.user_claim.is_empty() {
        return Err(Error::bad_request("a user claim must be defined on the role"));
    }
    role.user_claim_json_pointer = input.bool("user_claim_json_pointer")?.unwrap_or(role.user_claim_json_pointer);
    role.groups_claim = input.text("groups_claim")?.unwrap_or(role.groups_claim);
    // What is not given is `client`, also where it was another.
    let mode = input.text("callback_mode")?.unwrap_or_else(|| "client".to_owned());
    if !["device", "direct", "client"].contains(&mode.as_str()) {
        return Err(Error::bad_request(format!("invalid 'callback_mode': {mode}")));
    }
    role.browser.callback_mode = mode;
    if kind == "oidc" {
        return Err(if role.browser.allowed_redirect_uris.as_ref().is_none_or(Vec::is_empty) {
            Error::bad_request("'allowed_redirect_uris' must be set if 'role_type' is 'oidc' or unspecified.")
        } else {
            no_browser()
        });
    }
    let is_bound = !role.audiences().is_empty()
        || !role.params.bound_cidrs.is_empty()
        || !role.bound_subject.is_empty()
        || !role.claims()?.is_empty();
    if !is_bound {
        return Err(Error::bad_request("must have at least one bound constraint when creating/updating a role"));
    }
    if role.params.max_ttl > 0 && role.params.ttl > role.params.max_ttl {
        return Err(Error::bad_request("ttl should not be greater than max ttl"));
    }
    Ok(role)
}

fn bind_claims(role: &mut Role, input: &Input<'_>) -> Result<()> {
    // What is not given is `string`, also where it was another.
    role.patterns = match input.text("bound_claims_type")?.as_deref() {
        None | Some("string") => false,
        Some("glob") => true,
        Some(other) => return Err(Error::bad_request(format!("invalid 'bound_claims_type': {other}"))),
    };
    let given = input.map("bound_claims")?;
    if let Some(claims) = &given {
        role.bound_claims = Some(String::from_utf8_lossy(&json::object_to_vec(claims)).into_owned());
    }
    // Also where claims that were compared as they are become patterns.
    for claim in role.claims()?.values().filter(|_| role.patterns) {
        let Some(values) = values(claim) else {
            return Err(Error::bad_request(format!("claim is not a string or list: {}", shown(claim))));
        };
        if let Some(other) = values.iter().find(|value| value.as_str().is_none()) {
            return Err(Error::bad_request(format!("claim is not a string: {}", shown(other))));
        }
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    String::from_utf8_lossy(&value.to_vec()).into_owned()
}

fn map_claims(role: &mut Role, input: &Input<'_>) -> Result<()> {
    let Some(mappings) = input.text_map("claim_mappings")? else { return Ok(()) };
    let mut taken = BTreeSet::new();
    for target in mappings.values() {
        if target == "role" {
            return Err(Error::bad_request(format!(
                "metadata key {target:?} is reserved and may not be a mapping destination"
            )));
        }
        if !taken.insert(target) {
            return Err(Error::bad_request(format!("multiple keys are mapped to metadata key {target:?}")));
        }
    }
    role.claim_mappings = Some(mappings);
    Ok(())
}

fn keep(browser: Browser, input: &Input<'_>) -> Result<Browser> {
    let oauth2_metadata = input.texts("oauth2_metadata")?.or(browser.oauth2_metadata);
    let known = ["id_token", "refresh_token", "access_token"];
    if let Some(name) = oauth2_metadata.iter().flatten().find(|name| !known.contains(&name.as_str())) {
        return Err(Error::bad_request(format!("Unrecognized oauth2 metadata name {name}")));
    }
    Ok(Browser {
        oauth2_metadata,
        oidc_scopes: input.texts("oidc_scopes")?.or(browser.oidc_scopes),
        oidc_disable_confirmation: input
            .bool("oidc_disable_confirmation")?
            .unwrap_or(browser.oidc_disable_confirmation),
        allowed_redirect_uris: input.texts("allowed_redirect_uris")?.or(browser.allowed_redirect_uris),
        callback_mode: browser.callback_mode,
        poll_interval: input.int("poll_interval")?.unwrap_or(browser.poll_interval),
        verbose_oidc_logging: input.bool("verbose_oidc_logging")?.unwrap_or(browser.verbose_oidc_logging),
        max_age: input.seconds("max_age")?.unwrap_or(browser.max_age),
    })
}
