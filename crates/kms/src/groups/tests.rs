//! Which keys are tried, in what order, and what is said when none opens.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bulla_core::{DataKey, Operation, SecretBytes, WrappedKey};

use super::unwrap::{Candidate, unwrap};
use super::wrap::wrap;
use super::*;

/// What happened, in order: `start NAME`, `end NAME`, `ask NAME`.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn push(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A key service whose wrapped form is hex, and which takes its time, fails or asks as told.
#[derive(Clone)]
struct Fake {
    id: KeyId,
    delay: Duration,
    fails: bool,
    asks: bool,
    log: Log,
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Fake {
    fn new(name: &str, log: &Log) -> Self {
        let id = match name.split_once(' ') {
            Some(("age", recipient)) => KeyId::Age { recipient: recipient.to_owned() },
            Some(("pgp", fingerprint)) => KeyId::Pgp { fingerprint: fingerprint.to_owned() },
            _ => KeyId::HuaweiKms { key_id: name.to_owned() },
        };
        let (running, most) = (Arc::default(), Arc::default());
        Self { id, delay: Duration::ZERO, fails: false, asks: false, log: log.clone(), running, most }
    }

    fn slow(mut self, milliseconds: u64) -> Self {
        self.delay = Duration::from_millis(milliseconds);
        self
    }

    fn failing(mut self) -> Self {
        self.fails = true;
        self
    }

    fn asking(mut self) -> Self {
        self.asks = true;
        self
    }

    async fn work(&self) -> Result<(), KeyError> {
        self.log.push(format!("{} {}", if self.asks { "ask" } else { "start" }, self.id));
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        tokio::time::sleep(self.delay).await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        self.log.push(format!("end {}", self.id));
        let error = || KeyError::new(KeyErrorKind::Denied, &self.id, "told to fail");
        if self.fails { Err(error()) } else { Ok(()) }
    }

    /// As a candidate that holds `part`.
    fn holding(self, part: &SecretBytes) -> Candidate {
        let wrapped = WrappedKey::new(hex(part));
        Candidate { id: self.id.clone(), wrapped, services: vec![Arc::new(self)], errors: Vec::new() }
    }
}

#[async_trait]
impl KeyService for Fake {
    fn id(&self) -> &KeyId {
        &self.id
    }

    async fn may_ask(&self, _: Operation) -> bool {
        self.asks
    }

    async fn wrap(&self, plaintext: &SecretBytes) -> Result<WrappedKey, KeyError> {
        self.work().await?;
        Ok(WrappedKey::new(hex(plaintext)))
    }

