//! The process environment as a value, so that what reads configuration can be tested without touching the process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// Where settings are looked up. [`ProcessEnv`] in the binary, a map in tests.
pub trait Env: Send + Sync {
    /// The variable's value. A variable that is set to the empty string counts as not set, as the peers have it.
    fn var(&self, name: &str) -> Option<OsString>;

    /// The variable's value as text; `None` if it is unset, empty or not UTF-8.
    fn text(&self, name: &str) -> Option<String> {
        self.var(name)?.into_string().ok()
    }

    /// The variable's value as a path.
    fn path(&self, name: &str) -> Option<PathBuf> {
        self.var(name).map(PathBuf::from)
    }

    /// A variable of Vault's by the end of its name: `BAO_NAME` before `VAULT_NAME`.
    fn vault_var(&self, name: &str) -> Option<OsString> {
        self.var(&format!("BAO_{name}")).or_else(|| self.var(&format!("VAULT_{name}")))
    }

    /// The same as text.
    fn vault_text(&self, name: &str) -> Option<String> {
        self.text(&format!("BAO_{name}")).or_else(|| self.text(&format!("VAULT_{name}")))
    }

    /// The user's home folder.
    fn home(&self) -> Option<PathBuf> {
        self.path("HOME")
    }
}

/// The environment that the process was started with.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnv;

impl Env for ProcessEnv {
    fn var(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name).filter(|value| !value.is_empty())
    }
}

impl Env for BTreeMap<String, String> {
    fn var(&self, name: &str) -> Option<OsString> {
        self.get(name).filter(|value| !value.is_empty()).map(OsString::from)
    }
}
