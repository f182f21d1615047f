//! Built in: SealedSecrets that are for volumes, and sops files in ConfigMaps, opened by the sealing operator for the pod that mounts them.
//!
//! ```yaml
//! parameters:
//!   objects: |
//!     - sealedSecret: db              # all its values, each a file of its name
//!     - sealedSecret: api
//!       key: token                    # this value alone
//!       path: api/token               # as this file; without `key` the folder of the files
//!       filePermission: "0400"
//!     - configMap: app                # its sops files, each decrypted, or by `key` one of them
//! ```
//!
//! No value is fetched whose object has not changed: the operator is told the version that is mounted. It tells when another is there.

mod changes;
mod objects;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bulla_store::sealed::protocol::{Code, Kind, MOST_OBJECTS, POD_AUDIENCE, Wanted};
use bulla_store::sealed::{Authority, Object, OpenError};
use sha2::{Digest, Sha256};

use super::{Answer, Ask, ErrorKind, Provider, ProviderError};
use crate::publish::Publisher;
use crate::volume::{Content, File, Limits, ObjectVersion};
use objects::{Item, OBJECTS, Object as Named};

/// Its name.
pub const NAME: &str = "sealed";

/// What begins the names of ConfigMaps among the versions of a volume. No name of an object has a slash.
const MAP: &str = "configmap/";

/// The provider.
pub struct Sealed {
    authority: Authority,
    limits: Limits,
}

impl Sealed {
    /// Asks this authority.
    pub const fn new(authority: Authority, limits: Limits) -> Self {
        Self { authority, limits }
    }
}

#[async_trait]
impl Provider for Sealed {
    async fn fetch(&self, ask: &Ask<'_>) -> Result<Answer, ProviderError> {
        let items = objects::read(ask.parameters).map_err(|message| error(ErrorKind::Invalid, message))?;
        let layout = layout(ask);
        let token = ask.volume.tokens.get(POD_AUDIENCE).ok_or_else(|| {
            let message = format!("the kubelet gives no token of the pod: the CSIDriver object has to ask for one, tokenRequests: [{{audience: {POD_AUDIENCE}}}]");
            error(ErrorKind::Invalid, message)
        })?;
        let names: BTreeSet<&Named> = items.iter().map(|item| &item.object).collect();
        let there = |object: &Named| {
            let version = &ask.current.iter().find(|version| version.id == object.id())?.version;
            // Files of another layout are not what is wanted now.
            version.strip_suffix(&layout)?.strip_suffix('.').map(str::to_owned)
        };
        let mut wanted: Vec<Wanted> =
            names.iter().map(|&object| Wanted { version: there(object), ..object.wanted() }).collect();
        let mut objects = self.authority.open(&token.token, &wanted).await.map_err(|refused| explain(&refused))?;
        let unchanged = objects.iter().filter(|object| object.data.is_none()).count();
        if unchanged > 0 && unchanged < objects.len() {
            // One has changed. A volume is written whole, so all are needed.
            for wanted in &mut wanted {
                wanted.version = None;
            }
            objects = self.authority.open(&token.token, &wanted).await.map_err(|refused| explain(&refused))?;
        }
        // The answer is in the order of the names.
        let versions = objects.iter().zip(&names).map(|(object, named)| {
            let version = format!("{}.{layout}", object.version);
            ObjectVersion { id: named.id(), version }
        });
        let versions = versions.collect();
        if unchanged == objects.len() && unchanged > 0 {
            return Ok(Answer { versions, ..Answer::default() });
        }
        Ok(Answer { content: Some(self.content(&items, objects, ask)?), versions, ..Answer::default() })
    }

    async fn follow(&self, publisher: &Publisher) {
        changes::follow(&self.authority, publisher).await;
    }
}

