//! Which servers may be named.
//!
//! A pattern is `https://HOST`, `https://HOST:PORT`, or with `http`; the port is the scheme's if it is not said. HOST may begin with `*.` for
//! all names below one, or be `*` for any name or address; PORT may be `*`.
//!
//! What a `*` stands for never is, and never leads to, this machine itself or an address of its own network link, where clouds have the
//! services that give out credentials: those are reached by a pattern that names the host in full, and by nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use bulla_core::Shown;
use reqwest::Url;

use super::Rules;
use crate::store::{StoreError, StoreErrorKind};

/// Patterns of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses(pub Vec<Pattern>);

/// A pattern of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    scheme: String,
    host: Host,
    /// `None`: any.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Any,
    /// With its first dot.
    Below(String),
    Exactly(String),
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "{text:?} is no address of servers: https://HOST:PORT, where HOST may be * or begin with *. and PORT may be *"
            )
        };
        let (scheme, rest) = text.trim().split_once("://").ok_or_else(form)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // A host that the URL parser takes stands in for the star.
        let (rest, any_port) = rest.strip_suffix(":*").map_or((rest, false), |rest| (rest, true));
        let (rest, wild) = match rest.strip_prefix('*') {
            Some(rest) if rest.is_empty() || rest.starts_with(':') => (format!("any{rest}"), true),
            Some(rest) if rest.starts_with('.') => (format!("any{rest}"), true),
            Some(_) => return Err(form()),
            None => (rest.to_owned(), false),
        };
        let url = parse(&format!("{scheme}://{rest}")).map_err(|_| form())?;
        let host = url.host_str().unwrap_or_default();
        if host.contains('*') {
            return Err(form());
        }
        let host = match host.strip_prefix("any").filter(|_| wild) {
            Some("") => Host::Any,
            Some(below) => Host::Below(below.to_owned()),
            None => Host::Exactly(host.to_owned()),
        };
        Ok(Self { scheme: url.scheme().to_owned(), host, port: url.port_or_known_default().filter(|_| !any_port) })
    }
}

impl Pattern {
    fn matches(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let has_host = match &self.host {
            Host::Any => true,
            Host::Below(below) => host.len() > below.len() && host.ends_with(below.as_str()),
            Host::Exactly(exactly) => host == exactly,
        };
        has_host
            && url.scheme() == self.scheme
            && self.port.is_none_or(|port| url.port_or_known_default() == Some(port))
    }
}

/// Which addresses a server's name may lead to.
pub(super) type MayReach = fn(IpAddr) -> bool;

impl Rules {
    /// The address that is meant, and where its name may lead.
    pub(super) fn address(&self, named: Option<&str>) -> Result<(Url, MayReach), StoreError> {
        let invalid = |message: String| StoreError::new(StoreErrorKind::Invalid, message);
        let default = self.default_address.as_deref().map(parse).transpose().map_err(&invalid)?;
        let Some(named) = named else {
            let missing =
                || invalid("no server is named (vaultAddress), and the node service has none of its own".to_owned());
            return Ok((default.ok_or_else(missing)?, |_| true));
        };
        let url = parse(named).map_err(invalid)?;
        let matching = || self.addresses.0.iter().filter(|pattern| pattern.matches(&url));
        if default.as_ref() == Some(&url) || matching().any(|pattern| matches!(pattern.host, Host::Exactly(_))) {
            return Ok((url, |_| true));
        }
        let denied = |message: String| Err(StoreError::new(StoreErrorKind::Denied, message));
        if matching().next().is_none() {
            return denied(format!(
                "the node service does not let {named:?} be asked: its administrator can allow it (--vault-allowed-addresses)"
            ));
        }
        let host = url.host_str().unwrap_or_default();
        let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        if literal.is_some_and(|address| !is_elsewhere(address)) {
            return denied(format!(
                "{named:?} is this node itself or a service of its cloud: the administrator would have to allow it by its full name (--vault-allowed-addresses)"
            ));
        }
        Ok((url, is_elsewhere))
    }
}

/// A server's address as a URL.
///
/// # Errors
/// What is wrong with it.
fn parse(text: &str) -> Result<Url, String> {
    let wrong = |why: &str| format!("{:?} is no address of a server: {why}", Shown(text, 200));
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("its scheme must be https or http"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it must hold no user name or password"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it is https://HOST:PORT, without path, query or fragment"));
    }
    Ok(url)
}

