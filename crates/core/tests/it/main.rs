//! What `core` promises, looked for where it would show: in the process's memory, on the disk, under `kill -9`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails, and makes its files by the shortest way"
)]

mod child;
mod lock;
mod memory;
mod read;
mod replace;
mod scan;

/// What the binary installs too; `memory` looks for what it leaves behind.
#[global_allocator]
static ALLOCATOR: bulla_core::memory::WipingAllocator = bulla_core::memory::WipingAllocator;
