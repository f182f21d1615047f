//! The program. All of it is in `bulla-cli`: link-time optimisation of the whole goes by how this crate is built, which is to be fast, and a command
//! line is better small.

use std::process::ExitCode;

/// What libraries copy to the heap is wiped when it is freed.
#[global_allocator]
static ALLOCATOR: bulla_core::memory::WipingAllocator = bulla_core::memory::WipingAllocator;

fn main() -> ExitCode {
    bulla_cli::main()
}
