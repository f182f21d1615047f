//! Room for bodies: how much memory all that are being read or answered have together, whoever sends them.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

/// What a piece of a body that comes in several is kept in, at most and at least.
const BLOCK: std::ops::RangeInclusive<usize> = 1 << 10..=64 << 10;

/// The room of all bodies. A clone is the same room.
#[derive(Clone, Debug)]
pub struct Room {
    left: Arc<Semaphore>,
    all: usize,
    free: usize,
}

/// What one body takes of it, until this is dropped.
#[derive(Debug)]
pub struct Taken {
    room: Room,
    length: usize,
    counted: Option<OwnedSemaphorePermit>,
}

/// There is no room left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is longer than it may be.
    TooLong,
    /// There are too many at once.
    Full,
    /// It did not come to its end.
    Broken,
}

impl Room {
    /// Room for `all` bytes together. The first `free` of each body are not counted.
    pub fn new(all: usize, free: usize) -> Self {
        let all = all.min(Semaphore::MAX_PERMITS);
        Self { left: Arc::new(Semaphore::new(all)), all, free }
    }

    /// For a body of which nothing is there yet.
    pub fn body(&self) -> Taken {
        Taken { room: self.clone(), length: 0, counted: None }
    }

    /// For a body of so many bytes, once there is room for all of it. Whoever waits holds nothing else of this room: others wait for that.
    ///
    /// # Errors
    /// If there never is.
    pub async fn wait(&self, length: usize) -> Result<Taken, Full> {
        let wanted = length.saturating_sub(self.free);
        if wanted > self.all {
            return Err(Full);
        }
        let mut taken = Taken { length, ..self.body() };
        if wanted > 0 {
            let wanted = u32::try_from(wanted).map_err(|_| Full)?;
            taken.counted = Some(Arc::clone(&self.left).acquire_many_owned(wanted).await.map_err(|_| Full)?);
        }
        Ok(taken)
    }

    /// All of a body. It takes room as it comes, not as it is announced: who sends nothing keeps nobody out.
    ///
    /// # Errors
    /// [`Unread`].
    pub async fn collect<B: Body<Data = Bytes> + Unpin>(
        &self,
        mut body: B,
        limit: usize,
    ) -> Result<(Zeroizing<Vec<u8>>, Taken), Unread> {
        if body.size_hint().lower() > limit as u64 {
            return Err(Unread::TooLong);
        }
        let (mut blocks, mut taken) = (Blocks::default(), self.body());
        while let Some(frame) = body.frame().await {
            let Ok(part) = frame.map_err(|_| Unread::Broken)?.into_data() else { continue };
            if taken.length + part.len() > limit {
                return Err(Unread::TooLong);
            }
            taken.grow(part.len()).map_err(|Full| Unread::Full)?;
            blocks.push(&part);
        }
        Ok((blocks.whole(taken.length), taken))
    }
}

impl Taken {
    /// Takes room for so many bytes more.
    ///
    /// # Errors
    /// If there is none.
    pub fn grow(&mut self, more: usize) -> Result<(), Full> {
        let length = self.length.saturating_add(more);
        let counted = self.counted.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = length.saturating_sub(self.room.free).saturating_sub(counted);
        if wanted > 0 {
            let wanted = u32::try_from(wanted).map_err(|_| Full)?;
            let permit = Arc::clone(&self.room.left).try_acquire_many_owned(wanted).map_err(|_| Full)?;
            match &mut self.counted {
                Some(counted) => counted.merge(permit),
                None => self.counted = Some(permit),
            }
        }
        self.length = length;
        Ok(())
    }
}

/// Pieces as they come, copied: kept as they are, each of a few bytes would hold on to the buffer that it was read into.
#[derive(Default)]
struct Blocks(Vec<Zeroizing<Vec<u8>>>);

impl Blocks {
    fn push(&mut self, mut part: &[u8]) {
        while !part.is_empty() {
            let has_place = self.0.last().is_some_and(|block| block.len() < block.capacity());
            if !has_place {
                let before = self.0.last().map_or(0, |block| 2 * block.capacity());
                let capacity = before.clamp(*BLOCK.start(), *BLOCK.end()).max(part.len());
                self.0.push(Zeroizing::new(Vec::with_capacity(capacity)));
            }
            // Never longer than its capacity: growing would leave a copy behind.
            let Some(block) = self.0.last_mut() else { return };
            let (now, later) = part.split_at(part.len().min(block.capacity() - block.len()));
            block.extend_from_slice(now);
            part = later;
        }
    }

