//! One thing that templates ask for, read and kept current.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bulla_core::backoff::Backoff;
use bulla_core::{SecretString, file};
use bulla_template::{Text, Value};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;

use super::certificate::{self, Certificate, Found};
use super::need::{Need, versioned, versioned_list};
use super::outside;
use super::secret::{self, Renewed};
use crate::api::{self, Api, Call, at, is_true_at, number_at, text_at};
use crate::config::Rendering;
use crate::renewal::{Lease, Next, Renewable};

/// What became of it.
pub(super) enum News {
    /// This is it now.
    Value(Value),
    /// It cannot be had; it is tried again.
    Failed { why: String, is_last: bool },
}

/// How things are followed.
pub(crate) struct Following {
    api: Arc<Api>,
    pub(super) rendering: Rendering,
    /// How often one is tried before that counts as a failure of its template.
    retries: u32,
    /// How many are read at once.
    places: Semaphore,
}

impl Following {
    pub(crate) fn new(api: Arc<Api>, rendering: Rendering, retries: u32) -> Self {
        let places = Semaphore::new(rendering.connections.clamp(1, Semaphore::MAX_PERMITS));
        Self { api, rendering, retries, places }
    }
}

/// How often a file is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// The largest file with a certificate.
const LONGEST: u64 = 8 << 20;
/// Between two tries.
const AGAIN: Backoff = Backoff { first: Duration::from_millis(250), limit: Duration::from_mins(1) };
/// Between one exhausted row of tries and the next.
const REST: Duration = Duration::from_secs(30);

/// Reads it, tells of it, and again, for ever. Ends when nobody listens.
pub(super) async fn run(
    need: Need,
    following: Arc<Following>,
    token: Arc<crate::login::Token>,
    tell: Sender<(Need, News)>,
) {
    if let Need::File { path, sandbox } = &need {
        return follow_file((path, sandbox.as_deref()), &need, &following, &tell).await;
    }
    let Some(token) = token.plain() else { return };
    if let Need::Certificate { file, .. } = &need
        && let Ok(bytes) = file::read_regular(file, LONGEST)
        && let Ok(Found { value, keeps_for: Some(wait), certificate: Certificate::WithKey }) =
            certificate::read(bytes.expose())
    {
        // It was issued before this process began.
        if tell.send((need.clone(), News::Value(value))).await.is_err() {
            return;
        }
        sleep(wait).await;
    }
    let mut tries = 0;
    let mut short = 0;
    loop {
        let place = following.places.acquire().await;
        let read = read(&need, &following.api, token).await.and_then(|answer| understood(&need, answer));
        drop(place);
        match read {
            Ok((answer, value, stays)) => {
                tries = 0;
                if tell.send((need.clone(), News::Value(value))).await.is_err() {
                    return;
                }
                short = if matches!(stays, Stays::Shortly) { short + 1 } else { 0 };
                let rendering = &following.rendering;
                match stays {
                    Stays::For(wait) => sleep(wait).await,
                    Stays::Shortly => sleep(until_next(short, rendering)).await,
                    Stays::AsUsual => sleep(rendering.static_interval).await,
                    Stays::WithItsLease => stay(&need, &answer, &following, token).await,
                }
            }
            Err(why) => {
                let is_last = tries == following.retries;
                let wait = if is_last { REST } else { AGAIN.after(tries + 1) };
                tracing::warn!(%need, why, again_in = ?wait, "it cannot be read");
                tries = if is_last { 0 } else { tries + 1 };
                if tell.send((need.clone(), News::Failed { why, is_last })).await.is_err() {
                    return;
                }
                sleep(wait).await;
            }
        }
    }
}

/// Until when an answer is good.
enum Stays {
    For(Duration),
    /// It is nearly over as it comes.
    Shortly,
    /// As long as what has no lease.
    AsUsual,
    WithItsLease,
}

/// An answer, what templates see of it, and until when it is good.
fn understood(need: &Need, answer: Value) -> Result<(Value, Value, Stays), String> {
    let (value, stays) = match need {
        Need::List { .. } => (keys(&answer), Stays::AsUsual),
        Need::Certificate { .. } => {
            let found = certificate::read(certificate::texts(&answer).expose())?;
            if found.certificate == Certificate::Missing {
                return Err("there is no certificate in the server's answer".to_owned());
            }
            (found.value, found.keeps_for.map_or(Stays::Shortly, Stays::For))
        }
        _ => (secret::shown(&answer), Stays::WithItsLease),
    };
    Ok((answer, value, stays))
}

