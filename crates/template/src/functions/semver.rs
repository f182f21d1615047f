//! sprig's versions and constraints on them: those of the `semver` library, which also reads `v1.2`.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::{Function, Param};
use crate::error::Failure;
use crate::value::Value;

pub(super) fn add(all: &mut Vec<Function>) {
    let f = Function::plain;
    all.extend([
        f("semver", &[Param::Text], |meter, args| {
            meter.memory(args.text(0).len() * 3)?;
            let version = args.utf8(0).ok().and_then(Version::parse).ok_or("Invalid Semantic Version")?;
            Ok(Value::Version(Arc::new(version)))
        }),
        f("semverCompare", &[Param::Text, Param::Text], |meter, args| {
            meter.memory(args.text(0).len() * 8 + args.text(1).len() * 3)?;
            let constraints = args.utf8(0).ok().and_then(parse_constraints).ok_or("improper constraint")?;
            let version = args.utf8(1).ok().and_then(Version::parse).ok_or("Invalid Semantic Version")?;
            let met = constraints.iter().any(|all| all.iter().all(|constraint| constraint.allows(&version)));
            Ok::<_, Failure>(met.into())
        }),
    ]);
}

/// A version.
#[derive(PartialEq, Eq)]
pub struct Version {
    pub(crate) major: u64,
    pub(crate) minor: u64,
    pub(crate) patch: u64,
    pub(crate) pre: String,
    pub(crate) metadata: String,
    pub(crate) original: String,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let pieces = Pieces::read(text, |byte| byte.is_ascii_digit())?;
        if !pieces.rest.is_empty() {
            return None;
        }
        Self::of(&pieces, text)
    }

    fn of(pieces: &Pieces<'_>, original: &str) -> Option<Self> {
        // Numbers in a pre-release do not start with 0.
        let leading_zero = |part: &str| {
            part.len() > 1 && part.starts_with('0') && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        if pieces.pre.split('.').any(leading_zero) {
            return None;
        }
        let number = |part: Option<&str>| part.map_or(Some(0), |part| part.parse().ok());
        Some(Self {
            major: number(pieces.numbers[0])?,
            minor: number(pieces.numbers[1])?,
            patch: number(pieces.numbers[2])?,
            pre: pieces.pre.to_owned(),
            metadata: pieces.metadata.to_owned(),
            original: original.to_owned(),
        })
    }

    /// By the rules of semver.org: metadata do not count.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let numbers = |version: &Self| (version.major, version.minor, version.patch);
        numbers(self).cmp(&numbers(other)).then_with(|| compare_pre(&self.pre, &other.pre))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre)?;
        }
        if !self.metadata.is_empty() {
            write!(f, "+{}", self.metadata)?;
        }
        Ok(())
    }
}

fn compare_pre(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => a.cmp(b),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// The parts of a version as they are written.
struct Pieces<'a> {
    numbers: [Option<&'a str>; 3],
    pre: &'a str,
    metadata: &'a str,
    rest: &'a str,
}

impl<'a> Pieces<'a> {
    /// Reads as much as belongs to a version whose numbers are of these bytes.
    fn read(text: &'a str, number: impl Fn(u8) -> bool) -> Option<Self> {
        let mut rest = text.strip_prefix('v').unwrap_or(text);
        let run = |text: &'a str| {
            let len = text.bytes().take_while(|&byte| number(byte)).count();
            (len > 0).then(|| text.split_at(len))
        };
        let (major, after) = run(rest)?;
        let mut numbers = [Some(major), None, None];
        rest = after;
        for slot in &mut numbers[1..] {
            let Some((number, after)) = rest.strip_prefix('.').and_then(run) else { break };
            *slot = Some(number);
            rest = after;
        }
        let (pre, rest) = identifiers(rest, '-');
        let (metadata, rest) = identifiers(rest, '+');
        Some(Self { numbers, pre, metadata, rest })
    }
}

/// After `mark`: letters, digits and hyphens, in parts between points.
fn identifiers(text: &str, mark: char) -> (&str, &str) {
    let Some(after) = text.strip_prefix(mark) else { return ("", text) };
    let part = |text: &str| text.bytes().take_while(|&byte| byte.is_ascii_alphanumeric() || byte == b'-').count();
    let mut len = part(after);
    if len == 0 {
        return ("", text);
    }
    while after[len..].starts_with('.') {
        let more = part(&after[len + 1..]);
        if more == 0 {
            break;
        }
        len += 1 + more;
    }
    after.split_at(len)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    Tilde,
    Caret,
}

/// One comparison. Where the minor or patch number is left out or an `x`, it stands for all.
struct Constraint {
    operator: Operator,
    version: Version,
    any_minor: bool,
    any_patch: bool,
    dirty: bool,
}

const OPERATORS: [(&str, Operator); 11] = [
    ("!=", Operator::NotEqual),
    (">=", Operator::GreaterEqual),
    ("=>", Operator::GreaterEqual),
    ("<=", Operator::LessEqual),
    ("=<", Operator::LessEqual),
    ("~>", Operator::Tilde),
    ("=", Operator::Equal),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("~", Operator::Tilde),
    ("^", Operator::Caret),
];

