//! sprig's random values, all from the system's random source.

use super::{Args, Function, Param};
use crate::error::Failure;
use crate::limits::Meter;
use crate::text::{Buf, Text, chars};
use crate::value::Value;

pub(super) fn add(all: &mut Vec<Function>) {
    use Param::{Int, Text};
    let f = Function::plain;
    all.extend([
        f("randAlphaNum", &[Int], |meter, args| string(meter, args, |byte| byte.is_ascii_alphanumeric())),
        f("randAlpha", &[Int], |meter, args| string(meter, args, |byte| byte.is_ascii_alphabetic())),
        f("randNumeric", &[Int], |meter, args| string(meter, args, |byte| byte.is_ascii_digit())),
        f("randAscii", &[Int], |meter, args| string(meter, args, |byte| (b' '..0x7f).contains(&byte))),
        f("randInt", &[Int, Int], |_, args| {
            let (least, end) = (args.int(0), args.int(1));
            let span = end.checked_sub(least).filter(|&span| span > 0).ok_or("the range is empty")?;
            Ok(Value::Int(least + below(span.unsigned_abs())?.cast_signed()))
        }),
        f("randBytes", &[Int], |meter, args| {
            let count = usize::try_from(args.int(0)).map_err(|_| "the count is negative")?;
            meter.memory(count.saturating_mul(3))?;
            let mut bytes = zeroize::Zeroizing::new(vec![0; count]);
            fill(&mut bytes)?;
            let mut out = zeroize::Zeroizing::new(vec![0; count.div_ceil(3) * 4]);
            let written = base64::Engine::encode_slice(&base64::engine::general_purpose::STANDARD, &*bytes, &mut out);
            out.truncate(written.map_err(|_| "base64")?);
            Ok(Value::text(std::mem::take(&mut *out)))
        }),
        f("shuffle", &[Text], |meter, args| {
            // Room for all at once, paid for before: growing would leave copies behind.
            meter.memory(args.text(0).len().saturating_mul(size_of::<char>()))?;
            let mut all = Vec::with_capacity(args.text(0).len());
            all.extend(chars(args.text(0)).map(|(_, c, _)| c));
            meter.steps(all.len() as u64 * 10)?;
            for end in (1..all.len()).rev() {
                let other = usize::try_from(below(end as u64 + 1)?).unwrap_or(0);
                all.swap(end, other);
            }
            let mut out = meter.buf();
            for &c in &all {
                out.push_char(c);
            }
            zeroize::Zeroize::zeroize(&mut all);
            Ok(meter.text(out)?.into())
        }),
        f("uuidv4", &[], |_, _| {
            let mut bytes = [0; 16];
            fill(&mut bytes)?;
            bytes[6] = (bytes[6] & 0x0f) | 0x40;
            bytes[8] = (bytes[8] & 0x3f) | 0x80;
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
            Ok(Value::text(parts.join("-")))
        }),
    ]);
}

/// Fills with random bytes.
pub(super) fn fill(bytes: &mut [u8]) -> Result<(), Failure> {
    getrandom::fill(bytes).map_err(|_| "the system has no random numbers".into())
}

/// As many random characters of a kind; none where the count is negative, as in sprig.
fn string(meter: &mut Meter, args: &Args<'_>, belongs: fn(u8) -> bool) -> Result<Value, Failure> {
    let count = usize::try_from(args.int(0)).unwrap_or(0);
    meter.memory(count)?;
    meter.steps(count as u64)?;
    let alphabet: Vec<u8> = (0..0x7f).filter(|&byte| belongs(byte)).collect();
    let mut out = Buf::new(count);
    let mut pool = zeroize::Zeroizing::new([0; 256]);
    // Bytes past the last whole multiple are left out, so that no character is likelier than another.
    let end = 256 / alphabet.len() * alphabet.len();
    while out.len() < count {
        fill(&mut *pool)?;
        for byte in pool.iter().map(|&byte| usize::from(byte)).filter(|&byte| byte < end) {
            if out.len() < count {
                out.push_byte(alphabet[byte % alphabet.len()]);
            }
        }
    }
    let text: Text = out.into_text();
    Ok(text.into())
}

/// A random number below `end`, each as likely.
fn below(end: u64) -> Result<u64, Failure> {
    let fair = u64::MAX - u64::MAX % end;
    loop {
        let mut bytes = [0; 8];
        fill(&mut bytes)?;
        let number = u64::from_le_bytes(bytes);
        if number < fair {
            return Ok(number % end);
        }
    }
}
