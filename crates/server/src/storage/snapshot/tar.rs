//! The headers of an archive's files.

/// What a header, and what contents are padded to.
pub const SECTOR: usize = 512;
/// What an archive ends with.
pub const END: [u8; 2 * SECTOR] = [0; 2 * SECTOR];

/// The header of a file: POSIX ustar.
pub fn header(name: &str, length: usize) -> [u8; SECTOR] {
    let mut header = [0; SECTOR];
    let mut set = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    set(0, name.as_bytes());
    set(100, b"0000600\0");
    set(108, b"0000000\0");
    set(116, b"0000000\0");
    set(124, format!("{length:011o}\0").as_bytes());
    set(136, b"00000000000\0");
    // As it counts for the sum.
    set(148, b"        ");
    set(156, b"0");
    set(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// The length that a header says, if its name is `name` and it is as [`header`] makes it.
pub fn length(found: &[u8; SECTOR], name: &str) -> Option<usize> {
    let digits = std::str::from_utf8(&found[124..135]).ok()?;
    let length = usize::from_str_radix(digits, 8).ok()?;
    (*found == header(name, length)).then_some(length)
}

/// How many zeros follow contents of this length.
pub const fn padding(length: usize) -> usize {
    length.next_multiple_of(SECTOR) - length
}