/// Constraints that must all hold, in lists of which one must.
fn parse_constraints(text: &str) -> Option<Vec<Vec<Constraint>>> {
    text.split("||").map(parse_all).collect()
}

/// Constraints with spaces or commas between; `1.2 - 3.4` is a range.
fn parse_all(text: &str) -> Option<Vec<Constraint>> {
    let mut rest = text.trim_start();
    let mut all = Vec::new();
    loop {
        let (operator, after) = OPERATORS
            .iter()
            .find_map(|(text, operator)| rest.strip_prefix(text).map(|after| (*operator, after)))
            .unwrap_or((Operator::Equal, rest));
        let written = !std::ptr::eq(after, rest);
        let (mut constraint, after) = parse_one(operator, after.trim_start())?;
        let range = after.trim_start();
        if !written && range.len() < after.len() && range.starts_with("- ") {
            let (end, after) = parse_one(Operator::LessEqual, range[1..].trim_start())?;
            constraint.operator = Operator::GreaterEqual;
            all.extend([constraint, end]);
            rest = after;
        } else {
            all.push(constraint);
            rest = after;
        }
        let next = rest.trim_start();
        if next.is_empty() {
            return Some(all);
        }
        if let Some(after) = next.strip_prefix(',') {
            rest = after.trim_start();
        } else if next.len() < rest.len() {
            rest = next;
        } else {
            return None;
        }
    }
}

fn parse_one(operator: Operator, text: &str) -> Option<(Constraint, &str)> {
    let is_x = |part: &str| matches!(part, "x" | "X" | "*");
    let mut pieces = Pieces::read(text, |byte| byte.is_ascii_digit() || b"xX*".contains(&byte))?;
    let any = pieces.numbers.map(|part| part.is_none_or(is_x));
    let (any_minor, any_patch) = (!any[0] && any[1], !any[0] && !any[1] && any[2]);
    if let Some(first) = any.iter().position(|&any| any) {
        pieces.numbers[first..].fill(None);
    }
    let version = Version::of(&pieces, "")?;
    let constraint = Constraint { operator, version, any_minor, any_patch, dirty: any.contains(&true) };
    Some((constraint, pieces.rest))
}

impl Constraint {
    fn allows(&self, version: &Version) -> bool {
        let wanted = &self.version;
        // Who does not ask for pre-releases gets none.
        let pre_only = !version.pre.is_empty() && wanted.pre.is_empty();
        let order = version.compare(wanted);
        match self.operator {
            Operator::NotEqual => self.differs(version, pre_only),
            _ if pre_only => false,
            Operator::Equal if self.dirty => self.tilde(version),
            Operator::Equal => order.is_eq(),
            Operator::Greater => match version.major.cmp(&wanted.major) {
                _ if !self.dirty => order.is_gt(),
                Ordering::Greater => true,
                Ordering::Less => false,
                Ordering::Equal if self.any_minor => false,
                Ordering::Equal if self.any_patch => version.minor > wanted.minor,
                Ordering::Equal => order.is_gt(),
            },
            Operator::Less => order.is_lt(),
            Operator::GreaterEqual => order.is_ge(),
            Operator::LessEqual if !self.dirty => order.is_le(),
            Operator::LessEqual => {
                let later_minor = version.major == wanted.major && version.minor > wanted.minor && !self.any_minor;
                version.major <= wanted.major && !later_minor
            }
            Operator::Tilde => self.tilde(version),
            Operator::Caret => order.is_ge() && self.caret(version),
        }
    }

    fn differs(&self, version: &Version, pre_only: bool) -> bool {
        let wanted = &self.version;
        if self.dirty {
            if pre_only {
                return false;
            }
            if version.major != wanted.major {
                return true;
            }
            if version.minor != wanted.minor && !self.any_minor {
                return true;
            }
            if self.any_minor {
                return false;
            }
            if version.patch != wanted.patch && !self.any_patch {
                return true;
            }
            if self.any_patch {
                let pre = !version.pre.is_empty() || !wanted.pre.is_empty();
                return pre && compare_pre(&version.pre, &wanted.pre).is_ne();
            }
        }
        version.compare(wanted).is_ne()
    }

    fn tilde(&self, version: &Version) -> bool {
        let wanted = &self.version;
        if version.compare(wanted).is_lt() {
            return false;
        }
        let zero = (wanted.major, wanted.minor, wanted.patch) == (0, 0, 0);
        if zero && !self.any_minor && !self.any_patch {
            return true;
        }
        version.major == wanted.major && (version.minor == wanted.minor || self.any_minor)
    }

    /// Of a version that is not less.
    fn caret(&self, version: &Version) -> bool {
        let wanted = &self.version;
        if wanted.major > 0 || self.any_minor {
            return version.major == wanted.major;
        }
        if version.major > 0 {
            return false;
        }
        if wanted.minor > 0 || self.any_patch {
            return version.minor == wanted.minor;
        }
        version.minor == 0 && version.patch == wanted.patch
    }
}
