//! Any two texts as policies, and paths that are asked for: what is compiled says what the rules say when they are gone through one by one.
//!
//! An input is the first policy, a line `--`, the second, a line `--`, and a path a line.
#![no_main]

use std::cmp::Reverse;

use bulla_core::json::{Object, Value};
use bulla_server::core::policy::{Acl, Grant, Rule, capability, parse};
use bulla_server::logical::{Operation, Request};

const OPERATIONS: [(Operation, u16); 7] = [
    (Operation::Create, capability::CREATE),
    (Operation::Read, capability::READ),
    (Operation::Update, capability::UPDATE),
    (Operation::Patch, capability::PATCH),
    (Operation::Delete, capability::DELETE),
    (Operation::List, capability::LIST),
    (Operation::Scan, capability::SCAN),
];

libfuzzer_sys::fuzz_target!(|text: &str| {
    let mut parts = text.splitn(3, "\n--\n");
    let mut read = || parse(parts.next().unwrap_or_default());
    let (first, second) = (read(), read());
    for rules in [&first, &second] {
        match rules {
            Ok(rules) => rules.iter().for_each(look),
            Err(error) => assert!(!error.is_empty()),
        }
    }
    let (Ok(first), Ok(second)) = (first, second) else { return };
    let both: Vec<&Rule> = first.iter().chain(&second).collect();
    let (one, other) = (Acl::compile(&first), Acl::compile(&second));
    let (ours, turned) = (Acl::compile(both.iter().copied()), Acl::compile(both.iter().copied().rev()));
    let given = parts.next().unwrap_or_default().lines().map(ToOwned::to_owned);
    // The patterns themselves are the paths that tell most.
    let patterns = both.iter().flat_map(|rule| {
        let plain = rule.pattern.replace('+', "x");
        [plain.clone(), format!("{plain}/"), format!("{plain}x/y"), rule.pattern.clone()]
    });
    for path in given.chain(patterns).filter(|path| is_asked(path)).take(64) {
        judge(&both, &ours, &turned, &path);
        // A token with one policy more is never allowed what was denied by the rule that counts.
        if counting(&both, &path).is_some_and(|capabilities| capabilities & capability::DENY != 0) {
            assert!(path.ends_with('/') || ours.capabilities(&path) == capability::DENY, "{path}");
        }
        for (alone, rules) in [(&one, &first), (&other, &second)].into_iter().filter(|_| !path.ends_with('/')) {
            let rules: Vec<&Rule> = rules.iter().collect();
            assert_eq!(alone.capabilities(&path), shown(counting(&rules, &path)), "{path}");
        }
    }
});

/// What every rule has that was read.
fn look(rule: &Rule) {
    let grant = &rule.grant;
    assert!(!rule.pattern.contains("+*") && !rule.pattern.contains("{{"));
    assert!(
        grant.capabilities & capability::DENY == 0 || grant.capabilities == capability::DENY,
        "a denial stands alone"
    );
    assert!(grant.min_wrapping_ttl.is_none_or(|min| min > 0 && grant.max_wrapping_ttl.is_none_or(|max| max >= min)));
    let names = grant.allowed.keys().chain(grant.denied.keys()).chain(&grant.required);
    assert!(names.into_iter().all(|name| *name == name.to_lowercase()));
}

/// Whether a listener lets such a path through; a folder is asked for with its slash by whoever lists it.
fn is_asked(path: &str) -> bool {
    let inner = path.strip_suffix('/').unwrap_or(path);
    !inner.split('/').any(|segment| matches!(segment, "" | "." | ".."))
}

