//! How a volume gets its files: fetched, written, given to their owner, shown.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use super::{PublishError, Publisher, Request, room};
use crate::class::{ClassError, Versioned};
use crate::mounter::protocol::{FailureKind, Owner, Shape};
use crate::mounter::{MountError, Unattached};
use crate::provider::{Answer, Ask, ErrorKind, Provider, ProviderError};
use crate::volume::{Content, Limits, Prepared, Record, is_current, prepare, remember};

/// How long fetching may take: the kubelet waits for two minutes.
const PATIENCE: Duration = Duration::from_secs(110);

/// A file system that was made for a volume.
pub(super) enum Fresh {
    /// It is mounted when it is whole.
    Made(Unattached),
    /// It is: this is its root folder.
    Mounted(OwnedFd),
}

impl Publisher {
    /// Fills a place for the first time: what was made for it, or something new in place of what was mounted and never filled.
    pub(super) async fn first(
        &self,
        request: &Request,
        class: Result<&Versioned, &ClassError>,
        fresh: Option<Fresh>,
        now: Timestamp,
    ) -> Result<(Record, Option<Content>), PublishError> {
        let fresh = match fresh {
            Some(fresh) => fresh,
            None => Fresh::Made(self.mounter.create(self.shape(request)).await?),
        };
        let filled = match class {
            Ok(class) => self.fill(request, class, &fresh, now).await,
            Err(error) => Err(error.clone().into()),
        };
        if filled.is_err() {
            self.room.give(&request.target);
            match fresh {
                Fresh::Made(made) => self.mounter.discard(made.id).await?,
                Fresh::Mounted(_) => self.mounter.detach(&request.target).await?,
            }
        }
        filled
    }

    async fn fill(
        &self,
        request: &Request,
        class: &Versioned,
        fresh: &Fresh,
        now: Timestamp,
    ) -> Result<(Record, Option<Content>), PublishError> {
        let provider = self.provider(class)?;
        let made = match fresh {
            Fresh::Made(made) if !provider.needs_target() => made,
            Fresh::Made(made) => {
                remember(&made.root, &Record::default())?;
                self.attach(made.id, request, None, Owner::default()).await?;
                let done = self.fill_mounted(request, class, provider.as_ref(), &made.root, now).await;
                if done.is_err() {
                    self.mounter.detach(&request.target).await?;
                }
                return done;
            }
            Fresh::Mounted(root) => {
                // Whatever becomes of it, it is no earlier driver's.
                remember(root, &Record::default())?;
                return self.fill_mounted(request, class, provider.as_ref(), root, now).await;
            }
        };
        let empty = Record::default();
        let answer = self.fetch(provider.as_ref(), class, &self.ask(request, class, &empty)).await?;
        let is_newest = !answer.is_last_known;
        let content = answer.content.unwrap_or_default();
        let record = Record {
            owner: (request.owner.user, request.owner.group),
            versions: answer.versions,
            class: class.version().to_owned(),
            fetched: Some(now),
            remembered: answer.remembered,
            again: answer.again,
            ..empty
        };
        let prepared = self.prepare(request, &made.root, &content, record)?;
        let folder = prepared.folder().to_owned();
        let record = prepared.commit(&made.root)?;
        self.attach(made.id, request, Some(&folder), request.owner).await?;
        Ok((record, is_newest.then_some(content)))
    }

    /// Mounts a file system, in place of one that was never filled.
    async fn attach(&self, id: u64, request: &Request, folder: Option<&str>, owner: Owner) -> Result<(), MountError> {
        match self.mounter.attach(id, &request.target, folder, owner).await {
            Err(MountError::Failed { kind: FailureKind::Busy, .. }) => {
                self.mounter.detach(&request.target).await?;
                self.mounter.attach(id, &request.target, folder, owner).await
            }
            attached => attached,
        }
    }

    /// Writes a new version, if there is room for it beside what is there.
    fn prepare(
        &self,
        request: &Request,
        root: &OwnedFd,
        content: &Content,
        record: Record,
    ) -> Result<Prepared, PublishError> {
        self.room.take(&request.target, &request.volume.pod.namespace, content)?;
        prepare(root, content, record).map_err(|error| {
            self.measure(request, root);
            error.into()
        })
    }

    /// Remembers how much is in a volume.
    pub(super) fn measure(&self, request: &Request, root: &OwnedFd) {
        self.room.set(&request.target, &request.volume.pod.namespace, room::used(root));
    }

    /// Gives the files of a new version to their owner, and shows it.
    async fn show(&self, request: &Request, root: &OwnedFd, prepared: Prepared) -> Result<Record, PublishError> {
        let shown = match self.mounter.own(&request.target, prepared.folder(), request.owner).await {
            Ok(()) => prepared.commit(root).map_err(PublishError::from),
            Err(error) => Err(error.into()),
        };
        self.measure(request, root);
        shown
    }

