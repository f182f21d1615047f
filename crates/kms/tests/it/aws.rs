//! AWS KMS, against moto over HTTP and the real sops.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulla_core::{KeyError, KeyErrorKind, KeyId, KeyService, SecretBytes, WrappedKey};
use bulla_kms::{Options, Registry};
use serde_json::{Value, json};
use tempfile::TempDir;

use bulla_test_support::fake::{Answer, Fake};
use bulla_test_support::moto::{ACCOUNT, Moto, REGION, env};
use bulla_test_support::{SOPS, Server, http, program, sops, unused_address};

#[tokio::test]
async fn a_data_key_and_a_share_of_one_come_back() {
    let moto = Moto::shared();
    let service = open(&moto.env(), &key(&moto.create_key()));
    for length in [32, 33] {
        let plaintext = SecretBytes::random(length).unwrap();
        let wrapped = service.wrap(&plaintext).await.unwrap();
        assert!(service.unwrap(&wrapped).await.unwrap() == plaintext);
    }
}

#[tokio::test]
async fn another_encryption_context_does_not_unwrap() {
    let moto = Moto::shared();
    let arn = moto.create_key();
    let with = |pairs: &str| KeyId::parse_aws_kms(&arn, context(pairs), None).unwrap();
    let plaintext = SecretBytes::random(32).unwrap();
    let wrapped = open(&moto.env(), &with("app:web,env:prod")).wrap(&plaintext).await.unwrap();
    assert!(open(&moto.env(), &with("env:prod,app:web")).unwrap(&wrapped).await.unwrap() == plaintext);
    for other in ["", "app:web", "app:web,env:dev"] {
        let error = failure(open(&moto.env(), &with(other)).unwrap(&wrapped).await);
        assert_eq!(error.kind(), KeyErrorKind::BadCiphertext, "{other}: {error}");
        assert!(error.hint().unwrap().contains("encryption context"));
    }
}

#[tokio::test]
async fn an_alias_stands_for_its_key() {
    let moto = Moto::shared();
    let arn = moto.create_key();
    let alias = format!("alias/bulla-{}", arn.rsplit('/').next().unwrap());
    moto.kms("CreateAlias", &json!({ "AliasName": alias, "TargetKeyId": arn }));
    let alias = key(&format!("arn:aws:kms:{REGION}:{ACCOUNT}:{alias}"));
    let plaintext = SecretBytes::random(32).unwrap();
    let wrapped = open(&moto.env(), &alias).wrap(&plaintext).await.unwrap();
    assert!(open(&moto.env(), &alias).unwrap(&wrapped).await.unwrap() == plaintext);
    assert!(open(&moto.env(), &key(&arn)).unwrap(&wrapped).await.unwrap() == plaintext);
}

#[tokio::test]
async fn what_another_key_wrapped_is_refused() {
    let moto = Moto::shared();
    let (one, other) = (key(&moto.create_key()), key(&moto.create_key()));
    let wrapped = open(&moto.env(), &one).wrap(&SecretBytes::random(32).unwrap()).await.unwrap();
    assert!(open(&moto.env(), &other).unwrap(&wrapped).await.is_err());
}

#[tokio::test]
async fn a_damaged_wrapped_key_is_named_as_such() {
    let moto = Moto::shared();
    let service = open(&moto.env(), &key(&moto.create_key()));
    let error = failure(service.unwrap(&WrappedKey::new("not base64!")).await);
    assert_eq!(error.kind(), KeyErrorKind::BadCiphertext);
    let wrapped = service.wrap(&SecretBytes::random(32).unwrap()).await.unwrap();
    let mut text = wrapped.as_str().to_owned();
    text.replace_range(70..71, if &text[70..71] == "A" { "B" } else { "A" });
    assert!(service.unwrap(&WrappedKey::new(text)).await.is_err());
}

#[tokio::test]
async fn a_key_of_another_region_is_not_found() {
    let moto = Moto::shared();
    let arn = moto.create_key().replace(REGION, "us-east-2");
    let error = failure(open(&moto.env(), &key(&arn)).wrap(&SecretBytes::random(32).unwrap()).await);
    assert_eq!(error.kind(), KeyErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains(&arn) && error.hint().unwrap().contains("region"));
}

