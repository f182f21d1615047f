//! Cryptography as a service: named keys that encrypt, sign and make HMACs, and never leave unless they were made to.
//!
//! ```text
//! config        settings of the mount
//! k/NAME        a key with all its versions
//! wrapping      the key under which keys are brought in from outside
//! ```
//!
//! Ciphertexts and signatures are `vault:vN:BASE64`, as the peer has them, and open there too. Keys are kept set up in memory (`keys`); a
//! request for one that is there reads no storage.

use std::sync::Arc;

use async_trait::async_trait;

mod aead;
mod asymmetric;
mod backup;
mod batch;
mod crypt;
mod encoding;
mod export;
mod hash;
mod import;
mod key;
mod keys;
mod manage;
mod policy;
mod rsa;
mod sign;

pub(super) use self::hash::Hash;
use self::keys::Keys;
use self::policy::Secret;
use super::tools;
use crate::logical::{Call, Engine, Error, Field, Kind, Operation, Response, Result, Route};

/// The engine.
#[derive(Default)]
pub struct Transit {
    keys: Arc<Keys>,
}

const NAME: Field = Field::new("name", Kind::Text, "Name of the key.");
const TYPE: Field = Field::new(
    "type",
    Kind::Text,
    "aes256-gcm96 (if nobody says), aes128-gcm96, chacha20-poly1305, xchacha20-poly1305, ed25519, ecdsa-p256, ecdsa-p384, ecdsa-p521, rsa-2048, rsa-3072, rsa-4096 or hmac.",
);
const CONTEXT: Field =
    Field::new("context", Kind::Text, "Base64: for which the key is derived, if it is one that is derived.");
const CONVERGENT: Field = Field::new(
    "convergent_encryption",
    Kind::Bool,
    "Whether the same plaintext in the same context gives the same ciphertext. Needs derivation.",
);
const DERIVED: Field = Field::new("derived", Kind::Bool, "Whether a key is derived for the context of each request.");
const EXPORTABLE: Field = Field::new("exportable", Kind::Bool, "Whether the keys can be read. Cannot be taken back.");
const BACKUP_ALLOWED: Field = Field::new(
    "allow_plaintext_backup",
    Kind::Bool,
    "Whether the key can be backed up, in plaintext. Cannot be taken back.",
);
const ROTATION: Field = Field::new(
    "auto_rotate_period",
    Kind::Seconds,
    "After how long the newest version is followed by another, at its next use. 0: never; else at least an hour.",
);
const BATCH: Field = Field::new("batch_input", Kind::List, "Items, instead of one in the fields of the request.");
const PARTIAL: Field = Field::new(
    "partial_failure_response_code",
    Kind::Int,
    "The HTTP status when some items of a batch fail, and not all.",
);
const ASSOCIATED: Field = Field::new(
    "associated_data",
    Kind::Text,
    "Base64: data that is not encrypted and must be the same when decrypted.",
);
const CIPHERTEXT: Field = Field::new("ciphertext", Kind::Text, "What was encrypted: vault:vN:BASE64.");
const VERSION: Field = Field::new("key_version", Kind::Int, "Which version of the key. 0: the newest.");
const URL_ALGORITHM: Field = Field::new("urlalgorithm", Kind::Text, "The hash, in the path.");
const ALGORITHM: Field =
    Field::new("algorithm", Kind::Text, "The hash: sha2-256 (if nobody says), sha1, sha2-… or sha3-….");
const HASH_ALGORITHM: Field =
    Field::new("hash_algorithm", Kind::Text, "The hash: sha2-256 (if nobody says), sha1, sha2-…, sha3-… or none.");
const INPUT: Field = Field::new("input", Kind::Text, "Base64 of the data.");
const PREHASHED: Field = Field::new("prehashed", Kind::Bool, "Whether the input is a hash already.");
const SIGNATURE_ALGORITHM: Field =
    Field::new("signature_algorithm", Kind::Text, "Of RSA keys: pss (if nobody says) or pkcs1v15.");
const MARSHALING: Field =
    Field::new("marshaling_algorithm", Kind::Text, "Of ECDSA keys: asn1 (if nobody says) or jws.");
