//! Whatever fails while a server leaves its seal, the old one opens it afterwards or the new one, and nothing is lost.

use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::barrier::View;
use crate::core::faulty::{FAULTS, Faulty, audit_file, options, server};
use crate::core::{Attempt, Init, Options, SealStatus};
use crate::logical::{Operation, Request};
use crate::seal::fixed::Fixed;
use crate::seal::{SealError, Shares};
use crate::storage::{Memory, Storage};

const TWO_OF_THREE: Shares = Shares { shares: 3, threshold: 2 };

fn fixed(id: &str) -> Arc<dyn AutoSeal> {
    let key: Vec<u8> = id.bytes().cycle().take(DataKey::LEN).collect();
    Arc::new(Fixed::new(id.to_owned(), DataKey::from_bytes(SecretBytes::from(key)).unwrap()))
}

/// The seals of a configuration, by the ids of their keys.
fn seals(current: &[&str], old: &[&str]) -> Seals {
    let of = |ids: &[&str]| ids.iter().map(|id| fixed(id)).collect();
    Seals { current: of(current), old: of(old) }
}

/// A server whose storage has something in it, and its shares.
async fn filled(memory: &Arc<Memory>, seals: Seals) -> Vec<SecretBytes> {
    let core = server(Arc::clone(memory) as Arc<dyn Storage>, seals);
    let made = core.initialize(Init { shares: TWO_OF_THREE }).await.unwrap();
    if core.is_sealed() {
        give(&core, &made.shares).await;
    }
    View::plain(&core.open().unwrap().barrier, "test/").put("secret", b"kept").await.unwrap();
    made.shares
}

async fn give(core: &Core, shares: &[SecretBytes]) {
    for share in &shares[..2] {
        core.unseal(share.clone()).await.unwrap();
    }
}

async fn give_to_migrate(core: &Core, shares: &[SecretBytes]) -> Result<Attempt> {
    assert_eq!(core.unseal_and_migrate(shares[0].clone()).await?, Attempt::More);
    core.unseal_and_migrate(shares[2].clone()).await
}

/// Whether a server with these seals, and these shares, opens, and has what was kept.
async fn opens(memory: &Arc<Memory>, seals: Seals, shares: &[SecretBytes]) -> bool {
    let core = server(Arc::clone(memory) as Arc<dyn Storage>, seals);
    if core.has_auto_seal() {
        let _ = core.unseal_by_itself().await;
    } else {
        for share in &shares[..2] {
            let _ = core.unseal(share.clone()).await;
        }
    }
    let Ok(open) = core.open() else { return false };
    let kept = View::plain(&open.barrier, "test/").get("secret").await.unwrap().unwrap();
    kept.as_slice() == b"kept"
}

async fn status(core: &Core) -> SealStatus {
    core.seal_status().await.unwrap()
}

/// The three ways: what it has, and what it gets.
const WAYS: [(&[&str], &[&str]); 4] =
    [(&[], &["new"]), (&["old"], &[]), (&["old"], &["new"]), (&["old", "other"], &["new", "newer"])];

