//! age's post-quantum recipients and identities: `age1pq1…`, `AGE-SECRET-KEY-PQ-1…`.
//!
//! Source: the age specification (C2SP `age`, section on the mlkem768x25519 recipient), made by age 1.3. The stanza is
//!
//! ```text
//! -> mlkem768x25519 BASE64(enc)
//! BASE64(HPKE-Seal(file key))
//! ```
//!
//! with [HPKE over X-Wing](bulla_hybrid), `info = "age-encryption.org/mlkem768x25519"` and no associated data. The recipient is
//! the 1216-byte public key in Bech32 under `age1pq`, the identity the 32-byte seed under `AGE-SECRET-KEY-PQ-`.
//! Such recipients carry the label `postquantum`, so that age never mixes them with weaker ones in one file.

use std::collections::HashSet;

use age::{DecryptError, EncryptError};
use age_core::format::{FILE_KEY_BYTES, FileKey, Stanza};
use age_core::primitives::bech32_decode;
use age_core::secrecy::ExposeSecret;
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bulla_core::SecretBytes;
use bulla_hybrid::{Error, PrivateKey, PublicKey, TAG_LEN};
use zeroize::{Zeroize, Zeroizing};

const TAG: &str = "mlkem768x25519";
const INFO: &[u8] = b"age-encryption.org/mlkem768x25519";
const LABEL: &str = "postquantum";

/// A post-quantum recipient.
#[derive(Clone, PartialEq)]
pub(super) struct Recipient(PublicKey);

impl Recipient {
    /// Parses `age1pq1…`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let bytes = decode(text, "age1pq")?;
        PublicKey::from_bytes(&bytes).map(Self).map_err(|_| "not a valid post-quantum public key")
    }
}

impl age::Recipient for Recipient {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let mut body = Vec::with_capacity(FILE_KEY_BYTES + TAG_LEN);
        body.extend_from_slice(file_key.expose_secret());
        let (enc, tag) = self.0.seal_in_place(INFO, &[], &mut body).map_err(|error| {
            body.zeroize();
            EncryptError::Io(std::io::Error::other(format!("the key cannot be used: {error}")))
        })?;
        body.extend_from_slice(&tag);
        let stanza = Stanza { tag: TAG.to_owned(), args: vec![BASE64_STANDARD_NO_PAD.encode(enc)], body };
        Ok((vec![stanza], HashSet::from([LABEL.to_owned()])))
    }
}

/// A post-quantum identity.
pub(super) struct Identity(PrivateKey);

impl Identity {
    /// Parses `AGE-SECRET-KEY-PQ-1…`.
    ///
    /// # Errors
    /// What is wrong with it, without its text.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let bytes = decode(text, "age-secret-key-pq-")?;
        PrivateKey::from_bytes(&bytes).map(Self).map_err(|_| "it has the wrong length")
    }

    /// The recipient that belongs to it.
    pub(super) fn recipient(&self) -> Recipient {
        Recipient(self.0.public_key())
    }
}

impl age::Identity for Identity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        if stanza.tag != TAG {
            return None;
        }
        let [enc] = stanza.args.as_slice() else { return Some(Err(DecryptError::InvalidHeader)) };
        let Ok(enc) = BASE64_STANDARD_NO_PAD.decode(enc) else { return Some(Err(DecryptError::InvalidHeader)) };
        if stanza.body.len() != FILE_KEY_BYTES + TAG_LEN {
            return Some(Err(DecryptError::InvalidHeader));
        }
        let (body, tag) = stanza.body.split_at(FILE_KEY_BYTES);
        let mut plain = SecretBytes::from(body);
        match self.0.open_in_place(INFO, &[], &enc, plain.expose_mut(), tag) {
            Ok(()) => Some(Ok(FileKey::init_with_mut(|file_key| file_key.copy_from_slice(plain.expose())))),
            Err(Error::Open) => None,
            Err(_) => Some(Err(DecryptError::InvalidHeader)),
        }
    }
}

