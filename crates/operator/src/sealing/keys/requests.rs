//! What people ask of the leader, as annotations on key objects: it has the key services, and they need not.
//!
//! None of them gives anything away: whoever may write key objects can have a key made for the configured recipients, no others.

use kube::ResourceExt;

/// Make a new key now. Taken off when it is there.
pub const RENEW: &str = "bulla.dev/renew";
/// Wrap this key for the recipients that are configured. Taken off when it is.
pub const REWRAP: &str = "bulla.dev/rewrap";

/// Whether an object has a request.
pub fn are_in<K: ResourceExt>(object: &K) -> bool {
    [RENEW, REWRAP].iter().any(|request| has(object, request))
}

/// Whether an object has this request.
pub fn has<K: ResourceExt>(object: &K, request: &str) -> bool {
    object.annotations().contains_key(request)
}