#[tokio::test]
async fn a_server_leaves_its_seal_when_people_agree_and_not_before() {
    for (from, to) in WAYS {
        let memory = Arc::new(Memory::default());
        let shares = filled(&memory, seals(from, &[])).await;
        let core = server(Arc::clone(&memory) as Arc<dyn Storage>, seals(to, from));
        let before = status(&core).await;
        assert!(before.migrating && before.sealed && before.recovery != to.is_empty(), "{before:?}");
        assert!(core.unseal_by_itself().await.is_err() && core.is_sealed());
        let refused = core.unseal(shares[0].clone()).await.unwrap_err();
        assert!(refused.status == 500 && refused.to_string().contains("migration is pending"), "{refused}");
        // Shares of somebody else.
        let wrong = shamir::split(&DataKey::generate().unwrap(), TWO_OF_THREE).unwrap();
        assert_eq!(give_to_migrate(&core, &wrong).await.unwrap_err().status, 400);
        assert_eq!((status(&core).await.progress, core.is_sealed()), (0, true));
        if !from.is_empty() {
            // No key service is asked as often as strangers like.
            assert_eq!(core.unseal_and_migrate(shares[0].clone()).await.unwrap_err().status, 429);
            tokio::time::sleep(PAUSE).await;
        }
        assert!(opens(&memory, seals(from, &[]), &shares).await);
        assert_eq!(give_to_migrate(&core, &shares).await.unwrap(), Attempt::Open);
        let after = status(&core).await;
        assert!(!after.migrating && !after.sealed && (after.threshold, after.shares) == (2, 3), "{after:?}");
        assert_eq!(core.unseal_and_migrate(shares[0].clone()).await.unwrap(), Attempt::Open);
        // Whether the old one is still in the configuration or not.
        assert!(opens(&memory, seals(to, &[]), &shares).await && opens(&memory, seals(to, from), &shares).await);
        assert!(!opens(&memory, seals(from, &[]), &shares).await);
        let again = server(Arc::clone(&memory) as Arc<dyn Storage>, seals(to, from));
        let refused = again.unseal_and_migrate(shares[0].clone()).await.unwrap_err();
        assert!(refused.to_string().contains("no migration seal found"), "{refused}");
    }
}

#[tokio::test]
async fn people_s_shares_are_those_of_the_other_key_afterwards() {
    let memory = Arc::new(Memory::default());
    let shares = filled(&memory, seals(&[], &[])).await;
    for (current, old) in [(&["a"][..], &[][..]), (&["b"], &["a"]), (&[], &["b"]), (&["a"], &[])] {
        let core = server(Arc::clone(&memory) as Arc<dyn Storage>, seals(current, old));
        give_to_migrate(&core, &shares).await.unwrap();
        // They make a root token.
        let begun = core.begin_root(None).await.unwrap();
        let nonce = begun.nonce.unwrap();
        core.give_root_share(shares[0].clone(), &nonce).await.unwrap();
        let done = core.give_root_share(shares[1].clone(), &nonce).await.unwrap();
        assert!(done.encoded_token.is_some(), "{current:?}");
    }
}

#[tokio::test]
async fn whatever_fails_the_old_seal_opens_or_the_new_one() {
    for (from, to) in WAYS {
        for fault in FAULTS {
            let mut done = [0, 0];
            for after in 0.. {
                let memory = Arc::new(Memory::default());
                let shares = filled(&memory, seals(from, &[])).await;
                let storage = Faulty::new(&memory, fault, after);
                let core = server(Arc::clone(&storage) as Arc<dyn Storage>, seals(to, from));
                storage.armed.store(true, Ordering::SeqCst);
                let _ = give_to_migrate(&core, &shares).await;
                let was = storage.was();
                drop(core);
                let old = opens(&memory, seals(from, &[]), &shares).await;
                let new = opens(&memory, seals(to, &[]), &shares).await;
                assert!(old != new, "{from:?} {to:?} {fault:?} {after}: {old} {new}");
                done[usize::from(new)] += 1;
                // And with both in the configuration it goes on from there.
                let core = server(Arc::clone(&memory) as Arc<dyn Storage>, seals(to, from));
                assert_eq!(status(&core).await.migrating, old);
                if old {
                    give_to_migrate(&core, &shares).await.unwrap();
                }
                assert!(opens(&memory, seals(to, from), &shares).await);
                if !was {
                    break;
                }
            }
            assert!(done[1] > 0, "{fault:?}: {done:?}");
        }
    }
}

#[tokio::test]
async fn a_copy_of_the_old_seal_s_record_opens_nothing_of_later() {
    let memory = Arc::new(Memory::default());
    let shares = filled(&memory, seals(&["old"], &[])).await;
    let record = memory.get(Stored::PATH).await.unwrap();
    let core = server(Arc::clone(&memory) as Arc<dyn Storage>, seals(&["new"], &["old"]));
    give_to_migrate(&core, &shares).await.unwrap();
    drop(core);
    memory.commit(Batch { conditions: Vec::new(), writes: vec![(Stored::PATH.to_owned(), record)] }).await.unwrap();
    assert!(!opens(&memory, seals(&["old"], &[]), &shares).await);
}

