//! Why a value does not open: what can be found out by trying.
//!
//! RSA-OAEP fails in one way, whether the key or the label is wrong. With the keys at hand, other labels can be tried: the
//! object's other scopes, then other namespaces and names that are known. What is found is a place, never the value.

use std::collections::BTreeSet;

use super::{Binding, Fingerprint, KeyRing, OpenError, Scope, SealedValue};

/// What else to try, and how much.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// Other namespaces and names that the value may have been sealed for, likeliest first.
    pub places: &'a [(&'a str, &'a str)],
    /// Other items of the object, which hybrid values are bound to.
    pub items: &'a [&'a str],
    /// The most private operations to spend.
    pub tries: usize,
}

impl Default for Candidates<'_> {
    /// The object's own other scopes.
    fn default() -> Self {
        Self { places: &[], items: &[], tries: 64 }
    }
}

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Diagnosis {
    /// It opens here with this key.
    Opens(Fingerprint),
    /// It opens elsewhere.
    SealedFor(SealedFor),
    /// Nothing that was tried opens it: [`OpenError`] says as much as can be known.
    Unknown(OpenError),
}

/// The place that a value was sealed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedFor {
    /// The key it is sealed to.
    pub key: Fingerprint,
    /// The scope.
    pub scope: Scope,
    /// The namespace, unless cluster-wide.
    pub namespace: Option<String>,
    /// The name, if strict.
    pub name: Option<String>,
    /// The item, if it is another than was asked for.
    pub item: Option<String>,
}

impl std::fmt::Display for SealedFor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it was sealed for {} scope", self.scope)?;
        match (&self.namespace, &self.name) {
            (Some(namespace), Some(name)) => write!(f, " in namespace {namespace:?} under the name {name:?}")?,
            (Some(namespace), None) => write!(f, " in namespace {namespace:?}")?,
            _ => {}
        }
        self.item.as_ref().map_or(Ok(()), |item| write!(f, " as item {item:?}"))
    }
}

/// Finds out why `value` does not open at `binding` with the keys of `ring`.
pub fn diagnose(ring: &KeyRing, value: &SealedValue, binding: &Binding<'_>, candidates: &Candidates<'_>) -> Diagnosis {
    let first = match ring.open(value, binding, None) {
        Ok(opened) => return Diagnosis::Opens(opened.key),
        Err(error) => error,
    };
    // RSA: the contents are damaged, which no other place changes. Hybrid: no key to try with.
    if matches!(first, OpenError::Corrupt { .. } | OpenError::UnknownKey { .. }) {
        return Diagnosis::Unknown(first);
    }
    let usable: Vec<_> = ring.keys().iter().filter(|each| value.may_be_for(&each.key).is_ok()).collect();
    let mut left = candidates.tries;
    let mut tried = BTreeSet::from([identity(value, binding)]);
    for place in places(value, binding, candidates) {
        if !tried.insert(identity(value, &place)) {
            continue;
        }
        for each in &usable {
            if left == 0 {
                return Diagnosis::Unknown(first);
            }
            left -= 1;
            match value.open(&each.key, &place) {
                Ok(_) => return Diagnosis::SealedFor(sealed_for(*each.key.fingerprint(), binding, &place)),
                // The label was right after all.
                Err(error @ OpenError::Corrupt { .. }) => return Diagnosis::Unknown(error),
                Err(_) => {}
            }
        }
    }
    Diagnosis::Unknown(first)
}

/// The places to try, likeliest first. Made as they are asked for: there may be many, and few tries.
fn places<'a>(
    value: &SealedValue,
    binding: &'a Binding<'a>,
    candidates: &'a Candidates<'a>,
) -> impl Iterator<Item = Binding<'a>> {
    let own = std::iter::once((binding.namespace, binding.name));
    let places = own.chain(candidates.places.iter().copied());
    // An RSA value is not bound to its item.
    let items = if value.is_hybrid() { candidates.items } else { &[] };
    places.flat_map(move |(namespace, name)| {
        Scope::ALL.into_iter().flat_map(move |scope| {
            let moved = Binding { scope, namespace, name, ..binding.clone() };
            std::iter::once(binding.item).chain(items.iter().copied()).map(move |item| moved.with_item(item))
        })
    })
}

/// What tells places apart for the cipher.
fn identity(value: &SealedValue, binding: &Binding<'_>) -> Vec<u8> {
    if value.is_hybrid() { binding.associated_data() } else { binding.label() }
}

fn sealed_for(key: Fingerprint, asked: &Binding<'_>, found: &Binding<'_>) -> SealedFor {
    SealedFor {
        key,
        scope: found.scope,
        namespace: (found.scope != Scope::ClusterWide).then(|| found.namespace.to_owned()),
        name: (found.scope == Scope::Strict).then(|| found.name.to_owned()),
        item: (found.item != asked.item).then(|| found.item.to_owned()),
    }
}
