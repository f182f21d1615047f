//! The other half's side: asks for mounts, and works in the folders that come back.

use std::io::{Error, ErrorKind};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Once};

use bulla_kube::stop::{Stop, Stopper};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::Mutex;

use super::protocol::{FailureKind, Owner, Reply, Request, Shape, Wait, receive_in, send_in};

/// The half that mounts, as the other half sees it.
#[derive(Clone, Debug)]
pub struct Mounter {
    // One question at a time, because the other side does one thing at a time anyway.
    line: Arc<Mutex<Line>>,
    gone: Stop,
}

/// The way to it.
#[derive(Debug)]
struct Line {
    /// One of packets, which tokio has no type for; it is never connected or read but by `send_in` and `receive_in`.
    socket: UnixDatagram,
    /// What the last message was received in.
    bytes: Vec<u8>,
    state: State,
    /// Set when it is gone.
    gone: Stopper,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is asked.
    Idle,
    /// Who asked does not wait for the answer any more; it still comes, and is nobody else's.
    Owed,
    /// What was said to whom is not known any more.
    Gone,
}

/// What was not mounted, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// It says why.
    #[error("{message}")]
    Failed {
        /// What kind of failure.
        kind: FailureKind,
        /// What failed, in a sentence.
        message: String,
    },
    /// It cannot be asked any more: this process has to end.
    #[error("the process that mounts does not answer: {0}")]
    Gone(Error),
    /// It answered something else than what was asked.
    #[error("the process that mounts answered something else")]
    Confused,
}

/// With a file descriptor, where one is asked for.
type Answer = (Reply, Option<OwnedFd>);

/// A file system that is mounted nowhere yet.
#[derive(Debug)]
pub struct Unattached {
    /// Its number.
    pub id: u64,
    /// Its root folder.
    pub root: OwnedFd,
}

/// What is at a place, or can be.
#[derive(Debug)]
pub enum Found {
    /// The root folder of what is mounted there.
    Mounted(OwnedFd),
    /// Nothing is: a file system for it.
    Made(Unattached),
    /// The root folder of one that was made and is mounted there now.
    New(OwnedFd),
}

impl Mounter {
    /// Over the socket that leads to it. Within a runtime that has I/O.
    ///
    /// # Errors
    /// The system's.
    pub fn new(socket: OwnedFd) -> std::io::Result<Self> {
        let socket = std::os::unix::net::UnixDatagram::from(socket);
        socket.set_nonblocking(true)?;
        let (stopper, gone) = Stopper::new();
        let socket = UnixDatagram::from_std(socket)?;
        let line = Line { socket, bytes: Vec::new(), state: State::Idle, gone: stopper };
        Ok(Self { line: Arc::new(Mutex::new(line)), gone })
    }

    /// Waits until it cannot be asked any more: every question is [`MountError::Gone`] from then on.
    pub async fn gone(&self) {
        self.gone.wait().await;
    }

    /// Makes a file system in memory.
    ///
    /// # Errors
    /// [`MountError`].
    pub async fn create(&self, shape: Shape) -> Result<Unattached, MountError> {
        match self.ask(Request::Create(shape)).await? {
            (Reply::Created { id, noswap }, Some(root)) => Ok(Unattached::new(id, root, noswap)),
            (Reply::Created { id, .. }, None) => self.without_root(id).await,
            _ => Err(MountError::Confused),
        }
    }

    /// Mounts one at the place that the kubelet named, after the files of `folder` were given to `owner`.
    ///
    /// # Errors
    /// [`MountError`]; of kind `Busy` if something is mounted there. The file system stays as it is.
    pub async fn attach(&self, id: u64, target: &str, folder: Option<&str>, owner: Owner) -> Result<(), MountError> {
        let (target, folder) = (target.to_owned(), folder.map(str::to_owned));
        self.done(Request::Attach { id, target, folder, owner }).await
    }

    /// Lets one go that was not attached.
    ///
    /// # Errors
    /// [`MountError::Gone`].
    pub async fn discard(&self, id: u64) -> Result<(), MountError> {
        self.done(Request::Discard { id }).await
    }

