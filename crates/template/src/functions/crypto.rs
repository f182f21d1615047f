//! sprig's hashes, passwords and AES.

use std::fmt::Write as _;

use aws_lc_rs::cipher::{
    AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::random::fill;
use super::{Args, Function, Param};
use crate::error::Failure;
use crate::limits::Meter;
use crate::text::Text as Bytes;
use crate::value::Value;

/// Steps of a bcrypt hash of cost 10, and of scrypt with 32 MiB, by the time they take: 64 to 72 ms, and 170 to 210 ms.
const BCRYPT: u64 = 700_000;
const SCRYPT: u64 = 2_000_000;

pub(super) fn add(all: &mut Vec<Function>) {
    use Param::{Text, Uint32};
    let f = Function::plain;
    all.extend([
        f("sha1sum", &[Text], |meter, args| hash(meter, args, &SHA1_FOR_LEGACY_USE_ONLY)),
        f("sha256sum", &[Text], |meter, args| hash(meter, args, &SHA256)),
        f("sha512sum", &[Text], |meter, args| hash(meter, args, &SHA512)),
        f("adler32sum", &[Text], |meter, args| {
            meter.steps(args.text(0).len() as u64 / 8)?;
            let (mut a, mut b) = (1u32, 0u32);
            for &byte in args.text(0) {
                a = (a + u32::from(byte)) % 65_521;
                b = (b + a) % 65_521;
            }
            Ok(Value::text((b << 16 | a).to_string()))
        }),
        f("bcrypt", &[Text], |meter, args| Ok(bcrypt(meter, args.text(0))?.into())),
        f("htpasswd", &[Text, Text], |meter, args| {
            if args.text(0).contains(&b':') {
                return Err("a user name cannot contain a colon".into());
            }
            let hash = bcrypt(meter, args.text(1))?;
            let mut out = meter.buf();
            out.push(args.text(0));
            out.push_byte(b':');
            out.push(hash.expose());
            Ok(meter.text(out)?.into())
        }),
        f("derivePassword", &[Uint32, Text, Text, Text, Text], derive_password),
        f("encryptAES", &[Text, Text], encrypt),
        f("decryptAES", &[Text, Text], decrypt),
    ]);
}

fn hash(meter: &mut Meter, args: &Args<'_>, algorithm: &'static digest::Algorithm) -> Result<Value, Failure> {
    meter.steps(10 + args.text(0).len() as u64 / 16)?;
    let hash = digest::digest(algorithm, args.text(0));
    let mut out = meter.buf();
    for byte in hash.as_ref() {
        let _ = write!(out, "{byte:02x}");
    }
    Ok(meter.text(out)?.into())
}

/// The form of Go: version 2a, cost 10.
fn bcrypt(meter: &mut Meter, password: &[u8]) -> Result<Bytes, Failure> {
    meter.steps(BCRYPT)?;
    if password.len() > 72 {
        return Err("bcrypt: password length exceeds 72 bytes".into());
    }
    let hash = bcrypt::hash_with_result(password, 10).map_err(|_| "failed to hash with bcrypt")?;
    Ok(hash.format_for_version(bcrypt::Version::TwoA).into())
}

/// The classes of characters in the templates of passwords.
fn class(letter: u8) -> &'static [u8] {
    match letter {
        b'V' => b"AEIOU",
        b'C' => b"BCDFGHJKLMNPQRSTVWXYZ",
        b'v' => b"aeiou",
        b'c' => b"bcdfghjklmnpqrstvwxyz",
        b'A' => b"AEIOUBCDFGHJKLMNPQRSTVWXYZ",
        b'a' => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz",
        b'n' => b"0123456789",
        b'o' => b"@&%?,=[]_:-+*$#!'^~;()/.",
        _ => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz0123456789!@#$%^&*()",
    }
}

/// The templates of the Master Password algorithm (masterpassword.app), by the type of password.
fn templates(kind: &[u8]) -> Option<&'static [&'static str]> {
    Some(match kind {
        b"maximum" => &["anoxxxxxxxxxxxxxxxxx", "axxxxxxxxxxxxxxxxxno"],
        b"long" => &[
            "CvcvnoCvcvCvcv",
            "CvcvCvcvnoCvcv",
            "CvcvCvcvCvcvno",
            "CvccnoCvcvCvcv",
            "CvccCvcvnoCvcv",
            "CvccCvcvCvcvno",
            "CvcvnoCvccCvcv",
            "CvcvCvccnoCvcv",
            "CvcvCvccCvcvno",
            "CvcvnoCvcvCvcc",
            "CvcvCvcvnoCvcc",
            "CvcvCvcvCvccno",
            "CvccnoCvccCvcv",
            "CvccCvccnoCvcv",
            "CvccCvccCvcvno",
            "CvcvnoCvccCvcc",
            "CvcvCvccnoCvcc",
            "CvcvCvccCvccno",
            "CvccnoCvcvCvcc",
            "CvccCvcvnoCvcc",
            "CvccCvcvCvccno",
        ],
        b"medium" => &["CvcnoCvc", "CvcCvcno"],
        b"short" => &["Cvcn"],
        b"basic" => &["aaanaaan", "aannaaan", "aaannaaa"],
        b"pin" => &["nnnn"],
        _ => return None,
    })
}

