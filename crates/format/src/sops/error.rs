//! Why a file could not be encrypted or decrypted.

/// Why a file could not be encrypted or decrypted. No value of the file is ever in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text itself cannot be read or written.
    #[error(transparent)]
    Document(#[from] bulla_document::Error),
    /// There is no `sops` block: the file is not encrypted.
    #[error("sops metadata not found")]
    MetadataNotFound,
    /// The `sops` block is malformed; says which field.
    #[error("bad sops metadata: {0}")]
    Metadata(String),
    /// The file has a top-level `sops` entry already.
    #[error("the file is encrypted already: it has a top-level entry called \"sops\"")]
    AlreadyEncrypted,
    /// There is no document in the file at all.
    #[error("the file is empty; it must contain at least one document")]
    Empty,
    /// A value that does not decrypt: damaged, moved from elsewhere, or of another data key.
    #[error("cannot decrypt the value at {path}: {reason}")]
    Value {
        /// Where, as `a.b[0]`.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The MAC does not match the values.
    #[error("MAC mismatch: {0}")]
    Mac(String),
    /// An alias that would stand for something else in the decrypted text.
    #[error(
        "an alias (`*name`) in the file would stand for another value once the file is decrypted; nothing is given out; \
         write the value itself in its place"
    )]
    Alias,
    /// What was encrypted would not open again, which was noticed in time.
    #[error("what was encrypted does not open again ({0}); nothing was written; this is a defect, please report it")]
    SelfCheck(String),
    /// A path of `set`, `unset` or `extract` that does not fit the document.
    #[error("{0}")]
    Path(String),
    /// A rule that is not valid.
    #[error("{0}")]
    Rule(String),
    /// The system has no randomness to give.
    #[error("no randomness: {0}")]
    Random(#[from] getrandom::Error),
}
