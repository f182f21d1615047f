//! A token's text is itself alone, and nothing that is kept gives it.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::storage::{Memory, Scan};

const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.+/= ";

struct World {
    storage: Arc<Memory>,
    barrier: Arc<Barrier>,
    tokens: Tokens,
    expiry: expiry::Index,
}

impl World {
    async fn new() -> Self {
        let storage = Arc::new(Memory::default());
        let barrier = Barrier::initialize(Arc::clone(&storage) as _, bulla_core::DataKey::generate().unwrap());
        let barrier = Arc::new(barrier.await.unwrap());
        let (tokens, expiry) = (Tokens::open(&barrier).await.unwrap(), expiry::Index::new(&barrier));
        Self { storage, barrier, tokens, expiry }
    }

    async fn issue(&self, entry: Entry) -> (String, String) {
        let (issued, hash) = self.tokens.issue(entry, None, &self.expiry).await.unwrap();
        (issued.token.expose().to_owned(), hash)
    }

    async fn find(&self, text: &str) -> Option<String> {
        self.tokens.find(&TokenText::new(text.to_owned())).await.unwrap().map(|(hash, _)| hash)
    }
}

fn service() -> Entry {
    Entry { policies: vec!["a".to_owned()], ttl: 3600, ..Entry::default() }
}

fn batch() -> Entry {
    Entry { batch: true, ..service() }
}

fn block_on<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(what)
}

#[tokio::test]
async fn a_text_with_one_letter_changed_is_no_token() {
    let world = World::new().await;
    for entry in [service(), batch()] {
        let (text, hash) = world.issue(entry).await;
        assert_eq!(world.find(&text).await, Some(hash));
        for at in 0..text.len() {
            for letter in LETTERS.iter().filter(|letter| **letter != text.as_bytes()[at]) {
                let mut changed = text.clone().into_bytes();
                changed[at] = *letter;
                let changed = String::from_utf8(changed).unwrap();
                assert_eq!(world.find(&changed).await, None, "at {at}: {}", char::from(*letter));
            }
        }
    }
}

#[tokio::test]
async fn a_text_that_is_cut_or_goes_on_is_no_token() {
    let world = World::new().await;
    let mut texts = Vec::new();
    for entry in [service(), batch()] {
        texts.push(world.issue(entry).await.0);
    }
    for text in &texts {
        for length in 0..text.len() {
            assert_eq!(world.find(&text[..length]).await, None, "{length}");
            assert_eq!(world.find(&text[text.len() - length..]).await, None, "{length}");
        }
        for more in ["x", "=", ".", " ", "AA", "A".repeat(10_000).as_str(), text] {
            assert_eq!(world.find(&format!("{text}{more}")).await, None);
            assert_eq!(world.find(&format!("{more}{text}")).await, None);
        }
    }
    assert_eq!(world.find(&format!("b.{}", &texts[0][2..])).await, None);
    assert_eq!(world.find(&format!("s.{}", &texts[1][2..])).await, None);
}

