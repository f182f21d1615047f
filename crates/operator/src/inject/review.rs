//! `AdmissionReview`, `admission.k8s.io/v1`, as far as it is read and written here.

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::pod::Pod;

/// The version that is spoken.
const VERSION: &str = "admission.k8s.io/v1";

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// Must be `admission.k8s.io/v1`.
    pub api_version: String,
    /// Must be `AdmissionReview`.
    pub kind: String,
    /// The question.
    pub request: Option<Request>,
}

/// The question.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Its number, which the answer repeats.
    pub uid: String,
    /// What is made.
    pub kind: Kind,
    /// Where.
    #[serde(default)]
    pub namespace: String,
    /// `CREATE`.
    pub operation: String,
    /// What of it; nothing is all of it.
    #[serde(default)]
    pub sub_resource: Option<String>,
    /// The object as it is to be made.
    #[serde(default, deserialize_with = "pod")]
    pub object: Option<Pod>,
}

/// A kind of objects.
#[derive(Debug, Deserialize)]
pub struct Kind {
    /// Its group.
    #[serde(default)]
    pub group: String,
    /// Its version.
    pub version: String,
    /// Its name.
    pub kind: String,
}

fn pod<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Pod>, D::Error> {
    Option::deserialize(deserializer)
}

impl Review {
    /// The question about a pod that is made; `None` if it is about something else, which is none of ours.
    ///
    /// # Errors
    /// What is wrong with the review.
    pub fn question(self) -> Result<(String, Option<(String, Pod)>), String> {
        if (self.api_version.as_str(), self.kind.as_str()) != (VERSION, "AdmissionReview") {
            return Err(format!("this is no AdmissionReview of {VERSION}"));
        }
        let request = self.request.ok_or("the AdmissionReview has no request")?;
        if request.uid.is_empty() || request.uid.len() > 128 {
            return Err("the request has no uid".to_owned());
        }
        let Kind { group, version, kind } = &request.kind;
        let is_ours = (group.as_str(), version.as_str(), kind.as_str()) == ("", "v1", "Pod")
            && request.operation == "CREATE"
            && request.sub_resource.as_deref().is_none_or(str::is_empty);
        if !is_ours {
            return Ok((request.uid, None));
        }
        let pod = request.object.ok_or("the request has no object")?;
        Ok((request.uid, Some((request.namespace, pod))))
    }
}

/// The answer that lets an object in, with these changes.
pub fn allowed(uid: &str, patch: &[Value]) -> Value {
    let mut response = json!({"uid": uid, "allowed": true});
    if !patch.is_empty() {
        use base64::Engine;
        let patch = base64::engine::general_purpose::STANDARD.encode(Value::from(patch).to_string());
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(patch);
    }
    json!({"apiVersion": VERSION, "kind": "AdmissionReview", "response": response})
}

/// The answer that does not, with the reason.
pub fn denied(uid: &str, reason: &str) -> Value {
    let status = json!({"code": 422, "reason": "Invalid", "message": reason});
    let response = json!({"uid": uid, "allowed": false, "status": status});
    json!({"apiVersion": VERSION, "kind": "AdmissionReview", "response": response})
}
