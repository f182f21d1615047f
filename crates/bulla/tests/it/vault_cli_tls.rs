//! Under the names `vault` and `bao`: the way to the server. The real server has listeners with TLS and in the file system; the real `bao`, with the
//! same flags and variables, comes through where ours does.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use bulla_test_support::bao::Bao;
use bulla_test_support::{program, unused_address};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// An authority, its certificates in files, and a server that shows one of them and asks for one.
struct World {
    folder: TempDir,
    address: SocketAddr,
    _server: Bao,
}

fn write(path: &Path, text: &str) {
    std::fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

pub(crate) fn authority(folder: &Path, name: &str) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    write(&folder.join(format!("{name}.pem")), &params.self_signed(&key).unwrap().pem());
    Issuer::new(params, key)
}

pub(crate) fn certificate(
    folder: &Path,
    name: &str,
    issuer: &Issuer<'static, KeyPair>,
    usage: ExtendedKeyUsagePurpose,
) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    write(&folder.join(format!("{name}.crt")), &params.signed_by(&key, issuer).unwrap().pem());
    write(&folder.join(format!("{name}.key")), &key.serialize_pem());
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let (ours, other) = (authority(folder.path(), "authority"), authority(folder.path(), "other"));
        certificate(folder.path(), "server.test", &ours, ExtendedKeyUsagePurpose::ServerAuth);
        certificate(folder.path(), "client.test", &ours, ExtendedKeyUsagePurpose::ClientAuth);
        certificate(folder.path(), "stranger.test", &other, ExtendedKeyUsagePurpose::ClientAuth);
        std::fs::create_dir(at("authorities")).unwrap();
        std::fs::copy(at("authority.pem"), at("authorities/one.pem")).unwrap();
        std::fs::create_dir(at("others")).unwrap();
        std::fs::copy(at("other.pem"), at("others/one.pem")).unwrap();
        for name in ["vault", "bao"] {
            symlink(env!("CARGO_BIN_EXE_bulla"), at(name)).unwrap();
        }
        let address = unused_address();
        let listeners = format!(
            "listener \"tcp\" {{\n  address = \"{address}\"\n  tls_cert_file = \"{}\"\n  tls_key_file = \"{}\"\n  tls_client_ca_file = \"{}\"\n  tls_require_and_verify_client_cert = true\n}}\nlistener \"unix\" {{ address = \"{}\" }}\n",
            at("server.test.crt"),
            at("server.test.key"),
            at("authority.pem"),
            at("bao.sock"),
        );
        let server = Bao::with_config("", &listeners);
        Self { folder, address, _server: server }
    }

    /// The status that a command line ends with, and what it prints. `@NAME` is a file of this world, `ADDRESS` the listener with TLS.
    fn run(&self, program: &Path, env: &str, arguments: &str) -> (Option<i32>, String) {
        let place = |text: &str| {
            let text = text.replace("@@", &format!("unix://{}/", self.folder.path().display()));
            let text = text.replace('@', &format!("{}/", self.folder.path().display()));
            text.replace("ADDRESS", &format!("https://{}", self.address))
        };
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.folder.path()).stdin(Stdio::null());
        command.envs(env.split_whitespace().map(|pair| {
            let (name, value) = pair.split_once('=').unwrap();
            (name.to_owned(), place(value))
        }));
        let output = command.args(arguments.split_whitespace().map(place)).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Variables, flags, and whether the server answers.
