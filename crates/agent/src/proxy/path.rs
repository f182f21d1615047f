//! A path that is asked for, as the server will read it.
//!
//! What is decided here must be true there. So a path that could be read in two ways, or is another one once it is tidied up, is refused.

/// What tells of a token, below `auth/token`.
const TELLING: [&str; 7] =
    ["accessors", "lookup", "lookup-accessor", "lookup-self", "renew", "renew-accessor", "renew-self"];

/// The parts of a path below `/v1/`, decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked(Vec<String>);

impl Asked {
    /// Reads a path. A slash at its end is fine.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn read(path: &str) -> Result<Self, &'static str> {
        path.strip_suffix('/').unwrap_or(path).split('/').map(part).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the answer may tell of the token that is asked with. A namespace may come before.
    pub(super) fn tells_of_tokens(&self) -> bool {
        self.0.windows(3).any(|three| three[0] == "auth" && three[1] == "token" && TELLING.contains(&three[2].as_str()))
    }
}

fn part(text: &str) -> Result<String, &'static str> {
    let part = decoded(text)?;
    match part.as_str() {
        "" => Err("a part of the path is empty"),
        "." | ".." => Err("the path leads elsewhere"),
        part if part.contains(|c: char| matches!(c, '/' | '\\') || c.is_control()) => {
            Err("a part of the path has a slash, a backslash or a control character in it")
        }
        _ => Ok(part),
    }
}

/// Decoded once, as the server does it.
fn decoded(text: &str) -> Result<String, &'static str> {
    const MALFORMED: &str = "the path is not encoded as it should be";
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or(MALFORMED);
        let value = digit()? * 16 + digit()?;
        out.push(u8::try_from(value).map_err(|_| MALFORMED)?);
    }
    String::from_utf8(out).map_err(|_| "the path is not UTF-8")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_path_that_could_be_another_one_is_refused() {
        for path in [
            "auth//token/lookup-self",
            "/auth/token/lookup-self",
            "auth/token/lookup-self//",
            "",
            "a/./b",
            "a/../b",
            "a/%2e%2E/b",
            "a/.%2e/b",
            "a/%2e",
            "a\\..\\b",
            "a%5Cb",
            "a%2fb",
            "a%00b",
            "a%0ab",
            "a%",
            "a%2",
            "a%zz",
            "a%+1",
            "a%ff",
        ] {
            assert!(Asked::read(path).is_err(), "{path}");
        }
        for path in
            ["secret/data/app", "old/new%20one", "auth/token/accessors/", "a/...", "a/%252e%252e", "a/.b", "a/%C3%A9"]
        {
            assert!(Asked::read(path).is_ok(), "{path}");
        }
    }

    #[test]
    fn what_tells_of_a_token_is_known_however_it_is_written() {
        let tells = |path: &str| Asked::read(path).unwrap().tells_of_tokens();
        for path in [
            "auth/token/lookup-self",
            "auth/token/lookup-self/",
            "auth/token/lookup%2Dself",
            "%61uth/token/renew-self",
            "ns/auth/token/lookup-self",
            "a/b/auth/token/lookup",
            "auth/token/lookup/x",
            "auth/token/accessors",
        ] {
            assert!(tells(path), "{path}");
        }
        for path in ["auth/token/create", "auth/token", "secret/data/lookup-self", "auth/approle/login"] {
            assert!(!tells(path), "{path}");
        }
    }
}
