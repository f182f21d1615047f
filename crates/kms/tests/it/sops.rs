//! Age keys, and files that the real sops encrypted with them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bulla_core::{KeyId, WrappedKey};
use bulla_kms::{Options, Registry};
use bulla_test_support::program;
use serde_json::Value;

/// A new age key.
pub(crate) struct AgeKey {
    pub(crate) secret: String,
    pub(crate) recipient: String,
}

impl AgeKey {
    pub(crate) fn generate() -> Self {
        let output = Command::new(program("bin/age-keygen")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).unwrap().to_owned();
        Self { secret: format!("AGE-SECRET-KEY-{}", line("AGE-SECRET-KEY-")), recipient: line("# public key: ") }
    }

    pub(crate) fn id(&self) -> KeyId {
        KeyId::Age { recipient: self.recipient.clone() }
    }
}

/// The variables that give a process these keys.
pub(crate) fn environment(keys: &[&AgeKey], home: &Path) -> BTreeMap<String, String> {
    let secrets: Vec<_> = keys.iter().map(|key| key.secret.as_str()).collect();
    let home = home.to_str().unwrap().to_owned();
    BTreeMap::from([("SOPS_AGE_KEY".to_owned(), secrets.join("\n")), ("HOME".to_owned(), home)])
}

/// Key services that have these keys.
pub(crate) fn registry(keys: &[&AgeKey], home: &Path) -> Registry {
    Registry::new(Arc::new(environment(keys, home)), Options::default())
}

/// A sops file in JSON.
pub(crate) struct File(Value);

impl File {
    pub(crate) fn read(path: &Path) -> Self {
        Self(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    }

    pub(crate) fn write(&self, path: &Path) {
        std::fs::write(path, self.0.to_string()).unwrap();
    }

    /// The age keys of its groups, and what they wrap.
    pub(crate) fn groups(&mut self) -> Vec<Vec<(KeyId, WrappedKey)>> {
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
        let key = |entry: &mut Value| {
            (KeyId::Age { recipient: text(entry, "recipient") }, WrappedKey::new(text(entry, "enc")))
        };
        self.entries().into_iter().map(|group| group.iter_mut().map(key).collect()).collect()
    }

    /// Puts other wrapped keys in place of those that are there.
    pub(crate) fn rewrap(&mut self, wrapped: &[Vec<WrappedKey>]) {
        for (group, wrapped) in self.entries().into_iter().zip(wrapped) {
            for (entry, wrapped) in group.iter_mut().zip(wrapped) {
                entry["enc"] = wrapped.as_str().into();
            }
        }
    }

    fn entries(&mut self) -> Vec<&mut Vec<Value>> {
        let sops = self.0["sops"].as_object_mut().unwrap();
        if sops.get("key_groups").is_some_and(Value::is_array) {
            let groups = sops["key_groups"].as_array_mut().unwrap();
            groups.iter_mut().map(|group| group["age"].as_array_mut().unwrap()).collect()
        } else {
            vec![sops["age"].as_array_mut().unwrap()]
        }
    }
}
