//! PEM (RFC 7468): blocks of base64 between lines that say what they hold.
//!
//! As Go reads it, because that is what writes the files: text before, between and behind blocks is skipped, lines may have any
//! length and end in `\r\n`, and a block may have headers (`Proc-Type: …`) before an empty line. Ours, because what is decoded is
//! a private key more often than not: it goes straight into locked memory, and no copy is left behind.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bulla_core::SecretBytes;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// One block.
pub(super) struct Block<'a> {
    /// `CERTIFICATE`, `RSA PRIVATE KEY`, …
    pub(super) label: &'a str,
    /// Whether headers stood before the base64: an encrypted key has some.
    pub(super) has_headers: bool,
    /// What the base64 says; empty where it is none.
    pub(super) bytes: SecretBytes,
}

/// The blocks of `text`, in order. A block that is damaged is skipped, as Go does.
pub(super) fn blocks(text: &[u8]) -> impl Iterator<Item = Block<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let (label, body, behind) = next(rest)?;
            rest = behind;
            if let Some((has_headers, bytes)) = decode(body) {
                return Some(Block { label, has_headers, bytes });
            }
        }
    })
}

/// A block of `label` as text, lines of 64 characters.
pub(super) fn encode(label: &str, bytes: &[u8]) -> SecretBytes {
    let mut out = SecretBytes::with_capacity(bytes.len() * 3 / 2 + 2 * label.len() + 64);
    out.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
    for chunk in bytes.chunks(48) {
        let mut line = zeroize::Zeroizing::new([0; 64]);
        // 48 bytes are 64 characters.
        let len = BASE64_STANDARD.encode_slice(chunk, line.as_mut()).unwrap_or_default();
        out.extend_from_slice(&line[..len]);
        out.extend_from_slice(b"\n");
    }
    out.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
    out
}

/// The next block's label and body, and what is behind it. Looks at each byte a fixed number of times, whatever the text.
fn next(mut text: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    loop {
        let start = memchr::memmem::find(text, BEGIN)? + BEGIN.len();
        let end = start + memchr::memmem::find(&text[start..], END)?;
        // Blocks do not nest: the last that begins before the end is the one that ends here.
        let start = memchr::memmem::rfind(&text[start..end], BEGIN).map_or(start, |last| start + last + BEGIN.len());
        let (inside, behind) = (&text[start..end], &text[end + END.len()..]);
        text = behind;
        let Some(line_end) = memchr::memchr(b'\n', inside) else { continue };
        let label =
            inside[..line_end].trim_ascii_end().strip_suffix(DASHES).and_then(|label| str::from_utf8(label).ok());
        let Some(label) = label else { continue };
        if behind.strip_prefix(label.as_bytes()).is_some_and(|rest| rest.starts_with(DASHES)) {
            return Some((label, &inside[line_end..], behind));
        }
    }
}

fn decode(body: &[u8]) -> Option<(bool, SecretBytes)> {
    let has_headers = memchr::memchr(b':', body).is_some();
    let base64 = if has_headers { behind_headers(body)? } else { body };
    let mut packed = SecretBytes::with_capacity(base64.len());
    for word in base64.split(u8::is_ascii_whitespace) {
        packed.extend_from_slice(word);
    }
    let mut bytes = SecretBytes::zeroed(base64::decoded_len_estimate(packed.len()));
    let len = BASE64_STANDARD.decode_slice(packed.expose(), bytes.expose_mut()).ok()?;
    bytes.truncate(len);
    Some((has_headers, bytes))
}

/// What follows the first empty line behind a header.
fn behind_headers(body: &[u8]) -> Option<&[u8]> {
    let last = memchr::memrchr(b':', body)?;
    let line_end = memchr::memchr(b'\n', &body[last..])? + last;
    Some(&body[line_end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, bool, Vec<u8>)> {
        blocks(text.as_bytes())
            .map(|block| (block.label.to_owned(), block.has_headers, block.bytes.expose().to_vec()))
            .collect()
    }

    #[test]
    fn blocks_are_found_among_other_text() {
        let text = "subject=x\n-----BEGIN A B-----\r\naGVs\r\nbG8=\r\n-----END A B-----\r\nmore\n-----BEGIN C-----\naGk=\n-----END C-----";
        assert_eq!(read(text), [("A B".into(), false, b"hello".to_vec()), ("C".into(), false, b"hi".to_vec())]);
    }

    #[test]
    fn headers_are_told_and_skipped() {
        let text = "-----BEGIN K-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\naGk=\n-----END K-----\n";
        assert_eq!(read(text), [("K".into(), true, b"hi".to_vec())]);
    }

    #[test]
    fn a_damaged_block_is_skipped_and_the_next_is_read() {
        let good = "-----BEGIN C-----\naGk=\n-----END C-----\n";
        for damaged in [
            "-----BEGIN A-----\n!\n-----END A-----\n",
            "-----BEGIN A-----\naGk=\n-----END B-----\n",
            "-----BEGIN A\n",
            "-----BEGIN ",
        ] {
            assert_eq!(
                read(&format!("{damaged}{good}")).last(),
                Some(&("C".into(), false, b"hi".to_vec())),
                "{damaged}"
            );
        }
    }

    #[test]
    fn what_is_encoded_is_read_back_at_every_length() {
        for len in [0, 1, 47, 48, 49, 300] {
            let bytes: Vec<u8> = (0..len).map(|n| u8::try_from(n % 251).unwrap_or(0)).collect();
            let text = encode("X", &bytes);
            let found: Vec<_> = blocks(text.expose()).map(|block| block.bytes.expose().to_vec()).collect();
            assert_eq!(found, [bytes]);
        }
    }
}
