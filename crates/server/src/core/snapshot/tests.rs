//! Snapshots of a server that serves.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::core::faulty::{audit_file, options};
use crate::core::{Core, random};
use crate::json::Object;
use crate::logical::{Operation, Request, Response, TokenText};
use crate::storage::snapshot::{Next, Reader, Summary};
use crate::storage::{Batch, Embedded, Entry, Memory, Storage};

use super::*;

type Stored<T> = std::result::Result<T, StorageError>;

struct World {
    core: Arc<Core>,
    root: TokenText,
}

impl World {
    async fn on(storage: Arc<dyn Storage>, audit: &std::path::Path) -> Self {
        let core = Core::new(storage, Vec::new(), crate::core::Options { audit: vec![audit_file(audit)], ..options() });
        let root = crate::dev::start(&core, None).await.unwrap().root_token;
        Self { core, root }
    }

    async fn ask(&self, operation: Operation, path: &str, data: Object, token: &TokenText) -> Result<Response> {
        let request =
            Request { id: random::uuid()?, token: Some(token.clone()), ..Request::new(operation, path, data) };
        self.core.handle(request).await
    }

    async fn begin(&self) -> Result<Stream> {
        Ok(self.ask(Operation::Read, "sys/storage/raft/snapshot", Object::new(), &self.root).await?.stream.unwrap())
    }
}

async fn whole(stream: &Stream) -> Vec<u8> {
    let (mut pieces, mut all) = (stream.take().unwrap(), Vec::new());
    while let Some(piece) = pieces.recv().await {
        let piece = piece.unwrap();
        assert!(piece.len() <= PART);
        all.extend_from_slice(&piece);
    }
    all
}

