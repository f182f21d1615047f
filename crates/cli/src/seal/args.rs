//! The flags of sealing: kubeseal 0.36.6's, under its names, and ours beside them.

use std::path::PathBuf;

use bulla_format::sealed::{Algorithm, Scope};
use clap::{Args, ValueEnum};

use crate::args::{AccessArgs, go_bool};

/// Arguments of `seal`.
#[derive(Args, Debug)]
pub(crate) struct SealArgs {
    /// The Secrets to seal: YAML or JSON, one document or many (default: standard input)
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Replace the file by the result
    #[arg(long, short, conflicts_with_all = ["sealed_secret_file", "merge_into"])]
    pub(crate) in_place: bool,

    /// As FILE
    #[arg(long, short = 'f', value_name = "FILE", conflicts_with = "file")]
    pub(crate) secret_file: Option<PathBuf>,

    /// Write the result to this file
    #[arg(long, short = 'w', value_name = "FILE")]
    pub(crate) sealed_secret_file: Option<PathBuf>,

    /// Write the result as json or yaml (default: as the input is, in its own layout)
    #[arg(long, short = 'o', value_name = "FORMAT", value_parser = format)]
    pub(crate) format: Option<OutputFormat>,

    /// Where the values may be used: strict, namespace-wide or cluster-wide (default: as the Secret's annotations say; else strict)
    #[arg(long, value_name = "SCOPE", value_parser = scope)]
    pub(crate) scope: Option<MaybeScope>,

    /// Give the Secret this name; with --raw, the name it will have
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Seal Secrets that hold nothing
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = go_bool, action = clap::ArgAction::Set)]
    pub(crate) allow_empty_data: bool,

    /// How: rsa-4096, which every sealed-secrets controller opens, or x25519-mlkem768, for bulla's alone
    #[arg(long, value_name = "ALGORITHM", default_value = "rsa-4096")]
    pub(crate) algorithm: Algorithm,

    /// What the input is: sops, an encrypted file whose Secrets are sealed without plaintext on disk
    #[arg(long, value_name = "FORM")]
    pub(crate) from: Option<From>,

    #[command(flatten)]
    pub(crate) mode: ModeArgs,

    #[command(flatten)]
    pub(crate) certificate: CertificateArgs,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,

    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// What to do instead of sealing manifests.
#[derive(Args, Debug)]
#[command(next_help_heading = "Instead of sealing manifests")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of kubeseal's")]
pub(crate) struct ModeArgs {
    /// Seal one value, from --from-file or standard input, and print it
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = go_bool, action = clap::ArgAction::Set)]
    pub(crate) raw: bool,

    /// With --raw: the file that holds the value
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    pub(crate) from_file: Vec<String>,

    /// Seal the Secret's values into this SealedSecret, which keeps its others, its layout and its comments
    #[arg(long, value_name = "FILE")]
    pub(crate) merge_into: Option<PathBuf>,

    /// Seal a SealedSecret's values anew, to the cluster's newest key; the controller does it
    #[arg(long, alias = "rotate", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = go_bool, action = clap::ArgAction::Set)]
    pub(crate) re_encrypt: bool,

    /// Ask the controller whether it can open a SealedSecret
    #[arg(long, alias = "check", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = go_bool, action = clap::ArgAction::Set)]
    pub(crate) validate: bool,

    /// Open a SealedSecret with --recovery-private-key, without a cluster, and print the Secret
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = go_bool, action = clap::ArgAction::Set)]
    pub(crate) recovery_unseal: bool,

    /// Files with private keys: PEM, or the controller's key Secrets (a backup); may be repeated
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    pub(crate) recovery_private_key: Vec<PathBuf>,

    /// Print the cluster's certificate, for later use with --cert
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = go_bool, action = clap::ArgAction::Set)]
    pub(crate) fetch_cert: bool,
}

/// Where the key to seal to comes from.
#[derive(Args, Debug)]
#[command(next_help_heading = "The key to seal to")]
pub(crate) struct CertificateArgs {
    /// The certificate (or, for x25519-mlkem768, the public key): a file, or a URL (default: asked of the controller)
    #[arg(long, visible_alias = "key", value_name = "FILE|URL")]
    pub(crate) cert: Option<String>,

    /// The controller's Service
    #[arg(long, value_name = "NAME", default_value = "sealed-secrets-controller")]
    pub(crate) controller_name: String,

    /// The controller's namespace
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    pub(crate) controller_namespace: String,

    /// Show the controller this token instead of your own: `kubectl create token NAME --audience bulla.dev/sealing`
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    pub(crate) controller_token: Option<String>,
}

/// How the cluster is reached, under kubectl's names.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "The cluster")]
pub(crate) struct ClusterArgs {
    /// The kubeconfig file (default: KUBECONFIG, then ~/.kube/config, then the pod's service account)
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// The kubeconfig's context
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// The namespace of Secrets that name none
    #[arg(long, short, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,

    /// The kubeconfig's cluster
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,

    /// The kubeconfig's user
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,

    /// The API server's address
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,

    /// A bearer token for the API server
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,

    /// Act as this user
    #[arg(long = "as", value_name = "USER")]
    pub(crate) impersonate: Option<String>,

    /// Act as a member of this group; may be repeated
    #[arg(long, value_name = "GROUP")]
    pub(crate) as_group: Vec<String>,

    /// Act under this UID
    #[arg(long, value_name = "UID")]
    pub(crate) as_uid: Option<String>,

    /// The authority that signed the API server's certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate_authority: Option<String>,

    /// A client certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) client_certificate: Option<String>,

    /// The client certificate's key
    #[arg(long, value_name = "FILE")]
    pub(crate) client_key: Option<String>,

    /// Believe any server to be the API server
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = go_bool, action = clap::ArgAction::Set)]
    pub(crate) insecure_skip_tls_verify: bool,

    /// The name in the API server's certificate
    #[arg(long, value_name = "NAME")]
    pub(crate) tls_server_name: Option<String>,

    /// Reach the API server through this proxy
    #[arg(long, value_name = "URL")]
    pub(crate) proxy_url: Option<String>,

    /// Give up on a request after this time: 10s, 1m (default: never)
    #[arg(long, value_name = "TIME")]
    pub(crate) request_timeout: Option<String>,

    /// A user name for the API server
    #[arg(long, value_name = "NAME")]
    pub(crate) username: Option<String>,

    /// The user's password
    #[arg(long, value_name = "PASSWORD", hide_env_values = true)]
    pub(crate) password: Option<String>,

    /// Ask the API server not to compress
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = go_bool, action = clap::ArgAction::Set)]
    pub(crate) disable_compression: bool,
}

/// What the input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum From {
    /// A file that sops or bulla encrypted.
    Sops,
}

/// How a manifest is written out anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputFormat {
    /// Indented by two spaces.
    Json,
    /// Keys sorted.
    Yaml,
}

/// A scope, or none where nothing was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaybeScope(pub(crate) Option<Scope>);

/// A scope by its name; an empty one is none, as in kubeseal.
fn scope(text: &str) -> Result<MaybeScope, String> {
    if text.is_empty() { Ok(MaybeScope(None)) } else { text.parse().map(|scope| MaybeScope(Some(scope))) }
}

fn format(text: &str) -> Result<OutputFormat, String> {
    match text.to_ascii_lowercase().as_str() {
        "json" | "" => Ok(OutputFormat::Json),
        "yaml" => Ok(OutputFormat::Yaml),
        _ => Err(format!("unsupported output format: {text} (json or yaml)")),
    }
}