/// How long until the next of answers that are all nearly over as they come: asked as fast as that goes, a server would be busy with one agent.
fn until_next(short: u32, rendering: &Rendering) -> Duration {
    Backoff { first: LOOK, limit: rendering.static_interval.max(LOOK) }.after(short)
}

async fn read(need: &Need, api: &Api, token: &SecretString) -> Result<Value, String> {
    let said = |error: api::ApiError| error.to_string();
    match need {
        Need::Read { path, query } => {
            let path = match mount(path, api, token).await {
                Some(mount) => versioned(path, &mount),
                None => path.clone(),
            };
            match api.ask(Call { query: query.clone(), ..Call::get(&path, Some(token)) }).await {
                Ok(answer) if !answer.is_nil() && !secret::is_deleted(&answer) => Ok(answer),
                Ok(_) | Err(api::ApiError::Refused { status: 404, .. }) => Err(format!("no secret exists at {path}")),
                Err(error) => Err(said(error)),
            }
        }
        Need::Certificate { path, data, .. } | Need::Write { path, data } => {
            let text = |text: &Text| String::from_utf8_lossy(text.expose()).into_owned();
            // Both are wiped: the texts here, the body once it is sent.
            let fields: Vec<(String, zeroize::Zeroizing<String>)> =
                data.iter().map(|(name, value)| (text(name), text(value).into())).collect();
            let fields: Vec<(&str, &str)> =
                fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let (path, body) = match mount(path, api, token).await {
                Some(mount) => (versioned(path, &mount), api::form_below("data", &fields)),
                None => (path.clone(), api::form(&fields)),
            };
            api.ask(Call::put(&path, body, Some(token))).await.map_err(said)
        }
        Need::List { path } => {
            let path = match mount(path, api, token).await {
                Some(mount) => versioned_list(path, &mount),
                None => path.clone(),
            };
            let call = Call { query: Some("list=true".to_owned()), ..Call::get(&path, Some(token)) };
            match api.ask(call).await {
                // Nothing is there.
                Err(api::ApiError::Refused { status: 404, .. }) => Ok(Value::Missing),
                answer => answer.map_err(said),
            }
        }
        Need::File { .. } => Ok(Value::Missing),
    }
}

/// The mount of a path, if it has versioned secrets. Whoever may not know is served as without versions.
async fn mount(path: &str, api: &Api, token: &SecretString) -> Option<String> {
    let probe = format!("sys/internal/ui/mounts/{path}");
    let answer = api.ask(Call::get(&probe, Some(token))).await.ok()?;
    let text = |keys: &[&str]| text_at(&answer, keys);
    let is_versioned = text(&["data", "type"])?.expose() == "kv"
        && text(&["data", "options", "version"]).is_some_and(|version| version.expose() == "2");
    if is_versioned { text(&["data", "path"]).map(|path| path.expose().to_owned()) } else { None }
}

/// The sorted keys of a list.
fn keys(answer: &Value) -> Value {
    let Value::List(keys) = at(answer, &["data", "keys"]) else { return Value::texts([]) };
    let mut texts: Vec<Text> = keys
        .items
        .iter()
        .filter_map(|key| if let Value::Text(text) = key { Some(text.clone()) } else { None })
        .collect();
    texts.sort();
    Value::texts(texts)
}

/// Returns when it is time to read it again. A lease is renewed until that helps no more.
async fn stay(need: &Need, answer: &Value, following: &Following, token: &SecretString) {
    let Some((renewed, seconds)) = secret::lease(answer) else {
        return sleep(secret::keeps_for(answer, &following.rendering)).await;
    };
    let mut lease = Lease::new(seconds);
    let mut renewable = Renewable::Yes;
    let mut failures = 0;
    loop {
        let next = if failures == 0 { lease.next(renewable) } else { lease.after_failures(failures) };
        match next {
            Next::EndAfter(wait) => return sleep(wait).await,
            Next::RenewAfter(wait) => sleep(wait).await,
        }
        let (call, of): (_, &[&str]) = match &renewed {
            Renewed::Lease(id) => {
                let body = api::form(&[("lease_id", id.expose())]);
                (Call::put("sys/leases/renew", body, Some(token)), &[])
            }
            Renewed::Token(own) => (Call::put("auth/token/renew-self", api::form(&[]), Some(own)), &["auth"]),
        };
        match following.api.ask(call).await {
            Ok(answer) => {
                failures = 0;
                let answer = at(&answer, of);
                let left = Duration::from_secs(number_at(&answer, &["lease_duration"]).unwrap_or(0));
                tracing::debug!(%need, seconds = left.as_secs(), "its lease is renewed");
                if !is_true_at(&answer, &["renewable"]) {
                    renewable = Renewable::No;
                }
                lease = lease.renewed(left);
            }
            Err(error) if error.is_refusal() || lease.is_over() => {
                tracing::warn!(%need, %error, "its lease is not renewed: it is read again");
                return;
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%need, %error, "its lease is not renewed yet");
            }
        }
    }
}

