//! Writing the Secret: made if it is not there, changed if it is ours or we were invited, else left alone.
//!
//! | the Secret | is written |
//! |---|---|
//! | is not there | by `POST`, one request |
//! | has this SealedSecret as its controller, or has no owner and its data under our field manager | by server-side apply: values and labels that the SealedSecret no longer has go, labels and annotations that others set stay |
//! | is annotated `sealedsecrets.bitnami.com/managed: "true"` | likewise, and its owner becomes the SealedSecret |
//! | is annotated `sealedsecrets.bitnami.com/patch: "true"` | by server-side apply of our part: what others set stays |
//! | anything else | not |
//!
//! Every change carries the uid and the version it was decided on. Answers have metadata alone: no value comes back.
//!
//! **Not written at all** is a Secret that would give its author more than a Secret: a sealing key (by its label, or by the name that this
//! controller's keys have), since the next controller would seal to it; and a token of a service account
//! (`kubernetes.io/service-account-token`), which the cluster fills with somebody's credentials, unless the operator allows it.
//! sealed-secrets' controller writes them.
//!
//! **Immutable Secrets** (and types, which never change) cannot be changed. We do not delete them by ourselves, since between deletion
//! and creation pods cannot start, and running ones keep the old value anyway: the error says how. Whoever deletes such a Secret gets
//! the new one at once. With `bulla.dev/recreate-immutable: "true"` on the SealedSecret the controller deletes it itself, if it is the
//! SealedSecret's own.

use axum::http::{Request, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_kube::SecretSeen;
use bulla_kube::api::SealedSecret;
use bulla_kube::api::sealed_secret::{MANAGED, PATCH};
use bulla_kube::apply::{self, Adoption};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource, ResourceExt};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::keys::secret::KEY_LABEL;
use super::open::Contents;

/// The field manager.
pub const MANAGER: &str = "bulla-sealing";
/// On every Secret that this controller wrote: it is a plain Secret, and where from.
pub const PLAIN_LABEL: &str = "bulla.dev/plain";
/// The label's value on a Secret that is a SealedSecret's.
pub const PLAIN_VALUE: &str = "sealed-secret";
/// The label's value on a Secret of somebody else that a SealedSecret adds to.
pub const PLAIN_PART: &str = "sealed-secret-part";
/// On a SealedSecret: its Secret may be deleted and made anew where it cannot be changed.
pub const RECREATE: &str = "bulla.dev/recreate-immutable";

/// The type of Secrets that the cluster writes credentials into.
const ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";

/// Under which names sealed-secrets' controller wrote: its program's. And we, when we make a Secret by `POST`.
const ADOPTION: Adoption<'_> = Adoption {
    predecessors: &[MANAGER, "controller", "sealed-secrets-controller"],
    fields: &["data", "immutable", "type"],
};
/// The answer is to have metadata alone.
pub(crate) const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// Why a Secret was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// It is somebody else's.
    #[error(
        "Resource {name:?} already exists and is not managed by SealedSecret: it is left as it is. To let it be taken over, annotate the \
         Secret {MANAGED}=true; to add to it, {PATCH}=true; or delete it"
    )]
    Foreign {
        /// The Secret's name.
        name: String,
    },
    /// It is none that may be made of a SealedSecret.
    #[error("{0}")]
    Forbidden(String),
    /// It cannot be changed.
    #[error(
        "the target Secret is immutable, and so is every Secret's type: its data cannot be changed. Delete the Secret, and it is made anew at \
         once; or annotate the SealedSecret {RECREATE}=true to have that done ({0})"
    )]
    Immutable(String),
    /// The API server refused, or did not answer.
    #[error("{}", without_contents(&bulla_kube::client::describe(.0)))]
    Api(#[from] kube::Error),
    /// Somebody changed it meanwhile; the next try sees what there is.
    #[error("the Secret was changed meanwhile")]
    Conflict,
}

/// Which Secrets are not written for a SealedSecret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forbidden {
    /// The namespace of this controller's own keys, and the name of one that needs no label.
    pub own_key: Option<(String, String)>,
    /// Whether tokens of service accounts are written.
    pub allow_account_tokens: bool,
}

