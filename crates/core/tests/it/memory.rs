//! Values are locked, left out of dumps, and gone when they are dropped.

use bulla_core::memory::harden_process;
use bulla_core::{DataKey, SecretBytes, SecretString};
use rustix::process::{DumpableBehavior, Resource};

use crate::child;
use crate::scan::{Needle, flags};

fn secret(needle: &Needle) -> SecretBytes {
    let mut bytes = SecretBytes::zeroed(Needle::LEN);
    for (to, from) in bytes.expose_mut().iter_mut().zip(needle.bytes()) {
        *to = from;
    }
    bytes
}

#[test]
fn secret_bytes_are_gone_after_drop() {
    let needle = Needle::random();
    let bytes = secret(&needle);
    assert_eq!(needle.count(), 1, "the search must find it while it lives");
    drop(bytes);
    assert_eq!(needle.count(), 0);
}

#[test]
fn secret_bytes_leave_no_copy_behind_when_they_grow() {
    let needle = Needle::random();
    let mut bytes = secret(&needle);
    // Something behind it, so that it cannot grow where it is.
    let neighbours: Vec<_> = (0..16).map(|_| SecretBytes::zeroed(1)).collect();
    for size in [10_000, 3_000_000] {
        bytes.resize(size);
        assert_eq!(needle.count(), 1, "after growing to {size}");
        assert!(bytes.expose()[..Needle::LEN].iter().copied().eq(needle.bytes()));
        assert!(bytes.expose()[Needle::LEN..].iter().all(|byte| *byte == 0));
    }
    drop((bytes, neighbours));
    assert_eq!(needle.count(), 0);
}

#[test]
fn what_is_cut_off_is_wiped() {
    let needle = Needle::random();
    let mut bytes = secret(&needle);
    bytes.truncate(10);
    assert_eq!(needle.count(), 0);
    bytes.resize(Needle::LEN);
    assert!(bytes.expose()[10..].iter().all(|byte| *byte == 0));
}

#[test]
fn new_memory_is_zero_also_where_another_secret_was() {
    for len in [1, 32, 4095, 4096, 4097, 10_000] {
        let used: Vec<_> = (0..100).map(|_| SecretBytes::random(len).unwrap()).collect();
        drop(used);
        let mut fresh: Vec<_> = (0..100).map(|_| SecretBytes::zeroed(1)).collect();
        for bytes in &mut fresh {
            bytes.resize(4096);
            assert!(bytes.expose().iter().all(|byte| *byte == 0), "after {len} bytes");
        }
    }
}

#[test]
fn a_vector_that_becomes_secret_leaves_no_copy_behind() {
    let needle = Needle::random();
    let mut vector = Vec::with_capacity(Needle::LEN);
    vector.extend(needle.bytes());
    let bytes = SecretBytes::from(vector);
    assert_eq!(needle.count(), 1);
    drop(bytes);
    assert_eq!(needle.count(), 0);
}

#[test]
fn the_allocator_wipes_what_plain_types_leave() {
    // A size that the search itself has no use for: its blocks must not cover what is looked for.
    const SPARE: usize = 600;
    let needle = Needle::random();
    let mut vector = vec![0; SPARE];
    vector.reserve_exact(Needle::LEN);
    vector.extend(needle.bytes());
    assert_eq!(needle.count(), 1, "the search must find it while it lives");
    drop(vector);
    assert_eq!(needle.count(), 0);

    let mut string = String::with_capacity(SPARE + Needle::LEN);
    string.extend(std::iter::repeat_n(' ', SPARE));
    string.extend(needle.bytes().map(char::from));
    assert_eq!(needle.count(), 1);
    drop(string);
    assert_eq!(needle.count(), 0);
}

#[test]
fn the_allocator_wipes_the_old_block_when_one_grows() {
    let needle = Needle::random();
    let mut vector = Vec::with_capacity(Needle::LEN);
    vector.extend(needle.bytes());
    // A block behind it, then sizes up to where the C library asks the kernel for pages.
    let behind = vec![1_u8; Needle::LEN];
    for size in [100, 1_000, 100_000, 1_000_000, 5_000_000] {
        vector.reserve_exact(size);
        assert_eq!(needle.count(), 1, "after growing to {size}");
    }
    vector.shrink_to_fit();
    assert_eq!(needle.count(), 1, "after shrinking");
    drop((vector, behind));
    assert_eq!(needle.count(), 0);
}

