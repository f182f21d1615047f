//! What the two halves of the node service say to each other: one datagram for a request, one for its answer, with at most one file
//! descriptor beside it.
//!
//! The half that asks is the one that talks to the world, so the half that mounts trusts nothing of it: texts are bounded, fields that
//! are not known are refused, and what is asked for is checked again where it is done.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The longest message, in bytes: a path of 4096 bytes may be written with escapes.
const LONGEST: usize = 64 << 10;

/// What the unprivileged half may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Request {
    /// A file system in memory that is mounted nowhere yet; its root folder comes back. It goes with the process unless it is attached.
    Create(Shape),
    /// Mounts a file system that was made at the place that the kubelet named.
    #[serde(rename_all = "kebab-case")]
    Attach {
        /// The number that [`Reply::Created`] gave.
        id: u64,
        /// The place, below the folder of all pods.
        target: String,
        /// A folder in it whose files get an owner before it is seen.
        folder: Option<String>,
        /// Who gets them.
        owner: Owner,
    },
    /// Lets a file system go that was not attached.
    Discard {
        /// The number that [`Reply::Created`] gave.
        id: u64,
    },
    /// The root folder of what was mounted there before.
    Open {
        /// The place.
        target: String,
    },
    /// The same; where nothing is mounted, a file system as for [`Request::Create`].
    OpenOrCreate {
        /// The place.
        target: String,
        /// What is made.
        shape: Shape,
    },
    /// The same; but what is made is mounted there, unless something else is by then.
    OpenOrMount {
        /// The place.
        target: String,
        /// What is made.
        shape: Shape,
    },
    /// Gives the files of a folder to an owner.
    Own {
        /// The place.
        target: String,
        /// The folder in it.
        folder: String,
        /// Who gets them.
        owner: Owner,
    },
    /// Unmounts what is mounted there and removes the place. Nothing is there: that is well, too.
    Detach {
        /// The place.
        target: String,
    },
    /// At how many places file systems of this service are mounted.
    Count,
    /// A socket of this name that listens, at the path that the rules give it. What was at the path before is gone.
    Listen {
        /// Its name.
        name: String,
    },
    /// Whether nobody is found at the path of a socket that listens.
    IsLost {
        /// Its name.
        name: String,
    },
    /// Takes the path of a socket away, if it is still this process's: nobody finds it any more.
    Unlisten {
        /// Its name.
        name: String,
    },
    /// A connection to a provider's socket.
    Connect {
        /// The provider's name.
        provider: String,
    },
}

/// How large a file system is, and whose its root is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Shape {
    /// The most that its files may hold together, in bytes.
    pub bytes: u64,
    /// How many files and folders it may have.
    pub files: u64,
    /// The group of its root folder, which what is made in it inherits.
    pub group: Option<u32>,
}

/// Who gets files. What is not said stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Owner {
    /// The user.
    pub user: Option<u32>,
    /// The group.
    pub group: Option<u32>,
}

/// The answer. A file descriptor comes with `Created`, `Opened`, `Mounted`, `Connected` and `Listening`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Reply {
    /// It was made.
    Created {
        /// Its number until it is attached.
        id: u64,
        /// Whether its pages stay out of swap.
        noswap: bool,
    },
    /// It is there.
    Opened,
    /// It was made, and is there.
    Mounted {
        /// Whether its pages stay out of swap.
        noswap: bool,
    },
    /// The connection is there.
    Connected,
    /// The socket listens.
    Listening,
    /// Whether it is lost.
    Lost(bool),
    /// It was done.
    Done,
    /// So many.
    Counted(usize),
    /// It was not done.
    #[serde(rename_all = "kebab-case")]
    Failed {
        /// What kind of failure, for who can act on it.
        kind: FailureKind,
        /// What failed, in a sentence.
        message: String,
    },
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The request is against the rules.
    Refused,
    /// There is nothing there.
    NotFound,
    /// Something else is mounted there.
    Busy,
    /// The system failed.
    System,
}

/// Sends one message.
///
/// # Errors
/// A message that is too long, or the socket's error.
pub fn send<M: Serialize>(socket: impl AsFd, message: &M, descriptor: Option<BorrowedFd<'_>>) -> std::io::Result<()> {
    send_in(socket, message, descriptor, Wait::Blocking)
}

/// Whether the socket is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It is, in the call. Said for each call, because whoever has the socket too may want it otherwise.
    Blocking,
    /// It is not: `WouldBlock`.
    Never,
}

/// The same, waiting or not.
///
/// # Errors
/// Those of [`send`].
pub fn send_in<M: Serialize>(
    socket: impl AsFd,
    message: &M,
    descriptor: Option<BorrowedFd<'_>>,
    wait: Wait,
) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > LONGEST {
        return Err(Errno::MSGSIZE.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::NOBUFS.into());
    }
    let flags = match wait {
        Wait::Blocking => SendFlags::NOSIGNAL,
        Wait::Never => SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    };
    let sent = retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(&bytes)], &mut beside, flags))?;
    if sent == bytes.len() { Ok(()) } else { Err(Errno::MSGSIZE.into()) }
}

/// Receives one message; `None` when the other half is gone.
///
/// # Errors
/// A message that is cut off or malformed, or the socket's error.
pub fn receive<M: DeserializeOwned>(socket: impl AsFd) -> std::io::Result<Option<(M, Option<OwnedFd>)>> {
    receive_in(socket, &mut Vec::new(), Wait::Blocking)
}

/// The same in a buffer that was used for one before, waiting or not.
///
/// # Errors
/// Those of [`receive`].
pub fn receive_in<M: DeserializeOwned>(
    socket: impl AsFd,
    bytes: &mut Vec<u8>,
    wait: Wait,
) -> std::io::Result<Option<(M, Option<OwnedFd>)>> {
    bytes.resize(LONGEST, 0);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let flags = match wait {
        Wait::Blocking => RecvFlags::CMSG_CLOEXEC,
        Wait::Never => RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
    };
    let received = retry_on_intr(|| recvmsg(&socket, &mut [IoSliceMut::new(bytes)], &mut beside, flags))?;
    let mut descriptor = None;
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            descriptor = descriptors.last();
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    if received.flags.contains(rustix::net::ReturnFlags::TRUNC) {
        return Err(Errno::MSGSIZE.into());
    }
    let message = serde_json::from_slice(&bytes[..received.bytes])?;
    Ok(Some((message, descriptor)))
}
