//! What a node and the authority say to each other: `POST /v1/open` and `POST /v1/changes` over TLS 1.3, JSON both ways.
//!
//! ```text
//! Authorization: Bearer TOKEN          the node service's own, for the audience bulla.dev/node
//! {"podToken": "…",                    the pod's, for the audience bulla.dev/pod
//!  "objects": [{"name": "db", "version": "…"}]}      the version that is there already, if one is;
//!                                                    "kind": "configMap" for one with sops files
//!
//! 200 {"objects": [{"name": "db", "version": "…", "data": {"password": "BASE64"}}]}
//! ```
//!
//! `data` is left out of an object whose version is there already. Anything but 200 has `{"code": …, "message": …}`; no message has a value
//! or a token in it.
//!
//! **Changes.** A node has one question open, about all objects that it has mounted: it is answered when one of them is another than the node
//! says, or after [`HELD`]. No version said: the answer comes at once. Why a question that waits, and neither a watch of each node at the API server
//! nor a stream: the operator has the one watch of all SealedSecrets anyway, so a node needs no right to read them, and the API server has nothing
//! more to do for 1000 nodes than for one. What a question says is all there is to know: whichever replica gets it answers the same, nothing is
//! missed while a node or a replica is away, and there is no state at either end that could be wrong.
//!
//! ```text
//! {"objects": [{"namespace": "shop", "name": "db", "version": "…"}]}      the version that the node was told last
//! 200 {"changed": [{"namespace": "shop", "name": "db", "version": "…"}]}  empty: it is gone, or not for volumes
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use bulla_core::{SecretBytes, Shown};
use serde::{Deserialize, Serialize, Serializer};

/// Where.
pub const PATH: &str = "/v1/open";
/// The audience of the pod's token: of no use anywhere else.
pub const POD_AUDIENCE: &str = "bulla.dev/pod";
/// The audience of the node service's token.
pub const NODE_AUDIENCE: &str = "bulla.dev/node";
/// The most objects of one request.
pub const MOST_OBJECTS: usize = 64;
/// The longest request, in bytes: names and a token.
pub const LONGEST_REQUEST: usize = 64 << 10;

/// Where a node asks what has changed.
pub const CHANGES_PATH: &str = "/v1/changes";
/// The most objects of one such question.
pub const MOST_WATCHED: usize = 4096;
/// The longest such question, in bytes: names and versions.
pub const LONGEST_QUESTION: usize = 2 << 20;
/// How long a question is kept open: less than anybody between the two takes for dead.
pub const HELD: Duration = Duration::from_secs(50);

/// The ConfigMap in which replicas of the authority name their certificates, in their own namespace.
pub const CONFIG_MAP: &str = "bulla-sealing-authority";

/// A replica's entry in it: `REPLICA.UNTIL.pem`, the time in seconds since 1970, so that nobody has to read certificates to know.
pub fn entry(replica: &str, until: i64) -> String {
    format!("{replica}.{until}.pem")
}

/// Whether an entry is one that has not run out.
pub fn is_good(entry: &str, now: i64) -> bool {
    let rest = entry.strip_suffix(".pem").and_then(|rest| rest.rsplit_once('.'));
    rest.and_then(|(_, until)| until.parse().ok()).is_some_and(|until: i64| until > now)
}

/// What is asked for.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request<'a> {
    /// The token of the pod that the values are for.
    #[serde(borrow)]
    pub pod_token: Cow<'a, str>,
    /// Of which objects, in the pod's own namespace.
    pub objects: Vec<Wanted>,
}

impl<'a> Request<'a> {
    /// A request, if it is one: of objects whose names could be names, and not too many.
    ///
    /// # Errors
    /// What is wrong with it. Nothing of it is shown but such a name: it has a token.
    pub fn read(body: &'a [u8]) -> Result<Self, String> {
        let asked: Self = serde_json::from_slice(body).map_err(|error| place(&error))?;
        if asked.objects.is_empty() || asked.objects.len() > MOST_OBJECTS {
            return Err(format!("it asks for {} objects of at most {MOST_OBJECTS}", asked.objects.len()));
        }
        match asked.objects.iter().find(|wanted| !is_name(&wanted.name)) {
            Some(wrong) => Err(format!("{:?} is no name of an object", Shown(&wrong.name, 100))),
            None => Ok(asked),
        }
    }
}

impl Question {
    /// A question, if it is one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        let asked: Self = serde_json::from_slice(body).map_err(|error| place(&error))?;
        if asked.objects.len() > MOST_WATCHED {
            return Err(format!("it asks about {} objects of at most {MOST_WATCHED}", asked.objects.len()));
        }
        Ok(asked)
    }
}

/// Where JSON is malformed. The parser's words could quote a token.
fn place(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

/// Whether a text has only characters that names of objects have. It is put into a URL.
fn is_name(text: &str) -> bool {
    let is_right = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    (1..=253).contains(&text.len()) && text.bytes().all(is_right)
}

/// What an object is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A `SealedSecret`.
    #[default]
    SealedSecret,
    /// A `ConfigMap` whose entries are sops files.
    ConfigMap,
}

