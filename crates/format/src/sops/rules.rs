//! Which values of a file are encrypted.
//!
//! A suffix or an expression is looked for in every key of a value's path, comments' rules in the comments right before the
//! value and before everything it stands in. A comment that the rule for encrypting matches stays plain itself: it is read again
//! before anything is decrypted.

use super::Error;
use bulla_core::go_regex::{self, Regex};

/// The selection rules. sops allows one of the six, and refuses files with more.
///
/// With none set, what has a key that ends in `_unencrypted` above it stays plain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Plain is what has a key with this suffix in its path.
    pub unencrypted_suffix: Option<String>,
    /// Encrypted is only what has a key with this suffix in its path.
    pub encrypted_suffix: Option<String>,
    /// Plain is what has a key matching this in its path.
    pub unencrypted_regex: Option<String>,
    /// Encrypted is only what has a key matching this in its path.
    pub encrypted_regex: Option<String>,
    /// Plain is what stands below a comment matching this.
    pub unencrypted_comment_regex: Option<String>,
    /// Encrypted is only what stands below a comment matching this.
    pub encrypted_comment_regex: Option<String>,
    /// The MAC covers encrypted values only.
    pub mac_only_encrypted: bool,
}

impl Rules {
    /// What a key has to end with for its values to stay plain, if no rule says otherwise.
    pub const DEFAULT_UNENCRYPTED_SUFFIX: &'static str = "_unencrypted";

    /// The six rules with their names in files.
    pub fn selectors(&self) -> [(&'static str, Option<&str>); 6] {
        [
            ("unencrypted_suffix", self.unencrypted_suffix.as_deref()),
            ("encrypted_suffix", self.encrypted_suffix.as_deref()),
            ("unencrypted_regex", self.unencrypted_regex.as_deref()),
            ("encrypted_regex", self.encrypted_regex.as_deref()),
            ("unencrypted_comment_regex", self.unencrypted_comment_regex.as_deref()),
            ("encrypted_comment_regex", self.encrypted_comment_regex.as_deref()),
        ]
    }

    /// Checks that at most one rule is set and that its expression compiles.
    ///
    /// # Errors
    /// [`Error::Rule`] says which rules, or what is wrong with the expression.
    pub fn validate(&self) -> Result<(), Error> {
        Selector::new(self).map(drop)
    }

    /// The place of the rule called `name`.
    pub(super) fn slot(&mut self, name: &str) -> Option<&mut Option<String>> {
        Some(match name {
            "unencrypted_suffix" => &mut self.unencrypted_suffix,
            "encrypted_suffix" => &mut self.encrypted_suffix,
            "unencrypted_regex" => &mut self.unencrypted_regex,
            "encrypted_regex" => &mut self.encrypted_regex,
            "unencrypted_comment_regex" => &mut self.unencrypted_comment_regex,
            "encrypted_comment_regex" => &mut self.encrypted_comment_regex,
            _ => return None,
        })
    }
}

/// What a rule looks for.
enum Pattern {
    Suffix(String),
    Key(Regex),
    Comment(Regex),
}

/// What a match means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Means {
    Encrypted,
    Plain,
}

/// The rule of a file, compiled.
pub(super) struct Selector {
    pattern: Pattern,
    means: Means,
}

/// What is known of a rule at one place in the tree: what the keys and comments above and before it said.
#[derive(Clone, Copy, Default)]
pub(super) struct Matched {
    /// A key or comment above matched.
    above: bool,
    /// A comment right before, among the same entries, matched.
    before: bool,
}

impl Matched {
    /// For what stands below or after as the next entry: comments before it are above all that is in it.
    pub(super) const fn below(self) -> Self {
        Self { above: self.above || self.before, before: false }
    }

    /// After an entry that is not a comment: comments before it no longer count.
    pub(super) const fn after_entry(self) -> Self {
        Self { above: self.above, before: false }
    }
}

impl Selector {
    pub(super) fn new(rules: &Rules) -> Result<Self, Error> {
        let set = || rules.selectors().into_iter().filter_map(|(name, value)| Some((name, value?)));
        // An empty string sets nothing, as in sops.
        let mut set = set().filter(|(_, value)| !value.is_empty());
        let (name, value) = set.next().unwrap_or(("unencrypted_suffix", Rules::DEFAULT_UNENCRYPTED_SUFFIX));
        if let Some((other, _)) = set.next() {
            return Err(Error::Rule(format!("{name} and {other} cannot both be set: a file has one selection rule")));
        }
        let regex = || go_regex::compile(value).map_err(|error| Error::Rule(format!("{name} {value:?}: {error}")));
        let pattern = if name.ends_with("_suffix") {
            Pattern::Suffix(value.to_owned())
        } else if name.ends_with("_comment_regex") {
            Pattern::Comment(regex()?)
        } else {
            Pattern::Key(regex()?)
        };
        Ok(Self { pattern, means: if name.starts_with("un") { Means::Plain } else { Means::Encrypted } })
    }