    async fn unwrap(&self, wrapped: &WrappedKey) -> Result<SecretBytes, KeyError> {
        self.work().await?;
        Ok(unhex(wrapped))
    }
}

fn hex(bytes: &SecretBytes) -> String {
    bytes.expose().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn unhex(text: &WrappedKey) -> SecretBytes {
    let byte = |i| u8::from_str_radix(&text.as_str()[i..i + 2], 16).unwrap();
    SecretBytes::from((0..text.as_str().len()).step_by(2).map(byte).collect::<Vec<u8>>())
}

fn recipient(fake: Fake) -> (Vec<Arc<dyn KeyService>>, Vec<KeyError>) {
    (vec![Arc::new(fake)], Vec::new())
}

#[tokio::test]
async fn one_group_gets_the_key_itself_and_several_get_shares() {
    let key = DataKey::generate().unwrap();
    let log = Log::default();
    let group = |names: &[&str]| names.iter().map(|name| recipient(Fake::new(name, &log))).collect::<Vec<_>>();

    let wrapped = wrap(&key, vec![group(&["a", "b"])], None, 8).await.unwrap();
    assert_eq!(wrapped.len(), 1);
    assert!(wrapped[0].len() == 2 && wrapped[0].iter().all(|one| unhex(one) == *key.as_secret()));

    let wrapped =
        wrap(&key, vec![group(&["a", "b"]), group(&["c"]), group(&["d", "e", "f"])], Some(2), 8).await.unwrap();
    assert_eq!(wrapped.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 3]);
    let shares: Vec<_> = wrapped.iter().map(|group| unhex(&group[0])).collect();
    assert!(wrapped.iter().zip(&shares).all(|(group, share)| group.iter().all(|one| unhex(one) == *share)));
    // Shares are numbered by group.
    assert!(shares.iter().map(|share| share.expose()[32]).eq([1, 2, 3]));
    for two in [[0, 1], [1, 2], [2, 0]] {
        let two = two.map(|index| shares[index].clone());
        assert!(crate::shamir::combine(&two).unwrap() == *key.as_secret());
    }
}

#[tokio::test]
async fn all_groups_are_needed_where_nothing_else_is_said() {
    let key = DataKey::generate().unwrap();
    let log = Log::default();
    for threshold in [None, Some(0)] {
        let groups = (0..3).map(|i| vec![recipient(Fake::new(&i.to_string(), &log))]).collect();
        let wrapped = wrap(&key, groups, threshold, 8).await.unwrap();
        let shares: Vec<_> = wrapped.iter().map(|group| unhex(&group[0])).collect();
        assert!(crate::shamir::combine(&shares).unwrap() == *key.as_secret());
        assert!(crate::shamir::combine(&shares[..2]).unwrap() != *key.as_secret());

        let held = |count: usize| {
            let group = |index: usize, share: &SecretBytes| {
                let fake = Fake::new(&index.to_string(), &log);
                vec![if index < count { fake } else { fake.failing() }.holding(share)]
            };
            shares.iter().enumerate().map(|(index, share)| group(index, share)).collect::<Vec<_>>()
        };
        assert!(unwrap(held(3), threshold, &[], 8).await.unwrap() == key);
        let error = unwrap(held(2), threshold, &[], 8).await.unwrap_err();
        assert_eq!((error.needed, error.opened), (3, 2));
        assert_eq!(error.groups.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 1]);
        assert_eq!(error.to_string(), "the data key could not be unwrapped: 3 of 3 groups needed, 2 opened");
    }
}

#[tokio::test]
async fn every_key_that_cannot_wrap_is_named_and_nothing_is_returned() {
    let key = DataKey::generate().unwrap();
    let log = Log::default();
    let fake = |name| Fake::new(name, &log);
    let groups =
        vec![vec![recipient(fake("a").failing().slow(20)), recipient(fake("b"))], vec![recipient(fake("c").failing())]];
    let error = wrap(&key, groups, None, 8).await.unwrap_err();
    assert_eq!(error.keys.iter().map(KeyError::key).collect::<Vec<_>>(), ["a", "c"]);
    assert!(error.reason.is_none());
}

/// Wraps to nothing, and says that it went well.
struct Empty(KeyId);

#[async_trait]
impl KeyService for Empty {
    fn id(&self) -> &KeyId {
        &self.0
    }

    async fn wrap(&self, _: &SecretBytes) -> Result<WrappedKey, KeyError> {
        Ok(WrappedKey::new("\n"))
    }

    async fn unwrap(&self, _: &WrappedKey) -> Result<SecretBytes, KeyError> {
        Ok(SecretBytes::new())
    }
}

#[tokio::test]
async fn a_service_that_wraps_to_nothing_is_not_believed() {
    let key = DataKey::generate().unwrap();
    let empty = || Arc::new(Empty(KeyId::HuaweiKms { key_id: "empty".to_owned() })) as Arc<dyn KeyService>;
    let error = wrap(&key, vec![vec![(vec![empty()], Vec::new())]], None, 8).await.unwrap_err();
    assert!(error.keys[0].to_string().contains("is empty"), "{error:?}");
    // The next service may do better.
    let services = vec![empty(), Arc::new(Fake::new("empty", &Log::default()))];
    let wrapped = wrap(&key, vec![vec![(services, Vec::new())]], None, 8).await.unwrap();
    assert_eq!(wrapped[0][0].as_str(), hex(key.as_secret()));
}

