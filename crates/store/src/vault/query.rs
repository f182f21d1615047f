//! What can be asked of a server: any path, read or written.

use bulla_core::Shown;
use serde::Serialize;
use zeroize::Zeroizing;

use reqwest::Method as HttpMethod;

/// How a path is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reading.
    #[default]
    Get,
    /// Writing.
    Put,
    /// Writing, too: servers make no difference.
    Post,
}

impl Method {
    /// Whether asking once more changes nothing at the far side, leases aside.
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Get)
    }

    pub(super) const fn http(self) -> HttpMethod {
        match self {
            Self::Get => HttpMethod::GET,
            Self::Put => HttpMethod::PUT,
            Self::Post => HttpMethod::POST,
        }
    }
}

/// A request for values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    pub(super) method: Method,
    pub(super) path: String,
    /// What follows a `?`, encoded.
    pub(super) parameters: Option<String>,
    pub(super) body: String,
}

impl Query {
    /// The request of `method` to a path as people write it: `/v1/` may stand before it, `?name=value` behind. `arguments` is sent as JSON.
    ///
    /// # Errors
    /// What is wrong with the path: it must not be able to name another one than it seems to.
    pub fn new(method: Method, written: &str, arguments: Option<&impl Serialize>) -> Result<Self, String> {
        let (path, query) = written.split_once('?').map_or((written, None), |(path, query)| (path, Some(query)));
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_prefix("v1/").unwrap_or(path);
        let forbidden = |c: char| c.is_control() || matches!(c, '%' | '#' | '\\');
        let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(forbidden);
        if path.len() > 2048 || !path.split('/').all(is_plain) {
            return Err(format!("{:?} is no path of a server's API, like secret/data/app", Shown(written, 200)));
        }
        if query.is_some_and(|query| {
            query.len() > 2048 || !query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
        }) {
            return Err(format!(
                "what follows the ? of {written:.200?} is no name=value&name=value, encoded as in a URL"
            ));
        }
        let body = arguments
            .map(serde_json::to_string)
            .transpose()
            .map_err(|_| "the arguments cannot be written as JSON".to_owned())?;
        let (path, parameters) = (path.to_owned(), query.filter(|query| !query.is_empty()).map(str::to_owned));
        Ok(Self { method, path, parameters, body: body.unwrap_or_default() })
    }

    /// How it is asked.
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The path below `/v1/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// All of it as one text, which no other request has. It names the arguments: for digests, not for people.
    pub fn text(&self) -> String {
        let Self { method, path, parameters, body } = self;
        format!("{method:?} {path}?{} {body}", parameters.as_deref().unwrap_or_default())
    }
}

/// A JSON object of texts, wiped when it is dropped.
pub(super) fn fields(fields: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    // Room for everything escaped: growing would leave pieces behind.
    let room = fields.iter().map(|(name, value)| 6 * (name.len() + value.len()) + 8).sum::<usize>() + 2;
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    text.push(b'{');
    for (n, (name, value)) in fields.iter().enumerate() {
        if n > 0 {
            text.push(b',');
        }
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(&mut *text, name);
        text.push(b':');
        let _ = serde_json::to_writer(&mut *text, value);
    }
    text.push(b'}');
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn get(path: &str) -> Result<Query, String> {
        Query::new(Method::Get, path, None::<&Value>)
    }

    #[test]
    fn a_path_is_taken_as_people_write_it() {
        for written in ["secret/data/a b", "/secret/data/a b", "/v1/secret/data/a b", "v1/secret/data/a b?"] {
            let query = get(written).unwrap();
            assert_eq!((query.path(), query.parameters.as_deref()), ("secret/data/a b", None), "{written}");
        }
        assert_eq!(get("secret/data/a?version=2").unwrap().parameters.as_deref(), Some("version=2"));
    }

    #[test]
    fn a_path_names_no_other_than_it_seems_to() {
        for written in [
            "",
            "/",
            "a/../b",
            "../sys/seal",
            "a/./b",
            "a//b",
            "a/",
            "a/%2e%2e/b",
            "a#b",
            "a\\b",
            "a\nb",
            "?x=1",
            "a?b c",
            "a?b#c",
            "a?ä",
        ] {
            assert!(get(written).is_err(), "{written:?}");
        }
        assert!(get(&"a/".repeat(2000)).is_err());
    }

    #[test]
    fn the_text_of_a_request_is_its_own() {
        let with = |method, path: &str, body: &str| {
            Query::new(method, path, Some(&serde_json::from_str::<Value>(body).unwrap())).unwrap().text()
        };
        let all = [
            with(Method::Put, "a", "{}"),
            with(Method::Post, "a", "{}"),
            with(Method::Post, "a?b=c", "{}"),
            with(Method::Post, "a", "{\"b\":1}"),
            get("a").unwrap().text(),
        ];
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn fields_are_json_and_never_grow() {
        assert_eq!(&**fields(&[("role", "a\"\u{1}b"), ("jwt", "x")]), br#"{"role":"a\"\u0001b","jwt":"x"}"#);
        let worst = "\u{1}".repeat(1000);
        assert!(fields(&[("n", &worst)]).capacity() < 7000);
    }
}
