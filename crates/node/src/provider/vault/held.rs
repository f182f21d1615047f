//! What is held for a volume while its pod lives: leases, the sessions that they hang on, and the values, which are needed again when a
//! neighbour of theirs changes.
//!
//! A lease ends with the session (the token) under which it was given, so a volume with leases has a session of its own, and ending that session is
//! what gives the leases back. The session's token is in this process's memory alone. In the volume is remembered what a service that was started
//! again needs to leave the values as they are while they are good, see [`Remembered`].

use std::sync::Arc;
use std::time::Duration;

use bulla_core::SecretBytes;
use bulla_store::vault::{Answer, Query, VaultSession};
use bulla_store::{Lease, Session};
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::sessions::Who;

/// How much of its life a lease has behind it when it is renewed.
const RENEWED: f64 = 0.6;
/// How much of it is left at most when another one is asked for.
const LEFT: f64 = 0.15;
/// The same, however long it lives.
const LONGEST_LEFT: Duration = Duration::from_mins(10);

/// What is held for one volume.
#[derive(Default)]
pub(super) struct Held {
    /// The version of the class that it is of.
    pub(super) class: String,
    /// Who reads for it, and for which pod.
    pub(super) who: Option<(Who, String)>,
    /// What is leased.
    pub(super) leased: Vec<Leased>,
    /// What was leased before, and is not given back yet: programs may still use it.
    pub(super) former: Vec<Arc<VaultSession>>,
}

/// An answer that is leased.
pub(super) struct Leased {
    /// What was asked.
    pub(super) query: String,
    /// For how long.
    pub(super) lease: Lease,
    /// When the session ends that it hangs on.
    pub(super) until: Option<Timestamp>,
    /// How long it was to live when it was given.
    pub(super) life: Duration,
    /// The session; not after the service was started again.
    pub(super) session: Option<Arc<VaultSession>>,
    /// The answer; not after the service was started again.
    pub(super) answer: Option<Arc<Answer>>,
}

impl Leased {
    /// What a session has just read.
    pub(super) fn new(query: &Query, lease: &Lease, answer: Arc<Answer>, session: Arc<VaultSession>) -> Self {
        let until = session.ends();
        let life = until.map_or(lease.duration, |until| lease.duration.min(between(lease.begun, until)));
        let (session, answer) = (Some(session), Some(answer));
        Self { query: name(query), lease: lease.clone(), until, life, session, answer }
    }

    /// When it ends.
    pub(super) fn ends(&self) -> Timestamp {
        self.until.map_or_else(|| self.lease.ends(), |until| until.min(self.lease.ends()))
    }

    /// When another one has to be asked for.
    pub(super) fn replaced(&self) -> Timestamp {
        before(self.ends(), self.life.mul_f64(LEFT).min(LONGEST_LEFT))
    }

    /// When something has to be done about it.
    pub(super) fn due(&self) -> Timestamp {
        let renewed = |begun: Timestamp, duration: Duration| {
            begun
                .checked_add(SignedDuration::try_from(duration.mul_f64(RENEWED)).unwrap_or(SignedDuration::MAX))
                .unwrap_or(Timestamp::MAX)
        };
        let mut due = self.replaced();
        if self.lease.is_renewable {
            due = due.min(renewed(self.lease.begun, self.lease.duration));
        }
        self.session.as_ref().and_then(|session| session.due()).map_or(due, |extended| due.min(extended))
    }
}

impl Held {
    /// For this version of the class. What is held for another one is not what is wanted now. What a service before this one held is taken over.
    pub(super) fn adopt(&mut self, class: &str, who: &Who, pod: &str, remembered: &Remembered, now: Timestamp) {
        if self.class != class {
            class.clone_into(&mut self.class);
            let former: Vec<Leased> = std::mem::take(&mut self.leased);
            for leased in former {
                self.replace(leased);
            }
            if remembered.class == class {
                self.leased = remembered.leases.iter().filter_map(|lease| lease.leased(now)).collect();
            }
        }
        self.who = Some((who.clone(), pod.to_owned()));
    }

    /// One is no longer wanted. It is left to end: programs may still use it.
    pub(super) fn replace(&mut self, leased: Leased) {
        let now = Timestamp::now();
        self.former.retain(|session| session.ends().is_none_or(|ends| ends > now));
        if let Some(session) = leased.session
            && !self.former.iter().any(|former| Arc::ptr_eq(former, &session))
        {
            self.former.push(session);
        }
    }

    /// Whether a lease of it has not ended yet.
    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        let mut former = self.former.iter();
        self.leased.iter().any(|leased| leased.ends() > now)
            || former.any(|session| session.ends().is_none_or(|ends| ends > now))
    }

    /// What is leased for a request.
    pub(super) fn leased(&self, query: &Query) -> Option<&Leased> {
        let name = name(query);
        self.leased.iter().find(|leased| leased.query == name)
    }
}

/// What is remembered in the volume.
///
/// Who has root's rights in the pod can read it, so nothing in it is worth more than the files beside it. `key` makes the versions: with it and a
/// version, which everybody may read, a guess at a value can be checked, by who could read the value itself. The names of leases are no
/// credentials: see [`Lease::id`]. The session's token is one, it opens all that the role may read, and is not here: so a service
/// that was started again cannot make an old session last longer, and asks for new values before that one ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Remembered {
    key: String,
    class: String,
    leases: Vec<RememberedLease>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RememberedLease {
    query: String,
    id: String,
    begun: Timestamp,
    seconds: u64,
    is_renewable: bool,
    until: Option<Timestamp>,
    life: u64,
}