#[tokio::test]
async fn what_cannot_be_wrapped_at_all_says_why() {
    let key = DataKey::generate().unwrap();
    let log = Log::default();
    let group = || vec![recipient(Fake::new("a", &log))];
    let reason = async |groups, threshold| wrap(&key, groups, threshold, 8).await.unwrap_err().to_string();
    assert!(reason(vec![], None).await.ends_with("there are no keys to wrap it for"));
    assert!(reason(vec![vec![]], None).await.ends_with("there are no keys to wrap it for"));
    assert!(reason(vec![group(), vec![]], None).await.ends_with("a key group has no keys"));
    assert!(reason(vec![group(), group()], Some(1)).await.contains("1 are needed"));
    assert!(reason(vec![group(), group()], Some(3)).await.contains("into 2 parts of which 3 are needed"));
    assert!(log.lines().is_empty());
}

#[tokio::test]
async fn wrapping_and_unwrapping_keep_to_the_bound() {
    let key = DataKey::generate().unwrap();
    let fake = Fake::new("a", &Log::default()).slow(5);
    let recipients = (0..12).map(|_| recipient(fake.clone())).collect();
    wrap(&key, vec![recipients], None, 3).await.unwrap();
    assert_eq!(fake.most.swap(0, Ordering::SeqCst), 3);

    // Over all groups together.
    let failing = fake.clone().failing();
    let share = SecretBytes::zeroed(33);
    let groups = (0..4).map(|_| (0..6).map(|_| failing.clone().holding(&share)).collect()).collect();
    unwrap(groups, Some(2), &[], 3).await.unwrap_err();
    assert_eq!(fake.most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn the_first_key_that_answers_ends_the_search() {
    let key = DataKey::generate().unwrap();
    let log = Log::default();
    let fake = |name| Fake::new(name, &log);
    let group = vec![
        fake("never").slow(3_600_000).holding(key.as_secret()),
        fake("wrong").failing().holding(key.as_secret()),
        fake("right").slow(20).holding(key.as_secret()),
        fake("later").slow(3_600_000).holding(key.as_secret()),
    ];
    assert!(unwrap(vec![group], None, &[], 3).await.unwrap() == key);
    let ended: Vec<_> = log.lines().into_iter().filter(|line| line.starts_with("end")).collect();
    assert_eq!(ended, ["end wrong", "end right"]);
}

#[tokio::test]
async fn keys_start_in_the_order_asked_for_then_in_the_order_of_the_file() {
    let log = Log::default();
    let key = SecretBytes::zeroed(32);
    let names = ["one", "age two", "pgp three", "four", "age five"];
    let group = || names.iter().map(|name| Fake::new(name, &log).failing().holding(&key)).collect::<Vec<_>>();
    let order = |kinds: &[&str]| kinds.iter().map(|&kind| kind.to_owned()).collect::<Vec<_>>();
    for (kinds, expected) in [
        (&["pgp", "age"][..], ["three", "two", "five", "one", "four"]),
        (&["age", "pgp"], ["two", "five", "three", "one", "four"]),
        (&["nonsense", "hckms"], ["one", "four", "two", "three", "five"]),
        (&[], ["one", "two", "three", "four", "five"]),
    ] {
        log.0.lock().unwrap().clear();
        let error = unwrap(vec![group()], None, &order(kinds), 1).await.unwrap_err();
        let started: Vec<_> =
            log.lines().iter().filter_map(|line| line.strip_prefix("start ").map(str::to_owned)).collect();
        assert_eq!(started, expected);
        // And so they are told about.
        assert_eq!(error.groups[0].iter().map(KeyError::key).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn failures_are_told_in_the_order_of_the_keys_not_in_that_of_their_answers() {
    let log = Log::default();
    let key = SecretBytes::zeroed(32);
    let fails_after = |name, milliseconds| Fake::new(name, &log).failing().slow(milliseconds).holding(&key);
    let group = vec![fails_after("a", 40), fails_after("b", 20), fails_after("c", 0)];
    let error = unwrap(vec![group], None, &[], 8).await.unwrap_err();
    assert_eq!(error.groups[0].iter().map(KeyError::key).collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[tokio::test]
async fn no_one_is_asked_while_another_key_can_open_the_file() {
    let key = DataKey::generate().unwrap();
    let log = Log::default();
    let fake = |name| Fake::new(name, &log);
    let group = vec![
        fake("pgp person").asking().holding(key.as_secret()),
        fake("wrong").failing().holding(key.as_secret()),
        fake("slow").slow(30).holding(key.as_secret()),
    ];
    assert!(unwrap(vec![group], None, &["pgp".to_owned()], 8).await.unwrap() == key);
    assert_eq!(log.lines(), ["start wrong", "start slow", "end wrong", "end slow"]);
}

#[tokio::test]
async fn those_who_must_be_asked_are_asked_in_order_one_at_a_time_and_no_more_than_needed() {
    let key = DataKey::generate().unwrap();
    let shares = crate::shamir::split(key.as_secret(), 4, 3).unwrap();
    let log = Log::default();
    let fake = |name| Fake::new(name, &log);
    let groups = vec![
        vec![fake("a").asking().failing().slow(5).holding(&shares[0]), fake("b").asking().slow(5).holding(&shares[0])],
        vec![fake("c").failing().holding(&shares[1]), fake("d").asking().slow(5).holding(&shares[1])],
        vec![fake("e").slow(5).holding(&shares[2])],
        vec![fake("f").asking().holding(&shares[3])],
    ];
    assert!(unwrap(groups, Some(3), &[], 8).await.unwrap() == key);
    let asked: Vec<_> = log.lines().into_iter().skip_while(|line| !line.starts_with("ask")).collect();
    assert_eq!(asked, ["ask a", "end a", "ask b", "end b", "ask d", "end d"]);
}

#[tokio::test]
async fn enough_groups_are_enough() {
    let key = DataKey::generate().unwrap();
    let shares = crate::shamir::split(key.as_secret(), 3, 2).unwrap();
    let log = Log::default();
    let fake = |name| Fake::new(name, &log);
    let groups = vec![
        vec![fake("a").slow(3_600_000).holding(&shares[0])],
        vec![fake("b").slow(10).holding(&shares[1])],
        vec![fake("c").holding(&shares[2])],
    ];
    assert!(unwrap(groups, Some(2), &[], 8).await.unwrap() == key);
}

#[tokio::test]
async fn a_part_of_the_wrong_length_is_not_taken() {
    let key = DataKey::generate().unwrap();
    let log = Log::default();
    for len in [0, 31, 33] {
        let wrong = SecretBytes::zeroed(len);
        let group = |rest: Vec<Candidate>| {
            let mut group = vec![Fake::new("wrong", &log).holding(&wrong)];
            group.extend(rest);
            vec![group]
        };
        assert!(
            unwrap(group(vec![Fake::new("right", &log).holding(key.as_secret())]), None, &[], 8).await.unwrap() == key
        );
        let error = unwrap(group(vec![]), None, &[], 8).await.unwrap_err();
        assert_eq!(error.groups[0][0].kind(), KeyErrorKind::BadCiphertext);
    }
}

#[tokio::test]
async fn what_can_never_open_says_why() {
    let log = Log::default();
    let group = |share: &SecretBytes| vec![Fake::new("a", &log).holding(share)];
    let share = crate::shamir::split(&SecretBytes::zeroed(32), 2, 2).unwrap().remove(0);

    let error = unwrap(vec![], None, &[], 8).await.unwrap_err();
    assert_eq!(error.reason.as_deref(), Some("the file names no keys"));
    let error = unwrap(vec![group(&share), group(&share)], Some(3), &[], 8).await.unwrap_err();
    assert_eq!(error.reason.as_deref(), Some("3 groups are needed and there are only 2"));
    let error = unwrap(vec![group(&share), group(&share)], Some(2), &[], 8).await.unwrap_err();
    assert_eq!(error.reason.as_deref(), Some("two shares have the number 1"));
    assert_eq!((error.needed, error.opened), (2, 2));
    let error = unwrap(vec![vec![]], None, &[], 8).await.unwrap_err();
    assert_eq!((error.needed, error.opened, error.groups.len()), (1, 0, 1));
}

#[tokio::test]
async fn the_services_of_a_key_are_tried_one_after_the_other() {
    let key = DataKey::generate().unwrap();
    let log = Log::default();
    let services = || -> Vec<Arc<dyn KeyService>> {
        vec![
            Arc::new(Fake::new("local", &log).failing().slow(5)),
            Arc::new(Fake::new("remote", &log)),
            Arc::new(Fake::new("more", &log)),
        ]
    };
    let expected = ["start local", "end local", "start remote", "end remote"];
    wrap(&key, vec![vec![(services(), Vec::new())]], None, 8).await.unwrap();
    assert_eq!(log.lines(), expected);
    log.0.lock().unwrap().clear();
    let wrapped = WrappedKey::new(hex(key.as_secret()));
    let candidate = Candidate { id: Fake::new("x", &log).id, wrapped, services: services(), errors: Vec::new() };
    assert!(unwrap(vec![vec![candidate]], None, &[], 8).await.unwrap() == key);
    assert_eq!(log.lines(), expected);
}

#[tokio::test]
async fn a_key_without_any_service_says_so() {
    let services = Services { remote: Vec::new(), local: None };
    let id = KeyId::HuaweiKms { key_id: "a".to_owned() };
    let key = DataKey::generate().unwrap();
    let error = wrap_data_key(&services, &key, &[vec![id.clone()]], None).await.unwrap_err();
    assert_eq!(error.keys[0].to_string(), "hckms a: there is no key service to ask");
    let error = unwrap_data_key(&services, &[vec![(id, WrappedKey::new("x"))]], None, &[]).await.unwrap_err();
    assert_eq!(error.groups[0][0].to_string(), "hckms a: there is no key service to ask");
}

#[tokio::test]
async fn local_keys_wrap_and_unwrap_a_data_key_in_groups() {
    let folder = tempfile::tempdir().unwrap();
    let ids: Vec<_> = ["a", "b", "c"].map(|name| KeyId::Local { path: folder.path().join(name) }).into();
    for id in &ids {
        let KeyId::Local { path } = id else { unreachable!() };
        crate::create_local_key(path).unwrap();
    }
    let registry = || Registry::new(Arc::new(std::collections::BTreeMap::new()), Options::default());
    let services = Services { remote: Vec::new(), local: Some(registry()) };
    let key = DataKey::generate().unwrap();
    let groups: Vec<_> = ids.iter().map(|id| vec![id.clone()]).collect();
    let wrapped = wrap_data_key(&services, &key, &groups, Some(2)).await.unwrap();
    let pairs: Vec<Vec<_>> =
        ids.iter().zip(&wrapped).map(|(id, wrapped)| vec![(id.clone(), wrapped[0].clone())]).collect();
    assert!(unwrap_data_key(&services, &pairs, Some(2), &[]).await.unwrap() == key);

    // What was unwrapped in this run needs no key file any more; another run does.
    std::fs::remove_dir_all(folder.path()).unwrap();
    assert!(unwrap_data_key(&services, &pairs, Some(2), &[]).await.unwrap() == key);
    let fresh = Services { remote: Vec::new(), local: Some(registry()) };
    let error = unwrap_data_key(&fresh, &pairs, Some(2), &[]).await.unwrap_err();
    assert_eq!((error.needed, error.opened), (2, 0));
    assert!(error.groups.iter().all(|group| group[0].kind() == KeyErrorKind::NotFound));
}
