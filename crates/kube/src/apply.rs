//! Writing to the API server: server-side apply under a field manager of our own, and status that is written only when it differs.
//!
//! A field that another manager set and we do not name stays. To own a whole object that was made some other way (by `POST`, or by
//! an earlier program), its fields must first be put under our name: [`adopt`]. Then what we no longer apply is removed.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// The field manager of the controller `controller`.
pub fn field_manager(controller: &str) -> String {
    format!("bulla-{controller}")
}

/// Applies an object under our name and gives back its metadata alone, so that no value comes back over the wire. Fields that others
/// set to something else become ours.
///
/// # Errors
/// The server's.
pub async fn apply<K>(
    api: &Api<K>,
    name: &str,
    manager: &str,
    object: &(impl Serialize + Debug + Sync),
) -> kube::Result<ObjectMeta>
where
    K: Clone + DeserializeOwned + Debug,
{
    let params = PatchParams::apply(manager).force();
    let applied: PartialObjectMeta<K> = api.patch_metadata(name, &params, &Patch::Apply(object)).await?;
    Ok(applied.metadata)
}

/// Changes an object's status by a merge patch.
///
/// # Errors
/// The server's.
pub async fn patch_status<K>(
    api: &Api<K>,
    name: &str,
    manager: &str,
    status: &(impl Serialize + Debug + Sync),
) -> kube::Result<K>
where
    K: Clone + DeserializeOwned + Debug,
{
    let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    api.patch_status(name, &params, &Patch::Merge(&json!({"status": status}))).await
}

/// Whose fields of an object become ours.
#[derive(Clone, Copy, Debug)]
pub struct Adoption<'a> {
    /// Managers all of whose fields become ours: an earlier program that we stand in for, and our own earlier requests.
    pub predecessors: &'a [&'a str],
    /// Fields that become ours whoever has them, by their names at the top (`data`).
    pub fields: &'a [&'a str],
}

/// Whether all fields that matter are under our name, as applied, so that an apply removes what it does not name.
pub fn is_adopted(metadata: &ObjectMeta, manager: &str, adoption: Adoption<'_>) -> bool {
    let entries = metadata.managed_fields.as_deref().unwrap_or_default();
    entries.iter().any(|entry| is_applied_by(entry, manager))
        && entries.iter().filter(|entry| !is_applied_by(entry, manager)).all(|entry| taken(entry, adoption).is_none())
}

/// The JSON patch that puts them there, for exactly the version that `metadata` is of; `None` if they are.
pub fn adopt(metadata: &ObjectMeta, manager: &str, adoption: Adoption<'_>) -> Option<Value> {
    if is_adopted(metadata, manager, adoption) {
        return None;
    }
    let mut ours = Map::new();
    let mut others = Vec::new();
    for entry in metadata.managed_fields.clone().unwrap_or_default() {
        if is_applied_by(&entry, manager) {
            merge(&mut ours, fields(&entry));
            continue;
        }
        let Some((mine, rest)) = taken(&entry, adoption) else {
            others.push(json!(entry));
            continue;
        };
        merge(&mut ours, mine);
        if !rest.is_empty() {
            let mut entry = json!(entry);
            entry["fieldsV1"] = Value::Object(rest);
            others.push(entry);
        }
    }
    let version = metadata.managed_fields.iter().flatten().find_map(|entry| entry.api_version.clone());
    others.push(json!({
        "manager": manager,
        "operation": "Apply",
        "apiVersion": version.unwrap_or_else(|| "v1".to_owned()),
        "fieldsType": "FieldsV1",
        "fieldsV1": ours,
    }));
    Some(json!([
        {"op": "test", "path": "/metadata/uid", "value": metadata.uid},
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata.resource_version},
        {"op": "replace", "path": "/metadata/managedFields", "value": others},
    ]))
}

fn is_applied_by(entry: &ManagedFieldsEntry, manager: &str) -> bool {
    entry.manager.as_deref() == Some(manager)
        && entry.operation.as_deref() == Some("Apply")
        && entry.subresource.as_deref().unwrap_or_default().is_empty()
}

/// Which fields of an entry are to be taken, and which are left; `None` if none is.
fn taken(entry: &ManagedFieldsEntry, adoption: Adoption<'_>) -> Option<(Map<String, Value>, Map<String, Value>)> {
    let all = fields(entry);
    if entry.manager.as_deref().is_some_and(|manager| adoption.predecessors.contains(&manager)) {
        return Some((all, Map::new()));
    }
    let is_wanted = |name: &String| name.strip_prefix("f:").is_some_and(|name| adoption.fields.contains(&name));
    let (mine, rest): (Map<_, _>, Map<_, _>) = all.into_iter().partition(|(name, _)| is_wanted(name));
    (!mine.is_empty()).then_some((mine, rest))
}

fn fields(entry: &ManagedFieldsEntry) -> Map<String, Value> {
    match entry.fields_v1.as_ref().map(|fields| &fields.0) {
        Some(Value::Object(fields)) => fields.clone(),
        _ => Map::new(),
    }
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(inner)), Value::Object(value)) => merge(inner, value),
            (Some(_), _) => {}
            (None, value) => {
                into.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADOPTION: Adoption<'_> = Adoption { predecessors: &["controller"], fields: &["data"] };

    fn metadata(entries: &Value) -> ObjectMeta {
        serde_json::from_value(json!({"uid": "u", "resourceVersion": "7", "managedFields": entries})).unwrap()
    }

    fn entry(manager: &str, operation: &str, fields: &Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    #[test]
    fn an_earlier_program_s_fields_and_everybody_s_data_become_ours() {
        let metadata = metadata(&json!([
            entry("controller", "Update", &json!({"f:data": {"f:a": {}}, "f:metadata": {"f:labels": {"f:x": {}}}})),
            entry("kubectl-edit", "Update", &json!({"f:data": {"f:b": {}}, "f:metadata": {"f:labels": {"f:y": {}}}})),
            entry("reflector", "Apply", &json!({"f:metadata": {"f:annotations": {"f:z": {}}}})),
        ]));
        let patch = adopt(&metadata, "bulla-sealing", ADOPTION).unwrap();
        let entries = patch[2]["value"].as_array().unwrap();
        assert_eq!(entries.len(), 3);
        let ours = &entries[2];
        assert_eq!((&ours["manager"], &ours["operation"]), (&json!("bulla-sealing"), &json!("Apply")));
        assert_eq!(
            ours["fieldsV1"],
            json!({"f:data": {"f:a": {}, "f:b": {}}, "f:metadata": {"f:labels": {"f:x": {}}}})
        );
        assert_eq!(entries[0]["fieldsV1"], json!({"f:metadata": {"f:labels": {"f:y": {}}}}));
        assert_eq!(patch[1]["value"], "7");
    }

    #[test]
    fn what_is_ours_alone_needs_no_patch() {
        let ours = entry("bulla-sealing", "Apply", &json!({"f:data": {"f:a": {}}}));
        assert!(adopt(&metadata(&json!([ours])), "bulla-sealing", ADOPTION).is_none());
        let labels = entry("x", "Update", &json!({"f:metadata": {"f:labels": {"f:y": {}}}}));
        assert!(adopt(&metadata(&json!([ours, labels])), "bulla-sealing", ADOPTION).is_none());
        let data = entry("x", "Update", &json!({"f:data": {"f:b": {}}}));
        assert!(adopt(&metadata(&json!([ours, data])), "bulla-sealing", ADOPTION).is_some());
    }
}
