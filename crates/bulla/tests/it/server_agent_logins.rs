//! `bulla agent` logs in with a signed token from a file, or a certificate, as OpenBao's agent does it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use bulla_test_support::bao::{Bao, ROOT};
use bulla_test_support::program;
use bulla_test_support::service_accounts::service_account_token;
use rcgen::ExtendedKeyUsagePurpose::ClientAuth;
use serde_json::{Value, json};
use tempfile::TempDir;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::server_agent::{BOTH, Place, Program, World, with_both_servers};
use crate::server_clients::write;
use crate::server_process::ask;
use crate::vault_cli_tls::{authority, certificate};

/// A key that signs tokens, with the real openssl.
struct Signer(TempDir);

impl Signer {
    fn new() -> Self {
        let signer = Self(tempfile::tempdir().unwrap());
        signer.run(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key.pem"]);
        signer
    }

    fn run(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("openssl").args(arguments).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    fn public(&self) -> String {
        String::from_utf8(self.run(&["pkey", "-in", "key.pem", "-pubout"])).unwrap()
    }

    /// A token of a service account, with a signature.
    fn token(&self, name: &str) -> String {
        let unsigned = service_account_token("shop", name, "vault");
        let signed = unsigned.rsplit_once('.').unwrap().0;
        write(&self.0.path().join(name), signed);
        let signature = self.run(&["dgst", "-sha256", "-sign", "key.pem", name]);
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[test]
fn a_signed_token_from_a_file_logs_in_and_is_removed_unless_that_is_not_wanted() {
    let signer = Signer::new();
    let (good, other) = (signer.token("app"), signer.token("other"));
    with_both_servers(|name, server| {
        let world = World::new(server.address, "1h", "2h");
        world.root("POST", "sys/auth/jwt", &json!({ "type": "jwt" }));
        let config =
            json!({ "jwt_validation_pubkeys": [signer.public()], "bound_issuer": "https://kubernetes.default.svc" });
        world.root("POST", "auth/jwt/config", &config);
        let role = json!({ "role_type": "jwt", "bound_audiences": ["vault"], "user_claim": "sub",
            "bound_subject": "system:serviceaccount:shop:app", "token_policies": "app" });
        world.root("POST", "auth/jwt/role/app", &role);
        // The path, settings, and what is there afterwards of the file and of the link to it.
        for (path, settings, left) in [
            ("jwt", "", (false, true)),
            ("jwt", ", remove_jwt_after_reading = true", (false, true)),
            ("jwt", ", remove_jwt_after_reading = false", (true, true)),
            ("link", "", (true, false)),
            ("link", ", remove_jwt_follows_symlinks = true", (false, true)),
            ("link", ", remove_jwt_after_reading = \"false\", remove_jwt_follows_symlinks = true", (true, true)),
        ] {
            for which in BOTH {
                let place = world.place();
                write(&place.path("jwt"), &format!("{good}\n"));
                symlink("jwt", place.path("link")).unwrap();
                let config = format!(
                    "exit_after_auth = true\nauto_auth {{ method \"jwt\" {{ config = {{ role = \"app\", path = \"{path}\"{settings} }} }}\n\
                     sink \"file\" {{ config = {{ path = \"token\" }} }} }}\n"
                );
                let mut agent = place.start(which, &world.url(), &config, &[]);
                assert!(agent.ended(&place).success(), "{name}, {which:?}, {path}{settings}\n{}", place.read("log"));
                let (status, _) = ask(world.address, &place.read("token"), "GET", "old/app", &Value::Null);
                assert_eq!(status, 200, "{name}, {which:?}");
                let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
                let found = (is_there(&place.path("jwt")), is_there(&place.path("link")));
                assert_eq!(found, left, "{name}, {which:?}, {path}{settings}");
                assert!(!place.read("log").contains(&good));
            }
        }
        // Of somebody else; of nobody; and none at all.
        for text in [other.as_str(), &good[..good.len() - 8], ""] {
            for which in BOTH {
                let place = world.place();
                write(&place.path("jwt"), text);
                let config = "auto_auth { method \"jwt\" {\n exit_on_err = true\n config = { role = \"app\", path = \"jwt\" }\n}\n\
                     sink \"file\" { config = { path = \"token\" } } }\n";
                let mut agent = place.start(which, &world.url(), config, &[]);
                assert_eq!(agent.ended(&place).code(), Some(1), "{name}, {which:?}\n{}", place.read("log"));
                assert!(!place.path("token").exists());
            }
        }
    });
}

#[test]
fn the_certificate_of_a_client_logs_in_and_is_read_again_when_it_is_another() {
    let bao = Bao::with_tls();
    let folder = tempfile::tempdir().unwrap();
    let (ours, others) = (authority(folder.path(), "authority"), authority(folder.path(), "other"));
    certificate(folder.path(), "client.test", &ours, ClientAuth);
    certificate(folder.path(), "stranger.test", &others, ClientAuth);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let server_authority = bao.0.folder.path().join("vault-ca.pem");
    let run = |token: &str, words: &[&str]| {
        let mut command = Command::new(program("venv/bin/bao"));
        command.args(words).env("BAO_ADDR", format!("https://{}", bao.0.address)).env("BAO_TOKEN", token);
        let output = command.env("BAO_CACERT", &server_authority).env("HOME", folder.path()).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(ROOT, &["auth", "enable", "cert"]);
    let role = format!("certificate=@{}", at("authority.pem"));
    run(ROOT, &["write", "auth/cert/certs/web", &role, "display_name=web"]);
    let config = |of_all: &str, of_method: &str| {
        format!(
            "vault {{\n address = \"https://{}\"\n ca_cert = \"{}\"\n{of_all}\n}}\n\
             auto_auth {{\n method \"cert\" {{\n max_backoff = \"2s\"\n config = {{\n{of_method}\n}}\n }}\n sink \"file\" {{ config = {{ path = \"token\" }} }}\n}}\n",
            bao.0.address,
            server_authority.display()
        )
    };
    let files = format!("client_cert = \"{}\"\nclient_key = \"{}\"", at("client.test.crt"), at("client.test.key"));
    for which in BOTH {
        for (of_all, of_method) in [
            (files.as_str(), "name = \"web\""),
            (&files, ""),
            ("", &format!("name = \"web\"\nca_cert = \"{}\"\n{files}", server_authority.display())),
        ] {
            let place = Place::new();
            let config = format!("exit_after_auth = true\n{}", config(of_all, of_method));
            let mut agent = place.start_as(which, &config, &[]);
            assert!(agent.ended(&place).success(), "{which:?}, {of_all}, {of_method}\n{}", place.read("log"));
            let found = run(&place.read("token"), &["token", "lookup", "-field=path"]);
            assert_eq!(found, "auth/cert/login", "{which:?}");
        }
    }
    // One that nobody knows is followed by one that is known.
    for at_method in [false, true] {
        let place = Place::new();
        let copy = |from: &str| {
            for end in ["key", "crt"] {
                fs::copy(at(&format!("{from}.{end}")), place.path(&format!("new.{end}"))).unwrap();
                fs::rename(place.path(&format!("new.{end}")), place.path(&format!("mine.{end}"))).unwrap();
            }
        };
        copy("stranger.test");
        let mine = "client_cert = \"mine.crt\"\nclient_key = \"mine.key\"";
        let config = if at_method { config("", mine) } else { config(mine, "") };
        let _agent = place.start_as(Program::Bulla, &config, &[]);
        place.eventually("it is refused", || place.read("log").contains("cannot log in"));
        copy("client.test");
        place.eventually("it logs in", || place.path("token").exists());
    }
}
