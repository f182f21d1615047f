//! Words of commands that a shell, or a person with one, is given.

use std::fmt::Write;
use std::path::Path;

/// A word as a shell takes it: in quotes where it needs them. What a terminal would act on is written out.
pub(crate) fn quote(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    if !word.contains(char::is_control) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    let mut quoted = String::from("$'");
    for character in word.chars() {
        match character {
            '\'' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() => {
                // Appending to a `String` never fails.
                let _ = write!(quoted, "\\u{:04x}", u32::from(character));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('\'');
    quoted
}

/// A file as an argument: also one whose name begins like a flag.
pub(crate) fn argument(path: &Path) -> String {
    let path = path.to_string_lossy();
    quote(&if path.starts_with('-') { format!("./{path}") } else { path.into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_one_word_and_nothing_else_to_a_shell() {
        assert_eq!(quote("/usr/bin/bulla"), "/usr/bin/bulla");
        assert_eq!(quote("/my apps/it's"), "'/my apps/it'\\''s'");
        assert_eq!(quote("a;b"), "'a;b'");
        assert_eq!(quote("a\n\u{1b}[1m'"), "$'a\\u000a\\u001b[1m\\''");
        assert_eq!(argument(Path::new("-x.yaml")), "./-x.yaml");
    }
}