impl Forbidden {
    /// That the Secret may be written.
    ///
    /// # Errors
    /// [`WriteError::Forbidden`], with the reason.
    pub fn check(&self, sealed: &SealedSecret, contents: &Contents) -> Result<(), WriteError> {
        let is_token = contents.secret_type.as_deref() == Some(ACCOUNT_TOKEN);
        let is_own = self.own_key.as_ref().is_some_and(|(namespace, name)| {
            (sealed.metadata.namespace.as_ref(), sealed.metadata.name.as_ref()) == (Some(namespace), Some(name))
        });
        if is_token && !self.allow_account_tokens {
            return Err(WriteError::Forbidden(format!(
                "a Secret of type {ACCOUNT_TOKEN} is filled by the cluster with a service account's credentials: none is made of a SealedSecret \
                 unless the controller runs with --allow-service-account-tokens"
            )));
        }
        if contents.labels.contains_key(KEY_LABEL) || is_own {
            return Err(WriteError::Forbidden(format!(
                "the Secret would be a sealing key (label {KEY_LABEL}, or the name of one): none is made of a SealedSecret"
            )));
        }
        Ok(())
    }
}

/// What the API server says, up to where it speaks of what a Secret contains: of a malformed `.dockerconfigjson` it repeats a character.
pub(crate) fn without_contents(said: &str) -> String {
    const REDACTED: &str = "<secret contents redacted>";
    match said.find(REDACTED) {
        Some(at) => said[..at + REDACTED.len()].to_owned(),
        None => said.to_owned(),
    }
}

/// A Secret's JSON on its way to the API server. Never shown.
pub(crate) struct Body(pub(crate) Value);

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a Secret")
    }
}

/// Whether the Secret becomes as the SealedSecret says, or only gets a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    Whole,
    WholeAndOwner,
    Part,
    PartAndOwner,
}

/// Writes the Secret of `sealed`. `known` says whether it is believed to be there.
///
/// # Errors
/// [`WriteError`]. Nothing was changed, except where the server did not answer.
pub async fn write(
    client: &Client,
    sealed: &SealedSecret,
    contents: &Contents,
    known: Option<&SecretSeen>,
) -> Result<SecretSeen, WriteError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &sealed.namespace().unwrap_or_default());
    if known.is_none()
        && let Some(seen) = create(client, sealed, contents).await?
    {
        return Ok(seen);
    }
    let Some(current) = api.get_metadata_opt(&sealed.name_any()).await? else {
        return create(client, sealed, contents).await?.ok_or(WriteError::Conflict);
    };
    let claim = claim(&current.metadata, sealed).ok_or_else(|| WriteError::Foreign { name: sealed.name_any() })?;
    match change(&api, sealed, contents, current.metadata.clone(), claim).await {
        Err(WriteError::Api(kube::Error::Api(status)))
            if status.code == 422 && status.message.contains("field is immutable") =>
        {
            let may = sealed.annotations().get(RECREATE).is_some_and(|value| value == "true");
            if !may || !is_controlled_by(&current.metadata, sealed) {
                return Err(WriteError::Immutable(status.message.clone()));
            }
            // The very version that is the SealedSecret's own.
            let ObjectMeta { uid, resource_version, .. } = current.metadata;
            let preconditions = Preconditions { uid, resource_version };
            api.delete(&sealed.name_any(), &DeleteParams::default().preconditions(preconditions)).await?;
            create(client, sealed, contents).await?.ok_or(WriteError::Conflict)
        }
        result => result,
    }
}

