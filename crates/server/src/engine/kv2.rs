//! Keys and values, the second version: each write of an entry makes a version of it, and versions can be deleted, brought back and destroyed.
//!
//! ```text
//! config         settings of the mount
//! m/PATH         what is known of an entry and its versions
//! v/N/PATH       the contents of version N: canonical JSON, which goes into answers as it is
//! ```
//!
//! An entry and its version are written in one transaction.

use async_trait::async_trait;

mod data;
mod merge;
mod meta;
mod metadata;
mod versions;

use self::meta::{Config, Meta};
use crate::json::{Object, Value};
use crate::logical::{Call, Engine, Error, Field, Kind, Operation, Response, Result, Route, format_go};

/// The engine.
pub struct Kv2;

const PATH: Field = Field::new("path", Kind::Text, "Location of the secret.");
const VERSIONS: Field = Field::new("versions", Kind::Ints, "The versions.");
const MAX_VERSIONS: Field =
    Field::new("max_versions", Kind::Int, "How many versions are kept. 0: as the mount says, or 10.");
const CAS_REQUIRED: Field =
    Field::new("cas_required", Kind::Bool, "Whether each write has to say which version it follows.");
const DELETE_AFTER: Field =
    Field::new("delete_version_after", Kind::SignedSeconds, "After how long a version is deleted by itself. 0: never.");
const META_CAS_REQUIRED: Field =
    Field::new("metadata_cas_required", Kind::Bool, "Whether each write of metadata has to say which one it follows.");
const CUSTOM: Field = Field::new("custom_metadata", Kind::Map, "Names and texts of your own.");
const META_CAS: Field = Field::new("metadata_cas", Kind::Int, "The version of the metadata that this one follows.");
const AFTER: Field = Field::new("after", Kind::Text, "Names after this one alone.");
const LIMIT: Field = Field::new("limit", Kind::Int, "At most so many names.");

#[async_trait]
impl Engine for Kv2 {
    const ABOUT: &'static str =
        "Keeps versions of what is written to a path. Versions can be deleted, brought back, and destroyed.";

    fn routes() -> Vec<Route<Self>> {
        use Operation::{Delete, List, Patch, Read, Scan, Update};
        vec![
            Route::<Self>::new("config", "Settings of the mount")
                .fields(&[MAX_VERSIONS, CAS_REQUIRED, DELETE_AFTER, META_CAS_REQUIRED])
                .on(Read, |engine, call| Box::pin(engine.read_config(call)))
                .on(Update, |engine, call| Box::pin(engine.write_config(call))),
            Route::<Self>::new("data/{path*}", "Write, patch, read, and delete an entry")
                .fields(
                    const {
                        &[
                            PATH,
                            Field::new("data", Kind::Map, "The contents."),
                            Field::new(
                                "options",
                                Kind::Map,
                                "`cas`: the version that this one follows; 0: the entry must be new.",
                            ),
                            Field::new("version", Kind::Int, "Which version is read."),
                        ]
                    },
                )
                .unchanging(&[Read])
                .exists(|engine, call| Box::pin(engine.exists(call)))
                .on(Read, |engine, call| Box::pin(engine.read(call)))
                .on(Update, |engine, call| Box::pin(engine.write(call)))
                .on(Patch, |engine, call| Box::pin(engine.patch(call)))
                .on(Delete, |engine, call| Box::pin(engine.delete_newest(call))),
            Route::<Self>::new("delete/{path*}", "Delete versions")
                .fields(&[PATH, VERSIONS])
                .exists(|engine, call| Box::pin(engine.exists(call)))
                .on(Update, |engine, call| Box::pin(engine.delete_versions(call))),
            Route::<Self>::new("undelete/{path*}", "Bring deleted versions back")
                .fields(&[PATH, VERSIONS])
                .exists(|engine, call| Box::pin(engine.exists(call)))
                .on(Update, |engine, call| Box::pin(engine.undelete_versions(call))),
            Route::<Self>::new("destroy/{path*}", "Destroy versions, for good")
                .fields(&[PATH, VERSIONS])
                .exists(|engine, call| Box::pin(engine.exists(call)))
                .on(Update, |engine, call| Box::pin(engine.destroy_versions(call))),
            Route::<Self>::new("subkeys/{path*}", "The names in an entry, without its values")
                .fields(
                    const {
                        &[
                            PATH,
                            Field::new("version", Kind::Int, "Of which version."),
                            Field::new("depth", Kind::Int, "How deep. 0: all."),
                        ]
                    },
                )
                .unchanging(&[Read])
                .on(Read, |engine, call| Box::pin(engine.subkeys(call))),
            Route::<Self>::new("metadata/{path*}", "What is known of an entry; the names below a folder")
                .fields(&[
                    PATH,
                    MAX_VERSIONS,
                    CAS_REQUIRED,
                    DELETE_AFTER,
                    META_CAS_REQUIRED,
                    CUSTOM,
                    META_CAS,
                    AFTER,
                    LIMIT,
                ])
                .unchanging(&[Read, List, Scan])
                .exists(|engine, call| Box::pin(engine.exists(call)))
                .on(Read, |engine, call| Box::pin(engine.read_metadata(call)))
                .on(Update, |engine, call| Box::pin(engine.write_metadata(call)))
                .on(Patch, |engine, call| Box::pin(engine.patch_metadata(call)))
                .on(Delete, |engine, call| Box::pin(engine.delete_all(call)))
                .on(List, |engine, call| Box::pin(engine.list(call)))
                .on(Scan, |engine, call| Box::pin(engine.scan(call))),
            Route::<Self>::new("detailed-metadata/{path*}", "The names below a folder, with what is known of each")
                .fields(&[PATH, AFTER, LIMIT])
                .unchanging(&[List])
                .on(List, |engine, call| Box::pin(engine.list_detailed(call)))
                .on(Scan, |engine, call| Box::pin(engine.scan_detailed(call))),
            Route::<Self>::new("{path*}", "No path of this engine")
                .any_field()
                .on(Read, |_, call| Box::pin(wrong_path(call, "get")))
                .on(Update, |_, call| Box::pin(wrong_path(call, "put")))
                .on(Patch, |_, call| Box::pin(wrong_path(call, "patch")))
                .on(Delete, |_, call| Box::pin(wrong_path(call, "delete")))
                .on(List, |_, call| Box::pin(wrong_path(call, "list"))),
        ]
    }
}