/// Whether an address is neither this machine, nor on its link, nor where a cloud has services for its machines.
fn is_elsewhere(address: IpAddr) -> bool {
    /// Azure's, and Alibaba's: the others' are on the link.
    const CLOUDS: [Ipv4Addr; 2] = [Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(100, 100, 100, 200)];
    /// AWS', and Google's.
    const CLOUDS_V6: [Ipv6Addr; 2] =
        [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];
    let v4 = |address: Ipv4Addr| {
        !(address.is_loopback()
            || address.is_link_local()
            || address.octets()[0] == 0
            || address.is_broadcast()
            || address.is_multicast()
            || CLOUDS.contains(&address))
    };
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => {
            // The same IPv4 addresses, written as IPv6: mapped, compatible, and through a translator (64:ff9b::/96).
            let segments = address.segments();
            let last = Ipv4Addr::from_bits((u32::from(segments[6]) << 16) | u32::from(segments[7]));
            let is_v4 = matches!(segments[..6], [0, 0, 0, 0, 0, 0 | 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0]);
            !(address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_unicast_link_local()
                || CLOUDS_V6.contains(&address)
                || (is_v4 && !v4(last)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Rate;

    fn rules(default: Option<&str>, patterns: &[&str]) -> Rules {
        Rules {
            default_address: default.map(str::to_owned),
            addresses: Addresses(patterns.iter().map(|pattern| pattern.parse().unwrap()).collect()),
            files: None,
            authorities: None,
            rate: Rate { per_second: 1, burst: 1, under_way: 1 },
        }
    }

    #[track_caller]
    fn check(patterns: &[&str], allowed: &[&str], refused: &[&str]) {
        let rules = rules(None, patterns);
        for address in allowed {
            assert!(rules.address(Some(address)).is_ok(), "{patterns:?} refuse {address}");
        }
        for address in refused {
            assert!(rules.address(Some(address)).is_err(), "{patterns:?} allow {address}");
        }
    }

    #[test]
    fn nothing_is_allowed_that_no_pattern_names() {
        check(&[], &[], &["https://vault.example.com", "http://127.0.0.1:8200"]);
        assert!(rules(None, &[]).address(None).unwrap_err().message.contains("vaultAddress"));
        let rules = rules(Some("http://127.0.0.1:8200"), &[]);
        assert_eq!(rules.address(None).unwrap().0.as_str(), "http://127.0.0.1:8200/");
        assert!(rules.address(Some("http://127.0.0.1:8200/")).is_ok(), "the default may be named");
        assert!(rules.address(Some("http://127.0.0.1:8201")).is_err());
    }

    #[test]
    fn a_pattern_is_a_scheme_a_host_and_a_port() {
        check(
            &["https://vault.example.com:8200"],
            &["https://vault.example.com:8200", "https://VAULT.example.com:8200/"],
            &[
                "http://vault.example.com:8200",
                "https://vault.example.com",
                "https://vault.example.com:82001",
                "https://vault.example.com:8200.evil.example",
                "https://vault.example.com:8200@evil.example",
                "https://evil.example/vault.example.com:8200",
                "https://evil.example#vault.example.com:8200",
                "vault.example.com:8200",
                "",
            ],
        );
        check(
            &["https://*.vault.svc"],
            &["https://a.vault.svc", "https://a.b.vault.svc:443"],
            &[
                "https://vault.svc",
                "https://.vault.svc",
                "https://evilvault.svc",
                "https://a.vault.svc.evil.example",
                "https://a.vault.svc:8200",
            ],
        );
        check(&["http://vault:*"], &["http://vault", "http://vault:8200"], &["https://vault", "http://vault2:8200"]);
        check(&["https://*:*"], &["https://a.b:1", "https://1.2.3.4"], &["http://a.b", "ftp://a.b"]);
        for wrong in [
            "",
            "*",
            "vault",
            "https://",
            "https://a*b",
            "https://*b",
            "https://a.*",
            "https://a/b",
            "https://u@a",
            "https://a:b",
        ] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_star_is_never_this_machine_or_its_clouds_services() {
        let any = ["https://*:*", "http://*:*"];
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0.0.0.0",
            "169.254.169.254",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:169.254.169.254]",
            "[::127.0.0.1]",
            "[64:ff9b::169.254.169.254]",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "[fd20:ce::254]",
            "168.63.129.16",
            "100.100.100.200",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            check(&any, &[], &[&format!("http://{host}:8200")]);
        }
        check(&any, &["https://10.0.0.1", "https://[2001:db8::1]"], &[]);
        check(&["http://127.0.0.1:8200", "https://*"], &["http://127.0.0.1:8200"], &["http://127.0.0.1:8201"]);
        let may_reach = |patterns: &[&str], address: &str| rules(None, patterns).address(Some(address)).unwrap().1;
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert!(!may_reach(&["https://*.example.com"], "https://a.example.com")(loopback), "a name that leads there");
        assert!(may_reach(&["https://a.example.com"], "https://a.example.com")(loopback), "named in full");
    }
}
