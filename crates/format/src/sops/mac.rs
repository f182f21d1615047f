//! What proves that nobody without the data key changed a file.
//!
//! **sops' MAC**: SHA-512 over the plaintexts of all values in document order, all documents in one, encrypted or not, without null,
//! empty collections and comments; under `mac_only_encrypted` over 32 constant bytes and the encrypted values. In upper-case hex,
//! encrypted as a string with `lastmodified` as associated data. There is nothing between the values and no key in it: values can slide
//! from one to the next (`ab`, `c` is `a`, `bc`), plain keys can be renamed, types changed, nulls and empty strings added.
//! Source: `Tree.Encrypt` in <https://github.com/getsops/sops/blob/v3.13.3/sops.go>.
//!
//! **bulla's MAC** stands beside it, where sops reads over it and drops it when it writes the file:
//! ```text
//! mac   = SHA-512( "bulla sops mac 1" rules keys *( leaf / tag ) )
//! rules = 6 × optional-string  flag(mac_only_encrypted)
//! keys  = u64(threshold, 0 for none) u64(groups) *( u64(keys) *( string(kind) u64(fields) *string ) )
//! leaf  = u32(document) string(path) type string(plaintext)
//! tag   = u32(document) string(path) "g" string(tag as written)
//! type  = "n" null / "b" / "i" / "f" / "s" / "t" / "m" empty map / "l" empty list
//! string = u64(length) bytes, optional-string = u8(0) / u8(1) string; numbers are little-endian
//! ```
//! with paths as in [`super::place`], and under `mac_only_encrypted` with encrypted leaves only. A tag is one of YAML's that is
//! none of the types (`!Ref`, `!!set`), before what it marks: sops drops them, we keep them. Of a binary file the leaf `data` is
//! left out: at the end stands `string` of sops' MAC, which is a hash of the whole content already.
//!
//! Comments are not in it: to which entry a comment belongs changes when entries are added behind it; each encrypted one has its
//! own tag, and plain ones are nobody's promise. Nor are anchors, and how a value is written.
//! The 64 bytes are encrypted as a string with `bulla:mac:` and `lastmodified` as associated data.

use std::fmt::Write as _;

use bulla_core::KeyId;
use sha2::{Digest as _, Sha512};

use super::place::Place;
use super::{Metadata, Rules};

/// The SHA-256 of `sops`, which starts the hash under `mac_only_encrypted`.
const ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b, 0x0b, 0x97, 0x5b,
    0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// The path of a binary file's content: the key `data`.
const BINARY_CONTENT: &[u8] = b"k\x04\0\0\0data";

/// What a leaf is, for bulla's MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaf {
    Null = b'n' as isize,
    Bool = b'b' as isize,
    Int = b'i' as isize,
    Float = b'f' as isize,
    Str = b's' as isize,
    Time = b't' as isize,
    EmptyMap = b'm' as isize,
    EmptyList = b'l' as isize,
}

impl Leaf {
    pub(super) const fn of(scalar: &bulla_document::Scalar<'_>) -> Self {
        use bulla_document::ScalarType;
        match scalar.scalar_type() {
            ScalarType::Null => Self::Null,
            ScalarType::Bool => Self::Bool,
            ScalarType::Int => Self::Int,
            ScalarType::Float => Self::Float,
            ScalarType::Str => Self::Str,
            ScalarType::Time => Self::Time,
        }
    }
}

/// Both MACs, as the values come.
pub(super) struct Macs {
    sops: Sha512,
    bound: Sha512,
    only_encrypted: bool,
    binary: bool,
}

/// What both came to.
pub(super) struct Digests {
    /// sops' MAC, as it is encrypted.
    pub(super) sops: String,
    /// bulla's MAC, as it is encrypted.
    pub(super) bound: [u8; 64],
}

impl Macs {
    /// For a file with a tree in it.
    pub(super) fn new(metadata: &Metadata) -> Self {
        let mut sops = Sha512::new();
        if metadata.rules.mac_only_encrypted {
            sops.update(ONLY_ENCRYPTED);
        }
        let mut bound = Sha512::new_with_prefix(b"bulla sops mac 1");
        bind_rules(&mut bound, &metadata.rules);
        bind_keys(&mut bound, metadata);
        Self { sops, bound, only_encrypted: metadata.rules.mac_only_encrypted, binary: false }
    }

