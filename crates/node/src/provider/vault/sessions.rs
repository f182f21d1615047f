//! Who is logged in where: once for all pods of a service account, as far as the far side makes no difference between them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bulla_core::SecretString;
use bulla_store::vault::{Answer, Connection, Login, Query, Vault, VaultSession};
use bulla_store::{Session, Store, StoreError, StoreErrorKind};
use sha2::{Digest, Sha256};

/// The most sessions that are kept.
const MOST: usize = 4096;
/// How often a session's end is asked for, and how long until the second time; three times as long until the next.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_secs(1);

/// Whom a server takes somebody for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Who {
    pub(super) namespace: String,
    pub(super) account: String,
    pub(super) connection: Connection,
    pub(super) mount: String,
    pub(super) role: String,
    pub(super) audience: String,
}

/// A pod, with what proves that it is one.
#[derive(Clone, Copy)]
pub(super) struct Proof<'a> {
    pub(super) uid: &'a str,
    pub(super) jwt: &'a SecretString,
}

/// What was read.
pub(super) struct Readings {
    pub(super) answers: Vec<Arc<Answer>>,
    /// By which session, if something of it is leased.
    pub(super) session: Option<Arc<VaultSession>>,
    /// Whether it is the same for all pods of the account.
    pub(super) is_for_all: bool,
}

impl Who {
    /// What stands for it where many are kept: it may have a certificate.
    pub(super) fn digest(&self) -> [u8; 32] {
        Sha256::digest(format!("{self:?}")).into()
    }
}

/// Sessions by whom they are of: an account, or a pod of it.
type Idle = HashMap<([u8; 32], Option<String>), Vec<Arc<VaultSession>>>;

/// The sessions of this node that nobody uses at the moment. Who uses one has it alone: what they are given a lease for can be theirs to end.
pub(super) struct Sessions {
    vault: Vault,
    /// How long after a login another pod may read by it without showing its own token.
    shared: Duration,
    /// The most that one reading may give, in bytes.
    most: usize,
    /// Those of a whole account, and those of one pod.
    idle: Mutex<Idle>,
}

impl Sessions {
    pub(super) fn new(vault: Vault, shared: Duration, most: usize) -> Self {
        Self { vault, shared, most, idle: Mutex::default() }
    }

    /// Reads all, by one session.
    pub(super) async fn read(&self, who: &Who, proof: Proof<'_>, queries: &[&Query]) -> Result<Readings, StoreError> {
        // A pod shows what it is itself, unless another of its account did a moment ago: the account may have lost its role since.
        while let Some(session) = self.known(who, proof.uid) {
            if session.age() >= self.shared {
                let _ = session.close().await;
                continue;
            }
            match self.read_by(&session, queries).await {
                // The server may have forgotten the token, or the role has other rights now.
                Err(error) if error.kind == StoreErrorKind::Denied => drop(session.close().await),
                Err(error) => {
                    self.keep(who, proof.uid, session);
                    return Err(error);
                }
                Ok(answers) => return Ok(self.readings(who, proof, session, answers)),
            }
        }
        let session = Arc::new(self.log_in(who, proof).await?);
        match self.read_by(&session, queries).await {
            Ok(answers) => Ok(self.readings(who, proof, session, answers)),
            Err(error) => {
                let _ = session.close().await;
                Err(error)
            }
        }
    }

    /// A session for something else than reading. It is given back by [`keep`](Self::keep).
    pub(super) async fn open(&self, who: &Who, proof: Proof<'_>) -> Result<Arc<VaultSession>, StoreError> {
        match self.known(who, proof.uid) {
            Some(session) => Ok(session),
            None => self.log_in(who, proof).await.map(Arc::new),
        }
    }

    /// One that is there, of an account or else of a pod of it.
    pub(super) fn known(&self, who: &Who, uid: &str) -> Option<Arc<VaultSession>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let of = who.digest();
        [None, Some(uid.to_owned())].into_iter().find_map(|uid| {
            let sessions = idle.get_mut(&(of, uid))?;
            sessions.retain(|session| session.is_live());
            sessions.pop()
        })
    }

    /// For who comes next.
    pub(super) fn keep(&self, who: &Who, uid: &str, session: Arc<VaultSession>) {
        let uid = (!session.is_of(&who.namespace, &who.account)).then(|| uid.to_owned());
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() >= MOST {
            idle.retain(|_, sessions| {
                sessions.retain(|session| session.is_live());
                !sessions.is_empty()
            });
        }
        if idle.len() < MOST {
            idle.entry((who.digest(), uid)).or_default().push(session);
        }
    }

    /// Those of a pod that is gone, and, if it was the last of its account, those of the account.
    pub(super) fn take(&self, who: &Who, uid: &str, is_last: bool) -> Vec<Arc<VaultSession>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let of = who.digest();
        let mut take = |uid: Option<&str>| idle.remove(&(of, uid.map(str::to_owned))).unwrap_or_default();
        let mut sessions = take(Some(uid));
        if is_last {
            sessions.extend(take(None));
        }
        sessions
    }

    async fn log_in(&self, who: &Who, proof: Proof<'_>) -> Result<VaultSession, StoreError> {
        let login = Login {
            connection: who.connection.clone(),
            mount: who.mount.clone(),
            role: who.role.clone(),
            jwt: proof.jwt.clone(),
        };
        self.vault.log_in(&login).await
    }

    async fn read_by(&self, session: &VaultSession, queries: &[&Query]) -> Result<Vec<Arc<Answer>>, StoreError> {
        let mut answers: Vec<Arc<Answer>> = Vec::with_capacity(queries.len());
        let mut size = 0_usize;
        for query in queries {
            let read = session.read(query).await.and_then(|answer| {
                size = size.saturating_add(answer.size());
                let why = || format!("the answers are more than {} bytes together", self.most);
                if size > self.most { Err(StoreError::new(StoreErrorKind::Invalid, why())) } else { Ok(answer) }
            });
            match read {
                Ok(answer) => answers.push(Arc::new(answer)),
                Err(error) => {
                    // Of what was leased for nothing nobody would know.
                    for lease in answers.iter().filter_map(|answer| answer.lease()).filter(|lease| !lease.id.is_empty())
                    {
                        let _ = session.revoke(&lease.id).await;
                    }
                    return Err(error);
                }
            }
        }
        Ok(answers)
    }

    fn readings(&self, who: &Who, proof: Proof<'_>, session: Arc<VaultSession>, answers: Vec<Arc<Answer>>) -> Readings {
        // Leases end with their session: from now on it is the volume's.
        if answers.iter().any(|answer| answer.lease().is_some()) {
            return Readings { answers, session: Some(session), is_for_all: false };
        }
        let is_for_all = session.is_of(&who.namespace, &who.account);
        self.keep(who, proof.uid, session);
        Readings { answers, session: None, is_for_all }
    }
}

/// Ends a session, and all that hangs on it. Tries again while the server is down; after that it is left to end by itself.
pub(super) async fn end(session: &VaultSession) {
    let mut pause = PAUSE;
    for attempt in 1..=TRIES {
        match session.close().await {
            Err(error) if error.kind == StoreErrorKind::Unavailable && attempt < TRIES => {
                tokio::time::sleep(pause).await;
                pause *= 3;
            }
            Err(error) => {
                tracing::info!(%error, "a session was not ended, and ends by itself");
                return;
            }
            Ok(()) => return,
        }
    }
}
