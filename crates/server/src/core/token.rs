//! Tokens: who may ask.
//!
//! A service token is kept under a hash of its text, never the text: who reads storage, or the barrier above it, cannot use one. A batch token is its
//! entry, encrypted; nothing of it is stored. In `sys/token/`:
//!
//! ```text
//! id/HASH              the entry                    HASH = hex of HMAC-SHA-256(salt, text)
//! accessor/HASH        accessor and hash of the token
//! parent/HASH/CHILD    nothing: CHILD is a token that HASH made
//! ```
//!
//! Each entry has its end, which the use of a token looks at; `sys/expire/when/` (see [`super::expiry`]) has it too, in order, so that whoever takes
//! back what has ended reads the first few names and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::expiry::{self, Subject};
use super::{hex, now_millis, now_nanos, random};
use crate::barrier::{Barrier, Transaction, View};
use crate::logical::{Auth, Error, Issued, Result, TokenText, TokenType};

/// A token without its text.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// The name by which it can be revoked and looked up.
    pub accessor: String,
    /// The hash of the token that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The path that made it.
    pub path: String,
    /// What it was made from; logins are renewed from it.
    pub auth: Auth,
    /// All its policies, sorted.
    pub policies: Vec<String>,
    /// When it was made, in nanoseconds since 1970.
    pub created: i64,
    /// Its first seconds.
    pub ttl: i64,
    /// When it ends, in milliseconds since 1970; 0: never.
    pub expires: i64,
    /// How often it can still be used; 0: as often as wanted.
    pub uses: i64,
    /// When it was renewed last, in nanoseconds since 1970; 0: never.
    pub renewed: i64,
    /// The role of the token method that it was made by.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// It is being taken back: it is no good any more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
    /// Not stored: its text holds it.
    #[serde(skip)]
    pub batch: bool,
}

impl Entry {
    /// Whether it outlives who made it.
    pub const fn is_orphan(&self) -> bool {
        self.parent.is_none()
    }

    /// The seconds it has left; 0 if it has no end.
    pub fn seconds_left(&self) -> i64 {
        if self.expires == 0 { 0 } else { ((self.expires - now_millis()) / 1000).max(0) }
    }

    /// Whether it is of use now.
    pub fn is_alive(&self) -> bool {
        !self.revoked && (self.expires == 0 || self.expires > now_millis())
    }

    /// How it is kept.
    pub const fn token_type(&self) -> TokenType {
        if self.batch { TokenType::Batch } else { TokenType::Service }
    }
}

#[derive(Serialize, Deserialize)]
struct Accessor {
    accessor: String,
    hash: String,
}

/// All tokens.
pub struct Tokens {
    view: View,
    cubbyholes: View,
    salt: hmac::Key,
}

/// How long the text of a service token is that nobody chose: `s.` and 24 letters and digits.
pub const TEXT: usize = 26;

/// So many tokens in a row may have made each other.
const GENERATIONS: usize = 64;

/// After so many milliseconds the sweeper takes back what was condemned with the token that made it.
const LEFT_BEHIND: i64 = 30_000;

/// Where the text of a batch token is bound to.
const BATCH: &str = "sys/token/batch";

impl Tokens {
    /// The tokens in `barrier`; makes their salt the first time.
    pub async fn open(barrier: &Arc<Barrier>) -> Result<Self> {
        let view = View::plain(barrier, "sys/token/");
        let salt = super::salt(&view, "salt").await?;
        Ok(Self { view, cubbyholes: View::hidden(barrier, "sys/cubbyhole/"), salt })
    }

    /// The hash of a token's text.
    pub fn hash(&self, text: &str) -> String {
        hex(hmac::sign(&self.salt, text.as_bytes()).as_ref())
    }

    /// The storage that a token has for itself.
    pub fn cubbyhole(&self, hash: &str) -> Result<View> {
        Ok(self.cubbyholes.below(&format!("{hash}/"))?)
    }

