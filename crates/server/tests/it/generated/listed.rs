//! The list of differences that stay, each with its reason. Lines that begin with `~` are for other seeds than the usual one; those that
//! begin with `?` may be met or not, as `OpenBao` orders its answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

const LIST: &str = include_str!("differences.txt");

/// Which requests are made: those that the list is of, or others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Requests {
    Usual,
    Others,
}

/// The list, and what was met.
pub struct Listed {
    requests: Requests,
    lines: Vec<Line>,
    /// What is not in the list: how often, and the first one.
    others: BTreeMap<String, (u64, String)>,
}

/// A difference that stays.
struct Line {
    request: &'static str,
    part: &'static str,
    /// Whether it has to be met with the usual seed.
    certain: bool,
    /// How often it was met.
    count: u64,
}

impl Listed {
    pub fn read(requests: Requests) -> Self {
        let mut lines = Vec::new();
        let mut explained = false;
        for line in LIST.lines() {
            match line.split_once(" :: ") {
                _ if line.starts_with('#') => explained = true,
                Some((request, part)) => {
                    assert!(explained, "no reason is given for {line}");
                    let (seldom, uncertain) = (request.strip_prefix('~'), request.strip_prefix('?'));
                    if seldom.is_none() || requests == Requests::Others {
                        let request = seldom.or(uncertain).unwrap_or(request).trim();
                        lines.push(Line { request, part: part.trim(), certain: uncertain.is_none(), count: 0 });
                    }
                }
                None => {
                    assert!(line.is_empty(), "not a difference: {line}");
                    explained = false;
                }
            }
        }
        Self { requests, lines, others: BTreeMap::new() }
    }

    /// A difference was met. Of those that are not in the list, those of a `group` with the same beginning are one.
    pub fn meet(&mut self, group: &str, request: &str, difference: &str, shown: &dyn Fn() -> String) {
        let found = self.lines.iter_mut().find(|line| glob(line.request, request) && glob(line.part, difference));
        if let Some(line) = found {
            line.count += 1;
            return;
        }
        let beginning: String = difference.chars().take(60).collect();
        let entry = self.others.entry(format!("{group} :: {beginning}"));
        entry.or_insert_with(|| (0, format!("{request} :: {difference}\n      {}", shown()))).0 += 1;
    }

    /// Fails for what is not in the list, and, where all was asked that the list is of, for what is in it and was not met.
    pub fn finish(self) {
        let all = self.requests == Requests::Usual;
        let mut failures = String::new();
        for (count, shown) in self.others.values() {
            let _ = writeln!(failures, "{count} times: {shown}");
        }
        for line in self.lines.iter().filter(|line| all && line.certain && line.count == 0) {
            let _ = writeln!(failures, "listed, but it does not occur: {} :: {}", line.request, line.part);
        }
        assert!(failures.is_empty(), "{} kinds of differences are not listed:\n{failures}", self.others.len());
    }
}

/// Whether `text` is like a pattern in which `*` stands for anything.
pub fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(part) = last.replace(part) {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
    }
    last.map_or(rest.is_empty(), |end| rest.ends_with(end))
}