    async fn fill_mounted(
        &self,
        request: &Request,
        class: &Versioned,
        provider: &dyn Provider,
        root: &OwnedFd,
        now: Timestamp,
    ) -> Result<(Record, Option<Content>), PublishError> {
        let empty = Record { owner: (request.owner.user, request.owner.group), ..Record::default() };
        let answer = self.fetch(provider, class, &self.ask(request, class, &empty)).await?;
        let record = Record {
            versions: answer.versions,
            class: class.version().to_owned(),
            fetched: Some(now),
            remembered: answer.remembered,
            again: answer.again,
            ..empty
        };
        let Some(content) = answer.content else {
            remember(root, &record)?;
            return Ok((record, None));
        };
        let prepared = self.prepare(request, root, &content, record)?;
        Ok((self.show(request, root, prepared).await?, Some(content)))
    }

    /// Fetches anew for what is mounted. Answers whether files changed, too.
    pub(super) async fn again(
        &self,
        request: &Request,
        class: &Versioned,
        root: &OwnedFd,
        old: &Record,
        now: Timestamp,
    ) -> Result<(Record, Option<Content>, bool), PublishError> {
        let provider = self.provider(class)?;
        // A class that has changed is asked for whole: who knows the versions need not know what became of the class.
        let current = if old.class == class.version() { old.versions.as_slice() } else { &[] };
        let answer = self.fetch(provider.as_ref(), class, &Ask { current, ..self.ask(request, class, old) }).await?;
        let record = Record {
            versions: answer.versions,
            class: class.version().to_owned(),
            fetched: Some(now),
            remembered: answer.remembered,
            again: answer.again,
            owner: (request.owner.user, request.owner.group),
            folder: old.folder.clone(),
            digest: old.digest.clone(),
            is_unfinished: old.is_unfinished,
        };
        let Some(content) = answer.content else {
            remember(root, &record)?;
            return Ok((record, None, false));
        };
        if is_current(old, &content) && old.owner == record.owner {
            remember(root, &record)?;
            return Ok((record, Some(content), false));
        }
        let prepared = self.prepare(request, root, &content, record)?;
        Ok((self.show(request, root, prepared).await?, Some(content), true))
    }

    /// Fetches, when it is this volume's turn, and within the time that the kubelet waits: whoever is behind it in the queue for this volume
    /// waits too.
    async fn fetch(&self, provider: &dyn Provider, class: &Versioned, ask: &Ask<'_>) -> Result<Answer, ProviderError> {
        let given_up = |message: String| ProviderError {
            provider: class.provider.clone(),
            message,
            kind: ErrorKind::Unavailable,
            retry_after: None,
        };
        let (seconds, begun) = (PATIENCE.as_secs(), Instant::now());
        let fetched = async {
            let turn = self.turns.take(&class.provider, &ask.volume.pod.namespace);
            let turn = timeout_at(begun + PATIENCE, turn).await;
            let _turn =
                turn.map_err(|_| given_up(format!("was busy for {seconds} s with others that asked before")))?;
            let fetched = timeout_at(begun + PATIENCE, provider.fetch(ask)).await;
            fetched.unwrap_or_else(|_| Err(given_up(format!("did not give everything in {seconds} s"))))
        };
        let fetched = fetched.await;
        let (is_built_in, succeeded) = (!provider.needs_target(), fetched.is_ok());
        self.metrics.observe_fetch(&class.provider, is_built_in, succeeded, begun.elapsed().as_secs_f64());
        fetched
    }

    fn provider(&self, class: &Versioned) -> Result<Arc<dyn Provider>, PublishError> {
        self.fetched.fetch_add(1, Ordering::Relaxed);
        let unknown = |known| PublishError::UnknownProvider { name: class.provider.clone(), known };
        self.providers.provider(&class.provider).map_err(unknown)
    }

    fn ask<'a>(&self, request: &'a Request, class: &'a Versioned, old: &'a Record) -> Ask<'a> {
        Ask {
            volume: &request.volume,
            parameters: &class.parameters,
            target: &request.path,
            mode: self.settings.mode,
            current: &old.versions,
            place: &request.target,
            class: class.version(),
            remembered: &old.remembered,
        }
    }

    /// Room for two versions, each with its folders and links, and the record.
    pub(super) fn shape(&self, request: &Request) -> Shape {
        let Limits { bytes, files } = self.settings.limits;
        Shape { bytes: (2 * bytes as u64) + (8 << 20), files: 4 * files as u64 + 64, group: request.owner.group }
    }
}
