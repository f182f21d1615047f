//! The leases of tokens: the end that a login has, looked at and taken back by its path as the lease of a secret is.
//!
//! There is nothing stored for it. The id is the path that made the token and `h` and the token's hash, which is good for nothing else.

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

    /// The names directly below `prefix`, which is empty or ends with `/`. It looks at all tokens.
    pub async fn leases_of_tokens(&self, prefix: &str) -> Result<Vec<String>> {
        if !(AUTH.starts_with(prefix) || prefix.starts_with(AUTH)) {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for (hash, entry) in self.tokens_below(prefix).await? {
            let id = format!("{}/h{hash}", entry.path);
            let Some(rest) = id.strip_prefix(prefix) else { continue };
            names.push(rest.find('/').map_or(rest, |slash| &rest[..=slash]).to_owned());
        }
        Ok(names)
    }

    /// The tokens that have an end and were made below `prefix`, and their hashes.
    pub async fn tokens_below(&self, prefix: &str) -> Result<Vec<(String, Entry)>> {
        let mut below = Vec::new();
        for hash in self.tokens.hashes().await? {
            if let Some(entry) = self.tokens.by_hash(&hash).await?
                && format!("{}/", entry.path).starts_with(prefix)
                && entry.expires != 0
            {
                below.push((hash, entry));
            }
        }
        Ok(below)
    }
}
