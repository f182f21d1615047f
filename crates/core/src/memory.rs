//! Memory that holds secrets: locked where the system allows, left out of core dumps, wiped before it is given back.
//!
//! The only module of the tree with `unsafe` in it. Four things live here: [`Region`], the pages behind
//! [`SecretBytes`](crate::SecretBytes); [`WipingAllocator`], which a program installs so that what libraries copy to
//! the heap is wiped too; [`keep_little`] and [`give_back`], for services that mostly wait; and [`harden_process`],
//! which is called once at the start of `main`.
#![allow(
    unsafe_code,
    reason = "mmap, mlock, madvise and the allocator have no safe form; every block says why it is sound"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{io, ptr, slice};

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MlockFlags, MremapFlags, ProtFlags};

/// Anonymous pages of their own, never shared with other data.
///
/// The first `len` bytes are in use, the rest up to the page-rounded capacity are zero. Locking and `MADV_DONTDUMP`
/// are asked for and their refusal ignored: a limit on locked memory (8 MiB on many systems) must not stop a
/// large file from being read. Pages are locked as they are first used, so spare capacity costs no memory. An empty
/// region maps nothing. Regions of one page, which most keys are, take their page from a few that are kept.
pub struct Region {
    base: ptr::NonNull<u8>,
    capacity: usize,
    len: usize,
}

// SAFETY: a `Region` owns its pages alone, like a `Vec<u8>` does; nothing in it is tied to a thread.
unsafe impl Send for Region {}
// SAFETY: shared references give out `&[u8]` only.
unsafe impl Sync for Region {}

impl Region {
    /// A region with nothing in it and nothing mapped.
    pub const fn empty() -> Self {
        Self { base: ptr::NonNull::dangling(), capacity: 0, len: 0 }
    }

    /// Zeroed pages of `len` bytes, all in use.
    ///
    /// # Panics
    /// If the system has no memory left, as `Vec` does.
    pub fn zeroed(len: usize) -> Self {
        let mut region = Self::empty();
        region.reserve(len);
        region.len = len;
        region
    }

    /// Makes room for `additional` more bytes. Pages move without leaving a copy behind.
    ///
    /// # Panics
    /// If the system has no memory left, as `Vec` does.
    pub fn reserve(&mut self, additional: usize) {
        let Some(needed) = self.len.checked_add(additional) else { out_of_memory(usize::MAX) };
        if needed <= self.capacity {
            return;
        }
        let wanted = needed.max(self.capacity.saturating_add(self.capacity / 2));
        let Some(capacity) = wanted.checked_next_multiple_of(rustix::param::page_size()) else { out_of_memory(wanted) };
        if self.capacity == 0
            && capacity == rustix::param::page_size()
            && let Some(page) = kept_pages().pop()
        {
            self.base = page.0;
            self.capacity = capacity;
            return;
        }
        let base = if self.capacity == 0 { map(capacity) } else { self.remap(capacity) };
        // On failure the region is still what it was.
        let Some(base) = base.ok().and_then(|base| ptr::NonNull::new(base.cast())) else { out_of_memory(capacity) };
        self.base = base;
        self.capacity = capacity;
        protect(base, capacity);
    }

    /// Grows the mapping, moving its pages (not a copy of them) if it must.
    fn remap(&mut self, capacity: usize) -> io::Result<*mut c_void> {
        let base = self.base.as_ptr().cast();
        // SAFETY: `base` and `self.capacity` are an earlier mapping of this region, and no reference into it outlives
        // `&mut self`. Locked pages would count twice against their limit while they move, and make it fail:
        // they are unlocked here and locked again where they come to stand.
        unsafe {
            let _ = rustix::mm::munlock(base, self.capacity);
            Ok(rustix::mm::mremap(base, self.capacity, capacity, MremapFlags::MAYMOVE)?)
        }
    }

