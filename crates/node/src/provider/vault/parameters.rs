//! The parameters of a class: those of the Vault provider for the Secrets Store CSI driver, as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_core::{SecretBytes, Shown};
use bulla_store::vault::{Authorities, Connection, Method, Query};
use serde::Deserialize;

/// The parameters that there are.
const KNOWN: [&str; 16] = [
    "roleName",
    "vaultRoleName",
    "objects",
    "vaultAddress",
    "vaultNamespace",
    "vaultAuthMountPath",
    "vaultAuthMount",
    "vaultKubernetesMountPath",
    "audience",
    "vaultCACertPEM",
    "vaultCACertPath",
    "vaultCADirectory",
    "vaultTLSClientCertPath",
    "vaultTLSClientKeyPath",
    "vaultTLSServerName",
    "vaultSkipTLSVerify",
];
/// The longest text of all parameters together, in bytes.
const LONGEST: usize = 256 << 10;
/// The most objects.
const MOST_OBJECTS: usize = 200;
/// The audience of the pod's token where the class says none.
const AUDIENCE: &str = "vault";
/// What begins the audiences of tokens that are for bulla itself.
const OWN: &str = "bulla.dev/";

/// What a class says.
#[derive(Debug)]
pub(super) struct Parameters {
    pub(super) connection: Connection,
    pub(super) mount: String,
    pub(super) role: String,
    pub(super) audience: String,
    pub(super) objects: Vec<Object>,
}

/// A file of the volume.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Object {
    /// Its path.
    pub(super) name: String,
    /// What is asked for it.
    pub(super) query: Query,
    /// Which value of the answer it has; `None`: all of it.
    pub(super) key: Option<String>,
    /// Its mode; `None`: the service's.
    pub(super) mode: Option<u32>,
    /// How the value is written at the far side.
    pub(super) encoding: Encoding,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum Encoding {
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "hex")]
    Hex,
    #[serde(rename = "base64")]
    Base64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    object_name: String,
    secret_path: String,
    #[serde(default)]
    secret_key: String,
    #[serde(default)]
    method: String,
    #[serde(default)]
    secret_args: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(default)]
    file_permission: Option<String>,
    #[serde(default)]
    encoding: Encoding,
}

impl Parameters {
    /// Reads a class's parameters.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn read(parameters: &BTreeMap<String, String>) -> Result<Self, String> {
        if let Some(unknown) = parameters.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(format!("unknown parameter {:?}; there are {}", Shown(unknown, 100), KNOWN.join(", ")));
        }
        let size: usize = parameters.values().map(String::len).sum();
        if size > LONGEST {
            return Err(format!("the parameters have {size} bytes of at most {LONGEST}"));
        }
        let get = |name: &str| parameters.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let one_of = |names: &[&str]| {
            let given: Vec<_> = names.iter().filter_map(|name| Some((*name, get(name)?))).collect();
            match given.as_slice() {
                [] => Ok(None),
                [(_, value)] => Ok(Some((*value).to_owned())),
                [(one, _), (other, _), ..] => Err(format!("{one} and {other} are both given: which of them is meant?")),
            }
        };
        let role = one_of(&["roleName", "vaultRoleName"])?;
        let role = role.ok_or("roleName is missing: the role of the auth method that the pods log in as")?;
        let mount = one_of(&["vaultAuthMountPath", "vaultAuthMount", "vaultKubernetesMountPath"])?;
        let mount = mount.unwrap_or_else(|| "kubernetes".to_owned());
        let audience = get("audience").unwrap_or(AUDIENCE).to_owned();
        if audience.starts_with(OWN) {
            return Err(format!("audience {:?} is of tokens that are for bulla itself", Shown(&audience, 100)));
        }
        let certificate = match (get("vaultTLSClientCertPath"), get("vaultTLSClientKeyPath")) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((PathBuf::from(certificate), PathBuf::from(key))),
            _ => return Err("vaultTLSClientCertPath and vaultTLSClientKeyPath go together".to_owned()),
        };
        let connection = Connection {
            address: get("vaultAddress").map(str::to_owned),
            namespace: get("vaultNamespace").map(str::to_owned),
            authorities: authorities(&get)?,
            certificate,
            server_name: get("vaultTLSServerName").map(str::to_owned),
        };
        let mount = mount.trim_matches('/').strip_prefix("auth/").unwrap_or(mount.trim_matches('/')).to_owned();
        Ok(Self { connection, mount, role, audience, objects: objects(get("objects").unwrap_or_default())? })
    }
}

fn authorities<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> Result<Authorities, String> {
    match get("vaultSkipTLSVerify") {
        Some("true") => return Ok(Authorities::DangerAnybody),
        None | Some("false") => {}
        Some(other) => return Err(format!("vaultSkipTLSVerify is {:?}; it must be true or false", Shown(other, 50))),
    }
    // The first of them counts, as at the peer's.
    Ok(if let Some(pem) = get("vaultCACertPEM") {
        Authorities::Pem(pem.to_owned())
    } else if let Some(file) = get("vaultCACertPath") {
        Authorities::File(file.into())
    } else if let Some(folder) = get("vaultCADirectory") {
        Authorities::Folder(folder.into())
    } else {
        Authorities::Default
    })
}

