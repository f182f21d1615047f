//! A cluster, as far as it is asked: whose a token is, which labels a namespace has, which keys sign tokens.

use bulla_core::{SecretBytes, SecretString};
use reqwest::Url;

use super::account::Account;
use super::config::Config;
use crate::auth::jose::{Claims, Fetch, Jws, Keys, Limits, Remote, Source, TokenError, address, printable};
use crate::json::{self, Object, Value};

/// A cluster of a configuration.
pub struct Cluster {
    /// The configuration.
    pub config: Config,
    /// Its API server.
    pub host: Url,
    authorities: String,
    fetch: Fetch,
    keys: Keys,
    /// Its key set, if tokens are verified by that.
    remote: Option<Remote>,
}

impl Cluster {
    /// Sets it up. Asks nobody.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(config: Config, authorities: String, limits: Limits) -> Result<Self, String> {
        // A host, also with a port, is one of https.
        let given = &config.kubernetes_host;
        let whole = if given.contains("://") { given.clone() } else { format!("https://{given}") };
        let host = address(&whole).map_err(|error| format!("kubernetes_host: {error}"))?;
        let fetch = Fetch::new(&authorities, limits).map_err(|error| format!("kubernetes_ca_cert: {error}"))?;
        let keys = Keys::from_pem(&config.pem_keys).map_err(str::to_owned)?;
        let remote = if config.local_verification && config.pem_keys.is_empty() {
            let url = if config.jwks_url.is_empty() {
                below(&host, "openid/v1/jwks")
            } else {
                address(&config.jwks_url).map_err(|error| format!("jwks_url: {error}"))?
            };
            Some(Remote::new(Source::Set(url), fetch.clone(), limits))
        } else {
            None
        };
        Ok(Self { config, host, authorities, fetch, keys, remote })
    }

    /// Whether it is that of a configuration and its authorities.
    pub fn is_of(&self, config: &Config, authorities: &str) -> bool {
        self.authorities == authorities && self.config == *config
    }

    /// What a token says. It is not to be believed if it is reviewed, and not verified here.
    ///
    /// # Errors
    /// [`TokenError`] if no key signed it, where there are keys.
    pub async fn read(&self, token: Jws<'_>, reviewer: Option<&SecretString>) -> Result<Claims, TokenError> {
        match &self.remote {
            // Another place than the API server is not told who we are.
            Some(remote) => remote.verify(token, reviewer.filter(|_| self.config.jwks_url.is_empty())).await,
            None if self.config.pem_keys.is_empty() => Ok(token.danger_unverified()),
            None => self.keys.verify_at_last(token),
        }
    }

    /// Whose a token is, by the word of the cluster.
    ///
    /// # Errors
    /// Why it is nobody's: for the log.
    pub async fn review(
        &self,
        token: &SecretString,
        audiences: &[String],
        reviewer: &SecretString,
    ) -> Result<Account, String> {
        let mut spec = object! { "token": token.expose() };
        if !audiences.is_empty() {
            spec.insert("audiences".to_owned(), audiences.into());
        }
        let review = object! {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": spec,
        };
        let body = json::object_to_vec(&review);
        let place = below(&self.host, "apis/authentication.k8s.io/v1/tokenreviews");
        let (status, answer) = self.fetch.post(place, Some(reviewer), body).await?;
        if !(200..=206).contains(&status) {
            return Err(refused(status, &answer));
        }
        let answer = json::parse_strict(answer.expose()).map_err(|_| "the answer is not a JSON object")?;
        let status = answer.get("status").and_then(Value::as_object).ok_or("the answer has no status")?;
        reviewed(status, audiences)
    }

    /// Whether the labels of a namespace are those that are wanted.
    ///
    /// # Errors
    /// Why that is not known: for the client, who is told which right is missing.
    pub async fn has_labels(
        &self,
        namespace: &str,
        wanted: &std::collections::BTreeMap<String, String>,
        reviewer: Option<&SecretString>,
    ) -> Result<bool, String> {
        const NOBODY: &str =
            "namespace lookup failed: TokenReviewer JWT needs to be configured to use namespace selectors";
        let reviewer = reviewer.ok_or(NOBODY)?;
        let place = below(&self.host, &format!("api/v1/namespaces/{namespace}"));
        let failed = |why: String| {
            tracing::warn!(namespace, why, "the labels of a namespace could not be read");
            "failed to get namespace".to_owned()
        };
        let (status, answer) = self.fetch.ask(place, Some(reviewer)).await.map_err(failed)?;
        if status != 200 {
            return Err(failed(refused(status, &answer)));
        }
        let namespace = json::parse_strict(answer.expose()).map_err(|_| failed("the answer is not JSON".to_owned()))?;
        let labels = namespace.get("metadata").and_then(Value::as_object).and_then(|it| it.get("labels")?.as_object());
        Ok(wanted.iter().all(|(name, value)| {
            labels.and_then(|labels| labels.get(name)).and_then(Value::as_str) == Some(value.as_str())
        }))
    }
}

