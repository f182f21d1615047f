//! Paths into a document as `--extract`, `set` and `unset` take them: `["key"][0]['other']`.

use bulla_document::Step;

/// Reads a path as sops does. Nothing is a path to the whole document.
///
/// A `[` inside of a quoted key ends the part before it, there as here: such a key cannot be reached.
///
/// # Errors
/// Says which part is malformed.
pub(crate) fn parse(text: &str) -> Result<Vec<Step>, String> {
    text.split('[').filter(|part| !part.is_empty()).map(step).collect()
}

fn step(part: &str) -> Result<Step, String> {
    let inner = part.strip_suffix(']').ok_or_else(|| format!("component {part} doesn't end with ]"))?;
    match inner.as_bytes() {
        [quote @ (b'"' | b'\''), .., last] if quote == last => Ok(Step::Key(inner[1..inner.len() - 1].to_owned())),
        [b'"' | b'\'', ..] => Err(format!("component [{inner}] has no closing quote")),
        _ => inner
            .parse()
            .map(Step::Index)
            .map_err(|_| format!("component [{inner}] is neither a quoted key nor a number from 0")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_are_quoted_and_indices_are_not() {
        assert_eq!(
            parse("[\"a b\"][0]['c']").unwrap(),
            [Step::Key("a b".into()), Step::Index(0), Step::Key("c".into())]
        );
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in ["x", "[a]", "[\"a\"", "[-1]", "[]", "[\"]", "[\"a]", "[99999999999999999999]"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
