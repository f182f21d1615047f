//! A path is one mount's, whatever else is mounted, and no mount sees what another has.

use proptest::prelude::*;

use super::*;
use crate::storage::Memory;

/// Mounts that hold each other's names.
const PATHS: [&str; 7] = ["team", "team-b", "team2/kv", "t", "a/b/c", "a/b/d", "secret"];

fn entry(path: &str, class: Class, kind: &str) -> Entry {
    Entry {
        path: format!("{path}/"),
        class,
        kind: kind.to_owned(),
        description: String::new(),
        accessor: String::new(),
        uuid: String::new(),
        local: false,
        seal_wrap: false,
        options: None,
        config: Config::default(),
    }
}

async fn mounts() -> Mounts {
    let barrier = Barrier::initialize(Arc::new(Memory::default()), bulla_core::DataKey::generate().unwrap());
    let barrier = Arc::new(barrier.await.unwrap());
    let times = Times { default_ttl: 1, max_ttl: 1 };
    let link = crate::core::Link::default();
    let mounts = Mounts::open(&barrier, crate::catalog(), times, ByKind::default(), link).await.unwrap();
    for path in PATHS {
        mounts.mount(entry(path, Class::Secret, "kv")).await.unwrap();
        mounts.mount(entry(path, Class::Auth, "userpass")).await.unwrap();
    }
    mounts
}

fn block_on<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(what)
}

/// Pieces of paths that are near to where something is, or lead up.
fn path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => "team|team-b|team2|kv|t|a|b|c|secret|auth|sys|cubbyhole",
        2 => prop::sample::select(&["..", ".", "", "%2e%2e", "a\\..", "\u{2024}."]).prop_map(ToOwned::to_owned),
        2 => "[a-z.%]{0,4}",
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.join("/"))
}

#[test]
fn a_path_is_that_mounts_whose_path_it_begins_with() {
    let mounts = block_on(mounts());
    proptest!(|(path in path())| {
        // There is at most one, as none is mounted below another.
        let all = mounts.table();
        let fits = |full: &&String| path.starts_with(full.as_str()) || format!("{path}/") == **full;
        let expected: Vec<&String> = all.keys().filter(fits).collect();
        prop_assert!(expected.len() <= 1);
        let found = mounts.route(&path);
        prop_assert_eq!(found.as_ref().map(|(mount, _)| &mount.info.path), expected.first().copied());
        if let Some((mount, below)) = found {
            let (whole, folder) = (format!("{}{below}", mount.info.path), format!("{path}/"));
            prop_assert!(whole == path || whole == folder);
        }
    });
}

#[test]
fn what_one_mount_or_token_writes_is_seen_by_no_other() {
    let mounts = block_on(mounts());
    let tokens = block_on(crate::core::token::Tokens::open(&mounts.barrier)).unwrap();
    let cubbyhole = |text: &str| tokens.cubbyhole(&tokens.hash(text)).unwrap();
    let mut views: Vec<View> = mounts.table().values().map(|mount| mount.view.clone()).collect();
    views.extend([cubbyhole("s.one"), cubbyhole("s.two"), cubbyhole("")]);
    proptest!(ProptestConfig::with_cases(48), |(path in path(), others in prop::collection::vec(path(), 1..4), who in 0_usize..100)| {
        let who = who % views.len();
        block_on(async {
            views[who].put(&path, b"secret").await.unwrap();
            for (at, view) in views.iter().enumerate() {
                for other in others.iter().chain([&path]) {
                    // A folder and an entry are the same but for the slash.
                    let found = view.get(other).await.unwrap();
                    prop_assert_eq!(found.is_some(), at == who && *other == path, "{:?} {:?}", other, path);
                }
                let seen = view.list("", "", 0).await.unwrap();
                prop_assert!(at == who || seen.is_empty(), "{:?}", seen);
            }
            views[who].delete(&path).await.unwrap();
            Ok(())
        })?;
    });
}

#[tokio::test]
async fn nothing_is_mounted_above_or_below_what_is_there_or_out_of_its_place() {
    let mounts = mounts().await;
    let paths = "team/x,a,a/b,secret,sys,sys/x,cubbyhole/a,identity,auth,auth/x,..,a/../b,,x//y,x y";
    for path in paths.split(',') {
        assert_eq!(mounts.mount(entry(path, Class::Secret, "kv")).await.unwrap_err().status, 400, "{path}");
    }
    for path in ["token", "token/x", "team", "team/..", ""] {
        assert_eq!(mounts.mount(entry(path, Class::Auth, "userpass")).await.unwrap_err().status, 400, "{path}");
    }
}
