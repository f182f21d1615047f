//! The files of a volume: what they may be, how they come to be all at once, and what is remembered of them.

mod content;
mod record;
mod writer;

pub use content::{Content, ContentError, File, Limits};
pub use record::{ObjectVersion, Record};
pub use writer::{Prepared, VolumeError, Written, is_current, prepare, record, remember};

#[cfg(test)]
mod tests;
