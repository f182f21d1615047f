//! A pod, as far as it is read here. What is not named is skipped without being kept, and lists have bounds: who may send anything must not be able to
//! make a small text into a large object.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The most entries of a list. The API server itself takes more; no pod has them.
const MOST: usize = 512;

/// A list with bounds; nothing is an empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Few<T>(pub Vec<T>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Few<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MOST}")
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Few::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut few = Vec::new();
                while let Some(entry) = list.next_element()? {
                    if few.len() == MOST {
                        return Err(A::Error::invalid_length(MOST + 1, &self));
                    }
                    few.push(entry);
                }
                Ok(Few(few))
            }
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

/// A pod that is to be made.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Pod {
    /// Who it is, and what it asks for.
    #[serde(default)]
    pub metadata: Metadata,
    /// What it is made of.
    #[serde(default)]
    pub spec: Spec,
}

/// Who a pod is, and what it asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Its name, if it has one already.
    pub name: Option<String>,
    /// What its name will begin with.
    pub generate_name: Option<String>,
    /// Labels.
    pub labels: Option<Labels>,
    /// Annotations.
    pub annotations: Option<Annotations>,
}

/// The label that is looked at.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Labels {
    /// `"true"`: the pod wants variables.
    #[serde(rename = "bulla.dev/env")]
    pub env: Option<String>,
}

/// The annotations that are looked at.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Annotations {
    /// The classes.
    #[serde(rename = "bulla.dev/env-classes")]
    pub classes: Option<String>,
    /// The containers.
    #[serde(rename = "bulla.dev/env-containers")]
    pub containers: Option<String>,
    /// Files under names of their own.
    #[serde(rename = "bulla.dev/env-map")]
    pub map: Option<String>,
    /// What names begin with.
    #[serde(rename = "bulla.dev/env-prefix")]
    pub prefix: Option<String>,
    /// What happens when files change.
    #[serde(rename = "bulla.dev/env-on-change")]
    pub on_change: Option<String>,
    /// kubectl's: the container that matters.
    #[serde(rename = "kubectl.kubernetes.io/default-container")]
    pub default_container: Option<String>,
}

/// What a pod is made of.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// What runs before.
    pub init_containers: Option<Few<Container>>,
    /// What runs.
    pub containers: Option<Few<Container>>,
    /// What is mounted.
    pub volumes: Option<Few<Volume>>,
    /// As whom.
    pub security_context: Option<Security>,
    /// The operating system.
    pub os: Option<Os>,
}

/// A container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The program and its first arguments; nothing: the image's.
    pub command: Option<Few<String>>,
    /// What is mounted where.
    pub volume_mounts: Option<Few<Mount>>,
    /// As whom.
    pub security_context: Option<Security>,
}

/// A volume.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// If a CSI driver makes it.
    pub csi: Option<Csi>,
    /// If it is an empty folder.
    pub empty_dir: Option<serde::de::IgnoredAny>,
}

/// A volume that a CSI driver makes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Csi {
    /// The driver.
    #[serde(default)]
    pub driver: String,
    /// What it is told.
    pub volume_attributes: Option<Attributes>,
}

/// What a CSI driver is told.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attributes {
    /// The class.
    pub secret_provider_class: Option<String>,
}

/// Where a volume is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// The volume.
    #[serde(default)]
    pub name: String,
    /// Where.
    #[serde(default)]
    pub mount_path: String,
}

/// As whom something runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Security {
    /// The user's number.
    pub run_as_user: Option<i64>,
}

/// An operating system.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Os {
    /// Its name.
    #[serde(default)]
    pub name: String,
}

impl Pod {
    /// Its name, for messages; of one that has none yet, what it begins with.
    pub fn name(&self) -> &str {
        let Metadata { name, generate_name, .. } = &self.metadata;
        name.as_deref().or(generate_name.as_deref()).unwrap_or("the pod")
    }

    /// Its containers.
    pub fn containers(&self) -> &[Container] {
        self.spec.containers.as_ref().map_or(&[], |few| &few.0)
    }

    /// What runs before them.
    pub fn init_containers(&self) -> &[Container] {
        self.spec.init_containers.as_ref().map_or(&[], |few| &few.0)
    }

    /// Its volumes.
    pub fn volumes(&self) -> &[Volume] {
        self.spec.volumes.as_ref().map_or(&[], |few| &few.0)
    }
}

impl Container {
    /// Its command; empty: the image's.
    pub fn command(&self) -> &[String] {
        self.command.as_ref().map_or(&[], |few| &few.0)
    }

    /// What is mounted where.
    pub fn mounts(&self) -> &[Mount] {
        self.volume_mounts.as_ref().map_or(&[], |few| &few.0)
    }
}
