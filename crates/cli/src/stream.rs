//! A stream of YAML documents that were files of their own, as `kustomize build` prints them: some encrypted, each with its
//! own keys and MAC, others plain.
//!
//! Only standard input is taken so. In a file that is encrypted as one, a document that is not a part of it is an error.

use bulla_core::SecretBytes;
use bulla_document::Syntax;
use bulla_format::sops::{EncryptedFile, Error, FileKind, MacCheck};

use crate::app::App;
use crate::engine::{self, Access};
use crate::error::Failure;
use crate::exit::Code;

const YAML: FileKind = FileKind::Text(Syntax::Yaml);

/// The documents of a stream. Put together they are its bytes again.
pub(crate) struct Stream(Vec<Part>);

enum Part {
    /// Not encrypted.
    Plain(SecretBytes),
    /// Encrypted on its own: one document, or several in a row that share their metadata.
    Encrypted(Box<EncryptedFile>),
}

impl Stream {
    /// Takes a text apart. `None` if it is one file, encrypted as a whole or not at all, or cannot be read so.
    pub(crate) fn find(text: &SecretBytes) -> Option<Self> {
        let texts = documents(text.expose());
        if texts.len() < 2 {
            return None;
        }
        let parts = texts.into_iter().map(part).collect::<Option<Vec<_>>>()?;
        let macs = parts.iter().map(|part| match part {
            Part::Encrypted(file) => Some(file.metadata().mac.as_str()),
            Part::Plain(_) => None,
        });
        let mut macs: Vec<_> = macs.collect();
        macs.dedup();
        if macs.len() < 2 {
            return None;
        }
        let mut joined: Vec<Part> = Vec::new();
        for part in parts {
            if let (Some(Part::Encrypted(before)), Part::Encrypted(file)) = (joined.last(), &part)
                && before.metadata().mac == file.metadata().mac
            {
                let mut text = before.text().clone();
                text.extend_from_slice(file.text().expose());
                joined.pop();
                joined.push(self::part(text.expose())?);
            } else {
                joined.push(part);
            }
        }
        Some(Self(joined))
    }

    /// The stream with all documents decrypted. Nothing is given out before the integrity of each is proven.
    ///
    /// # Errors
    /// As opening a file; with `--strict`, for a document that is plain.
    pub(crate) fn decrypt(
        &self,
        app: &App,
        access: &Access,
        name: &str,
        check: MacCheck,
    ) -> Result<SecretBytes, Failure> {
        let mut result = SecretBytes::with_capacity(0);
        for (index, part) in self.0.iter().enumerate() {
            let name = format!("{name}, part {}", index + 1);
            match part {
                Part::Plain(_) if check == MacCheck::Strict => {
                    let what = format!("{name}: is not encrypted, and nothing proves that it belongs here");
                    return Err(Failure::new(Code::MacMismatch, what));
                }
                Part::Plain(text) => result.extend_from_slice(text.expose()),
                Part::Encrypted(file) => {
                    let key = engine::unwrap(app, access, &name, file.metadata())?;
                    let plain = file.decrypt(&key, check).map_err(|error| Failure::decrypting(&name, error))?;
                    result.extend_from_slice(plain.text.expose());
                }
            }
        }
        Ok(result)
    }
}

fn part(text: &[u8]) -> Option<Part> {
    let text = SecretBytes::from(text);
    match EncryptedFile::parse(YAML, text.clone()) {
        Ok(file) => Some(Part::Encrypted(Box::new(file))),
        Err(Error::MetadataNotFound) => Some(Part::Plain(text)),
        Err(_) => None,
    }
}

/// The documents of a text, each with the `---` before it. A line that begins so ends whatever it stands in. Comments and
/// blank lines before a document are its.
pub(crate) fn documents(text: &[u8]) -> Vec<&[u8]> {
    let mut documents = Vec::new();
    let (mut start, mut at, mut has_content) = (0, 0, false);
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        if is_start(line) && has_content {
            documents.push(&text[start..at]);
            start = at;
            has_content = false;
        }
        has_content |= !is_empty(if is_start(line) { &line[3..] } else { line });
        at += line.len();
    }
    if has_content || documents.is_empty() {
        documents.push(&text[start..]);
    } else if let Some(last) = documents.last_mut() {
        // What is left holds nothing.
        let from = start - last.len();
        *last = &text[from..];
    }
    documents
}

fn is_start(line: &[u8]) -> bool {
    line.strip_prefix(b"---").is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
}

/// Whether a line holds nothing but a comment, a directive or a document's end.
fn is_empty(line: &[u8]) -> bool {
    let text = line.trim_ascii();
    text.is_empty() || text == b"..." || text.starts_with(b"#") || line.starts_with(b"%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_told_apart_and_nothing_is_lost() {
        for (text, count) in [
            ("a: 1\n", 1),
            ("", 1),
            ("---\na: 1\n---\nb: 2\n", 2),
            ("# c\n---\na: |\n  ---\n  x\n---  # d\nb: 2\n---\n", 2),
            ("a: 1\r\n---\r\nb: 2", 2),
            ("a: 1\n--- x\n--- y\n", 3),
            ("a: 1\n---b: 2\n", 1),
            ("---\n# only comments\n---\n", 1),
            ("%YAML 1.2\n---\na: 1\n...\n%YAML 1.2\n---\nb: 2\n", 2),
        ] {
            let documents = documents(text.as_bytes());
            assert_eq!(documents.len(), count, "{text:?}");
            assert_eq!(documents.concat(), text.as_bytes(), "{text:?}");
        }
    }
}