fn objects(text: &str) -> Result<Vec<Object>, String> {
    let written: Vec<Written> = serde_saphyr::from_str(text)
        .map_err(|problem| format!("objects is not a list of objects: {:.300}", problem.to_string()))?;
    if written.is_empty() || written.len() > MOST_OBJECTS {
        return Err(format!("objects has {} entries; it must be 1 to {MOST_OBJECTS}", written.len()));
    }
    let mut names = BTreeSet::new();
    let mut objects = Vec::new();
    for written in written {
        let name = written.object_name;
        let wrong = |why: String| format!("object {:?}: {why}", Shown(&name, 100));
        if !names.insert(name.clone()) {
            return Err(wrong("there are two of this name".to_owned()));
        }
        let method = match written.method.to_ascii_uppercase().as_str() {
            "" | "GET" => Method::Get,
            "PUT" => Method::Put,
            "POST" => Method::Post,
            other => return Err(wrong(format!("method {:?} is none of GET, PUT, POST", Shown(other, 50)))),
        };
        let query = Query::new(method, &written.secret_path, written.secret_args.as_ref()).map_err(&wrong)?;
        let mode = written.file_permission.as_deref().map(mode).transpose().map_err(&wrong)?;
        let key = Some(written.secret_key).filter(|key| !key.is_empty());
        objects.push(Object { name, query, key, mode, encoding: written.encoding });
    }
    Ok(objects)
}

/// Permission bits as the peer reads them: octal after a zero (`0400`, `0o400`), else decimal (`256`).
fn mode(text: &str) -> Result<u32, String> {
    let octal = text.strip_prefix("0o").or_else(|| text.strip_prefix('0').filter(|rest| !rest.is_empty()));
    let mode = octal.map_or_else(|| text.parse(), |digits| u32::from_str_radix(digits, 8));
    let mode = mode.ok().filter(|mode| *mode <= 0o777 && !text.starts_with('+'));
    mode.ok_or_else(|| format!("filePermission {:?} is no permission bits, like 0400", Shown(text, 50)))
}