    /// One piece of all.
    fn whole(mut self, length: usize) -> Zeroizing<Vec<u8>> {
        match self.0.pop() {
            Some(only) if self.0.is_empty() => only,
            last => {
                let mut whole = Zeroizing::new(Vec::with_capacity(length));
                for block in self.0.drain(..).chain(last) {
                    whole.extend_from_slice(&block);
                }
                whole
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::Frame;

    use super::*;

    /// A body in pieces.
    struct Pieces(std::vec::IntoIter<Bytes>);

    impl Pieces {
        fn of(text: &[u8], size: usize) -> Self {
            Self(text.chunks(size).map(Bytes::copy_from_slice).collect::<Vec<_>>().into_iter())
        }
    }

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.next().map(|piece| Ok(Frame::data(piece))))
        }
    }

    #[tokio::test]
    async fn a_body_is_read_whole_in_whatever_pieces_it_comes() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let room = Room::new(text.len(), 0);
        for size in [1, 7, 1000, 65_536, 100_000, text.len()] {
            let (read, taken) = room.collect(Pieces::of(&text, size), text.len()).await.unwrap();
            assert!(*read == text, "{size}");
            assert_eq!(room.left.available_permits(), 0);
            drop(taken);
            assert_eq!(room.left.available_permits(), text.len());
        }
        let (read, _) = room.collect(Pieces::of(&[], 1), 0).await.unwrap();
        assert!(read.is_empty());
    }

    #[tokio::test]
    async fn all_bodies_share_the_room_and_the_first_bytes_of_each_are_free() {
        let room = Room::new(100, 10);
        let (_, first) = room.collect(Pieces::of(&[1; 80], 9), 1000).await.unwrap();
        assert_eq!(room.collect(Pieces::of(&[1; 41], 9), 1000).await.unwrap_err(), Unread::Full);
        // Who did not get all gave back what he had.
        assert_eq!(room.left.available_permits(), 30);
        let (_, _second) = room.collect(Pieces::of(&[1; 40], 9), 1000).await.unwrap();
        let (_, mut small) = room.collect(Pieces::of(&[1; 10], 9), 1000).await.unwrap();
        assert_eq!(small.grow(1), Err(Full));
        drop(first);
        assert_eq!(small.grow(70), Ok(()));
        assert_eq!(small.grow(usize::MAX), Err(Full));
    }

    #[tokio::test]
    async fn who_waits_for_room_gets_it_when_others_are_done() {
        let room = Room::new(100, 10);
        let first = room.wait(110).await.unwrap();
        assert_eq!(room.wait(111).await.unwrap_err(), Full);
        drop(room.wait(10).await.unwrap());
        let waits = room.wait(60);
        tokio::pin!(waits);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(50), &mut waits).await.is_err());
        drop(first);
        let mut second = waits.await.unwrap();
        assert_eq!(room.left.available_permits(), 50);
        second.grow(50).unwrap();
        assert_eq!(second.grow(1), Err(Full));
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_not_read_to_its_end() {
        let room = Room::new(1000, 0);
        let pieces = Pieces::of(&[1; 100], 10);
        assert_eq!(room.collect(pieces, 99).await.unwrap_err(), Unread::TooLong);
        let announced = http_body_util::Full::new(Bytes::from_static(&[0; 10]));
        assert_eq!(room.collect(announced, 9).await.unwrap_err(), Unread::TooLong);
        assert_eq!(room.left.available_permits(), 1000);
    }

    #[test]
    fn pieces_of_a_byte_hold_on_to_nothing() {
        let mut blocks = Blocks::default();
        for _ in 0..1_000_000 {
            blocks.push(&[7]);
        }
        let kept: usize = blocks.0.iter().map(|block| block.capacity()).sum();
        assert!(kept < 1_200_000 && blocks.0.len() < 40, "{kept} bytes in {} blocks", blocks.0.len());
        assert_eq!(blocks.whole(1_000_000).len(), 1_000_000);
    }
}
