//! The other half's side: asks for mounts, and works in the folders that come back.

use std::os::fd::{AsFd, OwnedFd};

use tokio::sync::{mpsc, oneshot};

use super::protocol::{FailureKind, Owner, Reply, Request, Shape, receive_in, send};

/// The half that mounts, as the other half sees it.
#[derive(Clone, Debug)]
pub struct Mounter {
    questions: mpsc::Sender<Question>,
}

/// With a file descriptor, where one is asked for.
type Answer = (Reply, Option<OwnedFd>);
/// And who waits for the answer.
type Question = (Request, oneshot::Sender<std::io::Result<Answer>>);
/// How many may wait for their turn before who asks waits for theirs.
const WAITING: usize = 64;
/// How much of a stack the thread has that asks, in bytes: messages are on the heap.
const STACK: usize = 256 << 10;

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
    Gone(std::io::Error),
    /// It answered something else than what was asked.
    #[error("the process that mounts answered something else")]
    Confused,
}

/// A file system that is mounted nowhere yet.
#[derive(Debug)]
pub struct Unattached {
    /// Its number.
    pub id: u64,
    /// Its root folder.
    pub root: OwnedFd,
    /// Whether its pages stay out of swap.
    pub noswap: bool,
}

/// What is at a place, or can be.
#[derive(Debug)]
pub enum Found {
    /// The root folder of what is mounted there.
    Mounted(OwnedFd),
    /// Nothing is: a file system for it.
    Made(Unattached),
}

impl Mounter {
    /// Over the socket that leads to it.
    pub fn new(socket: OwnedFd) -> Self {
        let (questions, receiver) = mpsc::channel(WAITING);
        // Where there is no room for a thread nobody is asked, and who asks hears of it.
        let asking = std::thread::Builder::new().name("mounter".to_owned()).stack_size(STACK);
        let _ = asking.spawn(move || ask_all(&socket, receiver));
        Self { questions }
    }

    /// Makes a file system in memory.
    ///
    /// # Errors
    /// [`MountError`].
    pub async fn create(&self, shape: Shape) -> Result<Unattached, MountError> {
        match self.ask(Request::Create(shape)).await? {
            (Reply::Created { id, noswap }, Some(root)) => Ok(Unattached { id, root, noswap }),
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
        match self.ask(Request::OpenOrCreate { target: target.to_owned(), shape }).await? {
            (Reply::Opened, Some(root)) => Ok(Found::Mounted(root)),
            (Reply::Created { id, noswap }, Some(root)) => Ok(Found::Made(Unattached { id, root, noswap })),
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

    async fn done(&self, request: Request) -> Result<(), MountError> {
        match self.ask(request).await? {
            (Reply::Done, None) => Ok(()),
            _ => Err(MountError::Confused),
        }
    }

    async fn ask(&self, request: Request) -> Result<(Reply, Option<OwnedFd>), MountError> {
        let gone = || MountError::Gone(std::io::ErrorKind::UnexpectedEof.into());
        let (tell, told) = oneshot::channel();
        self.questions.send((request, tell)).await.map_err(|_| gone())?;
        match told.await.map_err(|_| gone())? {
            Ok((Reply::Failed { kind, message }, _)) => Err(MountError::Failed { kind, message }),
            Ok(answer) => Ok(answer),
            Err(error) => Err(MountError::Gone(error)),
        }
    }
}

/// Asks one question at a time, because the other side does one thing at a time anyway, until nobody has another one, or the other side is
/// gone. A question that was begun gets its answer also when nobody waits for it any more: the next answer is the next question's.
fn ask_all(socket: &OwnedFd, mut questions: mpsc::Receiver<Question>) {
    let mut bytes = Vec::new();
    while let Some((request, tell)) = questions.blocking_recv() {
        let answer = send(socket.as_fd(), &request, None)
            .and_then(|()| receive_in(socket, &mut bytes)?.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into()));
        let is_gone = answer.is_err();
        let _ = tell.send(answer);
        if is_gone {
            // What was said to whom is not known any more.
            return;
        }
    }
}
