//! Thousands of made-up requests to the real OpenBao and to ours, in the same state, the answers compared part by part.
//!
//! What is asked comes from the paths and fields that the real one declares. A seed gives the same requests again: `BULLA_TEST_SEED`, and
//! `BULLA_TEST_REQUESTS` for more of them. `generated/differences.txt` has where ours differs and why; what is there and does not occur fails, too.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulla_server::logical::TokenText;
use bulla_server::storage::Embedded;
use bulla_test_support::bao::Bao;
use bulla_test_support::random::number;
use serde_json::Value;

use crate::differential;
use crate::ours::{Ours, ROOT, audit_file};

mod case;
pub mod compare;
mod dice;
pub mod listed;
mod log;
mod parts;
mod routes;
mod saved;
mod values;
pub mod wire;

use self::case::Case;
use self::dice::Dice;
use self::listed::{Listed, Requests};
use self::log::Log;
use self::routes::Route;
use self::saved::Saved;
use self::wire::Answer;

const WORLD: &str = include_str!("generated/world.txt");
/// In values that are sent.
const MARK: &str = "hunter2hunter2hunter2";
/// Some requests choose tokens themselves: those are as short as words.
const SHORTEST: usize = 16;
const SEED: u64 = 20_261_126;
const REQUESTS: u64 = 3000;
/// How many requests a world sees, unless the two come apart before.
const EACH: u64 = 120;

/// Never asked: what ends or stops a server, streams, is of the machine it runs on, is not the same a moment later, or takes seconds.
const NEVER: &[&str] = &[
    "sys/seal",
    "sys/step-down",
    "sys/monitor",
    "sys/pprof",
    // Both refuse to have devices made; what they have else is seen by all worlds.
    "sys/config/auditing",
    "sys/metrics",
    "sys/internal/specs/openapi",
    "sys/remount",
    "sys/in-flight-req",
    "sys/host-info",
    "-transit/wrapping_key",
    "sys/rotate",
    "sys/rekey",
    "sys/generate-root",
    "sys/raw",
    "secret/",
    "sys/loggers",
    "sys/quotas/config",
];
/// How often what is asked: the more there is behind it, and the more clients ask it.
const WEIGHTS: &[(&str, usize)] = &[
    ("-kv2", 24),
    ("-kv1", 5),
    ("cubbyhole", 4),
    ("-transit", 18),
    ("auth/token", 14),
    ("auth/-approle", 9),
    ("auth/-userpass", 3),
    ("auth/-jwt", 4),
    ("auth/-kubernetes", 3),
    ("sys/polic", 7),
    ("sys/wrapping", 8),
    ("sys/lease", 5),
    ("sys/mounts/{path}/tune", 3),
    ("sys/auth/{path}/tune", 3),
    ("sys/mounts", 4),
    ("sys/auth", 3),
    ("sys/quotas", 5),
    ("sys/audit", 2),
    ("sys/capabilities", 3),
    ("sys/internal", 3),
    ("sys/", 5),
];

/// Served by ours under a wider declaration, or by its edge.
const ALSO_SERVED: &[&str] = &[
    "sys/mounts/{}/tune",
    "sys/auth/{}/tune",
    "sys/policies/password/{}/generate",
    "sys/health",
    "sys/init",
    "sys/leader",
    "sys/seal-status",
    "sys/unseal",
];

/// What a world leaves behind.
const ENDS: &[&str] = &[
    "mounts/{}-kv1",
    "mounts/{}-kv2",
    "mounts/{}-transit",
    "mounts/{}-new",
    "mounts/{}-new/sub",
    "mounts/{}-other",
    "mounts/{}-NEW",
    "auth/{}-approle",
    "auth/{}-userpass",
    "auth/{}-jwt",
    "auth/{}-kubernetes",
    "auth/{}-new",
    "auth/{}-new/sub",
    "auth/{}-other",
    "auth/{}-NEW",
    "policies/acl/{}-p",
    "policies/acl/{}-q",
    "policies/acl/{}-none",
    "policies/password/{}-p",
    "policies/password/{}-q",
    "policies/password/{}-none",
    "quotas/rate-limit/{}-q",
    "quotas/rate-limit/{}-q2",
    "quotas/rate-limit/{}-Q",
    "quotas/rate-limit/{}-none",
];

struct Both {
    theirs: SocketAddr,
    ours: SocketAddr,
}

