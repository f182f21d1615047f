//! A request, from the edge to the answer: who asks, whether it may, that it is written down, what is done, what is made of what was done.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;

use super::audit::Record;
use super::mount::{Class, Mount};
use super::token::Entry;
use super::ttl::{self, Wanted};
use super::{Core, Open, lease, now_millis, policy};
use crate::json::{Object, Value};
use crate::logical::{
    Access, Auth, Call, Caller, Error, Found, Issued, Kind, Operation, Request, Response, Result, Secret, TokenType,
};

/// What a request leads to.
struct Target {
    mount: Arc<Mount>,
    found: Option<Found>,
    below: String,
}

impl Core {
    /// Answers a request. Nothing of the answer leaves before it is written down.
    ///
    /// # Errors
    /// What the client gets instead.
    pub async fn handle(&self, mut request: Request) -> Result<Response> {
        let (begun, _in_flight) = (Instant::now(), self.metrics.begin());
        let open = self.open()?;
        let target = open.mounts.route(&request.path).map(|(mount, below)| Target {
            found: mount.backend.find(below),
            below: below.to_owned(),
            mount,
        });
        let mut caller = None;
        let admitted = open.admit(&mut request, target.as_ref(), &mut caller).await;
        let record = Record {
            request: &request,
            caller: caller.as_ref(),
            mount: target.as_ref().map(|target| target.mount.as_ref()),
            response: None,
            error: admitted.as_ref().err(),
        };
        let answer = async {
            let mut asked = open.audit.asked(&record);
            let is_held = changes_nothing(&request, target.as_ref()) && is_short(&request.data);
            let result = match &admitted {
                Ok(()) => {
                    let performed = open.perform(&request, target.as_ref(), caller.as_ref());
                    let mut performed = std::pin::pin!(AssertUnwindSafe(performed).catch_unwind());
                    let at_once = if is_held { performed.as_mut().now_or_never() } else { None };
                    let done = if let Some(done) = at_once {
                        done
                    } else {
                        // It has an effect, or takes its time, in which the process may end.
                        open.audit.request(&mut asked).await?;
                        performed.await
                    };
                    match done {
                        Ok(result) => result,
                        // It is an answer too.
                        Err(_) => Err(Error::internal(&"a request was not answered: its handler panicked")),
                    }
                }
                Err(error) => Err(error.clone()),
            };
            let record = Record { response: result.as_ref().ok(), error: result.as_ref().err(), ..record };
            let written = open.audit.response(asked, &record).await;
            if written.is_err() && is_irreplaceable(&result) {
                tracing::error!(path = request.path, "an answer with the shares of a new key leaves without a record");
                return result;
            }
            written.and(result)
        };
        let result = answer.await;
        let timing =
            if target.as_ref().is_some_and(Target::is_login) { &self.metrics.logins } else { &self.metrics.requests };
        timing.observe(begun);
        if let Some(caller) = caller.as_ref().filter(|caller| caller.entry.uses < 0) {
            // It was the last use.
            if let Err(error) = open.revoke_token(&caller.hash).await {
                // Nobody else has what this answer brings.
                if !is_irreplaceable(&result) {
                    return Err(error);
                }
                tracing::error!(%error, path = request.path, "a token was not revoked after its last use");
            }
        }
        result
    }
}

impl Open {
    /// Finds who asks, and whether they may. Sets the caller, and the operation to what it is.
    async fn admit(&self, request: &mut Request, target: Option<&Target>, caller: &mut Option<Caller>) -> Result<()> {
        let found = target.and_then(|target| target.found.as_ref());
        // Whether a folder is meant, or an entry whose name ends so, nobody could say.
        if matches!(request.operation, Operation::Update | Operation::Patch) && request.path.ends_with('/') {
            return Err(Error::bad_request("cannot write to a path ending in '/'"));
        }
        let access = found.map_or(Access::Token, |found| found.described.access);
        if access == Access::Open {
            return Ok(());
        }
        let text = request.token.as_ref().ok_or_else(Error::no_token)?;
        let Some((hash, mut entry)) = self.tokens.find(text).await? else {
            // Whoever brings a wrapped answer's token that was used should hear that, and sound the alarm.
            let wraps =
                matches!(request.path.as_str(), "sys/wrapping/lookup" | "sys/wrapping/unwrap" | "sys/wrapping/rewrap");
            return Err(if wraps { super::wrap::invalid() } else { Error::no_token() });
        };
        if !is_from(&entry.auth.bound_cidrs, request.remote) {
            return Err(Error::no_token());
        }
        if entry.uses != 0 {
            let more = self.tokens.count_use(&hash).await?;
            // What a look at it shows; less than none marks the last use.
            entry.uses = if more { entry.uses - 1 } else { -1 };
        }
        let acl = self.policies.acl(&entry.policies).await?;
        let entry = Arc::new(entry);
        let caller = &*caller.insert(Caller { hash, entry, acl });
        // What is asked for is judged under the name that the engine makes of it, too.
        let meant = target.zip(found).map(|(target, found)| target.canonical(found, request.operation));
        let meant = meant.unwrap_or_else(|| request.path.clone());
        let may = |operation: Operation, request: &Request| caller.acl.check_meant(operation, &meant, request);
        if let (Some(target), Some(found)) = (target, found)
            && request.operation == Operation::Update
            // Whoever may do neither does not make the engine look.
            && (may(Operation::Create, request).allowed || may(Operation::Update, request).allowed)
        {
            let call = target.call(request, Some(caller), found);
            if target.mount.backend.exists(found, &call).await? == Some(false) {
                request.operation = Operation::Create;
            }
        }
        let verdict = may(request.operation, request);
        if !verdict.allowed || access == Access::Sudo && !verdict.sudo {
            return Err(Error::denied());
        }
        if let Some(page) = verdict.page {
            request.data.insert("limit".to_owned(), page.to_string().into());
        }
        Ok(())
    }

