//! What the kubelet asks for, from the request to the files: with a provider behind a real socket, and classes that the test holds.

mod crash;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bulla_node::class::{Class, ClassError, Classes, Versioned};
use bulla_node::csi::{NodeService, Users};
use bulla_node::metrics::Metrics;
use bulla_node::mounter::Mounter;
use bulla_node::pod::Pod;
use bulla_node::proto::csi::node_server::Node;
use bulla_node::proto::csi::volume_capability::{AccessType, MountVolume};
use bulla_node::proto::csi::{
    NodeGetVolumeStatsRequest, NodePublishVolumeRequest, NodeUnpublishVolumeRequest, VolumeCapability,
};
use bulla_node::proto::provider::csi_driver_provider_server::{CsiDriverProvider, CsiDriverProviderServer};
use bulla_node::proto::provider::{File, MountRequest, MountResponse, ObjectVersion, VersionRequest, VersionResponse};
use bulla_node::provider::{Provider, Remote};
use bulla_node::publish::{Outcome, Providers, Publisher, Report, Reports, Settings};
use bulla_node::volume::Limits;
use rustix::mount::{MountFlags, mount};
use tonic::{Code, Request, Response, Status};

use super::half::{DRIVER, Half};

/// What the provider of the test answers, and what it was asked.
#[derive(Default)]
struct Far {
    answer: Mutex<Option<Result<MountResponse, Status>>>,
    asked: Mutex<Vec<MountRequest>>,
    calls: AtomicUsize,
}

#[derive(Clone)]
struct FarProvider(Arc<Far>);

#[tonic::async_trait]
impl CsiDriverProvider for FarProvider {
    async fn version(&self, _: Request<VersionRequest>) -> Result<Response<VersionResponse>, Status> {
        let runtime_name = "test".to_owned();
        Ok(Response::new(VersionResponse {
            version: "v1alpha1".to_owned(),
            runtime_name,
            runtime_version: "1".to_owned(),
        }))
    }

    async fn mount(&self, request: Request<MountRequest>) -> Result<Response<MountResponse>, Status> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        self.0.asked.lock().unwrap().push(request.into_inner());
        self.0.answer.lock().unwrap().clone().unwrap().map(Response::new)
    }
}

#[derive(Default)]
struct Held(Mutex<BTreeMap<String, Class>>);

#[async_trait]
impl Classes for Held {
    async fn class(&self, _: &str, name: &str) -> Result<Arc<Versioned>, ClassError> {
        let class = self.0.lock().unwrap().get(name).cloned().ok_or_else(|| ClassError::Missing(name.to_owned()))?;
        Ok(Arc::new(class.into()))
    }
}

struct OneProvider(Mounter);

impl Providers for OneProvider {
    fn provider(&self, name: &str) -> Result<Arc<dyn Provider>, String> {
        match name {
            "far" => Ok(Arc::new(Remote::new("far", self.0.clone(), 4 << 20, Limits::default()))),
            "silent" => {
                let silent = Remote::new("silent", self.0.clone(), 4 << 20, Limits::default());
                Ok(Arc::new(silent.with_patience(Duration::from_secs(3))))
            }
            _ => Err("far".to_owned()),
        }
    }
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

#[async_trait]
impl Reports for Log {
    async fn tell(&self, report: Report<'_>) {
        let text = match report.outcome {
            Outcome::Failed(error) => format!("failed: {error}"),
            Outcome::Stale(error) => format!("stale: {error}"),
            other => format!("{other:?}").to_lowercase(),
        };
        self.0.lock().unwrap().push(text);
    }

    async fn gone(&self, _: &str) {
        self.0.lock().unwrap().push("gone".to_owned());
    }
}

struct Nobody;

#[async_trait]
impl Users for Nobody {
    async fn user(&self, _: &Pod) -> Option<u32> {
        None
    }
}

/// How much all volumes of the node may have, in bytes.
const MEMORY: u64 = 32 << 20;

/// A node with one provider.
struct World {
    half: Half,
    far: Arc<Far>,
    classes: Arc<Held>,
    log: Arc<Log>,
    service: Arc<NodeService>,
    pods: PathBuf,
}

impl World {
    fn new(interval: Option<Duration>) -> Self {
        Self::with(Half::start(), interval)
    }

