//! Conditions: what is true of an object, and since when.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::sealed_secret::SealedSecretCondition;

/// A condition of any kind of object.
pub trait Condition: Clone + Default {
    /// Its type, status, reason and message.
    fn said(&self) -> (&str, &str, &str, &str);
    /// Since when the status is what it is.
    fn since(&self) -> Option<&Time>;
    /// One that says this.
    fn say(said: &Said<'_>, since: Time, now: Time) -> Self;
}

/// What is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said<'a> {
    /// The condition's type.
    pub kind: &'a str,
    /// `True`, `False` or `Unknown`.
    pub status: &'a str,
    /// One word for programs.
    pub reason: &'a str,
    /// One sentence for people; may be empty.
    pub message: &'a str,
    /// The generation that it is said of.
    pub generation: Option<i64>,
}

/// Says it among `conditions`. Whether anything is different from before: times alone are
/// no difference, and the time of the last transition changes when the status does.
pub fn set<C: Condition>(conditions: &mut Vec<C>, said: &Said<'_>, now: &Time) -> bool {
    let place = conditions.iter().position(|condition| condition.said().0 == said.kind);
    let old = place.and_then(|place| conditions.get(place));
    let Said { kind, status, reason, message, .. } = *said;
    if old.is_some_and(|old| old.said() == (kind, status, reason, message)) {
        return false;
    }
    let since = old.filter(|old| old.said().1 == status).and_then(C::since).unwrap_or(now).clone();
    let new = C::say(said, since, now.clone());
    match place.and_then(|place| conditions.get_mut(place)) {
        Some(old) => *old = new,
        None => conditions.push(new),
    }
    true
}

impl Condition for SealedSecretCondition {
    fn said(&self) -> (&str, &str, &str, &str) {
        let text = |value| Option::as_deref(value).unwrap_or_default();
        (&self.type_, &self.status, text(&self.reason), text(&self.message))
    }

    fn since(&self) -> Option<&Time> {
        self.last_transition_time.as_ref()
    }

    fn say(said: &Said<'_>, since: Time, now: Time) -> Self {
        let text = |value: &str| (!value.is_empty()).then(|| value.to_owned());
        Self {
            type_: said.kind.to_owned(),
            status: said.status.to_owned(),
            reason: text(said.reason),
            message: text(said.message),
            last_transition_time: Some(since),
            last_update_time: Some(now),
            observed_generation: said.generation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(second).unwrap())
    }

    fn said(status: &'static str, message: &'static str) -> Said<'static> {
        Said { kind: "Synced", status, reason: "Because", message, generation: Some(1) }
    }

    #[test]
    fn the_transition_time_changes_with_the_status_alone() {
        let mut conditions: Vec<SealedSecretCondition> = Vec::new();
        assert!(set(&mut conditions, &said("False", "no key"), &at(1)));
        assert!(set(&mut conditions, &said("False", "another reason"), &at(2)));
        assert_eq!(
            (&conditions[0].last_transition_time, &conditions[0].last_update_time),
            (&Some(at(1)), &Some(at(2)))
        );
        assert!(set(&mut conditions, &said("True", ""), &at(3)));
        assert_eq!(conditions[0].last_transition_time, Some(at(3)));
        assert_eq!((conditions.len(), conditions[0].message.as_deref()), (1, None));
    }

    #[test]
    fn saying_the_same_again_changes_nothing() {
        let mut conditions: Vec<SealedSecretCondition> = Vec::new();
        set(&mut conditions, &said("True", ""), &at(1));
        let before = conditions.clone();
        assert!(!set(&mut conditions, &said("True", ""), &at(2)));
        assert_eq!(conditions, before);
    }
}
