//! Names that nobody logs in as for a while, because too many logins failed.
//!
//! Names that are there and names that are not are counted alike: else who is locked out would be somebody. A login that ends when its name is
//! locked out is refused whatever its password was, so that of many that come at once no more than the threshold learn anything.
//!
//! What is kept is in memory and bounded, for each method by itself ([`NAMES`]): a flood of names at one method takes no room from another, and drives out
//! those with the fewest failures first, locked ones last. Sealing and a restart forget it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::logical::{Call, Error, Result};

/// How many names of a method are counted at once.
pub const NAMES: usize = 32 << 10;
/// How many of all methods together: then the one with the most makes room.
const ALL: usize = 4 * NAMES;
/// A longer name is counted by its hash.
const LONGEST: usize = 256;

/// When a name is locked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// After how many failures; 0: never.
    pub threshold: u64,
    /// For how long after the last.
    pub duration: Duration,
    /// How long after a failure it is forgotten.
    pub reset: Duration,
}

impl Limits {
    /// Never.
    pub const OFF: Self = Self { threshold: 0, duration: Duration::ZERO, reset: Duration::ZERO };
}

/// The peer's.
impl Default for Limits {
    fn default() -> Self {
        Self { threshold: 5, duration: Duration::from_mins(15), reset: Duration::from_mins(15) }
    }
}

/// What the server's configuration says, by the kind of the method, or `all`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByKind(pub BTreeMap<String, Limits>);

impl ByKind {
    /// The methods that lock out.
    pub const KINDS: [&'static str; 2] = ["approle", "userpass"];

    /// The limits of a method.
    pub fn of(&self, kind: &str) -> Limits {
        if !Self::KINDS.contains(&kind) {
            return Limits::OFF;
        }
        self.0.get(kind).or_else(|| self.0.get("all")).copied().unwrap_or_default()
    }
}

/// Who logs in.
#[derive(Clone, Debug)]
struct Who {
    accessor: String,
    name: String,
}

/// A login that is under way.
pub struct Login {
    who: Who,
    limits: Limits,
}

impl Login {
    /// A login as `name` by the method of a call.
    pub fn new(call: &Call<'_>, name: &str) -> Self {
        Self { who: Who::new(&call.mount.accessor, name), limits: call.mount.lockout }
    }
}

impl Who {
    fn new(accessor: &str, name: &str) -> Self {
        let name = if name.len() <= LONGEST {
            name.to_owned()
        } else {
            let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
            format!("sha256:{}", super::hex(hash.as_ref()))
        };
        Self { accessor: accessor.to_owned(), name }
    }
}

#[derive(Clone, Copy)]
struct Failures {
    count: u64,
    last: Instant,
    limits: Limits,
}

impl Failures {
    fn is_locked(&self, limits: Limits, now: Instant) -> bool {
        limits.threshold > 0 && self.count >= limits.threshold && now.duration_since(self.last) < limits.duration
    }

    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.last) > self.limits.duration.max(self.limits.reset)
    }
}

/// The names of a method whose logins failed.
type Names = HashMap<String, Failures>;

/// All names whose logins failed, by the accessor of their method.
#[derive(Default)]
pub struct Lockouts(Mutex<HashMap<String, Names>>);

impl Lockouts {
    fn methods(&self) -> MutexGuard<'_, HashMap<String, Names>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a login may be tried.
    ///
    /// # Errors
    /// 403 if its name is locked out.
    pub fn check(&self, login: &Login) -> Result<()> {
        self.check_at(login, Instant::now())
    }

    fn check_at(&self, login: &Login, now: Instant) -> Result<()> {
        if login.limits.threshold == 0 {
            return Ok(());
        }
        match self.methods().get(&login.who.accessor).and_then(|names| names.get(&login.who.name)) {
            Some(failures) if failures.is_locked(login.limits, now) => Err(Error::no_token()),
            _ => Ok(()),
        }
    }

    /// Ends a login: it was right, or not.
    ///
    /// # Errors
    /// 403 if its name was locked out meanwhile, also if it was right.
    pub fn conclude(&self, login: &Login, outcome: Outcome) -> Result<()> {
        self.conclude_at(login, outcome, Instant::now())
    }

