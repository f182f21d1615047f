//! X-Wing, the hybrid of ML-KEM-768 and X25519, as a KEM for HPKE.
//!
//! Specification: draft-connolly-cfrg-xwing-kem, named MLKEM768-X25519 (KEM id 0x647a) in draft-ietf-hpke-pq.
//! Both halves come from their libraries; what stands here is the published way to put them together:
//!
//! ```text
//! private key = seed (32 bytes);  SHAKE-256(seed) = ML-KEM seed d || z (64 bytes) || X25519 scalar (32 bytes)
//! public key  = ML-KEM encapsulation key (1184 bytes) || X25519 public key (32 bytes)
//! enc         = ML-KEM ciphertext (1088 bytes) || X25519 ephemeral public key (32 bytes)
//! secret      = SHA3-256(ML-KEM secret || X25519 secret || X25519 ephemeral public key || X25519 public key || "\.//^\")
//! ```
//!
//! The `hpke` crate has X-Wing from 0.15 on, which cannot be linked beside the age crate: both want the one `kem` 0.3,
//! one its pre-release and one its release.

use bulla_core::SecretBytes;
use hpke::generic_array::typenum::{Sum, U32, U96, U192, U1024};
use hpke::kem::SharedSecret;
use hpke::rand_core::{CryptoRng, RngCore};
use hpke::{Deserializable, HpkeError, Kem, Serializable};
use ml_kem::kem::Decapsulate;
use ml_kem::{EncapsulateDeterministic, EncodedSizeUser, KemCore, MlKem768};
use sha3::digest::{ExtendableOutput, Update, XofReader};
use sha3::{Digest, Sha3_256, Shake256};
use x25519_dalek::{PublicKey as CurvePublic, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

type MlPublic = <MlKem768 as KemCore>::EncapsulationKey;
type MlPrivate = <MlKem768 as KemCore>::DecapsulationKey;

const LABEL: &[u8] = br"\.//^\";
const ML_PUBLIC_LEN: usize = 1184;
const ML_CIPHERTEXT_LEN: usize = 1088;
const CURVE_LEN: usize = 32;
const SEED_LEN: usize = 32;

/// The KEM.
pub struct XWing;

/// A public key.
#[derive(Clone, Debug, PartialEq)]
pub struct PublicKey {
    ml: MlPublic,
    curve: CurvePublic,
}

impl Eq for PublicKey {}

/// A private key: the seed.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey {
    /// 32 bytes.
    seed: SecretBytes,
}

/// A shared secret as sent to the owner of the private key.
#[derive(Clone)]
pub struct EncappedKey(Box<[u8; ML_CIPHERTEXT_LEN + CURVE_LEN]>);

impl Kem for XWing {
    type PublicKey = PublicKey;
    type PrivateKey = PrivateKey;
    type EncappedKey = EncappedKey;
    type NSecret = U32;
    const KEM_ID: u16 = 0x647a;

    fn sk_to_pk(private: &PrivateKey) -> PublicKey {
        private.expand().2
    }

    /// `DeriveKeyPair` of draft-ietf-hpke-pq. Nothing here derives keys; the trait asks for it.
    fn derive_keypair(ikm: &[u8]) -> (PrivateKey, PublicKey) {
        let mut hash = Shake256::default();
        hash.update(ikm);
        hash.update(b"HPKE-v1KEM");
        hash.update(&Self::KEM_ID.to_be_bytes());
        // The label and the output follow their lengths; the context is empty.
        hash.update(b"\x00\x0dDeriveKeyPair\x00\x20");
        let mut seed = SecretBytes::zeroed(SEED_LEN);
        hash.finalize_xof().read(seed.expose_mut());
        let private = PrivateKey { seed };
        let public = Self::sk_to_pk(&private);
        (private, public)
    }

    fn encap<R: CryptoRng + RngCore>(
        to: &PublicKey,
        sender: Option<(&PrivateKey, &PublicKey)>,
        random: &mut R,
    ) -> Result<(SharedSecret<Self>, EncappedKey), HpkeError> {
        // X-Wing has no authenticated mode.
        if sender.is_some() {
            return Err(HpkeError::EncapError);
        }
        let mut message = Zeroizing::new([0; 32]);
        random.try_fill_bytes(message.as_mut()).map_err(|_| HpkeError::EncapError)?;
        let mut scalar = Zeroizing::new([0; 32]);
        random.try_fill_bytes(scalar.as_mut()).map_err(|_| HpkeError::EncapError)?;

        let message: &ml_kem::B32 = (&*message).into();
        let (ciphertext, mut ml_secret) =
            to.ml.encapsulate_deterministic(message).map_err(|()| HpkeError::EncapError)?;

        let ephemeral = StaticSecret::from(*scalar);
        let ephemeral_public = CurvePublic::from(&ephemeral);
        let curve_secret = ephemeral.diffie_hellman(&to.curve);
        if !curve_secret.was_contributory() {
            return Err(HpkeError::EncapError);
        }

        let mut enc = Box::new([0; ML_CIPHERTEXT_LEN + CURVE_LEN]);
        enc[..ML_CIPHERTEXT_LEN].copy_from_slice(&ciphertext);
        enc[ML_CIPHERTEXT_LEN..].copy_from_slice(ephemeral_public.as_bytes());
        let secret = combine(&ml_secret, curve_secret.as_bytes(), &ephemeral_public, &to.curve);
        ml_secret.as_mut_slice().zeroize();
        Ok((secret, EncappedKey(enc)))
    }