#[test]
fn pages_are_locked_and_left_out_of_dumps() {
    let mut bytes = SecretBytes::zeroed(100);
    for size in [100, 20_000] {
        bytes.resize(size);
        let flags = flags(bytes.expose().as_ptr());
        assert!(flags.iter().any(|flag| flag == "dd"), "{flags:?}");
        // Root may always lock; others within their limit, which is 8 MiB or 64 KiB on usual systems.
        let limit = rustix::process::getrlimit(Resource::Memlock).current;
        if rustix::process::geteuid().is_root() || limit.is_none_or(|limit| limit >= 1 << 20) {
            assert!(flags.iter().any(|flag| flag == "lo"), "{flags:?}");
        }
    }
}

#[test]
fn spare_capacity_takes_no_memory() {
    if child::role().is_some() {
        let bytes = SecretBytes::with_capacity(512 << 20);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kilobytes < 100 << 10, "{resident}");
        return drop(bytes);
    }
    // The other tests take memory, too.
    let output = child::command("memory::spare_capacity_takes_no_memory", "reserve", "").output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_hardened_process_is_not_dumpable() {
    if child::role().is_some() {
        // Changing it for the whole test process would hide /proc/self/mem from the other tests.
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::Dumpable);
        harden_process().unwrap();
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        println!("hardened");
        return;
    }
    let output = child::command("memory::a_hardened_process_is_not_dumpable", "harden", "").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("hardened"));
}

#[test]
fn nothing_shows_its_contents() {
    let shown = [
        format!("{:?} {:#?}", SecretBytes::from(&b"hunter2"[..]), SecretBytes::from(&b"hunter2"[..])),
        format!("{:?} {:#?}", SecretString::from("hunter2"), SecretString::from("hunter2")),
        format!("{:?}", SecretString::from_utf8(SecretBytes::from(&b"hunter2\xff"[..]))),
        format!("{:?}", DataKey::from_bytes(SecretBytes::from(&b"hunter2"[..]))),
        format!("{:?}", DataKey::from_bytes(SecretBytes::from(&b"hunter2hunter2hunter2hunter2hunt"[..]))),
    ];
    for text in shown {
        assert!(!text.contains("hunter2") && !text.contains("104"), "{text}");
        assert!(text.contains("Secret") || text.contains("DataKey"), "{text}");
    }
}

#[test]
fn a_data_key_has_32_bytes() {
    for len in [0, 31, 33] {
        let back = DataKey::from_bytes(SecretBytes::zeroed(len)).unwrap_err();
        assert_eq!(back.len(), len);
    }
    let (one, two) = (DataKey::generate().unwrap(), DataKey::generate().unwrap());
    assert!(one != two);
    assert!(one == one.clone());
    assert_eq!(one.expose().as_slice(), one.as_secret().expose());
}

/// Bytes in memory: what is the process's own, and what is its program's file.
fn resident() -> (usize, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| -> usize {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    };
    (of("RssAnon:"), of("RssFile:"))
}

#[test]
fn what_was_freed_below_a_block_in_use_is_given_back_and_the_program_goes_on() {
    const CONSTANT: &[u8] = include_bytes!("memory.rs");
    bulla_core::memory::keep_little();
    let mut blocks: Vec<Box<[u8]>> = (0..20_000).map(|_| vec![1; 2048].into_boxed_slice()).collect();
    let last = blocks.pop().unwrap();
    drop(blocks);
    let before = resident();
    bulla_core::memory::give_back();
    let after = resident();
    // Other tests run beside this one.
    assert!(before.0 > after.0 + (20 << 20), "{before:?} {after:?}");
    assert!(before.1 > after.1, "{before:?} {after:?}");
    assert!(last.iter().all(|byte| *byte == 1));
    assert_eq!(CONSTANT, std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/memory.rs")).unwrap());
}