    /// Does what is asked, and makes tokens, leases and wrapped answers of it.
    async fn perform(&self, request: &Request, target: Option<&Target>, caller: Option<&Caller>) -> Result<Response> {
        let Some(target) = target else {
            return Err(Error::new(404, format!("no handler for route {:?}. route entry not found.", request.path)));
        };
        let found = target.found.as_ref().ok_or_else(Error::unsupported_path)?;
        let call = target.call(request, caller, found);
        if request.operation == Operation::Help {
            return Ok(crate::help::of(&target.mount, &found.described, &target.below));
        }
        let mut response = target.mount.backend.handle(found, &call, request.operation).await?;
        // An answer that says nothing says nothing of fields either.
        if !response.is_empty() {
            warn_of_fields(&mut response, found, request);
        }
        if let Some(auth) = response.auth.take() {
            let (issued, warnings) = self.log_in(auth, request, &target.mount).await?;
            response.issued = Some(issued);
            response.warnings.extend(warnings);
        }
        if let Some(secret) = response.secret.take() {
            let lease = self.lease(secret, request, target, caller).await?;
            response.lease = Some((lease.id.clone(), lease.seconds_left(), lease.renewable));
        }
        let has_answer = response.data.is_some() || response.issued.is_some() || response.raw.is_some();
        match request.wrap_ttl.or(response.wrap_ttl) {
            // Nobody makes tokens by asking what everybody may.
            Some(ttl)
                if has_answer
                    && !response.irreplaceable
                    && (caller.is_some() || response.issued.is_some())
                    && response.wrap_info.is_none() =>
            {
                self.wrap(request, &response, ttl).await
            }
            _ => Ok(response),
        }
    }

    /// Makes the token of a login.
    async fn log_in(&self, auth: Auth, request: &Request, mount: &Mount) -> Result<(Issued, Vec<String>)> {
        let policies = policies(&auth.policies, auth.no_default_policy);
        if policies.iter().any(|name| name == policy::ROOT) {
            return Err(Error::bad_request("auth methods cannot create root tokens"));
        }
        if policies.iter().any(|name| name == policy::WRAPPING) {
            // Its cubbyhole would pass for an answer that the server wrapped.
            return Err(Error::bad_request(format!("cannot assign policy {:?}", policy::WRAPPING)));
        }
        let by_mount = mount.entry.config.token_type;
        // What is no default is an order.
        let kind = match (by_mount, auth.token_type) {
            (Some(order @ (TokenType::Batch | TokenType::Service)), _) => order,
            (by_mount, TokenType::Default) => by_mount.unwrap_or_default(),
            (_, kind) => kind,
        };
        let batch = matches!(kind, TokenType::Batch | TokenType::DefaultBatch);
        if batch && (auth.num_uses != 0 || auth.period != 0) {
            return Err(Error::bad_request("batch tokens cannot have a number of uses or a period"));
        }
        let wanted = Wanted {
            ttl: 0,
            default_ttl: auth.ttl,
            max_ttl: auth.max_ttl,
            period: auth.period,
            explicit_max_ttl: auth.explicit_max_ttl,
            age: 0,
        };
        let (ttl, warnings) = ttl::resolve(wanted, &mount.info);
        let method = mount.entry.path.trim_end_matches('/').replace('/', "-");
        let display_name =
            if auth.display_name.is_empty() { method } else { format!("{method}-{}", auth.display_name) };
        let entry = Entry {
            path: request.path.clone(),
            auth: Auth { display_name, ..auth },
            policies,
            ttl,
            batch,
            ..Entry::default()
        };
        let (issued, hash) = self.tokens.issue(entry, None, &self.expiry).await?;
        // A method that was taken away while it hashed logs nobody in. After the token is there: taking a method away looks for tokens last.
        let serves = self.mounts.at(&mount.info.path).is_some_and(|now| now.entry.uuid == mount.entry.uuid);
        if !serves {
            self.revoke_token(&hash).await?;
            return Err(Error::no_token());
        }
        let (method, path) = (&mount.entry.kind, &mount.info.path);
        self.core()?.metrics.created(method, path, issued.lease_duration, issued.token_type.name());
        Ok((issued, warnings))
    }