    fn with(half: Half, interval: Option<Duration>) -> Self {
        let pods = half.folder.path().join("pods");
        let mounter = Mounter::new(half.socket.try_clone().unwrap()).unwrap();
        let (far, classes, log) = (Arc::<Far>::default(), Arc::<Held>::default(), Arc::<Log>::default());
        let world =
            Self { service: Self::service(&mounter, &pods, &classes, &log, interval), half, far, classes, log, pods };
        world.answers(&[("password", "one")], "1");
        world.class("app", "far");
        world.listen("providers");
        world
    }

    fn service(
        mounter: &Mounter,
        pods: &Path,
        classes: &Arc<Held>,
        log: &Arc<Log>,
        interval: Option<Duration>,
    ) -> Arc<NodeService> {
        let settings = Settings { interval, limits: Limits::default(), memory: MEMORY, mode: 0o644 };
        let providers = Arc::new(OneProvider(mounter.clone()));
        let metrics = Metrics::default();
        let publisher =
            Publisher::new(mounter.clone(), classes.clone(), providers, log.clone(), settings, metrics.clone());
        Arc::new(NodeService {
            node: "n".to_owned(),
            pods: pods.to_owned(),
            publisher: Arc::new(publisher),
            mounter: mounter.clone(),
            users: Arc::new(Nobody),
            metrics,
        })
    }

    /// The same node after its service was started again: nothing is remembered but what the volumes hold.
    fn restarted(mut self, interval: Option<Duration>) -> Self {
        let mounter = Mounter::new(self.half.socket.try_clone().unwrap()).unwrap();
        self.service = Self::service(&mounter, &self.pods, &self.classes, &self.log, interval);
        self
    }

    /// The provider's socket, in one of the two folders.
    fn listen(&self, folder: &str) {
        let folder = self.half.folder.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        let listener = tokio::net::UnixListener::bind(folder.join("far.sock")).unwrap();
        let service = CsiDriverProviderServer::new(FarProvider(self.far.clone()));
        let connections = async_stream(listener);
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(connections));
    }

    fn answers(&self, files: &[(&str, &str)], version: &str) {
        let file = |(path, contents): &(&str, &str)| File {
            path: (*path).to_owned(),
            mode: 0o600,
            contents: contents.as_bytes().to_vec(),
        };
        let object_version = vec![ObjectVersion { id: "object".to_owned(), version: version.to_owned() }];
        let answer = MountResponse { object_version, error: None, files: files.iter().map(file).collect() };
        *self.far.answer.lock().unwrap() = Some(Ok(answer));
    }

    fn fails(&self, code: Code) {
        *self.far.answer.lock().unwrap() = Some(Err(Status::new(code, "the far side says no")));
    }

    fn class(&self, name: &str, provider: &str) {
        let class = Class { provider: provider.to_owned(), ..Class::default() };
        self.classes.0.lock().unwrap().insert(name.to_owned(), class);
    }

    fn calls(&self) -> usize {
        self.far.calls.load(Ordering::SeqCst)
    }

    fn request(&self, pod: &str, class: &str) -> NodePublishVolumeRequest {
        let target = self.half.volume(pod);
        let mount = MountVolume { volume_mount_group: "2000".to_owned(), ..MountVolume::default() };
        let context = [
            ("secretProviderClass", class),
            ("csi.storage.k8s.io/pod.name", pod),
            ("csi.storage.k8s.io/pod.namespace", "shop"),
            ("csi.storage.k8s.io/pod.uid", pod),
            ("csi.storage.k8s.io/serviceAccount.name", "web"),
            (
                "csi.storage.k8s.io/serviceAccount.tokens",
                r#"{"far":{"token":"ey.token","expirationTimestamp":"2036-01-01T00:00:00Z"}}"#,
            ),
        ];
        NodePublishVolumeRequest {
            volume_id: format!("csi-{pod}"),
            target_path: self.pods.join(target).to_str().unwrap().to_owned(),
            volume_capability: Some(VolumeCapability {
                access_type: Some(AccessType::Mount(mount)),
                access_mode: None,
            }),
            readonly: true,
            secrets: BTreeMap::new(),
            volume_context: context.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        }
    }

    async fn publish(&self, pod: &str) -> Result<(), Status> {
        self.service.node_publish_volume(Request::new(self.request(pod, "app"))).await.map(drop)
    }

