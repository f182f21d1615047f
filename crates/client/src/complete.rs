//! Completion as shells ask the peer for it: `complete -C vault vault`. The shell runs the program with the line in `COMP_LINE`, and reads the
//! words that may come next, one a line. No server is asked.

use std::ffi::OsString;

use crate::command;
use crate::help::children;

/// The words that may come next in a line.
pub(crate) fn answer(line: &str) -> String {
    let mut words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let begun = if line.ends_with(char::is_whitespace) { "" } else { words.pop().unwrap_or_default() };
    let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
    let mut names: Vec<String> = if let Some((found, _)) = command::find(&arguments) {
        found.known_flags().concat().iter().map(|flag| format!("-{}", flag.name)).collect()
    } else {
        let group = command::group(&words);
        let is_known = group.split_whitespace().count() == words.len();
        children(&group).keys().filter(|_| is_known).map(|&name| name.to_owned()).collect()
    };
    names.retain(|name| name.starts_with(begun));
    names.iter().map(|name| format!("{name}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_flags_are_completed() {
        assert_eq!(answer("vault kv metadata "), "delete\nget\npatch\nput\n");
        assert_eq!(answer("vault stat"), "status\n");
        assert_eq!(answer("bao kv get -ver"), "-version\n");
        assert_eq!(answer("bao nope "), "");
    }
}
