//! Which replica works on which object.
//!
//! Every replica that is alive holds a Lease (see [`membership`](super::membership)). Of the live members each object has one
//! owner by rendezvous hashing: the member whose hash together with the object's name is the highest. When a member comes or
//! goes, only the objects that it gains or had change hands.
//!
//! The hash is SHA-256, because replicas of different versions must agree on it.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::key::ObjectKey;

/// The live members, and which of them we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    me: Arc<str>,
    /// Sorted. We are among them unless we may not work.
    live: Vec<Arc<str>>,
}

impl Members {
    /// Nobody else: all objects are ours.
    pub fn alone(me: &str) -> Self {
        let me: Arc<str> = me.into();
        Self { live: vec![me.clone()], me }
    }

    /// These members. If `me` is not among them, nothing is ours.
    pub fn new(me: &str, live: impl IntoIterator<Item = String>) -> Self {
        let mut live: Vec<Arc<str>> = live.into_iter().map(Into::into).collect();
        live.sort();
        live.dedup();
        Self { me: me.into(), live }
    }

    /// Whether we may work at all.
    pub fn may_work(&self) -> bool {
        self.live.contains(&self.me)
    }

    /// How many members live.
    pub fn count(&self) -> usize {
        self.live.len()
    }

    /// Whether the object is ours to work on.
    pub fn own(&self, key: &ObjectKey) -> bool {
        match self.live.as_slice() {
            [] => false,
            [only] => *only == self.me,
            _ => self.owner(key).is_some_and(|owner| owner == &*self.me),
        }
    }

    /// The member that works on the object.
    pub fn owner(&self, key: &ObjectKey) -> Option<&str> {
        self.live.iter().max_by_key(|member| score(member, key)).map(|member| &**member)
    }
}

/// The members as they come and go.
pub type Shards = watch::Receiver<Arc<Members>>;

/// Members that never change, for one replica and for tests.
pub fn fixed(members: Members) -> Shards {
    // The receiver keeps the last value when the sender is gone.
    watch::channel(Arc::new(members)).1
}

fn score(member: &str, key: &ObjectKey) -> u64 {
    let mut hash = Sha256::new();
    hash.update((member.len() as u64).to_be_bytes());
    hash.update(member);
    hash.update(key.as_str());
    let digest: [u8; 32] = hash.finalize().into();
    let (first, _) = digest.split_at(8);
    u64::from_be_bytes(first.try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(me: &str, live: &[&str]) -> Members {
        Members::new(me, live.iter().map(|&name| name.to_owned()))
    }

    fn keys() -> impl Iterator<Item = ObjectKey> {
        (0..3000).map(|n| ObjectKey::new(&format!("ns{}", n % 7), &format!("object-{n}")))
    }

    #[test]
    fn every_object_has_one_owner_and_they_share_evenly() {
        let live = ["a", "b", "c"];
        let shares = live.map(|me| keys().filter(|key| members(me, &live).own(key)).count());
        assert_eq!(shares.iter().sum::<usize>(), 3000);
        assert!(shares.iter().all(|share| (850..1150).contains(share)), "{shares:?}");
    }

    #[test]
    fn a_member_that_goes_hands_over_its_own_objects_and_no_others() {
        let (three, two) = (members("a", &["a", "b", "c"]), members("a", &["a", "b"]));
        for key in keys() {
            let before = three.owner(&key).unwrap();
            assert!(before == "c" || two.owner(&key) == Some(before));
        }
    }

    #[test]
    fn who_is_not_alive_owns_nothing() {
        let members = members("a", &["b"]);
        assert!(!members.may_work() && !keys().any(|key| members.own(&key)));
        assert!(keys().all(|key| Members::alone("a").own(&key)));
    }

    #[test]
    fn the_hash_is_the_same_in_every_version() {
        assert_eq!(score("bulla-0", &ObjectKey::new("default", "db")), 0xfb72_e739_30d7_21c8, "agree on this for ever");
    }
}
