//! Leases, with an engine that gives out and takes back.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::faulty::{audit_file, options};
use super::mount::Class;
use super::*;
use crate::json::Value;
use crate::logical::{Call, Declared, Engine, Lease, Operation, Request, Response, Route, Secret, TokenText};
use crate::seal::Shares;
use crate::storage::Memory;

mod wrapped;
mod written;

/// What was taken back; `stuck` cannot be, and `slow` takes its time.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Gives(Log);

#[async_trait]
impl Engine for Gives {
    const ABOUT: &'static str = "Gives out names.";

    fn routes() -> Vec<Route<Self>> {
        vec![Route::<Self>::new("creds/{name}", "A name").on(Operation::Read, |_, call| Box::pin(give(call)))]
    }

    async fn renew_secret(&self, _: &Lease<'_>) -> Result<()> {
        Ok(())
    }

    async fn revoke_secret(&self, lease: &Lease<'_>) -> Result<()> {
        let name = lease.internal["name"].clone();
        self.0.0.lock().unwrap().push(name.clone());
        if name == "slow" {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        if name == "stuck" { Err(Error::bad_request("it does not answer")) } else { Ok(()) }
    }
}

#[expect(clippy::unused_async, reason = "the signature that all handlers share")]
async fn give(call: &Call<'_>) -> Result<Response> {
    let name = call.input.capture("name").to_owned();
    let ttl = if name == "short" { 1 } else { 3600 };
    let internal = BTreeMap::from([("name".to_owned(), name)]);
    let secret = Secret { ttl, max_ttl: 7200, renewable: true, internal };
    Ok(Response { secret: Some(secret), ..Response::data(object! { "user": "x" }) })
}

struct World {
    core: Arc<Core>,
    root: TokenText,
    log: Log,
}

impl World {
    async fn new() -> Self {
        let log = Log::default();
        let ours = log.clone();
        let catalog =
            crate::catalog().with(Class::Secret, "gives", move |_, _| Arc::new(Declared::new(Gives(ours.clone()))));
        let options = Options { catalog, ..options() };
        let core = Core::new(Arc::new(Memory::default()), Vec::new(), options);
        let dev = crate::dev::start(&core, None).await.unwrap();
        let world = Self { core, root: dev.root_token, log };
        world.ask(Operation::Update, "sys/mounts/g", object! { "type": "gives" }).await.unwrap();
        world
    }

    async fn ask(&self, operation: Operation, path: &str, data: crate::json::Object) -> Result<Response> {
        self.ask_as(&self.root, operation, path, data).await
    }

    async fn ask_as(
        &self,
        token: &TokenText,
        operation: Operation,
        path: &str,
        data: crate::json::Object,
    ) -> Result<Response> {
        let request =
            Request { id: random::uuid()?, token: Some(token.clone()), ..Request::new(operation, path, data) };
        self.core.handle(request).await
    }

    async fn give(&self, token: &TokenText, name: &str) -> String {
        let given = self.ask_as(token, Operation::Read, &format!("g/creds/{name}"), object! {}).await.unwrap();
        let (id, seconds, renewable) = given.lease.unwrap();
        assert!(id.starts_with(&format!("g/creds/{name}/")) && renewable && seconds <= 3600, "{id} {seconds}");
        id
    }

    async fn child(&self) -> TokenText {
        let data = object! { "policies": vec!["root"], "ttl": "1h" };
        let made = self.ask(Operation::Update, "auth/token/create", data).await.unwrap();
        made.issued.unwrap().token
    }