    /// The token with this text, if it is of use, and its hash.
    pub async fn find(&self, text: &TokenText) -> Result<Option<(String, Entry)>> {
        if let Some(body) = text.expose().strip_prefix("b.") {
            return self.find_batch(text, body).await;
        }
        // What is no token costs no look into storage.
        if text.expose().is_empty() || text.expose().len() > 4096 {
            return Ok(None);
        }
        let hash = self.hash(text.expose());
        Ok(self.by_hash(&hash).await?.map(|entry| (hash, entry)))
    }

    async fn find_batch(&self, text: &TokenText, body: &str) -> Result<Option<(String, Entry)>> {
        let Ok(record) = URL_SAFE_NO_PAD.decode(body) else { return Ok(None) };
        let Ok(plain) = self.view.barrier().decrypt(BATCH, record) else { return Ok(None) };
        let Ok(mut entry) = serde_json::from_slice::<Entry>(&plain) else { return Ok(None) };
        entry.batch = true;
        if let Some(parent) = &entry.parent
            && self.by_hash(parent).await?.is_none()
        {
            return Ok(None);
        }
        Ok(entry.is_alive().then(|| (self.hash(text.expose()), entry)))
    }

    /// The token with this hash, if it is of use.
    pub async fn by_hash(&self, hash: &str) -> Result<Option<Entry>> {
        let entry: Option<Entry> = self.view.read(&format!("id/{hash}")).await?;
        Ok(entry.filter(Entry::is_alive))
    }

    /// The hash of the token with this accessor.
    pub async fn by_accessor(&self, accessor: &str) -> Result<Option<String>> {
        let entry: Option<Accessor> = self.view.read(&format!("accessor/{}", self.hash(accessor))).await?;
        Ok(entry.map(|entry| entry.hash))
    }

    /// The hashes of tokens, of so many behind `after`.
    pub async fn hashes(&self, after: &str, limit: usize) -> Result<Vec<String>> {
        Ok(self.view.list("id/", after, limit).await?)
    }

    /// The accessors of all tokens.
    pub async fn accessors(&self) -> Result<Vec<String>> {
        let mut accessors = Vec::new();
        for name in self.view.list("accessor/", "", 0).await? {
            if let Some(entry) = self.view.read::<Accessor>(&format!("accessor/{name}")).await? {
                accessors.push(entry.accessor);
            }
        }
        Ok(accessors)
    }

    /// Makes a token of `entry`; its accessor, its times and its text are made here. `id` is a text that the caller chose.
    ///
    /// # Errors
    /// 400 if there is one with this text.
    pub async fn issue(
        &self,
        mut entry: Entry,
        id: Option<TokenText>,
        expiry: &expiry::Index,
    ) -> Result<(Issued, String)> {
        entry.created = now_nanos();
        entry.uses = entry.auth.num_uses;
        if entry.ttl > 0 {
            entry.expires = now_millis().saturating_add(entry.ttl.saturating_mul(1000));
        }
        if entry.batch {
            let plain = zeroize::Zeroizing::new(serde_json::to_vec(&entry).map_err(|error| Error::internal(&error))?);
            let record = self.view.barrier().encrypt(BATCH, &plain)?;
            let text = TokenText::new(format!("b.{}", URL_SAFE_NO_PAD.encode(record)));
            let hash = self.hash(text.expose());
            return Ok((issued(&entry, text), hash));
        }
        entry.accessor = random::text(24)?;
        let chosen = id.is_some();
        let text = match id {
            Some(id) => id,
            None => TokenText::new(format!("s.{}", random::text(TEXT - 2)?)),
        };
        let hash = self.hash(text.expose());
        let mut attempt = 0;
        loop {
            let mut transaction = self.view.begin();
            if chosen && transaction.get(&self.view, &format!("id/{hash}")).await?.is_some() {
                return Err(Error::bad_request("cannot create a token with a duplicate ID"));
            }
            if let Some(parent) = &entry.parent {
                self.check_ancestors(&mut transaction, parent).await?;
                transaction.put(&self.view, &format!("parent/{parent}/{hash}"), b"")?;
            }
            transaction.write(&self.view, &format!("id/{hash}"), &entry)?;
            let accessor = Accessor { accessor: entry.accessor.clone(), hash: hash.clone() };
            transaction.write(&self.view, &format!("accessor/{}", self.hash(&entry.accessor)), &accessor)?;
            expiry.set(&mut transaction, &Subject::Token(hash.clone()), 0, entry.expires)?;
            if transaction.try_commit(&mut attempt).await? {
                break;
            }
        }
        expiry.wake(entry.expires);
        Ok((issued(&entry, text), hash))
    }

