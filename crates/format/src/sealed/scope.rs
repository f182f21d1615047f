//! Where a value may be used.

use std::fmt;
use std::str::FromStr;

/// Where a sealed value may be used. Part of what it is encrypted with: a value does not open under another scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// In the one namespace under the one name it was sealed for.
    #[default]
    Strict,
    /// In the one namespace, under any name.
    NamespaceWide,
    /// Anywhere in the cluster.
    ClusterWide,
}

/// The annotation that says cluster-wide, on the `SealedSecret`'s own metadata, with the value `true`. It wins over the other.
pub const CLUSTER_WIDE: &str = "sealedsecrets.bitnami.com/cluster-wide";
/// The annotation that says namespace-wide.
pub const NAMESPACE_WIDE: &str = "sealedsecrets.bitnami.com/namespace-wide";

impl Scope {
    /// The scopes, narrowest first.
    pub const ALL: [Self; 3] = [Self::Strict, Self::NamespaceWide, Self::ClusterWide];

    /// The scope that annotations say. `annotation` gives the value of the one asked for.
    ///
    /// Only the object's own metadata counts. Taking the template's was CVE-2026-22728: it lets whoever writes the template widen
    /// the scope.
    pub fn from_annotations<'a>(annotation: impl Fn(&str) -> Option<&'a str>) -> Self {
        if annotation(CLUSTER_WIDE) == Some("true") {
            Self::ClusterWide
        } else if annotation(NAMESPACE_WIDE) == Some("true") {
            Self::NamespaceWide
        } else {
            Self::Strict
        }
    }

    /// The annotation that says this scope, if it takes one. Its value is `true`.
    pub const fn annotation(self) -> Option<&'static str> {
        match self {
            Self::Strict => None,
            Self::NamespaceWide => Some(NAMESPACE_WIDE),
            Self::ClusterWide => Some(CLUSTER_WIDE),
        }
    }

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::NamespaceWide => "namespace-wide",
            Self::ClusterWide => "cluster-wide",
        }
    }

    /// The OAEP label: `namespace/name`, `namespace`, or nothing.
    ///
    /// No two places share one: neither a namespace nor a name has a `/`, and neither is empty where it counts.
    pub fn label(self, namespace: &str, name: &str) -> Vec<u8> {
        match self {
            Self::Strict => format!("{namespace}/{name}").into_bytes(),
            Self::NamespaceWide => namespace.as_bytes().to_vec(),
            Self::ClusterWide => Vec::new(),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.name() == text)
            .ok_or_else(|| format!("{text:?} is no scope: strict, namespace-wide or cluster-wide"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use super::*;

    fn scope(annotations: &[(&str, &'static str)]) -> Scope {
        let map: BTreeMap<_, _> = annotations.iter().copied().collect();
        Scope::from_annotations(|key| map.get(key).copied())
    }

    #[test]
    fn cluster_wide_wins_and_only_true_counts() {
        assert_eq!(scope(&[]), Scope::Strict);
        assert_eq!(scope(&[(NAMESPACE_WIDE, "true")]), Scope::NamespaceWide);
        assert_eq!(scope(&[(NAMESPACE_WIDE, "true"), (CLUSTER_WIDE, "true")]), Scope::ClusterWide);
        for not_true in ["", "True", "1", "yes", " true", "false"] {
            assert_eq!(scope(&[(CLUSTER_WIDE, not_true), (NAMESPACE_WIDE, not_true)]), Scope::Strict);
        }
    }

    #[test]
    fn a_scope_goes_through_its_name_and_its_annotation() {
        for each in Scope::ALL {
            assert_eq!(each.name().parse::<Scope>().unwrap(), each);
            let annotations: Vec<_> = each.annotation().map(|key| (key, "true")).into_iter().collect();
            assert_eq!(scope(&annotations), each);
        }
        assert!("wide".parse::<Scope>().unwrap_err().contains("strict"));
    }
}