#[tokio::test]
async fn a_role_is_assumed_and_a_caller_without_one_is_denied() {
    // A server of its own: from here on it asks of each request what its credentials allow.
    let moto = Moto::start();
    let arn = moto.create_key();
    moto.iam("CreateUser", &[("UserName", "ci")]);
    let user = moto.iam("CreateAccessKey", &[("UserName", "ci")]);
    let allow = |action: &str| {
        json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": action, "Resource": "*" }] })
            .to_string()
    };
    let policy = allow("sts:AssumeRole");
    moto.iam("PutUserPolicy", &[("UserName", "ci"), ("PolicyName", "p"), ("PolicyDocument", &policy)]);
    moto.iam("CreateRole", &[("RoleName", "keys"), ("AssumeRolePolicyDocument", &policy)]);
    moto.iam("PutRolePolicy", &[("RoleName", "keys"), ("PolicyName", "p"), ("PolicyDocument", &allow("kms:*"))]);
    assert_eq!(http(moto.address(), "POST", "/moto-api/reset-auth", &[], "0").0, 200);

    let mut env = moto.env();
    env.insert("AWS_ACCESS_KEY_ID".into(), element(&user, "AccessKeyId"));
    env.insert("AWS_SECRET_ACCESS_KEY".into(), element(&user, "SecretAccessKey"));
    env.remove("AWS_SESSION_TOKEN");
    let plaintext = SecretBytes::random(32).unwrap();

    let error = failure(open(&env, &key(&arn)).wrap(&plaintext).await);
    assert_eq!(error.kind(), KeyErrorKind::Denied, "{error}");
    assert!(error.hint().unwrap().contains("kms:Encrypt"), "{error:?}");

    let with_role = key(&format!("{arn}+arn:aws:iam::{ACCOUNT}:role/keys"));
    let service = open(&env, &with_role);
    let wrapped = service.wrap(&plaintext).await.unwrap();
    assert!(service.unwrap(&wrapped).await.unwrap() == plaintext);

    env.insert("AWS_SECRET_ACCESS_KEY".into(), "wrong".into());
    let error = failure(open(&env, &with_role).wrap(&plaintext).await);
    assert_eq!(error.kind(), KeyErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("role/keys") && !error.to_string().contains("wrong"), "{error}");
}

#[tokio::test]
async fn the_session_of_a_role_has_the_name_that_sops_gives_it() {
    let moto = Moto::start();
    assert_eq!(http(moto.address(), "POST", "/moto-api/recorder/start-recording", &[], "").0, 200);
    let id = key(&format!("{}+arn:aws:iam::{ACCOUNT}:role/keys", moto.create_key()));
    let service = open(&moto.env(), &id);
    for _ in 0..3 {
        service.wrap(&SecretBytes::random(32).unwrap()).await.unwrap();
    }
    let (_, log) = http(moto.address(), "GET", "/moto-api/recorder/download-recording", &[], "");
    let assumed: Vec<String> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["body"].as_str().unwrap_or_default().to_owned())
        .filter_map(|body| String::from_utf8(STANDARD.decode(body).unwrap()).ok())
        .filter(|body| body.contains("Action=AssumeRole"))
        .collect();
    assert_eq!(assumed.len(), 1, "one look-up serves all: {log}");
    assert!(assumed[0].contains("RoleSessionName=sops%40"), "{assumed:?}");
}

#[tokio::test]
async fn a_profile_brings_credentials_and_endpoint_from_files() {
    let moto = Moto::shared();
    let home = TempDir::new().unwrap();
    write(
        &home.path().join(".aws/config"),
        &format!("[profile prod]\nservices = local\n[services local]\nkms =\n  endpoint_url = {}\n", moto.url()),
    );
    write(
        &home.path().join(".aws/credentials"),
        "[prod]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = secret\n",
    );
    // Credentials in variables do not count beside a profile that the file names.
    let env = BTreeMap::from([
        ("HOME".to_owned(), home.path().to_str().unwrap().to_owned()),
        ("AWS_ACCESS_KEY_ID".to_owned(), "only half of a pair".to_owned()),
        ("AWS_EC2_METADATA_DISABLED".to_owned(), "true".to_owned()),
    ]);
    let arn = moto.create_key();
    let id = |profile| KeyId::parse_aws_kms(&arn, BTreeMap::new(), Some(String::from(profile))).unwrap();
    let plaintext = SecretBytes::random(32).unwrap();
    let wrapped = open(&env, &id("prod")).wrap(&plaintext).await.unwrap();
    assert!(open(&env, &id("prod")).unwrap(&wrapped).await.unwrap() == plaintext);

    let error = failure(open(&env, &id("absent")).wrap(&plaintext).await);
    assert_eq!(error.kind(), KeyErrorKind::BadConfig);
    assert!(error.to_string().contains("`absent`"), "{error}");
}

