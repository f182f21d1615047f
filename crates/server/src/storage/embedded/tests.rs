//! The file, and what is below it, fail.

use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::*;
use crate::storage::commit_surely;

fn put(key: &str, value: &str) -> Batch {
    Batch { conditions: Vec::new(), writes: vec![(key.to_owned(), Some(value.as_bytes().to_vec()))] }
}

/// What fails, of a disk that works otherwise.
#[derive(Debug, Default)]
struct Faults {
    sync: AtomicBool,
    write: AtomicBool,
    /// It hangs.
    hangs: AtomicBool,
}

/// A disk, in memory.
#[derive(Debug)]
struct Disk(InMemoryBackend, Arc<Faults>);

impl Disk {
    fn fails(which: &AtomicBool, code: i32) -> std::io::Result<()> {
        if which.load(Ordering::SeqCst) { Err(std::io::Error::from_raw_os_error(code)) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        while self.1.hangs.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self::fails(&self.1.sync, EIO)?;
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        Self::fails(&self.1.write, ENOSPC)?;
        self.0.write(offset, data)
    }
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn on_a_disk() -> (Embedded, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let disk = Disk(InMemoryBackend::new(), Arc::clone(&faults));
    (Embedded::begin(Database::builder().create_with_backend(disk).unwrap()).unwrap(), faults)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_disk_did_not_take_is_an_error_for_all_who_wait_and_so_is_everything_after() {
    for (which, code) in [("sync", EIO), ("write", ENOSPC)] {
        let (storage, faults) = on_a_disk();
        let storage = Arc::new(storage);
        storage.commit(put("before", "1")).await.unwrap();
        assert!(!storage.has_failed());
        let fault = if which == "sync" { &faults.sync } else { &faults.write };
        fault.store(true, Ordering::SeqCst);
        let waiting: Vec<_> = (0..8)
            .map(|number| {
                let storage = Arc::clone(&storage);
                tokio::spawn(async move { commit_surely(storage.as_ref(), put(&format!("k{number}"), "2")).await })
            })
            .collect();
        let mut unknown = 0;
        for answer in waiting {
            match answer.await.unwrap().unwrap_err() {
                StorageError::Unknown(_) => unknown += 1,
                // Who came after the first failure: nothing of theirs was begun.
                StorageError::Backend { .. } => {}
                error => panic!("{which} {code}: {error:?}"),
            }
        }
        assert!(unknown > 0, "{which} {code}");
        // The disk seems to work again. What it has nobody knows: until the next start nothing is written, and nothing read as if it were there.
        fault.store(false, Ordering::SeqCst);
        assert!(storage.commit(put("after", "3")).await.is_err() && storage.has_failed(), "{which}");
        for key in ["k0", "k7", "after"] {
            assert!(!matches!(storage.get(key).await, Ok(Some(_))), "{which} {key}");
        }
    }
}

#[tokio::test]
async fn who_comes_alone_to_a_quick_disk_writes_by_himself_and_hears_what_the_disk_says() {
    let (storage, faults) = on_a_disk();
    let writer = &storage.writer;
    // Nothing is known of the disk.
    assert!(writer.write_at_once(put("a", "0")).is_err());
    writer.pretend(Duration::ZERO);
    assert!(matches!(writer.write_at_once(put("a", "1")), Ok(Ok(()))));
    assert_eq!(storage.get("a").await.unwrap().unwrap(), b"1");
    let taken = Batch { conditions: vec![("a".to_owned(), None)], ..put("a", "2") };
    writer.pretend(Duration::ZERO);
    assert!(matches!(writer.write_at_once(taken), Ok(Err(StorageError::Conflict))));
    // What takes long is the thread's.
    writer.pretend(Duration::ZERO);
    assert!(writer.write_at_once(put("long", &"v".repeat(100_000))).is_err());
    writer.pretend(Duration::from_millis(2));
    assert!(writer.write_at_once(put("a", "3")).is_err());
    writer.pretend(Duration::ZERO);
    faults.sync.store(true, Ordering::SeqCst);
    assert!(matches!(storage.commit(put("b", "1")).await, Err(StorageError::Unknown(_))));
    faults.sync.store(false, Ordering::SeqCst);
    writer.pretend(Duration::ZERO);
    assert!(storage.commit(put("b", "2")).await.is_err() && storage.has_failed());
    assert!(!matches!(storage.get("b").await, Ok(Some(_))));
}

#[test]
fn a_disk_that_hangs_keeps_one_thread_and_the_others_go_on() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (storage, faults) = runtime.block_on(async { on_a_disk() });
    let (storage, (tick, ticked)) = (Arc::new(storage), mpsc::channel());
    storage.writer.pretend(Duration::ZERO);
    faults.hangs.store(true, Ordering::SeqCst);
    // The first thread that hears of anything is kept; who waits for the clock is woken all the same.
    let hangs = Arc::clone(&storage);
    let written = runtime.spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        hangs.commit(put("a", "1")).await
    });
    runtime.spawn(async move {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let _ = tick.send(());
        }
    });
    for _ in 0..5 {
        ticked.recv_timeout(Duration::from_secs(10)).expect("somebody is woken");
    }
    assert!(!written.is_finished());
    faults.hangs.store(false, Ordering::SeqCst);
    runtime.block_on(written).unwrap().unwrap();
}

