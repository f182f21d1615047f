//! The fuel of an execution: whatever a template does is paid for before it is done.

use std::time::Instant;

use crate::error::Limit;
use crate::text::{Buf, Text};
use crate::value::Value;

/// How much one execution may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps: one for each action, argument, element of a loop and value printed; for the slow functions as many as they take
    /// time. Measured, a step takes up to 100 ns of a core.
    pub steps: u64,
    /// Bytes of output.
    pub output: usize,
    /// Bytes of all intermediate values together, whether they still live or not.
    pub memory: usize,
    /// How deep templates, blocks, parentheses and values may be nested in each other.
    pub depth: usize,
}

/// The most time that a step stands for.
const NANOS_A_STEP: u128 = 100;
/// What a value takes beside its bytes: counters, lengths, the allocator's own.
const OVERHEAD: usize = 64;

/// What a map takes before it has entries: a node has room for eleven.
const MAP: usize = 512;
/// What an entry takes, in nodes that are half full.
const ENTRY: usize = 3 * size_of::<Value>();

/// Enough for any Secret, which holds 1 MiB at most. In release, the worst of the templates in `examples/cost.rs` takes
/// a second of a core; the peak of the process' memory is 50 MiB.
impl Default for Limits {
    fn default() -> Self {
        Self { steps: 10_000_000, output: 4 << 20, memory: 32 << 20, depth: 100 }
    }
}

/// What is left of the limits.
pub struct Meter {
    limits: Limits,
    steps: u64,
    memory: usize,
}

impl Meter {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, steps: limits.steps, memory: limits.memory }
    }

    /// How deep values may be nested.
    pub fn depth(&self) -> usize {
        self.limits.depth
    }

    /// Takes steps.
    ///
    /// # Errors
    /// [`Limit::Steps`], when there are not as many left.
    pub fn steps(&mut self, count: u64) -> Result<(), Limit> {
        self.steps = self.steps.checked_sub(count).ok_or(Limit::Steps)?;
        Ok(())
    }

    /// Takes the steps for work that was begun at `start` and whose time nobody could say before.
    ///
    /// # Errors
    /// As [`steps`](Self::steps).
    pub(crate) fn took(&mut self, start: Instant) -> Result<(), Limit> {
        let steps = start.elapsed().as_nanos() / NANOS_A_STEP;
        self.steps(u64::try_from(steps).unwrap_or(u64::MAX))
    }

    /// Takes memory for a value of so many bytes, and the steps to fill it.
    ///
    /// # Errors
    /// [`Limit::Memory`] or [`Limit::Steps`], when there is not as much left.
    pub fn memory(&mut self, bytes: usize) -> Result<(), Limit> {
        let bytes = bytes.saturating_add(OVERHEAD);
        self.memory = self.memory.checked_sub(bytes).ok_or(Limit::Memory)?;
        self.steps(1 + bytes as u64 / 64)
    }

    /// Takes memory for a list of so many items.
    ///
    /// # Errors
    /// As [`memory`](Self::memory).
    pub fn items(&mut self, count: usize) -> Result<(), Limit> {
        self.memory(count.saturating_mul(size_of::<Value>()))
    }

    /// Takes memory for a map of so many entries.
    ///
    /// # Errors
    /// As [`memory`](Self::memory).
    pub fn entries(&mut self, count: usize) -> Result<(), Limit> {
        self.memory(count.saturating_mul(ENTRY).saturating_add(MAP))
    }

    /// Whether there is memory for so many bytes; none is taken.
    ///
    /// # Errors
    /// [`Limit::Memory`], when there is not.
    pub(crate) fn has_memory(&self, bytes: usize) -> Result<(), Limit> {
        if bytes > self.memory { Err(Limit::Memory) } else { Ok(()) }
    }

    /// A buffer that holds what memory is left.
    pub(crate) fn buf(&self) -> Buf {
        Buf::new(self.memory)
    }

    /// The text of a buffer, paid for.
    pub(crate) fn text(&mut self, buf: Buf) -> Result<Text, Limit> {
        if buf.is_full() {
            return Err(Limit::Memory);
        }
        self.memory(buf.len())?;
        Ok(buf.into_text())
    }
}