const SALT: Field = Field::new("salt_length", Kind::Text, "Of PSS: auto, hash, or a number of bytes.");
const FORMAT: Field = Field::new("format", Kind::Text, "`base64` or `hex`.");
const BACKUP: Field = Field::new("backup", Kind::Text, "A backup.");
const FORCE: Field = Field::new("force", Kind::Bool, "Whether a key of this name is replaced.");
const PUBLIC_KEY: Field = Field::new("public_key", Kind::Text, "A public key in PEM, if there is no private one.");
const WRAPPED: Field = Field::new(
    "ciphertext",
    Kind::Text,
    "Base64: an AES-256 key under the wrapping key (RSA-OAEP), then the key under that (AES-KWP).",
);
const WRAPPING_HASH: Field =
    Field::new("hash_function", Kind::Text, "The hash of OAEP: SHA256 (if nobody says), SHA1, SHA384 or SHA512.");

const SIGNING: &[Field] = &[
    NAME,
    INPUT,
    CONTEXT,
    VERSION,
    URL_ALGORITHM,
    HASH_ALGORITHM,
    ALGORITHM,
    PREHASHED,
    SIGNATURE_ALGORITHM,
    MARSHALING,
    SALT,
    BATCH,
];
const VERIFYING: &[Field] = &[
    NAME,
    INPUT,
    Field::new("signature", Kind::Text, "The signature: vault:vN:…."),
    Field::new("hmac", Kind::Text, "The HMAC: vault:vN:…."),
    CONTEXT,
    URL_ALGORITHM,
    HASH_ALGORITHM,
    ALGORITHM,
    PREHASHED,
    SIGNATURE_ALGORITHM,
    MARSHALING,
    SALT,
    BATCH,
];
const HMAC: &[Field] = &[NAME, INPUT, VERSION, URL_ALGORITHM, ALGORITHM, BATCH];
const RANDOM: &[Field] = &[
    Field::new("bytes", Kind::Int, "How many."),
    Field::new("urlbytes", Kind::Text, "How many, in the path."),
    Field::new("source", Kind::Text, "Without effect: there is one."),
    FORMAT,
];
const HASHING: &[Field] = &[INPUT, ALGORITHM, URL_ALGORITHM, FORMAT];
const EXPORT: &[Field] = &[
    Field::new("type", Kind::Text, "encryption-key, signing-key, hmac-key or public-key."),
    NAME,
    Field::new("version", Kind::Text, "Which version; `latest`."),
    Field::new("format", Kind::Text, "raw, der or pem; empty: as is usual for the type."),
];

#[async_trait]
impl Engine for Transit {
    const ABOUT: &'static str = "Encrypts, signs and makes HMACs with named keys that stay in here.";

