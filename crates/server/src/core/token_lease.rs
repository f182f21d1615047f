//! The leases of tokens: the end that a login has, looked at and taken back by its path as the lease of a secret is.
//!
//! There is nothing stored for it. The id is the path that made the token and `h` and the token's hash, which is good for nothing else.

use std::collections::BTreeSet;

use super::Open;
use super::mount::AUTH;
use super::token::Entry;
use crate::logical::Result;

impl Open {
    /// The token that a lease with this id is of, and its hash.
    pub async fn token_of_lease(&self, id: &str) -> Result<Option<(String, Entry)>> {
        let Some((path, name)) = id.rsplit_once('/').filter(|_| id.starts_with(AUTH)) else { return Ok(None) };
        let hash =
            name.strip_prefix('h').filter(|hash| hash.len() == 64 && hash.bytes().all(|c| c.is_ascii_hexdigit()));
        let Some(hash) = hash else { return Ok(None) };
        let entry = self.tokens.by_hash(hash).await?;
        Ok(entry.filter(|entry| entry.expires != 0 && entry.path == path).map(|entry| (hash.to_owned(), entry)))
    }

    /// The first `most` names directly below `prefix`, which is empty or ends with `/`, behind the name `behind`. It looks at all tokens.
    pub async fn leases_of_tokens(&self, prefix: &str, behind: &str, most: usize) -> Result<Vec<String>> {
        if !(AUTH.starts_with(prefix) || prefix.starts_with(AUTH)) {
            return Ok(Vec::new());
        }
        // A name that many tokens have below it is here once, and of the tokens there are never more than a page. Of names there are no more than asked for.
        let (mut names, mut after) = (BTreeSet::new(), String::new());
        while let Some(last) = self
            .page_below(prefix, &after, |hash, entry| {
                let id = format!("{}/h{hash}", entry.path);
                let Some(rest) = id.strip_prefix(prefix) else { return };
                let name = rest.find('/').map_or(rest, |slash| &rest[..=slash]);
                if name > behind && !names.contains(name) {
                    names.insert(name.to_owned());
                    if names.len() > most {
                        names.pop_last();
                    }
                }
            })
            .await?
        {
            after = last;
        }
        Ok(names.into_iter().collect())
    }

    /// The hashes of the tokens that have an end and were made below `prefix`.
    pub async fn tokens_below(&self, prefix: &str) -> Result<Vec<String>> {
        let (mut below, mut after) = (Vec::new(), String::new());
        while let Some(last) = self.page_below(prefix, &after, |hash, _| below.push(hash.to_owned())).await? {
            after = last;
        }
        Ok(below)
    }

    /// Shows those of the next tokens behind the hash `after`, and gives the last that was looked at.
    async fn page_below(
        &self,
        prefix: &str,
        after: &str,
        mut show: impl FnMut(&str, &Entry),
    ) -> Result<Option<String>> {
        let hashes = self.tokens.hashes(after, PAGE).await?;
        for hash in &hashes {
            if let Some(entry) = self.tokens.by_hash(hash).await?
                && format!("{}/", entry.path).starts_with(prefix)
                && entry.expires != 0
            {
                show(hash, &entry);
            }
        }
        Ok(hashes.into_iter().next_back())
    }
}

/// How many tokens are looked at in one go.
const PAGE: usize = 500;