    fn conclude_at(&self, login: &Login, outcome: Outcome, now: Instant) -> Result<()> {
        let limits = login.limits;
        if limits.threshold == 0 {
            return Ok(());
        }
        let mut methods = self.methods();
        let Who { accessor, name } = &login.who;
        let before = methods.get(accessor).and_then(|names| names.get(name)).copied();
        if before.is_some_and(|failures| failures.is_locked(limits, now)) {
            return Err(Error::no_token());
        }
        match outcome {
            Outcome::Right => drop(methods.get_mut(accessor).map(|names| names.remove(name))),
            Outcome::Wrong => {
                let recent = before.filter(|failures| now.duration_since(failures.last) <= limits.reset);
                let count = recent.map_or(0, |failures| failures.count).saturating_add(1);
                if !methods.contains_key(accessor) {
                    // Of methods that are not there any more nothing stays.
                    methods.retain(|_, names| names.values().any(|failures| !failures.is_over(now)));
                }
                let names = methods.entry(accessor.clone()).or_default();
                if before.is_none() && names.len() >= NAMES {
                    make_room(names, now);
                }
                if before.is_none()
                    && methods.values().map(HashMap::len).sum::<usize>() >= ALL
                    && let Some(most) = methods.values_mut().max_by_key(|names| names.len())
                {
                    make_room(most, now);
                }
                if count == limits.threshold {
                    tracing::warn!(accessor, "a name is locked out: too many logins failed");
                }
                methods
                    .entry(accessor.clone())
                    .or_default()
                    .insert(name.clone(), Failures { count, last: now, limits });
            }
        }
        Ok(())
    }

    /// Lets a name log in again.
    pub fn unlock(&self, accessor: &str, name: &str) {
        let Who { accessor, name } = Who::new(accessor, name);
        self.methods().get_mut(&accessor).map(|names| names.remove(&name));
    }

    /// The names that are locked out, by the accessor of their method; `limits` are those that each method has now.
    pub fn locked(&self, limits: &HashMap<String, Limits>) -> BTreeMap<String, Vec<String>> {
        let now = Instant::now();
        let mut locked = BTreeMap::new();
        for (accessor, names) in self.methods().iter() {
            let Some(limits) = limits.get(accessor) else { continue };
            let is_locked = |(_, failures): &(&String, &Failures)| failures.is_locked(*limits, now);
            let mut names: Vec<String> = names.iter().filter(is_locked).map(|(name, _)| name.clone()).collect();
            if !names.is_empty() {
                names.sort_unstable();
                locked.insert(accessor.clone(), names);
            }
        }
        locked
    }
}

/// How a login ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With the right password.
    Right,
    /// With a wrong one, or as nobody.
    Wrong,
}

impl From<bool> for Outcome {
    fn from(right: bool) -> Self {
        if right { Self::Right } else { Self::Wrong }
    }
}

