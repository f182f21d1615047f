// Shared by the targets of the syntaxes (`include!`).

use bulla_core::SecretBytes;
use bulla_document::{Document, Kind, Limits, Scalar, Syntax};

/// Small enough that a hostile input is refused within the fuzzer's patience.
const LIMITS: Limits = Limits { bytes: 1 << 16, depth: 100, nodes: 20_000 };

/// Whatever parses can be walked, patched and read again: every scalar becomes ciphertext-like text, then itself again where
/// the document says that its source comes back.
fn exercise(syntax: Syntax, data: &[u8]) {
    let Ok(document) = Document::parse_within(syntax, data.into(), &LIMITS) else { return };
    let mut patch = document.patch();
    for &root in document.roots() {
        for id in document.subtree(root) {
            let _ = (document.key(id), document.source(id), document.line(id));
            // What sops encrypts: everything but nulls and empty strings.
            let is_empty = match document.scalar(id) {
                Scalar::Null => true,
                Scalar::Str(bytes) => bytes.is_empty(),
                _ => false,
            };
            if document.kind(id) == Kind::Scalar && !is_empty && !document.is_virtual(id) && !document.is_alias(id) {
                let _ = patch.set_scalar(id, &Scalar::str("ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:str]"));
            }
        }
    }
    let text = patch.finish();
    // Aliases of what was replaced may make other keys or trees of it; without them the text must still parse.
    let aliases = document.roots().iter().any(|&root| document.subtree(root).any(|id| document.is_alias(id)));
    match Document::parse_within(syntax, SecretBytes::from(text.expose()), &Limits { bytes: 1 << 24, ..LIMITS }) {
        Ok(again) => {
            if !aliases {
                // Comments are not counted: to which entry yaml.v3 gives one, or to none, depends on what stands beside it.
                assert_eq!(values(&again), values(&document), "a replaced value changed the tree");
            }
        }
        Err(error) => assert!(aliases, "a replaced value broke the text: {error}"),
    }
}

/// How many maps, lists and values there are.
fn values(document: &Document) -> usize {
    document.roots().iter().flat_map(|&root| document.subtree(root)).filter(|&id| document.kind(id) != Kind::Comment).count()
}