    fn routes() -> Vec<Route<Self>> {
        use Operation::{Delete, List, Read, Update};
        let mut routes = vec![
            Route::<Self>::new("keys/?", "The names of the keys")
                .fields(
                    const {
                        &[
                            Field::new("after", Kind::Text, "Names after this one alone."),
                            Field::new("limit", Kind::Int, "At most so many names."),
                        ]
                    },
                )
                .on(List, |engine, call| Box::pin(engine.list_keys(call))),
            Route::<Self>::new("keys/{name}", "A key")
                .fields(
                    const {
                        &[
                            NAME,
                            TYPE,
                            Field::new("key_size", Kind::Int, "Of an HMAC key: how many bytes, from 32 to 512."),
                            DERIVED,
                            CONVERGENT,
                            EXPORTABLE,
                            BACKUP_ALLOWED,
                            CONTEXT,
                            ROTATION,
                        ]
                    },
                )
                .on(Read, |engine, call| Box::pin(engine.read_key(call)))
                .on(Update, |engine, call| Box::pin(engine.create_key(call)))
                .on(Delete, |engine, call| Box::pin(engine.delete_key(call))),
            Route::<Self>::new("keys/{name}/config", "What a key may do")
                .fields(
                    const {
                        &[
                            NAME,
                            Field::new("min_decryption_version", Kind::Int, "The oldest version that decrypts and verifies."),
                            Field::new("min_encryption_version", Kind::Int, "The oldest version that encrypts and signs."),
                            Field::new("deletion_allowed", Kind::Bool, "Whether the key can be deleted."),
                            EXPORTABLE,
                            BACKUP_ALLOWED,
                            ROTATION,
                        ]
                    },
                )
                .on(Update, |engine, call| Box::pin(engine.configure_key(call))),
            Route::<Self>::new("keys/{name}/rotate", "Add a version to a key")
                .fields(&[NAME])
                .on(Update, |engine, call| Box::pin(engine.rotate_key(call))),
            Route::<Self>::new("keys/{name}/trim", "Destroy old versions of a key, for good")
                .fields(
                    const {
                        &[NAME, Field::new("min_available_version", Kind::Int, "The oldest version that is kept.")]
                    },
                )
                .on(Update, |engine, call| Box::pin(engine.trim_key(call))),
            Route::<Self>::new("keys/{name}/soft-delete", "Put a key out of use")
                .fields(&[NAME])
                .on(Delete, |engine, call| Box::pin(engine.soft_delete(call, true))),
            Route::<Self>::new("keys/{name}/soft-delete-restore", "Put a key into use again")
                .fields(&[NAME])
                .on(Update, |engine, call| Box::pin(engine.soft_delete(call, false))),
            Route::<Self>::new("keys/{name}/import", "Bring in a key from outside")
                .fields(const { &[
                    NAME,
                    TYPE,
                    WRAPPED,
                    PUBLIC_KEY,
                    WRAPPING_HASH,
                    Field::new("allow_rotation", Kind::Bool, "Whether it can be rotated here."),
                    DERIVED,
                    EXPORTABLE,
                    BACKUP_ALLOWED,
                    CONTEXT,
                    ROTATION,
                ] })
                .on(Update, |engine, call| Box::pin(engine.import(call))),
            Route::<Self>::new("keys/{name}/import_version", "Bring in a version of such a key")
                .fields(&[NAME, WRAPPED, PUBLIC_KEY, WRAPPING_HASH])
                .on(Update, |engine, call| Box::pin(engine.import_version(call))),
            Route::<Self>::new("wrapping_key", "The public key under which keys are brought in")
                .on(Read, |engine, call| Box::pin(engine.wrapping_key(call))),
            Route::<Self>::new("encrypt/{name}", "Encrypt")
                .fields(const {
                    &[
                        NAME,
                        Field::new("plaintext", Kind::Text, "Base64 of what is encrypted."),
                        CONTEXT,
                        ASSOCIATED,
                        VERSION,
                        TYPE,
                        CONVERGENT,
                        PARTIAL,
                        BATCH,
                    ]
                })
                // Making a key is `create`. Rotating one when its time has come is nobody's request: whoever comes first finds it.
                .unchanging(&[Update])
                .exists(|engine, call| Box::pin(engine.exists(call)))
                .on(Update, |engine, call| Box::pin(engine.encrypt(call))),
            Route::<Self>::new("decrypt/{name}", "Decrypt")
                .fields(&[NAME, CIPHERTEXT, CONTEXT, ASSOCIATED, PARTIAL, BATCH])
                .unchanging(&[Update])
                .on(Update, |engine, call| Box::pin(engine.decrypt(call))),
            Route::<Self>::new("rewrap/{name}", "Encrypt what is encrypted with the newest version")
                .fields(&[NAME, CIPHERTEXT, CONTEXT, ASSOCIATED, VERSION, BATCH])
                .unchanging(&[Update])
                .on(Update, |engine, call| Box::pin(engine.rewrap(call))),
            Route::<Self>::new("datakey/{plaintext}/{name}", "A new key, encrypted, and in plaintext too if that is asked for")
                .fields(const {
                    &[
                        Field::new("plaintext", Kind::Text, "`plaintext` or `wrapped`."),
                        NAME,
                        CONTEXT,
                        ASSOCIATED,
                        VERSION,
                        Field::new("bits", Kind::Int, "128, 256 (if nobody says) or 512."),
                    ]
                })
                .unchanging(&[Update])
                .on(Update, |engine, call| Box::pin(engine.data_key(call))),
            Route::<Self>::new("export/{type}/{name}", "The keys themselves")
                .fields(EXPORT)
                .on(Read, |engine, call| Box::pin(engine.export(call))),
            Route::<Self>::new("export/{type}/{name}/{version}", "The key itself, of one version")
                .fields(EXPORT)
                .on(Read, |engine, call| Box::pin(engine.export(call))),
            Route::<Self>::new("backup/{name}", "All of a key, in plaintext")
                .fields(&[NAME])
                .on(Read, |engine, call| Box::pin(engine.backup(call))),
            Route::<Self>::new("config/keys", "Settings of all keys")
                .fields(const { &[Field::new("disable_upsert", Kind::Bool, "Whether encrypting makes no keys.")] })
                .on(Read, |engine, call| Box::pin(engine.read_keys_config(call)))
                .on(Update, |engine, call| Box::pin(engine.write_keys_config(call))),
            Route::<Self>::new("cache-config", "How many keys are kept in memory")
                .fields(const { &[Field::new("size", Kind::Int, "How many. 0: as the server thinks right.")] })
                .on(Read, |engine, call| Box::pin(engine.read_cache_config(call)))
                .on(Update, |engine, call| Box::pin(engine.write_cache_config(call))),
        ];
        for pattern in ["sign/{name}", "sign/{name}/{urlalgorithm}"] {
            let route = Route::<Self>::new(pattern, "Sign").fields(SIGNING).unchanging(&[Update]);
            routes.push(route.on(Update, |engine, call| Box::pin(engine.sign(call))));
        }
        for pattern in ["verify/{name}", "verify/{name}/{urlalgorithm}"] {
            let route =
                Route::<Self>::new(pattern, "Verify a signature or an HMAC").fields(VERIFYING).unchanging(&[Update]);
            routes.push(route.on(Update, |engine, call| Box::pin(engine.verify(call))));
        }
        for pattern in ["hmac/{name}", "hmac/{name}/{urlalgorithm}"] {
            let route = Route::<Self>::new(pattern, "Make an HMAC").fields(HMAC).unchanging(&[Update]);
            routes.push(route.on(Update, |engine, call| Box::pin(engine.hmac(call))));
        }
        for pattern in ["restore", "restore/{name}"] {
            let route = Route::<Self>::new(pattern, "Restore a key from its backup").fields(&[NAME, BACKUP, FORCE]);
            routes.push(route.on(Update, |engine, call| Box::pin(engine.restore(call))));
        }
        for pattern in ["random", "random/{source}", "random/{source}/{urlbytes}"] {
            let route = Route::<Self>::new(pattern, "Random bytes").fields(RANDOM).unchanging(&[Update]);
            routes.push(route.on(Update, |_, call| Box::pin(tools::random(call))));
        }
        for pattern in ["hash", "hash/{urlalgorithm}"] {
            let route = Route::<Self>::new(pattern, "Hash").fields(HASHING).unchanging(&[Update]);
            routes.push(route.on(Update, |_, call| Box::pin(hash(call))));
        }
        routes
    }
}