/// A file that is not there is waited for.
async fn follow_file(
    (path, sandbox): (&Path, Option<&Path>),
    need: &Need,
    following: &Following,
    tell: &Sender<(Need, News)>,
) {
    let mut last: Option<bulla_core::SecretBytes> = None;
    let mut tries = 0;
    loop {
        let news = match outside::read(path, sandbox) {
            Ok(bytes) if last.as_ref() == Some(&bytes) => None,
            Ok(bytes) => {
                let value = Value::text(bytes.expose());
                last = Some(bytes);
                tries = 0;
                Some(News::Value(value))
            }
            // The one that was read stays.
            Err(_) if last.is_some() => None,
            Err(why) => {
                tries += 1;
                let is_last = tries > following.retries;
                (tries == 1 || is_last).then(|| News::Failed { why, is_last })
            }
        };
        if let Some(news) = news
            && tell.send((need.clone(), news)).await.is_err()
        {
            return;
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;
    use crate::api::Whose;
    use crate::login::Token;
    use crate::testing::{Upstream, reply};

    const RENDERING: Rendering = Rendering {
        exit_on_retry_failure: false,
        static_interval: Duration::from_mins(5),
        connections: 1,
        lease_threshold: 0.9,
    };

    fn follow(need: Need, upstream: &Upstream) -> mpsc::Receiver<(Need, News)> {
        let (tell, told) = mpsc::channel(64);
        let token = Token::Plain { token: SecretString::from("t"), accessor: None };
        let following = Following::new(upstream.api(Whose::Own), RENDERING, 12);
        tokio::spawn(run(need, Arc::new(following), Arc::new(token), tell));
        told
    }

    async fn next(told: &mut mpsc::Receiver<(Need, News)>) -> News {
        timeout(Duration::from_secs(20), told.recv()).await.unwrap().unwrap().1
    }

    #[test]
    fn certificates_that_end_as_they_come_are_asked_for_less_and_less_often() {
        assert!(until_next(1, &RENDERING) <= LOOK);
        assert!(until_next(20, &RENDERING) >= RENDERING.static_interval / 2);
    }

    #[tokio::test]
    async fn an_answer_without_a_certificate_is_a_failure() {
        let upstream = Upstream::start(|_| reply(200, &[], r#"{"data":{"certificate":"none"}}"#)).await;
        let file = Path::new("/nowhere/x");
        let mut told = follow(Need::certificate("pki/issue/x", &[], file).unwrap(), &upstream);
        for _ in 0..2 {
            let News::Failed { why, .. } = next(&mut told).await else { panic!("it is taken for one") };
            assert!(why.contains("no certificate"), "{why}");
        }
    }

    #[tokio::test]
    async fn a_lease_is_given_up_when_it_is_refused_and_not_when_it_fails_once() {
        let (reads, renewals) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let upstream = Upstream::start(move |request| match request.uri().path() {
            "/v1/db/creds/x" => {
                let number = reads.fetch_add(1, SeqCst);
                let lease = r#""lease_id":"l","renewable":true,"lease_duration":6"#;
                reply(200, &[], &format!(r#"{{{lease},"data":{{"n":"{number}"}}}}"#))
            }
            "/v1/sys/leases/renew" => match renewals.fetch_add(1, SeqCst) {
                0 => reply(500, &[], r#"{"errors":["in trouble"]}"#),
                1 => reply(200, &[], r#"{"lease_duration":6,"renewable":true}"#),
                _ => reply(400, &[], r#"{"errors":["lease not found"]}"#),
            },
            _ => reply(403, &[], "{}"),
        })
        .await;
        let mut told = follow(Need::secret("db/creds/x", &[]).unwrap(), &upstream);
        for number in ["0", "1"] {
            let News::Value(value) = next(&mut told).await else { panic!("it cannot be read") };
            assert_eq!(text_at(&value, &["Data", "n"]).unwrap().expose(), number);
        }
        let renewals = upstream.seen().iter().filter(|one| one.contains("leases/renew")).count();
        assert_eq!(renewals, 3);
    }
}