    /// For a binary file.
    pub(super) fn for_binary(metadata: &Metadata) -> Self {
        Self { binary: true, ..Self::new(metadata) }
    }

    /// Takes the next leaf: its plaintext, and whether the rules have it encrypted.
    pub(super) fn leaf(&mut self, document: u32, place: &Place, leaf: Leaf, plain: &[u8], encrypted: bool) {
        if self.only_encrypted && !encrypted {
            return;
        }
        // Empty for those that sops leaves out.
        self.sops.update(plain);
        // Of a binary file, whose content is hashed already, only what does not belong in it.
        if !self.binary || place.bound() != BINARY_CONTENT {
            self.bound.update(document.to_le_bytes());
            string(&mut self.bound, place.bound());
            self.bound.update([leaf as u8]);
            string(&mut self.bound, plain);
        }
    }

    /// Takes a tag of what comes next.
    pub(super) fn tag(&mut self, document: u32, place: &Place, tag: &[u8], encrypted: bool) {
        if self.only_encrypted && !encrypted {
            return;
        }
        self.bound.update(document.to_le_bytes());
        string(&mut self.bound, place.bound());
        self.bound.update(b"g");
        string(&mut self.bound, tag);
    }

    pub(super) fn finish(mut self) -> Digests {
        let mut sops = String::with_capacity(128);
        for byte in self.sops.finalize() {
            // Appending to a `String` never fails.
            let _ = write!(sops, "{byte:02X}");
        }
        if self.binary {
            string(&mut self.bound, sops.as_bytes());
        }
        Digests { sops, bound: self.bound.finalize().into() }
    }
}

fn bind_rules(sha: &mut Sha512, rules: &Rules) {
    for (_, value) in rules.selectors() {
        match value {
            None | Some("") => sha.update([0]),
            Some(value) => {
                sha.update([1]);
                string(sha, value.as_bytes());
            }
        }
    }
    sha.update([u8::from(rules.mac_only_encrypted)]);
}

fn bind_keys(sha: &mut Sha512, metadata: &Metadata) {
    number(sha, metadata.shamir_threshold.unwrap_or_default());
    number(sha, metadata.groups.len());
    for group in &metadata.groups {
        number(sha, group.len());
        for key in group {
            string(sha, key.id.kind().as_bytes());
            let fields = identity(&key.id);
            number(sha, fields.len());
            for field in fields {
                string(sha, field.as_bytes());
            }
        }
    }
}

/// The fields that make a key what it is.
fn identity(id: &KeyId) -> Vec<String> {
    let text = str::to_owned;
    match id {
        KeyId::Age { recipient } => vec![text(recipient)],
        KeyId::Pgp { fingerprint } => vec![text(fingerprint)],
        KeyId::AwsKms { arn, role, context, profile } => {
            let mut fields = vec![text(arn), role.clone().unwrap_or_default(), profile.clone().unwrap_or_default()];
            fields.extend(context.iter().flat_map(|(name, value)| [text(name), text(value)]));
            fields
        }
        KeyId::GcpKms { resource_id } => vec![text(resource_id)],
        KeyId::AzureKeyVault { vault_url, name, version } => vec![text(vault_url), text(name), text(version)],
        KeyId::HuaweiKms { key_id } => vec![text(key_id)],
        KeyId::VaultTransit { address, mount, key } => vec![text(address), text(mount), text(key)],
        KeyId::Local { path } => vec![path.to_string_lossy().into_owned()],
        // `KeyId` may grow; a kind that metadata cannot hold does not get here.
        other => vec![other.to_string()],
    }
}

fn string(sha: &mut Sha512, bytes: &[u8]) {
    number(sha, bytes.len());
    sha.update(bytes);
}