impl Remembered {
    /// From a volume, or of a new one.
    pub(super) fn read(text: &str) -> Result<Self, getrandom::Error> {
        let known = serde_json::from_str::<Self>(text).ok().filter(|known| !known.key.is_empty());
        if let Some(known) = known {
            return Ok(known);
        }
        let key = SecretBytes::random(32)?;
        Ok(Self { key: hex(key.expose()), ..Self::default() })
    }

    /// As a text.
    pub(super) fn write(&self, held: &Held) -> String {
        let lease = |leased: &Leased| RememberedLease {
            query: leased.query.clone(),
            id: leased.lease.id.clone(),
            begun: leased.lease.begun,
            seconds: leased.lease.duration.as_secs(),
            is_renewable: leased.lease.is_renewable,
            until: leased.until,
            life: leased.life.as_secs(),
        };
        let leases = held.leased.iter().map(lease).collect();
        // Writing to memory does not fail.
        serde_json::to_string(&Self { key: self.key.clone(), class: held.class.clone(), leases }).unwrap_or_default()
    }

    /// The version of a file's contents: the far side's number, if it has one, and a code that nobody can make of a guess who has not the key.
    pub(super) fn version(&self, object: &str, number: Option<u64>, contents: &SecretBytes) -> String {
        let Ok(mut code) = Hmac::<Sha256>::new_from_slice(self.key.as_bytes()) else { return String::new() };
        code.update(&(object.len() as u64).to_le_bytes());
        code.update(object.as_bytes());
        code.update(contents.expose());
        let code = hex(&code.finalize().into_bytes()[..12]);
        number.map_or_else(|| code.clone(), |number| format!("{number}.{code}"))
    }
}

impl RememberedLease {
    fn leased(&self, now: Timestamp) -> Option<Leased> {
        let lease = Lease {
            id: self.id.clone(),
            begun: self.begun,
            duration: Duration::from_secs(self.seconds),
            is_renewable: self.is_renewable,
        };
        let life = Duration::from_secs(self.life);
        let leased = Leased { query: self.query.clone(), lease, until: self.until, life, session: None, answer: None };
        (leased.ends() > now).then_some(leased)
    }
}

/// A request's name: not the request, which may have arguments that are nobody's business.
fn name(query: &Query) -> String {
    hex(&Sha256::digest(query.text())[..16])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn between(begun: Timestamp, ends: Timestamp) -> Duration {
    Duration::try_from(ends.duration_since(begun)).unwrap_or_default()
}

fn before(time: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    time.checked_sub(duration).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn leased(seconds: u64, is_renewable: bool, until: Option<i64>) -> Leased {
        let lease = Lease { id: "a".to_owned(), begun: at(0), duration: Duration::from_secs(seconds), is_renewable };
        let until = until.map(at);
        let life = until.map_or(lease.duration, |until| lease.duration.min(between(at(0), until)));
        Leased { query: "q".to_owned(), lease, until, life, session: None, answer: None }
    }

    #[test]
    fn a_lease_is_renewed_in_time_and_replaced_before_it_or_its_session_ends() {
        let renewable = leased(1000, true, None);
        assert_eq!((renewable.due(), renewable.replaced(), renewable.ends()), (at(600), at(850), at(1000)));
        let fixed = leased(1000, false, None);
        assert_eq!((fixed.due(), fixed.replaced()), (at(850), at(850)));
        // It hangs on a session that ends before it.
        let short = leased(100_000, true, Some(1000));
        assert_eq!((short.ends(), short.replaced()), (at(1000), at(850)));
        let long = leased(1_000_000, false, None);
        assert_eq!(long.replaced(), at(1_000_000 - 600));
        let endless = leased(u64::MAX, true, None);
        assert_eq!(endless.ends(), Timestamp::MAX);
    }

    #[test]
    fn what_is_remembered_has_leases_and_no_token_and_comes_back() {
        let remembered = Remembered::read("").unwrap();
        assert_ne!(remembered, Remembered::read("{}").unwrap(), "each volume has a key of its own");
        let mut held = Held { class: "c".to_owned(), ..Held::default() };
        held.leased = vec![leased(1000, true, Some(5000)), leased(10, true, None)];
        let text = remembered.write(&held);
        let again = Remembered::read(&text).unwrap();
        assert_eq!(again.key, remembered.key);
        let who = Who::default();
        let mut next = Held::default();
        next.adopt("c", &who, "uid", &again, at(100));
        assert_eq!(next.leased.len(), 1, "one has ended");
        assert_eq!((next.leased[0].ends(), next.leased[0].due()), (at(1000), at(600)));
        let mut other = Held::default();
        other.adopt("another class", &who, "uid", &again, at(100));
        assert!(other.leased.is_empty());
    }

    #[test]
    fn a_version_is_of_one_key_one_object_and_its_contents() {
        let (one, other) = (Remembered::read("").unwrap(), Remembered::read("").unwrap());
        let text = |text: &str| SecretBytes::from(text.as_bytes());
        let version = one.version("a", None, &text("bc"));
        assert_eq!(version, one.version("a", None, &text("bc")));
        assert_eq!(one.version("a", Some(7), &text("bc")), format!("7.{version}"));
        for different in [
            one.version("ab", None, &text("c")),
            one.version("a", None, &text("b")),
            other.version("a", None, &text("bc")),
        ] {
            assert_ne!(version, different);
        }
    }
}
