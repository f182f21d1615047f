//! Looks for a value in all writable memory of this process.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

static SEARCH: Mutex<()> = Mutex::new(());

/// A random value that this type does not hold: only two halves whose XOR it is. Nothing that searches for it,
/// or keeps it for later, is found by the search.
pub(crate) struct Needle {
    masked: [u8; Needle::LEN],
    mask: [u8; Needle::LEN],
}

impl Needle {
    pub(crate) const LEN: usize = 64;

    pub(crate) fn random() -> Self {
        let mut needle = Self { masked: [0; Self::LEN], mask: [0; Self::LEN] };
        getrandom::fill(&mut needle.masked).unwrap();
        getrandom::fill(&mut needle.mask).unwrap();
        // Kept to ASCII, so that it can be a string too.
        for (masked, mask) in needle.masked.iter_mut().zip(&needle.mask) {
            *masked = mask ^ (b'!' + *masked % 90);
        }
        needle
    }

    /// The value, a byte at a time.
    pub(crate) fn bytes(&self) -> impl Iterator<Item = u8> {
        self.masked.iter().zip(&self.mask).map(|(masked, mask)| std::hint::black_box(masked ^ mask))
    }

    /// How often the value's third quarter stands in writable memory. (The C library writes its lists over the beginning of a freed
    /// block, so a search for the whole would miss what is left.)
    pub(crate) fn count(&self) -> usize {
        const PART: Range<usize> = 32..48;
        const CHUNK: usize = 1 << 20;
        const PAGE: usize = 4096;
        let (masked, mask) = (&self.masked[PART], &self.mask[PART]);
        let is_match =
            |window: &[u8]| window.iter().zip(mask).zip(masked).all(|((byte, mask), masked)| byte ^ mask == *masked);
        // One search at a time: the buffer of another would be found.
        let _one = SEARCH.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = File::open("/proc/self/mem").unwrap();
        let mut buffer = vec![0; CHUNK];
        let own = buffer.as_ptr() as usize..buffer.as_ptr() as usize + buffer.len();
        let mut count = 0;
        let first = masked[0] ^ mask[0];
        for mapping in writable() {
            let mut at = mapping.start;
            while at < mapping.end {
                let wanted = buffer.len().min(mapping.end - at);
                match memory.read_at(&mut buffer[..wanted], at as u64) {
                    Ok(n @ 1..) => {
                        let windows = buffer[..n].windows(PART.len()).enumerate();
                        count += windows
                            .filter(|(i, window)| window[0] == first && !own.contains(&(at + i)) && is_match(window))
                            .count();
                        // What begins in the last few bytes is for the next round.
                        at += if n < PART.len() { n } else { n - (PART.len() - 1) };
                    }
                    // A page that went away under us: other tests run beside this one.
                    _ => at = (at / PAGE + 1) * PAGE,
                }
            }
        }
        buffer.fill(0);
        count
    }
}

fn writable() -> Vec<Range<usize>> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let range = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        rest.starts_with("rw").then_some(address(start)?..address(end)?)
    };
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for range in maps.lines().filter_map(range) {
        // A mapping that is merged with its neighbour while the list is read comes twice.
        let start = ranges.last().map_or(range.start, |last| range.start.max(last.end));
        ranges.push(start..range.end.max(start));
    }
    ranges
}

/// The `VmFlags` of the mapping that `address` is in.
pub(crate) fn flags(address: *const u8) -> Vec<String> {
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut inside = false;
    for line in smaps.lines() {
        let first = line.split(' ').next().unwrap();
        if let Some((start, end)) = first.split_once('-') {
            let bound = |text| usize::from_str_radix(text, 16).unwrap();
            inside = (bound(start)..bound(end)).contains(&(address as usize));
        } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| inside) {
            return flags.split_whitespace().map(str::to_owned).collect();
        }
    }
    panic!("no mapping at {address:p}");
}
