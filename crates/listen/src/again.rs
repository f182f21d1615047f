//! A task that wakes itself while it is run goes on here and now.
//!
//! hyper wakes a connection's task whenever a request has a body: whoever reads the body says so to whoever has it, and both are this task. The runtime
//! takes such a task for one that gives way to others, queues it and wakes another thread for it, which finds nothing to do. For a server that is asked by one
//! client at a time that is a good part of what a request costs.

use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// How often in a row it goes on before others have their turn.
const TURNS: usize = 4;

/// Nobody runs it: who wakes it wakes the task.
const RESTS: u8 = 0;
/// It is run.
const RUNS: u8 = 1;
/// It was woken while it was run.
const WOKEN: u8 = 2;

/// A future that is polled again, a few times, if it was woken while it was polled.
pub struct Again<F> {
    inner: F,
    relay: Arc<Relay>,
    waker: Waker,
}

/// What the future is woken by.
struct Relay {
    state: AtomicU8,
    task: Mutex<Waker>,
}

impl Relay {
    fn wake_task(&self) {
        self.task.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Who runs it sees that it was woken, before it rests.
        if self.state.compare_exchange(RUNS, WOKEN, Ordering::AcqRel, Ordering::Acquire) == Err(RESTS) {
            self.wake_task();
        }
    }
}

impl<F> Again<F> {
    pub fn new(inner: F) -> Self {
        let relay = Arc::new(Relay { state: AtomicU8::new(RESTS), task: Mutex::new(Waker::noop().clone()) });
        Self { inner, waker: Waker::from(Arc::clone(&relay)), relay }
    }

    pub const fn inner_mut(&mut self) -> &mut F {
        &mut self.inner
    }
}

impl<F: Future + Unpin> Future for Again<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        {
            let mut task = this.relay.task.lock().unwrap_or_else(PoisonError::into_inner);
            task.clone_from(context.waker());
        }
        for _ in 0..TURNS {
            this.relay.state.store(RUNS, Ordering::Release);
            let polled = Pin::new(&mut this.inner).poll(&mut Context::from_waker(&this.waker));
            if polled.is_ready() {
                return polled;
            }
            if this.relay.state.compare_exchange(RUNS, RESTS, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Poll::Pending;
            }
        }
        this.relay.state.store(RESTS, Ordering::Release);
        this.relay.wake_task();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What `inner` comes to, polled once, and how often the task was woken.
    fn poll_once<F: Future + Unpin>(again: &mut Again<F>) -> (Poll<F::Output>, usize) {
        let counted = Arc::new(Counted(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&counted));
        let polled = Pin::new(again).poll(&mut Context::from_waker(&waker));
        (polled, counted.0.load(Ordering::SeqCst))
    }

    /// Wakes itself so many times, then is done.
    fn wakes(mut times: usize) -> impl Future<Output = usize> + Unpin {
        let mut polls = 0;
        std::future::poll_fn(move |context| {
            polls += 1;
            if times == 0 {
                return Poll::Ready(polls);
            }
            times -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    #[test]
    fn who_wakes_itself_goes_on_and_the_task_is_not_woken() {
        assert_eq!(poll_once(&mut Again::new(wakes(0))), (Poll::Ready(1), 0));
        assert_eq!(poll_once(&mut Again::new(wakes(TURNS - 1))), (Poll::Ready(TURNS), 0));
    }

    #[test]
    fn who_does_so_again_and_again_lets_others_have_their_turn() {
        let mut again = Again::new(wakes(TURNS));
        assert_eq!(poll_once(&mut again), (Poll::Pending, 1));
        assert_eq!(poll_once(&mut again), (Poll::Ready(TURNS + 1), 0));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_of_another_thread_is_lost() {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
            tasks.spawn(async move {
                for number in 0..2000 {
                    sender.send(number).await.unwrap();
                }
            });
            tasks.spawn(Again::new(Box::pin(async move {
                let mut expected = 0;
                while let Some(number) = receiver.recv().await {
                    assert_eq!(number, expected);
                    expected += 1;
                }
                assert_eq!(expected, 2000);
            })));
        }
        let all = async { while tasks.join_next().await.transpose().unwrap().is_some() {} };
        tokio::time::timeout(std::time::Duration::from_mins(1), all).await.unwrap();
    }
}
