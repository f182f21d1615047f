//! The queue's promises, on a clock that the tests turn.

use super::*;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("ns", name)
}

fn queue() -> Queue {
    Queue::new(Backoff::OBJECT)
}

/// What can be taken now, in order, without giving any of it back.
async fn drain(queue: &Queue) -> Vec<String> {
    let mut names = Vec::new();
    while let Ok(taken) = tokio::time::timeout(Duration::from_millis(1), queue.take()).await {
        names.push(taken.key.name().to_owned());
    }
    names
}

#[tokio::test(start_paused = true)]
async fn lanes_go_in_order_and_within_one_first_come_is_first_served() {
    let queue = queue();
    queue.add(&key("retry"), Lane::Later);
    queue.add(&key("changed"), Lane::Changed);
    queue.add(&key("new1"), Lane::First);
    queue.add(&key("new2"), Lane::First);
    assert_eq!(drain(&queue).await, ["new1", "new2", "changed", "retry"]);
}

#[tokio::test(start_paused = true)]
async fn an_object_is_in_once_and_in_its_best_lane() {
    let queue = queue();
    queue.add(&key("a"), Lane::Later);
    queue.add(&key("b"), Lane::Changed);
    queue.add(&key("a"), Lane::First);
    queue.add(&key("a"), Lane::Later);
    assert_eq!(drain(&queue).await, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_being_worked_on_is_not_given_out_again_but_comes_after() {
    let queue = queue();
    queue.add(&key("a"), Lane::First);
    let taken = queue.take().await;
    queue.add(&key("a"), Lane::Changed);
    queue.add(&key("a"), Lane::Changed);
    assert!(drain(&queue).await.is_empty());
    queue.done(&taken.key, None);
    assert_eq!(drain(&queue).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_waits_longer_each_time_and_never_gives_up() {
    let queue = queue();
    queue.add(&key("a"), Lane::Changed);
    for failures in 0..30 {
        let taken = queue.take().await;
        assert_eq!(taken.failures, failures);
        let (before, delay) = (Instant::now(), queue.failed(&taken.key));
        assert!(delay <= Duration::from_mins(5));
        queue.take().await;
        assert!(before.elapsed() >= delay);
        queue.put_back(&taken.key, Lane::Later);
    }
    assert!(queue.depth().ready == [0, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_change_ends_the_wait_and_forgets_the_failures() {
    let queue = queue();
    queue.add(&key("a"), Lane::First);
    for _ in 0..9 {
        let taken = queue.take().await;
        queue.failed(&taken.key);
    }
    assert!(drain(&queue).await.is_empty());
    queue.add(&key("a"), Lane::Changed);
    let taken = queue.take().await;
    assert_eq!((taken.lane, taken.failures), (Lane::Changed, 0));
    // The old wait does not come back.
    queue.done(&taken.key, None);
    tokio::time::advance(Duration::from_hours(1)).await;
    assert!(drain(&queue).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn outstanding_work_does_not_shorten_a_wait() {
    let queue = queue();
    queue.add(&key("a"), Lane::First);
    let taken = queue.take().await;
    queue.failed(&taken.key);
    queue.add_if_absent(&key("a"), Lane::Later);
    assert!(drain(&queue).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn when_the_cause_is_gone_all_that_waits_is_ready() {
    let queue = queue();
    for name in ["a", "b"] {
        queue.add(&key(name), Lane::First);
        let taken = queue.take().await;
        queue.failed(&taken.key);
    }
    queue.wake_all();
    assert_eq!(drain(&queue).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_new_objects_does_not_starve_the_rest() {
    let queue = queue();
    queue.add(&key("old"), Lane::Later);
    for n in 0..100 {
        queue.add(&key(&format!("new{n}")), Lane::First);
    }
    let order = drain(&queue).await;
    assert!(order.iter().position(|name| name == "old").unwrap() <= FAIRNESS as usize);
    assert_eq!(order.len(), 101);
}

#[tokio::test(start_paused = true)]
async fn what_was_removed_is_not_given_out() {
    let queue = queue();
    queue.add(&key("a"), Lane::First);
    queue.add(&key("b"), Lane::First);
    queue.remove(&key("a"));
    let taken = queue.take().await;
    queue.add(&key("b"), Lane::Changed);
    queue.remove(&key("b"));
    queue.done(&taken.key, None);
    assert!(drain(&queue).await.is_empty());
    assert_eq!(queue.depth(), Depth::default());
}

#[tokio::test(start_paused = true)]
async fn a_stall_is_work_without_progress() {
    let queue = queue();
    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(queue.stalled_for(), Duration::ZERO);
    queue.add(&key("a"), Lane::First);
    let taken = queue.take().await;
    tokio::time::advance(Duration::from_mins(7)).await;
    assert_eq!(queue.stalled_for(), Duration::from_mins(7));
    // A failure is progress, and waiting for a retry is no stall.
    queue.failed(&taken.key);
    assert_eq!(queue.stalled_for(), Duration::ZERO);
}

#[tokio::test]
async fn many_workers_share_the_work_and_none_of_it_is_lost() {
    let queue = std::sync::Arc::new(queue());
    for n in 0..1000 {
        queue.add(&key(&n.to_string()), Lane::First);
    }
    let workers = (0..8).map(|_| {
        let queue = queue.clone();
        tokio::spawn(async move {
            let mut count = 0;
            while let Ok(taken) = tokio::time::timeout(Duration::from_millis(200), queue.take()).await {
                tokio::task::yield_now().await;
                queue.done(&taken.key, None);
                count += 1;
            }
            count
        })
    });
    let mut sum = 0;
    for worker in workers.collect::<Vec<_>>() {
        sum += worker.await.unwrap();
    }
    assert_eq!(sum, 1000);
}
