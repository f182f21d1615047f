//! Clients of AWS KMS, made when they are first needed and kept: one look-up of credentials serves 500 files.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kms::Client;
use aws_sdk_kms::config::{IdentityCache, SharedCredentialsProvider, SharedHttpClient};
use aws_types::os_shim_internal::{Env as AwsEnv, Fs};
use bulla_core::{Env, KeyErrorKind};
use tokio::sync::OnceCell;

use super::http;
use crate::failure::{Failure, causes};
use crate::registry::Context;

/// The clients of this process. Empty until a key of AWS KMS is used.
#[derive(Default)]
pub(crate) struct State {
    http: OnceLock<Result<SharedHttpClient, Failure>>,
    clients: Mutex<HashMap<Account, Arc<OnceCell<Client>>>>,
}

/// What makes one client differ from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Account {
    pub(super) region: String,
    pub(super) role: Option<String>,
    pub(super) profile: Option<String>,
}

/// The client for `account`. Reads configuration files; who asks first makes it, the others wait. A failure is not kept.
pub(super) async fn client(account: &Account, context: &Context) -> Result<Client, Failure> {
    let cell = {
        let mut clients = context.aws.clients.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(clients.entry(account.clone()).or_default())
    };
    cell.get_or_try_init(|| load(account, context)).await.cloned()
}

async fn load(account: &Account, context: &Context) -> Result<Client, Failure> {
    let env = environment(&*context.env, account.profile.is_some());
    if let Some(profile) = &account.profile {
        require_profile(profile, &env).await?;
    }
    let http = context.aws.http.get_or_init(|| http::client(&*context.env, context.dns.clone())).clone()?;
    let timeout = context.options.timeout;
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .env(env)
        .http_client(http)
        .region(Region::new(account.region.clone()))
        .identity_cache(identity_cache(timeout))
        // Three attempts are the default; a lost packet in the first must not cost the whole time.
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(timeout / 3).build());
    if let Some(profile) = &account.profile {
        loader = loader.profile_name(profile);
    }
    let config = loader.load().await;
    let config = match &account.role {
        Some(role) => assume(role, &config, timeout).await,
        None => config,
    };
    Ok(Client::new(&config))
}

/// `config` with the credentials of `role`, got by `AssumeRole` with the credentials of `config` when they are needed.
async fn assume(role: &str, config: &SdkConfig, timeout: Duration) -> SdkConfig {
    let provider = AssumeRoleProvider::builder(role).session_name(session_name(&host_name())).configure(config);
    config
        .clone()
        .into_builder()
        .credentials_provider(SharedCredentialsProvider::new(provider.build().await))
        .identity_cache(identity_cache(timeout))
        .build()
}

/// The SDK would give up on credentials after five seconds, less than some credential processes take.
fn identity_cache(timeout: Duration) -> aws_sdk_kms::config::SharedIdentityCache {
    IdentityCache::lazy().load_timeout(timeout).build()
}

/// The name that `CloudTrail` shows for a session, as sops spells it, because trust policies may ask for it: `sops@HOST`, cut
/// at 64 bytes, without what STS would refuse. sops drops dashes too (its `@-_` is a range); so does this.
fn session_name(host: &str) -> String {
    let allowed = |c: &char| c.is_ascii_alphanumeric() || "=,.@_".contains(*c);
    "sops@".chars().chain(host.chars().filter(allowed)).take(64).collect()
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What the AWS SDK reads from the environment, so that it can be given from [`Env`].
///
/// Keys of a file that name a profile mean that profile: credentials in variables do not count then. So it is for sops,
/// whose SDK puts a profile that the program names before the environment, and the environment before `AWS_PROFILE`.
fn environment(env: &dyn Env, profile_named: bool) -> AwsEnv {
    let ambient = if profile_named { &[] } else { CREDENTIALS };
    let read = |name: &&str| Some(((*name).to_owned(), env.text(name)?));
    AwsEnv::from(SETTINGS.iter().chain(ambient).filter_map(read).collect::<HashMap<_, _>>())
}

async fn require_profile(profile: &str, env: &AwsEnv) -> Result<(), Failure> {
    // The only public name of this type is deprecated.
    #[allow(clippy::default_trait_access)]
    let found = aws_config::profile::load(&Fs::real(), env, &Default::default(), None)
        .await
        .map_err(|error| Failure::new(KeyErrorKind::BadConfig, format!("the AWS configuration: {}", causes(&error))))?;
    if found.get_profile(profile).is_some() {
        return Ok(());
    }
    Err(Failure::new(KeyErrorKind::BadConfig, format!("there is no profile `{profile}` in the AWS configuration"))
        .hint("add it to ~/.aws/config, or name the file in AWS_CONFIG_FILE"))
}

/// Variables that are credentials or point to some. Looked at before profiles.
const CREDENTIALS: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_ACCOUNT_ID",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];

/// Every other variable that the SDK reads, for the services that a key or its credentials may need.
const SETTINGS: &[&str] = &[
    "AWS_ACCOUNT_ID_ENDPOINT_MODE",
    "AWS_AUTH_SCHEME_PREFERENCE",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_REGION",
    "AWS_DISABLE_CLOCK_SKEW_CORRECTION",
    "AWS_DISABLE_REQUEST_COMPRESSION",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_KMS",
    "AWS_ENDPOINT_URL_SSO",
    "AWS_ENDPOINT_URL_SSO_OIDC",
    "AWS_ENDPOINT_URL_STS",
    "AWS_EXECUTION_ENV",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_MAX_ATTEMPTS",
    "AWS_NEW_RETRIES_2026",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    "AWS_REQUEST_MIN_COMPRESSION_SIZE_BYTES",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
    "AWS_RETRY_MODE",
    "AWS_SDK_UA_APP_ID",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_SIGV4A_SIGNING_REGION_SET",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    "HOME",
    "HOMEDRIVE",
    "HOMEPATH",
    "USERPROFILE",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_session_is_named_as_sops_names_it() {
        assert_eq!(session_name("ip-10-0-0-1.eu-west-1"), "sops@ip10001.euwest1");
        assert_eq!(session_name("höst/name_1"), "sops@hstname_1");
        assert_eq!(session_name(&"a".repeat(100)).len(), 64);
    }

    #[test]
    fn a_named_profile_hides_credentials_in_variables() {
        let env: BTreeMap<String, String> =
            ["AWS_ACCESS_KEY_ID", "AWS_REGION"].map(|name| (name.to_owned(), "x".to_owned())).into();
        assert_eq!(environment(&env, false).get("AWS_ACCESS_KEY_ID").unwrap(), "x");
        assert!(environment(&env, true).get("AWS_ACCESS_KEY_ID").is_err());
        assert_eq!(environment(&env, true).get("AWS_REGION").unwrap(), "x");
    }

    #[test]
    fn nothing_is_read_from_the_environment_but_what_is_listed() {
        let env = BTreeMap::from([("PATH".to_owned(), "x".to_owned())]);
        assert!(environment(&env, false).get("PATH").is_err());
    }
}
