//! Random texts.

use crate::logical::Result;

const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// `len` letters and digits, each as likely as the other.
pub fn text(len: usize) -> Result<String> {
    let mut text = String::with_capacity(len);
    let mut bytes = [0; 64];
    while text.len() < len {
        getrandom::fill(&mut bytes)?;
        for byte in bytes {
            // The largest multiple of 62 below 256: what is above would make the first letters likelier.
            if byte < 248 && text.len() < len {
                text.push(char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
            }
        }
    }
    Ok(text)
}

/// A random UUID (version 4, RFC 9562).
pub fn uuid() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = super::hex(&bytes);
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

/// Eight hex digits, for accessors.
pub fn short_hex() -> Result<String> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)?;
    Ok(super::hex(&bytes))
}
