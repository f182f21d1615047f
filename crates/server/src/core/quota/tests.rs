//! Which quota counts, and how much it lets through.

use super::*;
use crate::storage::{Memory, Storage};

fn rule(mount: &str, suffix: &str, rate: f64) -> Rule {
    Rule {
        name: format!("{mount}{suffix}"),
        mount: mount.to_owned(),
        suffix: suffix.to_owned(),
        rate,
        interval: 10,
        block_interval: 0,
        inheritable: false,
        role: String::new(),
    }
}

async fn quotas(rules: Vec<Rule>) -> (Quotas, Arc<Barrier>) {
    let storage: Arc<dyn Storage> = Arc::new(Memory::default());
    let barrier = Barrier::initialize(storage, bulla_core::DataKey::generate().unwrap()).await.unwrap();
    let barrier = Arc::new(barrier);
    let quotas = Quotas::open(&barrier).await.unwrap();
    let add = |all: &mut Vec<Rule>| {
        all.extend(rules);
        Ok(())
    };
    quotas.change(add).await.unwrap();
    (quotas, barrier)
}

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn the_nearest_quota_counts_and_no_other() {
    let rules = vec![
        rule("", "", 1.0),
        rule("secret/", "", 2.0),
        rule("secret/", "data/*", 3.0),
        rule("secret/", "data/a*", 4.0),
        rule("secret/", "data/ab", 5.0),
    ];
    let (quotas, _) = quotas(rules).await;
    for (path, limit) in [
        ("sys/mounts", 1),
        ("secretive/x", 1),
        ("secret", 2),
        ("secret/metadata/ab/", 2),
        ("secret/data/x", 3),
        ("secret/data/abc", 4),
        ("secret/data/ab", 5),
        ("secret/data/ab/", 5),
    ] {
        let verdict = quotas.count(path, HERE, None).unwrap();
        assert_eq!(verdict.left.unwrap().0, limit, "{path}");
    }
    assert!(quotas.count("sys/health", HERE, None).is_none(), "exempt");
    quotas.configure(Config { exempt: vec!["secret/data/ab".to_owned()], ..Config::default() }).await.unwrap();
    assert!(
        quotas.count("secret/data/ab/c", HERE, None).is_none() && quotas.count("secret/data/abc", HERE, None).is_some()
    );
    assert!(quotas.count("sys/health", HERE, None).is_some());
}

#[tokio::test]
async fn so_many_go_through_in_an_interval_each_from_its_address() {
    let (quotas, _) = quotas(vec![rule("secret/", "", 2.4)]).await;
    let start = Instant::now();
    let at = |seconds, address: &str| {
        quotas.count_at("secret/x", address.parse().unwrap(), None, start + Duration::from_secs(seconds)).unwrap()
    };
    assert!(at(0, "10.0.0.1").allowed && at(1, "10.0.0.1").allowed);
    let refused = at(2, "::ffff:10.0.0.1");
    assert_eq!((refused.allowed, refused.retry, refused.left), (false, 8, Some((2, 0, 8))));
    assert!(at(2, "10.0.0.2").allowed);
    assert!(at(10, "10.0.0.1").allowed);
    // One network is one client.
    assert!(at(0, "2001:db8::1").allowed && at(0, "2001:db8::2").allowed && !at(0, "2001:db8::3").allowed);
    assert!(at(0, "2001:db8:0:1::1").allowed);
    assert_eq!(quotas.violations(), [("secret/".to_owned(), 2)]);
}

#[tokio::test]
async fn who_asks_too_much_waits_out_the_block() {
    let blocking = Rule { block_interval: 60, ..rule("secret/", "", 1.0) };
    let (quotas, _) = quotas(vec![blocking]).await;
    let start = Instant::now();
    let at = |seconds| quotas.count_at("secret/x", HERE, None, start + Duration::from_secs(seconds)).unwrap();
    assert!(at(0).allowed);
    assert_eq!((at(1).allowed, at(1).retry), (false, 60));
    assert_eq!((at(31).allowed, at(31).retry, at(31).left), (false, 30, None));
    assert!(at(61).allowed && !at(62).allowed);
}

#[tokio::test]
async fn counters_are_bounded() {
    let (quotas, _) = quotas(vec![rule("secret/", "", 1.0)]).await;
    let now = Instant::now();
    for number in 0..u32::try_from(CLIENTS + 100).unwrap() {
        let address = IpAddr::V4(std::net::Ipv4Addr::from_bits(number));
        assert!(quotas.count_at("secret/x", address, None, now).unwrap().allowed);
    }
    let served = quotas.served();
    assert!(served[0].clients.lock().unwrap().len() <= CLIENTS);
}

#[tokio::test]
async fn quotas_are_there_after_a_restart() {
    let (quotas, barrier) = quotas(vec![rule("secret/", "data/*", 7.0)]).await;
    quotas.configure(Config { exempt: Vec::new(), audit: true, headers: true }).await.unwrap();
    let again = Quotas::open(&barrier).await.unwrap();
    assert_eq!((again.rules(), again.config()), (quotas.rules(), quotas.config()));
    let clear = |rules: &mut Vec<Rule>| {
        rules.clear();
        Ok(())
    };
    again.change(clear).await.unwrap();
    assert!(Quotas::open(&barrier).await.unwrap().count("secret/data/x", HERE, None).is_none());
}

#[tokio::test]
async fn a_role_has_a_quota_of_its_own_at_its_mount_and_where_logins_are() {
    let of_role = Rule { name: "r".to_owned(), role: "r".to_owned(), ..rule("auth/a/", "", 1.0) };
    let (quotas, barrier) = quotas(vec![of_role, rule("auth/a/", "", 5.0), rule("auth/b/", "", 7.0)]).await;
    assert!(quotas.asks_role("auth/a/login") && quotas.asks_role("auth/a/login/"));
    for path in ["auth/a/role/r", "auth/b/login", "auth/a", "auth/a/login/x", "sys/login"] {
        assert!(!quotas.asks_role(path), "{path}");
    }
    let limit = |path: &str, role| quotas.count(path, HERE, role).unwrap().left.unwrap().0;
    assert_eq!(limit("auth/a/login", Some("r")), 1);
    assert!(!quotas.count("auth/a/login", HERE, Some("r")).unwrap().allowed);
    assert_eq!((limit("auth/a/login", Some("s")), limit("auth/a/login", None)), (5, 5));
    assert_eq!((limit("auth/a/role/r", Some("r")), limit("auth/b/login", Some("r"))), (5, 7));
    // It is kept.
    let again = Quotas::open(&barrier).await.unwrap();
    assert_eq!(again.rules().iter().filter(|rule| rule.role == "r").count(), 1);
}
