//! Which shares are taken, and what is said of the others.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap as Map;

use proptest::prelude::*;

use super::*;
use crate::{Options, Registry};

fn copy(share: &Share) -> Share {
    Share::parse(&share.to_text()).unwrap()
}

fn refused(result: Result<Progress, ShareError>) -> ShareError {
    match result {
        Err(error) => error,
        Ok(_) => panic!("the share was taken"),
    }
}

fn complete(collector: &mut Collector, shares: &[&Share]) -> DataKey {
    for share in shares {
        if let Progress::Complete(key) = collector.give(copy(share)).unwrap() {
            return key;
        }
    }
    panic!("not complete");
}

#[test]
fn any_shares_that_are_enough_give_the_same_key() {
    let (set, shares) = create(4, 3).unwrap();
    let set = set.checked().unwrap();
    let mut keys = Vec::new();
    for left_out in 0..4 {
        let given: Vec<_> = (0..4).filter(|at| *at != left_out).map(|at| &shares[at]).collect();
        keys.push(complete(&mut Collector::new(set.clone()), &given));
    }
    assert!(keys.windows(2).all(|two| two[0] == two[1]));
    assert_eq!(id_of(&keys[0]), set.id);
}

#[test]
fn the_same_share_again_counts_once_and_all_are_forgotten_at_the_end() {
    let (set, shares) = create(3, 2).unwrap();
    let mut collector = Collector::new(set);
    for _ in 0..3 {
        assert!(matches!(collector.give(copy(&shares[1])), Ok(Progress::More { given: 1, needed: 2 })));
    }
    assert!(matches!(collector.give(copy(&shares[0])), Ok(Progress::Complete(_))));
    assert_eq!(collector.given(), 0);
}

#[test]
fn wrong_shares_are_told_apart_and_leave_the_right_ones_alone() {
    let (set, shares) = create(3, 2).unwrap();
    let (_, others) = create(3, 2).unwrap();
    let mut collector = Collector::new(set);
    collector.give(copy(&shares[0])).unwrap();

    assert!(matches!(refused(collector.give(copy(&others[1]))), ShareError::OtherSet { .. }));
    // One that claims to be of this set, and one with a number that none has.
    let forged = Share { set: shares[0].set.clone(), bytes: others[1].bytes.clone() };
    assert_eq!(refused(collector.give(forged)), ShareError::Wrong);
    for number in [0, 4, 255] {
        let mut forged = copy(&shares[1]);
        forged.bytes.expose_mut()[SHARE - 1] = number;
        assert_eq!(refused(collector.give(forged)), ShareError::Wrong);
    }
    assert_eq!(collector.given(), 1);
    assert!(matches!(collector.give(copy(&shares[2])), Ok(Progress::Complete(_))));
}

#[test]
fn a_set_that_was_changed_gives_no_key() {
    let (set, shares) = create(3, 3).unwrap();
    // Someone lowered the threshold: the polynomial needs all three.
    let mut collector = Collector::new(Set { threshold: 2, ..set.clone() });
    collector.give(copy(&shares[0])).unwrap();
    assert_eq!(refused(collector.give(copy(&shares[1]))), ShareError::WrongKey);

    for bad in [
        Set { id: "x".to_owned(), ..set.clone() },
        Set { threshold: 1, ..set.clone() },
        Set { threshold: 4, ..set.clone() },
        Set { commitments: vec!["x".to_owned(); 3], ..set },
    ] {
        assert!(matches!(bad.checked(), Err(ShareError::BadSet(_))));
    }
}

#[test]
fn typing_errors_are_found_before_anything_is_asked() {
    let (_, shares) = create(2, 2).unwrap();
    let text = shares[0].to_text();
    assert_eq!(text.expose().len(), 122);
    let parse = |text: &str| Share::parse(&SecretString::from(text)).map(|share| share.number());
    assert_eq!(parse(&format!("  {}\n", text.expose())), Ok(1));
    for at in 14..text.expose().len() {
        let mut wrong = text.expose().to_owned().into_bytes();
        wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
        let wrong = String::from_utf8(wrong).unwrap();
        assert!(matches!(parse(&wrong), Err(ShareError::Typo | ShareError::NotAShare)), "{at}");
        assert!(parse(&text.expose()[..at]).is_err());
    }
    assert_eq!(parse("hunter2"), Err(ShareError::NotAShare));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}", tail in "[0-9a-g-]{0,130}") {
        let _ = Share::parse(&SecretString::from(text));
        let _ = Share::parse(&SecretString::from(format!("bulla-share-1-{tail}")));
    }
}

#[tokio::test]
async fn a_key_in_shares_wraps_once_it_is_together() {
    let (set, shares) = create(3, 2).unwrap();
    let joined = Arc::new(Joined::default());
    let registry = Registry::new(Arc::new(Map::new()), Options::default()).with_shares(Arc::clone(&joined));
    let service = registry.open(&set.key_id()).unwrap();
    let secret = SecretBytes::random(33).unwrap();
    let error = service.wrap(&secret).await.unwrap_err();
    assert_eq!(error.kind(), KeyErrorKind::NotFound);

    joined.insert(complete(&mut Collector::new(set.clone()), &[&shares[2], &shares[0]]));
    assert!(joined.contains(&set.id));
    let wrapped = service.wrap(&secret).await.unwrap();
    assert_eq!(service.unwrap(&wrapped).await.unwrap(), secret);
    let (before, after) = wrapped.as_str().split_at(wrapped.as_str().len() / 2);
    let other = if after.starts_with('A') { "B" } else { "A" };
    let damaged = WrappedKey::new(format!("{before}{other}{}", &after[1..]));
    assert_eq!(service.unwrap(&damaged).await.unwrap_err().kind(), KeyErrorKind::BadCiphertext);
}
