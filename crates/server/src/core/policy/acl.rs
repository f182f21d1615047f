//! The rules of several policies, compiled: what a token may do.
//!
//! Patterns without a wildcard are found by their hash, those with a `*` alone by their length, longest first; those with a `+` are few, and gone
//! through. Of all patterns that match and are not exact one counts: whose first wildcard comes later; then one without a `*`; then with fewer
//! `+`; then the longer; then the later in the alphabet.

use std::collections::HashMap;

use bulla_core::hcl;

use super::rules::{Grant, Rule, capability};
use crate::json;
use crate::logical::{Operation, Request};

/// Compiled rules.
#[derive(Debug, Default)]
pub struct Acl {
    root: bool,
    exact: HashMap<String, Grant>,
    prefixes: HashMap<String, Grant>,
    /// The lengths of `prefixes`, longest first.
    lengths: Vec<usize>,
    segments: Vec<Segmented>,
    /// When the first of its rules ends, in Unix seconds: from then on it is another.
    until: Option<i64>,
}

/// A pattern with `+`.
#[derive(Debug)]
struct Segmented {
    pattern: String,
    prefix: bool,
    grant: Grant,
}

/// A pattern and what it allows.
pub type Pattern<'a> = (&'a str, &'a Grant);

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it may be done.
    pub allowed: bool,
    /// Whether paths that need `sudo` may be used too.
    pub sudo: bool,
    /// How many names the listing is to have instead of what was asked for; 0: all.
    pub page: Option<i64>,
}

const DENIED: Verdict = Verdict { allowed: false, sudo: false, page: None };

impl Acl {
    /// May do everything.
    pub fn root() -> Self {
        Self { root: true, ..Self::default() }
    }

    /// Of those of these rules that have not ended.
    pub fn compile<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> Self {
        let mut acl = Self::default();
        let now = jiff::Timestamp::now().as_second();
        for rule in rules {
            if let Some(expires) = rule.grant.expires {
                if expires <= now {
                    continue;
                }
                acl.until = Some(acl.until.map_or(expires, |until| until.min(expires)));
            }
            if is_segmented(&rule.pattern) {
                let same = |one: &&mut Segmented| one.pattern == rule.pattern && one.prefix == rule.prefix;
                match acl.segments.iter_mut().find(same) {
                    Some(one) => merge(&mut one.grant, &rule.grant),
                    None => acl.segments.push(Segmented {
                        pattern: rule.pattern.clone(),
                        prefix: rule.prefix,
                        grant: rule.grant.clone(),
                    }),
                }
                continue;
            }
            let table = if rule.prefix { &mut acl.prefixes } else { &mut acl.exact };
            table
                .entry(rule.pattern.clone())
                .and_modify(|grant| merge(grant, &rule.grant))
                .or_insert_with(|| rule.grant.clone());
        }
        acl.lengths = acl.prefixes.keys().map(String::len).collect();
        acl.lengths.sort_unstable_by(|a, b| b.cmp(a));
        acl.lengths.dedup();
        acl
    }

    /// Whether all its rules go on.
    pub fn is_current(&self) -> bool {
        self.until.is_none_or(|until| jiff::Timestamp::now().as_second() < until)
    }

    /// Whether it may do everything.
    pub const fn is_root(&self) -> bool {
        self.root
    }

