//! What stands in the plain, told without a key: in a file that is encrypted, and in one that is not yet.

use std::collections::HashMap;

use bulla_core::SecretBytes;
use bulla_document::{Document, Kind, NodeId, Scalar};
use sha2::{Digest as _, Sha256};

use super::Error;
use super::cipher::looks_sealed;
use super::file::{EncryptedFile, FileKind};
use super::mac::Leaf;
use super::pass::is_never_encrypted;
use super::place::{Component, Place};
use super::plain;
use super::rules::{Rules, Selector};
use super::walk::Walk;

/// A value that the rules want encrypted and that is not. No program decrypts a file with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftPlain {
    /// Where: `a.b[0]`.
    pub path: String,
    /// The line it stands on, from 1.
    pub line: usize,
}

impl EncryptedFile {
    /// The values that were put into the encrypted file in the plain, by hand.
    ///
    /// # Errors
    /// [`Error::Document`] for a key that the format has no form for.
    pub fn left_plain(&self) -> Result<Vec<LeftPlain>, Error> {
        let document = &self.document;
        let mut left = Vec::new();
        let mut walk = Walk::new(document, &self.selector, &self.located.nodes);
        while let Some(visit) = walk.next()? {
            if visit.kind == Kind::Scalar && visit.encrypted && !is_sealed(&document.scalar(visit.id)) {
                left.push(LeftPlain { path: walk.place().to_string(), line: document.line(visit.id) });
            }
        }
        Ok(left)
    }
}