impl Sealed {
    fn content(&self, items: &[Item], objects: Vec<Object>, ask: &Ask<'_>) -> Result<Content, ProviderError> {
        let objects: BTreeMap<Named, Object> = objects.into_iter().map(|object| (Named::of(&object), object)).collect();
        let namespace = &ask.volume.pod.namespace;
        let mut content = Content::default();
        for item in items {
            let shown = item.object.shown(namespace);
            let data = objects.get(&item.object).and_then(|object| object.data.as_ref());
            let data =
                data.ok_or_else(|| error(ErrorKind::Failed, format!("the operator did not answer about {shown}")))?;
            let mode = item.file_permission.as_deref().map_or(Ok(ask.mode), objects::mode);
            let mode = mode.map_err(|message| error(ErrorKind::Invalid, message))?;
            let mut add = |path: &str, value: &bulla_core::SecretBytes| {
                let file = File { mode, contents: value.clone() };
                let wrong = |problem: &dyn std::fmt::Display| error(ErrorKind::Invalid, format!("{shown}: {problem}"));
                content.add(path, file, &self.limits).map_err(|problem| wrong(&problem))
            };
            match (&item.key, &item.path) {
                (Some(key), path) => {
                    let value = data.get(key).ok_or_else(|| {
                        let has = data.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                        error(ErrorKind::NotFound, format!("{shown} has no value {key:?}; it has {has}"))
                    })?;
                    add(path.as_deref().unwrap_or(key), value)?;
                }
                (None, folder) => {
                    for (key, value) in data {
                        let path = folder.as_deref().map_or_else(|| key.clone(), |folder| format!("{folder}/{key}"));
                        add(&path, value)?;
                    }
                }
            }
        }
        Ok(content)
    }
}

impl Named {
    fn new(kind: Kind, name: String) -> Self {
        match kind {
            Kind::SealedSecret => Self::Sealed(name),
            Kind::ConfigMap => Self::Map(name),
        }
    }

    fn of(object: &Object) -> Self {
        Self::new(object.kind, object.name.clone())
    }

    /// From what it is called among the versions of a volume.
    fn from_id(id: &str) -> Self {
        id.strip_prefix(MAP).map_or_else(|| Self::Sealed(id.to_owned()), |name| Self::Map(name.to_owned()))
    }

    fn wanted(&self) -> Wanted {
        let (kind, name) = match self {
            Self::Sealed(name) => (Kind::SealedSecret, name),
            Self::Map(name) => (Kind::ConfigMap, name),
        };
        Wanted { kind, name: name.clone(), version: None }
    }

    /// What it is called among the versions of a volume.
    fn id(&self) -> String {
        match self {
            Self::Sealed(name) => name.clone(),
            Self::Map(name) => format!("{MAP}{name}"),
        }
    }

    /// What it is called in messages.
    fn shown(&self, namespace: &str) -> String {
        let Wanted { kind, name, .. } = self.wanted();
        format!("{kind} {namespace}/{name}")
    }
}

/// Which files are made of the same values: another one, and what is mounted is of no use.
fn layout(ask: &Ask<'_>) -> String {
    let mut hash = Sha256::new();
    hash.update(ask.mode.to_le_bytes());
    hash.update(ask.parameters.get(OBJECTS).map(String::as_str).unwrap_or_default());
    hash.finalize()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The version of an object, without the layout that its files have.
fn version_of(version: &ObjectVersion) -> &str {
    version.version.rsplit_once('.').map_or("", |(version, _)| version)
}

fn explain(refused: &OpenError) -> ProviderError {
    let kind = match refused.code() {
        Code::Invalid | Code::DoesNotOpen => ErrorKind::Invalid,
        Code::Unauthenticated | Code::Denied => ErrorKind::Denied,
        Code::NotFound => ErrorKind::NotFound,
        Code::Unavailable => ErrorKind::Unavailable,
    };
    error(kind, refused.to_string())
}

fn error(kind: ErrorKind, message: String) -> ProviderError {
    ProviderError { provider: NAME.to_owned(), message, kind, retry_after: None }
}
