//! Host names to addresses, without the system's C library.
//!
//! A statically linked glibc loads parts of itself at run time to resolve names, and finds them in no empty image. This
//! resolver reads `/etc/resolv.conf` and `/etc/hosts` itself. Unlike the resolver that comes with the HTTP client, it never
//! falls back to a public name server: the names of someone's key services are not for everyone.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;

/// A resolver that reads the system's settings when it is first used. Clones share one.
#[derive(Clone, Default)]
pub struct Resolver(Arc<OnceLock<TokioResolver>>);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Resolver {
    /// The addresses of `host`, IPv6 and IPv4.
    ///
    /// # Errors
    /// If there are none, or nobody can be asked.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, BoxError> {
        let found = self.resolver()?.lookup_ip(host).await?;
        Ok(found.iter().collect())
    }

    fn resolver(&self) -> Result<&TokioResolver, BoxError> {
        if let Some(resolver) = self.0.get() {
            return Ok(resolver);
        }
        let mut builder = TokioResolver::builder_tokio()
            .map_err(|error| format!("reading the system's name server settings (/etc/resolv.conf): {error}"))?;
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
        let built = builder.build()?;
        Ok(self.0.get_or_init(|| built))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let found = resolver.addresses(name.as_str()).await?;
            let addresses: reqwest::dns::Addrs = Box::new(found.into_iter().map(|address| (address, 0).into()));
            Ok(addresses)
        })
    }
}

#[cfg(feature = "aws")]
impl aws_smithy_runtime_api::client::dns::ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> aws_smithy_runtime_api::client::dns::DnsFuture<'a> {
        use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDnsError};
        DnsFuture::new(async move { self.addresses(name).await.map_err(ResolveDnsError::new) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn the_hosts_file_is_read() {
        let found = Resolver::default().addresses("localhost").await.unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
    }

    #[tokio::test]
    async fn a_name_that_cannot_exist_is_an_error() {
        assert!(Resolver::default().addresses("no-such-host.invalid").await.is_err());
    }
}