    fn decap(
        private: &PrivateKey,
        sender: Option<&PublicKey>,
        enc: &EncappedKey,
    ) -> Result<SharedSecret<Self>, HpkeError> {
        if sender.is_some() {
            return Err(HpkeError::DecapError);
        }
        let (ml, curve, public) = private.expand();
        let (ciphertext, ephemeral) = enc.0.split_at(ML_CIPHERTEXT_LEN);
        let ciphertext = ciphertext.try_into().map_err(|_| HpkeError::DecapError)?;
        let ephemeral: [u8; CURVE_LEN] = ephemeral.try_into().map_err(|_| HpkeError::DecapError)?;
        let ephemeral = CurvePublic::from(ephemeral);

        let mut ml_secret = ml.decapsulate(ciphertext).map_err(|()| HpkeError::DecapError)?;
        let curve_secret = curve.diffie_hellman(&ephemeral);
        if !curve_secret.was_contributory() {
            return Err(HpkeError::DecapError);
        }
        let secret = combine(&ml_secret, curve_secret.as_bytes(), &ephemeral, &public.curve);
        ml_secret.as_mut_slice().zeroize();
        Ok(secret)
    }
}

impl PrivateKey {
    /// Takes 32 random bytes.
    pub(crate) fn from_seed(seed: SecretBytes) -> Self {
        debug_assert_eq!(seed.len(), SEED_LEN);
        Self { seed }
    }

    pub(crate) fn seed(&self) -> &SecretBytes {
        &self.seed
    }

    fn expand(&self) -> (MlPrivate, StaticSecret, PublicKey) {
        let mut hash = Shake256::default();
        hash.update(self.seed.expose());
        let mut stream = hash.finalize_xof();
        let mut d = Zeroizing::new([0; 32]);
        let mut z = Zeroizing::new([0; 32]);
        let mut scalar = Zeroizing::new([0; 32]);
        stream.read(d.as_mut());
        stream.read(z.as_mut());
        stream.read(scalar.as_mut());

        let (ml, ml_public) = MlKem768::generate_deterministic((&*d).into(), (&*z).into());
        let curve = StaticSecret::from(*scalar);
        let public = PublicKey { ml: ml_public, curve: CurvePublic::from(&curve) };
        (ml, curve, public)
    }
}

impl Serializable for PrivateKey {
    type OutputSize = U32;

    fn write_exact(&self, out: &mut [u8]) {
        out.copy_from_slice(self.seed.expose());
    }
}

impl Deserializable for PrivateKey {
    fn from_bytes(bytes: &[u8]) -> Result<Self, HpkeError> {
        if bytes.len() != SEED_LEN {
            return Err(HpkeError::IncorrectInputLength(SEED_LEN, bytes.len()));
        }
        Ok(Self { seed: SecretBytes::from(bytes) })
    }
}

impl Serializable for PublicKey {
    /// 1216 bytes.
    type OutputSize = Sum<U1024, U192>;

    fn write_exact(&self, out: &mut [u8]) {
        out[..ML_PUBLIC_LEN].copy_from_slice(&self.ml.as_bytes());
        out[ML_PUBLIC_LEN..].copy_from_slice(self.curve.as_bytes());
    }
}

impl Deserializable for PublicKey {
    fn from_bytes(bytes: &[u8]) -> Result<Self, HpkeError> {
        let wrong_length = || HpkeError::IncorrectInputLength(ML_PUBLIC_LEN + CURVE_LEN, bytes.len());
        let (ml, curve) = bytes.split_at_checked(ML_PUBLIC_LEN).ok_or_else(wrong_length)?;
        let curve: [u8; CURVE_LEN] = curve.try_into().map_err(|_| wrong_length())?;
        let ml: &ml_kem::Encoded<MlPublic> = ml.try_into().map_err(|_| wrong_length())?;
        let key = MlPublic::from_bytes(ml);
        // FIPS 203, 7.2: a key whose coefficients are not reduced is refused. The decoder reduces them, so the check is
        // whether it had to.
        if key.as_bytes() != *ml {
            return Err(HpkeError::ValidationError);
        }
        Ok(Self { ml: key, curve: CurvePublic::from(curve) })
    }
}

impl Serializable for EncappedKey {
    /// 1120 bytes.
    type OutputSize = Sum<U1024, U96>;

    fn write_exact(&self, out: &mut [u8]) {
        out.copy_from_slice(self.0.as_ref());
    }
}