impl Encoding {
    /// The bytes that a value stands for.
    ///
    /// # Errors
    /// The encoding's name, if the value is not written in it.
    pub(super) fn decode(self, value: SecretBytes) -> Result<SecretBytes, &'static str> {
        match self {
            Self::Utf8 => Ok(value),
            Self::Hex => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let (pairs, rest) = value.expose().as_chunks::<2>();
                let mut bytes = SecretBytes::zeroed(pairs.len());
                for (byte, [high, low]) in bytes.expose_mut().iter_mut().zip(pairs) {
                    *byte = (digit(*high).ok_or("hex")? << 4) | digit(*low).ok_or("hex")?;
                }
                if rest.is_empty() { Ok(bytes) } else { Err("hex") }
            }
            Self::Base64 => {
                let mut text = SecretBytes::with_capacity(value.len());
                for line in value.expose().split(|byte| matches!(byte, b'\r' | b'\n')) {
                    text.extend_from_slice(line);
                }
                let mut bytes = SecretBytes::zeroed(text.len() / 4 * 3 + 3);
                let length = STANDARD.decode_slice(text.expose(), bytes.expose_mut()).map_err(|_| "base64")?;
                bytes.truncate(length);
                Ok(bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An unmodified class of the peer's users.
    const OBJECTS: &str = r#"
- objectName: "db-password"
  secretPath: "secret/data/db-pass"
  secretKey: "password"
  filePermission: 0600
- objectName: cert
  secretPath: pki/issue/web
  method: "PUT"
  secretArgs:
    common_name: "web.shop"
    ttl: 24h
    number: 5
- {objectName: key, secretPath: "/v1/secret/data/key?version=2", secretKey: k, encoding: base64}
"#;

    fn read(pairs: &[(&str, &str)]) -> Result<Parameters, String> {
        Parameters::read(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_class_of_the_peers_is_read_as_it_is() {
        let all =
            read(&[("roleName", "app"), ("vaultAddress", "http://vault.default:8200"), ("objects", OBJECTS)]).unwrap();
        assert_eq!((all.mount.as_str(), all.role.as_str(), all.audience.as_str()), ("kubernetes", "app", "vault"));
        assert_eq!(
            all.connection,
            Connection { address: Some("http://vault.default:8200".to_owned()), ..Connection::default() }
        );
        let [password, cert, key] = all.objects.as_slice() else { panic!("{:?}", all.objects) };
        assert_eq!(
            (password.mode, password.key.as_deref(), password.query.path()),
            (Some(0o600), Some("password"), "secret/data/db-pass")
        );
        assert_eq!((cert.query.method(), cert.key.as_deref(), cert.mode), (Method::Put, None, None));
        assert!(
            cert.query.text().contains(r#"{"common_name":"web.shop","number":5,"ttl":"24h"}"#),
            "{}",
            cert.query.text()
        );
        assert_eq!((key.encoding, key.query.path()), (Encoding::Base64, "secret/data/key"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let role = ("roleName", "app");
        let object = ("objects", "[{objectName: a, secretPath: b}]");
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[object], "roleName is missing"),
            (&[role, object, ("rolename", "x")], "there are roleName, "),
            (&[role, object, ("vaultAuthMount", "a"), ("vaultKubernetesMountPath", "b")], "which of them"),
            (&[role, object, ("vaultTLSClientKeyPath", "/k")], "go together"),
            (&[role, object, ("vaultSkipTLSVerify", "yes")], "true or false"),
            (&[role, object, ("audience", "bulla.dev/pod")], "for bulla itself"),
            (&[role], "objects"),
            (&[role, ("objects", "[]")], "0 entries"),
            (&[role, ("objects", "x")], "not a list"),
            (&[role, ("objects", "[{objectName: a, secretPath: b, secretkey: c}]")], "secretkey"),
            (&[role, ("objects", "[{objectName: a, secretPath: b, method: DELETE}]")], "GET, PUT, POST"),
            (&[role, ("objects", "[{objectName: a, secretPath: b, encoding: rot13}]")], "rot13"),
            (&[role, ("objects", "[{objectName: a, secretPath: b, filePermission: rw}]")], "like 0400"),
            (&[role, ("objects", "[{objectName: a, secretPath: ../b}]")], "is no path"),
            (
                &[role, ("objects", "[{objectName: a, secretPath: b}, {objectName: a, secretPath: c}]")],
                "two of this name",
            ),
        ];
        for (parameters, says) in cases {
            let error = read(parameters).unwrap_err();
            assert!(error.contains(says), "{parameters:?}: {error}");
        }
        let long = "x".repeat(500_000);
        assert!(read(&[role, ("objects", &long)]).unwrap_err().contains("bytes"));
        let many: String = (0..300).map(|n| format!("- {{objectName: a{n}, secretPath: b}}\n")).collect();
        assert!(read(&[role, ("objects", &many)]).unwrap_err().contains("300 entries"));
        let bomb = "- &a {objectName: x, secretPath: b}\n".to_owned() + &"- *a\n".repeat(3000);
        assert!(read(&[role, ("objects", &bomb)]).is_err());
    }

    #[test]
    fn certificates_and_the_mount_come_by_any_of_their_names() {
        let with = |name: &str, value: &str| {
            read(&[("roleName", "a"), ("objects", "[{objectName: a, secretPath: b}]"), (name, value)]).unwrap()
        };
        assert_eq!(with("vaultCACertPEM", "pem").connection.authorities, Authorities::Pem("pem".to_owned()));
        assert_eq!(with("vaultCACertPath", "/f").connection.authorities, Authorities::File("/f".into()));
        assert_eq!(with("vaultCADirectory", "/d").connection.authorities, Authorities::Folder("/d".into()));
        assert_eq!(with("vaultSkipTLSVerify", "true").connection.authorities, Authorities::DangerAnybody);
        for name in ["vaultAuthMount", "vaultAuthMountPath", "vaultKubernetesMountPath"] {
            for written in ["jwt/prod", "/jwt/prod/", "auth/jwt/prod"] {
                assert_eq!(with(name, written).mount, "jwt/prod", "{name} {written}");
            }
        }
        assert_eq!(with("audience", "other").audience, "other");
    }

    #[test]
    fn permissions_are_read_as_the_peer_reads_them() {
        for (text, bits) in [("0600", 0o600), ("0o640", 0o640), ("420", 0o644), ("0", 0), ("0777", 0o777)] {
            assert_eq!(mode(text), Ok(bits), "{text}");
        }
        for wrong in ["01777", "512", "0888", "", "-1", "+1", "rw"] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_are_decoded() {
        let decode = |encoding: Encoding, text: &str| {
            encoding.decode(SecretBytes::from(text.as_bytes())).map(|bytes| bytes.expose().to_vec())
        };
        assert_eq!(decode(Encoding::Utf8, "\u{e4}"), Ok("ä".as_bytes().to_vec()));
        assert_eq!(decode(Encoding::Hex, "00fFa1"), Ok(vec![0, 255, 161]));
        assert_eq!(decode(Encoding::Base64, "AP+h\n"), Ok(vec![0, 255, 161]));
        for (encoding, wrong) in [
            (Encoding::Hex, "0"),
            (Encoding::Hex, "0g"),
            (Encoding::Hex, "ä"),
            (Encoding::Base64, "A"),
            (Encoding::Base64, "%%%%"),
        ] {
            assert!(decode(encoding, wrong).is_err(), "{wrong}");
        }
    }
}