/// Makes the Secret. `None`: there is one.
async fn create(client: &Client, sealed: &SealedSecret, contents: &Contents) -> Result<Option<SecretSeen>, WriteError> {
    let namespace = sealed.namespace().unwrap_or_default();
    let body = body(sealed, contents, Claim::WholeAndOwner, None);
    let request = Request::post(format!("/api/v1/namespaces/{namespace}/secrets?fieldManager={MANAGER}"))
        .header(header::ACCEPT, METADATA_ONLY)
        .header(header::CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(&body).map_err(kube::Error::SerdeError)?)
        .map_err(kube::Error::HttpError)?;
    match client.request::<PartialObjectMeta<Secret>>(request).await {
        Ok(created) => Ok(Some(seen(&created.metadata))),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn change(
    api: &Api<Secret>,
    sealed: &SealedSecret,
    contents: &Contents,
    mut current: ObjectMeta,
    claim: Claim,
) -> Result<SecretSeen, WriteError> {
    let name = sealed.name_any();
    if matches!(claim, Claim::Whole | Claim::WholeAndOwner) {
        let mut patch = apply::adopt(&current, MANAGER, ADOPTION);
        // The API takes one controller alone: another one's reference must go before ours can come.
        let owner = current.owner_references.iter().flatten().any(|owner| owner.controller == Some(true));
        if claim == Claim::WholeAndOwner && owner && !is_controlled_by(&current, sealed) {
            let remove = json!({"op": "remove", "path": "/metadata/ownerReferences"});
            let test = |path: &str, value: &Option<String>| json!({"op": "test", "path": path, "value": value});
            let tests = || {
                vec![test("/metadata/uid", &current.uid), test("/metadata/resourceVersion", &current.resource_version)]
            };
            match patch.get_or_insert_with(|| Value::Array(tests())) {
                Value::Array(steps) => steps.push(remove),
                _ => unreachable!("a JSON patch is a list"),
            }
        }
        if let Some(patch) = patch {
            let patch = serde_json::from_value(patch).map_err(kube::Error::SerdeError)?;
            let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
            current = match api.patch_metadata(&name, &params, &Patch::<()>::Json(patch)).await {
                Ok(patched) => patched.metadata,
                // A test failed: it is another version by now.
                Err(kube::Error::Api(status)) if status.code == 422 || status.code == 404 => {
                    return Err(WriteError::Conflict);
                }
                Err(error) => return Err(error.into()),
            };
        }
    }
    let body = body(sealed, contents, claim, Some(&current));
    let applied = apply::apply(api, &name, MANAGER, &body).await?;
    Ok(seen(&applied))
}

/// What may be done to a Secret that is there.
fn claim(secret: &ObjectMeta, sealed: &SealedSecret) -> Option<Claim> {
    let says =
        |name: &str| secret.annotations.as_ref().and_then(|all| all.get(name)).is_some_and(|value| value == "true");
    let has_controller = secret.owner_references.iter().flatten().any(|owner| owner.controller == Some(true));
    match (says(PATCH), says(MANAGED)) {
        (true, true) => Some(Claim::PartAndOwner),
        (true, false) => Some(Claim::Part),
        (false, true) => Some(Claim::WholeAndOwner),
        (false, false) if is_controlled_by(secret, sealed) => Some(Claim::WholeAndOwner),
        // Made without an owner, as the template asked: it is under our name, and nobody else's.
        (false, false) if !has_controller && is_written_by_us(secret) => Some(Claim::Whole),
        (false, false) => None,
    }
}

fn is_controlled_by(secret: &ObjectMeta, sealed: &SealedSecret) -> bool {
    let owners = secret.owner_references.iter().flatten();
    let ours = |uid: &str| sealed.metadata.uid.as_deref() == Some(uid);
    owners.filter(|owner| owner.controller == Some(true)).any(|owner| ours(&owner.uid))
}

fn is_written_by_us(secret: &ObjectMeta) -> bool {
    let labelled =
        secret.labels.as_ref().and_then(|all| all.get(PLAIN_LABEL)).is_some_and(|value| value == PLAIN_VALUE);
    labelled
        && secret.managed_fields.iter().flatten().any(|entry| {
            entry.manager.as_deref() == Some(MANAGER)
                && entry.fields_v1.as_ref().is_some_and(|fields| fields.0.get("f:data").is_some())
        })
}

fn body(sealed: &SealedSecret, contents: &Contents, claim: Claim, current: Option<&ObjectMeta>) -> Body {
    let data: Map<String, Value> = contents
        .data
        .iter()
        .map(|(key, value)| (key.clone(), Value::String(STANDARD.encode(value.expose()))))
        .collect();
    let mut labels = contents.labels.clone();
    let value = if matches!(claim, Claim::Whole | Claim::WholeAndOwner) { PLAIN_VALUE } else { PLAIN_PART };
    labels.insert(PLAIN_LABEL.to_owned(), value.to_owned());
    let mut metadata = json!({
        "name": sealed.name_any(),
        "namespace": sealed.namespace(),
        "labels": labels,
    });
    if !contents.annotations.is_empty() {
        metadata["annotations"] = json!(contents.annotations);
    }
    if !contents.finalizers.is_empty() {
        metadata["finalizers"] = json!(contents.finalizers);
    }
    if contents.owned && matches!(claim, Claim::WholeAndOwner | Claim::PartAndOwner) {
        metadata["ownerReferences"] = json!([{
            "apiVersion": SealedSecret::api_version(&()),
            "kind": SealedSecret::kind(&()),
            "name": sealed.name_any(),
            "uid": sealed.metadata.uid,
            "controller": true,
        }]);
    }
    if let Some(current) = current {
        metadata["uid"] = json!(current.uid);
        metadata["resourceVersion"] = json!(current.resource_version);
    }
    let mut body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data});
    if let Some(secret_type) = &contents.secret_type {
        body["type"] = json!(secret_type);
    }
    if let Some(immutable) = contents.immutable {
        body["immutable"] = json!(immutable);
    }
    Body(body)
}

