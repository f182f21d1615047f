//! Every kind of key that can be had on one machine.

use std::process::Command;

use bulla_test_support::{Server, http, program};

use crate::exchange::{exchange, exchange_with};
use crate::world::{World, ok, run};

const PLAIN: &[u8] = b"user: web\npassword: s3cr3t\n";

#[test]
fn age_ssh_ed25519_and_rsa() {
    for (kind, bits) in [("ed25519", "256"), ("rsa", "2048")] {
        let mut world = World::new();
        let key = world.path("ssh_key");
        run(Command::new("ssh-keygen").args(["-q", "-t", kind, "-b", bits, "-N", "", "-C", "", "-f"]).arg(&key));
        world.set("SOPS_AGE_SSH_PRIVATE_KEY_FILE", key.to_str().unwrap());
        let recipient = String::from_utf8(world.read("ssh_key.pub")).unwrap();
        exchange(&world, "key.yaml", PLAIN, &["--age", recipient.trim()]);
    }
}

#[test]
fn age_after_quantum_computers() {
    let mut world = World::new();
    let key = world.path("pq.txt");
    run(Command::new(program("bin/age-keygen")).arg("-pq").arg("-o").arg(&key));
    let recipient = run(Command::new(program("bin/age-keygen")).arg("-y").arg(&key));
    // Both keys: the exchange's own judge uses the classic one.
    let both = [world.read("age.txt"), world.read("pq.txt")].concat();
    world.write("both.txt", both);
    let both = world.path("both.txt");
    world.set("SOPS_AGE_KEY_FILE", both.to_str().unwrap());
    // 3.12 was the first release that knows these keys.
    exchange_with(&world, "3.13.3", "key.yaml", PLAIN, &["--age", recipient.trim()]);
}

#[test]
fn openpgp() {
    let mut world = World::new();
    let home = world.path("gnupg");
    std::fs::create_dir(&home).unwrap();
    std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let gpg = |arguments: &[&str]| {
        run(Command::new("gpg").arg("--homedir").arg(&home).args(["--batch", "--quiet"]).args(arguments))
    };
    gpg(&["--passphrase", "", "--quick-generate-key", "test@example.org", "default", "default", "never"]);
    let listing = gpg(&["--with-colons", "--list-keys"]);
    let fingerprint = listing.lines().find_map(|line| line.strip_prefix("fpr:")).unwrap().trim_matches(':').to_owned();
    world.set("GNUPGHOME", home.to_str().unwrap());
    exchange(&world, "key.yaml", PLAIN, &["--pgp", &fingerprint]);
    let _ = Command::new("gpgconf").arg("--homedir").arg(&home).args(["--kill", "all"]).status();
}

#[test]
fn aws_kms() {
    let moto = Server::start(
        |address, _| {
            let mut command = Command::new(program("venv/bin/moto_server"));
            command.args(["-H", &address.ip().to_string(), "-p", &address.port().to_string()]);
            command
        },
        |address| http(address, "GET", "/moto-api/", &[], "").0 == 200,
    );
    let headers = [
        ("X-Amz-Target", "TrentService.CreateKey"),
        ("Content-Type", "application/x-amz-json-1.1"),
        (
            "Authorization",
            "AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/kms/aws4_request, SignedHeaders=host, Signature=0",
        ),
    ];
    let (status, body) = http(moto.address, "POST", "/", &headers, "{}");
    assert_eq!(status, 200, "{body}");
    let arn = body.split("\"Arn\": \"").nth(1).or_else(|| body.split("\"Arn\":\"").nth(1)).unwrap();
    let arn = arn.split('"').next().unwrap();
    let mut world = World::new();
    for (name, value) in [
        ("AWS_ENDPOINT_URL", moto.url()),
        ("AWS_ACCESS_KEY_ID", "test".into()),
        ("AWS_SECRET_ACCESS_KEY", "test".into()),
    ] {
        world.set(name, &value);
    }
    exchange(&world, "key.yaml", PLAIN, &["--kms", arn]);
    exchange(&world, "context.yaml", PLAIN, &["--kms", arn, "--encryption-context", "app:web,env:prod"]);
}

#[test]
fn vault_transit() {
    const TOKEN: &str = "root-token";
    let vault = Server::start(
        |address, _| {
            let mut command = Command::new(program("venv/bin/bao"));
            command.args(["server", "-dev", "-dev-no-store-token"]);
            command.args([format!("-dev-root-token-id={TOKEN}"), format!("-dev-listen-address={address}")]);
            command
        },
        |address| http(address, "GET", "/v1/sys/health", &[], "").0 == 200,
    );
    let call = |path: &str, body: &str| http(vault.address, "POST", path, &[("X-Vault-Token", TOKEN)], body).0;
    assert_eq!(call("/v1/sys/mounts/transit", r#"{"type":"transit"}"#), 204);
    assert!([200, 204].contains(&call("/v1/transit/keys/app", "{}")));
    let mut world = World::new();
    world.set("VAULT_TOKEN", TOKEN);
    exchange(&world, "key.yaml", PLAIN, &["--hc-vault-transit", &format!("{}/v1/transit/keys/app", vault.url())]);
}

#[test]
fn several_keys_each_of_which_opens_the_file() {
    let world = World::new();
    let other = World::new();
    let both = format!("{},{}", world.recipient, other.recipient);
    exchange(&world, "key.yaml", PLAIN, &["--age", &both]);
    let encrypted = ok(world.as_sops(&["encrypt", "--age", &both, "key.yaml"]));
    other.write("key.yaml", encrypted);
    assert_eq!(ok(other.as_sops(&["decrypt", "key.yaml"])), PLAIN);
    assert_eq!(ok(other.sops("3.11.0", &["decrypt", "key.yaml"])), PLAIN);
}
