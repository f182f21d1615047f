//! Built in: SealedSecrets that are for volumes, opened by the sealing operator for the pod that mounts them.
//!
//! ```yaml
//! parameters:
//!   objects: |
//!     - sealedSecret: db              # all its values, each a file of its name
//!     - sealedSecret: api
//!       key: token                    # this value alone
//!       path: api/token               # as this file; without `key` the folder of the files
//!       filePermission: "0400"
//! ```
//!
//! No value is fetched whose object has not changed: the operator is told the version that is mounted.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bulla_store::sealed::protocol::{Code, MOST_OBJECTS, POD_AUDIENCE, Wanted};
use bulla_store::sealed::{Authority, Object, OpenError};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Answer, Ask, ErrorKind, Provider, ProviderError};
use crate::volume::{Content, File, Limits, ObjectVersion};

/// Its name.
pub const NAME: &str = "sealed";
/// The parameter.
const OBJECTS: &str = "objects";
/// The longest text of it, in bytes.
const LONGEST: usize = 64 << 10;

/// The provider.
pub struct Sealed {
    authority: Authority,
    limits: Limits,
}

/// What the class asks for.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Item {
    sealed_secret: String,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    file_permission: Option<String>,
}

impl Sealed {
    /// Asks this authority.
    pub const fn new(authority: Authority, limits: Limits) -> Self {
        Self { authority, limits }
    }
}

#[async_trait]
impl Provider for Sealed {
    async fn fetch(&self, ask: &Ask<'_>) -> Result<Answer, ProviderError> {
        let items = items(ask.parameters)?;
        let layout = layout(ask);
        let token = ask.volume.tokens.get(POD_AUDIENCE).ok_or_else(|| {
            let message = format!("the kubelet gives no token of the pod: the CSIDriver object has to ask for one, tokenRequests: [{{audience: {POD_AUDIENCE}}}]");
            error(ErrorKind::Invalid, message)
        })?;
        let names: BTreeSet<&str> = items.iter().map(|item| item.sealed_secret.as_str()).collect();
        let there = |name: &str| {
            let version = &ask.current.iter().find(|version| version.id == name)?.version;
            // Files of another layout are not what is wanted now.
            version.strip_suffix(&layout)?.strip_suffix('.').map(str::to_owned)
        };
        let mut wanted: Vec<Wanted> =
            names.iter().map(|&name| Wanted { name: name.to_owned(), version: there(name) }).collect();
        let mut objects = self.authority.open(&token.token, &wanted).await.map_err(|refused| explain(&refused))?;
        let unchanged = objects.iter().filter(|object| object.data.is_none()).count();
        if unchanged > 0 && unchanged < objects.len() {
            // One has changed. A volume is written whole, so all are needed.
            for wanted in &mut wanted {
                wanted.version = None;
            }
            objects = self.authority.open(&token.token, &wanted).await.map_err(|refused| explain(&refused))?;
        }
        let versions = objects.iter().map(|object| {
            let version = format!("{}.{layout}", object.version);
            ObjectVersion { id: object.name.clone(), version }
        });
        let versions = versions.collect();
        if unchanged == objects.len() && unchanged > 0 {
            return Ok(Answer { versions, ..Answer::default() });
        }
        Ok(Answer { content: Some(self.content(&items, objects, ask)?), versions, ..Answer::default() })
    }
}

impl Sealed {
    fn content(&self, items: &[Item], objects: Vec<Object>, ask: &Ask<'_>) -> Result<Content, ProviderError> {
        let objects: BTreeMap<String, Object> =
            objects.into_iter().map(|object| (object.name.clone(), object)).collect();
        let namespace = &ask.volume.pod.namespace;
        let mut content = Content::default();
        for item in items {
            let name = &item.sealed_secret;
            let data = objects.get(name).and_then(|object| object.data.as_ref());
            let data =
                data.ok_or_else(|| error(ErrorKind::Failed, format!("the operator did not answer about {name}")))?;
            let mode = item.file_permission.as_deref().map_or(Ok(ask.mode), mode)?;
            let mut add = |path: &str, value: &bulla_core::SecretBytes| {
                let file = File { mode, contents: value.clone() };
                let wrong = |problem: &dyn std::fmt::Display| {
                    error(ErrorKind::Invalid, format!("SealedSecret {namespace}/{name}: {problem}"))
                };
                content.add(path, file, &self.limits).map_err(|problem| wrong(&problem))
            };
            match (&item.key, &item.path) {
                (Some(key), path) => {
                    let value = data.get(key).ok_or_else(|| {
                        let has = data.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                        error(
                            ErrorKind::NotFound,
                            format!("SealedSecret {namespace}/{name} has no value {key:?}; it has {has}"),
                        )
                    })?;
                    add(path.as_deref().unwrap_or(key), value)?;
                }
                (None, folder) => {
                    for (key, value) in data {
                        let path = folder.as_deref().map_or_else(|| key.clone(), |folder| format!("{folder}/{key}"));
                        add(&path, value)?;
                    }
                }
            }
        }
        Ok(content)
    }
}

