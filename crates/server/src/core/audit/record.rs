//! A record as one line of JSON, in the peer's form. Texts are hashed, keys of objects and numbers are not.

use std::borrow::Cow;
use std::ops::Range;

use super::Device;
use crate::core::mount::{Class, Mount};
use crate::core::{time_text, token};
use crate::json::{self, Object, Value, map_strings};
use crate::logical::{Caller, Error, Operation, Request, Response};

/// What is written down.
pub struct Record<'a> {
    /// What is asked.
    pub request: &'a Request,
    /// By whom.
    pub caller: Option<&'a Caller>,
    /// Of which mount.
    pub mount: Option<&'a Mount>,
    /// What is answered.
    pub response: Option<&'a Response>,
    /// Why it is not.
    pub error: Option<&'a Error>,
}

/// A record of what is asked, and its parts that the record of what is answered has too.
pub(super) struct Line {
    pub text: Vec<u8>,
    auth: Range<usize>,
    asked: Range<usize>,
    /// What the first of those says.
    allowed: bool,
    pub written: bool,
}

impl Record<'_> {
    /// The record of what is asked.
    pub(super) fn asked(&self, device: &Device) -> Line {
        let token = self.request.token.as_ref().map(|token| device.text(token.expose()));
        let mut out = Vec::with_capacity(1536);
        begin(device, "request", &mut out);
        let start = out.len();
        self.write_auth(device, token.as_deref(), &mut out);
        let auth = start..out.len();
        out.extend_from_slice(b",\"request\":");
        let start = out.len();
        self.write_request(device, token.as_deref(), &mut out);
        let asked = start..out.len();
        self.end(device, &mut out);
        Line { text: out, auth, asked, allowed: self.is_allowed(), written: false }
    }

    /// The record of what is answered, behind what is in `out`.
    pub(super) fn answered(&self, device: &Device, asked: &Line, mut out: Vec<u8>) -> Vec<u8> {
        begin(device, "response", &mut out);
        if asked.allowed == self.is_allowed() {
            out.extend_from_slice(&asked.text[asked.auth.clone()]);
        } else {
            let token = self.request.token.as_ref().map(|token| device.text(token.expose()));
            self.write_auth(device, token.as_deref(), &mut out);
        }
        out.extend_from_slice(b",\"request\":");
        out.extend_from_slice(&asked.text[asked.asked.clone()]);
        out.extend_from_slice(b",\"response\":");
        self.write_answer(device, &mut out);
        self.end(device, &mut out);
        out
    }

    fn end(&self, device: &Device, out: &mut Vec<u8>) {
        if let Some(error) = self.error {
            out.extend_from_slice(b",\"error\":");
            json::write_string(&if device.form.raw { error.messages.join("; ") } else { word(error).to_owned() }, out);
        }
        out.extend_from_slice(b"}\n");
    }

    fn is_allowed(&self) -> bool {
        self.error.is_none_or(|error| error.status != 403)
    }

    fn write_auth(&self, device: &Device, token: Option<&str>, out: &mut Vec<u8>) {
        let mut auth = Fields::begin(out);
        let Some(caller) = self.caller else {
            auth.text("token_type", "default");
            return auth.end();
        };
        let entry = &caller.entry;
        auth.text("accessor", &device.accessor(&entry.accessor));
        if let Some(token) = token {
            auth.text("client_token", token);
        }
        auth.text("display_name", &entry.auth.display_name);
        if !entry.auth.metadata.is_empty() {
            auth.value("metadata", &(&entry.auth.metadata).into());
        }
        auth.texts("policies", &entry.policies);
        auth.value("policy_results", &object! { "allowed": self.is_allowed() }.into());
        auth.text("token_issue_time", &time_text(entry.created / 1_000_000_000 * 1_000_000_000));
        auth.texts("token_policies", &entry.policies);
        if entry.ttl > 0 {
            auth.value("token_ttl", &entry.ttl.into());
        }
        auth.text("token_type", entry.token_type().name());
        auth.end();
    }

    fn write_request(&self, device: &Device, token: Option<&str>, out: &mut Vec<u8>) {
        let request = self.request;
        let mut asked = Fields::begin(out);
        if let Some(token) = token {
            asked.text("client_token", token);
        }
        if let Some(caller) = self.caller {
            asked.text("client_token_accessor", &device.accessor(&caller.entry.accessor));
        }
        if !request.data.is_empty() {
            let shown = self.mount.map_or(&[][..], |mount| &mount.entry.config.audit_non_hmac_request_keys);
            // Whoever is nobody writes no long records.
            if self.caller.is_some() || is_small(&request.data) {
                device.write_data(&request.data, shown, asked.name("data"));
            } else {
                asked.value("data", &object! { "fields_omitted": request.data.len() }.into());
            }
        }
        asked.text("id", &request.id);
        self.write_mount(&mut asked);
        asked.value("namespace", &object! { "id": "root" }.into());
        asked.text("operation", request.operation.name());
        asked.text("path", &device.path(&request.path));
        let remote = request.remote.map_or_else(String::new, |remote| remote.to_canonical().to_string());
        asked.text("remote_address", &remote);
        asked.value("remote_port", &request.remote_port.into());
        if let Some(ttl) = request.wrap_ttl {
            asked.value("wrap_ttl", &ttl.as_secs().into());
        }
        asked.end();
    }

    fn write_mount(&self, to: &mut Fields<'_>) {
        let Some(mount) = self.mount else { return };
        to.text("mount_accessor", &mount.entry.accessor);
        to.text("mount_class", if mount.entry.class == Class::Auth { "auth" } else { "secret" });
        to.text("mount_point", &mount.info.path);
        to.text("mount_type", &mount.entry.kind);
    }

    fn write_answer(&self, device: &Device, out: &mut Vec<u8>) {
        let mut answer = Fields::begin(out);
        if let Some(issued) = self.response.and_then(|response| response.issued.as_ref()) {
            let mut auth = object! {
                "client_token": device.text(issued.token.expose()),
                "accessor": &*device.accessor(&issued.accessor),
                "policies": issued.policies.as_slice(),
                "token_policies": issued.policies.as_slice(),
                "token_type": issued.token_type.name(),
                "token_ttl": issued.lease_duration,
            };
            if !issued.metadata.is_empty() {
                auth.insert("metadata".to_owned(), (&issued.metadata).into());
            }
            answer.value("auth", &auth.into());
        }
        self.write_answered_data(device, &mut answer);
        self.write_mount(&mut answer);
        let Some(response) = self.response else { return answer.end() };
        if let Some((id, ..)) = &response.lease {
            answer.value("secret", &object! { "lease_id": id.as_str() }.into());
        }
        if !response.warnings.is_empty() {
            answer.texts("warnings", &response.warnings);
        }
        if let Some(info) = &response.wrap_info {
            let mut wrap = object! {
                "ttl": info.ttl,
                "token": device.text(info.token.expose()),
                "accessor": &*device.accessor(&info.accessor),
                "creation_time": info.created.to_string(),
                "creation_path": device.path(&info.path),
            };
            if let Some(accessor) = &info.wrapped_accessor {
                wrap.insert("wrapped_accessor".to_owned(), (&*device.accessor(accessor)).into());
            }
            answer.value("wrap_info", &wrap.into());
        }
        answer.end();
    }

    fn write_answered_data(&self, device: &Device, answer: &mut Fields<'_>) {
        if let Some(error) = self.error.filter(|error| !error.messages.is_empty()) {
            let texts: Vec<String> = error.messages.iter().map(|text| device.text(text)).collect();
            return answer.value("data", &object! { "error": texts.join("; ") }.into());
        }
        let Some(data) = self.response.and_then(|response| response.data.as_ref()) else { return };
        let shown = self.mount.map_or(&[][..], |mount| &mount.entry.config.audit_non_hmac_response_keys);
        let lists = matches!(self.request.operation, Operation::List | Operation::Scan);
        if lists && device.form.elide_lists {
            device.write_data(&elided(data), shown, answer.name("data"));
        } else {
            device.write_data(data, shown, answer.name("data"));
        }
    }
}