#[test]
fn no_text_that_nobody_made_is_a_token() {
    let world = block_on(World::new());
    let (first, _) = block_on(world.issue(batch()));
    let (second, _) = block_on(world.issue(batch()));
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(&text[2..]).unwrap();
    let (first, second) = (bytes(&first), bytes(&second));
    let made_up = prop_oneof![
        any::<String>(),
        any::<String>().prop_map(|text| format!("b.{text}")),
        proptest::collection::vec(any::<u8>(), 0..400).prop_map(|bytes| format!("b.{}", URL_SAFE_NO_PAD.encode(bytes))),
        // The begin of one and the end of another; of the head of a record alone there is nothing to tell them apart.
        (crate::barrier::OVERHEAD..first.len() - 1).prop_map(move |at| {
            let spliced = [&first[..at], &second[at.min(second.len())..]].concat();
            format!("b.{}", URL_SAFE_NO_PAD.encode(spliced))
        }),
    ];
    TestRunner::default()
        .run(&made_up, |text| {
            prop_assert_eq!(block_on(world.find(&text)), None);
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn what_was_encrypted_for_something_else_or_elsewhere_is_no_token() {
    let (world, other) = (World::new().await, World::new().await);
    let entry = serde_json::to_vec(&Entry { policies: vec!["root".to_owned()], ..Entry::default() }).unwrap();
    for (world_of, place, is_one) in [
        (&world, BATCH, true),
        (&world, "sys/token/id/x", false),
        (&world, "sys/token/batc", false),
        (&world, "", false),
        (&other, BATCH, false),
    ] {
        let record = world_of.barrier.encrypt(place, &entry).unwrap();
        let text = format!("b.{}", URL_SAFE_NO_PAD.encode(record));
        assert_eq!(world.find(&text).await.is_some(), is_one, "{place}");
    }
    // What opens and is no entry.
    for body in [&b"null"[..], b"5", b"{\"uses\":\"x\"}", b"", b"\xff"] {
        let text = format!("b.{}", URL_SAFE_NO_PAD.encode(world.barrier.encrypt(BATCH, body).unwrap()));
        assert_eq!(world.find(&text).await, None);
    }
}

#[tokio::test]
async fn a_batch_token_goes_with_its_end_and_with_who_made_it() {
    let world = World::new().await;
    let (_, parent) = world.issue(service()).await;
    let (child, _) = world.issue(Entry { parent: Some(parent.clone()), ..batch() }).await;
    assert!(world.find(&child).await.is_some());
    world.tokens.condemn(&parent, &world.expiry).await.unwrap();
    assert_eq!(world.find(&child).await, None);
    for (expires, is_one) in [(now_millis() - 1, false), (i64::MIN, false), (now_millis() + 60_000, true)] {
        let entry = serde_json::to_vec(&Entry { expires, ..batch() }).unwrap();
        let text = format!("b.{}", URL_SAFE_NO_PAD.encode(world.barrier.encrypt(BATCH, &entry).unwrap()));
        assert_eq!(world.find(&text).await.is_some(), is_one, "{expires}");
    }
}

#[tokio::test]
async fn neither_storage_nor_what_the_barrier_shows_has_a_text_that_works() {
    let world = World::new().await;
    let (text, hash) = world.issue(service()).await;
    assert!(!hash.contains(&text) && hash == world.tokens.hash(&text) && hash.len() == 64);
    for (key, value) in world.storage.scan("", usize::MAX).await.unwrap() {
        let has = |text: &str| key.contains(text) || value.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(!has(&text) && !has(&text[2..]), "{key}");
        // Nothing that is in a name is a text.
        for part in key.split(['/', '-']) {
            assert_eq!(world.find(part).await, None, "{part}");
        }
        let Ok(plain) = world.barrier.decrypt(&key, value) else { continue };
        assert!(!String::from_utf8_lossy(&plain).contains(&text[2..]), "{key}");
    }
    // Each server has another hash of the same text.
    assert_ne!(World::new().await.tokens.hash(&text), hash);
}

#[tokio::test]
async fn a_record_of_one_token_in_the_place_of_another_is_an_error() {
    let world = World::new().await;
    let (weak, strong) = (world.issue(service()).await, world.issue(service()).await);
    let place = |hash: &str| format!("sys/token/id/{hash}");
    let record = crate::storage::Storage::get(world.storage.as_ref(), &place(&strong.1)).await.unwrap();
    let writes = vec![(place(&weak.1), record)];
    let batch = crate::storage::Batch { conditions: Vec::new(), writes };
    crate::storage::Storage::commit(world.storage.as_ref(), batch).await.unwrap();
    let found = world.tokens.find(&TokenText::new(weak.0)).await;
    assert_eq!(found.unwrap_err().status, 500);
    assert!(world.find(&strong.0).await.is_some());
}
