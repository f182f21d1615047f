//! Room for bodies: how much memory all that are being read or answered have together, whoever sends them.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use zeroize::Zeroizing;

/// What a piece of a body that comes in several is kept in, at most and at least.
const BLOCK: std::ops::RangeInclusive<usize> = 1 << 10..=64 << 10;

/// Of a body that takes room so many bytes have to come in such a time, or all that is left of it: who sends nothing keeps nobody out.
const PACE: (usize, Duration) = (64 << 10, Duration::from_secs(10));

/// The room of all bodies. A clone is the same room.
#[derive(Clone, Debug)]
pub struct Room {
    left: Arc<Semaphore>,
    all: usize,
    free: usize,
    pace: (usize, Duration),
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
    /// It comes too slowly for the room that it takes.
    Slow,
    /// It did not come to its end.
    Broken,
}

impl Room {
    /// Room for `all` bytes together. The first `free` of each body are not counted.
    pub fn new(all: usize, free: usize) -> Self {
        let all = all.min(Semaphore::MAX_PERMITS);
        Self { left: Arc::new(Semaphore::new(all)), all, free, pace: PACE }
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
        body: B,
        limit: usize,
    ) -> Result<(Zeroizing<Vec<u8>>, Taken), Unread> {
        let mut reading = self.read(body);
        reading.to_end(limit).await?;
        Ok(reading.whole())
    }

    /// For a body that is read once more, or with another limit, where it was not read to its end.
    pub fn read<B: Body<Data = Bytes> + Unpin>(&self, body: B) -> Reading<B> {
        Reading { body, held: None, blocks: Blocks::default(), taken: self.body(), lap: None }
    }
}

/// A body that is being read.
pub struct Reading<B> {
    body: B,
    /// What came and had no place.
    held: Option<Bytes>,
    blocks: Blocks,
    taken: Taken,
    /// Up to which length it has to come, and until when, since it takes room.
    lap: Option<(usize, Instant)>,
}

impl<B: Body<Data = Bytes> + Unpin> Reading<B> {
    /// Reads to its end. What was read is kept if there is more than `limit`, or no room, and it can be gone on with.
    ///
    /// # Errors
    /// [`Unread`].
    pub async fn to_end(&mut self, limit: usize) -> Result<(), Unread> {
        let held = self.held.as_ref().map_or(0, Bytes::len);
        let announced = self.body.size_hint().lower().saturating_add((self.taken.length + held) as u64);
        if announced > limit as u64 {
            return Err(Unread::TooLong);
        }
        loop {
            let part = match self.held.take() {
                Some(part) => part,
                None => match self.next().await? {
                    Some(part) => part,
                    None => return Ok(()),
                },
            };
            let refused = if self.taken.length + part.len() > limit {
                Some(Unread::TooLong)
            } else {
                self.taken.grow(part.len()).err().map(|Full| Unread::Full)
            };
            if let Some(refused) = refused {
                self.held = Some(part);
                return Err(refused);
            }
            self.blocks.push(&part);
        }
    }

    /// The next part, if it comes in time.
    async fn next(&mut self) -> Result<Option<Bytes>, Unread> {
        loop {
            let frame = if self.taken.counted.is_none() {
                self.body.frame().await
            } else {
                let (bytes, time) = self.taken.room.pace;
                let lap = self.lap.filter(|(end, _)| self.taken.length < *end);
                let (end, until) = lap.unwrap_or_else(|| (self.taken.length + bytes, Instant::now() + time));
                self.lap = Some((end, until));
                let mut frame = self.body.frame();
                match poll_fn(|context| Poll::Ready(Pin::new(&mut frame).poll(context))).await {
                    Poll::Ready(frame) => frame,
                    Poll::Pending => tokio::time::timeout_at(until, frame).await.map_err(|_| Unread::Slow)?,
                }
            };
            let Some(frame) = frame else { return Ok(None) };
            if let Ok(part) = frame.map_err(|_| Unread::Broken)?.into_data() {
                return Ok(Some(part));
            }
        }
    }

    /// Takes its room from another.
    ///
    /// # Errors
    /// If there is too little.
    pub fn move_to(&mut self, room: &Room) -> Result<(), Full> {
        let mut taken = room.body();
        taken.grow(self.taken.length)?;
        self.taken = taken;
        Ok(())
    }