/// What the record of a request says that is one too many by a quota.
pub const QUOTA: &str = "rate limit quota exceeded";

/// What went wrong, without the text that the client gets: that may quote what was sent, and its hash is with the answer.
fn word(error: &Error) -> &'static str {
    match error.status {
        400 => "invalid request",
        403 => "permission denied",
        404 => "not found",
        405 => "unsupported operation",
        413 => "request too large",
        429 if error.messages.iter().any(|text| text == QUOTA) => QUOTA,
        429 => "too many requests",
        503 => "not available",
        status if status < 500 => "refused",
        _ => "internal error",
    }
}

/// What every record begins with, up to whose it is.
fn begin(device: &Device, kind: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(device.form.prefix.as_bytes());
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(jiff::Timestamp::now().to_string().as_bytes());
    out.extend_from_slice(b"\",\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"auth\":");
}

/// An object of a record, its fields in the order of their names.
struct Fields<'o> {
    out: &'o mut Vec<u8>,
    more: bool,
}

impl<'o> Fields<'o> {
    fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, more: false }
    }

    /// Writes a name that needs no escapes, and gives where its value goes.
    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        if std::mem::replace(&mut self.more, true) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    fn text(&mut self, name: &str, text: &str) {
        json::write_string(text, self.name(name));
    }

    fn texts(&mut self, name: &str, texts: &[String]) {
        let out = self.name(name);
        out.push(b'[');
        for (at, text) in texts.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            json::write_string(text, out);
        }
        out.push(b']');
    }

    fn value(&mut self, name: &str, value: &Value) {
        value.write_to(self.name(name));
    }

    fn end(self) {
        self.out.push(b'}');
    }
}

