//! A transit key's address, mount and name, checked before anything is sent: a file says them, and whoever wrote it.

use reqwest::Url;

/// A server's address as a URL.
///
/// # Errors
/// What is wrong with it.
pub(super) fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("its scheme must be https or http".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address must hold no user name or password".to_owned());
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("an address is https://HOST:PORT, without path, query or fragment".to_owned());
    }
    Ok(url)
}

/// The segments below `/v1/` of an operation on a key.
///
/// # Errors
/// What is wrong with the mount or the name: a file must not be able to name another part of the API.
pub(super) fn path_of(operation: &'static str, mount: &str, key: &str) -> Result<Vec<String>, String> {
    let mount = mount.trim_matches('/');
    let plain = |segment: &str| {
        let forbidden = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | '?' | '#' | '%' | '\\');
        !segment.is_empty() && segment != "." && segment != ".." && !segment.contains(forbidden)
    };
    if !mount.split('/').all(plain) {
        return Err(format!("`{mount}` cannot be where an engine is mounted"));
    }
    if !plain(key) {
        return Err(format!("`{key}` cannot be the name of a key"));
    }
    Ok(mount.split('/').chain([operation, key]).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_is_a_host_and_no_more() {
        for good in ["https://vault.example.com:8200", "http://127.0.0.1:8200/", "https://[::1]:8200"] {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in [
            "vault.example.com",
            "https://",
            "ftp://host",
            "https://user:pass@host",
            "https://user@host",
            "https://host/prefix",
            "https://host?x=1",
            "https://host#x",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mount_has_one_or_many_parts_and_cannot_climb_out() {
        assert_eq!(path_of("decrypt", "/a/b/", "k").unwrap(), ["a", "b", "decrypt", "k"]);
        for (mount, key) in [
            ("../sys", "k"),
            ("a/%2e%2e", "k"),
            ("transit", "a/b"),
            ("transit", ".."),
            ("", "k"),
            ("a//b", "k"),
            ("t", "k?x"),
        ] {
            assert!(path_of("decrypt", mount, key).is_err(), "{mount} {key}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_stays_where_it_was_meant(mount in "\\PC{0,20}", key in "\\PC{0,20}") {
            if let Ok(path) = path_of("decrypt", &mount, &key) {
                let mut url = Url::parse("https://host").unwrap();
                url.set_path(&path.join("/"));
                prop_assert_eq!(url.path_segments().unwrap().count(), path.len());
                prop_assert_eq!(url.path_segments().unwrap().nth_back(1), Some("decrypt"));
                prop_assert_eq!(url.query(), None);
            }
        }
    }
}
