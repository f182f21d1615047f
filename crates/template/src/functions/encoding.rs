//! sprig's encodings: base64 and base32, read with the faults that Go names.

use zeroize::Zeroizing;

use super::{Args, Function, Param};
use crate::error::Failure;
use crate::limits::Meter;
use crate::text::Buf;
use crate::value::Value;

pub(super) fn add(all: &mut Vec<Function>) {
    let f = Function::plain;
    all.extend([
        f("b64enc", &[Param::Text], |meter, args| BASE64.encode(meter, args)),
        f("b64dec", &[Param::Text], |meter, args| BASE64.decode(meter, args)),
        f("b32enc", &[Param::Text], |meter, args| BASE32.encode(meter, args)),
        f("b32dec", &[Param::Text], |meter, args| BASE32.decode(meter, args)),
    ]);
}

/// The same as consul-template has them.
pub(super) fn add_consul(all: &mut Vec<Function>) {
    let f = Function::plain;
    all.extend([
        f("base64Encode", &[Param::Text], |meter, args| BASE64.encode(meter, args)),
        f("base64Decode", &[Param::Text], |meter, args| BASE64.decode_strictly(meter, args)),
        f("base64URLEncode", &[Param::Text], |meter, args| BASE64_URL.encode(meter, args)),
        f("base64URLDecode", &[Param::Text], |meter, args| BASE64_URL.decode_strictly(meter, args)),
    ]);
}

/// An encoding of RFC 4648 with padding.
struct Encoding {
    name: &'static str,
    alphabet: &'static [u8],
    /// Bits of a character.
    bits: u32,
    /// Characters of a group.
    group: usize,
}

const BASE64: Encoding = Encoding {
    name: "base64",
    alphabet: b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    bits: 6,
    group: 4,
};
const BASE64_URL: Encoding =
    Encoding { alphabet: b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", ..BASE64 };
const BASE32: Encoding = Encoding { name: "base32", alphabet: b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", bits: 5, group: 8 };

impl Encoding {
    fn encode(&self, meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
        let mut out = meter.buf();
        let (mut bits, mut held) = (0u32, 0);
        for &byte in args.text(0) {
            bits = (bits << 8) | u32::from(byte);
            held += 8;
            while held >= self.bits {
                held -= self.bits;
                out.push_byte(self.character(bits >> held));
            }
            bits &= 0xff;
        }
        if held > 0 {
            out.push_byte(self.character(bits << (self.bits - held)));
        }
        while !out.len().is_multiple_of(self.group) && !out.is_full() {
            out.push_byte(b'=');
        }
        Ok(meter.text(out)?.into())
    }

    fn character(&self, bits: u32) -> u8 {
        self.alphabet[(bits & ((1 << self.bits) - 1)) as usize]
    }

    /// What is no such text is an error.
    fn decode_strictly(&self, meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
        let mut out = meter.buf();
        match self.decode_into(args.text(0), &mut out) {
            Ok(()) => Ok(meter.text(out)?.into()),
            Err(at) => Err(format!("illegal {} data at input byte {at}", self.name).into()),
        }
    }

    /// What is no such text gives, as in sprig, the message in place of the contents.
    fn decode(&self, meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
        let mut out = meter.buf();
        match self.decode_into(args.text(0), &mut out) {
            Ok(()) => Ok(meter.text(out)?.into()),
            Err(at) => Ok(Value::text(format!("illegal {} data at input byte {at}", self.name))),
        }
    }

    /// On a fault: its place, as Go counts it.
    fn decode_into(&self, text: &[u8], out: &mut Buf) -> Result<(), usize> {
        let is_line = |byte: u8| byte == b'\r' || byte == b'\n';
        let base32 = self.bits == 5;
        // base32 takes line ends out before it counts.
        let stripped: Zeroizing<Vec<u8>>;
        let text = if base32 {
            let mut kept = Zeroizing::new(Vec::with_capacity(text.len()));
            kept.extend(text.iter().copied().filter(|&byte| !is_line(byte)));
            stripped = kept;
            &stripped[..]
        } else {
            text
        };
        let mut at = 0;
        loop {
            let mut digits = [0; 8];
            let mut count = 0;
            let mut end = false;
            while count < self.group {
                while text.get(at).is_some_and(|&byte| is_line(byte)) {
                    at += 1;
                }
                let Some(&byte) = text.get(at) else {
                    if count == 0 {
                        return Ok(());
                    }
                    return Err(at - count);
                };
                at += 1;
                if let Some(digit) = self.alphabet.iter().position(|&c| c == byte) {
                    digits[count] = u32::try_from(digit).unwrap_or(0);
                    count += 1;
                    continue;
                }
                if byte != b'=' {
                    return Err(at - 1);
                }
                self.padding(text, &mut at, count, is_line)?;
                end = true;
                break;
            }
            let (mut bits, mut held) = (0u32, 0);
            for digit in &digits[..count] {
                bits = ((bits << self.bits) | digit) & 0xffff;
                held += self.bits;
                if held >= 8 {
                    held -= 8;
                    out.push_byte(u8::try_from((bits >> held) & 0xff).unwrap_or(0));
                }
            }
            if end {
                return Ok(());
            }
        }
    }

    /// After the first `=`, with `digits` in the group: the rest of the padding, and nothing after it.
    fn padding(&self, text: &[u8], at: &mut usize, digits: usize, is_line: impl Fn(u8) -> bool) -> Result<(), usize> {
        let skip_lines = |at: &mut usize| {
            while text.get(*at).is_some_and(|&byte| is_line(byte)) {
                *at += 1;
            }
        };
        if self.bits == 6 {
            match digits {
                0 | 1 => return Err(*at - 1),
                2 => {
                    skip_lines(at);
                    match text.get(*at) {
                        None => return Err(text.len()),
                        Some(b'=') => *at += 1,
                        Some(_) => return Err(*at - 1),
                    }
                }
                _ => {}
            }
            skip_lines(at);
            return if *at < text.len() { Err(*at) } else { Ok(()) };
        }
        // What comes after a whole group is not looked at.
        let (missing, left) = (7usize.saturating_sub(digits), text.len() - *at);
        if digits < 2 || left >= 8 {
            return Err(*at - 1);
        }
        if left < missing {
            return Err(text.len());
        }
        if let Some(wrong) = text[*at..*at + missing].iter().position(|&byte| byte != b'=') {
            return Err(*at + wrong - 1);
        }
        if matches!(digits, 3 | 6) {
            return Err(*at - 1);
        }
        Ok(())
    }
}
