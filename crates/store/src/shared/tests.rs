//! One fetch for many, with a far side that counts how often it is asked.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::*;

const BOUNDS: Bounds =
    Bounds { fresh: Duration::from_secs(10), last_known: Duration::from_mins(10), bytes: 1000, answers: 10 };

/// A far side that counts how often it is asked.
struct Far {
    shared: Shared<&'static str, Vec<u8>>,
    asked: AtomicUsize,
}

type Answer = Result<Fetched<Vec<u8>>, StoreError>;

#[allow(clippy::unnecessary_wraps, reason = "it is one of the answers that a fetch gives")]
fn for_all(text: &str) -> Answer {
    Ok(Fetched::ForAll(text.as_bytes().to_vec()))
}

fn fails(kind: StoreErrorKind) -> Answer {
    Err(StoreError::new(kind, "no"))
}

impl Far {
    fn new(bounds: Bounds) -> Self {
        Self { shared: Shared::new(bounds, Vec::len), asked: AtomicUsize::new(0) }
    }

    async fn get(&self, key: &'static str, if_down: IfDown, answer: Answer) -> Result<(String, Origin), StoreError> {
        let fetch = async {
            self.asked.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(100)).await;
            answer
        };
        let (value, origin) = self.shared.get(&key, if_down, fetch).await?;
        Ok((String::from_utf8(value.to_vec()).unwrap(), origin))
    }

    async fn text(&self, key: &'static str, answer: Answer) -> String {
        self.get(key, IfDown::Fail, answer).await.unwrap().0
    }

    fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn who_wants_the_same_at_the_same_time_or_a_moment_later_asks_once() {
    let far = Far::new(BOUNDS);
    let all = join_all((0..1000).map(|_| far.text("a", for_all("one")))).await;
    assert!(all.iter().all(|text| text == "one"));
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!((far.text("a", for_all("two")).await, far.asked()), ("one".to_owned(), 1));
    assert_eq!(far.text("b", for_all("other")).await, "other");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((far.text("a", for_all("two")).await, far.asked()), ("two".to_owned(), 2));
}

#[tokio::test(start_paused = true)]
async fn even_what_is_kept_for_no_time_is_for_those_who_waited() {
    let far = Far::new(Bounds { fresh: Duration::ZERO, ..BOUNDS });
    join_all((0..50).map(|_| far.text("a", for_all("one")))).await;
    assert_eq!(far.asked(), 1);
    assert_eq!((far.text("a", for_all("two")).await, far.asked()), ("two".to_owned(), 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_for_one_alone_is_given_to_nobody_else() {
    let far = Far::new(BOUNDS);
    let texts: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let own = |text: &String| Ok(Fetched::ForOne(text.clone().into_bytes()));
    let all = join_all(texts.iter().map(|text| far.text("a", own(text)))).await;
    assert_eq!((all, far.asked()), (texts, 20));
    // Not when the far side is down either.
    let down = far.get("a", IfDown::LastKnown, fails(StoreErrorKind::Unavailable)).await;
    assert_eq!(down.unwrap_err().kind, StoreErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn those_who_waited_share_a_failure_and_the_next_one_tries_again() {
    let far = Far::new(BOUNDS);
    let all = join_all((0..50).map(|_| far.get("a", IfDown::Fail, fails(StoreErrorKind::Denied)))).await;
    assert!(all.iter().all(Result::is_err));
    assert_eq!(far.asked(), 1);
    assert_eq!((far.text("a", for_all("one")).await, far.asked()), ("one".to_owned(), 1));
}

#[tokio::test(start_paused = true)]
async fn the_last_known_is_for_who_has_nothing_and_only_while_the_far_side_is_down() {
    let far = Far::new(BOUNDS);
    let down = || fails(StoreErrorKind::Unavailable);
    assert!(far.get("a", IfDown::LastKnown, down()).await.is_err(), "nothing is known yet");
    far.text("a", for_all("one")).await;
    tokio::time::sleep(Duration::from_mins(9)).await;
    assert!(far.get("a", IfDown::Fail, down()).await.is_err());
    assert!(far.get("b", IfDown::LastKnown, down()).await.is_err(), "another identity");
    let (text, origin) = far.get("a", IfDown::LastKnown, down()).await.unwrap();
    assert_eq!((text.as_str(), matches!(origin, Origin::LastKnown(_))), ("one", true));
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert!(far.get("a", IfDown::LastKnown, down()).await.is_err(), "it is too old");
}

#[tokio::test(start_paused = true)]
async fn who_was_refused_is_not_given_what_was_known_before() {
    for kind in [StoreErrorKind::Denied, StoreErrorKind::NotFound, StoreErrorKind::Invalid, StoreErrorKind::Failed] {
        let far = Far::new(BOUNDS);
        far.text("a", for_all("one")).await;
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(far.get("a", IfDown::LastKnown, fails(kind)).await.unwrap_err().kind, kind);
        let down = far.get("a", IfDown::LastKnown, fails(StoreErrorKind::Unavailable)).await;
        assert!(down.is_err(), "{kind:?}: it was known again");
    }
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_leaves_the_others_their_turn() {
    let far = Far::new(BOUNDS);
    let gives_up = tokio::time::timeout(Duration::from_millis(10), far.text("a", for_all("one"))).await;
    assert!(gives_up.is_err());
    assert_eq!(far.text("a", for_all("two")).await, "two");
}

#[tokio::test(start_paused = true)]
async fn what_is_old_or_too_much_is_forgotten() {
    let far = Far::new(BOUNDS);
    let size = || far.shared.slots.lock().unwrap().len();
    far.text("old", for_all("x")).await;
    tokio::time::sleep(Duration::from_mins(11)).await;
    far.shared.sweep();
    assert_eq!(size(), 0);
    let big = "x".repeat(400);
    for key in ["a", "b", "c"] {
        far.text(key, for_all(&big)).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(size(), 2);
    far.asked();
    assert_eq!((far.text("a", for_all("new")).await, far.text("c", for_all("new")).await), ("new".to_owned(), big));
    far.text("huge", for_all(&"x".repeat(2000))).await;
    assert!(!far.shared.slots.lock().unwrap().contains_key("huge"));
}