#[tokio::test]
async fn a_server_whose_seal_is_nowhere_in_the_configuration_says_which_it_is() {
    let memory = Arc::new(Memory::default());
    filled(&memory, seals(&["old"], &[])).await;
    for configured in [seals(&[], &[]), seals(&["new"], &[]), seals(&["new"], &["other"])] {
        let core = server(Arc::clone(&memory) as Arc<dyn Storage>, configured);
        let error = core.check_seals().await.unwrap_err().to_string();
        assert!(error.contains("static (key \"old\")") && error.contains("disabled"), "{error}");
    }
    for configured in [seals(&["old"], &[]), seals(&[], &["old"]), seals(&["new"], &["old"])] {
        server(Arc::clone(&memory) as Arc<dyn Storage>, configured).check_seals().await.unwrap();
    }
}

#[tokio::test]
async fn where_nobody_has_shares_nobody_can_agree_and_is_told_what_to_do() {
    let memory: Arc<dyn Storage> = Arc::new(Memory::default());
    let core = server(Arc::clone(&memory), seals(&["old"], &[]));
    core.initialize(Init { shares: Shares { shares: 0, threshold: 0 } }).await.unwrap();
    let core = server(memory, seals(&[], &["old"]));
    let error = core.unseal_and_migrate(SecretBytes::from(vec![1; 32])).await.unwrap_err();
    assert!(error.status == 400 && error.to_string().contains("sys/rotate/recovery/init"), "{error}");
}

/// A seal that may be told not to work in one direction.
struct Broken {
    inner: Arc<dyn AutoSeal>,
    wraps: Mutex<bool>,
    unwraps: Mutex<bool>,
}

#[async_trait]
impl AutoSeal for Broken {
    fn kind(&self) -> &'static str {
        "broken"
    }

    fn name(&self) -> String {
        "broken".to_owned()
    }

    async fn wrap(&self, root_key: &DataKey) -> std::result::Result<String, SealError> {
        let works = *self.wraps.lock().unwrap();
        if works { self.inner.wrap(root_key).await } else { Err(SealError::Config("it is away".to_owned())) }
    }

    async fn unwrap(&self, wrapped: &str) -> std::result::Result<DataKey, SealError> {
        let works = *self.unwraps.lock().unwrap();
        if works { self.inner.unwrap(wrapped).await } else { Err(SealError::Config("it is away".to_owned())) }
    }
}

fn broken(wraps: bool, unwraps: bool) -> Arc<Broken> {
    Arc::new(Broken { inner: fixed("broken"), wraps: Mutex::new(wraps), unwraps: Mutex::new(unwraps) })
}

#[tokio::test]
async fn a_new_seal_that_is_away_or_works_one_way_only_is_not_taken() {
    for (wraps, unwraps) in [(false, true), (true, false)] {
        let memory = Arc::new(Memory::default());
        let shares = filled(&memory, seals(&[], &[])).await;
        let seal = broken(wraps, unwraps);
        let current: Vec<Arc<dyn AutoSeal>> = vec![Arc::clone(&seal) as Arc<dyn AutoSeal>];
        let core = server(Arc::clone(&memory) as Arc<dyn Storage>, current.clone());
        assert_eq!(give_to_migrate(&core, &shares).await.unwrap_err().status, 500);
        assert!(core.is_sealed() && opens(&memory, seals(&[], &[]), &shares).await);
        *seal.wraps.lock().unwrap() = true;
        *seal.unwraps.lock().unwrap() = true;
        give_to_migrate(&core, &shares).await.unwrap();
        assert!(opens(&memory, current.into(), &shares).await);
    }
    // Nor at the beginning.
    let core = server(Arc::new(Memory::default()), vec![broken(true, false) as Arc<dyn AutoSeal>]);
    assert!(core.initialize(Init { shares: TWO_OF_THREE }).await.is_err());
    assert!(!core.is_initialized().await.unwrap());
}

