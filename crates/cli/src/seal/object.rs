//! A `SealedSecret`: read from a manifest, made from a Secret.

use std::collections::BTreeMap;

use bulla_document::Value;
use bulla_format::sealed::{Binding, PublicKey, Scope, Template, seal_value};

use super::secret::{Metadata, Secret, check_kind, entries, optional_bool, optional_text, string, strings};

/// `apiVersion` and `kind`.
pub(crate) const KIND: (&str, &str) = ("bitnami.com/v1alpha1", "SealedSecret");

/// A `SealedSecret`.
pub(crate) struct SealedObject {
    /// Its own metadata.
    pub(crate) metadata: Metadata,
    /// `spec.template.metadata`.
    pub(crate) template: Metadata,
    /// `spec.template.type`.
    pub(crate) secret_type: Option<String>,
    /// `spec.template.immutable`.
    pub(crate) immutable: Option<bool>,
    /// `spec.template.data`: Go templates.
    pub(crate) template_data: BTreeMap<String, String>,
    /// `spec.encryptedData`.
    pub(crate) encrypted: Vec<(String, String)>,
    /// `spec.data`, as old versions sealed: the whole Secret as one value.
    pub(crate) blob: Option<String>,
}

impl SealedObject {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(object: &Value) -> Result<Self, String> {
        check_kind(object, KIND)?;
        Self::read_fields(object)
    }

    /// Reads one that need not say what it is: sealed-secrets' controller answers so.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read_fields(object: &Value) -> Result<Self, String> {
        let null = Value::Null;
        let spec = match object.get("spec") {
            Some(spec @ Value::Map(_)) => spec,
            None | Some(Value::Null) => &null,
            Some(_) => return Err("spec is not a map".to_owned()),
        };
        let template = match spec.get("template") {
            Some(template @ Value::Map(_)) => template,
            None | Some(Value::Null) => &null,
            Some(_) => return Err("spec.template is not a map".to_owned()),
        };
        let encrypted = entries(spec, "encryptedData")?
            .iter()
            .map(|(key, value)| {
                let value = string(value).ok_or_else(|| format!("spec.encryptedData: {key:?} is not a string"))?;
                Ok((key.clone(), value))
            })
            .collect::<Result<_, String>>()?;
        Ok(Self {
            metadata: Metadata::read(object.get("metadata"))?,
            template: Metadata::read(template.get("metadata")).map_err(|what| format!("spec.template.{what}"))?,
            secret_type: optional_text(template, "type")?,
            immutable: optional_bool(template, "immutable")?,
            template_data: strings(template, "data")?,
            encrypted,
            blob: optional_text(spec, "data")?,
        })
    }

    /// Seals a Secret to a key. Its annotations say the scope.
    ///
    /// # Errors
    /// What stands in the way.
    pub(crate) fn seal(key: &PublicKey, secret: &Secret) -> Result<Self, String> {
        let Metadata { name, namespace, .. } = &secret.metadata;
        let mut metadata = Metadata { name: name.clone(), namespace: namespace.clone(), ..Metadata::default() };
        metadata.set_scope(secret.scope());
        // What decides on delivery is read from the SealedSecret itself.
        for annotation in Binding::DELIVERY {
            if let Some(value) = secret.metadata.annotations.get(annotation) {
                metadata.annotations.insert(annotation.to_owned(), value.clone());
            }
        }
        let mut made = Self {
            metadata,
            template: secret.metadata.clone(),
            secret_type: secret.type_name.clone(),
            immutable: secret.immutable,
            template_data: BTreeMap::new(),
            encrypted: Vec::new(),
            blob: None,
        };
        let sealed = secret
            .data
            .iter()
            .map(|(item, plain)| {
                let text = seal_value(key, &made.binding(item), plain.expose())
                    .map_err(|error| format!("{item:?}: {error}"))?;
                Ok((item.clone(), text))
            })
            .collect::<Result<_, String>>()?;
        made.encrypted = sealed;
        Ok(made)
    }

    /// The scope, by its own annotations: those of the template may be anybody's.
    pub(crate) fn scope(&self) -> Scope {
        self.metadata.scope()
    }

    /// What its item is bound to.
    pub(crate) fn binding<'a>(&'a self, item: &'a str) -> Binding<'a> {
        let delivery = Binding::DELIVERY
            .into_iter()
            .filter_map(|key| Some((key, self.metadata.annotations.get(key)?.as_str())))
            .collect();
        Binding {
            scope: self.scope(),
            namespace: &self.metadata.namespace,
            name: &self.metadata.name,
            item,
            template: self.template_fields().hash(),
            delivery,
        }
    }

    /// The typed fields of the template.
    pub(crate) fn template_fields(&self) -> Template {
        Template {
            labels: self.template.labels.clone(),
            annotations: self.template.annotations.clone(),
            finalizers: self.template.finalizers.clone(),
            secret_type: self.secret_type.clone(),
            immutable: self.immutable,
            data: self.template_data.clone(),
        }
    }

    /// As a tree, its fields in the order of kubeseal's JSON.
    pub(crate) fn to_value(&self) -> Value {
        let mut template = vec![("metadata".to_owned(), self.template.to_value())];
        push_text(&mut template, "type", self.secret_type.as_deref());
        template.extend(self.immutable.map(|immutable| ("immutable".to_owned(), Value::Bool(immutable))));
        push_strings(&mut template, "data", &self.template_data);
        let encrypted = sorted(self.encrypted.iter().map(|(key, value)| (key.clone(), Value::str(value.as_str()))));
        Value::Map(vec![
            ("kind".to_owned(), Value::str(KIND.1)),
            ("apiVersion".to_owned(), Value::str(KIND.0)),
            ("metadata".to_owned(), self.metadata.to_value()),
            (
                "spec".to_owned(),
                Value::Map(vec![
                    ("template".to_owned(), Value::Map(template)),
                    ("encryptedData".to_owned(), Value::Map(encrypted)),
                ]),
            ),
        ])
    }
}

impl Metadata {
    /// As a tree, without what is empty.
    pub(crate) fn to_value(&self) -> Value {
        let mut entries = Vec::new();
        push_text(&mut entries, "name", Some(&self.name));
        push_text(&mut entries, "namespace", Some(&self.namespace));
        push_strings(&mut entries, "labels", &self.labels);
        push_strings(&mut entries, "annotations", &self.annotations);
        if !self.finalizers.is_empty() {
            let items = self.finalizers.iter().map(|item| Value::str(item.as_str())).collect();
            entries.push(("finalizers".to_owned(), Value::Seq(items)));
        }
        Value::Map(entries)
    }
}

fn push_text(entries: &mut Vec<(String, Value)>, key: &str, text: Option<&str>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        entries.push((key.to_owned(), Value::str(text)));
    }
}

fn push_strings(entries: &mut Vec<(String, Value)>, key: &str, map: &BTreeMap<String, String>) {
    if !map.is_empty() {
        let map = map.iter().map(|(key, value)| (key.clone(), Value::str(value.as_str()))).collect();
        entries.push((key.to_owned(), Value::Map(map)));
    }
}

fn sorted(entries: impl Iterator<Item = (String, Value)>) -> Vec<(String, Value)> {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    entries
}