/// How much a request of nobody may have to be written down: what every login fits in.
const NOBODY_VALUES: usize = 64;
const NOBODY_BYTES: usize = 32 << 10;

fn is_small(data: &Object) -> bool {
    let (mut values, mut bytes) = (0, 0);
    let mut rest: Vec<&Value> = Vec::new();
    for (key, value) in data {
        bytes += key.len();
        rest.push(value);
    }
    while let Some(value) = rest.pop() {
        values += 1;
        match value {
            Value::String(text) => bytes += text.len(),
            Value::Number(digits) => bytes += digits.len(),
            Value::Raw(text) => bytes += text.len(),
            Value::Array(many) => rest.extend(many.iter().take(NOBODY_VALUES + 1)),
            Value::Object(object) => {
                bytes += object.keys().map(String::len).sum::<usize>();
                rest.extend(object.values().take(NOBODY_VALUES + 1));
            }
            Value::Null | Value::Bool(_) => {}
        }
        if values > NOBODY_VALUES || bytes > NOBODY_BYTES {
            return false;
        }
    }
    true
}

/// Of a listing how many names there are, not which.
fn elided(data: &Object) -> Object {
    let mut few = data.clone();
    if let Some(Value::Array(keys)) = data.get("keys") {
        few.insert("keys".to_owned(), keys.len().into());
    }
    if let Some(Value::Object(info)) = data.get("key_info") {
        few.insert("key_info".to_owned(), info.len().into());
    }
    few
}

/// Behind these a path ends with a token, for old clients; of some they are told that there is no such path.
const TOKEN_PATHS: [&str; 4] =
    ["auth/token/lookup/", "auth/token/renew/", "auth/token/revoke/", "auth/token/revoke-orphan/"];

/// What tokens begin with, this server's and others'.
const TOKEN_PREFIXES: [&str; 6] = ["s.", "b.", "r.", "hvs.", "hvb.", "hvr."];

/// Whether a segment of a path looks like a token that got there by mistake.
fn is_like_token(segment: &str) -> bool {
    segment.len() >= token::TEXT && TOKEN_PREFIXES.iter().any(|prefix| segment.starts_with(prefix))
}

impl Device {
    fn text(&self, text: &str) -> String {
        if self.form.raw || text.is_empty() { text.to_owned() } else { self.hash(text) }
    }

    /// A path without a token in it.
    fn path(&self, path: &str) -> String {
        match TOKEN_PATHS.iter().find_map(|before| Some((before, path.strip_prefix(before)?))) {
            Some((before, token)) if !token.is_empty() => return format!("{before}{}", self.text(token)),
            _ => {}
        }
        if !path.split('/').any(is_like_token) {
            return path.to_owned();
        }
        let hashed = |segment: &str| if is_like_token(segment) { self.text(segment) } else { segment.to_owned() };
        path.split('/').map(hashed).collect::<Vec<_>>().join("/")
    }

    fn accessor<'a>(&self, accessor: &'a str) -> Cow<'a, str> {
        if self.form.hash_accessors { self.text(accessor).into() } else { accessor.into() }
    }

    fn write_data(&self, data: &Object, shown: &[String], out: &mut Vec<u8>) {
        if self.form.raw {
            return json::write_object(data, out);
        }
        out.push(b'{');
        for (at, (key, value)) in data.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            json::write_string(key, out);
            out.push(b':');
            if shown.contains(key) {
                value.write_to(out);
            } else {
                map_strings(value, &|text| self.hash(text), out);
            }
        }
        out.push(b'}');
    }
}