/// The bytes of Bech32 text under the prefix `hrp` (lower case).
fn decode(text: &str, hrp: &str) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    bech32_decode(
        text,
        |_| "it is not valid Bech32 (a letter is wrong or missing)",
        |found| {
            if found.to_string().eq_ignore_ascii_case(hrp) { Ok(()) } else { Err("it has the wrong prefix") }
        },
        |_, bytes| {
            let mut decoded = Zeroizing::new(Vec::with_capacity(1300));
            decoded.extend(bytes);
            Ok(decoded)
        },
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use age::{Identity as _, Recipient as _};

    use super::*;

    // Made by age-keygen 1.3.2 with -pq.
    const IDENTITY: &str = "AGE-SECRET-KEY-PQ-1K3E9C9CD3GNY354HQM5L2CGL5VPRKGCW5DX2APVT34MZMZ75K2ZS29LMH5";
    const RECIPIENT: &str = "age1pq18hsyj02rvl409raqns3tru9mnwfxwfyygchr24y72f43c9n7jnjztk5pksmptqv2lja4afqhdp38jlxqzyx7wpzauue897mmauncdf544dwlfgnhmpsmgzdj4xwptel698pvyrn0rfswguffrjvqs85hdyhgpguxwuqqj36fsvcrunx3zp2wxn7faf3fex2p4vsvdyyu5uzfkmcecqcn3jydcs2hvcd2y2chnqcplf4nu6tf6d4hyz44gjldttppqa95zv7g8nds7rxckh5x43f0kxkgysmg33dgle8v4k0crgc8h2p5pytjz8p82a78r0hzcvp6ju6e4sjpw4z64cw9x5tydfutysfnfamxj4quvcxteea3ytet032ln2w8n0pmkuf2k98dn0ssuu4n5a4lyfmflrsqsphe28a3yfuqlj3jx2fqh7ty4jn4g3x0uycfnsu5y4tkmj9echzx4q2q7gl6vzsxxlp5z8q5vey7rzd6w5ax62cp02ej98pqnjmr3sklzg3kukvzzaxxuawthhv3vythr3wvsdmyzzw9n6ae850rwhqsrry396g3dmg8kt4erzf6nqfh8v9axfs9yafxnejecyyc3qewxxtrpqvv3dae6rp3rns6g3eez4xxc5xdwt3ydvh6f3u0dva68xg2h99gryaehq7gjnlxzg98zxmk3d7dvca2lzg9fd3jwgljaycawy27v4cxdgtqf0zyj9my8fy3y7u6v4czkvnsgpdcfgvu4xj2gg4x0fc6q5zm30jexgr30xzrcwrs0njytnlggpqlgzyefy0qv9sh6kjqh2hphgsyqu02gu0xvzv269qe8hk6e9tqdr475sllu7qtgaxt4ztz5g2acjkcj4mflkv97cm9xsf3qym5w6k9e9t2kdjr0f9tdvx4x5vm43gzewdhrd5y48gcqhhpjjhwe29zckayrsn3sj3852tk0d4vtrj04s409k50y05sp5v5qfw5rdh8k6aszxnp7qc2qfdnxswn9f02ugv7kvrmdzeekjk6nl3wzud98sk0ngnss4vg4wg9ra5rs0r38rr58xmhtcetu8sm09snkkgw98zev756lzgg4ngjcazeyxxw769u2gj9m4n2acvx23llnxwav4mhm52gvzqxp2jtegp3ykw6wvkzmw3ls8xfn4cc0d4cj7rz3jv62e95rkwfnzq49t4tgj92ycjymqnr0hxpmtusx4jzggtrlq0nvq2kr8g2gnrfy4zncxa7uwqms9cjgsqspw89em69juy32zvtpds7vqq4zjwnd44px5ehqy4facw8g6vkv6npdgpq3wg05vfeedmfufwg6v84s962z9m08sk56gr857g88q0szckj5ahexjz4e52engnph7yy9zt8sk94e3pgqg3sw2tv0d5h5fr9gck06cnqhus7qlmhqd0s8q4r0xdtrwsprxp6gc3u656ykng7d2rrt2z5uvnmc29ekshnd8s3q209fzjps8y477cc32l55czj8qnkuwcnhzzx7vutxqat88zj42654ynheszk2z6xpxt9s49rcetfx2gscwaxq5gjlxded6vsv7eu23edqcv2x2avht6qt58mv4lky64v6vqwdsnprh2xnj2ww4vppfuljwdmutfj63jt8rrukm9hnvddfv7f4c6v2lwgwrdc99yegpsp2wf65c9tm0jznmssch8lq2ts5vd02vepdpc2pulpdg6lvfr7z9u29y36p8qxqjak9vzf2vq5eysqkzet0fxmyrq65vlmedqr8wd8qh68u83mvj53dwe40f35jfg7vf72pzvsnwvynfv8hp2mtzwsuexuu4q4ashucezlqewrap23z6lkjcy894yyhpxc6mwf34yn0jc0ztt3pwyhvfhtz3h64n98q4shguk274v4f7g6uwm76c54rv866hty";

    fn stanza() -> (FileKey, Stanza) {
        let file_key = FileKey::init_with_mut(|key| key.copy_from_slice(&[42; 16]));
        let (mut stanzas, labels) = Recipient::parse(RECIPIENT).unwrap().wrap_file_key(&file_key).unwrap();
        assert_eq!(labels, HashSet::from([LABEL.to_owned()]));
        (file_key, stanzas.remove(0))
    }

    #[test]
    fn the_recipient_of_an_identity_is_the_one_that_age_prints() {
        assert!(Identity::parse(IDENTITY).unwrap().recipient() == Recipient::parse(RECIPIENT).unwrap());
    }

    #[test]
    fn a_file_key_goes_through_a_stanza_and_back() {
        let (file_key, stanza) = stanza();
        let opened = Identity::parse(IDENTITY).unwrap().unwrap_stanza(&stanza).unwrap().unwrap_or_else(|_| panic!());
        assert_eq!(opened.expose_secret(), file_key.expose_secret());
    }

    #[test]
    fn another_identity_does_not_match_and_a_malformed_stanza_is_an_error() {
        let (_, mut stanza) = stanza();
        let identity = Identity::parse(IDENTITY).unwrap();
        let other = Identity(PrivateKey::from_bytes(&[9; 32]).unwrap());
        assert!(other.unwrap_stanza(&stanza).is_none());

        stanza.body[3] ^= 1;
        assert!(identity.unwrap_stanza(&stanza).is_none());
        stanza.body.pop();
        assert!(matches!(identity.unwrap_stanza(&stanza), Some(Err(DecryptError::InvalidHeader))));
        stanza.args[0].pop();
        assert!(matches!(identity.unwrap_stanza(&stanza), Some(Err(DecryptError::InvalidHeader))));
        stanza.args.clear();
        assert!(matches!(identity.unwrap_stanza(&stanza), Some(Err(DecryptError::InvalidHeader))));
        stanza.tag = "X25519".to_owned();
        assert!(identity.unwrap_stanza(&stanza).is_none());
    }

    #[test]
    fn damaged_text_is_refused() {
        for at in [0, 8, 200, RECIPIENT.len() - 1] {
            let mut text = RECIPIENT.as_bytes().to_vec();
            text[at] = if text[at] == b'q' { b'p' } else { b'q' };
            assert!(Recipient::parse(std::str::from_utf8(&text).unwrap()).is_err(), "{at}");
        }
        assert!(Recipient::parse(IDENTITY).is_err());
        assert!(Identity::parse(RECIPIENT).is_err());
        assert!(Identity::parse("AGE-SECRET-KEY-PQ-1").is_err());
    }
}
