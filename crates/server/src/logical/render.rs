//! An answer as the JSON that clients read.

use super::{Issued, Response, WrapInfo};
use crate::core::or_null;
use crate::json::{Object, Value};

/// The body of `response`.
pub fn render(response: &Response, request_id: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.push(b'{');
    // The oldest paths have their data at the top too, before the rest.
    if let (true, Some(data)) = (response.flat, &response.data) {
        for (key, value) in data {
            Value::from(key.as_str()).write_to(&mut out);
            out.push(b':');
            value.write_to(&mut out);
            out.push(b',');
        }
    }
    let wrapped = response.wrap_info.is_some();
    let mut field = |name: &str, value: &Value| {
        if out.last() != Some(&b'{') && out.last() != Some(&b',') {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        value.write_to(&mut out);
    };
    let (lease_id, lease_duration, renewable) = match &response.lease {
        Some((id, seconds, renewable)) => (id.as_str(), *seconds, *renewable),
        None => ("", response.lease_duration, false),
    };
    field("request_id", &Value::from(if wrapped { "" } else { request_id }));
    field("lease_id", &Value::from(lease_id));
    field("renewable", &Value::from(renewable));
    field("lease_duration", &Value::from(lease_duration));
    match &response.data {
        Some(data) if !wrapped => {
            field("data", &Value::Raw(Box::default()));
            crate::json::write_object(data, &mut out);
        }
        _ => field("data", &Value::Null),
    }
    let mut field = |name: &str, value: &Value| {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        value.write_to(&mut out);
    };
    field("wrap_info", &response.wrap_info.as_ref().map_or(Value::Null, |info| wrap_info(info).into()));
    field("warnings", &if response.warnings.is_empty() { Value::Null } else { response.warnings.as_slice().into() });
    field("auth", &response.issued.as_ref().map_or(Value::Null, |issued| auth(issued).into()));
    out.push(b'}');
    out.push(b'\n');
    out
}

/// A token that was made.
pub fn auth(issued: &Issued) -> Object {
    object! {
        "client_token": issued.token.expose(),
        "accessor": issued.accessor.as_str(),
        "policies": issued.policies.as_slice(),
        "token_policies": issued.policies.as_slice(),
        "metadata": or_null(&issued.metadata),
        "lease_duration": issued.lease_duration,
        "renewable": issued.renewable,
        "entity_id": "",
        "token_type": issued.token_type.name(),
        "orphan": issued.orphan,
        "mfa_requirement": Value::Null,
        "num_uses": issued.num_uses,
    }
}

fn wrap_info(info: &WrapInfo) -> Object {
    let mut object = object! {
        "token": info.token.expose(),
        "accessor": info.accessor.as_str(),
        "ttl": info.ttl,
        "creation_time": info.created.to_string(),
        "creation_path": info.path.as_str(),
    };
    if let Some(accessor) = &info.wrapped_accessor {
        object.insert("wrapped_accessor".to_owned(), accessor.as_str().into());
    }
    object
}