    /// Whether a token and all that made it are of use. One that is being taken back makes no more children, nor do its children: whoever takes
    /// back goes down one branch at a time, and would go after them for as long as they come.
    async fn check_ancestors(&self, transaction: &mut Transaction, parent: &str) -> Result<()> {
        let mut next = Some(parent.to_owned());
        for _ in 0..GENERATIONS {
            let Some(hash) = next else { return Ok(()) };
            let entry: Option<Entry> = transaction.read(&self.view, &format!("id/{hash}")).await?;
            let missing = || Error::bad_request("parent token lookup failed: no parent found");
            next = entry.filter(Entry::is_alive).ok_or_else(missing)?.parent;
        }
        if next.is_none() {
            return Ok(());
        }
        Err(Error::bad_request(format!(
            "this token was made by {GENERATIONS} others in a row, and makes no more; make orphans, or tokens from one nearer to the first"
        )))
    }

    /// Counts a use of a token that has a number of them. `Ok(false)`: this was the last.
    ///
    /// # Errors
    /// 403 if there is none left.
    pub async fn count_use(&self, hash: &str) -> Result<bool> {
        let (key, mut attempt) = (format!("id/{hash}"), 0);
        loop {
            let mut transaction = self.view.begin();
            let entry: Option<Entry> = transaction.read(&self.view, &key).await?;
            let mut entry = entry.filter(Entry::is_alive).ok_or_else(Error::no_token)?;
            match entry.uses {
                0 => return Ok(true),
                // -1: the last use is under way.
                ..0 => return Err(Error::no_token()),
                1 => entry.uses = -1,
                _ => entry.uses -= 1,
            }
            transaction.write(&self.view, &key, &entry)?;
            if transaction.try_commit(&mut attempt).await? {
                return Ok(entry.uses > 0);
            }
        }
    }

    /// Changes a token; `change` may be asked more than once. The token as it is then.
    ///
    /// # Errors
    /// Those of `change`; 400 if there is no such token.
    pub async fn change(
        &self,
        hash: &str,
        expiry: &expiry::Index,
        change: impl Fn(&mut Entry) -> Result<()> + Send + Sync,
    ) -> Result<Entry> {
        let (key, mut attempt) = (format!("id/{hash}"), 0);
        loop {
            let mut transaction = self.view.begin();
            let entry: Option<Entry> = transaction.read(&self.view, &key).await?;
            let mut entry = entry.filter(Entry::is_alive).ok_or_else(|| Error::bad_request("token not found"))?;
            let before = entry.expires;
            change(&mut entry)?;
            transaction.write(&self.view, &key, &entry)?;
            expiry.set(&mut transaction, &Subject::Token(hash.to_owned()), before, entry.expires)?;
            if transaction.try_commit(&mut attempt).await? {
                expiry.wake(entry.expires);
                return Ok(entry);
            }
        }
    }

    /// Makes a token unusable at once; what it leaves behind is taken back after, at the latest by the sweeper. Whether there was one.
    pub async fn condemn(&self, hash: &str, expiry: &expiry::Index) -> Result<bool> {
        self.condemn_when(hash, expiry, 0, |_| true).await
    }

    /// The same for one below a token that is being taken back, which takes this one back too; should it not come to that, it is done later.
    pub async fn condemn_below(&self, hash: &str, expiry: &expiry::Index) -> Result<bool> {
        self.condemn_when(hash, expiry, LEFT_BEHIND, |_| true).await
    }