fn read(bytes: &[u8]) -> (Vec<Entry>, Summary) {
    let (mut reader, mut all) = (Reader::begin(bytes).unwrap(), Vec::new());
    loop {
        match reader.read().unwrap() {
            Next::Entries(entries) => all.extend(entries),
            Next::End(summary) => return (all, summary),
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_has_what_was_answered_opens_elsewhere_and_shows_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Arc::new(Embedded::open(&folder.path().join("db")).unwrap());
    let world = World::on(storage, &folder.path().join("audit")).await;
    for number in 0..50 {
        let data = object! { "data": object! { "password": format!("hunter2-{number}") } };
        world.ask(Operation::Update, &format!("secret/data/hidden-name-{number}"), data, &world.root).await.unwrap();
    }
    let token = world.ask(Operation::Update, "auth/token/create", Object::new(), &world.root).await.unwrap();
    let token = token.issued.unwrap().token;
    let stop = Arc::new(AtomicBool::new(false));
    let (told, core, root) = (Arc::clone(&stop), Arc::clone(&world.core), world.root.clone());
    let writing = tokio::spawn(async move {
        let busy = World { core, root };
        let mut number = 0;
        while !told.load(Ordering::Relaxed) {
            number += 1;
            let data = object! { "data": object! { "n": number } };
            busy.ask(Operation::Update, "secret/data/busy", data, &busy.root).await.unwrap();
        }
        number
    });
    let bytes = whole(&world.begin().await.unwrap()).await;
    stop.store(true, Ordering::Relaxed);
    assert!(writing.await.unwrap() > 0);
    for secret in ["hunter2", "hidden-name", token.expose(), world.root.expose()] {
        assert!(!holds(&bytes, secret), "{secret}");
    }
    let (entries, summary) = read(&bytes);
    let key = world.core.open().unwrap().barrier.snapshot_key();
    assert!(summary.is_by(&key));
    assert_eq!(world.core.metrics.snapshots.count(), 1);

    // Another storage with these entries, opened with the same root key, is the same server: its tokens, mounts and secrets are there.
    let copy = Memory::default();
    let writes = entries.into_iter().map(|(key, value)| (key, Some(value))).collect();
    copy.commit(Batch { conditions: Vec::new(), writes }).await.unwrap();
    let root_key = world.core.open().unwrap().barrier.root_key();
    let barrier = Arc::new(crate::barrier::Barrier::open(Arc::new(copy), root_key).await.unwrap());
    assert!(summary.is_by(&barrier.snapshot_key()));
    let again = Core::new(Arc::clone(barrier.storage()), Vec::new(), options());
    again.start(barrier, ("name".to_owned(), "id".to_owned())).await.unwrap();
    let again = World { core: again, root: world.root.clone() };
    for number in 0..50 {
        let path = format!("secret/data/hidden-name-{number}");
        let read = again.ask(Operation::Read, &path, Object::new(), &again.root).await.unwrap().data.unwrap();
        let text = String::from_utf8(crate::json::object_to_vec(&read)).unwrap();
        assert!(text.contains(&format!("hunter2-{number}\"")), "{text}");
    }
    again.ask(Operation::Read, "auth/token/lookup-self", Object::new(), &token).await.unwrap();
}

#[tokio::test]
async fn who_may_not_read_the_path_gets_none_and_each_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit");
    let world = World::on(Arc::new(Memory::default()), &audit).await;
    let default =
        world.ask(Operation::Update, "auth/token/create", object! { "policies": vec!["default"] }, &world.root);
    let default = default.await.unwrap().issued.unwrap().token;
    let refused = world.ask(Operation::Read, "sys/storage/raft/snapshot", Object::new(), &default).await;
    assert_eq!(refused.unwrap_err().status, 403);
    whole(&world.begin().await.unwrap()).await;
    let records = std::fs::read_to_string(&audit).unwrap();
    let of = |kind: &str| {
        let kind = format!("\"type\":\"{kind}\"");
        records.lines().filter(|line| line.contains("sys/storage/raft/snapshot") && line.contains(&kind)).count()
    };
    assert_eq!((of("request"), of("response")), (2, 2), "{records}");
}

#[tokio::test]
async fn no_more_than_two_are_sent_at_once_and_who_goes_away_leaves_room() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::on(Arc::new(Memory::default()), &folder.path().join("audit")).await;
    // So long that it waits for whoever takes it.
    let fill = (0..AHEAD + 4).map(|at| (format!("zz/{at:05}"), Some(vec![7; 1 << 20]))).collect();
    let batch = Batch { conditions: Vec::new(), writes: fill };
    world.core.storage.commit(batch).await.unwrap();
    let (first, second) = (world.begin().await.unwrap(), world.begin().await.unwrap());
    let third = world.begin().await.unwrap_err();
    assert_eq!(third.status, 503);
    assert!(third.to_string().contains("try again"), "{third}");
    drop(first);
    let mut tries = 0;
    let third = loop {
        match world.begin().await {
            Ok(stream) => break stream,
            Err(error) => assert!(error.status == 503 && tries < 1000, "{error}"),
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(read(&whole(&second).await).0, read(&whole(&third).await).0);
}

#[tokio::test]
async fn a_server_that_is_sealed_or_stops_sends_no_more_and_no_end() {
    for stops in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let world = World::on(Arc::new(Memory::default()), &folder.path().join("audit")).await;
        let fill = (0..AHEAD + 4).map(|at| (format!("zz/{at:05}"), Some(vec![7; 1 << 20]))).collect();
        world.core.storage.commit(Batch { conditions: Vec::new(), writes: fill }).await.unwrap();
        let stream = world.begin().await.unwrap();
        let mut pieces = stream.take().unwrap();
        assert!(pieces.recv().await.unwrap().is_ok());
        if stops {
            world.core.begin_to_stop();
        } else {
            world.ask(Operation::Update, "sys/seal", Object::new(), &world.root).await.unwrap();
        }
        let mut last = None;
        while let Some(piece) = pieces.recv().await {
            last = Some(piece);
        }
        let why = last.unwrap().unwrap_err();
        assert!(why.contains(if stops { "stopping" } else { "sealed" }), "{why}");
        assert_eq!(world.core.snapshots.available_permits(), AT_ONCE);
    }
}

/// Storage whose frozen entries end in the middle.
struct Breaking(Memory);

#[async_trait::async_trait]
impl Storage for Breaking {
    fn kind(&self) -> &'static str {
        "breaking"
    }

    async fn get(&self, key: &str) -> Stored<Option<Vec<u8>>> {
        self.0.get(key).await
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Stored<Vec<String>> {
        self.0.list(prefix, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> Stored<()> {
        self.0.commit(batch).await
    }

    async fn freeze(&self) -> Stored<Box<dyn Frozen>> {
        Ok(Box::new(Once(true)))
    }
}

struct Once(bool);

#[async_trait::async_trait]
impl Frozen for Once {
    async fn next(&mut self) -> Stored<Vec<Entry>> {
        if std::mem::take(&mut self.0) {
            return Ok(vec![("a".to_owned(), vec![1])]);
        }
        Err(StorageError::Unknown("the disk is gone".to_owned()))
    }
}

#[tokio::test]
async fn a_storage_that_fails_on_the_way_does_not_end_a_snapshot_as_if_it_were_whole() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::on(Arc::new(Breaking(Memory::default())), &folder.path().join("audit")).await;
    let stream = world.begin().await.unwrap();
    let mut pieces = stream.take().unwrap();
    let mut last = None;
    while let Some(piece) = pieces.recv().await {
        last = Some(piece);
    }
    assert!(last.unwrap().unwrap_err().contains("the disk is gone"));
    assert_eq!(world.core.metrics.snapshots.count(), 0);
}

#[tokio::test]
async fn a_snapshot_that_somebody_changed_is_told_from_one_of_the_cluster() {
    use crate::seal::{AutoSeal, Seals, Shares, fixed::Fixed};
    use crate::storage::snapshot::{SnapshotFile, Writer};

    let seal = |key: u8| -> Seals {
        let key = bulla_core::DataKey::from_bytes(vec![key; 32].into()).unwrap();
        vec![Arc::new(Fixed::new("1".to_owned(), key)) as Arc<dyn AutoSeal>].into()
    };
    let file = |bytes: &[u8]| {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        SnapshotFile::of(file).unwrap()
    };
    let core = Core::new(Arc::new(Memory::default()), seal(1), options());
    core.initialize(crate::core::Init { shares: Shares { shares: 0, threshold: 0 } }).await.unwrap();
    let bytes = whole(&core.open().unwrap().snapshot().await.unwrap()).await;
    let whole_one = file(&bytes);
    assert_eq!(author(&seal(1), &whole_one).await.unwrap(), Author::Cluster);
    // Also after its terms went on: the key is the cluster's.
    core.open().unwrap().barrier.rotate().await.unwrap();
    let later = whole(&core.open().unwrap().snapshot().await.unwrap()).await;
    assert_eq!(author(&seal(1), &file(&later)).await.unwrap(), Author::Cluster);
    assert!(matches!(author(&seal(2), &whole_one).await.unwrap(), Author::Unknown(_)));
    assert!(matches!(author(&Seals::from(Vec::new()), &whole_one).await.unwrap(), Author::Unknown(_)));
    // Whoever has no key leaves one entry out, puts an old one in, and makes the checksums anew.
    let (all, _) = read(&bytes);
    for change in 0..2 {
        let mut entries = all.clone();
        if change == 0 {
            let policy = entries.iter().position(|(key, _)| key.contains('/') && !key.starts_with("core/")).unwrap();
            entries.remove(policy);
        } else {
            entries.last_mut().unwrap().1 = read(&later).0.last().unwrap().1.iter().rev().copied().collect();
        }
        let mut out = Vec::new();
        let mut writer = Writer::begin(whole_one.about(), &mut out);
        writer.add(&entries, &mut out).unwrap();
        writer.end(&aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"a guess"), &mut out);
        assert!(matches!(author(&seal(1), &file(&out)).await.unwrap(), Author::Another(_)));
    }
}