fn seen(metadata: &ObjectMeta) -> SecretSeen {
    let text = |value: &Option<String>| value.as_deref().unwrap_or_default().into();
    SecretSeen { uid: text(&metadata.uid), version: text(&metadata.resource_version) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> SealedSecret {
        serde_json::from_value(json!({
            "apiVersion": "bitnami.com/v1alpha1",
            "kind": "SealedSecret",
            "metadata": {"name": "a", "namespace": "n", "uid": "1"},
            "spec": {"encryptedData": {}},
        }))
        .unwrap()
    }

    fn secret(metadata: Value) -> ObjectMeta {
        serde_json::from_value(metadata).unwrap()
    }

    #[test]
    fn only_what_is_ours_or_says_so_is_claimed() {
        let owner = |uid: &str| json!([{"apiVersion": "v1", "kind": "X", "name": "a", "uid": uid, "controller": true}]);
        let annotated = |name: &str| json!({name: "true"});
        for (metadata, expected) in [
            (json!({}), None),
            (json!({"ownerReferences": owner("2")}), None),
            (json!({"ownerReferences": owner("1")}), Some(Claim::WholeAndOwner)),
            (json!({"annotations": annotated(MANAGED)}), Some(Claim::WholeAndOwner)),
            (json!({"annotations": annotated(PATCH)}), Some(Claim::Part)),
            (json!({"annotations": {PATCH: "true", MANAGED: "true"}}), Some(Claim::PartAndOwner)),
            (json!({"annotations": {MANAGED: "false"}}), None),
            // The label alone is anybody's to set.
            (json!({"labels": {PLAIN_LABEL: PLAIN_VALUE}}), None),
            (
                json!({
                    "labels": {PLAIN_LABEL: PLAIN_VALUE},
                    "managedFields": [{"manager": MANAGER, "operation": "Update", "fieldsV1": {"f:data": {}}}],
                }),
                Some(Claim::Whole),
            ),
        ] {
            assert_eq!(claim(&secret(metadata.clone()), &sealed()), expected, "{metadata}");
        }
    }

    #[test]
    fn what_would_be_more_than_a_secret_is_not_written() {
        let of_type = |name: &str| Contents { secret_type: Some(name.to_owned()), ..Contents::default() };
        let own_key = Some(("n".to_owned(), "a".to_owned()));
        let none = Forbidden::default();
        assert!(none.check(&sealed(), &Contents::default()).is_ok());
        assert!(none.check(&sealed(), &of_type("kubernetes.io/tls")).is_ok());
        assert!(none.check(&sealed(), &of_type(ACCOUNT_TOKEN)).is_err());
        let allowed = Forbidden { allow_account_tokens: true, ..Forbidden::default() };
        assert!(allowed.check(&sealed(), &of_type(ACCOUNT_TOKEN)).is_ok());
        // A key, by its label in any namespace and with any value, or by its name where this controller looks for keys.
        let labelled = Contents { labels: [(KEY_LABEL.to_owned(), String::new())].into(), ..Contents::default() };
        assert!(allowed.check(&sealed(), &labelled).is_err());
        assert!(Forbidden { own_key, ..allowed.clone() }.check(&sealed(), &Contents::default()).is_err());
        let elsewhere = Some(("m".to_owned(), "a".to_owned()));
        assert!(Forbidden { own_key: elsewhere, ..allowed }.check(&sealed(), &Contents::default()).is_ok());
    }

    #[test]
    fn no_character_of_a_value_comes_back_from_the_api_server() {
        let said = "Secret \"a\" is invalid: data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": invalid character 'h' \
                    looking for beginning of value";
        assert!(without_contents(said).ends_with("<secret contents redacted>"));
        assert_eq!(without_contents("not allowed"), "not allowed");
    }

    #[test]
    fn a_secret_on_its_way_is_not_shown() {
        let contents = Contents {
            data: [("password".to_owned(), bulla_core::SecretBytes::from(&b"hunter2"[..]))].into(),
            ..Contents::default()
        };
        let body = body(&sealed(), &contents, Claim::Whole, None);
        assert_eq!(format!("{body:?}"), "a Secret");
        assert_eq!(body.0["data"]["password"], "aHVudGVyMg==");
    }
}
