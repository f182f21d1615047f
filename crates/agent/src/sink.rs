//! Files that the token is written to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bulla_core::file::{Fresh, NewMode, check_replaceable, replace_as};
use bulla_core::{SecretBytes, SecretString};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::api::{self, Api, Call};
use crate::config::SinkConfig;
use crate::login::{Current, Token, wrap_info};
use crate::renewal::chance;

/// Finds out before anybody logs in that a file cannot be written.
///
/// # Errors
/// Which, and why.
pub(crate) fn check(sinks: &[SinkConfig]) -> Result<(), String> {
    for sink in sinks {
        let folder = sink.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let failed = |why: &dyn std::fmt::Display| format!("error creating file sink: {}: {why}", sink.path.display());
        if !folder.is_dir() {
            return Err(failed(&format_args!("there is no folder {}", folder.display())));
        }
        check_replaceable(&sink.path).map_err(|error| failed(&error))?;
        rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// Writes each new token to all files, and tells how many tokens all of them have.
pub(crate) async fn run(sinks: Vec<SinkConfig>, api: Arc<Api>, mut tokens: Current, done: watch::Sender<bool>) {
    loop {
        let token = tokens.borrow_and_update().clone();
        if let Some(token) = token {
            let all = async {
                write_all(&sinks, &token, &api).await;
            };
            tokio::select! {
                () = all => {
                    let _ = done.send(true);
                }
                // A newer one is what counts.
                changed = tokens.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
            }
        }
        if tokens.changed().await.is_err() {
            return;
        }
    }
}

/// A token that was wrapped for a file, and when.
struct Wrapped(SecretBytes, Instant);

/// One that cannot be written keeps no other from its token.
async fn write_all(sinks: &[SinkConfig], token: &Token, api: &Api) {
    let mut open: Vec<(&SinkConfig, Option<Wrapped>)> = sinks.iter().map(|sink| (sink, None)).collect();
    loop {
        let mut failed = Vec::new();
        for (sink, mut wrapped) in open {
            match write(sink, token, &mut wrapped, api).await {
                Ok(()) => tracing::info!(path = %sink.path.display(), "the token is written"),
                Err(error) => {
                    tracing::error!(error, path = %sink.path.display(), "the token is not written");
                    failed.push((sink, wrapped));
                }
            }
        }
        if failed.is_empty() {
            return;
        }
        sleep(Duration::from_secs(1) + Duration::from_secs(2).mul_f64(chance())).await;
        open = failed;
    }
}

/// Writes a token. Wrapped it is kept, for the next try: each time anew, a file that cannot be written would fill the server with tokens.
async fn write(sink: &SinkConfig, token: &Token, wrapped: &mut Option<Wrapped>, api: &Api) -> Result<(), String> {
    let text = match (token, sink.wrap_ttl) {
        (Token::Plain { token, .. }, Some(ttl)) => {
            // Whoever takes it has half of its time for that, at least.
            let kept = wrapped.take().filter(|Wrapped(_, since)| since.elapsed() < ttl / 2);
            let kept = match kept {
                Some(kept) => kept,
                None => Wrapped(wrap(token, ttl, api).await?, Instant::now()),
            };
            wrapped.insert(kept).0.expose()
        }
        (token, _) => token.written(),
    };
    let fresh = Fresh { mode: NewMode::LessUmask(sink.mode), user: sink.user, group: sink.group };
    replace_as(&sink.path, text, fresh).map_err(|error| error.to_string())
}

async fn wrap(token: &SecretString, ttl: Duration, api: &Api) -> Result<SecretBytes, String> {
    let body = api::form(&[("token", token.expose())]);
    let call = Call { wrap: Some(ttl), ..Call::put("sys/wrapping/wrap", body, Some(token)) };
    wrap_info(&api.ask(call).await.map_err(|error| format!("wrapping it: {error}"))?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;
    use crate::api::Whose;
    use crate::testing::{Upstream, reply};

    #[tokio::test]
    async fn a_token_is_wrapped_once_however_often_writing_it_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in/token");
        let times = AtomicUsize::new(0);
        let upstream = Upstream::start(move |_| {
            let number = times.fetch_add(1, SeqCst);
            reply(200, &[], &format!(r#"{{"wrap_info":{{"token":"w{number}","ttl":300}}}}"#))
        })
        .await;
        let sink = SinkConfig { path: path.clone(), mode: 0o600, user: None, group: None, wrap_ttl: None };
        let long = SinkConfig { wrap_ttl: Some(Duration::from_mins(5)), ..sink.clone() };
        let short = SinkConfig { wrap_ttl: Some(Duration::from_millis(200)), ..sink };
        let api = upstream.api(Whose::Own);
        let token = Token::Plain { token: SecretString::from("t"), accessor: None };
        let (mut kept, mut brief) = (None, None);
        for _ in 0..3 {
            write(&long, &token, &mut kept, &api).await.unwrap_err();
        }
        assert_eq!(upstream.seen().len(), 1);
        // One that is nearly over is of no use to whoever takes it.
        for _ in 0..2 {
            write(&short, &token, &mut brief, &api).await.unwrap_err();
            sleep(Duration::from_millis(120)).await;
        }
        assert_eq!(upstream.seen().len(), 2);
        std::fs::create_dir(folder.path().join("in")).unwrap();
        write(&long, &token, &mut kept, &api).await.unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("\"w0\""));
        assert!(upstream.seen().is_empty());
    }

    #[test]
    fn a_sink_that_is_no_file_is_told_of_before_anybody_logs_in() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| SinkConfig {
            path: folder.path().join(name),
            mode: 0o600,
            user: None,
            group: None,
            wrap_ttl: None,
        };
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("pipe"), mode).unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        assert!(check(&[at("new")]).is_ok());
        assert!(check(&[at("folder")]).unwrap_err().contains("it is a folder"));
        assert!(check(&[at("pipe")]).unwrap_err().contains("it is a pipe or a device"));
        assert!(check(&[at("nowhere/x")]).unwrap_err().contains("there is no folder"));
    }
}