/// The key's name in the path: what the peer takes, in ASCII.
fn name<'c>(call: &'c Call<'_>) -> Result<&'c str> {
    let name = call.input.capture("name");
    let good = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if !name.is_empty() && name.chars().all(good) { Ok(name) } else { Err(Error::unsupported_path()) }
}

#[expect(clippy::unused_async, reason = "the signature that all handlers share")]
async fn hash(call: &Call<'_>) -> Result<Response> {
    use self::hash::Hash;
    let mut named = call.input.capture("urlalgorithm").to_owned();
    if named.is_empty() {
        named = batch::text(call, "algorithm")?.into_owned();
    }
    let named = if named.is_empty() { "sha2-256" } else { &named };
    // The peer has no sha1 here.
    let hash = Hash::parse(named).filter(|hash| *hash != Hash::Sha1);
    let hash = hash.ok_or_else(|| Error::bad_request(format!("unsupported algorithm {named}")))?;
    if !call.input.has("input") {
        return Err(Error::bad_request("input missing"));
    }
    let input = encoding::decode(&batch::text(call, "input")?)
        .map_err(|error| Error::bad_request(format!("unable to decode input as base64: {error}")))?;
    let sum = hash.of(input.expose());
    let text = match batch::text(call, "format")?.as_ref() {
        "" | "hex" => crate::core::hex(&sum),
        "base64" => encoding::encode(&sum),
        other => {
            return Err(Error::bad_request(format!(
                "unsupported encoding format {other}; must be \"hex\" or \"base64\""
            )));
        }
    };
    Ok(Response::data(object! { "sum": text }))
}