    /// Appends `bytes`.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        let start = self.len;
        self.len += bytes.len();
        self.as_mut_slice()[start..].copy_from_slice(bytes);
    }

    /// Shortens to `len` bytes and wipes the rest. Does nothing if it is shorter already.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            wipe_slice(&mut self.as_mut_slice()[len..]);
            self.len = len;
        }
    }

    /// Grows with zeros or shortens to exactly `len` bytes.
    pub fn resize(&mut self, len: usize) {
        if len > self.len {
            self.reserve(len - self.len);
            // Bytes past `len` are zero by construction: fresh pages are, and `truncate` wipes.
            self.len = len;
        } else {
            self.truncate(len);
        }
    }

    /// The bytes in use, for writing.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: `base` is valid for `capacity >= len` initialised bytes (or dangling with `len == 0`), aligned for
        // `u8`, and borrowed as long as `self` is.
        unsafe { slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }

    /// The bytes in use.
    pub const fn as_slice(&self) -> &[u8] {
        // SAFETY: as in `as_mut_slice`.
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.capacity == 0 {
            return;
        }
        wipe_slice(self.as_mut_slice());
        if self.capacity == rustix::param::page_size() {
            let mut pages = kept_pages();
            if pages.len() < KEPT_PAGES {
                // All zero now, and locked and left out of dumps as far as the system allows: as good as a fresh one.
                pages.push(Page(self.base));
                return;
            }
        }
        // SAFETY: the mapping is ours and nothing can refer to it any more. It unlocks the pages as well.
        unsafe {
            let _ = rustix::mm::munmap(self.base.as_ptr().cast(), self.capacity);
        }
    }
}

/// A zeroed page that no region has.
struct Page(ptr::NonNull<u8>);

// SAFETY: whoever has the `Page` has the memory alone.
unsafe impl Send for Page {}

/// How many pages are kept. Mapping, locking and unmapping one takes the system longer than most of what is done with a key.
const KEPT_PAGES: usize = 32;

fn kept_pages() -> MutexGuard<'static, Vec<Page>> {
    static PAGES: Mutex<Vec<Page>> = Mutex::new(Vec::new());
    PAGES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fresh zeroed pages.
fn map(capacity: usize) -> io::Result<*mut c_void> {
    // SAFETY: a private anonymous mapping at an address of the system's choice overlaps nothing.
    Ok(unsafe {
        rustix::mm::mmap_anonymous(ptr::null_mut(), capacity, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)?
    })
}

/// Asks for pages that are not swapped and not dumped; see [`Region`] for why a refusal is no error.
fn protect(base: ptr::NonNull<u8>, capacity: usize) {
    let base = base.as_ptr().cast();
    // SAFETY: the caller's mapping, whole; none of the calls changes its contents.
    unsafe {
        if let Err(Errno::NOSYS | Errno::INVAL) = rustix::mm::mlock_with(base, capacity, MlockFlags::ONFAULT) {
            let _ = rustix::mm::mlock(base, capacity);
        }
        let _ = rustix::mm::madvise(base, capacity, Advice::LinuxDontDump);
    }
}

fn out_of_memory(wanted: usize) -> ! {
    std::alloc::handle_alloc_error(Layout::array::<u8>(wanted).unwrap_or(Layout::new::<u8>()))
}

/// The system's allocator, which wipes each block before it is given back.
///
/// Copies that libraries make of a secret (a TLS buffer, a parser's string) are out of reach for types of ours. With
/// this as the program's global allocator none of them outlives its block. A block that grows is copied, and the old one
/// wiped:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: bulla_core::memory::WipingAllocator = bulla_core::memory::WipingAllocator;
/// ```
pub struct WipingAllocator;