    /// Lets go of what was read and of its room, and passes over the rest, up to so many bytes and for so long: whoever still sends may not see an answer.
    pub async fn pass_over(self, most: usize, time: Duration) {
        let Self { mut body, held, blocks, taken, .. } = self;
        drop((held, blocks, taken));
        let rest = async {
            let mut passed = 0;
            while let Some(Ok(frame)) = body.frame().await
                && passed <= most
            {
                passed += frame.data_ref().map_or(0, Bytes::len);
            }
        };
        let _ = tokio::time::timeout(time, rest).await;
    }

    /// What was read, in one piece, and its room.
    pub fn whole(self) -> (Zeroizing<Vec<u8>>, Taken) {
        (self.blocks.whole(self.taken.length), self.taken)
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
    use std::task::Context;

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
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut waits).await.is_err());
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

    #[tokio::test]
    async fn a_body_that_is_too_long_for_one_limit_goes_on_with_another() {
        let (small, large) = (Room::new(100, 0), Room::new(1000, 0));
        let text: Vec<u8> = (0..200).collect();
        let mut reading = small.read(Pieces::of(&text, 30));
        assert_eq!(reading.to_end(99).await, Err(Unread::TooLong));
        assert_eq!(reading.to_end(200).await, Err(Unread::Full));
        assert_eq!(small.left.available_permits(), 10);
        reading.move_to(&large).unwrap();
        assert_eq!((small.left.available_permits(), large.left.available_permits()), (100, 910));
        assert_eq!(reading.to_end(199).await, Err(Unread::TooLong));
        reading.to_end(200).await.unwrap();
        let (read, taken) = reading.whole();
        assert!(*read == text);
        drop(taken);
        assert_eq!(large.left.available_permits(), 1000);
        // One that was announced is not begun with, and gone on with.
        let mut reading = small.read(http_body_util::Full::new(Bytes::from_static(&[0; 50])));
        assert_eq!(reading.to_end(49).await, Err(Unread::TooLong));
        reading.to_end(50).await.unwrap();
        assert_eq!(reading.move_to(&Room::new(49, 0)), Err(Full));
        assert_eq!(small.left.available_permits(), 50);
        reading.pass_over(100, Duration::from_secs(10)).await;
        assert_eq!(small.left.available_permits(), 100);
    }

    /// Comes in parts of so many bytes, one each 20 milliseconds; after some, nothing comes.
    struct Slowly {
        parts: std::ops::Range<usize>,
        part: usize,
        wait: Pin<Box<tokio::time::Sleep>>,
    }

    impl Slowly {
        fn new(parts: usize, part: usize) -> Self {
            Self { parts: 0..parts, part, wait: Box::pin(tokio::time::sleep(Duration::ZERO)) }
        }
    }

    impl Body for Slowly {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            std::task::ready!(self.wait.as_mut().poll(context));
            let next = Instant::now() + Duration::from_millis(20);
            self.wait.as_mut().reset(next);
            match self.parts.next() {
                Some(_) => Poll::Ready(Some(Ok(Frame::data(vec![7; self.part].into())))),
                None => Poll::Pending,
            }
        }
    }

    #[tokio::test]
    async fn who_sends_nothing_more_keeps_no_room() {
        let room = Room { pace: (8 << 10, Duration::from_millis(200)), ..Room::new(1 << 20, 1000) };
        let long = Duration::from_secs(30);
        // Nothing after all but the end, or too little for ever.
        for (parts, part) in [(1, 5000), (100_000, 100)] {
            let read = tokio::time::timeout(long, room.collect(Slowly::new(parts, part), 1 << 20)).await.unwrap();
            assert_eq!(read.map(|_| ()), Err(Unread::Slow));
            assert_eq!(room.left.available_permits(), 1 << 20);
        }
        // Who takes no room may take its time.
        let read = tokio::time::timeout(Duration::from_secs(1), room.collect(Slowly::new(10, 100), 1 << 20)).await;
        assert!(read.is_err());
        // What comes in time comes for as long as it takes: it has what is more than the time of one part alone.
        let room = Room { pace: (8 << 10, Duration::from_secs(5)), ..room };
        let enough = tokio::time::timeout(long, room.collect(Slowly::new(300, 1000), 290_000)).await.unwrap();
        assert_eq!(enough.map(|_| ()), Err(Unread::TooLong));
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
