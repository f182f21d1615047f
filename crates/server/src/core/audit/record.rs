//! A record as one line of JSON, in the peer's form. Texts are hashed, keys of objects and numbers are not.

use super::Device;
use crate::core::mount::{Class, Mount};
use crate::core::time_text;
use crate::json::{Object, Value, map_strings};
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

impl Record<'_> {
    pub(super) fn request_line(&self, device: &Device) -> Vec<u8> {
        self.line(device, "request", None)
    }

    pub(super) fn response_line(&self, device: &Device) -> Vec<u8> {
        self.line(device, "response", Some(self.answer(device)))
    }

    fn line(&self, device: &Device, kind: &str, answer: Option<Vec<u8>>) -> Vec<u8> {
        let mut out = Vec::with_capacity(1536);
        out.extend_from_slice(device.form.prefix.as_bytes());
        out.extend_from_slice(b"{\"time\":\"");
        out.extend_from_slice(jiff::Timestamp::now().to_string().as_bytes());
        out.extend_from_slice(b"\",\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"auth\":");
        Value::from(self.auth(device)).write_to(&mut out);
        out.extend_from_slice(b",\"request\":");
        Value::from(self.asked(device)).write_to(&mut out);
        if let Some(answer) = answer {
            out.extend_from_slice(b",\"response\":");
            out.extend_from_slice(&answer);
        }
        if let Some(error) = self.error {
            out.extend_from_slice(b",\"error\":");
            Value::from(error.messages.join("; ")).write_to(&mut out);
        }
        out.extend_from_slice(b"}\n");
        out
    }

    fn auth(&self, device: &Device) -> Object {
        let Some(caller) = self.caller else { return object! { "token_type": "default" } };
        let entry = &caller.entry;
        let allowed = self.error.is_none_or(|error| error.status != 403);
        let mut auth = object! {
            "accessor": device.accessor(&entry.accessor),
            "display_name": entry.auth.display_name.as_str(),
            "policies": entry.policies.as_slice(),
            "token_policies": entry.policies.as_slice(),
            "policy_results": object! { "allowed": allowed },
            "token_type": entry.token_type().name(),
            "token_issue_time": time_text(entry.created / 1_000_000_000 * 1_000_000_000),
        };
        if let Some(token) = &self.request.token {
            auth.insert("client_token".to_owned(), device.text(token.expose()).into());
        }
        if !entry.auth.metadata.is_empty() {
            auth.insert("metadata".to_owned(), (&entry.auth.metadata).into());
        }
        if entry.ttl > 0 {
            auth.insert("token_ttl".to_owned(), entry.ttl.into());
        }
        auth
    }

    fn asked(&self, device: &Device) -> Object {
        let request = self.request;
        let mut asked = object! {
            "id": request.id.as_str(),
            "operation": request.operation.name(),
            "namespace": object! { "id": "root" },
            "path": device.path(&request.path),
            "remote_address": request.remote.map_or_else(String::new, |remote| remote.to_canonical().to_string()),
            "remote_port": request.remote_port,
        };
        self.add_mount(&mut asked);
        if let Some(token) = &request.token {
            asked.insert("client_token".to_owned(), device.text(token.expose()).into());
        }
        if let Some(caller) = self.caller {
            asked.insert("client_token_accessor".to_owned(), device.accessor(&caller.entry.accessor).into());
        }
        if !request.data.is_empty() {
            let shown = self.mount.map_or(&[][..], |mount| &mount.entry.config.audit_non_hmac_request_keys);
            // Whoever is nobody writes no long records.
            let data = if self.caller.is_some() || is_small(&request.data) {
                device.data(&request.data, shown)
            } else {
                object! { "fields_omitted": request.data.len() }.into()
            };
            asked.insert("data".to_owned(), data);
        }
        if let Some(ttl) = request.wrap_ttl {
            asked.insert("wrap_ttl".to_owned(), ttl.as_secs().into());
        }
        asked
    }

    fn add_mount(&self, to: &mut Object) {
        let Some(mount) = self.mount else { return };
        let class = if mount.entry.class == Class::Auth { "auth" } else { "secret" };
        to.extend(object! {
            "mount_point": mount.info.path.as_str(),
            "mount_type": mount.entry.kind.as_str(),
            "mount_accessor": mount.entry.accessor.as_str(),
            "mount_class": class,
        });
    }

    fn answer(&self, device: &Device) -> Vec<u8> {
        let mut answer = Object::new();
        self.add_mount(&mut answer);
        if let Some(response) = self.response {
            self.add_response(device, response, &mut answer);
        }
        if let Some(error) = self.error
            && !error.messages.is_empty()
        {
            let texts: Vec<String> = error.messages.iter().map(|text| device.text(text)).collect();
            answer.insert("data".to_owned(), object! { "error": texts.join("; ") }.into());
        }
        Value::from(answer).to_vec()
    }

    fn add_response(&self, device: &Device, response: &Response, answer: &mut Object) {
        if let Some(data) = &response.data {
            let shown = self.mount.map_or(&[][..], |mount| &mount.entry.config.audit_non_hmac_response_keys);
            let lists = matches!(self.request.operation, Operation::List | Operation::Scan);
            let data =
                if lists && device.form.elide_lists { elided(device, data, shown) } else { device.data(data, shown) };
            answer.insert("data".to_owned(), data);
        }
        if let Some(issued) = &response.issued {
            let mut auth = object! {
                "client_token": device.text(issued.token.expose()),
                "accessor": device.accessor(&issued.accessor),
                "policies": issued.policies.as_slice(),
                "token_policies": issued.policies.as_slice(),
                "token_type": issued.token_type.name(),
                "token_ttl": issued.lease_duration,
            };
            if !issued.metadata.is_empty() {
                auth.insert("metadata".to_owned(), (&issued.metadata).into());
            }
            answer.insert("auth".to_owned(), auth.into());
        }
        if let Some((id, ..)) = &response.lease {
            answer.insert("secret".to_owned(), object! { "lease_id": id.as_str() }.into());
        }
        if let Some(info) = &response.wrap_info {
            let mut wrap = object! {
                "ttl": info.ttl,
                "token": device.text(info.token.expose()),
                "accessor": device.accessor(&info.accessor),
                "creation_time": info.created.to_string(),
                "creation_path": info.path.as_str(),
            };
            if let Some(accessor) = &info.wrapped_accessor {
                wrap.insert("wrapped_accessor".to_owned(), device.accessor(accessor).into());
            }
            answer.insert("wrap_info".to_owned(), wrap.into());
        }
        if !response.warnings.is_empty() {
            answer.insert("warnings".to_owned(), response.warnings.as_slice().into());
        }
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
fn elided(device: &Device, data: &Object, shown: &[String]) -> Value {
    let mut few = data.clone();
    if let Some(Value::Array(keys)) = data.get("keys") {
        few.insert("keys".to_owned(), keys.len().into());
    }
    if let Some(Value::Object(info)) = data.get("key_info") {
        few.insert("key_info".to_owned(), info.len().into());
    }
    device.data(&few, shown)
}

/// Behind these a path ends with a token.
const TOKEN_PATHS: [&str; 2] = ["auth/token/lookup/", "auth/token/renew/"];

impl Device {
    fn text(&self, text: &str) -> String {
        if self.form.raw || text.is_empty() { text.to_owned() } else { self.hash(text) }
    }

    /// A path without the token that old clients put into it.
    fn path(&self, path: &str) -> String {
        match TOKEN_PATHS.iter().find_map(|before| Some((before, path.strip_prefix(before)?))) {
            Some((before, token)) if !token.is_empty() => format!("{before}{}", self.text(token)),
            _ => path.to_owned(),
        }
    }

    fn accessor(&self, accessor: &str) -> String {
        if self.form.hash_accessors { self.text(accessor) } else { accessor.to_owned() }
    }

    fn data(&self, data: &Object, shown: &[String]) -> Value {
        if self.form.raw {
            return data.clone().into();
        }
        let hashed = data.iter().map(|(key, value)| {
            if shown.contains(key) {
                return (key.clone(), value.clone());
            }
            let mut out = Vec::new();
            map_strings(value, &|text| self.hash(text), &mut out);
            (key.clone(), Value::Raw(out.into()))
        });
        Value::Object(hashed.collect())
    }
}
