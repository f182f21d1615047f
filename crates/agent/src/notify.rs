//! What the service manager is told: systemd, for units of `Type=notify`.

use std::os::unix::ffi::OsStrExt;

use bulla_core::Env;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socket_with};

/// It does what it is there for.
pub(crate) const READY: &str = "READY=1";
/// It ends.
pub(crate) const STOPPING: &str = "STOPPING=1";

/// Tells the service manager, if there is one. Who does not listen is told nothing.
pub(crate) fn tell(env: &dyn Env, state: &str) {
    let Some(place) = env.var("NOTIFY_SOCKET") else { return };
    let address = match place.as_bytes() {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
        path => SocketAddrUnix::new(path),
    };
    let sent = address.and_then(|address| {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        sendto(&socket, state.as_bytes(), SendFlags::NOSIGNAL, &address)
    });
    if let Err(error) = sent {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;

    #[test]
    fn the_service_manager_is_told_where_it_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("bulla-agent-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (place, socket) in [(path.display().to_string(), by_path), (format!("@{name}"), by_name)] {
            let env = BTreeMap::from([("NOTIFY_SOCKET".to_owned(), place)]);
            tell(&env, READY);
            let mut text = [0; 64];
            let length = socket.recv(&mut text).unwrap();
            assert_eq!(&text[..length], b"READY=1");
        }
        tell(&BTreeMap::<String, String>::new(), READY);
        tell(&BTreeMap::from([("NOTIFY_SOCKET".to_owned(), "/nowhere/x".to_owned())]), READY);
    }
}