/// What clients of the first version get, who leave `data/` out.
#[expect(clippy::unused_async, reason = "the signature that all handlers share")]
async fn wrong_path(call: &Call<'_>, command: &str) -> Result<Response> {
    let warning = if ["data", "metadata", "delete", "undelete", "destroy", "subkeys"].contains(&call.path) {
        "Non-listing operations on the root of a K/V v2 mount are not supported.".to_owned()
    } else {
        format!(
            "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. If using the command line, use 'bao kv {command}' or 'vault kv {command}' for this operation."
        )
    };
    Ok(Response::empty().warn(warning).with_status(404))
}

impl Kv2 {
    async fn config(call: &Call<'_>) -> Result<Config> {
        Ok(call.storage.read("config").await?.unwrap_or_default())
    }

    async fn meta(call: &Call<'_>) -> Result<Option<Meta>> {
        Ok(call.storage.read(&meta_key(call.input.capture("path"))).await?)
    }

    async fn exists(&self, call: &Call<'_>) -> Result<bool> {
        Ok(Self::meta(call).await?.is_some())
    }

    async fn read_config(&self, call: &Call<'_>) -> Result<Response> {
        let config = Self::config(call).await?;
        Ok(Response::data(object! {
            "cas_required": config.cas_required,
            "delete_version_after": format_go(config.delete_after),
            "max_versions": config.max_versions,
            "metadata_cas_required": config.needs_meta_cas,
        }))
    }

    async fn write_config(&self, call: &Call<'_>) -> Result<Response> {
        let mut config = Self::config(call).await?;
        let input = &call.input;
        if let Some(max) = input.int("max_versions")? {
            config.max_versions = u64::try_from(max).unwrap_or(0);
        }
        config.cas_required = input.bool("cas_required")?.unwrap_or(config.cas_required);
        config.needs_meta_cas = input.bool("metadata_cas_required")?.unwrap_or(config.needs_meta_cas);
        config.delete_after = input.seconds("delete_version_after")?.unwrap_or(config.delete_after);
        call.storage.write("config", &config).await?;
        Ok(Response::empty())
    }
}

fn meta_key(path: &str) -> String {
    format!("m/{path}")
}

fn version_key(path: &str, version: u64) -> String {
    format!("v/{version}/{path}")
}

/// The path of an entry: not a folder's.
fn entry_path<'a>(call: &'a Call<'_>) -> Result<&'a str> {
    let path = call.input.capture("path");
    if path.is_empty() || path.ends_with('/') {
        return Err(Error::not_found());
    }
    Ok(path)
}

/// `data`, or null if there is nothing.
fn text_map(custom: &std::collections::BTreeMap<String, String>) -> Value {
    crate::core::or_null(custom)
}

/// An answer with contents and what is known of them.
fn answer(name: &str, contents: Value, metadata: Object) -> Object {
    Object::from([(name.to_owned(), contents), ("metadata".to_owned(), metadata.into())])
}

#[cfg(test)]
mod tests;
