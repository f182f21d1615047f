//! What the kubelet sends to a registration socket, made readable.
//!
//! Its gRPC library names the socket's path as the authority that it calls (`:authority: %2Fvar%2Flib%2Fkubelet…`). No authority has
//! that form (RFC 3986, 3.2), and this program's HTTP/2 library refuses it. (To a driver's own socket the kubelet says `localhost`.) So
//! what comes is read as frames (RFC 9113, 4.1), and an authority in a block of headers is written anew: `localhost`.
//!
//! Headers are compressed with a table that both sides keep (RFC 7541, 2.3.2). The new entry is shorter than the one in whose place it
//! stands, so all that the kubelet still refers to is there, under the same index.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// What is sent before the first frame is 24 bytes long.
const PREFACE: usize = 24;
/// Length, kind, flags and stream of a frame.
const HEAD: usize = 9;
/// The longest frame that is allowed before another length was agreed on, which it never is here.
const LONGEST: usize = 1 << 14;
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;
/// The index of `:authority` in the table that every connection begins with (RFC 7541, appendix A).
const AUTHORITY: usize = 1;
/// With its length.
const LOCALHOST: &[u8] = b"\x09localhost";

/// A connection, read with its authority written anew.
#[derive(Debug)]
pub(crate) struct Readable<S> {
    stream: S,
    frames: Frames,
}

impl<S> Readable<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, frames: Frames { before: PREFACE, ..Frames::default() } }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Readable<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        loop {
            if !self.frames.whole.is_empty() {
                let length = self.frames.whole.len().min(into.remaining());
                into.put_slice(&self.frames.whole[..length]);
                self.frames.whole.drain(..length);
                return Poll::Ready(Ok(()));
            }
            let mut bytes = [0; 4096];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                // What is left is half a frame, which nobody waits for any more.
                return Poll::Ready(Ok(()));
            }
            self.frames.add(read.filled());
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Readable<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: Connected> Connected for Readable<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

/// Bytes that come, cut into frames.
#[derive(Debug, Default)]
struct Frames {
    /// What is left of the preface.
    before: usize,
    /// Not yet a whole frame.
    part: Vec<u8>,
    /// To be read.
    whole: Vec<u8>,
}

impl Frames {
    fn add(&mut self, bytes: &[u8]) {
        let preface = bytes.len().min(self.before);
        self.before -= preface;
        self.whole.extend_from_slice(&bytes[..preface]);
        self.part.extend_from_slice(&bytes[preface..]);
        while let Some(&[a, b, c, kind, flags, ..]) = self.part.get(..HEAD) {
            let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            if length > LONGEST {
                // Whoever reads it refuses it, and needs no more of it than its head.
                self.whole.append(&mut self.part);
                return;
            }
            let Some(frame) = self.part.get(..HEAD + length) else { return };
            match (kind == HEADERS).then(|| with_localhost(flags, &frame[HEAD..])).flatten() {
                Some(payload) => {
                    // No longer than it was.
                    self.whole.extend(payload.len().to_be_bytes().iter().skip(size_of::<usize>() - 3));
                    self.whole.extend_from_slice(&frame[3..HEAD]);
                    self.whole.extend(payload);
                }
                None => self.whole.extend_from_slice(frame),
            }
            self.part.drain(..HEAD + length);
        }
    }
}

