//! The server's answer to most requests: data, who one is now, a wrapped answer, warnings. Whatever lacks or is of another kind is empty.

use bulla_core::json::{self, Object, Value};

use crate::failure::Failure;
use crate::show::{Shown, plain};

/// An answer's parts.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) request_id: String,
    pub(crate) lease_id: String,
    pub(crate) lease_duration: i64,
    pub(crate) renewable: bool,
    pub(crate) data: Option<Object>,
    pub(crate) warnings: Option<Vec<String>>,
    pub(crate) auth: Option<Object>,
    pub(crate) wrap_info: Option<Object>,
}

impl Answer {
    /// Reads an answer. Nothing at all is `None`.
    ///
    /// # Errors
    /// An answer that is no JSON object: not a server of Vault's API.
    pub(crate) fn read(body: &[u8]) -> Result<Option<Self>, Failure> {
        if body.trim_ascii().is_empty() {
            return Ok(None);
        }
        Ok(Some(Self::of(read_object(body)?)))
    }

    fn of(mut object: Object) -> Self {
        Self {
            request_id: text(&object, "request_id").to_owned(),
            lease_id: text(&object, "lease_id").to_owned(),
            lease_duration: number(&object, "lease_duration"),
            renewable: truth(&object, "renewable"),
            data: take_object(&mut object, "data"),
            warnings: texts(object.get("warnings")),
            auth: take_object(&mut object, "auth"),
            wrap_info: take_object(&mut object, "wrap_info"),
        }
    }

    /// The data, empty if there is none.
    pub(crate) fn data(&self) -> &Object {
        const NONE: &Object = &Object::new();
        self.data.as_ref().unwrap_or(NONE)
    }

    /// As JSON and YAML have it, in the peer's order.
    pub(crate) fn shown(&self) -> Shown<'_> {
        let mut fields = vec![
            ("request_id", Shown::from(self.request_id.as_str())),
            ("lease_id", Shown::from(self.lease_id.as_str())),
            ("lease_duration", Shown::from(self.lease_duration)),
            ("renewable", Shown::from(self.renewable)),
            ("data", self.data.as_ref().map_or(Shown::Value(Value::Null), Shown::Object)),
            ("warnings", Shown::Value(Value::from(self.warnings.clone()))),
        ];
        if let Some(auth) = &self.auth {
            fields.push(("auth", in_order(auth, AUTH)));
        }
        if let Some(wrap) = &self.wrap_info {
            fields.push(("wrap_info", in_order(wrap, WRAP)));
        }
        Shown::Fields(fields)
    }

    /// Rows of the table, in the peer's order.
    pub(crate) fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
        if self.lease_duration > 0 {
            let time = plain::seconds(self.lease_duration);
            if self.lease_id.is_empty() {
                row("refresh_interval", time);
            } else {
                row("lease_id", self.lease_id.clone());
                row("lease_duration", time);
                row("lease_renewable", self.renewable.to_string());
            }
        }
        if let Some(auth) = &self.auth {
            let time = number(auth, "lease_duration");
            row("token", text(auth, "client_token").to_owned());
            row("token_accessor", text(auth, "accessor").to_owned());
            row("token_duration", if time == 0 { "∞".to_owned() } else { plain::seconds(time) });
            row("token_renewable", truth(auth, "renewable").to_string());
            for name in ["token_policies", "identity_policies", "policies"] {
                row(name, plain::quoted(&texts(auth.get(name)).unwrap_or_default()));
            }
            for (key, value) in auth.get("metadata").and_then(Value::as_object).into_iter().flatten() {
                row(&format!("token_meta_{key}"), plain::value(value));
            }
        }
        if let Some(wrap) = &self.wrap_info {
            row("wrapping_token:", text(wrap, "token").to_owned());
            row("wrapping_accessor:", text(wrap, "accessor").to_owned());
            row("wrapping_token_ttl:", plain::seconds(number(wrap, "ttl")));
            row("wrapping_token_creation_time:", plain::time(text(wrap, "creation_time")));
            row("wrapping_token_creation_path:", text(wrap, "creation_path").to_owned());
            if !text(wrap, "wrapped_accessor").is_empty() {
                row("wrapped_accessor:", text(wrap, "wrapped_accessor").to_owned());
            }
        }
        for (key, value) in self.data() {
            row(key, plain::field(key, value));
        }
        rows
    }

    /// The field that `-field` names.
    pub(crate) fn field(&self, name: &str) -> Option<Value> {
        let auth = |key: &str| self.auth.as_ref().and_then(|auth| auth.get(key).cloned());
        let wrap = |key: &str| self.wrap_info.as_ref().and_then(|wrap| wrap.get(key).cloned());
        let special = match name {
            "lease_id" => Some(Value::from(self.lease_id.as_str())).filter(|id| id.as_str() != Some("")),
            "lease_duration" | "refresh_interval" => {
                Some(Value::from(self.lease_duration)).filter(|_| self.lease_duration > 0)
            }
            "lease_renewable" => (!self.lease_id.is_empty()).then(|| Value::from(self.renewable)),
            "token" => auth("client_token"),
            "token_accessor" => auth("accessor"),
            "token_duration" => auth("lease_duration"),
            "token_renewable" => auth("renewable"),
            "token_policies" | "identity_policies" | "policies" => auth(name),
            "wrapping_token" => wrap("token"),
            "wrapping_accessor" => wrap("accessor"),
            "wrapping_token_ttl" => wrap("ttl"),
            "wrapping_token_creation_time" => wrap("creation_time"),
            "wrapping_token_creation_path" => wrap("creation_path"),
            "wrapped_accessor" => wrap("wrapped_accessor"),
            _ => None,
        };
        special.or_else(|| self.data().get(name).cloned()).filter(|value| !value.is_null())
    }
}