#[tokio::test]
async fn a_start_need_not_go_through_a_file_that_was_closed_or_not_written_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    // Of a copy: what a process that is killed now leaves behind.
    let needs_repair = || {
        let copy = folder.path().join("copy");
        std::fs::copy(&path, &copy).unwrap();
        let opened = Database::builder().set_repair_callback(redb::RepairSession::abort).open(&copy);
        match opened {
            Ok(_) => false,
            Err(redb::DatabaseError::RepairAborted) => true,
            Err(error) => panic!("{error}"),
        }
    };
    let storage = Embedded::open(&path).unwrap();
    storage.commit(put("a", "1")).await.unwrap();
    assert!(needs_repair());
    storage.writer.settle_now();
    assert!(!needs_repair());
    storage.commit(put("a", "2")).await.unwrap();
    assert!(needs_repair());
    drop(storage);
    assert!(!needs_repair());
    // A start that writes nothing leaves it so.
    let storage = Embedded::open(&path).unwrap();
    assert!(!needs_repair());
    assert_eq!(storage.get("a").await.unwrap().unwrap(), b"2");
}

#[tokio::test]
async fn a_file_that_is_cut_is_refused_or_whole_and_no_damage_is_a_panic_or_makes_more_of_it() {
    const ENTRIES: usize = 100;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let storage = Embedded::open(&path).unwrap();
    let value = "v".repeat(3000);
    let name = |number: usize| format!("k{number:03}");
    for number in 0..ENTRIES {
        storage.commit(put(&name(number), &format!("{number}{value}"))).await.unwrap();
    }
    // As a kill leaves it.
    let whole = std::fs::read(&path).unwrap();
    drop(storage);
    let pages = [1, 2, 3, 10, whole.len() / 4096 / 2, whole.len() / 4096 - 1].map(|pages| pages * 4096);
    let cut = [0, 1, 9, 64, 320, 5000, whole.len() / 3 + 1, whole.len() - 1].into_iter().chain(pages);
    let mut damaged: Vec<(bool, Vec<u8>)> = cut.map(|length| (true, whole[..length].to_vec())).collect();
    // Single bytes of the head, and pieces of pages all over the file.
    for (start, end, by) in (0..320).step_by(8).map(|at| (at, at + 1, 0x55)).chain((1..24).map(|part| {
        let at = whole.len() / 24 * part;
        (at, at + 512, 0x5a)
    })) {
        let mut bytes = whole.clone();
        bytes[start..end].iter_mut().for_each(|byte| *byte ^= by);
        damaged.push((false, bytes));
    }
    let mut refused = 0;
    for (which, (is_cut, bytes)) in damaged.iter().enumerate() {
        let path = folder.path().join(format!("damaged{which}"));
        std::io::Write::write_all(&mut File::create(&path).unwrap(), bytes).unwrap();
        let Ok(storage) = Embedded::open(&path) else {
            refused += usize::from(*is_cut);
            // That recovery was begun may be noted in the head.
            let after = std::fs::read(&path).unwrap();
            assert!(after.len() == bytes.len() && after.iter().skip(4096).eq(bytes.iter().skip(4096)), "{which}");
            continue;
        };
        for number in 0..ENTRIES {
            let found = storage.get(&name(number)).await;
            // What is changed in its contents the barrier finds.
            let expected = Some(format!("{number}{value}").into_bytes());
            assert!(!is_cut || found.is_err() || found.is_ok_and(|found| found == expected), "{which} {number}");
        }
    }
    assert!(refused >= 8, "{refused}");
}

#[tokio::test]
async fn who_reads_between_commits_keeps_no_pages_of_old_ones() {
    let folder = tempfile::tempdir().unwrap();
    let value = "v".repeat(50_000);
    let mut sizes = Vec::new();
    for reads in [false, true] {
        let path = folder.path().join(reads.to_string());
        let storage = Embedded::open(&path).unwrap();
        for number in 0..200 {
            storage.commit(put("k", &format!("{number}{value}"))).await.unwrap();
            if reads {
                assert!(storage.get("k").await.unwrap().unwrap().starts_with(number.to_string().as_bytes()));
            }
        }
        sizes.push(std::fs::metadata(&path).unwrap().len());
    }
    assert!(sizes[1] < 2 * sizes[0] && sizes[1] < 4 << 20, "{sizes:?}");
}

#[test]
fn a_start_that_was_killed_before_there_was_a_file_is_nothing_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    File::create(folder.path().join("db.new-0011223344556677")).unwrap();
    drop(Embedded::open(&path).unwrap());
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}