    async fn unpublish(&self, pod: &str) -> Result<(), Status> {
        let target_path = self.request(pod, "app").target_path;
        let request = NodeUnpublishVolumeRequest { volume_id: "v".to_owned(), target_path };
        self.service.node_unpublish_volume(Request::new(request)).await.map(drop)
    }

    /// A file as the pod would see it; nothing if it is not there.
    fn file(&self, pod: &str, name: &str) -> Option<String> {
        let place = self.half.look("pods").join(pod).join("volumes/kubernetes.io~csi/secrets/mount");
        fs::read_to_string(place.join(name)).ok()
    }

    fn said(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.0.lock().unwrap())
    }
}

/// The connections of a listener.
fn async_stream(
    listener: tokio::net::UnixListener,
) -> impl futures_util::Stream<Item = std::io::Result<tokio::net::UnixStream>> {
    futures_util::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    })
}

#[tokio::test]
async fn a_volume_comes_and_goes() {
    let world = World::new(None);
    world.publish("p").await.unwrap();
    assert_eq!(world.file("p", "password").as_deref(), Some("one"));
    let asked = world.far.asked.lock().unwrap()[0].clone();
    let attributes: serde_json::Value = serde_json::from_str(&asked.attributes).unwrap();
    assert_eq!(attributes["csi.storage.k8s.io/pod.namespace"], "shop");
    assert!(attributes["csi.storage.k8s.io/serviceAccount.tokens"].as_str().unwrap().contains("ey.token"));
    assert_eq!((asked.permission.as_str(), asked.secrets.as_str()), ("420", "{}"));
    let stats =
        NodeGetVolumeStatsRequest { volume_id: "v".to_owned(), volume_path: world.request("p", "app").target_path };
    let usage = world.service.node_get_volume_stats(Request::new(stats)).await.unwrap().into_inner().usage;
    assert!(usage[0].used > 0 && usage[0].available > 0);
    world.unpublish("p").await.unwrap();
    world.unpublish("p").await.unwrap();
    assert_eq!(world.file("p", "password"), None);
    assert!(!world.half.mounts().contains(" tmpfs bulla "));
    assert_eq!(world.said(), ["mounted", "gone", "gone"]);
}

#[tokio::test]
async fn what_is_mounted_is_fetched_when_it_is_due_and_written_when_it_changed() {
    let world = World::new(Some(Duration::from_secs(3)));
    world.publish("p").await.unwrap();
    let place = world.half.look("pods").join("p/volumes/kubernetes.io~csi/secrets/mount");
    let before = fs::read_link(place.join("..data")).unwrap();
    // Every minute the kubelet asks. Nothing is fetched before it is due.
    for _ in 0..5 {
        world.publish("p").await.unwrap();
    }
    assert_eq!(world.calls(), 1);
    tokio::time::sleep(Duration::from_millis(3100)).await;
    world.publish("p").await.unwrap();
    assert_eq!((world.calls(), fs::read_link(place.join("..data")).unwrap()), (2, before.clone()));
    // Unchanged contents count from the last look: defect (a) of the peer.
    world.publish("p").await.unwrap();
    assert_eq!(world.calls(), 2);
    world.answers(&[("password", "two"), ("user", "me")], "2");
    tokio::time::sleep(Duration::from_millis(3100)).await;
    world.publish("p").await.unwrap();
    assert_eq!(world.file("p", "password").as_deref(), Some("two"));
    assert_ne!(fs::read_link(place.join("..data")).unwrap(), before);
    // The versions that are mounted are told: defect (b).
    let asked = world.far.asked.lock().unwrap();
    let told: Vec<_> =
        asked.iter().map(|asked| asked.current_object_version.first().map(|one| one.version.clone())).collect();
    assert_eq!(told, [None, Some("1".to_owned()), Some("1".to_owned())]);
    assert_eq!(world.said(), ["mounted", "unchanged", "changed"]);
}

