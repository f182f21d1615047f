//! What a class asks the provider `sealed` for: the parameter `objects`, YAML that people write. Whoever may write a class decides what is in it,
//! so what it may cost is bounded.

use std::collections::{BTreeMap, BTreeSet};

use bulla_core::Shown;
use serde::Deserialize;

use super::MOST_OBJECTS;

/// The parameter.
pub(super) const OBJECTS: &str = "objects";
/// The longest text of it, in bytes.
const LONGEST: usize = 64 << 10;
/// The most items: files are 1000 at most.
const MOST_ITEMS: usize = 1000;

/// What the class asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// Of which object.
    pub(super) object: Object,
    /// Which of its values; all without it.
    pub(super) key: Option<String>,
    /// As this file, or in this folder.
    pub(super) path: Option<String>,
    /// With this mode.
    pub(super) file_permission: Option<String>,
}

/// An object, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Object {
    /// A `SealedSecret`.
    Sealed(String),
    /// A `ConfigMap` with sops files.
    Map(String),
}

/// As people write it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(default)]
    sealed_secret: Option<String>,
    #[serde(default)]
    config_map: Option<String>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    file_permission: Option<String>,
}

/// What the class asks for.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(parameters: &BTreeMap<String, String>) -> Result<Vec<Item>, String> {
    if let Some(unknown) = parameters.keys().find(|key| *key != OBJECTS) {
        return Err(format!("unknown parameter {:?}; there is {OBJECTS}", Shown(unknown, 100)));
    }
    let text = parameters.get(OBJECTS).map(String::as_str).unwrap_or_default();
    if text.len() > LONGEST {
        return Err(format!("{OBJECTS} has {} bytes of at most {LONGEST}", text.len()));
    }
    let items: Vec<Written> = serde_saphyr::from_str(text)
        .map_err(|problem| format!("{OBJECTS} is not a list of objects: {:.300}", problem.to_string()))?;
    let item = |Written { sealed_secret, config_map, key, path, file_permission }| {
        let object = match (sealed_secret, config_map) {
            (Some(name), None) => Object::Sealed(name),
            (None, Some(name)) => Object::Map(name),
            _ => return Err(format!("each of {OBJECTS} must name a sealedSecret or a configMap, and one of them")),
        };
        Ok(Item { object, key, path, file_permission })
    };
    let items = items.into_iter().map(item).collect::<Result<Vec<_>, _>>()?;
    let names: BTreeSet<&Object> = items.iter().map(|item| &item.object).collect();
    if names.is_empty() || names.len() > MOST_OBJECTS {
        return Err(format!("{OBJECTS} names {} objects; it must be 1 to {MOST_OBJECTS}", names.len()));
    }
    if items.len() > MOST_ITEMS {
        return Err(format!("{OBJECTS} has {} items of at most {MOST_ITEMS}", items.len()));
    }
    Ok(items)
}

/// Permission bits in octal.
///
/// # Errors
/// If they are none.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "filePermission must be permission bits in octal, like \"0400\"".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Item>, String> {
        super::read(&BTreeMap::from([(OBJECTS.to_owned(), text.to_owned())]))
    }

    #[test]
    fn objects_are_a_list_of_what_is_wanted() {
        let text =
            "- sealedSecret: db\n- sealedSecret: api\n  key: token\n  path: api/token\n  filePermission: \"0400\"\n";
        let items = read(text).unwrap();
        let object = Object::Sealed("db".to_owned());
        let plain = Item { object, key: None, path: None, file_permission: None };
        assert_eq!(items[0], plain);
        assert_eq!((items[1].path.as_deref(), items[1].file_permission.as_deref()), (Some("api/token"), Some("0400")));
        assert_eq!(read("- configMap: app").unwrap()[0].object, Object::Map("app".to_owned()));
        // Unquoted, as people write it.
        assert_eq!(
            read("- {sealedSecret: a, filePermission: 0400}").unwrap()[0].file_permission.as_deref(),
            Some("0400")
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, says) in [
            ("", "not a list"),
            ("db", "not a list"),
            ("[]", "names 0"),
            ("- name: db", "not a list"),
            ("- {sealedSecret: a, keys: b}", "not a list"),
            ("- {key: b}", "must name"),
            ("- {sealedSecret: a, configMap: a}", "and one of them"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says) || error.contains("names 0"), "{text}: {error}");
        }
        assert!(read(&"- sealedSecret: a\n".repeat(10_000)).unwrap_err().contains("bytes"));
        let many: String = (0..100).map(|n| format!("- sealedSecret: a{n}\n")).collect();
        assert!(read(&many).unwrap_err().contains("names 100"));
        let items = "- sealedSecret: a\n".repeat(MOST_ITEMS + 1);
        assert!(read(&items).unwrap_err().contains("1001 items"));
        let unknown = super::read(&BTreeMap::from([("roleName".to_owned(), "x".to_owned())])).unwrap_err();
        assert!(unknown.contains("roleName"), "{unknown}");
        for wrong in ["rw", "1777", "-1", "9"] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
        assert_eq!(mode("0400").unwrap(), 0o400);
    }

    #[test]
    fn bombs_do_not_go_off() {
        // Each line ten of the line before: 10^9 items at the last.
        let mut laughs = "- &a0 {sealedSecret: x}\n".to_owned();
        for n in 1..10 {
            let ten = vec![format!("*a{}", n - 1); 10].join(", ");
            laughs += &format!("- &a{n} [{ten}]\n");
        }
        let aliases = "- &a {sealedSecret: x}\n".to_owned() + &"- *a\n".repeat(12_000);
        let merged = "- &a {sealedSecret: x}\n".to_owned() + &"- {<<: *a}\n".repeat(5000);
        let text = format!("- &a {{sealedSecret: {}}}\n", "x".repeat(30_000)) + &"- *a\n".repeat(6000);
        for bomb in [
            laughs,
            aliases,
            merged,
            text,
            "[".repeat(LONGEST),
            "- ".repeat(LONGEST / 2),
            "{a: ".repeat(LONGEST / 4),
            "&a ".repeat(20_000),
            "!!".repeat(30_000),
        ] {
            assert!(bomb.len() <= LONGEST);
            let begun = std::time::Instant::now();
            let error = read(&bomb).unwrap_err();
            assert!(error.chars().count() < 500, "{error}");
            assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:.20} took {:?}", bomb, begun.elapsed());
        }
    }
}