    /// The same for a token that has ended; one that was renewed meanwhile stays.
    pub async fn condemn_ended(&self, hash: &str, expiry: &expiry::Index) -> Result<bool> {
        self.condemn_when(hash, expiry, 0, |entry| !entry.is_alive()).await
    }

    /// `later`: in how many milliseconds the sweeper takes it back, if nobody else has.
    async fn condemn_when(
        &self,
        hash: &str,
        expiry: &expiry::Index,
        later: i64,
        when: fn(&Entry) -> bool,
    ) -> Result<bool> {
        let (key, mut attempt) = (format!("id/{hash}"), 0);
        loop {
            let mut transaction = self.view.begin();
            let Some(mut entry) = transaction.read::<Entry>(&self.view, &key).await? else { return Ok(false) };
            if !when(&entry) {
                return Ok(false);
            }
            if entry.revoked {
                return Ok(true);
            }
            let before = entry.expires;
            entry.revoked = true;
            entry.expires = now_millis() + later;
            transaction.write(&self.view, &key, &entry)?;
            expiry.set(&mut transaction, &Subject::Token(hash.to_owned()), before, entry.expires)?;
            if transaction.try_commit(&mut attempt).await? {
                return Ok(true);
            }
        }
    }

    /// So many children of a token behind `after`.
    pub async fn children(&self, hash: &str, after: &str, limit: usize) -> Result<Vec<String>> {
        Ok(self.view.list(&format!("parent/{hash}/"), after, limit).await?)
    }

    /// Forgets that `child` is one of `parent`: there is no such token.
    pub async fn unlink(&self, parent: &str, child: &str) -> Result<()> {
        Ok(self.view.delete(&format!("parent/{parent}/{child}")).await?)
    }

    /// Makes orphans of all children of a token.
    pub async fn free_children(&self, hash: &str) -> Result<()> {
        for child in self.children(hash, "", 0).await? {
            let (key, mut attempt) = (format!("id/{child}"), 0);
            loop {
                let mut transaction = self.view.begin();
                transaction.delete(&self.view, &format!("parent/{hash}/{child}"))?;
                if let Some(mut entry) = transaction.read::<Entry>(&self.view, &key).await? {
                    entry.parent = None;
                    transaction.write(&self.view, &key, &entry)?;
                }
                if transaction.try_commit(&mut attempt).await? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Deletes a condemned token, when nothing of it is left.
    pub async fn bury(&self, hash: &str, expiry: &expiry::Index) -> Result<()> {
        self.cubbyhole(hash)?.delete_all("").await?;
        let mut transaction: Transaction = self.view.begin();
        let Some(entry) = transaction.read::<Entry>(&self.view, &format!("id/{hash}")).await? else { return Ok(()) };
        transaction.delete(&self.view, &format!("id/{hash}"))?;
        transaction.delete(&self.view, &format!("accessor/{}", self.hash(&entry.accessor)))?;
        if let Some(parent) = &entry.parent {
            transaction.delete(&self.view, &format!("parent/{parent}/{hash}"))?;
        }
        expiry.set(&mut transaction, &Subject::Token(hash.to_owned()), entry.expires, 0)?;
        match transaction.commit().await {
            // Somebody else buried it.
            Err(error) if error.is_conflict() => Ok(()),
            result => Ok(result?),
        }
    }
}

fn issued(entry: &Entry, token: TokenText) -> Issued {
    let metadata: BTreeMap<String, String> = entry.auth.metadata.clone();
    Issued {
        token,
        accessor: entry.accessor.clone(),
        policies: entry.policies.clone(),
        metadata,
        lease_duration: entry.ttl,
        renewable: entry.auth.renewable && entry.expires > 0 && !entry.batch,
        token_type: entry.token_type(),
        orphan: entry.is_orphan(),
        num_uses: entry.auth.num_uses,
    }
}

#[cfg(test)]
mod tests;
