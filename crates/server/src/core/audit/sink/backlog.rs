//! Records that are to be sent, and those that were sent a moment ago and may have to be sent again.
//!
//! Bounded: the oldest go first. One that goes unsent is counted.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many are kept.
const RECORDS: usize = 4096;
/// How many bytes of them.
const BYTES: usize = 16 << 20;
/// How often one is sent at most: it may be what ends the connections.
const TIMES: u8 = 3;

#[derive(Default)]
pub struct Backlog {
    records: VecDeque<Kept>,
    /// So many of the first were sent on the connection that there is.
    sent: usize,
    bytes: usize,
    lost: u64,
}

struct Kept {
    line: Vec<u8>,
    sent: Option<Instant>,
    times: u8,
}

impl Backlog {
    pub fn push(&mut self, line: Vec<u8>) {
        while !self.records.is_empty() && (self.records.len() >= RECORDS || self.bytes + line.len() > BYTES) {
            self.forget_first();
        }
        self.bytes += line.len();
        self.records.push_back(Kept { line, sent: None, times: 0 });
    }

    /// The next to be sent.
    pub fn next(&self) -> Option<&[u8]> {
        self.records.get(self.sent).map(|kept| kept.line.as_slice())
    }

    /// The next was sent.
    pub fn sent(&mut self) {
        if let Some(kept) = self.records.get_mut(self.sent) {
            kept.sent = Some(Instant::now());
            kept.times += 1;
            self.sent += 1;
        }
    }

    /// The next can never be sent.
    pub fn skip(&mut self) {
        if let Some(kept) = self.records.remove(self.sent) {
            self.bytes -= kept.line.len();
        }
    }

    /// The connection is gone: what was sent on it of late may be, too.
    pub fn disconnected(&mut self) {
        while self.sent > 0 && self.records.front().is_some_and(|kept| kept.times >= TIMES) {
            self.forget_first();
        }
        self.sent = 0;
    }

    /// Forgets what was sent longer ago than `doubt`, and has arrived.
    pub fn settle(&mut self, doubt: Duration) {
        while self.sent > 0
            && let Some(Kept { sent: Some(time), .. }) = self.records.front()
            && time.elapsed() >= doubt
        {
            self.forget_first();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many went unsent since this was asked.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// How many went unsent since this was asked, and never will be.
    pub fn take_unsent(&mut self) -> u64 {
        while !self.records.is_empty() {
            self.forget_first();
        }
        self.take_lost()
    }

    fn forget_first(&mut self) {
        let Some(kept) = self.records.pop_front() else { return };
        self.bytes -= kept.line.len();
        if self.sent > 0 {
            self.sent -= 1;
        } else if kept.sent.is_none() {
            self.lost += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(backlog: &mut Backlog) -> Vec<u8> {
        let mut rest = Vec::new();
        while let Some(line) = backlog.next() {
            rest.push(line[0]);
            backlog.sent();
        }
        rest
    }

    #[test]
    fn what_was_sent_of_late_is_sent_again_on_the_next_connection() {
        let mut backlog = Backlog::default();
        for line in [b"a", b"b"] {
            backlog.push(line.to_vec());
        }
        assert_eq!(rest(&mut backlog), b"ab");
        backlog.push(b"c".to_vec());
        assert_eq!(rest(&mut backlog), b"c");
        backlog.settle(Duration::from_mins(1));
        backlog.disconnected();
        assert_eq!(rest(&mut backlog), b"abc");
        backlog.settle(Duration::ZERO);
        assert!(backlog.is_empty() && backlog.bytes == 0 && backlog.take_lost() == 0);
    }

    #[test]
    fn nothing_is_sent_over_and_over() {
        let mut backlog = Backlog::default();
        backlog.push(b"a".to_vec());
        for expected in [b"a".as_slice(), b"ab", b"ab", b"b", b""] {
            assert_eq!(rest(&mut backlog), expected);
            backlog.disconnected();
            if expected == b"a" {
                backlog.push(b"b".to_vec());
            }
        }
        assert!(backlog.is_empty() && backlog.bytes == 0 && backlog.take_lost() == 0);
    }

    #[test]
    fn it_is_bounded_in_number_and_size_and_what_goes_unsent_is_counted() {
        let mut backlog = Backlog::default();
        for number in 0..RECORDS + 3 {
            backlog.push(vec![u8::try_from(number % 251).unwrap()]);
        }
        assert_eq!((backlog.records.len(), backlog.take_lost(), backlog.take_lost()), (RECORDS, 3, 0));
        backlog.push(vec![0; BYTES]);
        assert_eq!((backlog.records.len(), backlog.bytes), (1, BYTES));
        assert_eq!(backlog.take_lost(), u64::try_from(RECORDS).unwrap());
        // One that was sent is not lost; one that can never be sent is skipped.
        backlog.sent();
        backlog.push(b"x".to_vec());
        assert_eq!((backlog.take_lost(), backlog.next()), (0, Some(b"x".as_slice())));
        backlog.skip();
        assert!(backlog.is_empty() && backlog.bytes == 0);
    }

    #[test]
    fn what_is_left_at_the_end_is_counted_unless_it_was_sent() {
        let mut backlog = Backlog::default();
        for line in [b"a", b"b", b"c"] {
            backlog.push(line.to_vec());
        }
        backlog.sent();
        backlog.disconnected();
        assert_eq!((backlog.take_unsent(), backlog.take_unsent(), backlog.bytes), (2, 0, 0));
    }
}