/// The payload of a frame of headers, with its authority written anew; nothing if it is not of the simple form that it has here.
fn with_localhost(flags: u8, payload: &[u8]) -> Option<Vec<u8>> {
    if flags & END_HEADERS == 0 || flags & PADDED != 0 {
        return None;
    }
    let (mut new, mut rest) = (Vec::with_capacity(payload.len()), payload);
    if flags & PRIORITY != 0 {
        new.extend_from_slice(rest.get(..5)?);
        rest = rest.get(5..)?;
    }
    while let Some(&first) = rest.first() {
        // RFC 7541, 6: indexed; a literal that is indexed from now on; a new size of the table; a literal that is not.
        let (prefix, is_literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let (index, mut length) = integer(rest, prefix)?;
        let mut value = None;
        if is_literal {
            if index == 0 {
                length += string(rest.get(length..)?)?;
            }
            value = Some(length);
            length += string(rest.get(length..)?)?;
        }
        let field = rest.get(..length)?;
        match value {
            Some(value) if index == AUTHORITY && length - value > LOCALHOST.len() => {
                new.extend_from_slice(&field[..value]);
                new.extend_from_slice(LOCALHOST);
            }
            _ => new.extend_from_slice(field),
        }
        rest = &rest[length..];
    }
    Some(new)
}

/// A number whose first bits are the last `prefix` of a byte, and how many bytes it takes (RFC 7541, 5.1).
fn integer(bytes: &[u8], prefix: u32) -> Option<(usize, usize)> {
    let most = (1_usize << prefix) - 1;
    let mut number = usize::from(*bytes.first()?) & most;
    if number < most {
        return Some((number, 1));
    }
    for (place, byte) in bytes.iter().enumerate().skip(1).take(4) {
        number += usize::from(byte & 0x7f) << (7 * (place - 1));
        if byte & 0x80 == 0 {
            return Some((number, place + 1));
        }
    }
    None
}

/// How many bytes a text takes, with its length (RFC 7541, 5.2).
fn string(bytes: &[u8]) -> Option<usize> {
    let (length, used) = integer(bytes, 7)?;
    used.checked_add(length)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::proto::registration::registration_server::RegistrationServer;
    use crate::registration::RegistrationService;

    /// A frame of stream 1.
    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, u8::from(kind < 2)], payload].concat()
    }

    fn text(text: &str) -> Vec<u8> {
        [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    }

    /// What grpc-go sends: preface, settings, a call of `GetInfo`.
    fn call() -> Vec<u8> {
        let mut block = vec![0x83, 0x86, 0x45];
        block.extend(text("/pluginregistration.Registration/GetInfo"));
        block.push(0x41);
        block.extend(text("%2Fvar%2Flib%2Fkubelet%2Fplugins_registry%2Fbulla.dev-reg.sock"));
        block.push(0x5f);
        block.extend(text("application/grpc"));
        block.push(0x40);
        block.extend([text("te"), text("trailers")].concat());
        [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, 0, &[]),
            frame(HEADERS, END_HEADERS, &block),
            frame(0, 1, &[0; 5]),
        ]
        .concat()
    }

    #[tokio::test]
    async fn the_kubelet_s_call_is_answered() {
        let (mut kubelet, ours) = tokio::net::UnixStream::pair().unwrap();
        let service = RegistrationService::new("bulla.dev", "/csi.sock");
        let incoming = futures_util::stream::iter([Ok::<_, std::io::Error>(Readable::new(ours))]);
        let server = tonic::transport::Server::builder().add_service(RegistrationServer::new(service));
        let server = tokio::spawn(server.serve_with_incoming(incoming));
        kubelet.write_all(&call()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.windows(9).any(|window| window == b"CSIPlugin") {
            assert_ne!(kubelet.read_buf(&mut answer).await.unwrap(), 0, "refused: {answer:?}");
        }
        drop(kubelet);
        server.await.unwrap().unwrap();
    }

    #[test]
    fn the_authority_alone_is_written_anew_however_the_bytes_come() {
        let call = call();
        let whole = |pieces: std::slice::Chunks<'_, u8>| {
            let mut frames = Readable::new(()).frames;
            pieces.for_each(|piece| frames.add(piece));
            assert!(frames.part.is_empty());
            frames.whole
        };
        let once = whole(call.chunks(call.len()));
        for size in 1..call.len() {
            assert_eq!(whole(call.chunks(size)), once);
        }
        let (before, after) = (String::from_utf8_lossy(&call), String::from_utf8_lossy(&once));
        let authority = "%2Fvar%2Flib%2Fkubelet%2Fplugins_registry%2Fbulla.dev-reg.sock";
        assert!(before.contains(authority) && !after.contains(authority));
        assert!(after.contains("A\tlocalhost_") && after.contains("/pluginregistration.Registration/GetInfo"));
        assert_eq!(once.len(), call.len() - authority.len() - 1 + LOCALHOST.len());
    }

    #[test]
    fn what_is_not_understood_stays_as_it_is() {
        for (flags, payload) in [
            (0, &[0x41, 2, b'a', b'b'][..]),
            (END_HEADERS | PADDED, &[0, 0x82]),
            (END_HEADERS, &[0x41]),
            (END_HEADERS, &[0x41, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff]),
            (END_HEADERS, &[0x7f, 0x80]),
            (END_HEADERS | PRIORITY, &[1, 2]),
        ] {
            assert_eq!(with_localhost(flags, payload), None, "{payload:?}");
        }
        // A name that is no path, and a size, an index and a literal of other headers.
        let fields =
            [&[0x3f, 0xe1, 0x1f, 0x82, 0x41][..], &text("localhost"), &[0x00], &text("a"), &text("b")].concat();
        assert_eq!(with_localhost(END_HEADERS, &fields), Some(fields));
        let mut frames = Readable::new(()).frames;
        let huge = [[0xff; HEAD].as_slice(), &[1; 100]].concat();
        frames.add(&[[0; PREFACE].as_slice(), &huge].concat());
        assert!(frames.whole.ends_with(&huge));
    }
}
