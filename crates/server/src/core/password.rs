//! Password policies: what passwords that the server makes up look like. Vault's form, in HCL or JSON:
//!
//! ```text
//! length = 20
//! rule "charset" { charset = "abcdefghijklmnopqrstuvwxyz" min-chars = 1 }
//! rule "charset" { charset = "0123456789" min-chars = 2 }
//! ```
//!
//! A password is `length` characters, each of all charsets together and each as likely as any other, drawn again until it has of each charset as
//! many as its rule wants. Where that is hardly ever so, those are drawn first, and the order after.

use std::collections::BTreeSet;
use std::sync::Arc;

use bulla_core::SecretString;
use bulla_core::hcl::{self, Body, Value};
use zeroize::Zeroizing;

use crate::barrier::{Barrier, View};
use crate::logical::{Error, Result};

/// The shortest and the longest.
const LENGTHS: std::ops::RangeInclusive<usize> = 4..=100;
/// How many different characters there may be.
const CHARACTERS: usize = 256;
/// How often a whole password is drawn before it is put together by its rules.
const DRAWS: usize = 64;

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    length: usize,
    rules: Vec<Rule>,
    /// Of all rules, each once.
    all: Vec<char>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    charset: Vec<char>,
    least: usize,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let body = hcl::parse(text).map_err(|error| format!("unable to decode: {error}"))?;
        let (mut length, mut rules) = (0, Vec::new());
        for item in &body.items {
            match (item.keys.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), &item.value) {
                (["length"], value) => length = number("length", value)?,
                (["rule", kind], Value::Body(inner)) => rules.push(Rule::parse(kind, inner)?),
                (["rule", ..], _) => return Err("a rule is written rule \"charset\" { … }".to_owned()),
                (keys, _) => return Err(format!("unknown setting {:?}", keys.join(" "))),
            }
        }
        Self::new(length, rules)
    }

    fn new(length: usize, rules: Vec<Rule>) -> std::result::Result<Self, String> {
        let all: BTreeSet<char> = rules.iter().flat_map(|rule| rule.charset.iter().copied()).collect();
        if all.is_empty() {
            return Err("no charset specified".to_owned());
        }
        if length == 0 {
            return Err("length must be > 0".to_owned());
        }
        if all.len() > CHARACTERS {
            return Err(format!("charset is too long: limited to {CHARACTERS} characters"));
        }
        // Space is one that can be seen, by its width; other such are mistakes.
        if all.iter().any(|letter| letter.is_control() || letter.is_whitespace() && *letter != ' ') {
            return Err("non-printable character in charset".to_owned());
        }
        let least = rules.iter().fold(0_usize, |sum, rule| sum.saturating_add(rule.least));
        if length < least {
            return Err(format!("specified rules require at least {least} characters but {length} is specified"));
        }
        if !LENGTHS.contains(&length) {
            return Err(format!("passwords must be between {} and {} characters", LENGTHS.start(), LENGTHS.end()));
        }
        Ok(Self { length, rules, all: all.into_iter().collect() })
    }

    /// Makes up a password.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn generate(&self) -> Result<SecretString> {
        let mut random = Random::default();
        let mut password = Zeroizing::new(Vec::with_capacity(self.length));
        for _ in 0..DRAWS {
            password.clear();
            while password.len() < self.length {
                password.push(random.of(&self.all)?);
            }
            if self.rules.iter().all(|rule| rule.passes(&password)) {
                return Ok(text(&password));
            }
        }
        password.clear();
        for rule in &self.rules {
            for _ in 0..rule.least {
                password.push(random.of(&rule.charset)?);
            }
        }
        while password.len() < self.length {
            password.push(random.of(&self.all)?);
        }
        // Fisher and Yates: each order is as likely as any other.
        for last in (1..password.len()).rev() {
            let other = random.below(last + 1)?;
            password.swap(last, other);
        }
        Ok(text(&password))
    }
}

impl Rule {
    fn parse(kind: &str, body: &Body) -> std::result::Result<Self, String> {
        if kind != "charset" {
            return Err(format!("unable to parse rules: unable to parse rule {kind}: unrecognized rule type {kind}"));
        }
        let mut rule = Self { charset: Vec::new(), least: 0 };
        for item in &body.items {
            match (item.keys.as_slice(), &item.value) {
                ([key], Value::String(charset)) if key == "charset" => {
                    rule.charset = charset.chars().collect::<BTreeSet<_>>().into_iter().collect();
                }
                ([key], value) if key == "min-chars" => rule.least = number("min-chars", value)?,
                (keys, _) => return Err(format!("unknown setting {:?} of a rule", keys.join(" "))),
            }
        }
        if rule.charset.is_empty() && rule.least > 0 {
            return Err("a rule wants characters and has no charset".to_owned());
        }
        Ok(rule)
    }

    fn passes(&self, password: &[char]) -> bool {
        self.least == 0
            || password.iter().filter(|letter| self.charset.binary_search(letter).is_ok()).count() >= self.least
    }
}

fn number(name: &str, value: &Value) -> std::result::Result<usize, String> {
    match value {
        Value::Number(digits) => digits.parse().map_err(|_| format!("{name} is a whole number, not {digits}")),
        _ => Err(format!("{name} is a number")),
    }
}

fn text(password: &[char]) -> SecretString {
    let mut text = String::with_capacity(password.len() * 4);
    text.extend(password);
    SecretString::from(text)
}

/// Random numbers, some at a time.
#[derive(Default)]
struct Random {
    bytes: Zeroizing<Vec<u8>>,
}

