//! The `sops` block beside the plaintext (`edit --show-master-keys`).

use bulla_core::SecretBytes;
use bulla_document::{Document, NodeId, Syntax, Value};
use bulla_format::sops::{EncryptedFile, FileKind, Metadata};

use crate::error::Failure;
use crate::exit::Code;

/// The plaintext with the metadata of the encrypted file.
///
/// # Errors
/// A syntax that cannot hold it.
pub(super) fn show(syntax: Syntax, plain: &SecretBytes, encrypted: &SecretBytes) -> Result<SecretBytes, Failure> {
    let encrypted = parse(syntax, encrypted.clone())?;
    let plain = parse(syntax, plain.clone())?;
    let mut patch = plain.patch();
    if let (Some(&from), Some(&to)) = (encrypted.roots().first(), plain.roots().first()) {
        let entries: Vec<(String, Value)> = metadata_entries(&encrypted, from)
            .map(|id| (encrypted.key(id).unwrap_or_default().to_owned(), encrypted.to_value(id)))
            .collect();
        patch.insert(to, &entries).map_err(|error| Failure::new(Code::CannotDump, error.to_string()))?;
    }
    Ok(patch.finish())
}

/// Takes the two apart again.
///
/// # Errors
/// [`Code::CouldNotReadInput`] for a text or metadata that is malformed.
pub(super) fn read(syntax: Syntax, shown: SecretBytes) -> Result<(SecretBytes, Metadata), Failure> {
    let invalid = |what: String| Failure::new(Code::CouldNotReadInput, what);
    let metadata = EncryptedFile::parse(FileKind::Text(syntax), shown.clone())
        .map_err(|error| invalid(format!("SOPS metadata is invalid: {error}")))?
        .metadata()
        .clone();
    let document = parse(syntax, shown)?;
    let mut patch = document.patch();
    for &root in document.roots() {
        for id in metadata_entries(&document, root) {
            patch.remove(id).map_err(|error| invalid(error.to_string()))?;
        }
    }
    Ok((patch.finish(), metadata))
}

/// The entries that are metadata: `sops`, in dotenv all that begin with `sops_`.
fn metadata_entries(document: &Document, root: NodeId) -> impl Iterator<Item = NodeId> + '_ {
    document.children(root).filter(|&id| {
        document.key(id).is_some_and(|key| match document.syntax() {
            Syntax::Dotenv => key.starts_with("sops_"),
            _ => key == "sops",
        })
    })
}

fn parse(syntax: Syntax, text: SecretBytes) -> Result<Document, Failure> {
    Document::parse(syntax, text).map_err(|error| Failure::new(Code::CouldNotReadInput, error.to_string()))
}
