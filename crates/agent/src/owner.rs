//! Users and groups by name or number.

use std::fs;
use std::path::Path;

/// The number of a user or a group, by name or number. Names are looked up in the machine's own files, `passwd` and `group`.
///
/// # Errors
/// A name that is not there.
pub(crate) fn id(name: Option<&str>, database: &str) -> Result<Option<u32>, String> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    let entries = fs::read_to_string(Path::new("/etc").join(database)).unwrap_or_default();
    let entry =
        entries.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|entry| entry.first() == Some(&name));
    let number = entry.and_then(|entry| entry.get(2)?.parse().ok());
    number.map(Some).ok_or_else(|| format!("{name:?} is not in /etc/{database}"))
}
