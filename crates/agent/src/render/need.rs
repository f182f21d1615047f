//! What a template asks for.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use bulla_template::Text;

/// Something that a template asks for. Two templates that ask for the same have the same answer: two files about one database user, its name
/// and its password.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// `secret "PATH"`.
    Read {
        path: String,
        /// What follows a `?`.
        query: Option<String>,
    },
    /// `secret "PATH" "key=value"`.
    Write { path: String, data: BTreeMap<Text, Text> },
    /// `secrets "PATH"`.
    List { path: String },
    /// `pkiCert "PATH" "key=value"`, in a template for this file.
    Certificate { path: String, data: BTreeMap<Text, Text>, file: PathBuf },
    /// `file "PATH"`, in a template that may read below a folder alone.
    File { path: PathBuf, sandbox: Option<PathBuf> },
}

/// As the peer's log has it; what is written is not shown.
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, .. } => write!(f, "vault.read({path})"),
            Self::Write { path, .. } => write!(f, "vault.write({path})"),
            Self::Certificate { path, .. } => write!(f, "vault.pki({path})"),
            Self::List { path } => write!(f, "vault.list({path})"),
            Self::File { path, .. } => write!(f, "file({})", path.display()),
        }
    }
}

impl Need {
    /// What `secret` asks for. Without arguments it reads.
    ///
    /// # Errors
    /// An argument that is no `key=value`; it is not shown.
    pub(crate) fn secret(path: &str, arguments: &[&[u8]]) -> Result<Self, &'static str> {
        let path = clean(path)?;
        if arguments.is_empty() {
            let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
            return Ok(Self::Read { path: path.trim_end_matches('/').to_owned(), query: query.map(str::to_owned) });
        }
        Ok(Self::Write { path: path.to_owned(), data: pairs(arguments)? })
    }

    /// What `pkiCert` asks for.
    ///
    /// # Errors
    /// As [`secret`](Self::secret).
    pub(crate) fn certificate(path: &str, arguments: &[&[u8]], file: &Path) -> Result<Self, &'static str> {
        Ok(Self::Certificate { path: clean(path)?.to_owned(), data: pairs(arguments)?, file: file.to_owned() })
    }

    /// What `secrets` asks for.
    ///
    /// # Errors
    /// An empty path.
    pub(crate) fn list(path: &str) -> Result<Self, &'static str> {
        Ok(Self::List { path: clean(path)?.to_owned() })
    }
}

fn pairs(arguments: &[&[u8]]) -> Result<BTreeMap<Text, Text>, &'static str> {
    let mut data = BTreeMap::new();
    for argument in arguments.iter().filter(|argument| !argument.is_empty()) {
        let at = argument.iter().position(|&byte| byte == b'=').ok_or("an argument is not a k=v pair")?;
        data.insert(Text::from(argument[..at].trim_ascii()), Text::from(argument[at + 1..].trim_ascii()));
    }
    Ok(data)
}

fn clean(path: &str) -> Result<&str, &'static str> {
    let path = path.trim().trim_matches('/');
    if path.is_empty() { Err("the path is empty") } else { Ok(path) }
}

/// Where versioned secrets have their values: `secret/app` is `secret/data/app`. With `data/` or `metadata/` a path stays as it is.
pub(crate) fn versioned(path: &str, mount: &str) -> String {
    let mount = mount.trim_end_matches('/');
    match below(path, mount) {
        Some(below) if below.starts_with("data/") || below.starts_with("metadata/") => path.to_owned(),
        Some("") | None => format!("{mount}/data"),
        Some(below) => format!("{mount}/data/{below}"),
    }
}

/// The same for lists.
pub(crate) fn versioned_list(path: &str, mount: &str) -> String {
    let mount = mount.trim_end_matches('/');
    match below(path, mount) {
        Some(below) if below == "metadata" || below.starts_with("metadata/") => path.to_owned(),
        Some("") | None => format!("{mount}/metadata"),
        Some(below) => format!("{mount}/metadata/{below}"),
    }
}

fn below<'a>(path: &'a str, mount: &str) -> Option<&'a str> {
    path.strip_prefix(mount).map(|below| below.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn paths_of_versioned_secrets_may_leave_data_out() {
        for (path, read, list) in [
            ("secret/app", "secret/data/app", "secret/metadata/app"),
            ("secret/data/app", "secret/data/app", "secret/metadata/data/app"),
            ("secret/metadata/app", "secret/metadata/app", "secret/metadata/app"),
            ("secret", "secret/data", "secret/metadata"),
            ("secret/database", "secret/data/database", "secret/metadata/database"),
        ] {
            assert_eq!(versioned(path, "secret/"), read, "{path}");
            assert_eq!(versioned_list(path, "secret/"), list, "{path}");
        }
        assert_eq!(versioned("a/b/c", "a/b/"), "a/b/data/c");
    }

    #[test]
    fn arguments_make_a_write_of_it_and_are_not_shown() {
        let read = Need::secret(" /kv/app?version=2/ ", &[]).unwrap();
        assert!(read == Need::Read { path: "kv/app".into(), query: Some("version=2".into()) });
        let write = Need::secret("pki/issue/x", &[b"common_name = a=b", b""]).unwrap();
        let Need::Write { data, .. } = &write else { panic!() };
        assert_eq!(data.get(b"common_name".as_slice()).unwrap().expose(), b"a=b");
        assert_eq!(write.to_string(), "vault.write(pki/issue/x)");
        assert!(Need::secret("x", &[b"hunter2"]).is_err_and(|error| !error.contains("hunter2")));
        assert!(Need::secret("/", &[]).is_err() && Need::list(" ").is_err());
    }
}