/// What the class asks for, read.
fn items(parameters: &BTreeMap<String, String>) -> Result<Vec<Item>, ProviderError> {
    let invalid = |message: String| error(ErrorKind::Invalid, message);
    if let Some(unknown) = parameters.keys().find(|key| *key != OBJECTS) {
        return Err(invalid(format!("unknown parameter {unknown:.100?}; there is {OBJECTS}")));
    }
    let text = parameters.get(OBJECTS).map(String::as_str).unwrap_or_default();
    if text.len() > LONGEST {
        return Err(invalid(format!("{OBJECTS} has {} bytes of at most {LONGEST}", text.len())));
    }
    let items: Vec<Item> = serde_saphyr::from_str(text)
        .map_err(|problem| invalid(format!("{OBJECTS} is not a list of objects: {:.300}", problem.to_string())))?;
    let names: BTreeSet<&str> = items.iter().map(|item| item.sealed_secret.as_str()).collect();
    if names.is_empty() || names.len() > MOST_OBJECTS {
        return Err(invalid(format!("{OBJECTS} names {} SealedSecrets; it must be 1 to {MOST_OBJECTS}", names.len())));
    }
    Ok(items)
}

/// Permission bits in octal.
fn mode(text: &str) -> Result<u32, ProviderError> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| {
        error(ErrorKind::Invalid, "filePermission must be permission bits in octal, like \"0400\"".to_owned())
    })
}

/// Which files are made of the same values: another one, and what is mounted is of no use.
fn layout(ask: &Ask<'_>) -> String {
    let mut hash = Sha256::new();
    hash.update(ask.mode.to_le_bytes());
    hash.update(ask.parameters.get(OBJECTS).map(String::as_str).unwrap_or_default());
    hash.finalize()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn explain(refused: &OpenError) -> ProviderError {
    let kind = match refused.code() {
        Code::Invalid | Code::DoesNotOpen => ErrorKind::Invalid,
        Code::Unauthenticated | Code::Denied => ErrorKind::Denied,
        Code::NotFound => ErrorKind::NotFound,
        Code::Unavailable => ErrorKind::Unavailable,
    };
    error(kind, refused.to_string())
}

fn error(kind: ErrorKind, message: String) -> ProviderError {
    ProviderError { provider: NAME.to_owned(), message, kind, retry_after: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Item>, String> {
        items(&BTreeMap::from([(OBJECTS.to_owned(), text.to_owned())])).map_err(|error| error.message)
    }

    #[test]
    fn objects_are_a_list_of_what_is_wanted() {
        let text =
            "- sealedSecret: db\n- sealedSecret: api\n  key: token\n  path: api/token\n  filePermission: \"0400\"\n";
        let items = read(text).unwrap();
        let plain = Item { sealed_secret: "db".to_owned(), key: None, path: None, file_permission: None };
        assert_eq!(items[0], plain);
        assert_eq!((items[1].path.as_deref(), items[1].file_permission.as_deref()), (Some("api/token"), Some("0400")));
        // Unquoted, as people write it.
        assert_eq!(
            read("- {sealedSecret: a, filePermission: 0400}").unwrap()[0].file_permission.as_deref(),
            Some("0400")
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, says) in [
            ("", "not a list"),
            ("db", "not a list"),
            ("[]", "names 0"),
            ("- name: db", "not a list"),
            ("- {sealedSecret: a, keys: b}", "not a list"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says) || error.contains("names 0"), "{text}: {error}");
        }
        assert!(read(&"- sealedSecret: a\n".repeat(10_000)).unwrap_err().contains("bytes"));
        let bomb = "- &a {sealedSecret: x}\n".to_owned() + &"- *a\n".repeat(3000);
        assert!(read(&bomb).is_err() || read(&bomb).unwrap().len() <= 3001);
        let many: String = (0..100).map(|n| format!("- sealedSecret: a{n}\n")).collect();
        assert!(read(&many).unwrap_err().contains("names 100"));
        let unknown = items(&BTreeMap::from([("roleName".to_owned(), "x".to_owned())])).unwrap_err();
        assert!(unknown.message.contains("roleName"), "{}", unknown.message);
        for wrong in ["rw", "1777", "-1", "9"] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
        assert_eq!(mode("0400").unwrap(), 0o400);
    }
}
