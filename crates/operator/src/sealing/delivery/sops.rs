//! sops files in ConfigMaps: opened for one pod at a time, as SealedSecrets are.
//!
//! A ConfigMap with the two annotations of a SealedSecret for volumes has in each entry a sops file. Whoever may write the ConfigMap may write
//! annotations, and sops binds a file to no place at all; so the file itself must say for whom it is: [`ACCOUNTS`], a key at its top with
//! `NAMESPACE/NAME` of service accounts, in the file as bulla writes it. Its second MAC covers names and values, so that nobody without the data key
//! can add, change or rename that key; a file with sops' own MAC alone, which covers no names, is refused. A ConfigMap that is copied to
//! another namespace opens for nobody there.
//!
//! Keys that a file names are asked only if the operator was told of them: a file can name any server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bulla_core::{DataKey, KeyId, SecretBytes, WrappedKey};
use bulla_document::{Step, Syntax, Value};
use bulla_format::sops::{EncryptedFile, Error, FileKind, MacCheck, kind_of};
use bulla_kms::Registry;
use bulla_kms::groups::{Services, unwrap_data_key};
use bulla_store::sealed::protocol::{Code, Refused};
use k8s_openapi::api::core::v1::ConfigMap;
use tokio::sync::Semaphore;

use super::{DELIVER, SERVICE_ACCOUNTS, VOLUME, refused};
use crate::nodes::Pod;

/// At the top of a file: the service accounts that it is for, `NAMESPACE/NAME`, as a list or with commas between; none is nobody.
pub const ACCOUNTS: &str = "bulla_service_accounts";
/// How many files a ConfigMap may have: each is a call of a key service.
const MOST_FILES: usize = 16;
/// How long the key services may take for all of them.
const KEY_TIME: Duration = Duration::from_secs(20);

/// Opens sops files.
pub struct Sops {
    services: Services,
    keys: BTreeSet<KeyId>,
}

impl Sops {
    /// With these keys and no others.
    pub fn new(registry: Registry, keys: impl IntoIterator<Item = KeyId>) -> Self {
        let services = Services { remote: Vec::new(), local: Some(registry) };
        Self { services, keys: keys.into_iter().collect() }
    }

    /// The plaintexts of a ConfigMap's files, if all are for this pod.
    pub(super) async fn open(
        &self,
        pod: &Pod,
        map: &ConfigMap,
        cores: &Arc<Semaphore>,
    ) -> Result<BTreeMap<String, SecretBytes>, Refused> {
        let name = full_name(map);
        let files = map.data.iter().flatten();
        if files.clone().count() == 0 || files.clone().count() > MOST_FILES || map.binary_data.is_some() {
            let message = format!(
                "ConfigMap {name} must have 1 to {MOST_FILES} sops files under `data`, and nothing under `binaryData`"
            );
            return Err(refused(Code::DoesNotOpen, message));
        }
        let mut parsed = Vec::new();
        for (entry, text) in files {
            let file = format!("ConfigMap {name}, {entry}");
            let kind = kind_of(entry, text.as_bytes());
            let encrypted = EncryptedFile::parse(kind, SecretBytes::from(text.as_bytes()));
            parsed.push((entry.clone(), encrypted.map_err(|error| does_not_open(&file, &error))?));
        }
        let mut opened = Vec::new();
        let keys = async {
            for (entry, file) in parsed {
                let key = self.data_key(&format!("ConfigMap {name}, {entry}"), &file).await?;
                opened.push((entry, file, key));
            }
            Ok(())
        };
        let in_time = tokio::time::timeout(KEY_TIME, keys).await;
        in_time
            .map_err(|_| refused(Code::Unavailable, format!("ConfigMap {name}: its key services do not answer")))??;
        let gone = || refused(Code::Unavailable, "the operator ends".to_owned());
        let core = cores.clone().acquire_owned().await.map_err(|_| gone())?;
        let account = format!("{}/{}", pod.namespace, pod.service_account);
        let work = tokio::task::spawn_blocking(move || {
            let _core = core;
            let plain = |(entry, file, key): (String, EncryptedFile, DataKey)| {
                let text = plaintext(&format!("ConfigMap {name}, {entry}"), &file, &key, &account)?;
                Ok((entry, text))
            };
            opened.into_iter().map(plain).collect()
        });
        work.await.map_err(|_| gone())?
    }

