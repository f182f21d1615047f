//! How long a token or a secret lives.

use crate::logical::MountInfo;

/// What is wanted, in seconds; 0 is nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// By the caller.
    pub ttl: i64,
    /// By a role or engine, if the caller wants nothing.
    pub default_ttl: i64,
    /// By a role or engine, at most.
    pub max_ttl: i64,
    /// At each renewal anew, without an end.
    pub period: i64,
    /// At most, whatever is renewed.
    pub explicit_max_ttl: i64,
    /// How long it has lived already.
    pub age: i64,
}

/// How many seconds from now, and what the caller should know of it. Less than 1: it has lived as long as it may.
pub fn resolve(wanted: Wanted, mount: &MountInfo) -> (i64, Vec<String>) {
    let mut warnings = Vec::new();
    let lesser = |a: i64, b: i64| if b > 0 { a.min(b) } else { a };
    let max = lesser(mount.max_ttl, wanted.max_ttl);
    let first = |all: [i64; 3]| all.into_iter().find(|seconds| *seconds > 0).unwrap_or(0);
    let mut ttl;
    if wanted.period > 0 {
        ttl = wanted.period;
        if ttl > mount.max_ttl {
            warnings.push(format!(
                "period of {:?} exceeded the effective max_ttl of {:?}; period value is capped accordingly",
                short(ttl),
                short(mount.max_ttl)
            ));
            ttl = mount.max_ttl;
        }
    } else {
        ttl = first([wanted.ttl, wanted.default_ttl, mount.default_ttl]);
        let left = max - wanted.age;
        if ttl > left {
            if wanted.ttl > 0 {
                warnings.push(format!(
                    "TTL of {:?} exceeded the effective max_ttl of {:?}; TTL value is capped accordingly",
                    short(ttl),
                    short(left.max(0))
                ));
            }
            ttl = left;
        }
    }
    if wanted.explicit_max_ttl > 0 {
        ttl = ttl.min(wanted.explicit_max_ttl - wanted.age);
    }
    (ttl, warnings)
}

/// As short as the peer writes it in warnings: `768h`.
fn short(seconds: i64) -> String {
    let text = crate::logical::format_go(seconds);
    let text = text.strip_suffix("m0s").map_or(text.clone(), |text| format!("{text}m"));
    text.strip_suffix("h0m").map_or(text.clone(), |text| format!("{text}h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_given_up_to_what_is_allowed() {
        let mount = MountInfo { default_ttl: 100, max_ttl: 1000, ..MountInfo::default() };
        let of = |wanted| resolve(wanted, &mount).0;
        assert_eq!(of(Wanted::default()), 100);
        assert_eq!(of(Wanted { ttl: 50, default_ttl: 70, ..Wanted::default() }), 50);
        assert_eq!(of(Wanted { default_ttl: 70, ..Wanted::default() }), 70);
        assert_eq!(of(Wanted { ttl: 5000, ..Wanted::default() }), 1000);
        assert_eq!(of(Wanted { ttl: 5000, max_ttl: 200, age: 150, ..Wanted::default() }), 50);
        assert_eq!(of(Wanted { period: 300, age: 100_000, ..Wanted::default() }), 300);
        assert_eq!(of(Wanted { period: 300, explicit_max_ttl: 400, age: 350, ..Wanted::default() }), 50);
        assert_eq!(of(Wanted { explicit_max_ttl: 400, age: 500, ..Wanted::default() }), -100);
        let mount = MountInfo { default_ttl: 768 * 3600, max_ttl: 768 * 3600, ..MountInfo::default() };
        let (_, warnings) = resolve(Wanted { ttl: 9999 * 3600, ..Wanted::default() }, &mount);
        let expected = "TTL of \"9999h\" exceeded the effective max_ttl of \"768h\"; TTL value is capped accordingly";
        assert_eq!(warnings, [expected]);
    }
}
