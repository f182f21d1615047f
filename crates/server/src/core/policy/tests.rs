//! Which rule counts, compared with going through all of them.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::barrier::Barrier;
use crate::json;
use crate::logical::{Operation, Request};
use crate::storage::{Batch, Storage, StorageError};

fn request(data: json::Object) -> Request {
    Request::new(Operation::Read, "", data)
}

fn acl(texts: &[&str]) -> Acl {
    let rules: Vec<Rule> = texts.iter().flat_map(|text| parse(text).unwrap()).collect();
    Acl::compile(&rules)
}

fn may(acl: &Acl, operation: Operation, path: &str) -> bool {
    acl.check(operation, path, &request(json::Object::new())).allowed
}

#[tokio::test]
async fn a_rule_counts_until_its_end_also_if_it_was_compiled_before() {
    let now = jiff::Timestamp::now();
    let later = now + jiff::SignedDuration::from_hours(1);
    let rules = format!(
        "path \"a\" {{ capabilities = [\"read\"] expiration = \"{later}\" }}
         path \"b\" {{ capabilities = [\"read\"] expiration = \"2020-01-01T00:00:00Z\" }}
         path \"c\" {{ capabilities = [\"deny\"] expiration = \"{}\" }}
         path \"c\" {{ capabilities = [\"read\"] }}",
        now.as_second() - 1
    );
    let compiled = acl(&[&rules]);
    assert!(may(&compiled, Operation::Read, "a") && compiled.is_current());
    assert!(!may(&compiled, Operation::Read, "b") && may(&compiled, Operation::Read, "c"));

    let barrier =
        Barrier::initialize(Arc::new(crate::storage::Memory::default()), bulla_core::DataKey::generate().unwrap());
    let policies = Policies::new(&Arc::new(barrier.await.unwrap()));
    let end = jiff::Timestamp::now().as_second() + 2;
    let ending = format!("path \"a\" {{ capabilities = [\"read\"] expiration = \"{end}\" }}");
    policies.write("ending", &ending).await.unwrap();
    let names = ["ending".to_owned()];
    let begun = std::time::Instant::now();
    let mut seen = 0;
    while may(&policies.acl(&names).await.unwrap(), Operation::Read, "a") {
        assert!(begun.elapsed() < Duration::from_secs(10), "it goes on");
        seen += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(jiff::Timestamp::now().as_second() >= end && seen > 0);
}

#[test]
fn a_listing_has_as_many_names_as_a_rule_allows() {
    let rules = r#"path "a" { capabilities = ["list", "read"] pagination_limit = 10 }
        path "must" { capabilities = ["list", "scan"] pagination_limit = "10" required_parameters = ["limit"] }
        path "free" { capabilities = ["list"] pagination_limit = 0 }"#;
    let lesser = "path \"a\" { capabilities = [\"list\"] pagination_limit = 5 }";
    let of = |acl: &Acl, path: &str, limit: Option<json::Value>| {
        let data = limit.map(|limit| json::Object::from([("limit".to_owned(), limit)])).unwrap_or_default();
        let verdict = acl.check(Operation::List, path, &request(data));
        verdict.allowed.then_some(verdict.page)
    };
    let (one, both) = (acl(&[rules]), acl(&[rules, lesser]));
    let text = |text: &str| Some(json::Value::from(text));
    for (path, limit, expected) in [
        ("a", None, Some(Some(10))),
        ("a", text("max"), Some(Some(10))),
        ("a", text("10"), Some(None)),
        ("a", text("11"), None),
        ("a", Some(11_u64.into()), None),
        ("a", Some(3_u64.into()), Some(None)),
        // Those are all, which are more.
        ("a", text("0"), Some(Some(10))),
        ("a", text("-1"), Some(Some(10))),
        ("a", text("x"), None),
        ("must", None, None),
        ("must", text("max"), Some(Some(10))),
        ("free", None, Some(None)),
        ("free", text("max"), Some(Some(0))),
        ("free", text("1000"), Some(None)),
    ] {
        assert_eq!(of(&one, path, limit.clone()), expected, "{path} {limit:?}");
    }
    assert_eq!(of(&both, "a", None), Some(Some(5)));
    // It is about listings alone.
    assert!(may(&one, Operation::Read, "a"));
}

#[test]
fn of_patterns_that_match_the_most_particular_counts() {
    let acl = acl(&[r#"
        path "secret/*" { capabilities = ["read"] }
        path "secret/team/*" { capabilities = ["update"] }
        path "secret/team/exact" { capabilities = ["delete"] }
        path "secret/+/plus" { capabilities = ["list"] }
        path "a/+/+/d" { capabilities = ["read"] }
        path "a/+/c/*" { capabilities = ["update"] }
        path "x/+" { capabilities = ["read"] }
        path "x/*" { capabilities = ["update"] }
        path "pre/+/fix*" { capabilities = ["read"] }
    "#]);
    let cases = [
        ("secret/x", vec!["read"]),
        ("secret/team/y", vec!["update"]),
        ("secret/team/exact", vec!["delete"]),
        // The prefix has its wildcard later.
        ("secret/team/plus", vec!["update"]),
        ("secret/other/plus", vec!["list"]),
        ("a/b/c/d", vec!["read"]),
        ("a/b/c/e", vec!["update"]),
        ("x/y", vec!["read"]),
        ("x/y/z", vec!["update"]),
        ("pre/any/fixture/deep", vec!["read"]),
        ("pre/any/more/fixture", vec!["deny"]),
        ("pre/any/fixture", vec!["read"]),
        ("nothing", vec!["deny"]),
        ("secret", vec!["deny"]),
    ];
    for (path, expected) in cases {
        assert_eq!(acl.capability_names(path), expected, "{path}");
    }
}

#[test]
fn capabilities_of_one_pattern_add_up_and_a_denial_wins() {
    let both = acl(&[r#"path "a" { capabilities = ["read"] }"#, r#"path "/a" { capabilities = ["list", "sudo"] }"#]);
    assert_eq!(both.capability_names("a"), ["list", "read", "sudo"]);
    let denied = acl(&[r#"path "a" { capabilities = ["read"] }"#, r#"path "a" { policy = "deny" }"#]);
    assert_eq!(denied.capability_names("a"), ["deny"]);
    let legacy = acl(&[r#"path "a" { policy = "write" }"#]);
    assert_eq!(legacy.capability_names("a"), ["create", "delete", "list", "read", "update"]);
}

#[test]
fn a_denied_folder_is_not_listed_with_its_slash() {
    let acl = acl(&[r#"path "s/*" { capabilities = ["list", "read"] } path "s/x" { capabilities = ["deny"] }"#]);
    assert!(may(&acl, Operation::List, "s/y/"));
    assert!(!may(&acl, Operation::List, "s/x/"));
    assert!(!may(&acl, Operation::List, "s/x"));
    let exact = self::acl(&[r#"path "m/x" { capabilities = ["list"] }"#]);
    assert!(may(&exact, Operation::List, "m/x/"));
    assert!(!may(&exact, Operation::Read, "m/x/"));
}

#[test]
fn fields_are_required_allowed_and_denied() {
    let acl = acl(&[r#"path "a" {
        capabilities = ["update"]
        required_parameters = ["Name"]
        allowed_parameters = { "name" = ["x*", "*y"], "any" = [] }
        denied_parameters = { "bad" = [], "any" = ["no"] }
    }"#]);
    let may = |data| acl.check(Operation::Update, "a", &request(data)).allowed;
    assert!(may(object! { "name": "x1" }));
    assert!(may(object! { "name": "oy", "ANY": 5 }));
    // What is required is there under the name that the engine reads; what is allowed and denied goes by any case.
    assert!(!may(object! { "NAME": "oy" }));
    assert!(!may(object! { "name": "x", "BAD": 1 }));
    assert!(!may(object! { "name": "z" }));
    assert!(!may(object! { "any": "yes" }));
    assert!(!may(object! { "name": "x", "any": "no" }));
    assert!(!may(object! { "name": "x", "bad": 1 }));
    assert!(!may(object! { "name": "x", "other": 1 }));
    assert!(!may(object! {}));
}

#[test]
fn answers_are_wrapped_as_long_as_the_policy_wants() {
    let acl = acl(&[r#"path "a" { capabilities = ["read"] min_wrapping_ttl = "10s" max_wrapping_ttl = 60 }"#]);
    for (seconds, expected) in [(None, false), (Some(5), false), (Some(10), true), (Some(60), true), (Some(61), false)]
    {
        let mut request = request(json::Object::new());
        request.wrap_ttl = seconds.map(Duration::from_secs);
        assert_eq!(acl.check(Operation::Read, "a", &request).allowed, expected, "{seconds:?}");
    }
}

#[test]
fn what_is_no_policy_is_refused_with_its_reason() {
    let cases = [
        ("path \"x\" {", "object expected"),
        ("path \"x\" { capabilities = [\"foo\"] }", "invalid capability \"foo\""),
        ("pth \"x\" { capabilities = [\"read\"] }", "invalid key \"pth\""),
        ("path \"x\" { cap = [\"read\"] }", "invalid key \"cap\" on line 1"),
        ("path \"a/+*\" { capabilities = [\"read\"] }", "'+*' is forbidden"),
        ("path \"a/{{identity.entity.id}}\" { capabilities = [\"read\"] }", "identity engine"),
        ("path \"a\" { capabilities = [\"read\"] expiration = \"2020-01-01\" }", "invalid expiration time"),
        ("path \"a\" { capabilities = [\"list\"] pagination_limit = \"x\" }", "pagination_limit is a number"),
        ("path \"a\" { capabilities = [\"list\"] list_scan_response_keys_filter_path = \"x\" }", "not supported"),
        ("path \"a\" { capabilities = [\"deny\"] capabilities = [\"read\"] }", "twice"),
        ("path { capabilities = [\"read\"] }", "path \"…\""),
        ("path \"a\" { capabilities = \"read\" }", "list"),
        ("path \"a\" { capabilities = [\"read\"] min_wrapping_ttl = 5 max_wrapping_ttl = 2 }", "cannot be less"),
    ];
    for (text, expected) in cases {
        let error = parse(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert!(parse(r#"{"path":{"secret/*":{"capabilities":["read"]},"b":{"policy":"read"}}}"#).unwrap().len() == 2);
    assert!(parse(default::TEXT).is_ok() && parse(default::WRAPPING_TEXT).is_ok());
}

#[tokio::test]
async fn compiled_rules_go_exactly_when_a_policy_of_theirs_changes() {
    let storage = Arc::new(crate::storage::Memory::default());
    let barrier = Barrier::initialize(storage, bulla_core::DataKey::generate().unwrap()).await.unwrap();
    let policies = Policies::new(&Arc::new(barrier));
    policies.write("a", r#"path "x" { capabilities = ["read"] }"#).await.unwrap();
    policies.write("b", r#"path "y" { capabilities = ["read"] }"#).await.unwrap();
    let (only_a, only_b) = (vec!["a".to_owned()], vec!["b".to_owned()]);
    let (first, other) = (policies.acl(&only_a).await.unwrap(), policies.acl(&only_b).await.unwrap());
    assert!(Arc::ptr_eq(&first, &policies.acl(&only_a).await.unwrap()));
    policies.write("a", r#"path "x" { capabilities = ["update"] }"#).await.unwrap();
    assert_eq!(policies.acl(&only_a).await.unwrap().capability_names("x"), ["update"]);
    assert!(Arc::ptr_eq(&other, &policies.acl(&only_b).await.unwrap()));
    policies.delete("a").await.unwrap();
    assert_eq!(policies.acl(&only_a).await.unwrap().capability_names("x"), ["deny"]);
    assert!(policies.write("root", "").await.is_err() && policies.delete("default").await.is_err());
}

/// Writes, and when it is told to, does not say so.
struct Mute(crate::storage::Memory, std::sync::atomic::AtomicBool);

#[async_trait::async_trait]
impl Storage for Mute {
    fn kind(&self) -> &'static str {
        "mute"
    }

    async fn get(&self, key: &str) -> std::result::Result<Option<Vec<u8>>, StorageError> {
        self.0.get(key).await
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> std::result::Result<Vec<String>, StorageError> {
        self.0.list(prefix, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> std::result::Result<(), StorageError> {
        self.0.commit(batch).await?;
        let is_mute = self.1.load(std::sync::atomic::Ordering::Relaxed);
        if is_mute { Err(StorageError::Unknown("the answer is lost".to_owned())) } else { Ok(()) }
    }
}

#[tokio::test]
async fn compiled_rules_go_also_when_nobody_knows_whether_the_policy_was_written() {
    let storage = Arc::new(Mute(crate::storage::Memory::default(), false.into()));
    let barrier =
        Barrier::initialize(Arc::clone(&storage) as Arc<dyn Storage>, bulla_core::DataKey::generate().unwrap());
    let policies = Policies::new(&Arc::new(barrier.await.unwrap()));
    let names = vec!["a".to_owned()];
    policies.write("a", r#"path "x" { capabilities = ["read"] }"#).await.unwrap();
    assert_eq!(policies.acl(&names).await.unwrap().capability_names("x"), ["read"]);
    storage.1.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(policies.write("a", r#"path "x" { capabilities = ["update"] }"#).await.is_err());
    assert_eq!(policies.acl(&names).await.unwrap().capability_names("x"), ["update"]);
    assert!(policies.delete("a").await.is_err());
    assert_eq!(policies.acl(&names).await.unwrap().capability_names("x"), ["deny"]);
}

#[test]
fn what_is_allowed_behind_a_part_of_a_name_is_seen_from_above() {
    let acl = acl(&[r#"path "+/ab*" { capabilities = ["read"] }"#]);
    for (folder, below) in [("x/", true), ("x/abc/", true), ("x/ab/", true), ("x/a/", false), ("x/b/", false)] {
        assert_eq!(acl.allows_below(folder), below, "{folder}");
    }
    assert!(may(&acl, Operation::Read, "x/abc/d"));
}

/// The rules gone through one by one, to compare with.
fn slow(rules: &[Rule], path: &str) -> u16 {
    let matches = |rule: &&Rule| {
        let patterns: Vec<&str> = rule.pattern.split('/').collect();
        let segments: Vec<&str> = path.split('/').collect();
        if !rule.prefix {
            return patterns.len() == segments.len()
                && patterns.iter().zip(&segments).all(|(pattern, segment)| *pattern == "+" || pattern == segment);
        }
        if !patterns.contains(&"+") {
            return path.starts_with(&rule.pattern);
        }
        let (last, front) = patterns.split_last().unwrap();
        patterns.len() <= segments.len()
            && front.iter().zip(&segments).all(|(pattern, segment)| *pattern == "+" || pattern == segment)
            && segments[patterns.len() - 1].starts_with(last)
    };
    let plus = |rule: &Rule| rule.pattern.split('/').filter(|segment| *segment == "+").count();
    let key = |rule: &Rule| {
        let whole = !rule.prefix && plus(rule) == 0;
        let first = rule.pattern.split('/').scan(0, |at, segment| {
            let here = *at;
            *at += segment.len() + 1;
            Some((here, segment))
        });
        let first = first.filter(|(_, segment)| *segment == "+").map(|(at, _)| at).next().unwrap_or(rule.pattern.len());
        (whole, first, !rule.prefix, usize::MAX - plus(rule), rule.pattern.len(), rule.pattern.clone())
    };
    let best = rules.iter().filter(matches).map(key).max();
    let same = rules.iter().filter(matches).filter(|rule| Some(key(rule)) == best);
    let bits = same.fold(0, |bits, rule| bits | rule.grant.capabilities);
    if bits & capability::DENY != 0 || best.is_none() { capability::DENY } else { bits }
}

#[test]
fn a_folder_that_a_plus_denies_is_not_listed() {
    let may = |text: &str, path: &str| may(&acl(&[text]), Operation::List, path);
    let all = r#"path "s/m/*" { capabilities = ["list"] }"#;
    assert!(may(all, "s/m/foo/"));
    assert!(!may(&format!(r#"{all} path "s/m/+" {{ capabilities = ["deny"] }}"#), "s/m/foo/"));
    // What is said more exactly counts, as for reading.
    assert!(may(
        r#"path "s/m/foo/*" { capabilities = ["list"] } path "s/m/+" { capabilities = ["deny"] }"#,
        "s/m/foo/"
    ));
    // Without its slash a `+` allows no listing.
    assert!(!may(r#"path "s/m/+" { capabilities = ["list"] }"#, "s/m/foo/"));
}

/// A pattern and capabilities, as a policy has them.
fn pattern() -> impl Strategy<Value = (String, &'static str)> {
    let names = prop::sample::select(&[
        r#""deny""#,
        r#""read""#,
        r#""list", "scan""#,
        r#""create", "update", "patch""#,
        r#""read", "deny""#,
        r#""read", "list", "update", "delete", "sudo""#,
    ]);
    ("[ab]{1,2}(/([ab]{1,2}|[+])){0,3}(/?[*])?", names)
        .prop_filter("not a pattern", |(pattern, _)| !pattern.contains("+*"))
}

proptest! {
    #[test]
    fn compiled_rules_say_what_going_through_them_says(
        patterns in prop::collection::vec(("[ab+]{1,2}(/[ab+]{1,2}){0,3}", any::<bool>(), 0_u16..256), 1..8),
        path in "[ab]{1,2}(/[ab]{1,2}){0,4}",
    ) {
        let rules: Vec<Rule> = patterns
            .into_iter()
            .filter(|(pattern, prefix, _)| !(pattern.ends_with('+') && *prefix))
            .map(|(pattern, prefix, bits)| {
                let capabilities = if bits & 1 != 0 { 1 } else { bits };
                Rule { pattern, prefix, grant: Grant { capabilities, ..Grant::default() } }
            })
            .collect();
        prop_assert_eq!(Acl::compile(&rules).capabilities(&path), slow(&rules, &path), "{:?}", rules);
    }

    #[test]
    fn policies_add_up_in_any_order_and_what_is_denied_stays_denied(
        first in prop::collection::vec(pattern(), 0..5),
        second in prop::collection::vec(pattern(), 0..5),
        path in "[ab]{1,2}(/[ab]{1,2}){0,4}/?",
    ) {
        let text = |rules: &[(String, &str)]| -> String {
            rules.iter().map(|(pattern, names)| format!("path \"{pattern}\" {{ capabilities = [{names}] }}\n")).collect()
        };
        let (first, second) = (text(&first), text(&second));
        let (one, other) = (acl(&[&first, &second]), acl(&[&second, &first]));
        let rules: Vec<Rule> = [first, second].iter().flat_map(|text| parse(text).unwrap()).collect();
        let denied = slow(&rules, &path) & capability::DENY != 0;
        for operation in [Operation::Create, Operation::Read, Operation::Update, Operation::Patch, Operation::Delete] {
            prop_assert_eq!(may(&one, operation, &path), may(&other, operation, &path));
            prop_assert!(!denied || !may(&one, operation, &path), "{:?}", rules);
        }
        for operation in [Operation::List, Operation::Scan] {
            let folder = format!("{}/", path.trim_end_matches('/'));
            prop_assert_eq!(may(&one, operation, &folder), may(&other, operation, &folder));
            // By the folder's own rule, or by that for its name; a denial of either by that very name is one.
            let exact = rules.iter().any(|rule| !rule.prefix && format!("{}/", rule.pattern) == folder && rule.grant.capabilities == 1);
            prop_assert!(!exact || !may(&one, operation, &folder), "{:?}", rules);
        }
        // What is allowed is seen from every folder above it.
        let allowed = may(&one, Operation::Read, &path);
        for (at, _) in path.match_indices('/') {
            prop_assert!(!allowed || one.allows_below(&path[..=at]), "{:?} {}", rules, &path[..=at]);
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = parse(&text);
        let _ = parse(&format!("path \"{text}\" {{ capabilities = [\"read\"] }}"));
    }
}