/// The Master Password algorithm: `COUNTER TYPE PASSWORD USER SITE`.
fn derive_password(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    const SEED: &[u8] = b"com.lyndir.masterpassword";
    let Value::Uint64(counter) = args.value(0) else { return Err("the counter is no integer".into()) };
    let counter = u32::try_from(*counter).map_err(|_| "the counter is too large")?;
    let [kind, password, user, site] = [1, 2, 3, 4].map(|index| args.text(index));
    let templates = templates(kind).ok_or("there is no such type of password")?;
    meter.steps(SCRYPT)?;
    let length = |text: &[u8]| u32::try_from(text.len()).map(u32::to_be_bytes).map_err(|_| "a name is too long");
    let salt = [SEED, &length(user)?, user].concat();
    let params = scrypt::Params::new(15, 8, 2, 64).map_err(|_| "scrypt")?;
    let mut key = Zeroizing::new([0; 64]);
    scrypt::scrypt(password, &salt, &params, &mut *key).map_err(|_| "scrypt")?;
    let message = [SEED, &length(site)?, site, &counter.to_be_bytes()].concat();
    let seed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*key), &message);
    let seed = seed.as_ref();
    let template = templates[usize::from(seed[0]) % templates.len()];
    let characters = template.bytes().zip(&seed[1..]).map(|(letter, &byte)| {
        let class = class(letter);
        class[usize::from(byte) % class.len()]
    });
    Ok(Value::text(characters.collect::<Vec<u8>>()))
}

/// The password, cut or filled with zeros to 32 bytes.
fn aes_key(password: &[u8]) -> Result<UnboundCipherKey, Failure> {
    let mut key = Zeroizing::new([0; 32]);
    let len = password.len().min(32);
    key[..len].copy_from_slice(&password[..len]);
    UnboundCipherKey::new(&AES_256, &*key).map_err(|_| "AES".into())
}

/// base64( IV ‖ AES-256-CBC of the text padded as PKCS #7 )
fn encrypt(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let text = args.text(1);
    if text.is_empty() {
        return Ok("".into());
    }
    meter.memory(text.len().saturating_mul(3) + 64)?;
    let padding = 16 - text.len() % 16;
    let mut iv = [0; 16];
    fill(&mut iv)?;
    let mut block = Zeroizing::new(Vec::with_capacity(text.len() + 16));
    block.extend_from_slice(text);
    block.extend(std::iter::repeat_n(u8::try_from(padding).unwrap_or(16), padding));
    let key = EncryptingKey::cbc(aes_key(args.text(0))?).map_err(|_| "AES")?;
    key.less_safe_encrypt(&mut block, EncryptionContext::Iv128(FixedLength::from(iv))).map_err(|_| "AES")?;
    Ok(Value::text(STANDARD.encode([&iv[..], &block].concat())))
}

fn decrypt(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let text = args.text(1);
    if text.is_empty() {
        return Ok("".into());
    }
    meter.memory(text.len().saturating_mul(2))?;
    let sealed = STANDARD.decode(text).map_err(|_| "the ciphertext is not base64")?;
    let (iv, rest) = sealed.split_first_chunk::<16>().ok_or("the ciphertext is too short")?;
    let mut block = Zeroizing::new(rest.to_vec());
    let key = DecryptingKey::cbc(aes_key(args.text(0))?).map_err(|_| "AES")?;
    let context = DecryptionContext::Iv128(FixedLength::from(*iv));
    let plain = key.decrypt(&mut block, context).map_err(|_| "the ciphertext is not of whole blocks")?;
    let padding = usize::from(*plain.last().ok_or("the ciphertext is too short")?);
    let end = plain.len().checked_sub(padding).ok_or("the padding is wrong: another password?")?;
    let text: Bytes = Bytes::from(&plain[..end]);
    Ok(text.into())
}