impl Both {
    fn ask(&self, case: &Case, saved: &Saved) -> (Answer, Answer) {
        let one = |address, which| {
            let mut head = format!("{} {} HTTP/1.1\r\n", case.method, saved.fill(&case.target, which));
            for (name, value) in &case.headers {
                head.push_str(&format!("{name}: {}\r\n", saved.fill(value, which)));
            }
            let body = match std::str::from_utf8(&case.body) {
                Ok(text) => saved.fill(text, which).into_bytes(),
                Err(_) => case.body.clone(),
            };
            wire::send(address, &head, &body)
        };
        thread::scope(|scope| {
            let theirs = scope.spawn(|| one(self.theirs, 0));
            let ours = one(self.ours, 1);
            (theirs.join().unwrap(), ours)
        })
    }

    /// A world of its own in both, in the same state.
    fn world(&self, name: &str) -> Saved {
        let mut texts =
            [(); 2].map(|()| BTreeMap::from([("root".to_owned(), ROOT.to_owned()), ("w".to_owned(), name.to_owned())]));
        let begun = Instant::now();
        let failures = differential::exchange(WORLD, [self.theirs, self.ours], &mut texts);
        assert!(failures.is_empty(), "the worlds are not the same:\n{}", failures.join("\n"));
        Saved::new(texts, begun)
    }

    /// Deletes what the one of the two has made where it is seen by other worlds, too.
    fn forget(&self, case: &Case, saved: &Saved) {
        if case.target.starts_with("/v1/sys/polic") || case.target.starts_with("/v1/auth/token/roles/") {
            for (which, address) in [self.theirs, self.ours].into_iter().enumerate() {
                let target = saved.fill(&case.target, which);
                bulla_test_support::http(address, "DELETE", &target, &[("X-Vault-Token", ROOT)], "");
            }
        }
    }

    fn end(&self, name: &str) {
        for address in [self.theirs, self.ours] {
            for mount in ENDS {
                let path = format!("/v1/sys/{}", mount.replace("{}", name));
                bulla_test_support::http(address, "DELETE", &path, &[("X-Vault-Token", ROOT)], "");
            }
        }
    }

    /// What each declares.
    fn routes(&self, world: &str) -> [Vec<Route>; 2] {
        [self.theirs, self.ours].map(|address| {
            let headers = [("X-Vault-Token", ROOT)];
            let (status, text) =
                bulla_test_support::http(address, "GET", "/v1/sys/internal/specs/openapi", &headers, "");
            assert_eq!(status, 200, "{text}");
            routes::read(&serde_json::from_str::<Value>(&text).unwrap(), world)
        })
    }
}

/// What is asked, by family, with how often.
fn families(all: &[Route], served: &BTreeSet<String>) -> Vec<(usize, Vec<Route>)> {
    let mut families: Vec<(usize, Vec<Route>)> = WEIGHTS.iter().map(|(_, weight)| (*weight, Vec::new())).collect();
    for route in all {
        let is_asked = served.contains(&routes::shape(&route.template))
            && !route.methods.is_empty()
            && !NEVER.iter().any(|never| route.template.starts_with(never));
        if let Some(at) = WEIGHTS.iter().position(|(start, _)| is_asked && route.template.starts_with(start)) {
            families[at].1.push(route.clone());
        }
    }
    families.retain(|(_, routes)| !routes.is_empty());
    families
}

/// What is done with each answer: the request, what was given out before, its number and its world's, both answers.
type Look<'a> = &'a mut dyn FnMut(&Case, &Saved, [u64; 2], [&Answer; 2]);

/// Asks both, in one world after the other. How many worlds there were, and how many came apart.
fn walk(both: &Both, seed: u64, requests: u64, routes: &[(usize, Vec<Route>)], look: Look<'_>) -> [u64; 2] {
    let (mut world, mut in_world, mut apart) = (0, 0, 0);
    let mut saved = both.world("w0");
    for at in 0..requests {
        let mut dice = Dice::of(seed, 0, at);
        let case = Case::new(routes, &mut dice, &saved);
        let (theirs, our) = both.ask(&case, &saved);
        look(&case, &saved, [at, world], [&theirs, &our]);
        saved.keep(&theirs, &our);
        in_world += 1;
        // From then on the two would be compared in different states.
        let came_apart =
            theirs.is_success() != our.is_success() && !matches!(case.method, "GET" | "LIST" | "SCAN" | "HEAD");
        apart += u64::from(came_apart);
        if came_apart {
            both.forget(&case, &saved);
        }
        if came_apart || in_world == EACH {
            both.end(&format!("w{world}"));
            (world, in_world) = (world + 1, 0);
            saved = both.world(&format!("w{world}"));
        }
    }
    both.end(&format!("w{world}"));
    [world + 1, apart]
}

/// What is asked of the two, and what the first has and the other does not serve.
fn asked(both: &Both) -> (Vec<(usize, Vec<Route>)>, Vec<String>) {
    both.world("declared");
    let [theirs, our] = both.routes("declared");
    both.end("declared");
    let mut served = routes::shapes(&our);
    served.extend(ALSO_SERVED.iter().map(|shape| (*shape).to_owned()));
    let missing = routes::shapes(&theirs).difference(&served).cloned().collect();
    (families(&theirs, &served), missing)
}

