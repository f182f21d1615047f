//! Signed tokens: which are believed, and what is done to fetch keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use bulla_server::auth::jose::{
    Algorithm, Claims, Expected, Fetch, Jws, Keys, Leeways, Limits, Remote, Source, Times, TokenError, address,
};
use bulla_test_support::fake::{Answer, Fake};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::signer::{Signer, part, rsa};

fn verify(keys: &Keys, token: &str) -> Result<Claims, TokenError> {
    keys.verify_at_last(Jws::parse(token)?)
}

fn pem(signer: &Signer) -> Keys {
    Keys::from_pem(&[signer.pem()]).unwrap()
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

#[test]
fn each_algorithm_is_verified_with_a_key_of_its_kind_alone() {
    let signers: Vec<(&str, Signer)> =
        ["ES256", "ES384", "ES512", "EdDSA"].map(|name| (name, Signer::for_algorithm(name))).into();
    let rsa_names = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
    let all: Vec<(&str, &Signer)> =
        rsa_names.iter().map(|name| (*name, rsa())).chain(signers.iter().map(|(name, key)| (*name, key))).collect();
    for (name, signer) in &all {
        let token = signer.token(name, &json!({ "a": name }));
        let from_jwk = Keys::from_jwks(set(&[signer.jwk("k")]).as_bytes()).unwrap();
        for keys in [pem(signer), from_jwk] {
            let claims = verify(&keys, &token).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(claims.text("a").unwrap(), Some(*name));
        }
        for (other, key) in &all {
            // The same signature under another name, and other keys.
            if other != name {
                let renamed = format!(
                    "{}.{}",
                    part(json!({ "alg": other }).to_string().as_bytes()),
                    &token[token.find('.').unwrap() + 1..]
                );
                assert!(verify(&pem(signer), &renamed).is_err(), "{name} as {other}");
            }
            if !std::ptr::eq(*key, *signer) {
                assert!(verify(&pem(key), &token).is_err(), "{name} with a key of {other}");
            }
        }
        let another = Signer::for_algorithm(name);
        assert!(verify(&pem(&another), &token).is_err(), "{name} with another key");
        // A key that says what it is for is for nothing else.
        let mut jwk = signer.jwk("k");
        jwk["alg"] = json!(if *name == "RS512" { "RS256" } else { "RS512" });
        assert!(verify(&Keys::from_jwks(set(&[jwk]).as_bytes()).unwrap(), &token).is_err(), "{name}");
    }
}

#[test]
fn what_is_not_signed_by_the_key_is_not_believed() {
    let key = rsa();
    let keys = pem(key);
    let claims = json!({ "sub": "a" });
    let good = key.token("RS256", &claims);
    assert!(verify(&keys, &good).is_ok());
    let (header, rest) = good.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let with = |text: &str| part(text.as_bytes());
    // The public key, which everybody has, as the secret of an HMAC.
    let secret = hmac::Key::new(hmac::HMAC_SHA256, key.pem().as_bytes());
    let confused = format!("{}.{payload}", with(r#"{"alg":"HS256"}"#));
    let confused = format!("{confused}.{}", part(hmac::sign(&secret, confused.as_bytes()).as_ref()));
    let mut flipped = signature.as_bytes().to_vec();
    flipped[10] = if flipped[10] == b'A' { b'B' } else { b'A' };
    let bad = [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        format!("{}.{payload}.", with(r#"{"alg":"none"}"#)),
        format!("{}.{payload}.{signature}", with(r#"{"alg":"None"}"#)),
        format!("{}.{payload}.", with(r#"{"alg":"RS256"}"#)),
        format!("{}.{payload}.{signature}", with(r#"{"alg":"rs256"}"#)),
        format!("{}.{payload}.{signature}", with("{}")),
        format!("{}.{payload}.{signature}", with(r#"{"alg":["RS256"]}"#)),
        confused,
        format!("{header}.{}.{signature}", with(r#"{"sub":"b"}"#)),
        format!("{header}.{payload}.{}", String::from_utf8(flipped).unwrap()),
        good[..good.len() - 4].to_owned(),
        format!("{header}.{payload}"),
        format!("{good}.x"),
        format!("{good}="),
        format!("{good} "),
        format!("{good}\n"),
        json!({ "protected": header, "payload": payload, "signature": signature }).to_string(),
        key.token_of("RS256", r#"{"alg":"RS256","crit":["exp"],"exp":1}"#, "{}"),
        key.token_of("RS256", r#"{"alg":"RS256","b64":false,"crit":["b64"]}"#, "{}"),
        key.token_of("RS256", r#"{"alg":"RS256","kid":5}"#, "{}"),
        // Two readers would read two tokens.
        key.token_of("RS256", r#"{"alg":"none","alg":"RS256"}"#, "{}"),
        key.token_of("RS256", r#"{"alg":"RS256"}"#, r#"{"sub":"a","sub":"b"}"#),
        key.token_of("RS256", r#"{"alg":"RS256"}"#, "[]"),
        key.token_of("RS256", r#"{"alg":"RS256"}"#, ""),
        key.token_of("RS256", "", "{}"),
    ];
    for token in bad {
        assert!(verify(&keys, &token).is_err(), "{token}");
    }
}

proptest! {
    #[test]
    fn no_text_is_taken_for_a_token_and_none_does_harm(text in r"[a-zA-Z0-9_.=-]{0,80}", at in 0..400usize, bit in 0..6u8) {
        let keys = pem(rsa());
        prop_assert!(verify(&keys, &text).is_err());
        // One bit of a good one.
        let mut token = rsa().token("RS256", &json!({ "sub": "somebody", "aud": ["a", "b"] })).into_bytes();
        let at = at % token.len();
        token[at] ^= 1 << bit;
        if let Ok(token) = String::from_utf8(token) {
            prop_assert!(verify(&keys, &token).is_err(), "{}", token);
        }
    }
}

#[test]
fn keys_that_are_not_for_signatures_are_passed_over() {
    let key = rsa();
    let token = key.token("RS256", &json!({}));
    let with = |name: &str, value: Value| {
        let mut jwk = key.jwk("k");
        jwk[name] = value;
        jwk
    };
    let symmetric = json!({ "kty": "oct", "kid": "k", "k": "AAAA" });
    for bad in [
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        with("kty", json!("EC")),
        with("kid", json!("other")),
        with("alg", json!("HS256")),
        with("n", json!("AQAB")),
        with("e", json!("")),
        json!({ "kty": "EC", "crv": "P-256", "x": part(&[1; 33]), "y": part(&[1; 32]) }),
        json!({}),
        json!(5),
        symmetric,
    ] {
        let alone = Keys::from_jwks(set(std::slice::from_ref(&bad)).as_bytes()).unwrap();
        assert!(verify(&alone, &token).is_err(), "{bad}");
        let beside = Keys::from_jwks(set(&[bad.clone(), with("key_ops", json!(["verify"]))]).as_bytes()).unwrap();
        assert!(verify(&beside, &token).is_ok(), "{bad}");
    }
    for bad in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, "<html>"] {
        assert!(Keys::from_jwks(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(Keys::from_jwks(set(&vec![json!({}); 65]).as_bytes()).is_err());
    // A token that names no key may be any's.
    let nameless = key.token_with("RS256", &json!({ "alg": "RS256" }), &json!({}));
    assert!(verify(&Keys::from_jwks(set(&[key.jwk("k")]).as_bytes()).unwrap(), &nameless).is_ok());
    for bad in ["", "x", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"] {
        assert!(Keys::from_pem(&[bad.to_owned()]).is_err(), "{bad}");
    }
    let names: Vec<&str> = Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect();
    assert!(names.iter().all(|name| !name.starts_with("HS") && *name != "none"));
}

fn claims(of: &Value) -> Claims {
    Jws::parse(&rsa().token("RS256", of)).unwrap().danger_unverified()
}

#[test]
fn times_are_looked_at_with_their_leeways() {
    let check = |of: &Value, leeways: Leeways, times: Times| {
        let expected = Expected { issuer: "", subject: "", audiences: &[], leeways, times };
        claims(of).check(&expected, 10_000).map_err(|error| error.to_string())
    };
    let usual = Leeways::default();
    let exact = Leeways { expiration: -1, not_before: -1, clock_skew: -1 };
    for (of, leeways, good) in [
        (json!({ "exp": 10_000 }), exact, true),
        (json!({ "exp": 9_999 }), exact, false),
        (json!({ "exp": 9_940 }), usual, true),
        (json!({ "exp": 9_939 }), usual, false),
        (json!({ "exp": 10_100, "nbf": 10_001 }), exact, false),
        (json!({ "exp": 10_100, "nbf": 10_060 }), usual, true),
        (json!({ "exp": 10_100, "nbf": 10_061 }), usual, false),
        (json!({ "exp": 10_100, "nbf": 1, "iat": 10_061 }), usual, false),
        // Who says when it was issued alone has it for some minutes.
        (json!({ "iat": 9_790 }), usual, true),
        (json!({ "iat": 9_789 }), usual, false),
        (json!({ "iat": 9_000 }), Leeways { expiration: 1_000, ..usual }, true),
        (json!({ "iat": 9_999 }), exact, false),
        // Who says its end alone has it for some minutes before that.
        (json!({ "exp": 10_210 }), usual, true),
        (json!({ "exp": 10_211 }), usual, false),
        (json!({ "exp": 10_000.9 }), exact, true),
        (json!({ "exp": 1e300, "iat": 1 }), exact, true),
        (json!({ "exp": -1e300, "iat": 1 }), usual, false),
        (json!({ "exp": i64::MIN, "nbf": i64::MAX }), usual, false),
        (json!({ "exp": "10001" }), usual, false),
        (json!({ "exp": true }), usual, false),
        (json!({ "exp": 0 }), usual, false),
        (json!({}), usual, false),
    ] {
        assert_eq!(check(&of, leeways, Times::One).is_ok(), good, "{of}: {:?}", check(&of, leeways, Times::One));
    }
    assert!(check(&json!({}), usual, Times::Optional).is_ok());
    assert!(check(&json!({ "iat": 10_000 }), usual, Times::End).is_err());
}

#[test]
fn who_it_is_for_and_from_is_looked_at() {
    let token = claims(&json!({ "iss": "i", "sub": "s", "aud": ["a", "b"], "exp": 10_100, "iat": 9_999 }));
    let check = |issuer: &str, subject: &str, audiences: &[&str]| {
        let audiences: Vec<String> = audiences.iter().map(|audience| (*audience).to_owned()).collect();
        let (leeways, times) = (Leeways::default(), Times::One);
        token.check(&Expected { issuer, subject, audiences: &audiences, leeways, times }, 10_000).is_ok()
    };
    assert!(check("", "", &[]) && check("i", "s", &["x", "b"]));
    assert!(!check("I", "", &[]) && !check("", "S", &[]) && !check("", "", &["A"]));
    for odd in [json!(5), json!({}), json!(["a", 5]), json!(true)] {
        assert!(claims(&json!({ "aud": odd })).audiences().is_err(), "{odd}");
    }
    assert_eq!(claims(&json!({ "aud": "a" })).audiences().unwrap(), ["a"]);
    assert!(claims(&json!({ "aud": null })).audiences().unwrap().is_empty());
}

#[test]
fn a_pointer_finds_what_is_inside() {
    let token = claims(&json!({ "a": { "b": ["x", { "c/d": "y", "e~f": null }] }, "/a": "z" }));
    let text = |name: &str| token.get(name).and_then(|value| value.as_str().map(str::to_owned));
    assert_eq!(text("/a/b/0").as_deref(), Some("x"));
    assert_eq!(text("/a/b/1/c~1d").as_deref(), Some("y"));
    for none in ["/a/b/2", "/a/b/-1", "/a/b/x", "/a/b/1/e~0f", "/", "b", "//"] {
        assert!(token.get(none).is_none(), "{none}");
    }
    assert!(token.plain("/a").is_some() && token.get("/a").is_some_and(|value| value.as_object().is_some()));
}

const LIMITS: Limits = Limits {
    time: Duration::from_millis(700),
    size: 20_000,
    pause: Duration::from_millis(400),
    fresh: Duration::from_mins(1),
    stale: Duration::from_mins(2),
};

fn remote(fake: &Fake, limits: Limits) -> Remote {
    let url = address(&format!("{}/keys", fake.url())).unwrap();
    Remote::new(Source::Set(url), Fetch::new("", limits).unwrap(), limits)
}

async fn ask(remote: &Remote, token: &str) -> Result<Claims, TokenError> {
    remote.verify(Jws::parse(token).unwrap(), None).await
}

fn named(id: &str) -> String {
    rsa().token_with("RS256", &json!({ "alg": "RS256", "kid": id }), &json!({ "sub": id }))
}

/// Serves a key set under an id that changes: `k0`, `k1`, …
fn rotating(number: &Arc<AtomicUsize>) -> Fake {
    let number = Arc::clone(number);
    Fake::answering(move |_| {
        let id = format!("k{}", number.load(Ordering::SeqCst));
        Answer(200, vec![], set(&[rsa().jwk(&id)]))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_once_and_again_when_a_new_one_is_named() {
    let number = Arc::new(AtomicUsize::new(0));
    let fake = rotating(&number);
    let remote = remote(&fake, LIMITS);
    for _ in 0..20 {
        assert!(ask(&remote, &named("k0")).await.is_ok());
    }
    assert_eq!(fake.seen().len(), 1);
    // A key that nobody has, many times: one more fetch in each pause.
    let started = Instant::now();
    for _ in 0..200 {
        assert!(ask(&remote, &named("nobody")).await.is_err());
    }
    let pauses = usize::try_from(started.elapsed().as_millis() / LIMITS.pause.as_millis()).unwrap();
    assert!(fake.seen().len() <= 2 + pauses, "{} in {pauses}", fake.seen().len());
    number.store(1, Ordering::SeqCst);
    tokio::time::sleep(LIMITS.pause).await;
    assert!(ask(&remote, &named("k1")).await.is_ok());
    // What is not in the set any more is not believed any more.
    assert!(ask(&remote, &named("k0")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_fetch_once() {
    let fake = rotating(&Arc::new(AtomicUsize::new(0)));
    let remote = Arc::new(remote(&fake, LIMITS));
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let remote = Arc::clone(&remote);
            tokio::spawn(async move { ask(&remote, &named("k0")).await.is_ok() })
        })
        .collect();
    for one in asked {
        assert!(one.await.unwrap());
    }
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bad_far_side_sends_is_bounded_and_not_believed() {
    let elsewhere = rotating(&Arc::new(AtomicUsize::new(0)));
    let there = elsewhere.url();
    let bad: Vec<(&str, Fake)> = vec![
        ("huge", Fake::answering(|_| Answer(200, vec![], format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(5_000_000))))),
        ("garbage", Fake::answering(|_| Answer(200, vec![], "<html>".to_owned()))),
        ("deep", Fake::answering(|_| Answer(200, vec![], "[".repeat(10_000)))),
        ("error", Fake::answering(|_| Answer(500, vec![], set(&[rsa().jwk("k0")])))),
        ("redirect", Fake::answering(move |_| Answer(302, vec![("Location", there.clone())], String::new()))),
        ("many", Fake::answering(|_| Answer(200, vec![], set(&vec![rsa().jwk("k0"); 65])))),
        ("silent", Fake::silent()),
    ];
    for (what, fake) in &bad {
        let remote = remote(fake, LIMITS);
        let started = Instant::now();
        assert!(ask(&remote, &named("k0")).await.is_err(), "{what}");
        assert!(remote.probe(None).await.is_err(), "{what}");
        assert!(started.elapsed() < 4 * LIMITS.time, "{what}: {:?}", started.elapsed());
    }
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_known_outlive_a_far_side_that_fails_and_not_for_ever() {
    let limits = Limits {
        fresh: Duration::from_millis(100),
        stale: Duration::from_millis(1500),
        pause: Duration::from_millis(50),
        ..LIMITS
    };
    let fails = Arc::new(AtomicUsize::new(0));
    let state = Arc::clone(&fails);
    let fake = Fake::answering(move |_| match state.load(Ordering::SeqCst) {
        0 => Answer(200, vec![], set(&[rsa().jwk("k0")])),
        _ => Answer(503, vec![], String::new()),
    });
    let remote = remote(&fake, limits);
    assert!(ask(&remote, &named("k0")).await.is_ok());
    fails.store(1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(ask(&remote, &named("k0")).await.is_ok());
    assert!(fake.seen().len() > 1);
    tokio::time::sleep(limits.stale).await;
    assert!(ask(&remote, &named("k0")).await.is_err());
    fails.store(0, Ordering::SeqCst);
    tokio::time::sleep(limits.pause).await;
    assert!(ask(&remote, &named("k0")).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_in_the_middle_does_not_have_the_next_one_ask_at_once() {
    let limits = Limits { time: Duration::from_secs(20), pause: Duration::from_secs(20), ..LIMITS };
    let fake = Fake::silent();
    let remote = remote(&fake, limits);
    assert!(tokio::time::timeout(Duration::from_millis(300), ask(&remote, &named("k"))).await.is_err());
    let started = Instant::now();
    assert!(ask(&remote, &named("k")).await.is_err());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discovered_issuer_is_the_one_that_was_asked() {
    let keys = rotating(&Arc::new(AtomicUsize::new(0)));
    let place = keys.url();
    for (issuer, set, good) in [
        ("own", place.clone(), true),
        ("own/", place.clone(), false),
        ("http://other", place.clone(), false),
        ("own", "file:///etc/passwd".to_owned(), false),
        ("own", String::new(), false),
        ("own", "http://user:pass@127.0.0.1/".to_owned(), false),
    ] {
        let told = Arc::new(std::sync::Mutex::new(String::new()));
        let text = Arc::clone(&told);
        let fake = Fake::answering(move |request| {
            assert_eq!(request.path, "/.well-known/openid-configuration");
            Answer(200, vec![], text.lock().unwrap().clone())
        });
        let named = issuer.replace("own", &fake.url());
        *told.lock().unwrap() = json!({ "issuer": named, "jwks_uri": set }).to_string();
        let remote = Remote::new(Source::Issuer(fake.url()), Fetch::new("", LIMITS).unwrap(), LIMITS);
        let result = remote.probe(None).await;
        assert_eq!(result.is_ok(), good, "{issuer} {set}: {result:?}");
    }
}
