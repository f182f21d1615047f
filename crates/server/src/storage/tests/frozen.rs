//! What is frozen is one moment, whatever is written meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

async fn all(frozen: &mut dyn Frozen) -> Vec<Entry> {
    let mut all = Vec::new();
    loop {
        let step = frozen.next().await.unwrap();
        if step.is_empty() {
            return all;
        }
        let before: usize = step.iter().rev().skip(1).map(|(_, value)| value.len()).sum();
        assert!(before < FROZEN_BYTES && step.len() <= FROZEN_ENTRIES, "a step of {} entries", step.len());
        all.extend(step);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_frozen_has_all_of_a_batch_or_nothing_while_others_write() {
    for (storage, _folder) in each().await {
        let kind = storage.kind();
        // Pairs whose halves are far from each other, and between them so much that it takes several steps.
        let fill = (0..2500).map(|at| (format!("m/{at:05}"), Some(vec![1; 1000]))).collect();
        storage.commit(Batch { conditions: Vec::new(), writes: fill }).await.unwrap();
        let pair = |number: u64| {
            let value = Some(number.to_be_bytes().to_vec());
            Batch { conditions: Vec::new(), writes: vec![("a".to_owned(), value.clone()), ("z".to_owned(), value)] }
        };
        storage.commit(pair(0)).await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, told) = (Arc::clone(&storage), Arc::clone(&stop));
        let writer = tokio::spawn(async move {
            let mut number = 0;
            while !told.load(Ordering::Relaxed) {
                number += 1;
                theirs.commit(pair(number)).await.unwrap();
                let churn = format!("m/{:05}", number % 2500);
                let value = (number % 3 > 0).then(|| vec![2; 1000]);
                theirs.commit(Batch { conditions: Vec::new(), writes: vec![(churn, value)] }).await.unwrap();
            }
            number
        });
        let mut seen = Vec::new();
        for _ in 0..10 {
            let acknowledged = storage.get("a").await.unwrap().unwrap();
            let mut frozen = storage.freeze().await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            let entries = all(frozen.as_mut()).await;
            assert!(entries.is_sorted_by(|(one, _), (other, _)| one < other), "{kind}");
            let value = |key: &str| entries.iter().find(|(one, _)| one == key).unwrap().1.clone();
            assert_eq!(value("a"), value("z"), "{kind}");
            assert!(value("a") >= acknowledged, "{kind}: what was acknowledged is missing");
            seen.push(value("a"));
        }
        stop.store(true, Ordering::Relaxed);
        let written = writer.await.unwrap();
        seen.dedup();
        assert!(written > 5 && seen.len() > 1, "{kind}: nobody wrote meanwhile");
    }
}

#[tokio::test]
async fn who_writes_does_not_wait_for_what_is_frozen() {
    for (storage, _folder) in each().await {
        storage.commit(put("k", "1")).await.unwrap();
        let mut frozen = storage.freeze().await.unwrap();
        let writes = async {
            for number in 2..50 {
                storage.commit(put("k", &number.to_string())).await.unwrap();
            }
            storage.commit(put("l", "new")).await.unwrap();
        };
        tokio::time::timeout(Duration::from_mins(1), writes).await.unwrap();
        assert_eq!(all(frozen.as_mut()).await, [("k".to_owned(), b"1".to_vec())], "{}", storage.kind());
        assert_eq!(storage.get("k").await.unwrap().unwrap(), b"49");
    }
}
