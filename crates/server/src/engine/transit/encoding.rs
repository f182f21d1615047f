//! Base64 as the peer reads it, with its error texts; PEM; the little of DER that keys need.

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::Secret;

/// Standard alphabet, padded; what is left over in the last symbol does not matter.
const LAX: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Decodes, and wipes what it made when that is dropped. Line ends are passed over.
///
/// # Errors
/// The peer's text, which says where.
pub fn decode(text: &str) -> Result<Secret, String> {
    decode_behind(0, text)
}

/// The same, with `room` zero bytes before what was decoded.
pub fn decode_behind(room: usize, text: &str) -> Result<Secret, String> {
    // Also for the tag of what is sealed in place.
    let mut bytes = Zeroizing::new(Vec::with_capacity(room + text.len() / 4 * 3 + 3 + 16));
    bytes.resize(room, 0);
    if LAX.decode_vec(text, &mut bytes).is_ok() {
        return Ok(Secret::from(bytes));
    }
    if text.contains(['\r', '\n']) {
        bytes.truncate(room);
        let joined = Zeroizing::new(text.replace(['\r', '\n'], ""));
        if LAX.decode_vec(joined.as_str(), &mut bytes).is_ok() {
            return Ok(Secret::from(bytes));
        }
    }
    Err(format!("illegal base64 data at input byte {}", illegal_at(text.as_bytes())))
}

/// Decodes the alphabet of URLs without padding, as JWS has it.
pub fn decode_url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Encodes.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Encodes, and appends it to `out`.
pub fn encode_to(bytes: &[u8], out: &mut String) {
    STANDARD.encode_string(bytes, out);
}

/// Encodes with the alphabet of URLs, without padding.
pub fn encode_url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Where the peer's decoder gives up.
fn illegal_at(text: &[u8]) -> usize {
    let symbol = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    let skip = |mut at: usize| {
        while matches!(text.get(at), Some(b'\r' | b'\n')) {
            at += 1;
        }
        at
    };
    let (mut at, mut in_group) = (0, 0);
    while let Some(&byte) = text.get(at) {
        at += 1;
        if symbol(byte) {
            in_group = (in_group + 1) % 4;
        } else if byte == b'=' {
            match in_group {
                0 | 1 => return at - 1,
                2 => {
                    at = skip(at);
                    match text.get(at) {
                        None => return text.len(),
                        Some(b'=') => at += 1,
                        Some(_) => return at - 1,
                    }
                }
                _ => {}
            }
            return skip(at);
        } else if !matches!(byte, b'\r' | b'\n') {
            return at - 1;
        }
    }
    text.len() - in_group
}

/// Armour around DER, with a line end behind it.
pub fn pem(label: &str, der: &[u8]) -> String {
    let body = Zeroizing::new(encode(der));
    let mut text = String::with_capacity(body.len() + body.len() / 64 + 2 * label.len() + 40);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// The DER in the armour of `label`.
pub fn from_pem(label: &str, text: &str) -> Option<Secret> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    decode(body.trim()).ok()
}

/// Reads one DER value of `tag`: its contents, and what is behind it.
pub fn der_read(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(len)).flatten()
}

/// Appends one DER value of `tag`.
pub fn der_write(tag: u8, contents: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    let len = contents.len();
    if len < 0x80 {
        out.push(len.to_le_bytes()[0]);
    } else {
        let bytes = len.to_be_bytes();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        out.push(0x80 | (bytes.len() - zeros).to_le_bytes()[0]);
        out.extend_from_slice(&bytes[zeros..]);
    }
    out.extend_from_slice(contents);
}

/// A whole number as DER has it, from big-endian bytes.
pub fn der_integer(number: &[u8], out: &mut Vec<u8>) {
    let mut contents = Zeroizing::new(Vec::with_capacity(number.len() + 1));
    let number = without_zeros(number);
    if number.first().is_none_or(|byte| byte & 0x80 != 0) {
        contents.push(0);
    }
    contents.extend_from_slice(number);
    der_write(0x02, &contents, out);
}

/// A big-endian number without its leading zeros.
pub fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// The text of a big-endian number in decimal digits.
pub fn to_decimal(number: &[u8]) -> Zeroizing<String> {
    let mut rest = Zeroizing::new(number.to_vec());
    let mut digits = Zeroizing::new(Vec::with_capacity(number.len() * 5 / 2 + 9));
    while rest.iter().any(|byte| *byte != 0) {
        let mut left = 0_u64;
        for byte in rest.iter_mut() {
            left = left << 8 | u64::from(*byte);
            *byte = u8::try_from((left / 1_000_000_000) & 0xff).unwrap_or(0);
            left %= 1_000_000_000;
        }
        for _ in 0..9 {
            digits.push(b'0' + u8::try_from(left % 10).unwrap_or(0));
            left /= 10;
        }
    }
    while digits.len() > 1 && digits.last() == Some(&b'0') {
        digits.pop();
    }
    if digits.is_empty() {
        digits.push(b'0');
    }
    digits.reverse();
    Zeroizing::new(String::from_utf8_lossy(&digits).into_owned())
}

/// A big-endian number of at most `most` bytes from decimal digits.
pub fn from_decimal(digits: &str, most: usize) -> Option<Secret> {
    if digits.is_empty() || digits.len() > most * 5 / 2 + 1 {
        return None;
    }
    let mut number = Zeroizing::new(vec![0_u8; most]);
    for digit in digits.bytes() {
        if !digit.is_ascii_digit() {
            return None;
        }
        let mut carry = u32::from(digit - b'0');
        for byte in number.iter_mut().rev() {
            carry += u32::from(*byte) * 10;
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(Secret::from(Zeroizing::new(without_zeros(&number).to_vec())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn base64_is_read_as_the_peer_reads_it() {
        for (text, at) in [
            ("!!", 0),
            ("YQ", 0),
            ("YQ=", 3),
            ("YWJjZA", 4),
            ("YQ==x", 4),
            ("Y=Q=", 1),
            ("YW=j", 2),
            ("YWJj!", 4),
            ("=", 0),
        ] {
            let error = decode(text).unwrap_err();
            assert_eq!(error, format!("illegal base64 data at input byte {at}"), "{text}");
        }
        for (text, expected) in [("", ""), ("YQ==", "a"), ("YR==", "a"), ("Y\nQ\r\n==\n", "a"), ("YWJj", "abc")] {
            assert_eq!(decode(text).unwrap().expose(), expected.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn numbers_and_armour_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let digits = to_decimal(&bytes);
            prop_assert_eq!(digits.as_str(), num_bigint::BigUint::from_bytes_be(&bytes).to_string());
            let number = from_decimal(&digits, 200).unwrap();
            prop_assert_eq!(number.expose(), without_zeros(&bytes));
            let armour = pem("X Y", &bytes);
            let inner = from_pem("X Y", &armour).unwrap();
            prop_assert_eq!(inner.expose(), &bytes[..]);
            let mut der = Vec::new();
            der_write(0x30, &bytes, &mut der);
            der.push(7);
            prop_assert_eq!(der_read(0x30, &der), Some((&bytes[..], &[7_u8][..])));
        }

        #[test]
        fn no_text_is_too_odd(text in ".{0,80}") {
            let _ = (decode(&text), from_decimal(&text, 8), from_pem("A", &text), der_read(2, text.as_bytes()));
        }
    }
}