#[tokio::test]
async fn each_service_may_have_an_endpoint_of_its_own() {
    let moto = Moto::shared();
    let mut env = env(&format!("http://{}", unused_address()));
    let id = key(&format!("{}+arn:aws:iam::{ACCOUNT}:role/keys", moto.create_key()));
    env.insert("AWS_ENDPOINT_URL_KMS".into(), moto.url());
    let error = failure(open(&env, &id).wrap(&SecretBytes::random(32).unwrap()).await);
    assert_eq!(error.kind(), KeyErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("STS") && error.to_string().contains("role/keys"), "{error}");
    env.insert("AWS_ENDPOINT_URL_STS".into(), moto.url());
    open(&env, &id).wrap(&SecretBytes::random(32).unwrap()).await.unwrap();
}

#[tokio::test]
async fn one_look_up_of_credentials_serves_many_files() {
    let moto = Moto::shared();
    let home = TempDir::new().unwrap();
    let script = home.path().join("credentials.sh");
    let answer = json!({ "Version": 1, "AccessKeyId": "AKIAPROCESS", "SecretAccessKey": "s" });
    write(&script, &format!("#!/bin/sh\necho called >> {}/calls\necho '{answer}'\n", home.path().display()));
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    write(&home.path().join(".aws/config"), &format!("[default]\ncredential_process = {}\n", script.display()));
    let env = BTreeMap::from([
        ("HOME".to_owned(), home.path().to_str().unwrap().to_owned()),
        ("AWS_ENDPOINT_URL".to_owned(), moto.url()),
    ]);
    let registry = Registry::new(Arc::new(env), Options::default());
    let id = key(&moto.create_key());
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let service = registry.open(&id).unwrap();
            tokio::spawn(async move { service.wrap(&SecretBytes::random(32).unwrap()).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(std::fs::read_to_string(home.path().join("calls")).unwrap(), "called\n");
}

#[tokio::test]
async fn a_web_identity_of_a_pod_is_enough() {
    let moto = Moto::shared();
    let folder = TempDir::new().unwrap();
    let token = folder.path().join("token");
    write(&token, "eyJhbGciOiJub25lIn0.e30.");
    let mut env = moto.env();
    env.retain(|name, _| !name.contains("ACCESS_KEY") && name != "AWS_SESSION_TOKEN");
    env.insert("AWS_WEB_IDENTITY_TOKEN_FILE".into(), token.to_str().unwrap().into());
    env.insert("AWS_ROLE_ARN".into(), format!("arn:aws:iam::{ACCOUNT}:role/pod"));
    let service = open(&env, &key(&moto.create_key()));
    let plaintext = SecretBytes::random(32).unwrap();
    let wrapped = service.wrap(&plaintext).await.unwrap();
    assert!(service.unwrap(&wrapped).await.unwrap() == plaintext);
}

#[tokio::test]
async fn credentials_of_containers_and_instances_are_found() {
    let moto = Moto::shared();
    let credentials = json!({
        "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "AKIAMETADATA", "SecretAccessKey": "s", "Token": "t",
        "LastUpdated": "2024-01-01T00:00:00Z", "Expiration": "2999-01-01T00:00:00Z", "AccountId": ACCOUNT,
    });
    let metadata = Fake::answering(move |request| match (request.method.as_str(), request.path.as_str()) {
        ("PUT", "/latest/api/token") => {
            Answer(200, vec![("x-aws-ec2-metadata-token-ttl-seconds", "60".into())], "TOKEN".into())
        }
        ("GET", "/container") => {
            Answer(200, vec![("Content-Type", "application/json".into())], credentials.to_string())
        }
        ("GET", _) if !request.head.contains("TOKEN") => Answer(401, vec![], String::new()),
        ("GET", path) if path.ends_with("/security-credentials/") => Answer(200, vec![], "role".into()),
        ("GET", path) if path.ends_with("/security-credentials/role") => Answer(200, vec![], credentials.to_string()),
        _ => Answer(404, vec![], String::new()),
    });
    let id = key(&moto.create_key());
    for (name, value) in [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/container", metadata.url())),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url()),
    ] {
        let env = BTreeMap::from([("AWS_ENDPOINT_URL".to_owned(), moto.url()), (name.to_owned(), value)]);
        let wrapped = open(&env, &id).wrap(&SecretBytes::random(32).unwrap()).await;
        assert!(wrapped.is_ok(), "{name}: {wrapped:?}; {:?}", metadata.seen());
    }
}

#[tokio::test]
async fn without_credentials_the_error_says_where_it_looked_and_comes_soon() {
    // A metadata service that takes connections and never answers is the slowest kind.
    let metadata = Fake::silent();
    let env = BTreeMap::from([
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), metadata.url()),
        ("HOME".to_owned(), "/nonexistent".to_owned()),
    ]);
    let id = key(&format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/k"));
    let started = Instant::now();
    let error = failure(open(&env, &id).unwrap(&WrappedKey::new("AAAA")).await);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(error.kind(), KeyErrorKind::NotFound, "{error}");
    let text = error.to_string();
    for place in ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "container", "instance metadata"] {
        assert!(text.contains(place), "{place}: {text}");
    }
    assert!(error.hint().unwrap().contains("aws sso login"));
}

