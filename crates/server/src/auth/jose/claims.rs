//! What a token says, and whether that is what is expected (RFC 7519, section 4.1). Rules and texts are the peer's.

use super::TokenError;
use crate::json::{Object, Value};

/// What a token says.
#[derive(Clone, Debug)]
pub struct Claims(Object);

/// How much clocks may differ, in seconds; 0: as is usual, less: not at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leeways {
    /// How long a token lives that does not say it.
    pub expiration: i64,
    /// From when on it is good, before its end, if it says nothing else.
    pub not_before: i64,
    /// How much the clocks of the two sides may differ.
    pub clock_skew: i64,
}

/// Which times a token must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// None.
    Optional,
    /// One of `iat`, `nbf` and `exp`.
    One,
    /// An end.
    End,
}

/// What a token must say. What is empty is not looked at.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// Who issued it.
    pub issuer: &'a str,
    /// Of whom it speaks.
    pub subject: &'a str,
    /// For whom it is: one of these.
    pub audiences: &'a [String],
    /// How much clocks may differ.
    pub leeways: Leeways,
    /// Which times it must have.
    pub times: Times,
}

/// Seconds, where the leeways for an end and a beginning are 0.
const USUAL_LEEWAY: i64 = 150;
/// Seconds, where the leeway for clocks is 0.
const USUAL_SKEW: i64 = 60;

impl Claims {
    pub(super) const fn new(claims: Object) -> Self {
        Self(claims)
    }

    /// The claim of a name; of a name that begins with `/`, where that points to (RFC 6901).
    pub fn get(&self, name: &str) -> Option<&Value> {
        let Some(path) = name.strip_prefix('/') else { return self.plain(name) };
        let mut segments = path.split('/').map(|segment| segment.replace("~1", "/").replace("~0", "~"));
        let first = self.0.get(&segments.next()?)?;
        let found = segments.try_fold(first, |value, segment| match value {
            Value::Object(object) => object.get(&segment),
            Value::Array(values) => values.get(segment.parse::<usize>().ok()?),
            _ => None,
        });
        found.filter(|value| !value.is_null())
    }

    /// The claim of a name, whatever is in it.
    pub fn plain(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text; `None` if it is not there.
    ///
    /// # Errors
    /// [`TokenError::Claim`] for anything else.
    pub fn text(&self, name: &str) -> Result<Option<&str>, TokenError> {
        match self.plain(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(TokenError::Claim("a registered claim of the token is not a text")),
        }
    }

    /// For whom the token is.
    ///
    /// # Errors
    /// [`TokenError::Claim`] for what is neither a text nor a list of texts.
    pub fn audiences(&self) -> Result<Vec<String>, TokenError> {
        let bad = TokenError::Claim("expected string or array value to unmarshal to Audience");
        match self.plain("aud") {
            None => Ok(Vec::new()),
            Some(Value::String(one)) => Ok(vec![one.clone()]),
            Some(Value::Array(all)) => all.iter().map(|one| one.as_str().map(str::to_owned).ok_or(bad)).collect(),
            Some(_) => Err(bad),
        }
    }

    /// Whether it says what is expected, at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// [`TokenError::Claim`], with what is not.
    pub fn check(&self, expected: &Expected<'_>, now: i64) -> Result<(), TokenError> {
        let is = |wanted: &str, name: &str| -> Result<bool, TokenError> {
            let claim = self.text(name)?.unwrap_or_default();
            Ok(wanted.is_empty() || wanted == claim)
        };
        if !is(expected.issuer, "iss")? {
            return Err(TokenError::Claim("invalid issuer (iss) claim"));
        }
        if !is(expected.subject, "sub")? {
            return Err(TokenError::Claim("invalid subject (sub) claim"));
        }
        let audiences = self.audiences()?;
        if !expected.audiences.is_empty() && !expected.audiences.iter().any(|one| audiences.contains(one)) {
            return Err(TokenError::Claim(
                "invalid audience (aud) claim: audience claim does not match any expected audience",
            ));
        }
        self.check_times(expected, now)
    }

    fn check_times(&self, expected: &Expected<'_>, now: i64) -> Result<(), TokenError> {
        let (issued, begins, ends) = (self.seconds("iat")?, self.seconds("nbf")?, self.seconds("exp")?);
        if expected.times == Times::End && ends.is_none() {
            return Err(TokenError::Claim("no expiration time (exp) claim in token"));
        }
        if issued.is_none() && begins.is_none() && ends.is_none() {
            return match expected.times {
                Times::Optional => Ok(()),
                _ => Err(TokenError::Claim(
                    "no issued at (iat), not before (nbf), or expiration time (exp) claims in token",
                )),
            };
        }
        let leeway = |seconds: i64, usual: i64| if seconds == 0 { usual } else { seconds.max(0) };
        let started = issued.unwrap_or(0).max(begins.unwrap_or(0));
        let Leeways { expiration, not_before, clock_skew } = expected.leeways;
        let ends = ends.unwrap_or_else(|| started.saturating_add(leeway(expiration, USUAL_LEEWAY)));
        let begins = begins.or(issued).unwrap_or_else(|| ends.saturating_sub(leeway(not_before, USUAL_LEEWAY)));
        let skew = leeway(clock_skew, USUAL_SKEW);
        if now.saturating_add(skew) < begins {
            return Err(TokenError::Claim("invalid not before (nbf) claim: token not yet valid"));
        }
        if now.saturating_sub(skew) > ends {
            return Err(TokenError::Claim("invalid expiration time (exp) claim: token is expired"));
        }
        if issued.is_some_and(|issued| now.saturating_add(skew) < issued) {
            return Err(TokenError::Claim("invalid issued at (iat) claim: token issued in the future"));
        }
        Ok(())
    }

    /// A time; 0 is none.
    fn seconds(&self, name: &str) -> Result<Option<i64>, TokenError> {
        let bad = TokenError::Claim("expected number value to unmarshal NumericDate");
        let seconds = match self.plain(name) {
            None => return Ok(None),
            Some(Value::Number(digits)) => match digits.parse::<i64>() {
                Ok(seconds) => seconds,
                Err(_) => whole(digits.parse().map_err(|_| bad)?),
            },
            Some(_) => return Err(bad),
        };
        Ok(Some(seconds).filter(|seconds| *seconds != 0))
    }
}

/// Without what is behind the point; what is too large is as large as can be.
#[allow(
    clippy::cast_possible_truncation,
    reason = "this is what it is for, and what is out of range is the nearest that is in it"
)]
const fn whole(seconds: f64) -> i64 {
    seconds as i64
}
