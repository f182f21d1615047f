//! The body of an answer: whole, or piece by piece.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use crate::logical::Stream;

/// What is sent.
pub enum AnswerBody {
    /// All of it is here.
    Whole(Full<Bytes>),
    /// It is still being made.
    Pieces(mpsc::Receiver<Result<Bytes, String>>),
}

impl From<Bytes> for AnswerBody {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(Full::new(bytes))
    }
}

impl From<Stream> for AnswerBody {
    fn from(stream: Stream) -> Self {
        // Sent once: who comes second finds nothing, and what is not there is not taken for an end.
        stream.take().map_or_else(
            || {
                let (send, pieces) = mpsc::channel(1);
                let _ = send.try_send(Err("it was sent before".to_owned()));
                Self::Pieces(pieces)
            },
            Self::Pieces,
        )
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            // An error ends the connection in the middle: there is no other way to say that not all came.
            Self::Pieces(pieces) => {
                pieces.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data).map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(body) if body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}
