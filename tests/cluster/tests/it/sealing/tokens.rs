//! Tokens whose time is over, or that are taken back, while they are used.

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bulla_cluster_tests::{Namespace, own_cluster};
use bulla_test_support::http;
use rcgen::{KeyPair, SigningKey};
use serde_json::{Value, json};

use super::sealer::Sealer;
use super::{Keys, Operator};

/// For how long the API server takes a token whose time is over.
const LENIENT: u64 = 60;

/// The API server remembers a token for ten seconds, the controller for another ten.
const REMEMBERED: Duration = Duration::from_secs(20);

#[test]
fn a_token_that_is_revoked_or_over_is_refused_as_is_a_rule_that_is_gone() {
    let (namespace, keys) = (Namespace::new("tokens"), Keys::new());
    let operator = Operator::start(&namespace, &keys, "a", &["--rate-limit=100", "--rate-limit-burst=100"]).ready();
    let body = serde_json::to_string(&Sealer::of(&operator).seal(&namespace.name, "db", "one")).unwrap();
    let verify = |token: &str| {
        http(operator.api, "POST", "/v1/verify", &[("Authorization", &format!("Bearer {token}"))], &body).0
    };
    namespace
        .kubectl(&["create", "role", "sealer", "--verb=create", "--resource=sealedsecrets.bitnami.com/verify"])
        .ok();
    let token = |account: &str, more: &[&str]| {
        let arguments = [&["create", "token", account, "--audience", "bulla.dev/sealing"][..], more].concat();
        namespace.kubectl(&arguments).ok().trim().to_owned()
    };
    for account in ["kept", "gone"] {
        let subject = format!("--serviceaccount={}:{account}", namespace.name);
        namespace.kubectl(&["create", "serviceaccount", account]).ok();
        namespace.kubectl(&["create", "rolebinding", account, "--role=sealer", &subject]).ok();
    }
    namespace.kubectl(&["create", "secret", "generic", "handle"]).ok();
    let kept = token("kept", &[]);
    let bound = token("kept", &["--bound-object-kind=Secret", "--bound-object-name=handle"]);
    let of_gone = token("gone", &[]);
    let short = until(&kept, Duration::from_secs(5));
    let since = Instant::now();
    namespace.eventually("the rules are known", || verify(&kept) == 200);
    for token in [&bound, &of_gone, &short] {
        assert_eq!(verify(token), 200, "after {:?}", since.elapsed());
    }

    // Revoked, with what it is bound to; with its account; and by the clock.
    namespace.kubectl(&["delete", "secret", "handle"]).ok();
    namespace.kubectl(&["delete", "serviceaccount", "gone"]).ok();
    let since = Instant::now();
    for (what, token) in
        [("a revoked token", &bound), ("an account's that is gone", &of_gone), ("one that is over", &short)]
    {
        namespace.eventually(what, || verify(token) == 401);
        assert!(since.elapsed() < REMEMBERED + Duration::from_secs(15), "{what}: {:?}", since.elapsed());
    }
    assert_eq!(verify(&kept), 200);

    // What somebody may do is asked each time.
    namespace.kubectl(&["delete", "rolebinding", "kept"]).ok();
    let since = Instant::now();
    namespace.eventually("a rule that is gone", || verify(&kept) == 403);
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
}

/// The same token with another end, signed as the API server signs: it makes none itself for less than ten minutes.
fn until(token: &str, end: Duration) -> String {
    let [head, claims, _] = token.split('.').collect::<Vec<_>>()[..] else { panic!("a token has three parts") };
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    claims["exp"] = json!(now + end.as_secs() - LENIENT);
    let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let key = KeyPair::from_pem(&fs::read_to_string(own_cluster("pki/sa.key")).unwrap()).unwrap();
    let signature = key.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(fixed(&signature)))
}

/// An ECDSA signature as a token has it: both numbers in 32 bytes each, without ASN.1 around them.
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut numbers = der[2..].to_vec();
    let mut fixed = Vec::new();
    for _ in 0..2 {
        let length = usize::from(numbers[1]);
        let number: Vec<u8> = numbers.drain(..2 + length).skip(2).collect();
        let number = &number[number.len().saturating_sub(32)..];
        fixed.extend(std::iter::repeat_n(0, 32 - number.len()));
        fixed.extend(number);
    }
    fixed
}
