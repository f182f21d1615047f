//! Stanzas on a plugin's pipes.
//!
//! Grammar (C2SP `age` and `age-plugin` specifications):
//!
//! ```text
//! stanza = "-> " argument *(" " argument) LF  *full-line  short-line
//! full-line = 64 characters of unpadded Base64, LF
//! short-line = fewer than 64 of them, maybe none, LF
//! ```
//!
//! An argument is one or more visible ASCII characters; the first is the stanza's type.

use std::io::{self, BufRead, Write};

use age_core::format::Stanza;
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use zeroize::{Zeroize, Zeroizing};

const COLUMNS: usize = 64;
/// Longer lines and bodies are no stanzas of any use: a line of 64 KiB, a body of 1 MiB.
const LONGEST_LINE: u64 = 1 << 16;
const LONGEST_BODY: usize = 1 << 20;

/// Writes a stanza and flushes.
pub(super) fn write(to: &mut impl Write, tag: &str, arguments: &[&str], body: &[u8]) -> io::Result<()> {
    let mut text = Zeroizing::new(String::from("-> "));
    text.push_str(tag);
    for argument in arguments {
        text.push(' ');
        text.push_str(argument);
    }
    text.push('\n');
    let encoded = Zeroizing::new(BASE64_STANDARD_NO_PAD.encode(body));
    let mut rest = encoded.as_str();
    while let Some((line, after)) = rest.split_at_checked(COLUMNS) {
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(rest);
    text.push('\n');
    to.write_all(text.as_bytes())?;
    to.flush()
}

/// Reads a stanza; `None` at the end of the stream.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for what is no stanza, [`io::ErrorKind::UnexpectedEof`] for half of one.
pub(super) fn read(from: &mut impl BufRead) -> io::Result<Option<Stanza>> {
    let Some(first) = line(from)? else { return Ok(None) };
    let mut words = first.strip_prefix("-> ").ok_or_else(|| invalid("a line does not begin with '-> '"))?.split(' ');
    let valid = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
    let tag = words.next().filter(valid).ok_or_else(|| invalid("a stanza has no type"))?.to_owned();
    let args = words
        .map(|word| Some(word).filter(valid).map(str::to_owned))
        .collect::<Option<_>>()
        .ok_or_else(|| invalid("a stanza has a malformed argument"))?;
    let mut encoded = Zeroizing::new(String::new());
    loop {
        let line = line(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        encoded.push_str(&line);
        if line.len() < COLUMNS {
            break;
        }
        if line.len() > COLUMNS || encoded.len() > LONGEST_BODY {
            return Err(invalid("a stanza's body is malformed"));
        }
    }
    let body =
        BASE64_STANDARD_NO_PAD.decode(encoded.as_bytes()).map_err(|_| invalid("a stanza's body is not Base64"))?;
    Ok(Some(Stanza { tag, args, body }))
}

/// A line without its end; `None` at the end of the stream.
fn line(from: &mut impl BufRead) -> io::Result<Option<Zeroizing<String>>> {
    let mut bytes = Vec::with_capacity(256);
    io::Read::take(from, LONGEST_LINE).read_until(b'\n', &mut bytes)?;
    match bytes.pop() {
        None => Ok(None),
        Some(b'\n') => String::from_utf8(bytes).map(|line| Some(Zeroizing::new(line))).map_err(|error| {
            error.into_bytes().zeroize();
            invalid("a line is not text")
        }),
        Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn written(tag: &str, arguments: &[&str], body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, tag, arguments, body).unwrap();
        out
    }

    #[test]
    fn bodies_end_in_a_short_line() {
        assert_eq!(written("done", &[], b""), b"-> done\n\n");
        assert_eq!(written("ok", &["yes"], b"abc"), b"-> ok yes\nYWJj\n");
        // 48 bytes fill a line; the short one that ends the body is then empty.
        let full = format!("-> x\n{}\n\n", "A".repeat(64));
        assert_eq!(written("x", &[], &[0; 48]), full.as_bytes());
    }

    #[test]
    fn what_is_no_stanza_is_refused() {
        for text in
            ["hello\n\n", "->\n\n", "-> \n\n", "-> a  b\n\n", "-> a b\x07\n\n", "-> a\n=\n", "-> a\nAB\n", "-> ä\n\n"]
        {
            let error = read(&mut text.as_bytes()).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{text:?}");
        }
        for text in ["-> a", "-> a\n", "-> a\nAAA", &format!("-> a\n{}\n", "A".repeat(64))] {
            let error = read(&mut text.as_bytes()).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{text:?}");
        }
        assert!(read(&mut &b""[..]).unwrap().is_none());
    }

    #[test]
    fn a_stream_without_an_end_is_refused() {
        assert!(read(&mut io::BufReader::new(io::repeat(b'a'))).is_err());
        let lines = [b"-> a\n".to_vec(), format!("{}\n", "A".repeat(64)).repeat(40_000).into_bytes()].concat();
        assert!(read(&mut lines.as_slice()).is_err());
    }

    proptest! {
        #[test]
        fn stanzas_come_back(
            tag in "[!-~]{1,9}",
            args in prop::collection::vec("[!-~]{1,9}", 0..4),
            body in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let arguments: Vec<_> = args.iter().map(String::as_str).collect();
            let bytes = written(&tag, &arguments, &body);
            let expected = Stanza { tag, args, body };
            prop_assert_eq!(read(&mut bytes.as_slice()).unwrap().unwrap(), expected);
        }

        #[test]
        fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&mut bytes.as_slice());
        }
    }
}
