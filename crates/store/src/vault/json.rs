//! Values of a JSON text, found where they stand: what is secret in it is copied once, into memory that is wiped.

use bulla_core::SecretBytes;
use serde::de::IgnoredAny;

/// JSON that was checked.
#[derive(Clone, Copy)]
pub(super) struct Json<'a>(&'a [u8]);

impl<'a> Json<'a> {
    /// Checks a text. `None` if it is no JSON.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        // With its own limit on depth.
        serde_json::from_slice::<IgnoredAny>(text).ok()?;
        Some(Self(text.trim_ascii()))
    }

    /// The text.
    pub(super) const fn text(self) -> &'a [u8] {
        self.0
    }

    /// Whether it is an object.
    pub(super) fn is_object(self) -> bool {
        self.0.first() == Some(&b'{')
    }

    /// The member of this name; of several the last, as in Go.
    pub(super) fn member(self, name: &str) -> Option<Self> {
        self.members().filter(|(key, _)| key == name).last().map(|(_, value)| value)
    }

    /// All members, in order. None, if it is no object.
    pub(super) fn members(self) -> impl Iterator<Item = (String, Self)> {
        let mut rest = self.0.strip_prefix(b"{").unwrap_or_default();
        std::iter::from_fn(move || {
            rest = rest.trim_ascii_start();
            rest = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
            let (key, after) = take(rest).filter(|(key, _)| key.first() == Some(&b'"'))?;
            let after = after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
            let (value, after) = take(after)?;
            rest = after;
            Some((serde_json::from_slice(key).ok()?, Self(value)))
        })
    }

    /// As a number without sign or fraction.
    pub(super) fn number(self) -> Option<u64> {
        serde_json::from_slice(self.0).ok()
    }

    /// As a truth value.
    pub(super) fn truth(self) -> Option<bool> {
        serde_json::from_slice(self.0).ok()
    }

    /// As a text that is no secret.
    pub(super) fn public_text(self) -> Option<String> {
        serde_json::from_slice(self.0).ok()
    }

    /// As texts that are no secrets.
    pub(super) fn public_texts(self) -> Option<Vec<String>> {
        serde_json::from_slice(self.0).ok()
    }

    /// As a text.
    pub(super) fn secret_text(self) -> Option<SecretBytes> {
        let mut rest = self.0.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        // What is escaped is longer than what it stands for.
        let mut text = SecretBytes::with_capacity(rest.len());
        while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
            text.extend_from_slice(&rest[..at]);
            let (character, length) = unescaped(&rest[at..])?;
            let mut bytes = zeroize::Zeroizing::new([0; 4]);
            text.extend_from_slice(character.encode_utf8(&mut *bytes).as_bytes());
            rest = rest.get(at + length..)?;
        }
        text.extend_from_slice(rest);
        Some(text)
    }
}

/// The value that a text begins with, and what follows it.
fn take(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => at = end_of_string(text, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => break,
            b'}' | b']' => {
                depth -= 1;
                at += 1;
            }
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            break;
        }
    }
    (at > 0).then(|| text.split_at(at))
}

/// The place after the string that begins here.
fn end_of_string(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// What the escape that a text begins with stands for, and how long it is. Half of a surrogate pair is U+FFFD, as in Go.
fn unescaped(text: &[u8]) -> Option<(char, usize)> {
    let hex = |at: usize| {
        let digits = std::str::from_utf8(text.get(at..at + 4)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let character = match text.get(1)? {
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'u' => {
            let first = hex(2)?;
            if !(0xd800..0xdc00).contains(&first) {
                return Some((char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6));
            }
            let second = hex(8).filter(|second| text.get(6..8) == Some(b"\\u") && (0xdc00..0xe000).contains(second));
            return Some(match second {
                Some(second) => {
                    let both = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                    (char::from_u32(both).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
                }
                None => (char::REPLACEMENT_CHARACTER, 6),
            });
        }
        &other => char::from(other),
    };
    Some((character, 2))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn text(json: &str) -> String {
        String::from_utf8(Json::parse(json.as_bytes()).unwrap().secret_text().unwrap().expose().to_vec()).unwrap()
    }

    #[test]
    fn members_are_found_where_they_stand() {
        let json = br#" { "a" : 1 , "b":{"x":"}\"","y":[1,{"z":2}]}, "c":"t\\", "d": null,"a":"last" ,"\u0065":true,"f":[],"g":-1.5e3} "#;
        let json = Json::parse(json).unwrap();
        let member = |name| json.member(name).map(|value| std::str::from_utf8(value.text()).unwrap());
        assert_eq!(member("a"), Some("\"last\""));
        assert_eq!(member("b"), Some(r#"{"x":"}\"","y":[1,{"z":2}]}"#));
        assert_eq!((member("c"), member("d"), member("e")), (Some(r#""t\\""#), Some("null"), Some("true")));
        assert_eq!((member("f"), member("g"), member("h")), (Some("[]"), Some("-1.5e3"), None));
        for none in ["[]", "1", "\"a\"", "null", "{}"] {
            assert_eq!(Json::parse(none.as_bytes()).unwrap().members().count(), 0, "{none}");
        }
        for broken in ["", "{", "{\"a\"}", "{\"a\":1}}", "{\"a\":\"\u{1}\"}"] {
            assert!(Json::parse(broken.as_bytes()).is_none(), "{broken}");
        }
    }

    #[test]
    fn escapes_stand_for_what_they_stand_for() {
        assert_eq!(text(r#""a\"\\\/\b\f\n\r\tz""#), "a\"\\/\u{8}\u{c}\n\r\tz");
        assert_eq!(text(r#""\u00e4\ud83d\ude00ä😀""#), "ä😀ä😀");
        assert_eq!(text(r#""\u0000""#), "\0");
        assert!(Json::parse(b"1").unwrap().secret_text().is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_object_comes_back(members in proptest::collection::btree_map("\\PC{0,8}", "\\PC{0,30}", 0..6)) {
            let value: Value = json!(members);
            for written in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let json = Json::parse(written.as_bytes()).unwrap();
                for (name, expected) in &members {
                    let found = json.member(name).unwrap().secret_text().unwrap();
                    proptest::prop_assert_eq!(found.expose(), expected.as_bytes());
                }
                proptest::prop_assert_eq!(json.members().count(), members.len());
            }
        }

        #[test]
        fn no_text_makes_it_panic(bytes in "[\\[\\]{}\",:\\\\u0-9ad ]{0,40}") {
            if let Some(json) = Json::parse(bytes.as_bytes()) {
                for (_, value) in json.members() {
                    let _ = (value.secret_text(), value.number(), value.members().count());
                }
                let _ = json.secret_text();
            }
        }
    }
}
