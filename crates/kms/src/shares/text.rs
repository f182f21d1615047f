//! A share as people copy it.

use bulla_core::{SecretBytes, SecretString};
use sha2::{Digest, Sha256};

use super::{SHARE, ShareError};

const START: &str = "bulla-share-1-";
const SET: usize = 32;
const CHECK: usize = 4;

/// The text of a share.
pub(super) fn print(set: &str, share: &SecretBytes) -> SecretString {
    let mut text = SecretBytes::with_capacity(START.len() + SET + 1 + 2 * SHARE + 1 + 2 * CHECK);
    text.extend_from_slice(START.as_bytes());
    text.extend_from_slice(set.as_bytes());
    text.extend_from_slice(b"-");
    push_hex(&mut text, share.expose());
    let check = check_of(text.expose());
    text.extend_from_slice(b"-");
    push_hex(&mut text, &check);
    // All of it is ASCII.
    SecretString::from_utf8(text).unwrap_or_default()
}

/// The set and the bytes of a share.
pub(super) fn parse(text: &str) -> Result<(String, SecretBytes), ShareError> {
    let text = text.trim();
    let rest = text.strip_prefix(START).ok_or(ShareError::NotAShare)?;
    let mut parts = rest.split('-');
    let (Some(set), Some(share), Some(check), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(ShareError::NotAShare);
    };
    if set.len() != SET || share.len() != 2 * SHARE || check.len() != 2 * CHECK {
        return Err(ShareError::NotAShare);
    }
    let body = &text.as_bytes()[..text.len() - 1 - check.len()];
    let mut expected = SecretBytes::new();
    push_hex(&mut expected, &check_of(body));
    if expected != SecretBytes::from(check.as_bytes()) {
        return Err(ShareError::Typo);
    }
    let bytes = parse_hex(share).ok_or(ShareError::Typo)?;
    Ok((set.to_owned(), bytes))
}

fn check_of(text: &[u8]) -> [u8; CHECK] {
    let hash = Sha256::digest(text);
    let mut check = [0; CHECK];
    check.copy_from_slice(&hash[..CHECK]);
    check
}

fn push_hex(text: &mut SecretBytes, bytes: &[u8]) {
    for byte in bytes {
        text.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

/// By arithmetic, not a table: a secret indexes nothing.
const fn digit(value: u8) -> u8 {
    // 39 more for 10 to 15, where 9 - value wraps around.
    let letter = (9_u8.wrapping_sub(value) >> 7) * 39;
    b'0' + value + letter
}

fn parse_hex(text: &str) -> Option<SecretBytes> {
    let mut bytes = SecretBytes::with_capacity(text.len() / 2);
    for pair in text.as_bytes().chunks_exact(2) {
        bytes.extend_from_slice(&[value(pair[0])? << 4 | value(pair[1])?]);
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