    /// Makes the lease of a secret.
    async fn lease(
        &self,
        secret: Secret,
        request: &Request,
        target: &Target,
        caller: Option<&Caller>,
    ) -> Result<lease::Lease> {
        let wanted = Wanted { default_ttl: secret.ttl, max_ttl: secret.max_ttl, ..Wanted::default() };
        let (seconds, _) = ttl::resolve(wanted, &target.mount.info);
        let most =
            if secret.max_ttl > 0 { secret.max_ttl.min(target.mount.info.max_ttl) } else { target.mount.info.max_ttl };
        let now = now_millis();
        let lease = lease::Lease {
            mount: target.mount.info.path.clone(),
            token: caller.filter(|caller| !caller.entry.batch).map(|caller| caller.hash.clone()),
            expires: now.saturating_add(seconds.saturating_mul(1000)),
            latest: now.saturating_add(most.saturating_mul(1000)),
            renewable: secret.renewable,
            internal: secret.internal,
            ..lease::Lease::default()
        };
        self.leases.make(&request.path, lease, &self.expiry).await
    }
}

impl Target {
    fn is_login(&self) -> bool {
        let is_open = self.found.as_ref().is_some_and(|found| found.described.access == Access::Open);
        is_open && self.mount.entry.class == Class::Auth
    }

    /// The path as the engine takes it: names that it reads in lower case are, and what the system trims is trimmed.
    fn canonical(&self, found: &Found, operation: Operation) -> String {
        let trims = self.mount.entry.kind == "system" && !matches!(operation, Operation::List | Operation::Scan);
        let lower =
            |name: &str| found.described.fields.iter().any(|field| field.name == name && field.kind == Kind::LowerText);
        let mut path = self.mount.info.path.clone();
        let mut captures = found.captures.iter();
        for (at, segment) in found.described.pattern.trim_end_matches("/?").split('/').enumerate() {
            if at > 0 {
                path.push('/');
            }
            match captures.as_slice().first().filter(|_| segment.starts_with('{')) {
                Some((name, value)) => {
                    captures.next();
                    let value = if trims { value.trim_matches('/') } else { value };
                    path.push_str(&if lower(name) { value.to_lowercase() } else { value.to_owned() });
                }
                None => path.push_str(segment),
            }
        }
        if self.below.ends_with('/') && !trims && !path.ends_with('/') {
            path.push('/');
        }
        path
    }

    fn call<'a>(&'a self, request: &'a Request, caller: Option<&'a Caller>, found: &'a Found) -> Call<'a> {
        Call {
            request,
            path: &self.below,
            mount: &self.mount.info,
            storage: &self.mount.view,
            caller,
            input: found.input(&request.data),
        }
    }
}

/// Whether a request has no effect but its answer.
fn changes_nothing(request: &Request, target: Option<&Target>) -> bool {
    let found = target.and_then(|target| target.found.as_ref());
    // A wrapped answer is a token.
    request.wrap_ttl.is_none() && found.is_none_or(|found| found.described.unchanging.contains(&request.operation))
}

/// Whether what is asked is done in a moment, by all that one can see of it: few values, none of them long.
fn is_short(data: &Object) -> bool {
    let is_short = |value: &Value| match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => text.len() <= SHORT,
        Value::Array(values) => values.is_empty(),
        _ => false,
    };
    data.len() <= FEW && data.values().all(is_short)
}

/// How many fields a request has that is held, and how long they are.
const FEW: usize = 16;
const SHORT: usize = 4 << 10;

/// Whether an answer is the only place in which something is that everything depends on.
fn is_irreplaceable(result: &Result<Response>) -> bool {
    match result {
        Ok(response) => response.irreplaceable,
        // Nothing else that fails has anything to give.
        Err(error) => error.status >= 500 && error.data.is_some(),
    }
}

/// Names of policies in lower case, each once, sorted.
pub fn policy_names(names: &[String]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|name| name.trim().to_lowercase()).collect();
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    names
}