impl Kind {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the serializer's form")]
    fn is_usual(&self) -> bool {
        *self == Self::SealedSecret
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::SealedSecret => "SealedSecret",
            Self::ConfigMap => "ConfigMap",
        })
    }
}

/// An object that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// What it is.
    #[serde(default, skip_serializing_if = "Kind::is_usual")]
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The version that is there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What is answered: written from secrets, read into them.
#[derive(Serialize)]
pub struct Answer<'a> {
    /// The objects, in the order in which they were asked for.
    pub objects: Vec<Opened<'a>>,
}

/// An object that was opened.
#[derive(Serialize)]
pub struct Opened<'a> {
    /// The object's name.
    pub name: &'a str,
    /// Its version: another one when its values, or who may have them, changed.
    pub version: &'a str,
    /// Its values; none if the version is there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<BTreeMap<&'a str, Base64<'a>>>,
}

/// A value, written as base64 without a copy in between.
pub struct Base64<'a>(pub &'a SecretBytes);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0.expose(), &STANDARD))
    }
}

/// An answer as it is read: borrowed, so that no copy of a value is left behind.
#[derive(Deserialize)]
pub(super) struct Read<'a> {
    #[serde(borrow)]
    pub(super) objects: Vec<ReadObject<'a>>,
}

#[derive(Deserialize)]
pub(super) struct ReadObject<'a> {
    pub(super) name: String,
    pub(super) version: String,
    #[serde(borrow, default)]
    pub(super) data: Option<BTreeMap<Cow<'a, str>, &'a str>>,
}

/// What a node wants to hear of.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The objects that it has mounted.
    pub objects: Vec<Watched>,
}

/// What it hears.
#[derive(Deserialize, Serialize)]
pub struct Changes {
    /// Those that are another than it said.
    pub changed: Vec<Watched>,
}

/// An object that a node has mounted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    /// What it is.
    #[serde(default, skip_serializing_if = "Kind::is_usual")]
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its version, as the node was told it; in an answer as it is, and empty if there is none for volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Why nothing is opened.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Refused {
    /// What kind of reason.
    pub code: Code,
    /// The reason, and what to do.
    pub message: String,
}

/// Kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The request is malformed.
    Invalid,
    /// A token is not one that the cluster knows.
    Unauthenticated,
    /// The pod may not have it, or the node may not ask.
    Denied,
    /// There is no such object.
    NotFound,
    /// The object is there, and does not open.
    DoesNotOpen,
    /// Ask again: no key is there yet, the API server cannot be asked, or too many ask.
    Unavailable,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let secret = SecretBytes::from(&b"p\x00\xffw"[..]);
        let data = BTreeMap::from([("a\"b", Base64(&secret))]);
        let answer = Answer {
            objects: vec![
                Opened { name: "db", version: "1", data: Some(data) },
                Opened { name: "api", version: "2", data: None },
            ],
        };
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(
            text,
            r#"{"objects":[{"name":"db","version":"1","data":{"a\"b":"cAD/dw=="}},{"name":"api","version":"2"}]}"#
        );
        let read: Read<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!(read.objects[0].data.as_ref().unwrap()["a\"b"], "cAD/dw==");
        assert!(read.objects[1].data.is_none());
    }

    #[test]
    fn an_entry_says_until_when_it_is_good() {
        assert!(is_good(&entry("operator-7d9f.x", 1000), 999));
        assert!(!is_good(&entry("operator-7d9f.x", 1000), 1000));
        for foreign in ["ca.crt", "a.pem", "a.b.pem", ""] {
            assert!(!is_good(foreign, 0), "{foreign}");
        }
    }

    #[test]
    fn a_request_says_what_it_knows_and_nothing_else() {
        let text = r#"{"podToken":"t","objects":[{"name":"db"},{"name":"api","version":"2"}]}"#;
        let read: Request<'_> = serde_json::from_str(text).unwrap();
        assert_eq!((read.pod_token.as_ref(), read.objects[1].version.as_deref()), ("t", Some("2")));
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        for wrong in [
            r#"{"objects":[]}"#,
            r#"{"podToken":"t","objects":[]}"#,
            r#"{"podToken":"t","objects":[{"name":"a","namespace":"b"}]}"#,
            r#"{"podToken":"t","objects":[{"name":""}]}"#,
            r#"{"podToken":"t","objects":[{"name":"../secrets/a"}]}"#,
            r#"{"podToken":"very-secret","objects":"#,
        ] {
            let error = Request::read(wrong.as_bytes()).err().unwrap();
            assert!(!error.contains("very-secret"), "{error}");
        }
        let many = r#"{"name":"a"},"#.repeat(MOST_OBJECTS) + r#"{"name":"a"}"#;
        let error = Request::read(format!(r#"{{"podToken":"t","objects":[{many}]}}"#).as_bytes()).err().unwrap();
        assert!(error.contains("65 objects"), "{error}");
    }
}
