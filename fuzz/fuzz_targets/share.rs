//! Any text as a person's share of a key. What is read is written as it was.
//!
//! The parser's own file, without the rest of its crate: the clouds' clients would be built with coverage, too.
#![no_main]

use sha2::{Digest, Sha256};

#[path = "../../crates/kms/src/shares/text.rs"]
mod text;

/// Bytes of a share.
const SHARE: usize = 33;

/// What the parser says of other texts.
enum ShareError {
    NotAShare,
    Typo,
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(typed) = str::from_utf8(data) else { return };
    // As typed, and with its check digits put right: the fuzzer does not find a hash.
    for typed in [typed.to_owned(), checked(typed)] {
        if let Ok((set, share)) = text::parse(&typed) {
            assert_eq!(share.len(), SHARE);
            assert_eq!(text::print(&set, &share).expose(), typed.trim());
        }
    }
});

/// The text with what a share ends in.
fn checked(text: &str) -> String {
    let body = text.trim().rsplit_once('-').map_or(text, |(body, _)| body);
    let check: String = Sha256::digest(body)[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{body}-{check}")
}