/// The kinds of fields that JSON shows even where the server leaves them out.
#[derive(Clone, Copy)]
enum Lack {
    Text,
    Number,
    False,
    Null,
}

const AUTH: &[(&str, Lack)] = &[
    ("client_token", Lack::Text),
    ("accessor", Lack::Text),
    ("policies", Lack::Null),
    ("token_policies", Lack::Null),
    ("identity_policies", Lack::Null),
    ("metadata", Lack::Null),
    ("orphan", Lack::False),
    ("entity_id", Lack::Text),
    ("lease_duration", Lack::Number),
    ("renewable", Lack::False),
    ("mfa_requirement", Lack::Null),
];

const WRAP: &[(&str, Lack)] = &[
    ("token", Lack::Text),
    ("accessor", Lack::Text),
    ("ttl", Lack::Number),
    ("creation_time", Lack::Text),
    ("creation_path", Lack::Text),
    ("wrapped_accessor", Lack::Text),
];

fn in_order<'a>(object: &'a Object, names: &[(&'static str, Lack)]) -> Shown<'a> {
    let shown = |(name, lack): &(&'static str, Lack)| {
        let value = match object.get(*name).filter(|value| !value.is_null()) {
            Some(value) => Shown::Ref(value),
            None => Shown::Value(match lack {
                Lack::Text => Value::from(""),
                Lack::Number => Value::from(0),
                Lack::False => Value::Bool(false),
                Lack::Null => Value::Null,
            }),
        };
        (*name, value)
    };
    Shown::Fields(names.iter().map(shown).collect())
}

/// Reads an answer that is an object of its own kind.
///
/// # Errors
/// As [`Answer::read`].
pub(crate) fn read_object(body: &[u8]) -> Result<Object, Failure> {
    // What is wrong with it is not shown: it may be a secret, or a page for people.
    json::parse_object(body)
        .map_err(|_| Failure::remote("the server's answer is not what a Vault server answers (no JSON object)"))
}

/// As [`read_object`], and what is in its `data` if it has that: some answers have their fields there, others at the top.
///
/// # Errors
/// As [`Answer::read`].
pub(crate) fn read_data(body: &[u8]) -> Result<Object, Failure> {
    let mut whole = read_object(body)?;
    match whole.remove("data") {
        Some(Value::Object(data)) => Ok(data),
        _ => Ok(whole),
    }
}

/// A text field, empty if it lacks.
pub(crate) fn text<'a>(object: &'a Object, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A number field, 0 if it lacks.
pub(crate) fn number(object: &Object, name: &str) -> i64 {
    match object.get(name) {
        Some(Value::Number(digits)) => digits.parse().unwrap_or(0),
        _ => 0,
    }
}

/// A field that is true or false, false if it lacks.
pub(crate) fn truth(object: &Object, name: &str) -> bool {
    object.get(name) == Some(&Value::Bool(true))
}

/// A list of texts, if it is one.
pub(crate) fn texts(value: Option<&Value>) -> Option<Vec<String>> {
    match value {
        Some(Value::Array(values)) => Some(values.iter().map(plain::value).collect()),
        _ => None,
    }
}

fn take_object(object: &mut Object, name: &str) -> Option<Object> {
    match object.remove(name) {
        Some(Value::Object(inner)) => Some(inner),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn odd_answers_are_empty_or_refused_and_never_shown() {
        assert!(Answer::read(b"").unwrap().is_none());
        assert!(Answer::read(b" \n").unwrap().is_none());
        for odd in [&b"<html>hunter2</html>"[..], b"null", b"[]", b"\"hunter2\"", b"{\"a\":", b"\xff"] {
            let failure = Answer::read(odd).err().unwrap();
            assert!(failure.status == 2 && !failure.message.contains("hunter2"));
        }
        for odd in [
            r#"{"data":null,"auth":null,"wrap_info":null}"#,
            r#"{"data":[1],"auth":"x","wrap_info":7,"warnings":{},"lease_duration":"x","renewable":1}"#,
            r#"{"auth":{},"wrap_info":{},"data":{},"lease_id":5}"#,
        ] {
            let answer = Answer::read(odd.as_bytes()).unwrap().unwrap();
            let _ = (answer.rows(), answer.shown().text(crate::show::Format::Json), answer.field("token"));
        }
    }
}