/// The policies that somebody has: the same with `default` unless it is not wanted; `root` stands for all.
pub fn policies(names: &[String], no_default: bool) -> Vec<String> {
    let mut policies = policy_names(names);
    if policies.iter().any(|name| name == policy::ROOT) {
        return vec![policy::ROOT.to_owned()];
    }
    if !no_default {
        policies.push(policy::DEFAULT.to_owned());
    }
    policies.sort_unstable();
    policies.dedup();
    policies
}

/// Says which fields were sent that are not declared, and which the path says already.
fn warn_of_fields(response: &mut Response, found: &Found, request: &Request) {
    let (declared, data): (_, &Object) = (found.described.fields, &request.data);
    let is_captured = |name: &str| found.captures.iter().any(|(one, _)| *one == name);
    if !found.described.takes_any {
        // Every list is in pages for who wants them.
        let lists = matches!(request.operation, Operation::List | Operation::Scan);
        let known = |name: &str| {
            is_captured(name)
                || lists && matches!(name, "after" | "limit")
                || declared.iter().any(|field| field.name == name)
        };
        let names: Vec<&str> = data.keys().map(String::as_str).filter(|name| !known(name)).collect();
        if !names.is_empty() {
            let names = names.join(" ");
            response.warnings.push(format!("Endpoint ignored these unrecognized parameters: [{names}]"));
        }
    }
    let names: Vec<&str> = data
        .iter()
        .filter(|(name, value)| is_captured(name) && !value.is_null())
        .map(|(name, _)| name.as_str())
        .collect();
    if !names.is_empty() {
        let names = names.join(" ");
        response.warnings.push(format!(
            "Endpoint replaced the value of these parameters with the values captured from the endpoint's path: [{names}]"
        ));
    }
}

/// Whether `remote` is in one of the networks, or there are none.
pub fn is_from(cidrs: &[String], remote: Option<IpAddr>) -> bool {
    cidrs.is_empty() || remote.is_some_and(|remote| cidrs.iter().any(|cidr| contains(cidr, remote)))
}

/// Whether `text` is a network, `10.0.0.0/8`, or an address.
pub fn is_cidr(text: &str) -> bool {
    parse_cidr(text).is_some()
}

/// Whether the network `cidr` is in one of `cidrs`.
pub fn is_within(cidrs: &[String], cidr: &str) -> bool {
    let Some((network, bits)) = parse_cidr(cidr) else { return false };
    let wider = |outer: &String| {
        parse_cidr(outer).is_some_and(|(outer, width)| width <= bits && outer.is_ipv4() == network.is_ipv4())
    };
    cidrs.iter().any(|outer| wider(outer) && contains(outer, network))
}

fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(most), |bits| bits.parse().ok().filter(|bits| *bits <= most))?;
    Some((address, bits))
}

fn contains(cidr: &str, remote: IpAddr) -> bool {
    let Some((network, bits)) = parse_cidr(cidr) else { return false };
    let remote = remote.to_canonical();
    let as_bits = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    };
    let mask = if bits == 0 { 0 } else { u128::MAX << (128 - u32::from(bits)) };
    network.is_ipv4() == remote.is_ipv4() && as_bits(network) & mask == as_bits(remote) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_its_network_alone() {
        let cidrs = vec!["10.1.0.0/16".to_owned(), "::1".to_owned()];
        for (address, expected) in
            [("10.1.2.3", true), ("10.2.0.1", false), ("::1", true), ("::2", false), ("::ffff:10.1.0.9", true)]
        {
            assert_eq!(is_from(&cidrs, address.parse().ok()), expected, "{address}");
        }
        assert!(!is_from(&cidrs, None) && is_from(&[], None));
        assert!(is_from(&["0.0.0.0/0".to_owned()], "1.2.3.4".parse().ok()));
        assert!(!is_from(&["0.0.0.0/0".to_owned()], "::1".parse().ok()));
        assert!(!is_cidr("10.0.0.0/33") && !is_cidr("x") && is_cidr("fe80::/10"));
    }

    #[test]
    fn a_network_is_in_a_wider_one() {
        let cidrs = vec!["10.0.0.0/8".to_owned(), "::/16".to_owned()];
        for (cidr, expected) in [
            ("10.1.0.0/16", true),
            ("10.0.0.0/8", true),
            ("10.1.2.3", true),
            ("0.0.0.0/0", false),
            ("11.0.0.0/16", false),
            ("::1", true),
            ("::ffff:10.0.0.0/9", false),
            ("x", false),
        ] {
            assert_eq!(is_within(&cidrs, cidr), expected, "{cidr}");
        }
    }

    #[test]
    fn policies_are_sorted_with_default_and_root_stands_alone() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(policies(&names(&["B", "a", "b", ""]), false), ["a", "b", "default"]);
        assert_eq!(policies(&names(&["a"]), true), ["a"]);
        assert_eq!(policies(&names(&["a", "root"]), false), ["root"]);
    }
}