/// Whether encrypting a plaintext by these rules would encrypt anything of it. Of what cannot be read as `kind`, it is taken
/// that it would.
pub fn selects(kind: FileKind, text: &SecretBytes, rules: &Rules) -> bool {
    let FileKind::Text(syntax) = kind else { return !text.is_empty() };
    let look = || -> Result<bool, Error> {
        let document = Document::parse(syntax, text.clone())?;
        let selector = Selector::new(rules)?;
        let mut walk = Walk::new(&document, &selector, &[]);
        while let Some(visit) = walk.next()? {
            if visit.kind == Kind::Scalar && visit.encrypted && !is_never_encrypted(&document.scalar(visit.id)) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    look().unwrap_or(true)
}

/// The values and comments of a text that can be read without a key.
pub struct Exposed(HashMap<[u8; 32], String>);

impl Exposed {
    /// Looks through a text, encrypted or not.
    ///
    /// # Errors
    /// As [`EncryptedFile::parse`], but for its being plain.
    pub fn of(kind: FileKind, text: &SecretBytes) -> Result<Self, Error> {
        let FileKind::Text(syntax) = kind else { return Ok(Self(HashMap::new())) };
        match EncryptedFile::parse(kind, text.clone()) {
            Ok(file) => Self::in_document(&file.document, &file.selector, &file.located.nodes),
            Err(Error::MetadataNotFound) => {
                let document = Document::parse(syntax, text.clone())?;
                Self::in_document(&document, &Selector::new(&Rules::default())?, &[])
            }
            Err(error) => Err(error),
        }
    }

    /// Where something can be read that could be read in none of `others`: the same value under the same keys.
    pub fn beyond(&self, others: &[&Self]) -> Option<&str> {
        let new = self.0.iter().filter(|(digest, _)| !others.iter().any(|other| other.0.contains_key(*digest)));
        new.map(|(_, place)| place.as_str()).min()
    }

    fn in_document(document: &Document, selector: &Selector, skip: &[NodeId]) -> Result<Self, Error> {
        let mut exposed = HashMap::new();
        let mut scratch = SecretBytes::new();
        let mut walk = Walk::new(document, selector, skip);
        while let Some(visit) = walk.next()? {
            let scalar = document.scalar(visit.id);
            if !matches!(visit.kind, Kind::Scalar | Kind::Comment) || is_sealed(&scalar) {
                continue;
            }
            let is_comment = visit.kind == Kind::Comment;
            let leaf = Leaf::of(&scalar);
            let Some((plain, _)) = plain::of(&scalar, &mut scratch) else { continue };
            let digest = if is_comment { comment_digest(plain) } else { value_digest(walk.place(), leaf, plain) };
            exposed.entry(digest).or_insert_with(|| {
                if is_comment { format!("a comment in {}", walk.place()) } else { walk.place().to_string() }
            });
        }
        Ok(Self(exposed))
    }
}

/// Whether it is ciphertext, or a value that never is.
fn is_sealed(scalar: &Scalar<'_>) -> bool {
    is_never_encrypted(scalar) || scalar.as_bytes().is_some_and(looks_sealed)
}

fn comment_digest(text: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(b"#").chain_update(text).finalize().into()
}

/// Without indexes: items move.
fn value_digest(place: &Place, leaf: Leaf, plain: &[u8]) -> [u8; 32] {
    let mut sha = Sha256::new_with_prefix(b"v");
    for component in place.components() {
        match component {
            Component::Index(_) => sha.update(b"i"),
            Component::Key(key) => {
                sha.update(b"k");
                sha.update((key.len() as u64).to_le_bytes());
                sha.update(key);
            }
        }
    }
    sha.update([b'=', leaf as u8]);
    sha.update(plain);
    sha.finalize().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bulla_document::Syntax;

    use super::*;

    const YAML: FileKind = FileKind::Text(Syntax::Yaml);
    const SEALED: &str = "ENC[AES256_GCM,data:,iv:,tag:,type:str]";

    fn encrypted(rule: &str, values: &str) -> SecretBytes {
        let text = format!(
            "{values}sops:\n    lastmodified: '2026-01-02T03:04:05Z'\n    mac: x\n    version: 3.11.0\n    {rule}\n    \
             age:\n        - recipient: age1x\n          enc: x\n"
        );
        SecretBytes::from(text.into_bytes())
    }

    fn left(rule: &str, values: &str) -> Vec<(String, usize)> {
        let file = EncryptedFile::parse(YAML, encrypted(rule, values)).unwrap();
        file.left_plain().unwrap().into_iter().map(|left| (left.path, left.line)).collect()
    }

    #[test]
    fn a_value_put_into_an_encrypted_file_by_hand_is_found() {
        let values =
            format!("a: {SEALED}\nb:\n    - {SEALED}\n    - hunter2\nc: 5\nd: ''\ne: null\nf_unencrypted: x\n");
        assert_eq!(left("unencrypted_suffix: _unencrypted", &values), [("b[1]".to_owned(), 4), ("c".to_owned(), 5)]);
        assert_eq!(left("encrypted_regex: ^a$", &values), []);
    }

    #[test]
    fn a_text_in_which_the_rules_select_nothing_needs_no_encryption() {
        let rules = Rules { encrypted_regex: Some("^(data|stringData)$".to_owned()), ..Rules::default() };
        let any = |text: &str| selects(YAML, &SecretBytes::from(text.as_bytes()), &rules);
        assert!(!any("kind: Deployment\nspec:\n    replicas: 1\n"));
        assert!(!any("kind: Secret\ndata: {}\n"));
        assert!(any("kind: Secret\ndata:\n    a: b\n"));
        assert!(any("{{ not yaml"));
    }

    #[test]
    fn what_was_encrypted_before_and_can_be_read_now_is_told() {
        let of = |text: &SecretBytes| Exposed::of(YAML, text).unwrap();
        let rule = "encrypted_comment_regex: enc";
        let before = of(&encrypted(rule, &format!("# enc\na: {SEALED}\nl:\n    - x\n")));
        let moved = of(&encrypted(rule, "l:\n    - y\n    - x\n"));
        assert_eq!(moved.beyond(&[&before]), Some("l[0]"));
        let lost = of(&encrypted(rule, "a: hunter2\nl:\n    - x\n"));
        assert_eq!(lost.beyond(&[&before]), Some("a"));
        let plain = of(&SecretBytes::from(&b"a: hunter2\n"[..]));
        assert_eq!(lost.beyond(&[&before, &plain]), None, "a side has it in the plain");
    }
}
