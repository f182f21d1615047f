//! sprig's URLs: taken apart and put together as Go's `net/url` does it (RFC 3986 with its liberties).

use std::fmt::Write as _;

use super::{Args, Function, Param};
use crate::error::Failure;
use crate::limits::Meter;
use crate::text::{Buf, Text};
use crate::value::{Map, Value};

pub(super) fn add(all: &mut Vec<Function>) {
    let f = Function::plain;
    all.extend([f("urlParse", &[Param::Text], parse), f("urlJoin", &[Param::Map], join)]);
}

/// Where in a URL a character stands decides whether it is escaped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Path,
    Host,
    User,
    Fragment,
}

fn parse(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let text = args.text(0);
    meter.memory(text.len() * 4 + 2048)?;
    if text.iter().any(|&byte| byte < 0x20 || byte == 0x7f) {
        return Err("unable to parse url: invalid control character in URL".into());
    }
    let (text, fragment) = cut(text, b'#');
    let fragment = unescape(fragment.unwrap_or_default(), Part::Fragment)?;
    let (scheme, rest) = scheme(text)?;
    let (rest, query) = cut(rest, b'?');
    if text == b"*" {
        // Escaped nowhere.
        return Ok(parts(Url { path: Text::from("*"), fragment, ..Url::default() }));
    }
    let mut url = Url {
        scheme: Text::from(scheme.to_ascii_lowercase()),
        query: query.unwrap_or_default().into(),
        ..Url::default()
    };
    url.fragment = fragment;
    url.read(rest, !scheme.is_empty())?;
    Ok(parts(url))
}

fn parts(url: Url) -> Value {
    let hostname = Text::from(hostname(url.host.expose()));
    let userinfo = url.user.as_ref().map(User::write).unwrap_or_default();
    Value::map(
        [
            ("scheme", url.scheme),
            ("host", url.host),
            ("hostname", hostname),
            ("path", url.path),
            ("query", url.query),
            ("opaque", url.opaque),
            ("fragment", url.fragment),
            ("userinfo", userinfo),
        ]
        .map(|(name, part)| (Text::from(name), Value::Text(part))),
    )
}

#[derive(Default)]
struct Url {
    scheme: Text,
    opaque: Text,
    user: Option<User>,
    host: Text,
    path: Text,
    query: Text,
    fragment: Text,
}

impl Url {
    /// Between the scheme and the query.
    fn read(&mut self, mut rest: &[u8], has_scheme: bool) -> Result<(), Failure> {
        if !rest.starts_with(b"/") {
            if has_scheme {
                self.opaque = rest.into();
                return Ok(());
            }
            // "a:b" is no path, lest it be taken for a scheme.
            let segment = rest.split(|&byte| byte == b'/').next().unwrap_or_default();
            if segment.contains(&b':') {
                return Err("unable to parse url: first path segment in URL cannot contain colon".into());
            }
        }
        if (has_scheme || !rest.starts_with(b"///")) && rest.starts_with(b"//") {
            let after = &rest[2..];
            let end = after.iter().position(|&byte| byte == b'/').unwrap_or(after.len());
            self.authority(&after[..end])?;
            rest = &after[end..];
        }
        self.path = unescape(rest, Part::Path)?;
        Ok(())
    }

    fn authority(&mut self, text: &[u8]) -> Result<(), Failure> {
        let at = text.iter().rposition(|&byte| byte == b'@');
        let last_colon = !matches!(self.scheme.expose(), b"http" | b"https");
        self.host = host(at.map_or(text, |at| &text[at + 1..]), last_colon)?;
        let Some(at) = at else { return Ok(()) };
        let user = &text[..at];
        if !user.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte)) {
            return Err("unable to parse url: invalid userinfo".into());
        }
        let (name, password) = cut(user, b':');
        self.user = Some(User {
            name: unescape(name, Part::User)?,
            password: password.map(|password| unescape(password, Part::User)).transpose()?,
        });
        Ok(())
    }
}

struct User {
    name: Text,
    password: Option<Text>,
}

impl User {
    fn write(&self) -> Text {
        let mut out = Buf::new(usize::MAX);
        escape(self.name.expose(), Part::User, &mut out);
        if let Some(password) = &self.password {
            out.push_byte(b':');
            escape(password.expose(), Part::User, &mut out);
        }
        out.into_text()
    }
}

fn cut(text: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|&byte| byte == at) {
        Some(place) => (&text[..place], Some(&text[place + 1..])),
        None => (text, None),
    }
}

