//! The body of an answer: whole, or piece by piece.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

use crate::logical::Stream;

/// What is sent: all of it is here, or it is still being made.
pub type AnswerBody = Either<Full<Bytes>, Pieces>;

/// A body that is still being made.
pub struct Pieces(mpsc::Receiver<Result<Bytes, String>>);

/// A body that is here.
pub fn whole(bytes: impl Into<Bytes>) -> AnswerBody {
    Either::Left(Full::new(bytes.into()))
}

/// A body that comes.
pub fn pieces(stream: &Stream) -> AnswerBody {
    // Sent once: who comes second finds nothing, and what is not there is not taken for an end.
    let pieces = stream.take().unwrap_or_else(|| {
        let (send, pieces) = mpsc::channel(1);
        let _ = send.try_send(Err("it was sent before".to_owned()));
        pieces
    });
    Either::Right(Pieces(pieces))
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        // An error ends the connection in the middle: there is no other way to say that not all came.
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
