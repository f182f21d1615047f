//! A cluster's service accounts, as far as a Vault server asks about them; and a message broker, for the leases that such a server gives.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::bao::Bao;
use crate::fake::{Answer, Fake};

/// What stands for the signature of a cluster.
const SIGNATURE: &str = "signature";

/// Answers the one request that the auth method `kubernetes` makes to a cluster: whose is this token? Its [`tokens`](service_account_token) are
/// known, until they run out.
pub struct ServiceAccounts(pub Fake);

impl ServiceAccounts {
    /// A cluster of nothing else.
    pub fn start() -> Self {
        Self(Fake::answering(|request| {
            assert_eq!(request.path, "/apis/authentication.k8s.io/v1/tokenreviews");
            let review: Value = serde_json::from_str(&request.body).unwrap();
            let status = match claims(review["spec"]["token"].as_str().unwrap()) {
                Some(claims) => {
                    let uid = &claims["kubernetes.io"]["serviceaccount"]["uid"];
                    let user = json!({ "username": claims["sub"], "uid": uid, "groups": [] });
                    json!({ "authenticated": true, "user": user, "audiences": claims["aud"] })
                }
                None => json!({ "authenticated": false, "error": "invalid bearer token" }),
            };
            let answer = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status });
            Answer(201, vec![("Content-Type", "application/json".into())], answer.to_string())
        }))
    }

    /// Mounts the auth method in a server, for this cluster. Gives its mount.
    pub fn auth(&self, bao: &Bao) -> String {
        let mount = bao.auth("kubernetes");
        let config = json!({
            "kubernetes_host": self.0.url(), "token_reviewer_jwt": "reviewer", "disable_local_ca_jwt": true,
            "kubernetes_ca_cert": UNUSED_AUTHORITY,
        });
        bao.call("POST", &format!("auth/{mount}/config"), &config);
        mount
    }
}

/// The claims of a token of this cluster.
fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let (claims, signature) = (parts.nth(1)??, parts.next()??);
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    (signature == SIGNATURE.as_bytes() && claims["exp"].as_u64()? > now()).then_some(claims)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token as Kubernetes projects it into a pod, but for its signature, which the cluster is asked to check.
pub fn service_account_token(namespace: &str, name: &str, audience: &str) -> String {
    token(namespace, name, audience, now() + 600)
}

/// One that has run out.
pub fn old_token(namespace: &str, name: &str, audience: &str) -> String {
    token(namespace, name, audience, now() - 1)
}

fn token(namespace: &str, name: &str, audience: &str, until: u64) -> String {
    let claims = json!({
        "iss": "https://kubernetes.default.svc", "aud": [audience],
        "sub": format!("system:serviceaccount:{namespace}:{name}"), "iat": now() - 10, "nbf": now() - 10, "exp": until,
        "kubernetes.io": { "namespace": namespace, "serviceaccount": { "name": name, "uid": format!("uid-of-{name}") } },
    });
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    let head = json!({ "alg": "RS256", "kid": "k" }).to_string();
    format!("{}.{}.{}", part(head), part(claims.to_string()), part(SIGNATURE.to_owned()))
}

/// The users of a message broker, which the secrets engine `rabbitmq` makes and removes: leases that can be renewed and given back.
pub struct Broker(pub Fake);

impl Broker {
    /// A broker that does all that it is asked for.
    pub fn start() -> Self {
        Self(Fake::answering(|request| {
            let status = if request.method == "DELETE" { 204 } else { 201 };
            Answer(status, vec![], String::new())
        }))
    }

    /// Mounts the engine in a server, for this broker, with a role `r`. Gives the path of its credentials.
    pub fn engine(&self, bao: &Bao, ttl: &str, max_ttl: &str) -> String {
        let mount = bao.mount_of("rabbitmq");
        let config = json!({
            "connection_uri": self.0.url(), "username": "u", "password": "p", "verify_connection": false,
        });
        bao.call("POST", &format!("{mount}/config/connection"), &config);
        bao.call("POST", &format!("{mount}/config/lease"), &json!({ "ttl": ttl, "max_ttl": max_ttl }));
        let vhosts = r#"{"/": {"configure": ".*", "write": ".*", "read": ".*"}}"#;
        bao.call("POST", &format!("{mount}/roles/r"), &json!({ "vhosts": vhosts }));
        format!("{mount}/creds/r")
    }

    /// The users that were made so far, and those that were removed.
    pub fn users(&self) -> (Vec<String>, Vec<String>) {
        let seen = self.0.seen();
        let of = |method: &str| {
            let of = seen.iter().filter(|request| request.method == method);
            of.filter_map(|request| request.path.strip_prefix("/api/users/").map(str::to_owned)).collect()
        };
        (of("PUT"), of("DELETE"))
    }
}

/// The auth method demands a certificate authority, also for a cluster that it talks to without TLS. Its key was thrown away.
pub const UNUSED_AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBejCCAR+gAwIBAgIUaPGx/gw6VnulJcDUDwEMr/YtfQkwCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGbm9ib2R5MCAXDTI2MTEyMzEzMjUzMVoYDzIxMjYxMDMwMTMy
NTMxWjARMQ8wDQYDVQQDDAZub2JvZHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AAS3+mIOh20vGmNM+BOEHOEdVTptTZ+mnj89FxbYse26sJgzQ5M6nQ/y6UH1zWN6
CccAXLF/a+e8wTGTuC9RCvCAo1MwUTAdBgNVHQ4EFgQUQIxoQBRN7gxaZ4DgNICC
sPDwcAYwHwYDVR0jBBgwFoAUQIxoQBRN7gxaZ4DgNICCsPDwcAYwDwYDVR0TAQH/
BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAuwEHZf1w4eQMjo3T/+8hehDamuhU
ezXUTI2XW/i89MQCIQDzo2Rmnmm+n4ky63jMIv3CZ9CnojZeYG5fOrZlTlZk3g==
-----END CERTIFICATE-----
";
