//! What every auth method's role says of the tokens that it gives: the fields `token_…`.

use serde::{Deserialize, Serialize};

use crate::core::{is_cidr, policies};
use crate::json::Object;
use crate::logical::{Auth, Error, Field, Input, Kind, Result, TokenType};

/// The longest name of a role that somebody logs in with, in bytes. What is refused is in audit logs: a token in the wrong field must
/// not be.
pub const LONGEST_ROLE: usize = 256;

/// The fields.
pub const FIELDS: [Field; 10] = [
    Field::new("token_bound_cidrs", Kind::Texts, "Networks that tokens can be used from. None: all."),
    Field::new("token_explicit_max_ttl", Kind::Seconds, "How long tokens live at most, whatever is renewed."),
    Field::new("token_max_ttl", Kind::Seconds, "How long tokens live at most."),
    Field::new("token_no_default_policy", Kind::Bool, "Whether the policy `default` is left out."),
    Field::new("token_num_uses", Kind::Int, "How often tokens can be used. 0: as often as wanted."),
    Field::new("token_period", Kind::Seconds, "How long each renewal gives tokens, without an end."),
    Field::new("token_policies", Kind::Texts, "The policies of tokens."),
    Field::new("token_strictly_bind_ip", Kind::Bool, "Whether tokens can be used from the address of the login alone."),
    Field::new("token_ttl", Kind::Seconds, "How long tokens live at first."),
    Field::new("token_type", Kind::Text, "How tokens are kept: `service`, `batch`, `default`."),
];

/// Fields of a role: these, and `more`. Evaluated by the compiler: `ALL` is as many as there are, or it does not build.
///
/// # Panics
/// If it is not.
pub const fn with<const N: usize, const ALL: usize>(more: [Field; N]) -> [Field; ALL] {
    assert!(ALL == N + FIELDS.len(), "all of them");
    let mut all = [FIELDS[0]; ALL];
    let mut at = 0;
    while at < ALL {
        all[at] = if at < N { more[at] } else { FIELDS[at - N] };
        at += 1;
    }
    all
}

/// What a role says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Params {
    /// Networks.
    pub bound_cidrs: Vec<String>,
    /// Seconds.
    pub explicit_max_ttl: i64,
    /// Seconds.
    pub max_ttl: i64,
    /// Whether `default` is left out.
    pub no_default_policy: bool,
    /// How often.
    pub num_uses: i64,
    /// Seconds.
    pub period: i64,
    /// Policies.
    pub policies: Vec<String>,
    /// Whether to the address of the login.
    pub strictly_bind_ip: bool,
    /// Seconds.
    pub ttl: i64,
    /// How they are kept.
    pub token_type: Kept,
}

/// How tokens are kept: as the mount says where the role does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept(pub TokenType);

impl Default for Kept {
    fn default() -> Self {
        Self(TokenType::Default)
    }
}

impl Params {
    /// Changes what is given.
    ///
    /// # Errors
    /// 400 for what cannot be.
    pub fn apply(&mut self, input: &Input<'_>) -> Result<()> {
        if let Some(cidrs) = input.texts("token_bound_cidrs")? {
            check_cidrs(&cidrs)?;
            self.bound_cidrs = cidrs;
        }
        let not_negative = |name: &str, was: i64| -> Result<i64> {
            let seconds = input.seconds(name)?.unwrap_or(was);
            if seconds < 0 { Err(Error::bad_request(format!("'{name}' cannot be negative"))) } else { Ok(seconds) }
        };
        self.explicit_max_ttl = not_negative("token_explicit_max_ttl", self.explicit_max_ttl)?;
        self.max_ttl = not_negative("token_max_ttl", self.max_ttl)?;
        self.period = not_negative("token_period", self.period)?;
        self.ttl = not_negative("token_ttl", self.ttl)?;
        if self.max_ttl > 0 && self.ttl > self.max_ttl {
            return Err(Error::bad_request("'token_ttl' cannot be greater than 'token_max_ttl'"));
        }
        self.no_default_policy = input.bool("token_no_default_policy")?.unwrap_or(self.no_default_policy);
        self.strictly_bind_ip = input.bool("token_strictly_bind_ip")?.unwrap_or(self.strictly_bind_ip);
        self.num_uses = input.int("token_num_uses")?.unwrap_or(self.num_uses);
        if self.num_uses < 0 {
            return Err(Error::bad_request("'token_num_uses' cannot be negative"));
        }
        if let Some(names) = input.texts("token_policies")? {
            self.policies = parse_policies(&names);
        }
        if let Some(name) = input.text("token_type")? {
            let invalid = || Error::bad_request(format!("invalid 'token_type' value {name:?}"));
            let kept =
                if name.is_empty() { TokenType::Default } else { TokenType::parse(&name).ok_or_else(invalid)? };
            self.token_type = Kept(kept);
        }
        self.check()
    }

