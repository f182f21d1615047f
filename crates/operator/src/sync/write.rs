//! Writing the Secret of a class: made if it is not there, changed if it is the class's, else left alone.
//!
//! A Secret is a class's if that is its controller. Nothing else makes it so: no label, no name. What is changed is that version of it which was looked at.
//! Labels and annotations that others put there stay. Answers have metadata alone: no value comes back.

use std::collections::BTreeMap;

use axum::http::{Request, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_core::SecretBytes;
use bulla_kube::api::SecretProviderClass;
use bulla_kube::apply::{self, Adoption};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Map, Value, json};

use crate::sealing::write::{Body, METADATA_ONLY, PLAIN_LABEL, without_contents};

/// The field manager.
pub const MANAGER: &str = "bulla-sync";
/// The value of [`PLAIN_LABEL`] on what is made of a class.
pub const PLAIN_VALUE: &str = "secret-provider-class";
/// The Secrets Store CSI driver's own label, by which its users find such Secrets.
const MANAGED: &str = "secrets-store.csi.k8s.io/managed";
/// What we made by `POST`.
const ADOPTION: Adoption<'_> = Adoption { predecessors: &[MANAGER], fields: &["data"] };

/// A Secret as it is to be.
pub struct Plain {
    /// Its name.
    pub name: String,
    /// Its type.
    pub type_: String,
    /// Its labels, but for those that it always has.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its values.
    pub data: BTreeMap<String, SecretBytes>,
}

/// Why it was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// It is somebody else's.
    #[error(
        "it is there and does not belong to SecretProviderClass {0}: it is left as it is. Delete it, or give the class's another name"
    )]
    Foreign(String),
    /// It is immutable, or of another type.
    #[error("it cannot be changed ({0}): delete it, and it is made anew when the volume is fetched next")]
    Unchangeable(String),
    /// Somebody changed it meanwhile; the next try sees what there is.
    #[error("it was changed meanwhile")]
    Conflict,
    /// The API server refused, or did not answer.
    #[error("{}", without_contents(&bulla_kube::client::describe(.0)))]
    Api(kube::Error),
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 409 => Self::Conflict,
            kube::Error::Api(status) if status.code == 422 && status.message.contains("immutable") => {
                Self::Unchangeable("it or its type is immutable".to_owned())
            }
            error => Self::Api(error),
        }
    }
}

/// Writes it.
///
/// # Errors
/// [`WriteError`]. Nothing was changed, except where the server did not answer.
pub async fn write(
    client: &Client,
    namespace: &str,
    class: &SecretProviderClass,
    plain: &Plain,
) -> Result<(), WriteError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let Some(there) = api.get_metadata_opt(&plain.name).await? else {
        return create(client, namespace, class, plain).await;
    };
    let mut current = there.metadata;
    if !belongs(&current, class) {
        return Err(WriteError::Foreign(class.name_any()));
    }
    if let Some(patch) = apply::adopt(&current, MANAGER, ADOPTION) {
        let patch = serde_json::from_value(patch).map_err(kube::Error::SerdeError)?;
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        current = match api.patch_metadata(&plain.name, &params, &Patch::<()>::Json(patch)).await {
            Ok(patched) => patched.metadata,
            // A test failed: it is another version by now.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 422) => return Err(WriteError::Conflict),
            Err(error) => return Err(error.into()),
        };
    }
    apply::apply(&api, &plain.name, MANAGER, &body(class, plain, Some(&current))).await?;
    Ok(())
}

async fn create(
    client: &Client,
    namespace: &str,
    class: &SecretProviderClass,
    plain: &Plain,
) -> Result<(), WriteError> {
    let request = Request::post(format!("/api/v1/namespaces/{namespace}/secrets?fieldManager={MANAGER}"))
        .header(header::ACCEPT, METADATA_ONLY)
        .header(header::CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(&body(class, plain, None)).map_err(kube::Error::SerdeError)?)
        .map_err(kube::Error::HttpError)?;
    client.request::<PartialObjectMeta<Secret>>(request).await?;
    Ok(())
}

/// Whether a Secret is a class's: the very object, not one of its name.
fn belongs(secret: &ObjectMeta, class: &SecretProviderClass) -> bool {
    let mut owners = secret.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && class.metadata.uid.as_deref() == Some(&owner.uid))
}

fn body(class: &SecretProviderClass, plain: &Plain, current: Option<&ObjectMeta>) -> Body {
    let data: Map<String, Value> =
        plain.data.iter().map(|(key, value)| (key.clone(), Value::String(STANDARD.encode(value.expose())))).collect();
    let mut labels = plain.labels.clone();
    labels.insert(PLAIN_LABEL.to_owned(), PLAIN_VALUE.to_owned());
    labels.insert(MANAGED.to_owned(), "true".to_owned());
    let mut metadata = json!({
        "name": plain.name,
        "labels": labels,
        "ownerReferences": [{
            "apiVersion": SecretProviderClass::api_version(&()),
            "kind": SecretProviderClass::kind(&()),
            "name": class.name_any(),
            "uid": class.metadata.uid,
            "controller": true,
        }],
    });
    if !plain.annotations.is_empty() {
        metadata["annotations"] = json!(plain.annotations);
    }
    if let Some(current) = current {
        metadata["uid"] = json!(current.uid);
        metadata["resourceVersion"] = json!(current.resource_version);
    }
    Body(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": plain.type_, "data": data}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(uid: &str) -> SecretProviderClass {
        let mut class = SecretProviderClass::default();
        (class.metadata.name, class.metadata.uid) = (Some("database".to_owned()), Some(uid.to_owned()));
        class
    }

    #[test]
    fn only_what_has_the_class_as_its_controller_is_its_own() {
        let secret = |owner: Value, labels: Value| {
            serde_json::from_value::<ObjectMeta>(json!({"ownerReferences": [owner], "labels": labels})).unwrap()
        };
        let owner = |uid: &str, controller: bool| json!({"apiVersion": "v1", "kind": "X", "name": "database", "uid": uid, "controller": controller});
        let labels = json!({PLAIN_LABEL: PLAIN_VALUE, MANAGED: "true"});
        assert!(belongs(&secret(owner("1", true), json!({})), &class("1")));
        // Another class of that name, one owner among several, and labels, which anybody may set.
        assert!(!belongs(&secret(owner("2", true), labels.clone()), &class("1")));
        assert!(!belongs(&secret(owner("1", false), labels.clone()), &class("1")));
        assert!(!belongs(&serde_json::from_value(json!({"labels": labels})).unwrap(), &class("1")));
    }

    #[test]
    fn a_secret_says_that_it_is_plain_and_whose_and_is_not_shown() {
        let plain = Plain {
            name: "db".to_owned(),
            type_: "Opaque".to_owned(),
            labels: [("app".to_owned(), "web".to_owned()), (PLAIN_LABEL.to_owned(), "no".to_owned())].into(),
            annotations: BTreeMap::new(),
            data: [("password".to_owned(), SecretBytes::from(&b"hunter2"[..]))].into(),
        };
        let body = body(&class("1"), &plain, None);
        assert_eq!(format!("{body:?}"), "a Secret");
        assert_eq!(body.0["metadata"]["labels"], json!({"app": "web", PLAIN_LABEL: PLAIN_VALUE, MANAGED: "true"}));
        assert_eq!(body.0["metadata"]["ownerReferences"][0]["uid"], "1");
        assert_eq!(body.0["data"]["password"], "aHVudGVyMg==");
    }
}