impl Random {
    /// A number below `limit`, which is at most 256, each as likely as any other.
    fn below(&mut self, limit: usize) -> Result<usize> {
        let whole = 256 - 256 % limit;
        loop {
            let Some(byte) = self.bytes.pop() else {
                self.bytes.resize(64, 0);
                getrandom::fill(&mut self.bytes)?;
                continue;
            };
            // What is past the last whole round would make the first ones likelier.
            if usize::from(byte) < whole {
                return Ok(usize::from(byte) % limit);
            }
        }
    }

    fn of(&mut self, letters: &[char]) -> Result<char> {
        let at = self.below(letters.len().clamp(1, CHARACTERS))?;
        letters.get(at).copied().ok_or_else(|| Error::internal(&"a charset is empty"))
    }
}

/// All policies.
pub struct Policies {
    view: View,
}

impl Policies {
    /// Those in `barrier`.
    pub fn new(barrier: &Arc<Barrier>) -> Self {
        Self { view: View::hidden(barrier, "sys/password/") }
    }

    /// The text of a policy.
    ///
    /// # Errors
    /// If storage fails.
    pub async fn read(&self, name: &str) -> Result<Option<String>> {
        Ok(self.view.read(name).await?)
    }

    /// Writes a policy that was [read](Policy::parse) before.
    ///
    /// # Errors
    /// If storage fails.
    pub async fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(self.view.write(name, &text).await?)
    }

    /// Deletes a policy; that it is not there is no error.
    ///
    /// # Errors
    /// If storage fails.
    pub async fn delete(&self, name: &str) -> Result<()> {
        Ok(self.view.delete(name).await?)
    }

    /// The names of all.
    ///
    /// # Errors
    /// If storage fails.
    pub async fn names(&self) -> Result<Vec<String>> {
        Ok(self.view.scan("").await?)
    }

    /// A password by the policy of this name.
    ///
    /// # Errors
    /// 404 if there is none.
    pub async fn generate(&self, name: &str) -> Result<SecretString> {
        let text = self.read(name).await?.ok_or_else(|| Error::wrapped(404, "policy does not exist"))?;
        Policy::parse(&text).map_err(|error| Error::internal(&error))?.generate()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn counts(password: &SecretString, charset: &str) -> usize {
        password.expose().chars().filter(|letter| charset.contains(*letter)).count()
    }

    #[test]
    fn a_password_is_as_its_policy_says() {
        let policy = Policy::parse(
            "length = 20\nrule \"charset\" { charset = \"abcdef\" min-chars = 2 }\nrule \"charset\" { charset = \"012€\" min-chars = 3 }",
        )
        .unwrap();
        for _ in 0..500 {
            let password = policy.generate().unwrap();
            assert_eq!(password.expose().chars().count(), 20);
            assert!(counts(&password, "abcdef") >= 2 && counts(&password, "012€") >= 3);
            assert_eq!(counts(&password, "abcdef012€"), 20);
        }
    }

    #[test]
    fn rules_that_are_hardly_ever_met_by_chance_are_met() {
        let policy = Policy::parse(
            "length = 20\nrule \"charset\" { charset = \"abcdefghijklmnopqrstuvwxyz\" }\nrule \"charset\" { charset = \"0\" min-chars = 19 }",
        )
        .unwrap();
        let mut places = BTreeSet::new();
        for _ in 0..500 {
            let password = policy.generate().unwrap();
            assert!(counts(&password, "0") >= 19);
            places.extend(password.expose().find(|letter| letter != '0'));
        }
        assert_eq!(places.len(), 20, "the other one stands anywhere");
    }

    #[test]
    fn each_character_is_as_likely_as_any_other() {
        let policy = Policy::parse("length = 100\nrule \"charset\" { charset = \"abcaaaab\" }").unwrap();
        let mut seen: HashMap<char, usize> = HashMap::new();
        for _ in 0..300 {
            for letter in policy.generate().unwrap().expose().chars() {
                *seen.entry(letter).or_default() += 1;
            }
        }
        // 10 000 of each expected; five standard deviations are about 410.
        assert!(seen.len() == 3 && seen.values().all(|count| count.abs_diff(10_000) < 410), "{seen:?}");
    }

    #[test]
    fn a_policy_that_cannot_be_says_why() {
        for (text, expected) in [
            ("length = 20", "no charset"),
            ("rule \"charset\" { charset = \"abc\" }", "length must be > 0"),
            ("length = 3\nrule \"charset\" { charset = \"abc\" }", "between 4 and 100"),
            ("length = 101\nrule \"charset\" { charset = \"abc\" }", "between 4 and 100"),
            ("length = 5\nrule \"charset\" { charset = \"abc\" min-chars = 6 }", "at least 6"),
            ("length = 5\nrule \"words\" { charset = \"abc\" }", "unrecognized rule type words"),
            ("length = 5\nrule \"charset\" { charset = \"a\\nb\" }", "non-printable"),
            ("length = \"5\"\nrule \"charset\" { charset = \"abc\" }", "length is a number"),
            ("length = 5\nrule \"charset\" { charset = \"abc\" min_chars = 1 }", "min_chars"),
            (
                "length = 5\nrule \"charset\" { charset = \"\" min-chars = 1 }\nrule \"charset\" { charset = \"a\" }",
                "no charset",
            ),
            ("x", "unable to decode"),
        ] {
            let error = Policy::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let in_json = r#"{"length":5,"rule":[{"charset":{"charset":"abc","min-chars":1}}]}"#;
        assert_eq!(Policy::parse(in_json).unwrap().rules[0].least, 1);
        let in_json = r#"{"length":5,"rule":{"charset":{"charset":"abc","min-chars":2}}}"#;
        assert_eq!(Policy::parse(in_json).unwrap().rules[0].least, 2);
    }
}
