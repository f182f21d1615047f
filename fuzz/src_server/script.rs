//! Requests as text, so that a change of a few bytes is another request.
//!
//! ```text
//! alice GET /v1/team/app?list=true      who, the method, the path and the query as a request's first line has them
//! +X-Vault-Wrap-TTL: 60                 headers
//! {"token": "$wrap"}                    the body
//!                                       an empty line
//! alice~5 GET /v1/…                     with a token one byte of which is another
//! alice<5 GET /v1/…                     with so much of a token
//! alice>x GET /v1/…                     with a token and more
//! -  GET /v1/…                          with none
//! ```
//!
//! `$wrap`, `$token`, `$cipher` stand for the last that was answered, `$role`, `$secret`, `$share` for what is known of the server.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

/// So many requests are enough to find what two or three make together.
const MOST: usize = 8;

/// Whose token comes with a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Who<'a> {
    /// Nobody's.
    #[default]
    Nobody,
    /// That of a person, or the last that was issued.
    Holder(&'a str),
    /// A changed one.
    Forger(&'a str, Change<'a>),
}

/// What is done to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The byte at this place is another.
    Byte(usize),
    /// It is cut to this length.
    Cut(usize),
    /// It goes on.
    More(&'a str),
}

impl Change<'_> {
    /// The changed token; none if nothing is changed.
    pub fn apply(self, token: &str) -> Option<String> {
        let mut bytes = token.as_bytes().to_vec();
        match self {
            Self::Byte(at) => {
                let at = at.checked_rem(bytes.len())?;
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            }
            Self::Cut(length) => bytes.truncate(length),
            Self::More(more) => bytes.extend_from_slice(more.as_bytes()),
        }
        // Space around a token is none of it.
        let changed = String::from_utf8(bytes).ok()?.trim().to_owned();
        (changed != token).then_some(changed)
    }
}

/// A request that is not yet one.
#[derive(Debug, Default)]
pub struct Line<'a> {
    /// Who sends it.
    pub who: Who<'a>,
    method: &'a str,
    target: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: String,
}

/// The requests of an input.
pub fn parse(text: &str) -> Vec<Line<'_>> {
    let mut lines = text.lines().peekable();
    let mut all = Vec::new();
    while all.len() < MOST && lines.peek().is_some() {
        let block: Vec<&str> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        all.extend(request(&block));
    }
    all
}

fn request<'a>(block: &[&'a str]) -> Option<Line<'a>> {
    let (first, rest) = block.split_first()?;
    let mut words = first.splitn(3, ' ');
    let (who, method, target) = (words.next()?, words.next()?, words.next()?);
    let headers = rest.iter().filter_map(|line| line.strip_prefix('+')?.split_once(':'));
    let headers = headers.map(|(name, value)| (name.trim(), value.trim())).collect();
    let body: Vec<&str> = rest.iter().copied().filter(|line| !line.starts_with('+')).collect();
    Some(Line { who: self::who(who)?, method, target, headers, body: body.join("\n") })
}

fn who(text: &str) -> Option<Who<'_>> {
    if text == "-" {
        return Some(Who::Nobody);
    }
    let Some(at) = text.find(['~', '<', '>']) else { return Some(Who::Holder(text)) };
    let (name, how) = (&text[..at], &text[at + 1..]);
    let change = match text.as_bytes()[at] {
        b'~' => Change::Byte(how.parse().ok()?),
        b'<' => Change::Cut(how.parse().ok()?),
        _ => Change::More(how),
    };
    Some(Who::Forger(name, change))
}

/// A request.
#[derive(Debug)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub uri: Uri,
    /// Its headers but for the token.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

impl Line<'_> {
    /// The request, with texts in place of their names; none if no listener would read it.
    pub fn fill(&self, texts: &BTreeMap<String, String>) -> Option<Asked> {
        let method = Method::from_bytes(self.method.as_bytes()).ok()?;
        let uri: Uri = filled(self.target, texts).parse().ok()?;
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            headers.append(name, HeaderValue::from_str(&filled(value, texts)).ok()?);
        }
        let body = filled(&self.body, texts).into_bytes();
        Some(Asked { method, uri, headers, body })
    }
}

/// `text` with each `$name` that is known replaced. What is put in is not looked at again.
fn filled(text: &str, texts: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let found = texts.iter().find(|(name, _)| rest.starts_with(name.as_str()));
        match found {
            Some((name, text)) => {
                out.push_str(text);
                rest = &rest[name.len()..];
            }
            None => out.push('$'),
        }
    }
    out + rest
}