#[test]
fn made_up_requests_get_the_answers_of_openbao() {
    let (bao, ours) = (Bao::start(), Ours::dev());
    let both = Both { theirs: bao.0.address, ours: ours.address };
    let (seed, requests) =
        (number("BULLA_TEST_SEED").unwrap_or(SEED), number("BULLA_TEST_REQUESTS").unwrap_or(REQUESTS));
    let usual = (seed, requests) == (SEED, REQUESTS);
    let mut listed = Listed::read(if usual { Requests::Usual } else { Requests::Others });
    let (families, missing) = asked(&both);
    for shape in &missing {
        listed.meet(shape, shape, "not served", &|| String::new());
    }
    let mut answered = BTreeMap::<u16, usize>::new();
    let [worlds, apart] = walk(&both, seed, requests, &families, &mut |case, saved, [at, world], [theirs, our]| {
        *answered.entry(theirs.status).or_default() += 1;
        for difference in compare::differences(theirs, our, saved.begun.elapsed()) {
            let difference = difference.replace(&format!("w{world}-"), "W-");
            listed.meet(&case.name, &case.name, &difference, &|| show(case, saved, at));
        }
    });
    println!("{requests} requests in {worlds} worlds, {apart} of which came apart; statuses: {answered:?}");
    listed.finish();
}

#[test]
fn no_token_and_no_value_is_in_a_log_an_audit_file_the_metrics_or_the_storage() {
    // Of the whole process, and all that any part of it would ever write.
    tracing::subscriber::set_global_default(Log).unwrap();
    tracing::trace!(what = "written down");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let storage = Arc::new(Embedded::open(&path("data")).unwrap());
    let ours = Ours::sealed(storage, Vec::new(), vec![audit_file(&path("audit.log"))]);
    let root = TokenText::new(ROOT.to_owned());
    ours.runtime.block_on(bulla_server::dev::start(&ours.core, Some(root))).unwrap();
    let other = Ours::dev();
    let both = Both { theirs: other.address, ours: ours.address };
    let (families, missing) = asked(&both);
    assert!(missing.is_empty(), "{missing:?}");
    let (mut secrets, mut sent) = (BTreeSet::from([ROOT.to_owned()]), 0);
    walk(&both, SEED, 1000, &families, &mut |case, saved, _, _| {
        let carries = |mark: &str| memchr::memmem::find(&case.body, mark.as_bytes()).is_some();
        sent += usize::from(carries(MARK) || carries(&STANDARD.encode(MARK)));
        let is_secret = |name: &str| {
            let kind = name.split('.').next().unwrap_or_default();
            !name.contains("accessor") && !matches!(kind, "w" | "role" | "ciphertext" | "signature")
        };
        let given = saved.texts[1].iter().filter(|(name, _)| is_secret(name));
        secrets.extend(given.map(|(_, text)| text.clone()).filter(|text| text.len() >= SHORTEST));
    });
    let headers = [("X-Vault-Token", ROOT)];
    let metrics = bulla_test_support::http(ours.address, "GET", "/v1/sys/metrics?format=prometheus", &headers, "").1;
    drop(ours);
    let read = |name: &str| std::fs::read(path(name)).unwrap();
    let found = [
        ("log", log::written()),
        ("audit file", read("audit.log")),
        ("metrics", metrics.into_bytes()),
        ("storage", read("data")),
    ];
    // All of them were written, and it was looked at what there is to find.
    assert!(secrets.len() > 40 && sent > 2, "{} {sent}", secrets.len());
    for ((what, bytes), written) in found.iter().zip(["written down", "hmac-sha256:", "vault_core_unsealed", ""]) {
        let has = |text: &str| memchr::memmem::find(bytes, text.as_bytes()).is_some();
        assert!(has(written) && !bytes.is_empty(), "the {what} is not what was written");
        for secret in secrets.iter().map(String::as_str).chain([MARK, &STANDARD.encode(MARK)]) {
            assert!(!has(secret), "{secret} is in the {what}");
        }
    }
}

/// As a line that shows what was sent.
fn show(case: &Case, saved: &Saved, at: u64) -> String {
    let body = String::from_utf8_lossy(&case.body).chars().take(400).collect::<String>();
    let headers: String = case.headers.iter().map(|(name, value)| format!(" [{name}: {value}]")).collect();
    saved.fill(
        &format!("request {at}:{headers} {} {} {body}", case.method, case.target.chars().take(300).collect::<String>()),
        1,
    )
}
