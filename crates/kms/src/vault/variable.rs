//! The environment variables that keys of a transit engine are used with.
//!
//! `VAULT_…` mean what they mean to Vault's own client, on which sops stands; `BULLA_VAULT_…` are the ways to log in that sops
//! lacks.

/// The token to use, if no other way to log in is chosen. Else `~/.vault-token`.
pub const TOKEN: &str = "VAULT_TOKEN";
/// The namespace of the engine and of the login.
pub const NAMESPACE: &str = "VAULT_NAMESPACE";
/// A server whose keys may be used with a login of `BULLA_VAULT_AUTH`. The address of a key is the key's own.
pub const ADDR: &str = "VAULT_ADDR";
/// The address of an agent or proxy that all requests are sent to instead of the key's server.
pub const AGENT_ADDR: &str = "VAULT_AGENT_ADDR";
/// A PEM file of certificate authorities to trust instead of the system's.
pub const CACERT: &str = "VAULT_CACERT";
/// The same as text. `VAULT_CACERT` comes first.
pub const CACERT_BYTES: &str = "VAULT_CACERT_BYTES";
/// A folder of such PEM files. `VAULT_CACERT` and `VAULT_CACERT_BYTES` come first.
pub const CAPATH: &str = "VAULT_CAPATH";
/// A PEM file with the client's certificate, for servers that ask for one.
pub const CLIENT_CERT: &str = "VAULT_CLIENT_CERT";
/// A PEM file with the private key of the client's certificate.
pub const CLIENT_KEY: &str = "VAULT_CLIENT_KEY";
/// `true` to believe any certificate. For tests.
pub const SKIP_VERIFY: &str = "VAULT_SKIP_VERIFY";
/// The name that the server's certificate is for, if it is not the address'.
pub const TLS_SERVER_NAME: &str = "VAULT_TLS_SERVER_NAME";
/// How long an operation may take: seconds, or a duration like `1m30s`. The program's own limit may be shorter.
pub const CLIENT_TIMEOUT: &str = "VAULT_CLIENT_TIMEOUT";
/// How often a request is sent again after a failed connection, status 412, 429 or 5xx. 2 if not set.
pub const MAX_RETRIES: &str = "VAULT_MAX_RETRIES";
/// More headers to send, as a JSON object of texts.
pub const HEADERS: &str = "VAULT_HEADERS";
/// An HTTP proxy for all requests, before `HTTPS_PROXY` and `HTTP_PROXY`.
pub const PROXY_ADDR: &str = "VAULT_PROXY_ADDR";
/// An older name of `VAULT_PROXY_ADDR`.
pub const HTTP_PROXY: &str = "VAULT_HTTP_PROXY";
/// `true` to follow no redirect. Else one is followed, to the same scheme.
pub const DISABLE_REDIRECTS: &str = "VAULT_DISABLE_REDIRECTS";
/// Which servers' keys may be used: `all` (if not set), `none`, or addresses separated by commas. As in sops 3.13.
pub const ALLOWLIST: &str = "SOPS_HC_VAULT_ALLOWLIST";

/// How to log in: `token` (if not set), `kubernetes` or `approle`.
pub const AUTH: &str = "BULLA_VAULT_AUTH";
/// Where the auth method is mounted. Its own name if not set.
pub const AUTH_MOUNT: &str = "BULLA_VAULT_AUTH_MOUNT";
/// `kubernetes`: the role to log in as.
pub const ROLE: &str = "BULLA_VAULT_ROLE";
/// `kubernetes`: the file with the service account's token. `/var/run/secrets/kubernetes.io/serviceaccount/token` if not set.
pub const JWT_FILE: &str = "BULLA_VAULT_JWT_FILE";
/// `approle`: the role's id.
pub const ROLE_ID: &str = "BULLA_VAULT_ROLE_ID";
/// `approle`: the secret id. Not needed by roles that bind none.
pub const SECRET_ID: &str = "BULLA_VAULT_SECRET_ID";
/// `approle`: a file with the secret id, instead of the secret id.
pub const SECRET_ID_FILE: &str = "BULLA_VAULT_SECRET_ID_FILE";
