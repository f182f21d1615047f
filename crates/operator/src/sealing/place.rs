//! Where the values of a `SealedSecret` belong: what they are bound to.

use bulla_format::sealed::{Binding, Scope, Template};
use kube::ResourceExt;

use crate::api::SealedSecret;

/// What the values of `object` are bound to, but for the item's name: see [`Binding::with_item`].
///
/// The scope is what the object's own annotations say. What the template's say is nobody's scope: taking it for one is how
/// CVE-2026-22728 widened it.
pub fn place(object: &SealedSecret) -> Binding<'_> {
    let annotations = object.annotations();
    let template = &object.spec.template;
    let template = Template {
        labels: template.metadata.labels.clone(),
        annotations: template.metadata.annotations.clone(),
        secret_type: template.type_.clone(),
        immutable: template.immutable,
        data: template.data.clone(),
    };
    let delivery = Binding::DELIVERY.iter().filter_map(|&key| Some((key, annotations.get(key)?.as_str())));
    Binding {
        scope: Scope::from_annotations(|key| annotations.get(key).map(String::as_str)),
        namespace: object.metadata.namespace.as_deref().unwrap_or_default(),
        name: object.metadata.name.as_deref().unwrap_or_default(),
        item: "",
        template: template.hash(),
        delivery: delivery.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(annotation: &str, in_template: &str) -> SealedSecret {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "a", "namespace": "n", "annotations": {annotation: "true", "bulla.dev/deliver": "volume"}},
            "spec": {"encryptedData": {}, "template": {"metadata": {"annotations": {in_template: "true"}}}},
        }))
        .unwrap()
    }

    #[test]
    fn the_scope_is_the_objects_own_and_never_the_templates() {
        for wide in ["sealedsecrets.bitnami.com/cluster-wide", "sealedsecrets.bitnami.com/namespace-wide"] {
            let object = object("other", wide);
            assert_eq!(place(&object).scope, Scope::Strict);
        }
        let object = object("sealedsecrets.bitnami.com/namespace-wide", "other");
        assert_eq!(place(&object).scope, Scope::NamespaceWide);
    }

    #[test]
    fn how_it_is_delivered_and_what_it_is_made_from_are_bound() {
        let (one, other) = (object("x", "a"), object("x", "b"));
        assert_eq!(place(&one).delivery["bulla.dev/deliver"], "volume");
        assert_ne!(place(&one).with_item("k").associated_data(), place(&other).with_item("k").associated_data());
    }
}