/// The scheme, which may be empty, and what follows its colon.
fn scheme(text: &[u8]) -> Result<(&[u8], &[u8]), Failure> {
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("unable to parse url: missing protocol scheme".into()),
            b':' => return Ok((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Ok((b"", text))
}

/// The host and its port. In other schemes than HTTP's, several hosts may stand beside each other: the last colon counts.
fn host(text: &[u8], last_colon: bool) -> Result<Text, Failure> {
    let valid_port = |port: &[u8]| match port.split_first() {
        None => true,
        Some((b':', digits)) => digits.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    };
    let invalid = || Failure::from("unable to parse url: invalid port after host");
    if text.starts_with(b"[") {
        let close = text.iter().rposition(|&byte| byte == b']').ok_or("unable to parse url: missing ']' in host")?;
        if !valid_port(&text[close + 1..]) {
            return Err(invalid());
        }
        let address = std::str::from_utf8(&text[1..close]).unwrap_or_default();
        let address = address.split_once("%25").map_or(address, |(address, _)| address);
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return Err("unable to parse url: invalid host".into());
        }
    } else if text.contains(&b'[') || text.contains(&b']') {
        return Err("unable to parse url: invalid host".into());
    } else {
        let is_colon = |&byte: &u8| byte == b':';
        let colon = if last_colon { text.iter().rposition(is_colon) } else { text.iter().position(is_colon) };
        if colon.is_some_and(|colon| !valid_port(&text[colon..])) {
            return Err(invalid());
        }
    }
    unescape(text, Part::Host)
}

/// The host without its port and brackets.
fn hostname(host: &[u8]) -> &[u8] {
    let colon = host.iter().rposition(|&byte| byte == b':');
    let port = colon.filter(|&colon| host[colon + 1..].iter().all(u8::is_ascii_digit));
    let host = port.map_or(host, |colon| &host[..colon]);
    let inner = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
    inner.unwrap_or(host)
}

fn unescape(text: &[u8], part: Part) -> Result<Text, Failure> {
    // Never longer than what is escaped.
    let mut out = Buf::new(text.len());
    let mut at = 0;
    while at < text.len() {
        let byte = text[at];
        if byte == b'%' {
            let digit = |at: usize| text.get(at).and_then(|&byte| char::from(byte).to_digit(16));
            let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
                return Err("unable to parse url: invalid URL escape".into());
            };
            let code = u8::try_from(high * 16 + low).unwrap_or(0);
            // In a host only what is no ASCII is escaped, and the zone of an address.
            if part == Part::Host && code < 0x80 && &text[at..at + 3] != b"%25" {
                return Err("unable to parse url: invalid URL escape".into());
            }
            out.push_byte(code);
            at += 3;
            continue;
        }
        if part == Part::Host && byte < 0x80 && !is_host(byte) {
            return Err("unable to parse url: invalid character in host name".into());
        }
        out.push_byte(byte);
        at += 1;
    }
    Ok(out.into_text())
}

fn is_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte)
}

fn escape(text: &[u8], part: Part, out: &mut Buf) {
    for &byte in text {
        let plain = byte.is_ascii_alphanumeric()
            || b"-_.~".contains(&byte)
            || match part {
                Part::Path => b"$&+,/:;=@".contains(&byte),
                Part::User => b"$&+,;=".contains(&byte),
                Part::Fragment => b"$&+,/:;=?@!()*".contains(&byte),
                Part::Host => is_host(byte),
            };
        if plain {
            out.push_byte(byte);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

fn join(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let map = args.map(0);
    let scheme = part(&map, "scheme")?;
    let opaque = part(&map, "opaque")?;
    let host_text = part(&map, "host")?;
    let path = part(&map, "path")?;
    let query = part(&map, "query")?;
    let fragment = part(&map, "fragment")?;
    let userinfo = part(&map, "userinfo")?;
    let length: usize =
        [&scheme, &opaque, &host_text, &path, &query, &fragment, &userinfo].iter().map(|p| p.len()).sum();
    meter.memory(length * 6 + 64)?;
    let mut user = None;
    if !userinfo.is_empty() {
        let mut authority = Buf::new(usize::MAX);
        authority.push(userinfo.expose());
        authority.push(b"@host");
        let (before, _) = cut(authority.bytes(), b'#');
        let (before, _) = cut(before, b'?');
        let end = before.iter().position(|&byte| byte == b'/').unwrap_or(before.len());
        let mut url = Url::default();
        url.authority(&before[..end]).map_err(|_| "unable to parse userinfo in dict")?;
        user = url.user;
    }
    let mut out = meter.buf();
    if !scheme.is_empty() {
        out.push(scheme.expose());
        out.push_byte(b':');
    }
    if opaque.is_empty() {
        let path_text = path.expose();
        let has_authority = !scheme.is_empty() || !host_text.is_empty() || user.is_some();
        if has_authority && (!host_text.is_empty() || !path.is_empty() || user.is_some()) {
            out.push(b"//");
            if let Some(user) = &user {
                out.push(user.write().expose());
                out.push_byte(b'@');
            }
            escape(host_text.expose(), Part::Host, &mut out);
        }
        if !path.is_empty() && !path_text.starts_with(b"/") && !host_text.is_empty() {
            out.push_byte(b'/');
        }
        let mut escaped = meter.buf();
        if path_text == b"*" {
            escaped.push(path_text);
        } else {
            escape(path_text, Part::Path, &mut escaped);
        }
        if out.len() == 0 {
            // "a:b" would be read as a scheme.
            let segment = escaped.bytes().split(|&byte| byte == b'/').next().unwrap_or_default();
            if segment.contains(&b':') {
                out.push(b"./");
            }
        }
        out.push(escaped.bytes());
    } else {
        out.push(opaque.expose());
    }
    if !query.is_empty() {
        out.push_byte(b'?');
        out.push(query.expose());
    }
    if !fragment.is_empty() {
        out.push_byte(b'#');
        escape(fragment.expose(), Part::Fragment, &mut out);
    }
    Ok(meter.text(out)?.into())
}

/// A part of the map, which must be a string where it is there.
fn part(map: &Map, name: &str) -> Result<Text, Failure> {
    match map.get(name.as_bytes()) {
        None => Ok(Text::from("")),
        Some(Value::Text(text)) => Ok(text),
        Some(other) => {
            Err(format!("unable to parse {name} key, must be of type string, but {} found", other.kind_name()).into())
        }
    }
}