/// Forgets an eighth of a method's names: those that are over, then those with the fewest failures and the oldest, locked ones last.
fn make_room(names: &mut Names, now: Instant) {
    let before = names.len();
    names.retain(|_, failures| !failures.is_over(now));
    let most = before - before / 8;
    if names.len() <= most {
        return;
    }
    tracing::warn!("so many names of a method fail to log in that some are not counted any more");
    let mut order: Vec<_> = names
        .iter()
        .map(|(name, failures)| (failures.is_locked(failures.limits, now), failures.count, failures.last, name.clone()))
        .collect();
    order.sort_unstable_by_key(|(locked, count, last, _)| (*locked, *count, *last));
    let excess = names.len() - most;
    for (.., name) in order.into_iter().take(excess) {
        names.remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(name: &str) -> Login {
        let limits = Limits { threshold: 3, duration: Duration::from_mins(1), reset: Duration::from_mins(10) };
        Login { who: Who::new("a", name), limits }
    }

    #[test]
    fn a_name_is_locked_out_after_so_many_failures_for_so_long() {
        let (lockouts, start, bob) = (Lockouts::default(), Instant::now(), login("bob"));
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 0..3 {
            lockouts.check_at(&bob, at(second)).unwrap();
            lockouts.conclude_at(&bob, Outcome::Wrong, at(second)).unwrap();
        }
        assert_eq!(lockouts.check_at(&bob, at(3)).unwrap_err().status, 403);
        lockouts.check_at(&login("al"), at(3)).unwrap();
        // It was asked for before, and ends now: nothing is told, and nothing forgiven.
        assert!(lockouts.conclude_at(&bob, Outcome::Right, at(4)).is_err());
        let by_method = |limits| HashMap::from([("a".to_owned(), limits)]);
        assert_eq!(lockouts.locked(&by_method(bob.limits))["a"], ["bob"]);
        assert!(lockouts.locked(&by_method(Limits::OFF)).is_empty());
        // It is over; one more failure, and it is again. After a success it begins anew.
        lockouts.check_at(&bob, at(63)).unwrap();
        lockouts.conclude_at(&bob, Outcome::Wrong, at(63)).unwrap();
        assert!(lockouts.check_at(&bob, at(64)).is_err());
        lockouts.unlock("a", "bob");
        lockouts.check_at(&bob, at(64)).unwrap();
        lockouts.conclude_at(&bob, Outcome::Wrong, at(64)).unwrap();
        lockouts.conclude_at(&bob, Outcome::Wrong, at(65)).unwrap();
        lockouts.conclude_at(&bob, Outcome::Right, at(66)).unwrap();
        lockouts.conclude_at(&bob, Outcome::Wrong, at(67)).unwrap();
        lockouts.check_at(&bob, at(68)).unwrap();
    }

    #[test]
    fn failures_that_are_long_ago_do_not_count() {
        let (lockouts, start, bob) = (Lockouts::default(), Instant::now(), login("bob"));
        for time in [0, 1, 700, 701] {
            lockouts.conclude_at(&bob, Outcome::Wrong, start + Duration::from_secs(time)).unwrap();
        }
        lockouts.check_at(&bob, start + Duration::from_secs(702)).unwrap();
    }

    #[test]
    fn a_flood_of_names_is_bounded_and_unlocks_nobody() {
        let (lockouts, now, bob) = (Lockouts::default(), Instant::now(), login("bob"));
        for _ in 0..3 {
            lockouts.conclude_at(&bob, Outcome::Wrong, now).unwrap();
        }
        for number in 0..NAMES + 10 {
            lockouts.conclude_at(&login(&format!("n{number}")), Outcome::Wrong, now).unwrap();
        }
        assert!(lockouts.methods()["a"].len() <= NAMES);
        assert!(lockouts.check_at(&bob, now).is_err());
        let long = "x".repeat(10_000);
        lockouts.conclude_at(&login(&long), Outcome::Wrong, now).unwrap();
        assert!(lockouts.methods()["a"].keys().all(|name| name.len() <= LONGEST));
        // All of them locked: what is oldest goes.
        let later = now + Duration::from_secs(700);
        for number in 0..10 {
            lockouts.conclude_at(&login(&format!("m{number}")), Outcome::Wrong, later).unwrap();
        }
        assert!(lockouts.methods()["a"].len() <= NAMES);
    }

    #[test]
    fn a_flood_of_names_makes_nobody_forget_failures_of_others() {
        let (lockouts, now, bob) = (Lockouts::default(), Instant::now(), login("bob"));
        let elsewhere = Login { who: Who::new("b", "al"), limits: bob.limits };
        lockouts.conclude_at(&elsewhere, Outcome::Wrong, now).unwrap();
        for _ in 0..2 {
            lockouts.conclude_at(&bob, Outcome::Wrong, now).unwrap();
        }
        // Each of them later than those: what is oldest would go first.
        let later = now + Duration::from_secs(1);
        for number in 0..2 * NAMES {
            lockouts.conclude_at(&login(&format!("n{number}")), Outcome::Wrong, later).unwrap();
        }
        lockouts.conclude_at(&bob, Outcome::Wrong, later).unwrap();
        assert!(lockouts.check_at(&bob, later).is_err(), "his failures are counted on");
        lockouts.conclude_at(&elsewhere, Outcome::Wrong, later).unwrap();
        lockouts.conclude_at(&elsewhere, Outcome::Wrong, later).unwrap();
        assert!(lockouts.check_at(&elsewhere, later).is_err(), "another method has room of its own");
        // When a method's failures are all over, they are forgotten with the first of a new method.
        let over = later + Duration::from_secs(700);
        let third = Login { who: Who::new("c", "al"), limits: bob.limits };
        lockouts.conclude_at(&third, Outcome::Wrong, over).unwrap();
        assert_eq!(lockouts.methods().keys().collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn a_method_has_the_limits_of_its_kind_or_of_all() {
        let few = Limits { threshold: 2, ..Limits::default() };
        let by_kind = ByKind(BTreeMap::from([("all".to_owned(), few), ("userpass".to_owned(), Limits::OFF)]));
        assert_eq!(
            (by_kind.of("approle"), by_kind.of("userpass"), by_kind.of("token")),
            (few, Limits::OFF, Limits::OFF)
        );
        assert_eq!(ByKind::default().of("userpass").threshold, 5);
    }
}