    /// The root folder of what is mounted at a place; `None` if nothing of ours is.
    ///
    /// # Errors
    /// [`MountError`].
    pub async fn open(&self, target: &str) -> Result<Option<OwnedFd>, MountError> {
        match self.ask(Request::Open { target: target.to_owned() }).await {
            Ok((Reply::Opened, Some(root))) => Ok(Some(root)),
            Ok(_) => Err(MountError::Confused),
            Err(MountError::Failed { kind: FailureKind::NotFound, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is mounted at a place, or else a new file system in memory.
    ///
    /// # Errors
    /// [`MountError`].
    pub async fn open_or_create(&self, target: &str, shape: Shape) -> Result<Found, MountError> {
        self.found(Request::OpenOrCreate { target: target.to_owned(), shape }).await
    }

    /// What is mounted at a place, or else a new file system in memory that is mounted there; not if something else is there by then.
    ///
    /// # Errors
    /// [`MountError`].
    pub async fn open_or_mount(&self, target: &str, shape: Shape) -> Result<Found, MountError> {
        self.found(Request::OpenOrMount { target: target.to_owned(), shape }).await
    }

    async fn found(&self, request: Request) -> Result<Found, MountError> {
        match self.ask(request).await? {
            (Reply::Opened, Some(root)) => Ok(Found::Mounted(root)),
            (Reply::Mounted { noswap }, Some(root)) => {
                tell_of_swap(noswap);
                Ok(Found::New(root))
            }
            (Reply::Created { id, noswap }, Some(root)) => Ok(Found::Made(Unattached::new(id, root, noswap))),
            (Reply::Created { id, .. }, None) => self.without_root(id).await,
            _ => Err(MountError::Confused),
        }
    }

    /// Gives the files of a folder of what is mounted at a place to their owner.
    ///
    /// # Errors
    /// [`MountError`].
    pub async fn own(&self, target: &str, folder: &str, owner: Owner) -> Result<(), MountError> {
        self.done(Request::Own { target: target.to_owned(), folder: folder.to_owned(), owner }).await
    }

    /// Unmounts what is at a place and removes it.
    ///
    /// # Errors
    /// [`MountError`].
    pub async fn detach(&self, target: &str) -> Result<(), MountError> {
        self.done(Request::Detach { target: target.to_owned() }).await
    }

    /// At how many places something of ours is mounted.
    ///
    /// # Errors
    /// [`MountError`].
    pub async fn count(&self) -> Result<usize, MountError> {
        match self.ask(Request::Count).await? {
            (Reply::Counted(count), None) => Ok(count),
            _ => Err(MountError::Confused),
        }
    }

    /// A socket of this name that listens, not blocking.
    ///
    /// # Errors
    /// [`MountError`].
    pub async fn listen(&self, name: &str) -> Result<OwnedFd, MountError> {
        match self.ask(Request::Listen { name: name.to_owned() }).await? {
            (Reply::Listening, Some(socket)) => Ok(socket),
            _ => Err(MountError::Confused),
        }
    }

    /// Whether nobody is found at the path of a socket that listens.
    ///
    /// # Errors
    /// [`MountError`].
    pub async fn is_lost(&self, name: &str) -> Result<bool, MountError> {
        match self.ask(Request::IsLost { name: name.to_owned() }).await? {
            (Reply::Lost(is_lost), None) => Ok(is_lost),
            _ => Err(MountError::Confused),
        }
    }

    /// Takes the path of a socket away, unless another process has it by now.
    ///
    /// # Errors
    /// [`MountError`].
    pub async fn unlisten(&self, name: &str) -> Result<(), MountError> {
        self.done(Request::Unlisten { name: name.to_owned() }).await
    }

    /// A connection to a provider's socket, not blocking.
    ///
    /// # Errors
    /// [`MountError`]; of kind `NotFound` if it has none.
    pub async fn connect(&self, provider: &str) -> Result<OwnedFd, MountError> {
        match self.ask(Request::Connect { provider: provider.to_owned() }).await? {
            (Reply::Connected, Some(socket)) => Ok(socket),
            _ => Err(MountError::Confused),
        }
    }

    /// This process has no room for one more open file: the file system whose root could not be given goes again.
    async fn without_root<T>(&self, id: u64) -> Result<T, MountError> {
        self.discard(id).await?;
        Err(MountError::Confused)
    }

    async fn done(&self, request: Request) -> Result<(), MountError> {
        match self.ask(request).await? {
            (Reply::Done, None) => Ok(()),
            _ => Err(MountError::Confused),
        }
    }

    async fn ask(&self, request: Request) -> Result<Answer, MountError> {
        match self.line.lock().await.ask(&request).await.map_err(MountError::Gone)? {
            (Reply::Failed { kind, message }, _) => Err(MountError::Failed { kind, message }),
            answer => Ok(answer),
        }
    }
}

impl Unattached {
    fn new(id: u64, root: OwnedFd, noswap: bool) -> Self {
        tell_of_swap(noswap);
        Self { id, root }
    }
}

/// Says once that what is in volumes may be written to a disk after all: kernels before Linux 6.4 cannot keep it out of swap.
fn tell_of_swap(noswap: bool) {
    static SAID: Once = Once::new();
    if noswap || SAID.is_completed() {
        return;
    }
    // Where it cannot be read, nothing is known to keep pages in memory.
    if std::fs::read_to_string("/proc/swaps").is_ok_and(|swaps| !has_swap(&swaps)) {
        return;
    }
    SAID.call_once(|| {
        tracing::warn!(
            "this node swaps, and its kernel cannot keep volumes out of that: secrets may reach its disk. Use Linux 6.4 or later, \
             switch swap off, or encrypt it"
        );
    });
}

/// Whether there is anywhere to swap to: a line below the heading of `/proc/swaps`.
fn has_swap(swaps: &str) -> bool {
    swaps.lines().skip(1).any(|line| !line.trim().is_empty())
}

impl Line {
    /// Asks, in the task that wants to know: a thread between the two would be woken twice for each question. May be dropped while it waits.
    async fn ask(&mut self, request: &Request) -> std::io::Result<Answer> {
        match self.state {
            State::Idle => {}
            State::Owed => drop(self.answer().await?),
            State::Gone => return Err(ErrorKind::UnexpectedEof.into()),
        }
        let sent = self.socket.async_io(Interest::WRITABLE, || send_in(&self.socket, request, None, Wait::Never)).await;
        match sent {
            Ok(()) => self.state = State::Owed,
            Err(error) => {
                // A message is sent whole or not at all; the system may only lack memory for it.
                if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected)
                {
                    self.is_gone();
                }
                return Err(error);
            }
        }
        self.answer().await
    }

    async fn answer(&mut self) -> std::io::Result<Answer> {
        let (socket, bytes) = (&self.socket, &mut self.bytes);
        let received = socket.async_io(Interest::READABLE, || receive_in(socket, bytes, Wait::Never)).await;
        let answer = received.and_then(|message| message.ok_or_else(|| Error::from(ErrorKind::UnexpectedEof)));
        match &answer {
            Ok(_) => self.state = State::Idle,
            Err(_) => self.is_gone(),
        }
        answer
    }

    fn is_gone(&mut self) {
        self.state = State::Gone;
        self.gone.set();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::super::protocol::{receive, send};
    use super::*;

    #[tokio::test]
    async fn an_answer_that_nobody_waits_for_is_nobody_elses() {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let mounter = Mounter::new(ours).unwrap();
        let given_up = tokio::time::timeout(Duration::from_millis(20), mounter.count()).await;
        assert!(given_up.is_err());
        let other = std::thread::spawn(move || {
            for reply in [Reply::Counted(1), Reply::Lost(true)] {
                let (request, _) = receive::<Request>(&theirs).unwrap().unwrap();
                assert_eq!(matches!(request, Request::Count), matches!(reply, Reply::Counted(_)), "{request:?}");
                send(&theirs, &reply, None).unwrap();
            }
        });
        assert!(mounter.is_lost("csi").await.unwrap());
        other.join().unwrap();
        let still_there = tokio::time::timeout(Duration::from_millis(20), mounter.gone()).await;
        assert!(still_there.is_err());
        for _ in 0..2 {
            assert!(matches!(mounter.count().await, Err(MountError::Gone(_))), "the other half is gone");
        }
        mounter.gone().await;
    }

    #[test]
    fn a_machine_without_swap_is_told_from_one_that_has_some() {
        let heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert!(!has_swap(heading) && !has_swap(""));
        assert!(has_swap(&format!("{heading}/dev/sda2                               partition\t8388604\t0\t-2\n")));
    }
}
