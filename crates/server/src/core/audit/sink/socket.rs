//! Sockets: connections over TCP and in the file system, and datagrams.
//!
//! What a far side says is not listened to, but that it ends is. A record is one line, or one datagram.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::super::options::{Socket, SocketKind};
use super::link::Transport;

/// What waits for a far side that takes its time; the system may allow less.
const BUFFER: usize = 4 << 20;

/// The transport of a device's options.
pub fn of(plan: Socket) -> Box<dyn Transport> {
    match plan.kind {
        SocketKind::Tcp | SocketKind::Unix => Box::new(Stream { plan, open: None }),
        SocketKind::Udp => Box::new(Udp { plan, open: None }),
        SocketKind::UnixDatagram => Box::new(Datagrams::new(plan.address.into(), plan.timeout)),
    }
}

/// A connection.
struct Stream {
    plan: Socket,
    open: Option<OwnedFd>,
}

impl Transport for Stream {
    fn name(&self) -> String {
        self.plan.address.clone()
    }

    fn connect(&mut self) -> io::Result<()> {
        let timeout = self.plan.timeout;
        let open = match self.plan.kind {
            SocketKind::Unix => connect_unix(self.plan.address.as_ref(), timeout)?,
            _ => connect_tcp(&self.plan.address, timeout)?.into(),
        };
        sockopt::set_socket_timeout(&open, sockopt::Timeout::Send, Some(timeout))?;
        self.open = Some(open);
        Ok(())
    }

    fn check(&mut self) -> io::Result<()> {
        check(self.open.as_ref().ok_or(ErrorKind::NotConnected)?.as_fd(), Ends::Empty)
    }

    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        let open = self.open.as_ref().ok_or(ErrorKind::NotConnected)?;
        let end = Instant::now() + self.plan.timeout;
        let mut rest = line;
        loop {
            match rustix::net::send(open, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if rest.is_empty() {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }

    fn close(&mut self) {
        self.open = None;
    }

    /// By then the system has given up on what was not confirmed, or the far side has closed what it did not read.
    fn doubt(&self) -> Duration {
        self.plan.timeout * 2 + Duration::from_secs(1)
    }
}

fn connect_tcp(address: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            // A port of this machine that nobody listens on, chosen as our own: what is sent there comes to ourselves.
            Ok(stream) if stream.local_addr()? == address => last = ErrorKind::ConnectionRefused.into(),
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
                sockopt::set_tcp_user_timeout(&stream, millis)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Waits no longer than `timeout` for a far side that accepts nobody.
fn connect_unix(path: &Path, timeout: Duration) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(timeout))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// What nothing read means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// The end.
    Empty,
    /// An empty datagram.
    Never,
}

/// Whether a socket shows a sign of its end. What came on it is dropped.
fn check(socket: BorrowedFd<'_>, ends: Ends) -> io::Result<()> {
    sockopt::socket_error(socket)??;
    let mut dropped = [0; 1024];
    for _ in 0..64 {
        match rustix::net::recv(socket, &mut dropped[..], RecvFlags::DONTWAIT) {
            Ok((_, 0)) if ends == Ends::Empty => {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "the far side closed the connection"));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Datagrams over the network. That nobody takes them is told by some networks.
struct Udp {
    plan: Socket,
    open: Option<UdpSocket>,
}

impl Transport for Udp {
    fn name(&self) -> String {
        self.plan.address.clone()
    }

    fn connect(&mut self) -> io::Result<()> {
        let address = self.plan.address.to_socket_addrs()?.next().ok_or(ErrorKind::AddrNotAvailable)?;
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(address)?;
        socket.set_write_timeout(Some(self.plan.timeout))?;
        self.open = Some(socket);
        Ok(())
    }

    fn check(&mut self) -> io::Result<()> {
        check(self.open.as_ref().ok_or(ErrorKind::NotConnected)?.as_fd(), Ends::Never)
    }

    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        self.open.as_ref().ok_or(ErrorKind::NotConnected)?.send(line).map(drop)
    }

    fn close(&mut self) {
        self.open = None;
    }

    fn doubt(&self) -> Duration {
        Duration::ZERO
    }
}

/// Datagrams to a socket in the file system.
pub struct Datagrams {
    path: PathBuf,
    timeout: Duration,
    open: Option<UnixDatagram>,
}

impl Datagrams {
    pub fn new(path: PathBuf, timeout: Duration) -> Self {
        Self { path, timeout, open: None }
    }
}

impl Transport for Datagrams {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn connect(&mut self) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(&self.path)?;
        socket.set_write_timeout(Some(self.timeout))?;
        sockopt::set_socket_send_buffer_size(&socket, BUFFER)?;
        self.open = Some(socket);
        Ok(())
    }

    fn check(&mut self) -> io::Result<()> {
        check(self.open.as_ref().ok_or(ErrorKind::NotConnected)?.as_fd(), Ends::Never)
    }

    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        self.open.as_ref().ok_or(ErrorKind::NotConnected)?.send(line).map(drop)
    }

    fn close(&mut self) {
        self.open = None;
    }

    /// It is with the far side, or it is not sent.
    fn doubt(&self) -> Duration {
        Duration::ZERO
    }
}