    /// Whether `operation` may be done on `path`, for a request with these fields and this wrapping.
    pub fn check(&self, operation: Operation, path: &str, request: &Request) -> Verdict {
        if self.root {
            return Verdict { allowed: true, sudo: true, page: None };
        }
        if operation == Operation::Help {
            return Verdict { allowed: true, sudo: false, page: None };
        }
        let needed = match operation {
            Operation::Create => capability::CREATE,
            Operation::Read => capability::READ,
            Operation::Update => capability::UPDATE,
            Operation::Patch => capability::PATCH,
            Operation::Delete => capability::DELETE,
            Operation::List => capability::LIST,
            Operation::Scan => capability::SCAN,
            Operation::Help => 0,
        };
        let lists = matches!(operation, Operation::List | Operation::Scan);
        // A folder that is denied without its slash is not listed with it either.
        if lists && self.exact.get(path.trim_end_matches('/')).is_some_and(is_deny) {
            return DENIED;
        }
        let Some(grant) = self.grant(path, lists) else { return DENIED };
        if is_deny(grant) || grant.capabilities & needed == 0 || !fits(grant, operation, request) {
            return DENIED;
        }
        let page = if lists { page(grant, request) } else { Ok(None) };
        let Ok(page) = page else { return DENIED };
        Verdict { allowed: true, sudo: grant.capabilities & capability::SUDO != 0, page }
    }

    /// The same for a request whose engine takes its path for another: `meant`. Names are read in lower case, slashes at the end left out.
    ///
    /// What is done is done to what is meant. So the rule for another case of a name is that for the name itself. Slashes are what clients write, and a
    /// rule may have them too. Whichever of both it is that has to allow it: a rule for the other is heeded, if there is one.
    pub fn check_meant(&self, operation: Operation, meant: &str, request: &Request) -> Verdict {
        let written = request.path.as_str();
        if written == meant {
            return self.check(operation, written, request);
        }
        let is_spelt_alike = written.trim_end_matches('/') == meant.trim_end_matches('/');
        let (first, second) = if is_spelt_alike { (written, meant) } else { (meant, written) };
        let verdict = self.check(operation, first, request);
        let lists = matches!(operation, Operation::List | Operation::Scan);
        if self.root || self.grant(second, lists).is_none() {
            return verdict;
        }
        let other = self.check(operation, second, request);
        Verdict {
            allowed: verdict.allowed && other.allowed,
            sudo: verdict.sudo && other.sudo,
            page: lesser(verdict.page, other.page),
        }
    }

    /// The bits for `path`; those of `DENY` alone if there is nothing.
    pub fn capabilities(&self, path: &str) -> u16 {
        let grant = self.grant(path, path.ends_with('/'));
        grant.map_or(capability::DENY, |grant| grant.capabilities)
    }

    /// The names for `path`, as the peer lists them.
    pub fn capability_names(&self, path: &str) -> Vec<&'static str> {
        if self.root {
            return vec!["root"];
        }
        let bits = self.capabilities(path);
        if bits & capability::DENY != 0 || bits == 0 {
            return vec!["deny"];
        }
        capability::NAMES.iter().filter(|(_, bit)| bits & bit != 0).map(|(name, _)| *name).collect()
    }

    /// Whether anything at all is allowed at or below `path`.
    pub fn allows_below(&self, path: &str) -> bool {
        let allows = |grant: &Grant| !is_deny(grant) && grant.capabilities != 0;
        self.root
            || self.exact.iter().any(|(one, grant)| one.starts_with(path) && allows(grant))
            || self
                .prefixes
                .iter()
                .any(|(one, grant)| (one.starts_with(path) || path.starts_with(one)) && allows(grant))
            || self.segments.iter().any(|one| one.may_be_below(path) && allows(&one.grant))
    }

    /// Every pattern as it is written, exact ones first, for whoever shows what a token may do.
    pub fn patterns(&self) -> (Vec<Pattern<'_>>, Vec<Pattern<'_>>) {
        let exact = self.exact.iter().map(|(pattern, grant)| (pattern.as_str(), grant)).collect();
        let segments = self.segments.iter().map(|one| (one.pattern.as_str(), &one.grant));
        let globs = self.prefixes.iter().map(|(pattern, grant)| (pattern.as_str(), grant)).chain(segments).collect();
        (exact, globs)
    }

    fn grant(&self, path: &str, lists: bool) -> Option<&Grant> {
        if let Some(grant) = self.exact.get(path) {
            return Some(grant);
        }
        if lists && let Some(grant) = self.exact.get(path.trim_end_matches('/')) {
            return Some(grant);
        }
        let prefix = self.lengths.iter().find_map(|length| {
            let (pattern, grant) = self.prefixes.get_key_value(path.get(..*length)?)?;
            Some((Rank { first: pattern.len(), whole: false, fewer: 0, length: pattern.len(), pattern }, grant))
        });
        // A folder that a `+` denies without the slash is not listed with it either. (The peer lists it.)
        let folder = lists.then(|| path.trim_end_matches('/'));
        let matches = |one: &&Segmented| {
            one.matches(path) || is_deny(&one.grant) && folder.is_some_and(|folder| one.matches(folder))
        };
        let segmented = self.segments.iter().filter(matches).map(|one| (one.rank(), &one.grant));
        prefix.into_iter().chain(segmented).max_by_key(|(rank, _)| *rank).map(|(_, grant)| grant)
    }
}