fn number(sha: &mut Sha512, number: usize) {
    sha.update((number as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use bulla_core::WrappedKey;

    use super::*;
    use crate::sops::MasterKey;

    /// A leaf's path, type and plaintext, and whether it is encrypted.
    type Given<'a> = (&'a [&'a str], Leaf, &'a str, bool);

    fn place(keys: &[&str]) -> Place {
        let mut place = Place::default();
        for key in keys {
            place.enter_key(key);
        }
        place
    }

    fn digests(metadata: &Metadata, leaves: &[Given<'_>]) -> Digests {
        let mut macs = Macs::new(metadata);
        for (keys, leaf, plain, encrypted) in leaves {
            macs.leaf(0, &place(keys), *leaf, plain.as_bytes(), *encrypted);
        }
        macs.finish()
    }

    #[test]
    fn sops_mac_is_the_hash_of_the_values_one_after_the_other() {
        let sops = digests(
            &Metadata::default(),
            &[(&["a"], Leaf::Str, "ab", true), (&["n"], Leaf::Null, "", false), (&["b"], Leaf::Str, "c", false)],
        )
        .sops;
        // printf abc | sha512sum
        assert!(sops.starts_with("DDAF35A193617ABACC417349AE204131"), "{sops}");
        assert_eq!(sops.len(), 128);
    }

    #[test]
    fn only_encrypted_values_count_when_the_rules_say_so() {
        let mut metadata = Metadata::default();
        metadata.rules.mac_only_encrypted = true;
        let all = digests(&metadata, &[(&["a"], Leaf::Str, "x", true), (&["b"], Leaf::Str, "plain", false)]);
        let one = digests(&metadata, &[(&["a"], Leaf::Str, "x", true)]);
        assert_eq!(all.sops, one.sops);
        assert_eq!(all.bound, one.bound);
        assert_ne!(all.sops, digests(&Metadata::default(), &[(&["a"], Leaf::Str, "x", true)]).sops);
    }

    #[test]
    fn what_slides_through_sops_mac_is_caught_by_ours() {
        let metadata = Metadata::default();
        let before: &[Given<'_>] = &[(&["a"], Leaf::Str, "ab", false), (&["b"], Leaf::Str, "1", false)];
        let reference = digests(&metadata, before);
        let changes: [&[Given<'_>]; 5] = [
            &[(&["a"], Leaf::Str, "a", false), (&["b"], Leaf::Str, "b1", false)],
            &[(&["renamed"], Leaf::Str, "ab", false), (&["b"], Leaf::Str, "1", false)],
            &[(&["a"], Leaf::Str, "ab", false), (&["b"], Leaf::Int, "1", false)],
            &[(&["a"], Leaf::Str, "ab", false), (&["b"], Leaf::Str, "1", false), (&["c"], Leaf::Null, "", false)],
            &[(&["a"], Leaf::Str, "ab", false), (&["b"], Leaf::Str, "1", false), (&["c"], Leaf::Str, "", false)],
        ];
        for change in changes {
            let after = digests(&metadata, change);
            assert_eq!(after.sops, reference.sops, "sops does not see it");
            assert_ne!(after.bound, reference.bound, "and we do");
        }
    }

    #[test]
    fn keys_groups_threshold_and_rules_are_bound() {
        let key = |recipient: &str| MasterKey {
            id: KeyId::Age { recipient: recipient.to_owned() },
            wrapped: WrappedKey::new(""),
            created_at: String::new(),
            unknown: Vec::new(),
        };
        let with = |change: &dyn Fn(&mut Metadata)| {
            let mut metadata = Metadata { groups: vec![vec![key("age1a")]], ..Metadata::default() };
            change(&mut metadata);
            digests(&metadata, &[]).bound
        };
        let reference = with(&|_| {});
        assert_ne!(with(&|m| m.groups[0].push(key("age1b"))), reference);
        assert_ne!(with(&|m| m.groups.push(vec![key("age1b")])), reference);
        assert_ne!(with(&|m| m.groups[0][0] = key("age1b")), reference);
        assert_ne!(with(&|m| m.shamir_threshold = Some(2)), reference);
        assert_ne!(with(&|m| m.rules.encrypted_regex = Some("a".to_owned())), reference);
        assert_ne!(with(&|m| m.rules.mac_only_encrypted = true), reference);
        // What wraps the data key anew, or dates it, is no change of who can open the file.
        assert_eq!(with(&|m| m.groups[0][0].wrapped = WrappedKey::new("x")), reference);
    }
}
