//! The body of an answer: whole, or as the server sends it.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bulla_core::SecretBytes;
use bulla_kms::vault_http::Opened;
use bulla_listen::Taken;
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// What is given to whoever asked: all of it is here, or it comes from the server.
pub(crate) type AnswerBody = Either<Full<Bytes>, Box<Passed>>;

/// A body that comes from the server, for as long as its time and its room.
pub(crate) struct Passed {
    body: reqwest::Body,
    until: Pin<Box<Sleep>>,
    _taken: Taken,
}

/// A body that is here.
pub(super) fn whole(bytes: impl Into<Bytes>) -> AnswerBody {
    Either::Left(Full::new(bytes.into()))
}

/// A body of a secret, wiped once it is sent.
pub(super) fn secret(bytes: SecretBytes, taken: Taken) -> AnswerBody {
    whole(Bytes::from_owner(Wiped(bytes, taken)))
}

/// A body as the server sends it, until then.
pub(super) fn passed(opened: Opened, until: Instant, taken: Taken) -> AnswerBody {
    let until = Box::pin(sleep_until(until));
    Either::Right(Box::new(Passed { body: opened.into_body(), until, _taken: taken }))
}

impl Body for Passed {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let passed = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut passed.body).poll_frame(context) {
            // The connection to who asked ends in the middle: there is no other way to say that not all came.
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| error.without_url().into())));
        }
        ready!(passed.until.as_mut().poll(context));
        Poll::Ready(Some(Err("the server's answer took too long".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes of an answer, wiped once they are sent, and the room that they take.
struct Wiped(SecretBytes, #[allow(dead_code, reason = "held as long as the bytes are")] Taken);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}
