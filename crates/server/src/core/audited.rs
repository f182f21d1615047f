//! Which headers of requests are written down, beside what is asked.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::barrier::{Barrier, View};
use crate::logical::{Error, Result};

/// How a header is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// As it came.
    Plain,
    /// Hashed, as texts are.
    Hashed,
}

/// A header of a request that is to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name, in lower case.
    pub name: String,
    /// How.
    pub form: Form,
    /// What it says, as often as it is there.
    pub values: Vec<String>,
}

/// Their names, in lower case, and how they are written down.
pub type Names = BTreeMap<String, Form>;

/// All of them.
pub struct Audited {
    view: View,
    names: RwLock<Arc<Names>>,
    /// Changes come one after the other.
    changing: tokio::sync::Mutex<()>,
}

impl Audited {
    /// Those that `barrier` has.
    pub async fn open(barrier: &Arc<Barrier>) -> Result<Self> {
        let view = View::plain(barrier, "sys/core/");
        let names = view.read::<Names>(KEY).await?.unwrap_or_default();
        Ok(Self { view, names: RwLock::new(Arc::new(names)), changing: tokio::sync::Mutex::default() })
    }

    /// All names.
    pub fn names(&self) -> Arc<Names> {
        Arc::clone(&self.names.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Those of a request. What says who somebody is, is hashed, whatever the names say.
    pub fn of(&self, headers: &HeaderMap) -> Vec<Header> {
        let names = self.names();
        let found = names.iter().filter_map(|(name, form)| {
            let all = headers.get_all(name);
            let values: Vec<String> =
                all.iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
            let is_long = values.iter().map(String::len).sum::<usize>() > LONG;
            let form = if is_long || is_secret(name) { Form::Hashed } else { *form };
            (!values.is_empty()).then(|| Header { name: name.clone(), form, values })
        });
        found.collect()
    }

    /// Adds one, or changes how it is written down.
    ///
    /// # Errors
    /// 400 for a name that no header has, or one too many.
    pub async fn set(&self, name: &str, form: Form) -> Result<()> {
        let name = http::HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
            Error::bad_request("the name of a header has letters, digits, and what may stand between them")
        })?;
        self.change(|names| {
            names.insert(name.as_str().to_owned(), form);
            if names.len() > MOST {
                Err(Error::bad_request(format!("there are {MOST} headers already")))
            } else {
                Ok(())
            }
        })
        .await
    }

    /// Takes one away; that it is not there is no error.
    pub async fn remove(&self, name: &str) -> Result<()> {
        let name = name.to_lowercase();
        self.change(|names| {
            names.remove(&name);
            Ok(())
        })
        .await
    }

    async fn change(&self, change: impl FnOnce(&mut Names) -> Result<()>) -> Result<()> {
        let _changing = self.changing.lock().await;
        let mut names = Names::clone(&self.names());
        change(&mut names)?;
        self.view.write(KEY, &names).await?;
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(names);
        Ok(())
    }
}

/// Whether a header by itself lets somebody in.
fn is_secret(name: &str) -> bool {
    matches!(name, "x-vault-token" | "authorization" | "proxy-authorization" | "cookie" | "x-vault-mfa")
}

/// Where they are, below `sys/core/`.
const KEY: &str = "audited-headers";
/// How many there are at most.
const MOST: usize = 64;
/// Longer ones are hashed: nobody writes long records by them.
const LONG: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use bulla_core::DataKey;

    use super::*;
    use crate::storage::Memory;

    #[tokio::test]
    async fn what_lets_somebody_in_and_what_is_long_is_hashed_whatever_was_said() {
        let barrier = Barrier::initialize(Arc::new(Memory::default()), DataKey::generate().unwrap()).await.unwrap();
        let barrier = Arc::new(barrier);
        let audited = Audited::open(&barrier).await.unwrap();
        for name in ["X-Request-Id", "Authorization", "x-vault-token", "X-Long", "x-absent"] {
            audited.set(name, Form::Plain).await.unwrap();
        }
        audited.set("x-hashed", Form::Hashed).await.unwrap();
        assert!(audited.set("a b", Form::Plain).await.is_err() && audited.set("", Form::Plain).await.is_err());
        let long = "x".repeat(LONG + 1);
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-request-id", "1"),
            ("x-request-id", "2"),
            ("authorization", "Bearer t"),
            ("x-vault-token", "t"),
            ("x-long", &long),
            ("x-hashed", "h"),
            ("x-other", "o"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let shown: Vec<(String, Form, usize)> =
            audited.of(&headers).into_iter().map(|header| (header.name, header.form, header.values.len())).collect();
        let expected = [
            ("authorization", Form::Hashed, 1),
            ("x-hashed", Form::Hashed, 1),
            ("x-long", Form::Hashed, 1),
            ("x-request-id", Form::Plain, 2),
            ("x-vault-token", Form::Hashed, 1),
        ];
        assert_eq!(shown, expected.map(|(name, form, count)| (name.to_owned(), form, count)));
        audited.remove("X-Request-ID").await.unwrap();
        // They are there after the next start.
        let again = Audited::open(&barrier).await.unwrap();
        assert_eq!(again.names(), audited.names());
        assert!(!again.names().contains_key("x-request-id") && again.names().len() == 5);
    }
}