// SAFETY: every call is passed on to `System` with the layout it came with; `dealloc` and `realloc` write only inside
// the block they were given, before it is freed.
unsafe impl GlobalAlloc for WipingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is `System`'s.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is `layout.size()` bytes long and still the caller's.
        unsafe {
            wipe(block, layout.size());
            System.dealloc(block, layout);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // `System.realloc` would free the old block unwiped when it moves.
        // SAFETY: `new_size` is non-zero and does not overflow with this alignment (the caller's contract), the copy
        // stays inside both blocks, and the old block is freed once.
        unsafe {
            let new_layout = Layout::from_size_align_unchecked(new_size, layout.align());
            let new_block = System.alloc(new_layout);
            if !new_block.is_null() {
                ptr::copy_nonoverlapping(block, new_block, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            new_block
        }
    }
}

/// Zeroes `bytes` for good: the compiler keeps the writes although nobody reads them. As fast as a fill.
pub fn wipe_slice(bytes: &mut [u8]) {
    // SAFETY: a slice is valid for writes of its length.
    unsafe { wipe(bytes.as_mut_ptr(), bytes.len()) }
}

/// Zeroes `len` bytes at `block` so that the compiler keeps the writes although nobody reads them.
///
/// # Safety
/// `block` must be valid for writes of `len` bytes.
unsafe fn wipe(block: *mut u8, len: usize) {
    // SAFETY: the caller's promise. The empty assembly says that memory may be read, so the fill cannot be dropped.
    unsafe {
        ptr::write_bytes(block, 0, len);
        std::arch::asm!("/* {0} */", in(reg) block, options(nostack, preserves_flags));
    }
}

/// Has large blocks (128 KiB and more) come from the system and go back to it at once, for a service that is started once and then
/// mostly waits; a command that ends soon is faster without.
///
/// glibc takes a block from its heap after the first of its size was freed, and has a heap for each thread of up to sixteen.
pub fn keep_little() {
    #[cfg(target_env = "gnu")]
    {
        use std::ffi::c_int;
        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        // mallopt(3), malloc.h
        const M_MMAP_THRESHOLD: c_int = -3;
        const M_ARENA_MAX: c_int = -8;
        // SAFETY: both may be set at any time and concern blocks that are asked for later. What is refused is as it was.
        unsafe {
            mallopt(M_MMAP_THRESHOLD, 128 << 10);
            mallopt(M_ARENA_MAX, 2);
        }
    }
}

/// How much memory this process may have together with all others of its control group, in bytes: the group's limit, or what the
/// machine has.
pub fn limit() -> u64 {
    let system = rustix::system::sysinfo();
    let all = system.totalram.saturating_mul(u64::from(system.mem_unit));
    let of_group = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    // In a container both are the container's own; the second is the first version's of control groups.
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .into_iter()
        .filter_map(of_group)
        .fold(all, u64::min)
}

/// Gives back to the system what a service needed for a lot of work and does not need while it waits.
///
/// Memory that was freed: glibc keeps what lies below a block that is still in use. A service that read ten thousand objects and
/// remembers a line of each would keep the memory of all of them for ever. And the program's own text: what is run next is mapped again
/// from the file's pages in memory, some microseconds for each sixteen of them; what ran once, for the start or the work, is not. Takes a
/// millisecond for some tens of megabytes; other threads that allocate wait for it.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            // malloc_trim(3)
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
            // end(3), and its other end: the linker's.
            static __executable_start: u8;
            static etext: u8;
        }
        // SAFETY: it may be called at any time from any thread, and touches no block that is in use.
        unsafe { malloc_trim(0) };
        let page = rustix::param::page_size();
        let start = (&raw const __executable_start).addr().next_multiple_of(page);
        let end = (&raw const etext).addr() / page * page;
        if start < end {
            // SAFETY: these pages are a private mapping of the program's file that nobody can write to, so what is read of them next is
            // what was there before. A refusal changes nothing.
            let _ = unsafe {
                rustix::mm::madvise(ptr::with_exposed_provenance_mut(start), end - start, Advice::LinuxDontNeed)
            };
        }
    }
}

/// Tells when a service has had nothing to do for a while: when it may [`give_back`].
#[derive(Debug, Default)]
pub struct Rest {
    before: u64,
    rested: Option<u64>,
}

impl Rest {
    /// To be asked every few seconds, with how much was done so far. Whether nothing was since the last time, for the first time since something was.
    pub fn is_due(&mut self, done: u64) -> bool {
        let is_due = done == self.before && self.rested != Some(done);
        if is_due {
            self.rested = Some(done);
        }
        self.before = done;
        is_due
    }
}

/// Makes the process unreadable for its peers: no core dump, no `ptrace` or `/proc/PID/mem` by the same user.
///
/// Called once, first thing in `main`. Programs that are started later (an editor, `exec-env`'s child) get
/// their own default back on `execve`.
///
/// # Errors
/// What `prctl` answered.
pub fn harden_process() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