impl Deserializable for EncappedKey {
    fn from_bytes(bytes: &[u8]) -> Result<Self, HpkeError> {
        let wrong_length = |_| HpkeError::IncorrectInputLength(ML_CIPHERTEXT_LEN + CURVE_LEN, bytes.len());
        Box::<[u8]>::from(bytes).try_into().map(Self).map_err(wrong_length)
    }
}

fn combine(ml: &[u8], curve: &[u8; 32], ephemeral: &CurvePublic, public: &CurvePublic) -> SharedSecret<XWing> {
    let mut secret = SharedSecret::default();
    let mut hash = Sha3_256::new();
    Digest::update(&mut hash, ml);
    Digest::update(&mut hash, curve);
    Digest::update(&mut hash, ephemeral.as_bytes());
    Digest::update(&mut hash, public.as_bytes());
    Digest::update(&mut hash, LABEL);
    hash.finalize_into(&mut secret.0);
    secret
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use hpke::rand_core;

    use super::*;

    /// The vector of draft-ietf-hpke-pq for MLKEM768-X25519, HKDF-SHA256, `ChaCha20Poly1305`: lines `name hex`.
    const VECTOR: &str = include_str!("xwing-vector.txt");

    fn vector(name: &str) -> Vec<u8> {
        let line = VECTOR.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
        (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap()).collect()
    }

    /// The "random" bytes of a test vector, in order.
    struct Fixed(Vec<u8>);

    impl RngCore for Fixed {
        fn next_u32(&mut self) -> u32 {
            rand_core::impls::next_u32_via_fill(self)
        }

        fn next_u64(&mut self) -> u64 {
            rand_core::impls::next_u64_via_fill(self)
        }

        fn fill_bytes(&mut self, out: &mut [u8]) {
            out.copy_from_slice(&self.0.drain(..out.len()).collect::<Vec<_>>());
        }

        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand_core::Error> {
            self.fill_bytes(out);
            Ok(())
        }
    }

    impl CryptoRng for Fixed {}

    #[test]
    fn the_published_vector_is_reproduced_byte_by_byte() {
        let (private, public) = XWing::derive_keypair(&vector("ikmR"));
        assert_eq!(private.to_bytes().as_slice(), vector("skRm"));
        assert_eq!(public.to_bytes().as_slice(), vector("pkRm"));

        let (secret, enc) = XWing::encap(&public, None, &mut Fixed(vector("ikmE"))).unwrap();
        assert_eq!(enc.to_bytes().as_slice(), vector("enc"));
        assert_eq!(secret.0.as_slice(), vector("shared_secret"));

        let enc = EncappedKey::from_bytes(&vector("enc")).unwrap();
        assert_eq!(XWing::decap(&private, None, &enc).unwrap().0.as_slice(), vector("shared_secret"));
    }

    #[test]
    fn the_published_vector_seals_through_hpke() {
        let public = PublicKey::from_bytes(&vector("pkRm")).unwrap();
        let (enc, sealed) = hpke::single_shot_seal::<hpke::aead::ChaCha20Poly1305, hpke::kdf::HkdfSha256, XWing, _>(
            &hpke::OpModeS::Base,
            &public,
            &vector("info"),
            &vector("pt"),
            &vector("aad"),
            &mut Fixed(vector("ikmE")),
        )
        .unwrap();
        assert_eq!(enc.to_bytes().as_slice(), vector("enc"));
        assert_eq!(sealed, vector("ct"));
    }

    #[test]
    fn a_public_key_with_coefficients_past_the_modulus_is_refused() {
        let mut bytes = vector("pkRm");
        // The first coefficient, 12 bits little-endian, becomes 4095: past q = 3329.
        bytes[0] = 0xff;
        bytes[1] |= 0x0f;
        assert!(matches!(PublicKey::from_bytes(&bytes), Err(HpkeError::ValidationError)));
    }

    #[test]
    fn a_low_order_point_is_refused_both_ways() {
        let (private, public) = XWing::derive_keypair(&[7; 32]);
        let mut bytes = public.to_bytes().to_vec();
        bytes[ML_PUBLIC_LEN..].fill(0);
        let zero = PublicKey::from_bytes(&bytes).unwrap();
        assert!(XWing::encap(&zero, None, &mut rand_core::OsRng).is_err());

        let (_, enc) = XWing::encap(&public, None, &mut rand_core::OsRng).unwrap();
        let mut bytes = enc.to_bytes().to_vec();
        bytes[ML_CIPHERTEXT_LEN..].fill(0);
        assert!(XWing::decap(&private, None, &EncappedKey::from_bytes(&bytes).unwrap()).is_err());
    }

    #[test]
    fn keys_of_a_wrong_length_are_refused() {
        for len in [0, 31, 32, 33, 1119, 1121, 1215, 1217] {
            let bytes = vec![0; len];
            assert_eq!(PrivateKey::from_bytes(&bytes).is_ok(), len == 32);
            assert!(PublicKey::from_bytes(&bytes).is_err());
            assert!(EncappedKey::from_bytes(&bytes).is_err());
        }
    }
}