#[tokio::test]
async fn of_several_seals_each_opens_and_one_that_is_away_is_passed_over() {
    let memory = Arc::new(Memory::default());
    let shares = filled(&memory, seals(&["a", "b"], &[])).await;
    let seal = broken(true, true);
    let with_broken = || Seals { current: vec![Arc::clone(&seal) as Arc<dyn AutoSeal>, fixed("b")], old: Vec::new() };
    // `a` is gone, and another is new: it is taken in, since `b` opens.
    assert!(opens(&memory, with_broken(), &shares).await);
    assert!(!opens(&memory, seals(&["a"], &[]), &shares).await);
    *seal.unwraps.lock().unwrap() = false;
    assert!(opens(&memory, with_broken(), &shares).await);
    *seal.unwraps.lock().unwrap() = true;
    let alone = Seals { current: vec![seal as Arc<dyn AutoSeal>], old: Vec::new() };
    assert!(opens(&memory, alone, &shares).await);
}

#[tokio::test]
async fn a_static_key_that_has_a_successor_is_not_needed_after_one_start() {
    let memory = Arc::new(Memory::default());
    let shares = filled(&memory, seals(&["a"], &[])).await;
    let key = |id: &str| DataKey::from_bytes(SecretBytes::from(id.repeat(DataKey::LEN).into_bytes())).unwrap();
    let both: Vec<Arc<dyn AutoSeal>> =
        vec![Arc::new(Fixed::new("b".to_owned(), key("b")).with_previous("a".to_owned(), key("a")))];
    let record = memory.get(Stored::PATH).await.unwrap();
    assert!(opens(&memory, both.into(), &shares).await);
    assert!(opens(&memory, seals(&["b"], &[]), &shares).await);
    // Whoever had it, and a copy of what it wrapped, has nothing of it any more.
    memory.commit(Batch { conditions: Vec::new(), writes: vec![(Stored::PATH.to_owned(), record)] }).await.unwrap();
    assert!(!opens(&memory, seals(&["a"], &[]), &shares).await);
}

#[tokio::test]
async fn a_server_that_got_its_seal_and_is_not_opened_says_so_and_is_opened_by_it() {
    for (from, to) in WAYS {
        let memory = Arc::new(Memory::default());
        let shares = filled(&memory, seals(from, &[])).await;
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let options = Options { audit: vec![audit_file(&missing.join("log"))], ..options() };
        let core = Core::new(Arc::clone(&memory) as Arc<dyn Storage>, seals(to, from), options);
        core.seal().await;
        let error = give_to_migrate(&core, &shares).await.unwrap_err().to_string();
        assert!(error.contains("has its new seal, but could not be opened") && core.is_sealed(), "{error}");
        std::fs::create_dir(&missing).unwrap();
        if to.is_empty() {
            assert_eq!(give_to_migrate(&core, &shares).await.unwrap(), Attempt::Open);
        } else {
            let error = core.unseal_and_migrate(shares[0].clone()).await.unwrap_err().to_string();
            assert!(error.contains("has its new seal already"), "{error}");
            assert!(core.unseal_by_itself().await.unwrap());
        }
        assert!(!core.is_sealed());
    }
}

/// A key service that does not answer.
struct Hangs;

#[async_trait]
impl AutoSeal for Hangs {
    fn kind(&self) -> &'static str {
        "hangs"
    }

    fn name(&self) -> String {
        "hangs".to_owned()
    }

    async fn wrap(&self, _: &DataKey) -> std::result::Result<String, SealError> {
        std::future::pending().await
    }

    async fn unwrap(&self, _: &str) -> std::result::Result<DataKey, SealError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_server_is_sealed_at_once_while_a_seal_is_waited_for() {
    let memory = Arc::new(Memory::default());
    filled(&memory, seals(&["a"], &[])).await;
    // The second is new, and to wrap the root key.
    let with_hanging = vec![fixed("a"), Arc::new(Hangs) as Arc<dyn AutoSeal>];
    let core = server(Arc::clone(&memory) as Arc<dyn Storage>, with_hanging);
    let opening = Arc::clone(&core);
    let opening = tokio::spawn(async move { opening.unseal_by_itself().await });
    let begun = Instant::now();
    while core.is_sealed() {
        assert!(begun.elapsed() < KEEP_UP, "it did not open");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let sealing = Arc::clone(&core);
    let sealing = tokio::spawn(async move { sealing.seal().await });
    while !core.is_sealed() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!opening.is_finished(), "the seal is still waited for");
    core.begin_to_stop();
    sealing.await.unwrap();
    opening.await.unwrap().unwrap();
    assert!(core.is_sealed());
}

