//! Snapshots that are whole, and those that are not.

use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::storage::migrate::{self, MigrateError};
use crate::storage::{Embedded, Entry, Memory, Storage};

fn about() -> About {
    About {
        server: "1".to_owned(),
        storage: "inmem".to_owned(),
        time: "2026-01-02T03:04:05Z".to_owned(),
        cluster_id: "c".to_owned(),
    }
}

fn mac() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, b"key")
}

fn written(steps: &[Vec<Entry>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::begin(&about(), &mut out);
    for step in steps {
        writer.add(step, &mut out).unwrap();
    }
    writer.end(&mac(), &mut out);
    out
}

fn read(bytes: &[u8]) -> Result<(About, Vec<Entry>, Summary), SnapshotError> {
    let mut reader = Reader::begin(bytes)?;
    let (about, mut all) = (reader.about().clone(), Vec::new());
    loop {
        match reader.read()? {
            Next::Entries(entries) => all.extend(entries),
            Next::End(summary) => return Ok((about, all, summary)),
        }
    }
}

fn entries(number: usize, length: usize) -> Vec<Entry> {
    (0..number).map(|at| (format!("k/{at:05}"), vec![u8::try_from(at % 256).unwrap(); length])).collect()
}

fn kept(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn what_was_written_is_read_and_known_by_its_key() {
    let all = entries(3000, 2000);
    let bytes = written(&[all[..1000].to_vec(), Vec::new(), all[1000..].to_vec()]);
    let (found, read, summary) = read(&bytes).unwrap();
    assert_eq!((found, summary.entries), (about(), 3000));
    assert_eq!(summary.bytes, 3000 * 2007);
    assert!(read == all && summary.is_by(&mac()));
    assert!(!summary.is_by(&hmac::Key::new(hmac::HMAC_SHA256, b"another")));
    assert_eq!(summary.digest().len(), 64);
}

#[test]
fn other_programs_read_it() {
    let file = kept(&written(&[entries(700, 5000)]));
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new("tar").args(arguments).arg(file.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let names = String::from_utf8(run(&["-tzf"])).unwrap();
    let names: Vec<&str> = names.lines().collect();
    assert_eq!(names.first(), Some(&META));
    assert_eq!(names[names.len() - 3..], [END, SUMS, SEALED]);
    assert_eq!(names[1], "entries-0000000000");
    let folder = tempfile::tempdir().unwrap();
    run(&["-C", folder.path().to_str().unwrap(), "-xzf"]);
    let sums = std::fs::read_to_string(folder.path().join(SUMS)).unwrap();
    let all: Vec<u8> = names
        .iter()
        .filter(|name| name.starts_with("entries-"))
        .flat_map(|name| std::fs::read(folder.path().join(name)).unwrap())
        .collect();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &all);
    assert!(sums.contains(&format!("{}  entries\n", crate::core::hex(digest.as_ref()))), "{sums}");
    assert_eq!(std::fs::read(folder.path().join(SEALED)).unwrap(), hmac::sign(&mac(), sums.as_bytes()).as_ref());
}

#[test]
fn no_byte_can_be_another_and_none_be_missing() {
    let bytes = written(&[entries(3, 40)]);
    read(&bytes).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(read(&damaged).is_err(), "byte {at}");
        assert!(matches!(read(&bytes[..at]), Err(SnapshotError::Truncated)), "cut at {at}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(read(&longer), Err(SnapshotError::Damaged(_))));
    assert!(matches!(read(&[bytes.clone(), bytes].concat()), Err(SnapshotError::Damaged(_))));
}

#[test]
fn what_was_made_by_others_is_told_apart() {
    for (bytes, expected) in [
        (&b"\x1f\x8b\x08\x08\0\0\0\0\0\x03abc"[..], "compressed in another way"),
        (b"PK\x03\x04aaaaaaaaaaaaaaaa", "does not begin as one"),
    ] {
        let error = read(bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn entries_out_of_order_are_neither_written_nor_read() {
    let mut out = Vec::new();
    let mut writer = Writer::begin(&about(), &mut out);
    let twice = vec![("a".to_owned(), Vec::new()), ("a".to_owned(), Vec::new())];
    assert!(writer.add(&twice, &mut out).is_err());
}

#[test]
fn entries_of_any_length_fit() {
    let longest = vec![7; crate::storage::MAX_VALUE];
    let all: Vec<Entry> =
        (0..5).map(|at| (format!("{at}{}", "k".repeat(crate::storage::MAX_KEY - 1)), longest.clone())).collect();
    assert!(read(&written(std::slice::from_ref(&all))).unwrap().1 == all);
    let (_, none, summary) = read(&written(&[])).unwrap();
    assert_eq!((none.len(), summary.entries), (0, 0));
}

#[tokio::test]
async fn a_snapshot_is_a_source_of_a_migration() {
    let all = entries(2000, 3000);
    let file = kept(&written(std::slice::from_ref(&all)));
    let source = SnapshotFile::open(file.path()).unwrap();
    assert_eq!(source.get("k/01234").await.unwrap(), Some(all[1234].1.clone()));
    assert_eq!(source.get("k/012345").await.unwrap(), None);
    let folder = tempfile::tempdir().unwrap();
    let destination = Embedded::open(&folder.path().join("db")).unwrap();
    let done = migrate::run(&source, &destination, None, &|_| ()).await.unwrap();
    assert_eq!((done.entries, done.bytes), (source.summary().entries, source.summary().bytes));
    for (key, value) in &all {
        assert_eq!(destination.get(key).await.unwrap().as_ref(), Some(value));
    }
    let empty = SnapshotFile::open(kept(&written(&[])).path()).unwrap();
    let error = migrate::run(&empty, &Memory::default(), None, &|_| ()).await.unwrap_err();
    assert!(matches!(error, MigrateError::SourceEmpty), "{error}");
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_copied_is_not_taken() {
    let file = kept(&written(&[entries(2000, 3000)]));
    let source = SnapshotFile::open(file.path()).unwrap();
    let mut other = std::fs::File::options().write(true).open(file.path()).unwrap();
    std::io::Seek::seek(&mut other, std::io::SeekFrom::Start(3_000_000)).unwrap();
    other.write_all(b"xxxx").unwrap();
    let destination = Memory::default();
    let error = migrate::run(&source, &destination, None, &|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("changed while"), "{error}");
    assert!(migrate::check_complete(&destination).await.is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_is_what_was_written(
        entries in prop::collection::btree_map("[a-z/é]{0,12}", prop::collection::vec(any::<u8>(), 0..300), 0..60),
        cut in 0..60_usize,
    ) {
        let all: Vec<Entry> = entries.into_iter().collect();
        let cut = cut.min(all.len());
        let (_, found, summary) = read(&written(&[all[..cut].to_vec(), all[cut..].to_vec()])).unwrap();
        prop_assert!(found == all && summary.is_by(&mac()));
    }

    /// Whatever somebody sends: an answer, and never a panic or more memory than a piece.
    #[test]
    fn nothing_that_is_read_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        prop_assert!(read(&bytes).is_err());
        let whole = written(&[entries(20, 100)]);
        let mut changed = whole.clone();
        for (at, byte) in changes {
            changed[at.index(whole.len())] = byte;
        }
        prop_assert_eq!(read(&changed).is_ok(), changed == whole);
    }
}