fn judge(rules: &[&Rule], acl: &Acl, turned: &Acl, path: &str) {
    assert_eq!(
        acl.capability_names(path),
        turned.capability_names(path),
        "the order of policies decides nothing: {path}"
    );
    // A listing of a folder is also by the rule for its name; everything else goes by the path as it is.
    let plain = counting(rules, path);
    let fields = fields_of(rules);
    for (operation, bit) in OPERATIONS {
        for request in [request(Object::new()), request(fields.clone())] {
            let verdict = acl.check(operation, path, &request);
            assert_eq!(verdict, turned.check(operation, path, &request), "{operation:?} {path}");
            if matches!(operation, Operation::List | Operation::Scan) {
                let may = [Some(path), path.strip_suffix('/')].into_iter().flatten().any(|path| has(rules, path, bit));
                assert!(!verdict.allowed || may, "{operation:?} {path} is allowed by nothing");
                let name = path.trim_end_matches('/');
                let exact = rules.iter().any(|rule| !rule.prefix && rule.pattern == name && is_deny(&rule.grant));
                assert!(!verdict.allowed || !exact, "{operation:?} {path} is denied by its name");
                continue;
            }
            let may = plain.is_some_and(|capabilities| capabilities & (capability::DENY | bit) == bit);
            assert!(!verdict.allowed || may, "{operation:?} {path} is allowed and should not be");
            assert!(
                verdict.allowed || !may || has_conditions(rules),
                "{operation:?} {path} is allowed by a rule without conditions"
            );
            assert!(!verdict.sudo || plain.is_some_and(|capabilities| capabilities & capability::SUDO != 0));
        }
    }
    let allows = plain.is_some_and(|capabilities| capabilities & capability::DENY == 0 && capabilities != 0);
    // What is allowed somewhere is shown to whoever looks what there is above it.
    for (at, _) in path.match_indices('/') {
        assert!(!allows || acl.allows_below(&path[..=at]), "nothing seems to be allowed below {}", &path[..=at]);
    }
}

fn has(rules: &[&Rule], path: &str, bit: u16) -> bool {
    counting(rules, path).is_some_and(|capabilities| capabilities & (capability::DENY | bit) == bit)
}

fn is_deny(grant: &Grant) -> bool {
    grant.capabilities & capability::DENY != 0
}

fn has_conditions(rules: &[&Rule]) -> bool {
    let bare = |rule: &&Rule| rule.grant == Grant { capabilities: rule.grant.capabilities, ..Grant::default() };
    !rules.iter().all(bare)
}

/// A field that a rule names, so that conditions are gone through.
fn fields_of(rules: &[&Rule]) -> Object {
    let names = rules
        .iter()
        .flat_map(|rule| rule.grant.allowed.keys().chain(rule.grant.denied.keys()).chain(&rule.grant.required));
    names.take(3).map(|name| (name.clone(), Value::from("x"))).collect()
}

fn request(data: Object) -> Request {
    Request::new(Operation::Read, "", data)
}

fn shown(capabilities: Option<u16>) -> u16 {
    capabilities.unwrap_or(capability::DENY)
}

/// The capabilities of the rules that count for `path`, as the documentation says it: an exact one; else whose first wildcard comes later; then
/// one without a `*`; then with fewer `+`; then the longer; then the later in the alphabet. Rules of one pattern add up, and a denial wins.
fn counting(rules: &[&Rule], path: &str) -> Option<u16> {
    let plus = |rule: &Rule| rule.pattern.split('/').filter(|segment| *segment == "+").count();
    let key = |rule: &Rule| {
        let first = rule.pattern.find('+').filter(|_| plus(rule) > 0).unwrap_or(rule.pattern.len());
        let exact = !rule.prefix && plus(rule) == 0;
        (exact, first, !rule.prefix, Reverse(plus(rule)), rule.pattern.len(), rule.pattern.clone())
    };
    let matching = || rules.iter().copied().filter(|rule| matches(rule, path));
    let best = matching().map(key).max()?;
    let bits = matching().filter(|rule| key(rule) == best).fold(0, |bits, rule| bits | rule.grant.capabilities);
    Some(if bits & capability::DENY != 0 { capability::DENY } else { bits })
}

fn matches(rule: &Rule, path: &str) -> bool {
    if !rule.pattern.split('/').any(|segment| segment == "+") {
        return if rule.prefix { path.starts_with(&rule.pattern) } else { path == rule.pattern };
    }
    let (patterns, segments): (Vec<&str>, Vec<&str>) = (rule.pattern.split('/').collect(), path.split('/').collect());
    let same = |(pattern, segment): (&&str, &&str)| *pattern == "+" || pattern == segment;
    if !rule.prefix {
        return patterns.len() == segments.len() && patterns.iter().zip(&segments).all(same);
    }
    let Some((last, front)) = patterns.split_last() else { return false };
    patterns.len() <= segments.len() && front.iter().zip(&segments).all(same) && segments[front.len()].starts_with(last)
}