    /// What is known inside an entry of a map called `key`.
    pub(super) fn at_key(&self, matched: Matched, key: &str) -> Matched {
        let hit = matched.above
            || match &self.pattern {
                Pattern::Suffix(suffix) => key.ends_with(suffix),
                Pattern::Key(regex) => regex.is_match(key.as_bytes()),
                Pattern::Comment(_) => false,
            };
        Matched { above: hit, before: matched.before }
    }

    /// What is known after a comment; `text` is what the file has, encrypted or not.
    pub(super) fn after_comment(&self, matched: Matched, text: &[u8]) -> Matched {
        Matched { before: matched.before || self.matches_comment(text), ..matched }
    }

    /// Whether a value is encrypted at a place where this is known.
    pub(super) fn encrypts(&self, matched: Matched) -> bool {
        (matched.above || matched.before) == (self.means == Means::Encrypted)
    }

    /// Whether a comment with this text is encrypted.
    pub(super) fn encrypts_comment(&self, matched: Matched, text: &[u8]) -> bool {
        match self.means {
            // The comment that says so stays plain.
            Means::Encrypted => self.encrypts(matched),
            Means::Plain => self.encrypts(self.after_comment(matched, text)),
        }
    }

    /// Whether an encrypted comment would be taken for one that keeps values plain.
    pub(super) fn is_fooled_by(&self, sealed_comment: &[u8]) -> bool {
        self.means == Means::Plain && self.matches_comment(sealed_comment)
    }

    /// Whether a comment with this text decides what is encrypted.
    pub(super) fn decides(&self, comment: &[u8]) -> bool {
        self.matches_comment(comment)
    }

    fn matches_comment(&self, text: &[u8]) -> bool {
        matches!(&self.pattern, Pattern::Comment(regex) if regex.is_match(text))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn selector(name: &str, value: &str) -> Selector {
        let mut rules = Rules::default();
        *rules.slot(name).unwrap() = Some(value.to_owned());
        Selector::new(&rules).unwrap()
    }

    fn encrypts(selector: &Selector, keys: &[&str]) -> bool {
        let matched = keys.iter().fold(Matched::default(), |matched, key| selector.at_key(matched, key).below());
        selector.encrypts(matched)
    }

    #[test]
    fn without_a_rule_the_default_suffix_stays_plain() {
        let selector = Selector::new(&Rules::default()).unwrap();
        assert!(encrypts(&selector, &["a", "b"]));
        assert!(!encrypts(&selector, &["a_unencrypted", "b"]));
    }

    #[test]
    fn any_key_of_the_path_can_match() {
        for (name, value, keys, encrypted) in [
            ("unencrypted_suffix", "_pt", ["a_pt", "b"], false),
            ("unencrypted_suffix", "_pt", ["a", "b"], true),
            ("encrypted_suffix", "_enc", ["a", "b_enc"], true),
            ("encrypted_suffix", "_enc", ["a", "b"], false),
            ("unencrypted_regex", "^a", ["abc", "b"], false),
            ("unencrypted_regex", "^a", ["x", "b"], true),
            ("encrypted_regex", "^(data|stringData)$", ["data", "b"], true),
            ("encrypted_regex", "^(data|stringData)$", ["metadata", "b"], false),
        ] {
            assert_eq!(encrypts(&selector(name, value), &keys), encrypted, "{name} {value} {keys:?}");
        }
    }

    #[test]
    fn a_comment_rule_holds_for_the_next_entry_and_all_in_it() {
        let selector = selector("encrypted_comment_regex", "sops:enc");
        let start = Matched::default();
        assert!(!selector.encrypts_comment(start, b" sops:enc"), "the comment that says so stays plain");
        let after = selector.after_comment(start, b" sops:enc");
        assert!(selector.encrypts_comment(after, b" another"));
        assert!(selector.encrypts(selector.at_key(after, "a")));
        assert!(selector.encrypts(selector.at_key(after, "a").below()));
        assert!(!selector.encrypts(after.after_entry()));
    }

    #[test]
    fn a_comment_that_keeps_values_plain_stays_plain_itself() {
        let selector = selector("unencrypted_comment_regex", "sops:plain");
        let start = Matched::default();
        assert!(selector.encrypts_comment(start, b" another"));
        assert!(!selector.encrypts_comment(start, b" sops:plain"));
        assert!(!selector.encrypts(selector.after_comment(start, b" sops:plain")));
    }

    #[test]
    fn two_rules_are_an_error_that_names_both() {
        let rules = Rules {
            encrypted_regex: Some("a".to_owned()),
            unencrypted_suffix: Some("b".to_owned()),
            ..Rules::default()
        };
        let error = rules.validate().unwrap_err().to_string();
        assert!(error.contains("unencrypted_suffix") && error.contains("encrypted_regex"), "{error}");
    }

    #[test]
    fn an_empty_rule_is_none() {
        let rules = Rules { encrypted_regex: Some(String::new()), ..Rules::default() };
        assert!(encrypts(&Selector::new(&rules).unwrap(), &["a"]));
    }

    #[test]
    fn an_expression_that_does_not_compile_is_an_error() {
        let rules = Rules { encrypted_regex: Some("(".to_owned()), ..Rules::default() };
        assert!(matches!(rules.validate(), Err(Error::Rule(_))));
    }
}
