//! Replicas are killed at random moments while SealedSecrets come, change and go: in the end all is as their last versions say.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bulla_cluster_tests::{Namespace, kubeconfig};
use bulla_kube::api::SealedSecret;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};

use super::sealer::{Sealer, client, is_synced, password};
use super::{Keys, Operator};
use crate::{Random, number};

/// How many names there are for SealedSecrets.
const NAMES: u64 = 40;

/// How long a replica may live before the next one is killed, and how long the test may take to make the next change.
const KILL: Duration = Duration::from_millis(1600);
const CHANGE: Duration = Duration::from_millis(120);

/// Leases that run out while the test waits for it.
const FLAGS: [&str; 2] = ["--lease-duration", "3s"];

/// What a name was last given.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Last {
    Value(String),
    Broken,
}

#[test]
fn replicas_that_are_killed_at_random_moments_lose_nothing() {
    let seed = number("BULLA_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let kills = number("BULLA_TEST_KILLS").unwrap_or(50);
    let mut random = Random(seed);
    let (namespace, keys) = (Namespace::new("kills"), Keys::new());
    let start = |replica: &str| Operator::start(&namespace, &keys, replica, &FLAGS);
    let mut replicas = [start("r0"), start("r1")].map(Operator::ready);
    let mut names = ["r0".to_owned(), "r1".to_owned()];
    let changes = Changes::new(&namespace, Sealer::of(&replicas[0]), random.next());
    let since = Instant::now();
    let stop = AtomicBool::new(false);
    let changes = thread::scope(|scope| {
        let changing = scope.spawn(|| changes.go_on_until(&stop));
        for kill in 0..kills {
            thread::sleep(random.below(KILL));
            let which = usize::try_from(random.next() % 2).unwrap();
            // A container that is started again has its pod's name; a pod that is made again has another.
            if random.next().is_multiple_of(2) {
                names[which] = format!("k{kill}");
            }
            // The old one is killed and waited for when it is dropped.
            replicas[which].process.kill().unwrap();
            replicas[which] = start(&names[which]);
        }
        stop.store(true, Ordering::Relaxed);
        changing.join().unwrap()
    });
    let place = format!("{kills} kills, BULLA_TEST_SEED={seed}");
    let Changes { last, made, written, .. } = &changes;
    eprintln!("{place}: {made} changes, {written} Secrets seen changed meanwhile, {:.0?}", since.elapsed());
    assert!(*written > made / 20, "{place}: the replicas hardly worked");
    let mut wrong = String::new();
    let since = Instant::now();
    while !changes.all_is_as_it_was_said(&mut wrong) {
        let logs = || replicas.each_ref().map(Operator::log).concat();
        assert!(since.elapsed() < Duration::from_mins(1), "{place}: {wrong}; expected {last:?}\n{}", logs());
        thread::sleep(Duration::from_millis(250));
    }
    eprintln!("{place}: all as it was said after {:.1?}", since.elapsed());
}

/// Makes changes, and keeps account of them.
struct Changes {
    runtime: tokio::runtime::Runtime,
    sealed: Api<SealedSecret>,
    secrets: Api<Secret>,
    namespace: String,
    sealer: Sealer,
    random: Random,
    /// What there is, by name.
    last: BTreeMap<String, Last>,
    made: usize,
    /// How many versions of Secrets there were, whenever they were looked at.
    written: usize,
}

impl Changes {
    fn new(namespace: &Namespace, sealer: Sealer, seed: u64) -> Self {
        let (runtime, client) = client(&kubeconfig());
        Self {
            sealed: Api::namespaced(client.clone(), &namespace.name),
            secrets: Api::namespaced(client, &namespace.name),
            runtime,
            namespace: namespace.name.clone(),
            sealer,
            random: Random(seed),
            last: BTreeMap::new(),
            made: 0,
            written: 0,
        }
    }

    fn go_on_until(mut self, stop: &AtomicBool) -> Self {
        let mut versions = BTreeMap::new();
        while !stop.load(Ordering::Relaxed) {
            self.change();
            if self.made.is_multiple_of(10) {
                for secret in self.secrets() {
                    let version = secret.metadata.resource_version.clone();
                    self.written += usize::from(versions.insert(secret.name_any(), version.clone()) != Some(version));
                }
            }
            thread::sleep(self.random.below(CHANGE));
        }
        self
    }

    /// One change of one name: it comes, gets another value or one that no key opens, or goes.
    fn change(&mut self) {
        self.made += 1;
        let name = format!("s{}", self.random.next() % NAMES);
        let last = match self.random.next() % 10 {
            0..2 if self.last.remove(&name).is_some() => {
                self.runtime.block_on(self.sealed.delete(&name, &DeleteParams::default())).unwrap();
                return;
            }
            2 => Last::Broken,
            _ => Last::Value(format!("value {}", self.made)),
        };
        let object = match &last {
            Last::Value(value) => self.sealer.seal(&self.namespace, &name, value),
            Last::Broken => Sealer::broken(&self.namespace, &name),
        };
        let (test, object) = (PatchParams::apply("test"), Patch::Apply(&object));
        self.runtime.block_on(self.sealed.patch(&name, &test, &object)).unwrap();
        self.last.insert(name, last);
    }

    fn secrets(&self) -> Vec<Secret> {
        let ours = ListParams::default().labels("bulla.dev/plain=sealed-secret");
        self.runtime.block_on(self.secrets.list(&ours)).unwrap().items
    }

    /// Whether there is a Secret for each SealedSecret that opens and for no other, and each status is right. Else says what is not.
    fn all_is_as_it_was_said(&self, wrong: &mut String) -> bool {
        let sealed = self.runtime.block_on(self.sealed.list(&ListParams::default())).unwrap().items;
        assert_eq!(
            sealed.iter().map(ResourceExt::name_any).collect::<Vec<_>>(),
            self.last.keys().cloned().collect::<Vec<_>>()
        );
        let secrets: BTreeMap<String, Secret> =
            self.secrets().into_iter().map(|secret| (secret.name_any(), secret)).collect();
        let says = |sealed: &SealedSecret| {
            let name = sealed.name_any();
            let secret = secrets.get(&name);
            match &self.last[&name] {
                // What an earlier version opened to may still be there.
                Last::Broken => is_synced(sealed) == Some(false),
                Last::Value(value) => {
                    let written = sealed.status.as_ref().and_then(|status| status.written.as_ref());
                    let version = written.map(|written| (Some(&*written.uid), Some(&*written.resource_version)));
                    let is = secret
                        .map(|secret| (secret.metadata.uid.as_deref(), secret.metadata.resource_version.as_deref()));
                    is_synced(sealed) == Some(true)
                        && secret.and_then(password) == Some(value)
                        && version == is
                        && secret.is_some_and(|secret| secret.owner_references()[0].uid == sealed.uid().unwrap())
                }
            }
        };
        let not = sealed.iter().filter(|sealed| !says(sealed)).map(ResourceExt::name_any);
        let left = secrets.keys().filter(|name| !self.last.contains_key(*name)).cloned();
        let not: Vec<String> = not.chain(left).collect();
        *wrong = not.join(", ");
        not.is_empty()
    }
}
