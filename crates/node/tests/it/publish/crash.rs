//! Both halves end at each message between them, before it is done and after; those that come next find what is left, and finish it.

use std::os::fd::{AsFd, OwnedFd};

use bulla_node::mounter::protocol::{Reply, Request as Asked, receive, send};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::*;

/// Where they end.
#[derive(Clone, Copy, Debug)]
struct End {
    /// After so many messages.
    messages: usize,
    /// Whether what the next one asks is still done.
    is_done: bool,
}

impl End {
    /// One after the other, for ever.
    fn all() -> impl Iterator<Item = Self> {
        (0..).flat_map(|messages| [false, true].map(|is_done| Self { messages, is_done }))
    }
}

impl World {
    /// Has the service speak with the half that mounts over a socket that ends.
    fn ending(&mut self, interval: Option<Duration>, end: End) {
        let (socket, ours) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let theirs = self.half.socket.try_clone().unwrap();
        rustix::io::ioctl_fionbio(&theirs, false).unwrap();
        std::thread::spawn(move || hand_on(&ours, &theirs, end));
        self.service = Self::service(&Mounter::new(socket).unwrap(), &self.pods, &self.classes, &self.log, interval);
    }

    /// Both halves anew.
    fn started_again(mut self, interval: Option<Duration>) -> Self {
        self.half.again();
        self.restarted(interval)
    }

    fn mounts(&self) -> usize {
        self.half.mounts().lines().filter(|line| line.contains(" tmpfs bulla ")).count()
    }

    async fn leaves_nothing(&self) {
        self.unpublish("p").await.unwrap();
        let place = self.half.look("pods").join("p/volumes/kubernetes.io~csi/secrets/mount");
        assert!(self.mounts() == 0 && !place.exists());
    }
}

fn hand_on(ours: &OwnedFd, theirs: &OwnedFd, end: End) {
    for message in 0.. {
        let Ok(Some((request, _))) = receive::<Asked>(ours) else { return };
        if message == end.messages && !end.is_done {
            return;
        }
        send(theirs.as_fd(), &request, None).unwrap();
        let (reply, descriptor) = receive::<Reply>(theirs).unwrap().unwrap();
        if message == end.messages {
            return;
        }
        if send(ours.as_fd(), &reply, descriptor.as_ref().map(AsFd::as_fd)).is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_volume_that_was_being_mounted_is_mounted_once() {
    for end in End::all() {
        let mut world = World::new(None);
        world.ending(None, end);
        let done = world.publish("p").await;
        let world = world.started_again(None);
        if done.is_ok() {
            assert!(end.messages > 2, "{end:?}");
            break;
        }
        world.publish("p").await.unwrap();
        assert_eq!((world.file("p", "password").as_deref(), world.mounts()), (Some("one"), 1), "{end:?}");
        world.leaves_nothing().await;
    }
}

#[tokio::test]
async fn a_pod_that_goes_instead_leaves_nothing() {
    for end in End::all() {
        let mut world = World::new(None);
        world.ending(None, end);
        let done = world.publish("p").await;
        let world = world.started_again(None);
        world.leaves_nothing().await;
        if done.is_ok() {
            break;
        }
    }
}

#[tokio::test]
async fn a_volume_that_was_being_taken_away_goes() {
    for end in End::all() {
        let world = World::new(None);
        world.publish("p").await.unwrap();
        let mut world = world.restarted(None);
        world.ending(None, end);
        let done = world.unpublish("p").await;
        let world = world.started_again(None);
        world.leaves_nothing().await;
        if done.is_ok() {
            break;
        }
    }
}

#[tokio::test]
async fn what_was_being_changed_is_one_version_or_the_other_and_then_the_new_one() {
    let interval = Some(Duration::ZERO);
    for end in End::all() {
        let world = World::new(interval);
        world.publish("p").await.unwrap();
        let mut world = world.restarted(interval);
        world.answers(&[("password", "two"), ("user", "me")], "2");
        world.ending(interval, end);
        // The kubelet hears that all is well: the volume stays mounted.
        let done = world.publish("p").await;
        let is_done = world.file("p", "user").is_some();
        let password = world.file("p", "password");
        assert!(password.as_deref() == Some(if is_done { "two" } else { "one" }), "{end:?}: {password:?}");
        let world = world.started_again(interval);
        world.publish("p").await.unwrap();
        let now = ["password", "user"].map(|name| world.file("p", name));
        assert_eq!((now, world.mounts()), ([Some("two".to_owned()), Some("me".to_owned())], 1), "{end:?}");
        world.leaves_nothing().await;
        if done.is_ok() && is_done {
            break;
        }
    }
}