#[tokio::test]
async fn a_service_that_starts_again_disturbs_nothing() {
    let world = World::new(Some(Duration::from_mins(1)));
    world.publish("p").await.unwrap();
    let place = world.half.look("pods").join("p/volumes/kubernetes.io~csi/secrets/mount");
    let before = fs::read_link(place.join("..data")).unwrap();
    let world = world.restarted(Some(Duration::from_mins(1)));
    world.publish("p").await.unwrap();
    assert_eq!((world.calls(), fs::read_link(place.join("..data")).unwrap()), (1, before));
    // Another class, other contents, although it is not due.
    world.answers(&[("password", "two")], "2");
    world.classes.0.lock().unwrap().get_mut("app").unwrap().refresh = "now".to_owned();
    world.publish("p").await.unwrap();
    assert_eq!(world.file("p", "password").as_deref(), Some("two"));
    world.unpublish("p").await.unwrap();
    assert_eq!(world.file("p", "password"), None);
}

/// What the Secrets Store CSI driver mounted for the pod `p`, with the note that the kubelet has beside it.
fn other_driver(kubelet: &Path, files: &[(&str, &str)]) {
    let volume = kubelet.join("pods/p/volumes/kubernetes.io~csi/secrets");
    let place = volume.join("mount");
    fs::create_dir_all(&place).unwrap();
    fs::write(volume.join("vol_data.json"), format!(r#"{{"driverName":"{DRIVER}"}}"#)).unwrap();
    mount("tmpfs", &place, "tmpfs", MountFlags::empty(), None).unwrap();
    if files.is_empty() {
        return;
    }
    fs::create_dir(place.join("..2026")).unwrap();
    symlink("..2026", place.join("..data")).unwrap();
    for (name, contents) in files {
        fs::write(place.join("..2026").join(name), contents).unwrap();
        symlink(format!("..data/{name}"), place.join(name)).unwrap();
    }
}

#[tokio::test]
async fn what_an_earlier_driver_mounted_is_brought_up_to_date_in_its_place() {
    let half = Half::with(|kubelet| other_driver(kubelet, &[("password", "old"), ("gone", "x")]));
    let world = World::with(half, None);
    // A container has the folder, wherever the path leads later.
    let place = world.half.look("pods/p/volumes/kubernetes.io~csi/secrets/mount");
    let of_container = fs::File::open(&place).unwrap();
    let read = |name: &str| {
        let inside = format!("/proc/self/fd/{}", of_container.as_raw_fd());
        fs::read_to_string(Path::new(&inside).join(name)).ok()
    };
    // The provider is down: the pod keeps what it has.
    world.fails(Code::Internal);
    world.publish("p").await.unwrap();
    assert_eq!(read("password").as_deref(), Some("old"));
    assert!(world.said()[0].starts_with("stale"));
    world.answers(&[("password", "new")], "2");
    let world = world.restarted(None);
    world.publish("p").await.unwrap();
    assert_eq!((read("password").as_deref(), read("gone")), (Some("new"), None));
    let calls = world.calls();
    world.publish("p").await.unwrap();
    assert_eq!(world.calls(), calls, "it is remembered now");

    // Where that driver had mounted and written nothing a pod must not start.
    let world = World::with(Half::with(|kubelet| other_driver(kubelet, &[])), None);
    world.fails(Code::Internal);
    world.publish("p").await.unwrap_err();
    world.answers(&[("password", "new")], "2");
    world.publish("p").await.unwrap();
    assert_eq!(world.file("p", "password").as_deref(), Some("new"));
}

#[tokio::test]
async fn volumes_take_no_more_memory_than_a_namespace_may_have() {
    let world = World::new(Some(Duration::ZERO));
    let files = |letter: &str| (letter.repeat(2 << 20), letter.repeat(1 << 20));
    let answers = |world: &World, letter: &str| {
        let (large, small) = files(letter);
        world.answers(&[("large", &large), ("small", &small)], letter);
    };
    answers(&world, "a");
    for pod in ["1", "2", "3", "4"] {
        world.publish(pod).await.unwrap();
    }
    // 12 of 16 MiB are taken: there is room for one more, and not for two.
    let world = world.restarted(Some(Duration::ZERO));
    for pod in ["1", "2", "3", "4", "5"] {
        world.publish(pod).await.unwrap();
    }
    world.said();
    let refused = world.publish("6").await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("namespace shop"), "{refused}");
    assert_eq!(world.file("6", "small"), None);

    // A version of which there is no room beside the one before leaves that mounted, however often it is tried.
    answers(&world, "b");
    for _ in 0..3 {
        world.publish("1").await.unwrap();
    }
    assert_eq!(world.file("1", "small").unwrap(), files("a").1);
    assert!(world.said().iter().any(|line| line.starts_with("stale: there is no room")), "it is told");
    world.unpublish("2").await.unwrap();
    world.publish("6").await.unwrap();
    assert_eq!(world.file("6", "small").unwrap(), files("b").1);
}

#[tokio::test]
async fn a_first_mount_that_fails_says_so_and_leaves_nothing() {
    let world = World::new(Some(Duration::ZERO));
    // Also for the codes after which the kubelet keeps the folder: defect (c).
    for code in [Code::Cancelled, Code::DeadlineExceeded, Code::Aborted, Code::PermissionDenied, Code::Internal] {
        world.fails(code);
        for _ in 0..2 {
            let status = world.publish("p").await.unwrap_err();
            assert!(status.message().contains("the far side says no"), "{status}");
            let half_done = [Code::Cancelled, Code::DeadlineExceeded, Code::Unavailable, Code::Aborted];
            assert!(!half_done.contains(&status.code()));
            assert!(!world.half.mounts().contains(" tmpfs bulla "), "{code:?}");
        }
    }
    let status = world.service.node_publish_volume(Request::new(world.request("p", "none"))).await.unwrap_err();
    assert!(status.code() == Code::FailedPrecondition && status.message().contains("none"), "{status}");
    world.class("other", "azure");
    let status = world.service.node_publish_volume(Request::new(world.request("p", "other"))).await.unwrap_err();
    assert!(status.message().contains("\"azure\"; known are far"), "{status}");
    // Of what is not mounted nothing is kept: nobody may ever say that it is gone.
    assert!(world.service.publisher.classes().is_empty() && world.service.publisher.mounted_for("p").is_empty());
    // Others are not harmed.
    world.answers(&[("password", "one")], "1");
    world.publish("q").await.unwrap();
    assert_eq!(world.service.publisher.classes().len(), 1);
}

#[tokio::test]
async fn what_is_mounted_stays_when_the_far_side_fails() {
    let world = World::new(Some(Duration::ZERO));
    world.publish("p").await.unwrap();
    for code in [Code::Internal, Code::PermissionDenied] {
        world.fails(code);
        world.publish("p").await.unwrap();
        assert_eq!(world.file("p", "password").as_deref(), Some("one"));
    }
    // Not at each of the kubelet's calls: further and further apart.
    assert_eq!(world.calls(), 2);
    let said = world.said();
    assert!(said.len() == 2 && said[1].starts_with("stale: far: the far side says no"), "{said:?}");
}

#[tokio::test]
async fn what_is_mounted_stays_when_its_class_is_gone() {
    let world = World::new(Some(Duration::ZERO));
    world.publish("p").await.unwrap();
    world.classes.0.lock().unwrap().clear();
    for _ in 0..3 {
        world.publish("p").await.unwrap();
    }
    assert_eq!(world.file("p", "password").as_deref(), Some("one"));
    let said = world.said();
    assert!(said.len() == 2 && said[1].contains("SecretProviderClass app does not exist"), "{said:?}");
}

#[tokio::test]
async fn a_provider_that_moved_or_was_started_again_is_found() {
    let world = World::new(Some(Duration::ZERO));
    world.publish("p").await.unwrap();
    fs::remove_file(world.half.folder.path().join("providers/far.sock")).unwrap();
    world.publish("q").await.unwrap_err();
    world.listen("none");
    world.publish("q").await.unwrap();
    assert_eq!(world.file("q", "password").as_deref(), Some("one"));
}

#[tokio::test]
async fn a_hostile_provider_writes_nothing_outside_and_fills_nothing() {
    let world = World::new(None);
    for path in ["../escape", "/etc/escape", "..data/x", "a/../../x", ""] {
        world.answers(&[(path, "x")], "1");
        let status = world.publish("p").await.unwrap_err();
        assert!(status.code() == Code::InvalidArgument && status.message().contains("no path inside"), "{status}");
    }
    let huge = "x".repeat(5 << 20);
    world.answers(&[("a", &huge)], "1");
    world.publish("p").await.unwrap_err();
    assert!(!world.half.mounts().contains(" tmpfs bulla "));
    assert!(!world.half.look("pods").join("p/volumes/kubernetes.io~csi/escape").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_never_answers_holds_up_nobody_else() {
    let world = Arc::new(World::new(None));
    world.publish("before").await.unwrap();
    let listener = std::os::unix::net::UnixListener::bind(world.half.folder.path().join("providers/silent.sock"));
    // Nobody accepts.
    let _listener = listener.unwrap();
    world.class("silent", "silent");
    let waiting = {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            world.service.node_publish_volume(Request::new(world.request("p", "silent"))).await.map(drop)
        })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    let others = async {
        for pod in ["q", "r"] {
            world.publish(pod).await.unwrap();
        }
        world.unpublish("before").await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(5), others).await.unwrap();
    assert!(!waiting.is_finished());
    assert_eq!(world.file("q", "password").as_deref(), Some("one"));
    // Nothing is left of it when it is given up.
    let status = waiting.await.unwrap().unwrap_err();
    assert!(status.message().contains("did not answer"), "{status}");
    assert!(!world.half.look("pods").join("p/volumes/kubernetes.io~csi/secrets/mount").exists());
}

#[tokio::test]
async fn a_class_of_half_a_megabyte_is_handed_on_or_refused() {
    let world = World::new(None);
    let parameters = BTreeMap::from([("objects".to_owned(), "x".repeat(500_000))]);
    let class = Class { provider: "far".to_owned(), parameters, ..Class::default() };
    world.classes.0.lock().unwrap().insert("app".to_owned(), class);
    world.publish("p").await.unwrap();
    let asked = world.far.asked.lock().unwrap()[0].clone();
    assert!(asked.attributes.len() > 500_000);
    let record = fs::read(world.half.look("pods").join("p/volumes/kubernetes.io~csi/secrets/mount/..bulla")).unwrap();
    assert!(record.len() < 1000, "{} bytes are remembered", record.len());
}

#[tokio::test]
async fn a_file_whose_provider_says_no_mode_can_be_read() {
    let world = World::new(None);
    world.answers(&[("password", "one"), ("user", "me")], "1");
    if let Some(Ok(answer)) = &mut *world.far.answer.lock().unwrap() {
        answer.files[0].mode = 0;
    }
    world.publish("p").await.unwrap();
    let place = world.half.look("pods").join("p/volumes/kubernetes.io~csi/secrets/mount");
    let mode = |name: &str| fs::metadata(place.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("password"), mode("user")), (0o644, 0o600));
}

#[tokio::test]
async fn a_provider_of_old_writes_into_what_is_mounted() {
    let world = World::new(None);
    world.answers(&[], "1");
    world.publish("p").await.unwrap();
    assert!(world.half.mounts().contains(" tmpfs bulla "));
    world.publish("p").await.unwrap();
    assert_eq!(world.calls(), 1);
    world.unpublish("p").await.unwrap();
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let world = World::new(None);
    let refused = async |change: &dyn Fn(&mut NodePublishVolumeRequest)| {
        let mut request = world.request("p", "app");
        change(&mut request);
        world.service.node_publish_volume(Request::new(request)).await.unwrap_err().code()
    };
    assert_eq!(refused(&|request| request.volume_id.clear()).await, Code::InvalidArgument);
    assert_eq!(refused(&|request| request.target_path.clear()).await, Code::InvalidArgument);
    assert_eq!(refused(&|request| request.volume_capability = None).await, Code::InvalidArgument);
    assert_eq!(refused(&|request| request.readonly = false).await, Code::InvalidArgument);
    assert_eq!(refused(&|request| request.volume_context.clear()).await, Code::InvalidArgument);
    assert_eq!(refused(&|request| request.target_path = "/etc".to_owned()).await, Code::InvalidArgument);
    assert_eq!(refused(&|request| request.target_path.push_str("/../../x")).await, Code::InvalidArgument);
    assert_eq!(world.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_do_not_wait_for_each_other() {
    let world = Arc::new(World::new(None));
    let all = (0..200).map(|n| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.publish(&format!("p{n}")).await })
    });
    for one in futures_util::future::join_all(all).await {
        one.unwrap().unwrap();
    }
    assert_eq!(world.half.mounts().matches(" tmpfs bulla ").count(), 200);
    for n in 0..200 {
        world.unpublish(&format!("p{n}")).await.unwrap();
    }
    assert!(!world.half.mounts().contains(" tmpfs bulla "));
}