    /// The data key of a file, by those of its keys that the operator was told of.
    async fn data_key(&self, file: &str, encrypted: &EncryptedFile) -> Result<DataKey, Refused> {
        let metadata = encrypted.metadata();
        let known = |group: &Vec<bulla_format::sops::MasterKey>| -> Vec<(KeyId, WrappedKey)> {
            let keys = group.iter().filter(|key| self.keys.contains(&key.id));
            keys.map(|key| (key.id.clone(), key.wrapped.clone())).collect()
        };
        let groups: Vec<Vec<_>> = metadata.groups.iter().map(known).collect();
        if groups.iter().all(Vec::is_empty) {
            let message = format!("{file}: it is encrypted for no key that this operator was told of (--sops-key)");
            return Err(refused(Code::DoesNotOpen, message));
        }
        unwrap_data_key(&self.services, &groups, metadata.shamir_threshold, &[]).await.map_err(|error| {
            let said = error.groups.iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            refused(Code::Unavailable, format!("{file}: {error}: {said:.500}"))
        })
    }
}

/// Whether a ConfigMap is for volumes and for pods of a service account, as its annotations say. The files must say so, too.
pub(super) fn may_have(map: &ConfigMap, service_account: &str) -> Result<(), Refused> {
    let annotation = |name: &str| {
        map.metadata.annotations.as_ref().and_then(|all| all.get(name)).map(String::as_str).unwrap_or_default()
    };
    let name = full_name(map);
    if annotation(DELIVER) != VOLUME {
        return Err(refused(
            Code::Denied,
            format!("ConfigMap {name} is not for volumes: annotate it with {DELIVER}: {VOLUME}"),
        ));
    }
    if annotation(SERVICE_ACCOUNTS).split(',').any(|name| name.trim() == service_account) {
        return Ok(());
    }
    let message = format!(
        "ConfigMap {name} is not for service account {service_account}: name it in the annotation {SERVICE_ACCOUNTS}"
    );
    Err(refused(Code::Denied, message))
}

fn full_name(map: &ConfigMap) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", text(&map.metadata.namespace), text(&map.metadata.name))
}

/// A file's plaintext, if it is whole and for this account. Nothing is given out before both are known.
fn plaintext(file: &str, encrypted: &EncryptedFile, key: &DataKey, account: &str) -> Result<SecretBytes, Refused> {
    if !encrypted.has_bound_mac() {
        let message = format!(
            "{file}: it has sops' MAC alone, which covers no names: write it with bulla, `bulla rotate -i` will do"
        );
        return Err(refused(Code::DoesNotOpen, message));
    }
    if encrypted.metadata().rules.mac_only_encrypted {
        let message = format!(
            "{file}: its MAC covers encrypted values alone (mac_only_encrypted), and for whom it is may not be one"
        );
        return Err(refused(Code::DoesNotOpen, message));
    }
    let step = |name: &str| Step::Key(name.to_owned());
    let path = match encrypted.kind() {
        FileKind::Text(Syntax::Ini) => vec![step("DEFAULT"), step(ACCOUNTS)],
        FileKind::Text(_) => vec![step(ACCOUNTS)],
        FileKind::Binary => {
            let message =
                format!("{file}: a binary file has no place for {ACCOUNTS}: put it into a value of YAML or JSON");
            return Err(refused(Code::DoesNotOpen, message));
        }
    };
    let named = match encrypted.extract(key, &path, MacCheck::Strict) {
        Ok(named) => named,
        Err(Error::Path(_)) => Value::Null,
        Err(error) => return Err(does_not_open(file, &error)),
    };
    if !names(&named, account) {
        let message = format!(
            "{file}: it is not for {account}: name that in {ACCOUNTS} at its top, and encrypt it with that in it"
        );
        return Err(refused(Code::Denied, message));
    }
    let plain = encrypted.decrypt(key, MacCheck::Strict).map_err(|error| does_not_open(file, &error))?;
    Ok(plain.text)
}

/// Whether an account is among those named.
fn names(named: &Value, account: &str) -> bool {
    match named {
        Value::Str(text) => text.split(|byte| *byte == b',').any(|name| name.trim_ascii() == account.as_bytes()),
        // Not lists in lists.
        Value::Seq(all) => all.iter().any(|one| matches!(one, Value::Str(text) if **text == *account.as_bytes())),
        _ => false,
    }
}

