//! The wish to end, known everywhere at once.

use tokio::sync::watch;

/// Set once, when the process is to end.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// Sets the [`Stop`]s that were made with it.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    /// One, and what it sets.
    pub fn new() -> (Self, Stop) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Stop(receiver))
    }

    /// Sets it.
    pub fn set(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is set, or whoever could set it is gone.
    pub async fn wait(&self) {
        // An error is the sender's end: nobody is left to work for.
        let _ = self.0.clone().wait_for(|set| *set).await;
    }
}