const CASES: &[(&str, &str, bool)] = &[
    ("", "", false),
    ("", "-ca-cert=@authority.pem", false),
    ("", "-ca-cert=@authority.pem -tls-server-name=server.test", false),
    (
        "",
        "-ca-cert=@authority.pem -tls-server-name=server.test -client-cert=@client.test.crt -client-key=@client.test.key",
        true,
    ),
    (
        "",
        "-ca-cert @authority.pem -tls-server-name server.test -client-cert @client.test.crt -client-key @client.test.key",
        true,
    ),
    (
        "",
        "-ca-path=@authorities -tls-server-name=server.test -client-cert=@client.test.crt -client-key=@client.test.key",
        true,
    ),
    (
        "",
        "-ca-path=@others -tls-server-name=server.test -client-cert=@client.test.crt -client-key=@client.test.key",
        false,
    ),
    (
        "",
        "-ca-cert=@other.pem -tls-server-name=server.test -client-cert=@client.test.crt -client-key=@client.test.key",
        false,
    ),
    // The file goes before the folder.
    (
        "",
        "-ca-cert=@authority.pem -ca-path=@others -tls-server-name=server.test -client-cert=@client.test.crt -client-key=@client.test.key",
        true,
    ),
    (
        "",
        "-ca-cert=@authority.pem -tls-server-name=other.test -client-cert=@client.test.crt -client-key=@client.test.key",
        false,
    ),
    ("", "-ca-cert=@authority.pem -client-cert=@client.test.crt -client-key=@client.test.key", false),
    (
        "",
        "-ca-cert=@authority.pem -tls-server-name=server.test -client-cert=@stranger.test.crt -client-key=@stranger.test.key",
        false,
    ),
    (
        "",
        "-ca-cert=@authority.pem -tls-server-name=server.test -client-cert=@client.test.crt -client-key=@stranger.test.key",
        false,
    ),
    ("", "-ca-cert=@authority.pem -tls-server-name=server.test -client-cert=@client.test.crt", false),
    (
        "",
        "-ca-cert=@none.pem -tls-server-name=server.test -client-cert=@client.test.crt -client-key=@client.test.key",
        false,
    ),
    ("", "-tls-skip-verify", false),
    ("", "-tls-skip-verify -client-cert=@client.test.crt -client-key=@client.test.key", true),
    ("", "-tls-skip-verify=false -client-cert=@client.test.crt -client-key=@client.test.key", false),
    (
        "BAO_CACERT=@authority.pem BAO_TLS_SERVER_NAME=server.test BAO_CLIENT_CERT=@client.test.crt BAO_CLIENT_KEY=@client.test.key",
        "",
        true,
    ),
    (
        "VAULT_CACERT=@authority.pem VAULT_TLS_SERVER_NAME=server.test VAULT_CLIENT_CERT=@client.test.crt VAULT_CLIENT_KEY=@client.test.key",
        "",
        true,
    ),
    (
        "VAULT_CAPATH=@authorities BAO_TLS_SERVER_NAME=server.test VAULT_CLIENT_CERT=@client.test.crt BAO_CLIENT_KEY=@client.test.key",
        "",
        true,
    ),
    (
        "BAO_CACERT=@authority.pem VAULT_CACERT=@other.pem BAO_TLS_SERVER_NAME=server.test BAO_CLIENT_CERT=@client.test.crt BAO_CLIENT_KEY=@client.test.key",
        "",
        true,
    ),
    ("BAO_SKIP_VERIFY=true BAO_CLIENT_CERT=@client.test.crt BAO_CLIENT_KEY=@client.test.key", "", true),
    ("VAULT_SKIP_VERIFY=1 VAULT_CLIENT_CERT=@client.test.crt VAULT_CLIENT_KEY=@client.test.key", "", true),
    // A flag goes before a variable.
    (
        "BAO_CACERT=@other.pem BAO_TLS_SERVER_NAME=other.test BAO_CLIENT_CERT=@client.test.crt BAO_CLIENT_KEY=@client.test.key",
        "-ca-cert=@authority.pem -tls-server-name=server.test",
        true,
    ),
];

#[test]
fn the_flags_and_variables_of_tls_lead_where_they_lead_the_real_program() {
    let world = World::new();
    let mut wrong = Vec::new();
    for (env, flags, answers) in CASES {
        let address = format!("BAO_ADDR=ADDRESS {env}");
        // Not initialized, and sealed: 2. No answer: 1.
        let line = format!("status {flags}");
        let real = world.run(&program("venv/bin/bao"), &address, &line);
        assert_eq!(real.0, Some(if *answers { 2 } else { 1 }), "the real program: {env} {line}");
        for name in ["bao", "vault"] {
            let ours = world.run(&world.folder.path().join(name), &address, &line);
            if ours != real {
                wrong.push(format!("{env} {name} {line}\nreal: {real:?}\nours: {ours:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    // A folder beside a file is not looked at, as the help of both says; the real program does.
    let client = "-client-cert=@client.test.crt -client-key=@client.test.key";
    let line = format!("status -ca-cert=@other.pem -ca-path=@authorities -tls-server-name=server.test {client}");
    assert_eq!(world.run(&world.folder.path().join("bao"), "BAO_ADDR=ADDRESS", &line).0, Some(1));
    // Whoever says on the command line that certificates are to be verified is heard; the real program is not told by it.
    let env = "BAO_ADDR=ADDRESS BAO_SKIP_VERIFY=true BAO_CLIENT_CERT=@client.test.crt BAO_CLIENT_KEY=@client.test.key";
    assert_eq!(world.run(&world.folder.path().join("bao"), env, "status -tls-skip-verify=false").0, Some(1));
}

#[test]
fn a_socket_in_the_file_system_is_an_address() {
    let world = World::new();
    let mut wrong = Vec::new();
    for (env, line, status) in [
        ("VAULT_ADDR=@@bao.sock", "status", 2),
        ("BAO_ADDR=@@bao.sock", "status -format=json", 2),
        ("", "status -address=@@bao.sock", 2),
        ("BAO_ADDR=ADDRESS", "status -agent-address=@@bao.sock", 2),
        ("VAULT_AGENT_ADDR=@@bao.sock", "status", 2),
        ("VAULT_ADDR=@@bao.sock", "operator init -status", 2),
        ("VAULT_ADDR=@@none.sock", "status", 1),
        ("VAULT_ADDR=@@authority.pem", "status", 1),
    ] {
        let real = world.run(&program("venv/bin/bao"), env, line);
        assert_eq!(real.0, Some(status), "the real program: {env} {line}");
        let ours = world.run(&world.folder.path().join("vault"), env, line);
        if ours != real {
            wrong.push(format!("{env} {line}\nreal: {real:?}\nours: {ours:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_help_has_what_the_program_has_beside_its_client() {
    let world = World::new();
    for name in ["bao", "vault"] {
        let of = |line: &str| world.run(&world.folder.path().join(name), "", line).1;
        assert!(of("-h").lines().any(|line| line.trim_start().starts_with("server ")), "{}", of("-h"));
        assert!(of("operator -h").lines().any(|line| line.trim_start().starts_with("migrate ")));
    }
}
