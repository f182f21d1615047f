//! Files that the token is written to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bulla_core::SecretBytes;
use bulla_core::file::{Fresh, NewMode, replace_as};
use tokio::sync::watch;
use tokio::time::sleep;

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
        if sink.path.is_dir() {
            return Err(failed(&"it is a folder"));
        }
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

/// One that cannot be written keeps no other from its token.
async fn write_all(sinks: &[SinkConfig], token: &Token, api: &Api) {
    let mut open: Vec<&SinkConfig> = sinks.iter().collect();
    loop {
        let mut failed = Vec::new();
        for sink in open {
            match write(sink, token, api).await {
                Ok(()) => tracing::info!(path = %sink.path.display(), "the token is written"),
                Err(error) => {
                    tracing::error!(error, path = %sink.path.display(), "the token is not written");
                    failed.push(sink);
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

async fn write(sink: &SinkConfig, token: &Token, api: &Api) -> Result<(), String> {
    let wrapped: SecretBytes;
    let text = match (token, sink.wrap_ttl) {
        (Token::Plain { token, .. }, Some(ttl)) => {
            let body = api::form(&[("token", token.expose())]);
            let call = Call { wrap: Some(ttl), ..Call::put("sys/wrapping/wrap", body, Some(token)) };
            wrapped = wrap_info(&api.ask(call).await.map_err(|error| format!("wrapping it: {error}"))?)?;
            wrapped.expose()
        }
        (token, _) => token.written(),
    };
    let fresh = Fresh { mode: NewMode::LessUmask(sink.mode), user: sink.user, group: sink.group };
    replace_as(&sink.path, text, fresh).map_err(|error| error.to_string())
}
