//! Whose request it is that a proxy passes on: `X-Forwarded-For`, from proxies of which the configuration says that they are believed.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use crate::core::is_from;

/// Whose word on that is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// The proxies, by their networks.
    pub proxies: Vec<String>,
    /// How many of the last addresses are those of proxies, too.
    pub skipped: usize,
    /// What becomes of requests without the header.
    pub without: Others,
    /// What becomes of requests that come from elsewhere.
    pub elsewhere: Others,
}

/// What becomes of a request that no proxy vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// It is refused.
    Refused,
    /// It is of who connected; the header is not looked at.
    Direct,
}

impl Forwarded {
    /// Where a request comes from that was sent by `peer`. The port stays the proxy's.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn client(&self, headers: &HeaderMap, peer: SocketAddr) -> Result<SocketAddr, String> {
        let mut given = headers.get_all(HEADER).iter().peekable();
        if given.peek().is_none() {
            return match self.without {
                Others::Direct => Ok(peer),
                Others::Refused => {
                    Err("missing x-forwarded-for header and configured to reject when not present".to_owned())
                }
            };
        }
        if !is_from(&self.proxies, Some(peer.ip())) {
            return match self.elsewhere {
                Others::Direct => Ok(peer),
                Others::Refused => {
                    Err("client address not authorized for x-forwarded-for and configured to reject connection"
                        .to_owned())
                }
            };
        }
        let mut hops = Vec::new();
        for value in given {
            let value = value.to_str().map_err(|_| "the x-forwarded-for header is not readable".to_owned())?;
            hops.extend(value.split(',').map(str::trim));
        }
        // Each proxy writes its client behind what it was told: only the end is theirs.
        let at = hops.len().checked_sub(1 + self.skipped).ok_or_else(|| {
            format!(
                "malformed x-forwarded-for configuration or request, hops to skip ({}) would skip before earliest chain link (chain length {})",
                self.skipped,
                hops.len()
            )
        })?;
        let address = parse(hops[at]).ok_or("the x-forwarded-for header has something else than an address")?;
        Ok(SocketAddr::new(address, peer.port()))
    }
}

/// An address, with a port or without.
fn parse(text: &str) -> Option<IpAddr> {
    let plain = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = plain.parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip())).ok()?;
    Some(IpAddr::to_canonical(&address))
}

const HEADER: &str = "x-forwarded-for";

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(skipped: usize) -> Forwarded {
        let proxies = vec!["10.0.0.0/8".to_owned()];
        Forwarded { proxies, skipped, without: Others::Refused, elsewhere: Others::Refused }
    }

    fn client(forwarded: &Forwarded, peer: &str, values: &[&str]) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, value.parse().unwrap());
        }
        let address = forwarded.client(&headers, SocketAddr::new(peer.parse().unwrap(), 7))?;
        assert_eq!(address.port(), 7);
        Ok(address.ip().to_string())
    }

    #[test]
    fn the_last_address_that_a_known_proxy_writes_is_the_clients() {
        let one = forwarded(0);
        for (values, expected) in [
            (&["1.2.3.4"][..], "1.2.3.4"),
            // What stands before was written by the client.
            (&["127.0.0.1, 1.2.3.4"], "1.2.3.4"),
            (&["127.0.0.1", "1.2.3.4"], "1.2.3.4"),
            (&["1.2.3.4:55"], "1.2.3.4"),
            (&["[2001:db8::1]:55"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["::ffff:1.2.3.4"], "1.2.3.4"),
        ] {
            assert_eq!(client(&one, "10.0.0.1", values).as_deref(), Ok(expected), "{values:?}");
        }
        assert_eq!(client(&forwarded(1), "10.0.0.1", &["9.9.9.9, 1.2.3.4, 10.0.0.2"]).as_deref(), Ok("1.2.3.4"));
        for values in [&["x"][..], &[""], &["1.2.3.4,"], &["localhost"]] {
            assert!(client(&one, "10.0.0.1", values).is_err(), "{values:?}");
        }
        assert!(client(&forwarded(2), "10.0.0.1", &["1.2.3.4, 10.0.0.2"]).unwrap_err().contains("hops to skip (2)"));
    }

    #[test]
    fn nobody_else_says_where_a_request_comes_from() {
        let strict = forwarded(0);
        assert!(client(&strict, "11.0.0.1", &["10.0.0.1"]).unwrap_err().contains("not authorized"));
        assert!(client(&strict, "10.0.0.1", &[]).unwrap_err().contains("missing x-forwarded-for"));
        let lenient = Forwarded { without: Others::Direct, elsewhere: Others::Direct, ..strict };
        assert_eq!(client(&lenient, "11.0.0.1", &["10.0.0.1"]).as_deref(), Ok("11.0.0.1"));
        assert_eq!(client(&lenient, "10.0.0.1", &[]).as_deref(), Ok("10.0.0.1"));
    }
}