/// What decides between patterns; the greatest counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank<'a> {
    /// Where the first wildcard is.
    first: usize,
    /// Whether there is no `*`.
    whole: bool,
    /// Minus the number of `+`.
    fewer: isize,
    /// How long it is.
    length: usize,
    /// And itself.
    pattern: &'a str,
}

impl Segmented {
    fn rank(&self) -> Rank<'_> {
        let plus = self.pattern.split('/').filter(|segment| *segment == "+").count();
        Rank {
            first: self.pattern.find('+').unwrap_or(self.pattern.len()),
            whole: !self.prefix,
            fewer: -isize::try_from(plus).unwrap_or(isize::MAX),
            length: self.pattern.len(),
            pattern: &self.pattern,
        }
    }

    /// Whether something at or below `path` may match.
    fn may_be_below(&self, path: &str) -> bool {
        let mut patterns = self.pattern.split('/').peekable();
        path.split('/').all(|segment| match patterns.next() {
            // What stands before the `*` begins the segment; the rest is anything.
            Some(pattern) if self.prefix && patterns.peek().is_none() => {
                segment.is_empty() || segment.starts_with(pattern)
            }
            Some(pattern) => pattern == "+" || segment.is_empty() || pattern == segment,
            None => true,
        })
    }

    fn matches(&self, path: &str) -> bool {
        let mut segments = path.split('/');
        let mut patterns = self.pattern.split('/').peekable();
        while let Some(pattern) = patterns.next() {
            let Some(segment) = segments.next() else { return false };
            if self.prefix && patterns.peek().is_none() {
                // What stands before the `*` begins the segment; the rest is anything.
                return segment.starts_with(pattern);
            }
            if pattern != "+" && pattern != segment {
                return false;
            }
        }
        segments.next().is_none()
    }
}

fn is_segmented(pattern: &str) -> bool {
    pattern.split('/').any(|segment| segment == "+")
}

fn is_deny(grant: &Grant) -> bool {
    grant.capabilities & capability::DENY != 0
}

/// Two rules with one pattern: capabilities add up, and a denial wins.
fn merge(grant: &mut Grant, other: &Grant) {
    if is_deny(grant) {
        return;
    }
    if is_deny(other) {
        *grant = Grant { capabilities: capability::DENY, ..Grant::default() };
        return;
    }
    grant.capabilities |= other.capabilities;
    grant.min_wrapping_ttl = lesser(grant.min_wrapping_ttl, other.min_wrapping_ttl);
    grant.max_wrapping_ttl = lesser(grant.max_wrapping_ttl, other.max_wrapping_ttl);
    grant.page = lesser(grant.page, other.page);
    for (mine, theirs) in [(&mut grant.allowed, &other.allowed), (&mut grant.denied, &other.denied)] {
        for (name, values) in theirs {
            match mine.get_mut(name) {
                // No values are all of them.
                Some(known) if known.is_empty() || values.is_empty() => known.clear(),
                Some(known) => known.extend(values.iter().cloned()),
                None => drop(mine.insert(name.clone(), values.clone())),
            }
        }
    }
    for name in &other.required {
        if !grant.required.contains(name) {
            grant.required.push(name.clone());
        }
    }
}

