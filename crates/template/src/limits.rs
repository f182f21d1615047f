//! The fuel of an execution: whatever a template does is paid for before it is done.

use crate::error::Limit;
use crate::text::{Buf, Text};
use crate::value::Value;

/// How much one execution may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps: one for each action, argument, element of a loop and value printed; for the slow functions as many as they take
    /// time (about 100 ns a step).
    pub steps: u64,
    /// Bytes of output.
    pub output: usize,
    /// Bytes of all intermediate values together, whether they still live or not.
    pub memory: usize,
    /// How deep templates, blocks, parentheses and values may be nested in each other.
    pub depth: usize,
}

/// Enough for any Secret, which holds 1 MiB at most; about a second of work, unless keys are generated.
impl Default for Limits {
    fn default() -> Self {
        Self { steps: 100_000_000, output: 4 << 20, memory: 64 << 20, depth: 100 }
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

    /// Takes memory for a value of so many bytes, and the steps to fill it.
    ///
    /// # Errors
    /// [`Limit::Memory`] or [`Limit::Steps`], when there is not as much left.
    pub fn memory(&mut self, bytes: usize) -> Result<(), Limit> {
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
