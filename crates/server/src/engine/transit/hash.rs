//! Hashes by the peer's names, and HMACs with them.

use aws_lc_rs::{digest, hmac};
use sha3::digest::Digest as _;
use zeroize::Zeroizing;

/// A hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1, for what is old.
    Sha1,
    /// SHA-224 of SHA-2.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SHA3-224.
    Sha3x224,
    /// SHA3-256.
    Sha3x256,
    /// SHA3-384.
    Sha3x384,
    /// SHA3-512.
    Sha3x512,
}

impl Hash {
    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "sha1" => Self::Sha1,
            "sha2-224" => Self::Sha224,
            "sha2-256" => Self::Sha256,
            "sha2-384" => Self::Sha384,
            "sha2-512" => Self::Sha512,
            "sha3-224" => Self::Sha3x224,
            "sha3-256" => Self::Sha3x256,
            "sha3-384" => Self::Sha3x384,
            "sha3-512" => Self::Sha3x512,
            _ => return None,
        })
    }

    /// How many bytes it has.
    pub const fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 | Self::Sha3x224 => 28,
            Self::Sha256 | Self::Sha3x256 => 32,
            Self::Sha384 | Self::Sha3x384 => 48,
            Self::Sha512 | Self::Sha3x512 => 64,
        }
    }

    /// The hash of `data`.
    pub fn of(self, data: &[u8]) -> Vec<u8> {
        let two = |algorithm| digest::digest(algorithm, data).as_ref().to_vec();
        match self {
            Self::Sha1 => two(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            Self::Sha224 => two(&digest::SHA224),
            Self::Sha256 => two(&digest::SHA256),
            Self::Sha384 => two(&digest::SHA384),
            Self::Sha512 => two(&digest::SHA512),
            Self::Sha3x224 => sha3::Sha3_224::digest(data).to_vec(),
            Self::Sha3x256 => sha3::Sha3_256::digest(data).to_vec(),
            Self::Sha3x384 => sha3::Sha3_384::digest(data).to_vec(),
            Self::Sha3x512 => sha3::Sha3_512::digest(data).to_vec(),
        }
    }

    /// The HMAC of `data` (RFC 2104).
    pub fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        let two = |algorithm| hmac::sign(&hmac::Key::new(algorithm, key), data).as_ref().to_vec();
        match self {
            Self::Sha1 => two(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
            Self::Sha224 => two(hmac::HMAC_SHA224),
            Self::Sha256 => two(hmac::HMAC_SHA256),
            Self::Sha384 => two(hmac::HMAC_SHA384),
            Self::Sha512 => two(hmac::HMAC_SHA512),
            // Their blocks are what the hash leaves of Keccak's 200 bytes.
            three => {
                let block = 200 - 2 * three.len();
                let mut padded = Zeroizing::new(vec![0; block]);
                let hashed;
                let key = if key.len() > block {
                    hashed = Zeroizing::new(three.of(key));
                    hashed.as_slice()
                } else {
                    key
                };
                padded.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
                let with = |pad: u8, data: &[u8]| {
                    let mut message = Zeroizing::new(Vec::with_capacity(block + data.len()));
                    message.extend(padded.iter().map(|byte| byte ^ pad));
                    message.extend_from_slice(data);
                    three.of(&message)
                };
                with(0x5c, &with(0x36, data))
            }
        }
    }

    /// What stands before the hash in a PKCS #1 v1.5 signature (RFC 8017, section 9.2): the algorithm in DER.
    pub const fn info(self) -> &'static [u8] {
        macro_rules! nist {
            ($last:literal, $len:literal) => {
                &[
                    0x30,
                    $len + 17,
                    0x30,
                    0x0d,
                    0x06,
                    0x09,
                    0x60,
                    0x86,
                    0x48,
                    0x01,
                    0x65,
                    0x03,
                    0x04,
                    0x02,
                    $last,
                    0x05,
                    0x00,
                    0x04,
                    $len,
                ]
            };
        }
        match self {
            Self::Sha1 => &[0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14],
            Self::Sha256 => nist!(1, 32),
            Self::Sha384 => nist!(2, 48),
            Self::Sha512 => nist!(3, 64),
            Self::Sha224 => nist!(4, 28),
            Self::Sha3x224 => nist!(7, 28),
            Self::Sha3x256 => nist!(8, 32),
            Self::Sha3x384 => nist!(9, 48),
            Self::Sha3x512 => nist!(10, 64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::hex;

    #[test]
    fn an_hmac_of_sha3_is_that_of_nist() {
        // NIST's examples of HMAC-SHA3-224 and HMAC-SHA3-512: a key shorter than a block, and one longer.
        let key: Vec<u8> = (0..28).collect();
        let sum = Hash::Sha3x224.hmac(&key, b"Sample message for keylen<blocklen");
        assert_eq!(hex(&sum), "332cfd59347fdb8e576e77260be4aba2d6dc53117b3bfb52c6d18c04");
        let key: Vec<u8> = (0..136).collect();
        let sum = Hash::Sha3x512.hmac(&key, b"Sample message for keylen>blocklen");
        assert_eq!(
            hex(&sum),
            "5f464f5e5b7848e3885e49b2c385f0694985d0e38966242dc4a5fe3fea4b37d46b65ceced5dcf59438dd840bab22269f0ba7febdb9fcf74602a35666b2a32915"
        );
    }
}
