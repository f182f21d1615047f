//! Taking back: tokens with all they made, and secrets.

use std::sync::{Arc, Weak};

use super::expiry::Subject;
use super::lease::Lease;
use super::{Open, now_millis};
use crate::logical::{self, Result};

/// How many ends are dealt with at a time.
const AT_ONCE: usize = 64;

impl Open {
    /// Takes back a token, its children, its leases and its cubbyhole. From the first moment on it is no good.
    pub async fn revoke_token(&self, hash: &str) -> Result<()> {
        if !self.tokens.condemn(hash, &self.expiry).await? {
            return Ok(());
        }
        // Before anything is tidied up, which takes long: nothing that it made works on meanwhile.
        self.condemn_below(hash).await?;
        // Leaves first. Whoever is interrupted left a condemned token, which the sweeper finds.
        let mut path = vec![hash.to_owned()];
        while let Some(token) = path.last().cloned() {
            let mut pending = false;
            for child in self.tokens.children(&token, "", AT_ONCE).await? {
                if self.tokens.condemn(&child, &self.expiry).await? {
                    path.push(child);
                    pending = true;
                    break;
                }
                self.tokens.unlink(&token, &child).await?;
            }
            if !pending {
                self.revoke_leases_of(&token).await?;
                self.tokens.bury(&token, &self.expiry).await?;
                path.pop();
            }
        }
        Ok(())
    }

    /// Makes all tokens below one of no use, many at a time.
    async fn condemn_below(&self, hash: &str) -> Result<()> {
        let mut rest = vec![(hash.to_owned(), String::new())];
        while let Some((token, after)) = rest.pop() {
            let children = self.tokens.children(&token, &after, AT_ONCE).await?;
            if let Some(last) = children.last().filter(|_| children.len() == AT_ONCE) {
                rest.push((token, last.clone()));
            }
            let condemned = children.iter().map(|child| self.tokens.condemn_below(child, &self.expiry));
            // Together, so that one fsync does for many.
            for (child, condemned) in children.iter().zip(futures_util::future::join_all(condemned).await) {
                if condemned? {
                    rest.push((child.clone(), String::new()));
                }
            }
        }
        Ok(())
    }

    /// Takes back a token alone; its children go on without it.
    pub async fn revoke_token_alone(&self, hash: &str) -> Result<()> {
        if self.tokens.condemn(hash, &self.expiry).await? {
            self.tokens.free_children(hash).await?;
            self.revoke_leases_of(hash).await?;
            self.tokens.bury(hash, &self.expiry).await?;
        }
        Ok(())
    }

    async fn revoke_leases_of(&self, token: &str) -> Result<()> {
        for id in self.leases.of_token(token, 0).await? {
            // One that cannot be taken back now is tried again by the sweeper, by itself.
            if let Some(lease) = self.leases.find(&id).await?
                && let Err(error) = self.revoke_lease(&lease).await
            {
                tracing::warn!(lease = id, %error, "a lease could not be taken back");
            }
        }
        Ok(())
    }

    /// Takes back a secret.
    pub async fn revoke_lease(&self, lease: &Lease) -> Result<()> {
        // With its mount an engine's means to take back are gone; unmounting took back what there was.
        if let Some(mount) = self.mounts.at(&lease.mount) {
            let what = logical::Lease { mount: &mount.info, storage: &mount.view, internal: &lease.internal, ttl: 0 };
            if let Err(error) = mount.backend.revoke_secret(&what).await {
                let text = error.to_string();
                self.leases
                    .change(&lease.id, &self.expiry, |lease| {
                        lease.attempts += 1;
                        lease.error.clone_from(&text);
                        // 10 s, 20 s, 40 s, …
                        lease.expires = now_millis() + (10_000 << lease.attempts.min(10)) / 2;
                    })
                    .await?;
                return Err(error);
            }
        }
        self.leases.bury(lease, &self.expiry).await
    }

    /// Takes back what ended: at most a few. When the next one ends.
    async fn sweep(&self) -> Result<i64> {
        let ends = self.expiry.first(AT_ONCE).await?;
        let now = now_millis();
        let due: Vec<_> = ends.iter().filter(|(millis, _)| *millis <= now).collect();
        let work = due.iter().map(|(millis, subject)| async move {
            let result = match subject {
                Subject::Token(hash) => self.end_token(hash, *millis, subject).await,
                Subject::Lease(hash) => self.end_lease(hash, *millis, subject).await,
            };
            if let Err(error) = result {
                tracing::warn!(%error, "what has ended could not be taken back");
                return false;
            }
            true
        });
        // Together, so that one fsync does for many.
        let done = futures_util::future::join_all(work).await;
        if done.contains(&false) {
            return Ok(now + 1000);
        }
        if due.len() == ends.len() && !ends.is_empty() {
            return Ok(now);
        }
        Ok(ends.get(due.len()).map_or(i64::MAX, |(millis, _)| *millis))
    }

    async fn end_token(&self, hash: &str, millis: i64, subject: &Subject) -> Result<()> {
        if self.tokens.condemn_ended(hash, &self.expiry).await? {
            self.revoke_token(hash).await?;
        }
        // Another end than its own: of a token that was renewed or deleted while the server was killed.
        self.expiry.drop_stray(millis, subject).await
    }

    async fn end_lease(&self, hash: &str, millis: i64, subject: &Subject) -> Result<()> {
        let lease = match self.leases.id(hash).await? {
            Some(id) => self.leases.find(&id).await?,
            None => None,
        };
        match lease {
            // A failure is noted in the lease, and its end moved.
            Some(lease) if lease.expires == millis => self.revoke_lease(&lease).await.or(Ok(())),
            _ => self.expiry.drop_stray(millis, subject).await,
        }
    }
}

/// Takes back what ends, until there is nobody to do it for.
pub(super) async fn sweep(open: Weak<Open>) {
    loop {
        let Some(strong) = open.upgrade() else { return };
        let next = match strong.sweep().await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "the sweeper could not read what ends next");
                now_millis() + 1000
            }
        };
        if strong.rotation.is_due(&strong.barrier)
            && let Err(error) = strong.barrier.rotate().await
        {
            tracing::warn!(%error, "the keyring could not be rotated");
        }
        if strong.barrier.wants_note()
            && let Err(error) = strong.barrier.note_encryptions().await
        {
            tracing::warn!(%error, "how many records the key has encrypted could not be noted");
        }
        wait(&strong, next).await;
    }
}

async fn wait(open: &Arc<Open>, next: i64) {
    open.expiry.wait_until(next).await;
}
