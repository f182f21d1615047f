//! HTTP: connections, and what of Vault's API is about HTTP rather than about secrets.
//!
//! Anybody may connect, so what a connection costs is bounded: how many there are, how long a request's head may take, how large a body is, how
//! much all bodies have together, how long one may take, and how long an answer may wait for whoever does not read it.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bulla_listen::{Bounds, Places, Security};
use bytes::Bytes;
use hyper::body::Body;
use tokio::net::TcpListener;
use tokio::sync::watch;

mod answer;
mod asked;
mod body;
mod early;
mod forwarded;
mod known;
mod limited;
mod surely;

pub use self::asked::path;
pub use self::body::AnswerBody;
pub use self::forwarded::{Forwarded, Others};
use self::surely::surely;
use crate::core::Core;

/// How long until a request's head is there, from the connection's begin or the last answer.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How long a request's body may take, and what it asks for.
pub(crate) const REQUEST_TIME: Duration = Duration::from_secs(90);
/// How long a client may take nothing of an answer.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// What a connection may keep of what it reads.
const BUFFER: usize = 64 << 10;
/// How many connections there are at once.
const CONNECTIONS: usize = 16 << 10;
/// What the process may have open beside connections: its storage, audit files that are opened anew, its own requests.
const OTHER_FILES: u64 = 64;
static PLACES: LazyLock<Places> = LazyLock::new(|| {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let rest = usize::try_from(limit.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    Places::new(rest.clamp(1, CONNECTIONS))
});

/// What a listener lets everybody do, without a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// `sys/generate-root`: shares of the key are what it takes.
    pub generate_root: bool,
    /// `sys/rekey` and `sys/rekey-recovery-key`: the same.
    pub rekey: bool,
    /// `sys/metrics`, also while the server is sealed.
    pub metrics: bool,
}

impl Opened {
    /// Whether `path` is asked by everybody here, or is none of those.
    fn allows(self, path: &str) -> bool {
        let below = |folder: &str, ends: &[&str]| path.strip_prefix(folder).is_some_and(|end| ends.contains(&end));
        let root = below("sys/generate-root/", &["attempt", "update"]);
        let rekey = below("sys/rekey/", &["init", "update", "verify"])
            || below("sys/rekey-recovery-key/", &["init", "update", "verify"]);
        (self.generate_root || !root) && (self.rekey || !rekey)
    }
}

/// What is particular to a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// What it lets everybody do.
    pub opened: Opened,
    /// Which proxies it believes.
    pub forwarded: Option<Forwarded>,
}

impl From<Opened> for Rules {
    fn from(opened: Opened) -> Self {
        Self { opened, forwarded: None }
    }
}

/// Serves until `stop` says so, then finishes what was asked.
pub async fn serve(
    listener: TcpListener,
    core: Arc<Core>,
    security: Security,
    rules: impl Into<Rules>,
    stop: watch::Receiver<bool>,
) {
    let rules = Arc::new(rules.into());
    let bounds = Bounds {
        head: HEAD_TIME,
        write: WRITE_TIME,
        handshake: HANDSHAKE_TIME,
        buffer: Some(BUFFER),
        places: PLACES.clone(),
    };
    bulla_listen::serve(listener, security, bounds, stop, move |request, address| {
        let (core, rules) = (Arc::clone(&core), Arc::clone(&rules));
        async move {
            let answered = tokio::time::timeout(REQUEST_TIME, answer(&core, request, address, &rules)).await;
            answered.unwrap_or_else(|_| {
                answer::errors(503, &["context deadline exceeded: the request took too long".to_owned()])
            })
        }
    })
    .await;
}

/// Answers one request, as [`serve`] does, to whoever has its head and its body from elsewhere than a connection.
pub async fn answer(
    core: &Arc<Core>,
    request: http::Request<impl Body<Data = Bytes> + Unpin>,
    address: SocketAddr,
    rules: &Rules,
) -> http::Response<AnswerBody> {
    let (head, body) = request.into_parts();
    let (opened, forwarded) = (rules.opened, rules.forwarded.as_ref());
    let address = match forwarded.map_or(Ok(address), |forwarded| forwarded.client(&head.headers, address)) {
        Ok(address) => address,
        Err(why) => return answer::errors(400, &[why]),
    };
    let path = match path(&head.uri) {
        Ok(path) => path,
        Err(response) => return *response,
    };
    if let Some(response) = asked::check_namespace(&head.headers) {
        return response;
    }
    if !opened.allows(&path) {
        return answer::errors(405, &["unsupported operation".to_owned()]);
    }
    // Before the body is read.
    let open = core.open().ok();
    let asks_role = open.as_ref().is_some_and(|open| open.quotas.asks_role(&path));
    let verdict = open.filter(|_| !asks_role).and_then(|open| open.quotas.count(&path, address.ip(), None));
    if let Some(verdict) = &verdict
        && !verdict.allowed
    {
        return limited::refuse(core, verdict, &head, path, address).await;
    }
    if opened.metrics && path == "sys/metrics" && head.method == http::Method::GET {
        return metrics(core, &head.uri);
    }
    let counted = if asks_role { path.clone() } else { String::new() };
    let known = || known::check(core, &head, address);
    let asked = match asked::read(&head, body, path, address, known).await {
        Ok(mut asked) => {
            if let Ok(open) = core.open() {
                asked.request.headers = open.audited.of(&head.headers);
            }
            asked
        }
        // Whoever sends what is no login is counted too.
        Err(response) if asks_role => {
            let verdict = core.open().ok().and_then(|open| open.quotas.count(&counted, address.ip(), None));
            return match verdict {
                Some(verdict) if !verdict.allowed => limited::refuse(core, &verdict, &head, counted, address).await,
                Some(verdict) => limited::mark(*response, &verdict),
                None => *response,
            };
        }
        Err(response) => return *response,
    };
    // The role is in the body, which is a login's and short.
    let verdict = if asks_role { core.count_login(&asked.request).await } else { verdict };
    let mut response = match verdict {
        Some(verdict) if !verdict.allowed => limited::refuse(core, &verdict, &head, asked.request.path, address).await,
        Some(verdict) => limited::mark(admitted(core, asked).await, &verdict),
        None => admitted(core, asked).await,
    };
    if let Some(namespace) = head.headers.get("x-vault-namespace").filter(|namespace| !namespace.is_empty()) {
        response.headers_mut().insert("x-vault-namespace", namespace.clone());
    }
    response
}

/// What the server counts, for everybody.
fn metrics(core: &Core, uri: &http::Uri) -> http::Response<AnswerBody> {
    let format =
        uri.query().into_iter().flat_map(|query| query.split('&')).find_map(|pair| pair.strip_prefix("format="));
    answer::response(crate::engine::system::metrics::answer(core, format.unwrap_or_default()), "")
}

/// Answers one request that no quota is against.
async fn admitted(core: &Arc<Core>, asked: asked::Asked) -> http::Response<AnswerBody> {
    if let Some(response) = early::try_answer(core, &asked).await {
        return response;
    }
    let id = asked.request.id.clone();
    // Its answer is written down, whether or not somebody waits for it.
    let core = Arc::clone(core);
    let answered = surely(async move {
        let _room = asked.room;
        core.handle(asked.request).await
    });
    match answered.await {
        Ok(response) => answer::response(response, &id),
        Err(error) => answer::error(&error),
    }
}
