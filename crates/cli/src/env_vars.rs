//! Every environment variable that the program itself reads. Key services document theirs where they read them.
//!
//! A flag goes before its variable, a variable before the configuration file.

/// A file to use instead of the `.sops.yaml` that is found above the file.
pub(crate) const SOPS_CONFIG: &str = "SOPS_CONFIG";
/// The editor of `edit`, with arguments; before [`EDITOR`].
pub(crate) const SOPS_EDITOR: &str = "SOPS_EDITOR";
/// The editor of `edit`, with arguments.
pub(crate) const EDITOR: &str = "EDITOR";
/// Which kinds of keys are tried first, separated by commas: `age,pgp`.
pub(crate) const SOPS_DECRYPTION_ORDER: &str = "SOPS_DECRYPTION_ORDER";
/// Key services to use besides the local one, separated by commas: `tcp://HOST:PORT`, `unix:///PATH`.
pub(crate) const SOPS_KEYSERVICE: &str = "SOPS_KEYSERVICE";
/// Whether this process' own key services are used; true unless it says otherwise.
pub(crate) const SOPS_ENABLE_LOCAL_KEYSERVICE: &str = "SOPS_ENABLE_LOCAL_KEYSERVICE";
/// Recipients to encrypt to: age.
pub(crate) const SOPS_AGE_RECIPIENTS: &str = "SOPS_AGE_RECIPIENTS";
/// Recipients to encrypt to: OpenPGP fingerprints.
pub(crate) const SOPS_PGP_FP: &str = "SOPS_PGP_FP";
/// Keys to encrypt with: AWS KMS ARNs.
pub(crate) const SOPS_KMS_ARN: &str = "SOPS_KMS_ARN";
/// Keys to encrypt with: Google Cloud KMS resource ids.
pub(crate) const SOPS_GCP_KMS_IDS: &str = "SOPS_GCP_KMS_IDS";
/// Keys to encrypt with: Azure Key Vault URLs.
pub(crate) const SOPS_AZURE_KEYVAULT_URLS: &str = "SOPS_AZURE_KEYVAULT_URLS";
/// Keys to encrypt with: Huawei Cloud KMS, `REGION:UUID`.
pub(crate) const SOPS_HUAWEICLOUD_KMS_IDS: &str = "SOPS_HUAWEICLOUD_KMS_IDS";
/// Keys to encrypt with: Vault transit URIs.
pub(crate) const SOPS_VAULT_URIS: &str = "SOPS_VAULT_URIS";
/// How long one key may take to wrap or unwrap before it counts as failed: `10s`, `500ms`. Prompts for people are not timed.
pub(crate) const BULLA_KEY_TIMEOUT: &str = "BULLA_KEY_TIMEOUT";
/// The folders of `env`, with colons between.
pub(crate) const BULLA_ENV_FROM: &str = "BULLA_ENV_FROM";
/// What wraps the sealing keys of a cluster, separated by spaces: see `--key-service`.
pub(crate) const BULLA_KEY_SERVICE: &str = "BULLA_KEY_SERVICE";
/// How many of the key services are needed: see `--key-service-threshold`.
pub(crate) const BULLA_KEY_SERVICE_THRESHOLD: &str = "BULLA_KEY_SERVICE_THRESHOLD";
/// The namespace of the sealing controller; kubeseal's.
pub(crate) const SEALED_SECRETS_CONTROLLER_NAMESPACE: &str = "SEALED_SECRETS_CONTROLLER_NAMESPACE";
/// What is logged on stderr, as a filter: `debug`, `bulla_kms=trace`.
pub(crate) const BULLA_LOG: &str = "BULLA_LOG";
/// How log lines are written: `text` or `json`.
pub(crate) const BULLA_LOG_FORMAT: &str = "BULLA_LOG_FORMAT";
/// Set to 1 by sops' completion script for zsh, which shows what a command does as well.
pub(crate) const CLI_ZSH_AUTOCOMPLETE_HACK: &str = "_CLI_ZSH_AUTOCOMPLETE_HACK";