/// Whether the request's wrapping and fields are what the grant wants.
fn fits(grant: &Grant, operation: Operation, request: &Request) -> bool {
    let wrapped = request.wrap_ttl.map(|ttl| i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX));
    if grant.max_wrapping_ttl.is_some_and(|max| wrapped.is_none_or(|ttl| ttl > max))
        || grant.min_wrapping_ttl.is_some_and(|min| wrapped.is_none_or(|ttl| ttl < min))
    {
        return false;
    }
    if !matches!(operation, Operation::Read | Operation::Create | Operation::Update | Operation::Patch) {
        return true;
    }
    let lower = || request.data.iter().map(|(name, value)| (name.to_lowercase(), value));
    if !grant.required.iter().all(|name| request.data.contains_key(name)) {
        return false;
    }
    if request.data.is_empty() {
        return true;
    }
    if grant.denied.contains_key("*") {
        return false;
    }
    if lower().any(|(name, value)| grant.denied.get(&name).is_some_and(|values| is_among(value, values))) {
        return false;
    }
    if grant.allowed.is_empty() {
        return true;
    }
    let all = grant.allowed.contains_key("*");
    lower().all(|(name, value)| grant.allowed.get(&name).map_or(all, |values| is_among(value, values)))
}

/// How many names a listing is to have, if that is another number than was asked for. `max`: as many as may be.
///
/// # Errors
/// It may not have as many.
fn page(grant: &Grant, request: &Request) -> Result<Option<i64>, ()> {
    let asked = request.data.get("limit");
    let is_max = asked.is_some_and(|asked| asked.as_str() == Some("max"));
    match (grant.page, asked) {
        (None, _) => Ok(is_max.then_some(0)),
        (Some(most), Some(_)) if is_max => Ok(Some(most)),
        // Who must say how many there are to be is told, not given fewer than there are.
        (Some(_), None) if grant.required.iter().any(|name| name == "limit") => Err(()),
        (Some(most), None) => Ok(Some(most)),
        (Some(most), Some(asked)) => {
            let number = match asked {
                json::Value::String(text) => text.trim().parse::<i64>().map_err(drop)?,
                json::Value::Number(digits) => digits.parse::<i64>().map_err(drop)?,
                _ => return Err(()),
            };
            match number {
                // All of them, which are more.
                ..1 => Ok(Some(most)),
                number if number > most => Err(()),
                _ => Ok(None),
            }
        }
    }
}

/// Whether `value` is one of `values`, which may begin or end with `*`; none is any.
fn is_among(value: &json::Value, values: &[hcl::Value]) -> bool {
    values.is_empty() || values.iter().any(|one| is_like(value, one))
}

fn is_like(value: &json::Value, pattern: &hcl::Value) -> bool {
    match (value, pattern) {
        (json::Value::String(text), hcl::Value::String(pattern)) => {
            match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
                (Some(""), _) => true,
                (Some(inner), Some(_)) => text.contains(inner.strip_suffix('*').unwrap_or(inner)),
                (Some(end), None) => text.ends_with(end),
                (None, Some(start)) => text.starts_with(start),
                (None, None) => text == pattern,
            }
        }
        (json::Value::Number(digits), hcl::Value::Number(wanted)) => **digits == **wanted,
        (json::Value::Bool(value), hcl::Value::Bool(wanted)) => value == wanted,
        (json::Value::Array(many), hcl::Value::List(wanted)) => {
            many.len() == wanted.len() && many.iter().zip(wanted).all(|(value, wanted)| is_like(value, wanted))
        }
        _ => false,
    }
}
/// The lesser of two limits, of which one may be none.
fn lesser(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