    fn taken_back(&self) -> Vec<String> {
        self.log.0.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_lease_is_looked_up_renewed_and_taken_back() {
    let world = World::new().await;
    let id = world.give(&world.root, "a").await;
    let of = || object! { "lease_id": id.as_str() };
    let found = world.ask(Operation::Update, "sys/leases/lookup", of()).await.unwrap().data.unwrap();
    assert_eq!(found["id"], Value::from(id.as_str()));
    let listed = world.ask(Operation::List, "sys/leases/lookup/g/creds/", object! {}).await.unwrap().data.unwrap();
    assert_eq!(listed["keys"], Value::from(vec!["a/"]));
    let mut longer = of();
    longer.insert("increment".to_owned(), "10h".into());
    let (_, seconds, _) = world.ask(Operation::Update, "sys/leases/renew", longer).await.unwrap().lease.unwrap();
    assert!((7190..=7200).contains(&seconds), "as long as the secret may live: {seconds}");
    world.ask(Operation::Update, "sys/leases/revoke", of()).await.unwrap();
    assert_eq!(world.taken_back(), ["a"]);
    assert_eq!(world.ask(Operation::Update, "sys/leases/lookup", of()).await.unwrap_err().status, 400);
}

#[tokio::test]
async fn with_a_token_and_with_a_mount_go_their_leases() {
    let world = World::new().await;
    let child = world.child().await;
    world.give(&child, "a").await;
    world.give(&child, "b").await;
    world.give(&world.root, "c").await;
    world.ask_as(&child, Operation::Update, "auth/token/revoke-self", object! {}).await.unwrap();
    let mut taken = world.taken_back();
    taken.sort();
    assert_eq!(taken, ["a", "b"]);
    world.ask(Operation::Delete, "sys/mounts/g", object! {}).await.unwrap();
    assert_eq!(world.taken_back().last().map(String::as_str), Some("c"));
    assert!(world.ask(Operation::List, "sys/leases/lookup/g/", object! {}).await.is_err());
}

#[tokio::test]
async fn a_lease_ends_by_itself() {
    let world = World::new().await;
    let id = world.give(&world.root, "short").await;
    let started = Instant::now();
    while world.core.open().unwrap().leases.find(&id).await.unwrap().is_some() {
        assert!(started.elapsed() < Duration::from_secs(20), "it is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(world.taken_back(), ["short"]);
    assert!(world.core.open().unwrap().expiry.first(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_cannot_be_taken_back_is_kept_tried_and_at_last_left_to_a_person() {
    let world = World::new().await;
    let id = world.give(&world.root, "stuck").await;
    let open = world.core.open().unwrap();
    for attempt in 1..=lease::ATTEMPTS {
        let lease = open.leases.find(&id).await.unwrap().unwrap();
        assert!(open.revoke_lease(&lease).await.is_err());
        let lease = open.leases.find(&id).await.unwrap().unwrap();
        assert_eq!((lease.attempts, lease.is_irrevocable()), (attempt, attempt == lease::ATTEMPTS));
    }
    assert!(open.expiry.first(10).await.unwrap().is_empty(), "nobody tries any more");
    let force = world.ask(Operation::Update, "sys/leases/revoke-force/g/creds", object! {}).await;
    assert!(force.is_ok());
    assert!(open.leases.find(&id).await.unwrap().is_none());
}

#[tokio::test]
async fn what_ends_first_is_read_first_and_nothing_else() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::default());
    let barrier = Barrier::initialize(storage, bulla_core::DataKey::generate().unwrap()).await.unwrap();
    let index = Index::new(&Arc::new(barrier));
    for number in 0..2000_i64 {
        let mut transaction = index.begin();
        index.set(&mut transaction, &expiry::Subject::Token(format!("{number:064x}")), 0, 1_000_000 + number).unwrap();
        transaction.commit().await.unwrap();
    }
    let first = index.first(2).await.unwrap();
    assert_eq!(first.iter().map(|(millis, _)| *millis).collect::<Vec<_>>(), [1_000_000, 1_000_001]);
}

#[tokio::test]
async fn numbers_of_shares_that_do_not_go_together_are_refused() {
    for (shares, threshold) in [(0, 0), (1, 0), (2, 1), (3, 4), (256, 2), (0, 1)] {
        let options = Options { times: Times { default_ttl: 1, max_ttl: 1 }, ..options() };
        let core = Core::new(Arc::new(Memory::default()), Vec::new(), options);
        let made = core.initialize(Init { shares: Shares { shares, threshold } }).await;
        assert_eq!(made.err().map(|error| error.status), Some(400), "{shares} {threshold}");
        assert!(!core.is_initialized().await.unwrap());
    }
}

/// Takes the audit log away before it answers.
struct Breaks(std::path::PathBuf);

#[async_trait]
impl Engine for Breaks {
    const ABOUT: &'static str = "Breaks.";

    fn routes() -> Vec<Route<Self>> {
        vec![Route::<Self>::new("{what}", "Break").on(Operation::Read, |engine, call| Box::pin(engine.answer(call)))]
    }
}

impl Breaks {
    #[expect(clippy::unused_async, reason = "the signature that all handlers share")]
    async fn answer(&self, call: &Call<'_>) -> Result<Response> {
        std::fs::remove_dir_all(&self.0).unwrap();
        let irreplaceable = call.input.capture("what") == "irreplaceable";
        Ok(Response { irreplaceable, ..Response::data(object! { "key": "share" }) })
    }
}

#[tokio::test]
async fn what_cannot_be_written_down_does_not_leave_unless_nobody_opens_the_server_without_it() {
    for (what, leaves) in [("irreplaceable", true), ("other", false)] {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("audit");
        std::fs::create_dir(&folder).unwrap();
        let breaks = folder.clone();
        let options = Options {
            audit: vec![audit_file(&folder.join("log"))],
            catalog: crate::catalog()
                .with(Class::Secret, "breaks", move |_, _| Arc::new(Declared::new(Breaks(breaks.clone())))),
            ..options()
        };
        let core = Core::new(Arc::new(Memory::default()), Vec::new(), options);
        let dev = crate::dev::start(&core, None).await.unwrap();
        let world = World { core, root: dev.root_token, log: Log::default() };
        world.ask(Operation::Update, "sys/mounts/b", object! { "type": "breaks" }).await.unwrap();
        let answer = world.ask(Operation::Read, &format!("b/{what}"), object! {}).await;
        assert_eq!(answer.is_ok(), leaves, "{what}");
    }
}

#[tokio::test]
async fn a_record_of_the_seal_that_nobody_wrote_opens_nothing() {
    use crate::seal::Stored;
    use crate::storage::{Batch, Storage};

    let storage = Arc::new(Memory::default());
    let core = Core::new(Arc::clone(&storage) as Arc<dyn Storage>, Vec::new(), options());
    let made = core.initialize(Init { shares: Shares { shares: 3, threshold: 2 } }).await.unwrap();
    let written = storage.get(Stored::PATH).await.unwrap().unwrap();
    let record: serde_json::Value = serde_json::from_slice(&written).unwrap();
    for (pointer, value) in [
        ("/shares/threshold", serde_json::json!(0)),
        ("/shares", serde_json::json!({ "shares": 0, "threshold": 0 })),
        ("/root_key", serde_json::json!([])),
        ("/root_key/0/wrapped", serde_json::json!("")),
    ] {
        let mut changed = record.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        let text = serde_json::to_vec(&changed).unwrap();
        storage
            .commit(Batch { conditions: Vec::new(), writes: vec![(Stored::PATH.to_owned(), Some(text))] })
            .await
            .unwrap();
        let core = Core::new(Arc::clone(&storage) as Arc<dyn Storage>, Vec::new(), options());
        assert_eq!(core.unseal(made.shares[0].clone()).await.unwrap_err().status, 500, "{pointer}");
        assert_eq!(core.is_initialized().await.unwrap_err().status, 500, "{pointer}");
    }
}

#[tokio::test]
async fn a_login_counts_for_its_role_however_that_is_written_and_for_its_mount_if_it_names_none() {
    let world = World::new().await;
    for (path, data) in [
        ("sys/auth/approle", object! { "type": "approle" }),
        ("auth/approle/role/r", object! {}),
        ("auth/approle/role/r/role-id", object! { "role_id": "1234" }),
        ("sys/quotas/rate-limit/all", object! { "path": "auth/approle", "rate": 100 }),
        ("sys/quotas/rate-limit/one", object! { "path": "auth/approle", "role": "r", "rate": 1 }),
    ] {
        world.ask(Operation::Update, path, data).await.unwrap();
    }
    for (data, limit) in [
        (object! { "role_id": "1234" }, 1),
        (object! { "role_id": 1234 }, 1),
        (object! { "role_id": "other" }, 100),
        (object! { "role_id": "x".repeat(40_000) }, 100),
        (object! { "role_id": vec!["no text"] }, 100),
        (object! {}, 100),
    ] {
        let request = Request {
            remote: Some([127, 0, 0, 1].into()),
            remote_port: 1,
            ..Request::new(Operation::Update, "auth/approle/login", data)
        };
        let verdict = world.core.count_login(&request).await.unwrap();
        assert_eq!(verdict.left.map(|(limit, ..)| limit), Some(limit), "{:?}", request.data.keys());
    }
}

#[tokio::test]
async fn leases_of_more_tokens_than_one_page_has_are_all_listed() {
    let world = World::new().await;
    for _ in 0..501 {
        world.child().await;
    }
    let open = world.core.open().unwrap();
    let listed = async |prefix: &str, behind: &str, most| open.leases_of_tokens(prefix, behind, most).await.unwrap();
    assert_eq!(listed("", "", 10).await, ["auth/"]);
    let all = listed("auth/token/create/", "", 1000).await;
    assert!(all.len() == 501 && all.is_sorted());
    // Page by page it is the same.
    let mut pages = listed("auth/token/create/", "", 200).await;
    while let page = listed("auth/token/create/", pages.last().unwrap(), 200).await
        && !page.is_empty()
    {
        assert!(page.len() <= 200);
        pages.extend(page);
    }
    assert_eq!(pages, all);
    assert_eq!(open.tokens_below("auth/token/").await.unwrap().len(), 501);
}

#[tokio::test]
async fn what_a_token_made_is_of_no_use_before_anything_is_tidied_up() {
    let world = World::new().await;
    let parent = world.child().await;
    let mut below = Vec::new();
    for _ in 0..3 {
        let made =
            world.ask_as(&parent, Operation::Update, "auth/token/create", object! { "ttl": "1h" }).await.unwrap();
        below.push(made.issued.unwrap().token);
    }
    let made = world.ask_as(&below[0], Operation::Update, "auth/token/create", object! { "ttl": "1h" }).await.unwrap();
    below.push(made.issued.unwrap().token);
    for token in &below {
        world.give(token, "slow").await;
    }
    let revoking = world.ask(Operation::Update, "auth/token/revoke", object! { "token": parent.expose() });
    let looking = async {
        while world.taken_back().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut alive = 0;
        for token in below.iter().chain([&parent]) {
            alive +=
                usize::from(world.ask_as(token, Operation::Read, "auth/token/lookup-self", object! {}).await.is_ok());
        }
        (alive, world.taken_back().len())
    };
    let (revoked, (alive, taken_back)) = futures_util::join!(revoking, looking);
    revoked.unwrap();
    assert_eq!(alive, 0);
    assert!(taken_back < 4, "it was looked at while the first was taken back");
    assert!(world.taken_back().len() >= 4);
}