#[tokio::test]
async fn who_seals_a_server_is_answered_while_a_seal_is_waited_for() {
    let memory = Arc::new(Memory::default());
    let first = server(Arc::clone(&memory) as Arc<dyn Storage>, seals(&["a"], &[]));
    let root = first.initialize(Init { shares: TWO_OF_THREE }).await.unwrap().root_token;
    drop(first);
    let with_hanging = vec![fixed("a"), Arc::new(Hangs) as Arc<dyn AutoSeal>];
    let core = server(Arc::clone(&memory) as Arc<dyn Storage>, with_hanging);
    let opening = Arc::clone(&core);
    let opening = tokio::spawn(async move { opening.unseal_by_itself().await });
    let begun = Instant::now();
    while core.is_sealed() {
        assert!(begun.elapsed() < KEEP_UP, "it did not open");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let request = Request {
        id: "1".to_owned(),
        token: Some(root),
        ..Request::new(Operation::Update, "sys/seal", crate::json::Object::new())
    };
    let asked = tokio::time::timeout(Duration::from_secs(5), core.handle(request)).await;
    assert!(asked.expect("the answer waits for the seal").unwrap().is_empty() && core.is_sealed());
    assert!(!opening.is_finished(), "the seal is still waited for");
    core.begin_to_stop();
    opening.await.unwrap().unwrap();
    assert!(core.is_sealed());
}

#[tokio::test]
async fn a_server_that_is_to_end_does_not_wait_for_a_seal() {
    let core = server(Arc::new(Memory::default()), vec![Arc::new(Hangs) as Arc<dyn AutoSeal>]);
    let waiting = Arc::clone(&core);
    let waiting = tokio::spawn(async move { waiting.initialize(Init { shares: TWO_OF_THREE }).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    // Who asks how it is waits for nobody.
    assert!(!status(&core).await.initialized);
    core.begin_to_stop();
    let ended = tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert_eq!(ended.unwrap_err().status, 503);
    tokio::time::timeout(Duration::from_secs(5), core.seal()).await.unwrap();
}

#[tokio::test]
async fn a_server_whose_record_says_other_shares_than_its_keyring_leaves_no_seal() {
    for (from, to) in WAYS {
        let memory = Arc::new(Memory::default());
        let shares = filled(&memory, seals(from, &[])).await;
        let record = memory.get(Stored::PATH).await.unwrap().unwrap();
        let mut forged: Stored = serde_json::from_slice(&record).unwrap();
        forged.shares.shares = 5;
        let writes = vec![(Stored::PATH.to_owned(), Some(serde_json::to_vec(&forged).unwrap()))];
        memory.commit(Batch { conditions: Vec::new(), writes }).await.unwrap();
        let core = server(Arc::clone(&memory) as Arc<dyn Storage>, seals(to, from));
        let error = give_to_migrate(&core, &shares).await.err().unwrap();
        assert!(error.to_string().contains("another number of shares"), "{error}");
        let writes = vec![(Stored::PATH.to_owned(), Some(record))];
        memory.commit(Batch { conditions: Vec::new(), writes }).await.unwrap();
        assert_eq!(give_to_migrate(&core, &shares).await.unwrap(), Attempt::Open);
        assert_eq!(core.open().unwrap().barrier.shares(), Some(TWO_OF_THREE));
    }
}