fn does_not_open(file: &str, error: &Error) -> Refused {
    refused(Code::DoesNotOpen, format!("{file}: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bulla_format::sops::{MasterKey, Metadata, Rules, encrypt};

    use super::*;

    /// A file with this plaintext, as bulla writes it.
    fn file(name: &str, plain: &str, rules: Rules, key: &DataKey) -> String {
        let kind = kind_of(name, plain.as_bytes());
        let date = "2026-01-01T00:00:00Z".to_owned();
        let id = KeyId::Local { path: "/key".into() };
        let local =
            MasterKey { id, wrapped: WrappedKey::new("wrapped"), created_at: date.clone(), unknown: Vec::new() };
        let metadata = Metadata {
            groups: vec![vec![local]],
            rules,
            last_modified: date,
            version: "3.13.3".to_owned(),
            ..Metadata::default()
        };
        let text = encrypt(kind, SecretBytes::from(plain.as_bytes()), metadata, key, None).unwrap();
        String::from_utf8(text.expose().to_vec()).unwrap()
    }

    fn suffix() -> Rules {
        Rules { unencrypted_suffix: Some("_unencrypted".to_owned()), ..Rules::default() }
    }

    /// What it comes to for pods of `shop/web`.
    fn opened(name: &str, text: &str, key: &DataKey) -> Result<String, (Code, String)> {
        let parsed = EncryptedFile::parse(kind_of(name, text.as_bytes()), SecretBytes::from(text.as_bytes())).unwrap();
        match plaintext("the file", &parsed, key, "shop/web") {
            Ok(text) => Ok(String::from_utf8(text.expose().to_vec()).unwrap()),
            Err(refused) => Err((refused.code, refused.message)),
        }
    }

    #[test]
    fn a_file_opens_for_the_accounts_that_it_names() {
        let key = DataKey::generate().unwrap();
        for (name, plain) in [
            ("a.yaml", "bulla_service_accounts: shop/web\npassword: hunter2\n"),
            ("a.yaml", "bulla_service_accounts: [shop/api, shop/web]\npassword: hunter2\n"),
            ("a.yaml", "bulla_service_accounts: \"shop/api, shop/web\"\npassword: hunter2\n"),
            ("a.json", "{\n\t\"bulla_service_accounts\": \"shop/web\",\n\t\"password\": \"hunter2\"\n}"),
            ("a.env", "bulla_service_accounts=shop/web\npassword=hunter2\n"),
            ("a.ini", "bulla_service_accounts = shop/web\n[db]\npassword = hunter2\n"),
            ("a.toml", "bulla_service_accounts = \"shop/web\"\npassword = \"hunter2\"\n"),
        ] {
            let text = file(name, plain, suffix(), &key);
            assert!(!text.contains("hunter2"));
            assert_eq!(opened(name, &text, &key).as_deref(), Ok(plain), "{name}");
        }
    }

    #[test]
    fn a_file_opens_for_nobody_else() {
        let key = DataKey::generate().unwrap();
        for plain in [
            "password: hunter2\n",
            "bulla_service_accounts:\npassword: hunter2\n",
            "bulla_service_accounts: web\npassword: hunter2\n",
            "bulla_service_accounts: other/web\npassword: hunter2\n",
            "bulla_service_accounts: shop/webs\npassword: hunter2\n",
            "bulla_service_accounts: [[shop/web]]\npassword: hunter2\n",
            "below: {bulla_service_accounts: shop/web}\npassword: hunter2\n",
        ] {
            let (code, message) = opened("a.yaml", &file("a.yaml", plain, suffix(), &key), &key).unwrap_err();
            assert!(code == Code::Denied && message.contains("not for shop/web"), "{plain}: {message}");
            assert!(!message.contains("hunter2"));
        }
        let binary = file("a.bin", "\u{0}hunter2", Rules::default(), &key);
        assert!(opened("a.bin", &binary, &key).unwrap_err().1.contains("binary file"));
    }

    #[test]
    fn whoever_may_edit_the_file_cannot_widen_it() {
        let key = DataKey::generate().unwrap();
        let plain = "bulla_service_accounts: other/api\nowner_unencrypted: shop/web\npassword: hunter2\n";
        let good = file("a.yaml", plain, suffix(), &key);
        let said = |text: &str| opened("a.yaml", text, &key).unwrap_err();
        assert_eq!(said(&good).0, Code::Denied);
        // A key that is renamed passes sops' own MAC, which covers no names.
        let line = good.lines().find(|line| line.starts_with("bulla_service_accounts:")).unwrap();
        let renamed = good
            .replace(line, &line.replace("bulla_service_accounts", "other"))
            .replace("owner_unencrypted", "bulla_service_accounts");
        assert_eq!(said(&renamed).0, Code::DoesNotOpen);
        let added = format!("bulla_service_accounts_unencrypted: shop/web\n{good}");
        assert_eq!(said(&added).0, Code::DoesNotOpen);
        // Without the MAC that covers names nothing is proven.
        let start = good.find("    bulla:").unwrap();
        let end = good[start + 1..]
            .match_indices('\n')
            .map(|(at, _)| start + 2 + at)
            .find(|at| !good[*at..].starts_with("        "));
        let bare = format!("{}{}", &good[..start], &good[end.unwrap()..]);
        let (code, message) = said(&bare);
        assert!(code == Code::DoesNotOpen && message.contains("sops' MAC alone"), "{message}");
        // Nor where plain values are not covered.
        let rules = Rules { mac_only_encrypted: true, ..suffix() };
        let (code, message) = said(&file("a.yaml", "bulla_service_accounts: shop/web\n", rules, &key));
        assert!(code == Code::DoesNotOpen && message.contains("mac_only_encrypted"), "{message}");
    }
}