    /// Whether all of it can be, together.
    ///
    /// # Errors
    /// 400 if not.
    pub fn check(&self) -> Result<()> {
        let numbers = [self.num_uses, self.ttl, self.max_ttl, self.period];
        if numbers.iter().any(|number| *number < 0) {
            return Err(Error::bad_request("numbers of uses and times cannot be negative"));
        }
        if self.token_type.0 == TokenType::Batch && (self.num_uses != 0 || self.period != 0) {
            return Err(Error::bad_request(
                "'token_type' cannot be 'batch' when set to generate tokens with limited use count or a period",
            ));
        }
        Ok(())
    }

    /// As answers show it.
    pub fn shown(&self) -> Object {
        object! {
            "token_bound_cidrs": self.bound_cidrs.as_slice(),
            "token_explicit_max_ttl": self.explicit_max_ttl,
            "token_max_ttl": self.max_ttl,
            "token_no_default_policy": self.no_default_policy,
            "token_num_uses": self.num_uses,
            "token_period": self.period,
            "token_policies": self.policies.as_slice(),
            "token_strictly_bind_ip": self.strictly_bind_ip,
            "token_ttl": self.ttl,
            "token_type": self.token_type.0.name(),
        }
    }

    /// The token of a login from `remote`.
    pub fn auth(&self, remote: Option<std::net::IpAddr>) -> Auth {
        let mut bound_cidrs = self.bound_cidrs.clone();
        if self.strictly_bind_ip
            && let Some(remote) = remote
        {
            bound_cidrs = vec![remote.to_canonical().to_string()];
        }
        Auth {
            policies: self.policies.clone(),
            no_default_policy: self.no_default_policy,
            ttl: self.ttl,
            max_ttl: self.max_ttl,
            explicit_max_ttl: self.explicit_max_ttl,
            period: self.period,
            num_uses: self.num_uses,
            renewable: true,
            token_type: self.token_type.0,
            bound_cidrs,
            ..Auth::default()
        }
    }

    /// The same of a role whose policies may have changed since: the token keeps those that it has.
    #[must_use]
    pub fn renew_as_is(&self, auth: Auth) -> Auth {
        Auth { ttl: self.ttl, max_ttl: self.max_ttl, period: self.period, ..auth }
    }

    /// What a renewal follows: the role as it is now. The policies must be the same.
    ///
    /// # Errors
    /// 400 if they are not.
    pub fn renew(&self, mut auth: Auth) -> Result<Auth> {
        if policies(&self.policies, self.no_default_policy) != policies(&auth.policies, auth.no_default_policy) {
            return Err(Error::bad_request("policies have changed, not renewing"));
        }
        auth.ttl = self.ttl;
        auth.max_ttl = self.max_ttl;
        auth.period = self.period;
        Ok(auth)
    }
}

/// Policies in lower case, each once, sorted.
pub fn parse_policies(names: &[String]) -> Vec<String> {
    policies(names, true)
}

/// Whether all are networks.
///
/// # Errors
/// 400 if one is not.
pub fn check_cidrs(cidrs: &[String]) -> Result<()> {
    match cidrs.iter().find(|cidr| !is_cidr(cidr)) {
        Some(bad) => Err(Error::bad_request(format!("unable to convert {bad:?} to an IP address or a network"))),
        None => Ok(()),
    }
}
