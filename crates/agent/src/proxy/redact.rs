//! An answer without what is the agent's alone: its token, and the accessor, by which others may end it.
//!
//! Whoever asks with the agent's token has all that it may, but not itself: it would work elsewhere, and later.

use bulla_core::json::{self, Value};
use bulla_core::{SecretBytes, SecretString};
use zeroize::{Zeroize, Zeroizing};

use super::path::Asked;

/// As long as this a text is nothing else by chance, wherever it stands.
const LONG: usize = 16;

/// An answer that was looked at.
pub(super) enum Found {
    /// Nothing of ours is in it.
    Nothing(SecretBytes),
    /// It has to be read to know, which takes memory.
    Perhaps(SecretBytes),
}

/// Whether something of ours may be in an answer.
pub(super) fn look(body: SecretBytes, ours: &[&SecretString], path: &Asked) -> Found {
    let ours = texts(ours);
    if body.is_empty() || ours.is_empty() {
        return Found::Nothing(body);
    }
    let is_plain = ours.iter().all(|text| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
    if is_plain && !is_in(&body, &ours) && !path.tells_of_tokens() {
        Found::Nothing(body)
    } else {
        Found::Perhaps(body)
    }
}

/// The answer without `ours`; nothing, if it cannot be known what is in it. What an answer has once it is unpacked somewhere is not known.
pub(super) fn without(body: SecretBytes, ours: &[&SecretString], path: &Asked) -> Option<SecretBytes> {
    let ours = texts(ours);
    let Ok(mut answer) = json::parse(body.expose()) else {
        let is_clean = !path.tells_of_tokens() && !is_in(&body, &ours);
        return is_clean.then_some(body);
    };
    let is_ours = |text: &str| ours.iter().any(|own| text == *own || (own.len() >= LONG && text.contains(own)));
    if answer.as_str().is_some_and(is_ours) {
        return None;
    }
    let is_wrapped = answer.as_object().and_then(|answer| answer.get("wrap_info")).is_some_and(|info| !info.is_null());
    if is_wrapped && path.tells_of_tokens() {
        return None;
    }
    if strip(&mut answer, &is_ours) == 0 {
        return Some(body);
    }
    let text = Zeroizing::new(answer.to_vec());
    Some(SecretBytes::from(text.as_slice()))
}

fn texts<'a>(ours: &[&'a SecretString]) -> Vec<&'a str> {
    ours.iter().map(|text| text.expose()).filter(|text| !text.is_empty()).collect()
}

fn is_in(body: &SecretBytes, ours: &[&str]) -> bool {
    let has = |text: &str| body.expose().windows(text.len()).any(|part| part == text.as_bytes());
    ours.iter().any(|text| has(text))
}

/// Takes out each text that is ours; how many there were.
fn strip(value: &mut Value, is_ours: &dyn Fn(&str) -> bool) -> usize {
    let take = |value: &mut Value| {
        let is_taken = value.as_str().is_some_and(is_ours);
        if is_taken && let Value::String(text) = value {
            text.zeroize();
        }
        is_taken
    };
    match value {
        Value::Array(values) => {
            let before = values.len();
            values.retain_mut(|value| !take(value));
            before - values.len() + values.iter_mut().map(|value| strip(value, is_ours)).sum::<usize>()
        }
        Value::Object(object) => {
            let before = object.len();
            object.retain(|key, value| !is_ours(key) && !take(value));
            before - object.len() + object.values_mut().map(|value| strip(value, is_ours)).sum::<usize>()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn left(body: &str, path: &str) -> Option<String> {
        let (token, accessor) = (SecretString::from("s.0123456789abcdef"), SecretString::from("acc"));
        let (ours, path) = ([&token, &accessor], Asked::read(path).unwrap());
        let body = match look(SecretBytes::from(body.as_bytes()), &ours, &path) {
            Found::Nothing(body) => Some(body),
            Found::Perhaps(body) => without(body, &ours, &path),
        };
        body.map(|body| String::from_utf8(body.expose().to_vec()).unwrap())
    }

    #[test]
    fn the_agents_token_is_in_no_answer_wherever_it_stands() {
        for (body, expected) in [
            (
                r#"{"data":{"accessor":"acc","id":"s.0123456789abcdef","ttl":5},"auth":null}"#,
                r#"{"auth":null,"data":{"ttl":5}}"#,
            ),
            (r#"{"auth":{"client_token":"s.0123456789\u0061bcdef"}, "x":"acc"}"#, r#"{"auth":{}}"#),
            (r#"{"data":{"keys":["acc","b"],"key_info":{"acc":{"x":1}}}}"#, r#"{"data":{"key_info":{},"keys":["b"]}}"#),
            (r#"{"errors":["bad token s.0123456789abcdef"]}"#, r#"{"errors":[]}"#),
            (
                r#"{"data": {"id": "other", "n": 1.50, "accessor": "accx"}}"#,
                r#"{"data": {"id": "other", "n": 1.50, "accessor": "accx"}}"#,
            ),
            ("", ""),
        ] {
            assert_eq!(left(body, "auth/token/lookup-self").as_deref(), Some(expected), "{body}");
        }
        assert_eq!(left(r#"{"data":{"x":"s.0123456789abcdef"}}"#, "secret/data/x").unwrap(), r#"{"data":{}}"#);
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_not_given() {
        for (body, path) in [
            ("\u{1f}\u{8b}packed", "auth/token/lookup-self"),
            (r#"{"data":{"id":"s.0123456789abcdef"}"#, "auth/token/lookup-self"),
            (r#"{"wrap_info":{"token":"w"}}"#, "ns/auth/token/lookup-self"),
            (r#""acc""#, "auth/token/lookup"),
            ("token s.0123456789abcdef", "sys/metrics"),
        ] {
            assert_eq!(left(body, path), None, "{body}");
        }
        assert_eq!(left("# metrics", "sys/metrics").as_deref(), Some("# metrics"));
        assert_eq!(
            left(r#"{"wrap_info":{"token":"w"}}"#, "secret/data/x").as_deref(),
            Some(r#"{"wrap_info":{"token":"w"}}"#)
        );
    }
}