/// Answers that moto cannot be made to give, as AWS documents them.
#[tokio::test]
async fn what_aws_refuses_is_said_with_what_to_do() {
    use KeyErrorKind::{BadCiphertext, BadConfig, Denied, Other};
    for (status, code, kind, hint) in [
        (400, "ExpiredTokenException", Denied, "expired"),
        (400, "UnrecognizedClientException", Denied, "does not accept the credentials"),
        (400, "DisabledException", Denied, "enable-key"),
        (400, "KMSInvalidStateException", Denied, "cancel-key-deletion"),
        (400, "IncorrectKeyException", BadCiphertext, "another KMS key"),
        (400, "InvalidKeyUsageException", BadConfig, "symmetric"),
        (400, "KeyUnavailableException", Other, "try again"),
        (403, "SomethingNew", Denied, "kms:Encrypt"),
    ] {
        let server = Fake::answering(move |_| {
            let body = json!({ "__type": code, "message": "the reason\u{1b}[2J" });
            Answer(status, vec![("Content-Type", "application/x-amz-json-1.1".into())], body.to_string())
        });
        let id = key(&format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/k"));
        let error = failure(open(&env(&server.url()), &id).unwrap(&WrappedKey::new("AAAA")).await);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().ends_with(&format!("{code}: the reason [2J")), "{error}");
        assert!(error.hint().unwrap().contains(hint), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_said_to_be_unreachable() {
    let id = key(&format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/k"));
    let error =
        failure(open(&env(&format!("http://{}", unused_address())), &id).unwrap(&WrappedKey::new("AAAA")).await);
    assert_eq!(error.kind(), KeyErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("refused") && error.hint().unwrap().contains("AWS_ENDPOINT_URL"), "{error:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_and_the_key_named() {
    let server = Fake::silent();
    let id = key(&format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/slow"));
    let options = Options { timeout: Duration::from_millis(600), ..Options::default() };
    let service = Registry::new(Arc::new(env(&server.url())), options).open(&id).unwrap();
    let started = Instant::now();
    let error = failure(service.unwrap(&WrappedKey::new("AAAA")).await);
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(error.kind(), KeyErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("key/slow") && error.to_string().contains(REGION), "{error}");
}

#[tokio::test]
async fn a_proxy_is_asked_for_a_tunnel_but_for_this_machine() {
    let proxy = Fake::answering(|_| Answer(403, vec![], String::new()));
    let id = key(&format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/k"));
    let mut env = env("https://kms.invalid");
    env.insert("HTTPS_PROXY".into(), proxy.url());
    let error = failure(open(&env, &id).unwrap(&WrappedKey::new("AAAA")).await);
    assert_eq!(error.kind(), KeyErrorKind::Unreachable, "{error}");
    let asked = proxy.seen();
    assert!(asked.iter().all(|request| request.method == "CONNECT" && request.path == "kms.invalid:443"), "{asked:?}");
    assert!(!asked.is_empty());

    env.insert("NO_PROXY".into(), "kms.invalid".into());
    assert!(open(&env, &id).unwrap(&WrappedKey::new("AAAA")).await.is_err());
    env.remove("NO_PROXY");
    env.insert("AWS_ENDPOINT_URL".into(), format!("https://{}", unused_address()));
    assert!(open(&env, &id).unwrap(&WrappedKey::new("AAAA")).await.is_err());
    assert_eq!(proxy.seen().len(), asked.len());
}

#[tokio::test]
async fn a_certificate_authority_of_ones_own_is_trusted_through_aws_ca_bundle() {
    // OpenBao's development mode makes a certificate authority and a certificate for 127.0.0.1.
    let made = Server::start(
        |address, folder| {
            let mut command = Command::new(program("venv/bin/bao"));
            command.args(["server", "-dev", "-dev-no-store-token", "-dev-tls"]);
            command.arg(format!("-dev-tls-cert-dir={}", folder.display()));
            command.arg(format!("-dev-listen-address={address}"));
            command.env("HOME", folder);
            command
        },
        |address| std::net::TcpStream::connect(address).is_ok(),
    );
    let file = |name: &str| made.folder.path().join(name);
    let moto = Server::start(
        |address, _| {
            let mut command = Moto::command(address);
            command.arg("-c").arg(file("vault-cert.pem")).arg("-k").arg(file("vault-key.pem"));
            command
        },
        |address| std::net::TcpStream::connect(address).is_ok(),
    );
    let mut env = env(&format!("https://127.0.0.1:{}", moto.address.port()));
    let id = key(&format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/k"));
    let error = failure(open(&env, &id).unwrap(&WrappedKey::new("AAAA")).await);
    assert_eq!(error.kind(), KeyErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    env.insert("AWS_CA_BUNDLE".into(), file("vault-ca.pem").to_str().unwrap().into());
    let error = failure(open(&env, &id).unwrap(&WrappedKey::new("AAAA")).await);
    assert_ne!(error.kind(), KeyErrorKind::Unreachable, "the server itself answers now: {error}");
}

#[tokio::test]
async fn sops_and_we_open_each_others_data_keys() {
    let moto = Moto::shared();
    let env: Vec<(String, String)> = moto.env().into_iter().collect();
    for version in SOPS {
        let folder = TempDir::new().unwrap();
        write(&folder.path().join("plain.yaml"), "password: hunter2\n");
        let arn = moto.create_key();
        let entry = format!("{arn}+arn:aws:iam::{ACCOUNT}:role/interop");
        let flags = ["--encrypt", "--kms", &entry, "--encryption-context", "app:web,env:prod", "plain.yaml"];
        let file = sops(version, folder.path(), &env, &flags).unwrap();

        let enc = yaml_field(&file, "enc:");
        let id = KeyId::parse_aws_kms(&entry, context("app:web,env:prod"), None).unwrap();
        let service = open(&moto.env(), &id);
        let data_key = service.unwrap(&WrappedKey::new(&*enc)).await.unwrap();
        assert_eq!(data_key.len(), 32, "sops {version}");

        let rewrapped = service.wrap(&data_key).await.unwrap();
        assert_ne!(rewrapped.as_str(), enc);
        write(&folder.path().join("ours.yaml"), &file.replace(&enc, rewrapped.as_str()));
        let opened = sops(version, folder.path(), &env, &["--decrypt", "ours.yaml"]).unwrap();
        assert_eq!(opened, "password: hunter2\n", "sops {version}");
    }
}

fn key(entry: &str) -> KeyId {
    KeyId::parse_aws_kms(entry, BTreeMap::new(), None).unwrap()
}

/// `name:value` pairs with commas between them.
fn context(pairs: &str) -> BTreeMap<String, String> {
    let pairs = pairs.split(',').filter_map(|pair| pair.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn open(env: &BTreeMap<String, String>, id: &KeyId) -> Arc<dyn KeyService> {
    Registry::new(Arc::new(env.clone()), Options::default()).open(id).unwrap()
}

fn failure<T>(result: Result<T, KeyError>) -> KeyError {
    result.err().expect("this must fail")
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// The text of an XML element that occurs once.
fn element(xml: &str, name: &str) -> String {
    let after = xml.split_once(&format!("<{name}>")).unwrap().1;
    after.split_once('<').unwrap().0.to_owned()
}

/// The value of a field of sops' metadata that stands on one line.
fn yaml_field(file: &str, name: &str) -> String {
    file.lines().find_map(|line| line.trim_start_matches([' ', '-']).strip_prefix(name)).unwrap().trim().to_owned()
}
