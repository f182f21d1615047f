//! When a new key is due.

use jiff::{SignedDuration, Timestamp};

/// Renewal as it was configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How old the newest key gets (`--key-renew-period`); `None` is for ever.
    pub period: Option<SignedDuration>,
    /// Keys from before this time are not sealed to any more (`--key-cutoff-time`).
    pub cutoff: Option<Timestamp>,
}

/// Whether a key is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Now, for this reason.
    Now(&'static str),
    /// At this time.
    At(Timestamp),
    /// Never by itself.
    Never,
}

impl Default for Policy {
    /// As sealed-secrets: every 30 days, no cut-off.
    fn default() -> Self {
        Self { period: Some(SignedDuration::from_hours(30 * 24)), cutoff: None }
    }
}

impl Policy {
    /// Whether a key is due, where the newest active one is from `newest`.
    pub fn due(&self, newest: Option<Timestamp>, now: Timestamp) -> Due {
        let Some(newest) = newest else { return Due::Now("there is no active key") };
        // A cut-off in the future cuts nothing off yet; a new key would be cut off with the others then.
        let cutoff = self.cutoff.filter(|cutoff| newest < *cutoff);
        if cutoff.is_some_and(|cutoff| cutoff <= now) {
            return Due::Now("the newest key is from before the cut-off time");
        }
        let end = self.period.and_then(|period| newest.checked_add(period).ok());
        if end.is_some_and(|end| end <= now) {
            return Due::Now("the newest key is older than the renewal period");
        }
        match (cutoff, end) {
            (None, None) => Due::Never,
            (Some(one), Some(other)) => Due::At(one.min(other)),
            (Some(at), None) | (None, Some(at)) => Due::At(at),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn keys_are_renewed_after_the_period_and_never_with_none() {
        let policy = Policy::default();
        let newest = at("2026-01-01T00:00:00Z");
        assert_eq!(policy.due(Some(newest), at("2026-01-15T00:00:00Z")), Due::At(at("2026-01-31T00:00:00Z")));
        assert!(matches!(policy.due(Some(newest), at("2026-01-31T00:00:00Z")), Due::Now(_)));
        let never = Policy { period: None, cutoff: None };
        assert_eq!(never.due(Some(newest), at("2036-01-01T00:00:00Z")), Due::Never);
        assert!(matches!(never.due(None, newest), Due::Now(_)));
    }

    #[test]
    fn a_cut_off_time_counts_once_it_has_come() {
        let cutoff = Some(at("2026-02-01T00:00:00Z"));
        let policy = Policy { period: None, cutoff };
        let old = Some(at("2026-01-01T00:00:00Z"));
        assert_eq!(policy.due(old, at("2026-01-15T00:00:00Z")), Due::At(at("2026-02-01T00:00:00Z")));
        assert!(matches!(policy.due(old, at("2026-02-01T00:00:00Z")), Due::Now(_)));
        assert_eq!(policy.due(cutoff, at("2026-03-01T00:00:00Z")), Due::Never);
    }
}