/// What is below an address, whatever the address ends with. `path` is ours.
fn below(host: &Url, path: &str) -> Url {
    let mut url = host.clone();
    url.set_path(&format!("{}/{path}", host.path().trim_end_matches('/')));
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// What an API server says when it refuses, in a line.
fn refused(status: u16, answer: &SecretBytes) -> String {
    let parsed = json::parse_object(answer.expose()).unwrap_or_default();
    let message = parsed.get("message").and_then(Value::as_str).unwrap_or_default();
    let why = match status {
        401 => "; the reviewer's token may have expired, or its service account may have been made anew",
        403 => "; the reviewer's service account needs the ClusterRole system:auth-delegator",
        _ => "",
    };
    format!("the cluster answers {status} {}{why}", printable(message))
}

/// Reads the status of a review.
fn reviewed(status: &Object, audiences: &[String]) -> Result<Account, String> {
    let text = |object: &Object, name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let error = text(status, "error");
    if !error.is_empty() {
        return Err(format!("the cluster says: {}", printable(&error)));
    }
    if status.get("authenticated") != Some(&Value::Bool(true)) {
        return Err("the cluster says that the token is not valid".to_owned());
    }
    // A server that is not asked for audiences says none.
    let named = match status.get("audiences") {
        Some(Value::Array(named)) => named.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audiences.is_empty() && !audiences.iter().any(|wanted| named.contains(&wanted.as_str())) {
        return Err("the cluster says that the token is for another audience".to_owned());
    }
    let user = status.get("user").and_then(Value::as_object).ok_or("the cluster names no user")?;
    let name = text(user, "username");
    let parts: Vec<&str> = name.split(':').collect();
    let &["system", "serviceaccount", namespace, name] = parts.as_slice() else {
        return Err("the cluster says that the token is not a service account's".to_owned());
    };
    Ok(Account {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: text(user, "uid"),
        secret: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &str) -> Result<Account, String> {
        reviewed(&json::parse_object(text.as_bytes()).unwrap(), &["vault".to_owned()])
    }

    #[test]
    fn nothing_but_a_plain_yes_is_a_yes() {
        let good = r#"{"authenticated":true,"audiences":["x","vault"],"user":{"username":"system:serviceaccount:ns:a","uid":"u"}}"#;
        let account = status(good).unwrap();
        assert_eq!((account.namespace.as_str(), account.name.as_str(), account.uid.as_str()), ("ns", "a", "u"));
        for (from, to) in [
            ("true", "false"),
            ("true", "\"true\""),
            ("true", "1"),
            ("\"vault\"", "\"Vault\""),
            ("[\"x\",\"vault\"]", "\"vault\""),
            ("system:serviceaccount:ns:a", "admin"),
            ("system:serviceaccount:ns:a", "system:serviceaccount:ns:a:b"),
            ("system:serviceaccount:ns:a", "system:node:ns:a"),
            ("{\"authenticated\"", "{\"error\":\"no\",\"authenticated\""),
            ("\"user\"", "\"users\""),
        ] {
            assert!(status(&good.replace(from, to)).is_err(), "{from} {to}");
        }
        assert!(status("{}").is_err());
    }

    #[test]
    fn what_is_below_a_host_is_below_it() {
        for (host, expected) in [
            ("https://k/", "https://k/api/x"),
            ("https://k:6443", "https://k:6443/api/x"),
            ("https://k/c/d/?q#f", "https://k/c/d/api/x"),
        ] {
            assert_eq!(below(&Url::parse(host).unwrap(), "api/x").as_str(), expected);
        }
    }
}
