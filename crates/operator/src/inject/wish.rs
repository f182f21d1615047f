//! What a pod asks for by its annotations.
//!
//! | | |
//! |---|---|
//! | `bulla.dev/env-classes` | the SecretProviderClasses, with commas between: each is mounted at `/run/secrets/bulla/CLASS` |
//! | `bulla.dev/env-map` | `NAME=CLASS/FILE`, with commas or white space between: these variables and no others |
//! | `bulla.dev/env-prefix` | what the names of the others begin with |
//! | `bulla.dev/env-containers` | the containers; else kubectl's default container, else the only one |
//! | `bulla.dev/env-on-change` | `restart`, or a signal: `HUP` |

use super::pod::Pod;

/// The most classes.
const MOST_CLASSES: usize = 16;
/// The most names that are given.
const MOST_NAMES: usize = 128;
/// What may happen when files change.
const CHANGES: [&str; 7] = ["restart", "HUP", "INT", "QUIT", "TERM", "USR1", "USR2"];

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The classes.
    pub classes: Vec<String>,
    /// Variables: the name, the class, the file.
    pub map: Vec<(String, String, String)>,
    /// What names begin with.
    pub prefix: String,
    /// The containers.
    pub containers: Vec<String>,
    /// What happens when files change.
    pub on_change: Option<String>,
}

impl Wish {
    /// Of this pod.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub fn of(pod: &Pod) -> Result<Self, String> {
        let annotations = pod.metadata.annotations.clone().unwrap_or_default();
        let classes: Vec<String> = words(annotations.classes.as_deref()).collect();
        if classes.is_empty() || classes.len() > MOST_CLASSES {
            return Err(format!(
                "the annotation bulla.dev/env-classes names {} SecretProviderClasses: name 1 to {MOST_CLASSES}, with commas between",
                classes.len()
            ));
        }
        for (place, class) in classes.iter().enumerate() {
            if !is_object(class) {
                return Err(format!("bulla.dev/env-classes: {} is no name of a SecretProviderClass", short(class)));
            }
            if classes[..place].contains(class) {
                return Err(format!("bulla.dev/env-classes names {class} twice"));
            }
        }
        let map: Vec<_> =
            words(annotations.map.as_deref()).map(|entry| mapping(&entry, &classes)).collect::<Result<_, _>>()?;
        if map.len() > MOST_NAMES {
            return Err(format!("bulla.dev/env-map has more than {MOST_NAMES} entries"));
        }
        let prefix = annotations.prefix.unwrap_or_default();
        if !prefix.bytes().all(is_of_names) || prefix.len() > 64 {
            return Err(format!("bulla.dev/env-prefix: {} is not letters, digits and _", short(&prefix)));
        }
        let on_change = annotations.on_change.filter(|change| !change.is_empty());
        if let Some(change) = &on_change
            && !CHANGES.contains(&change.as_str())
        {
            return Err(format!("bulla.dev/env-on-change: {} is none of {}", short(change), CHANGES.join(", ")));
        }
        let named: Vec<String> = words(annotations.containers.as_deref()).collect();
        let containers = containers(pod, named, annotations.default_container)?;
        Ok(Self { classes, map, prefix, containers, on_change })
    }
}

fn containers(pod: &Pod, named: Vec<String>, default: Option<String>) -> Result<Vec<String>, String> {
    let all = || pod.init_containers().iter().chain(pod.containers());
    let named = match (named.is_empty(), default, pod.containers()) {
        (false, ..) => named,
        (true, Some(default), _) => vec![default],
        (true, None, [only]) => vec![only.name.clone()],
        (true, None, _) => {
            return Err("it has several containers: name those that get the variables in the annotation bulla.dev/env-containers".to_owned());
        }
    };
    match named.iter().find(|name| !all().any(|container| container.name == **name)) {
        Some(missing) => Err(format!("it has no container {}, which bulla.dev/env-containers names", short(missing))),
        None => Ok(named),
    }
}

/// `NAME=CLASS/FILE`.
fn mapping(entry: &str, classes: &[String]) -> Result<(String, String, String), String> {
    let wrong = |why: &str| format!("bulla.dev/env-map: {}: {why}; write NAME=CLASS/FILE", short(entry));
    let (name, place) = entry.split_once('=').ok_or_else(|| wrong("there is no ="))?;
    let (class, file) = place.split_once('/').ok_or_else(|| wrong("there is no class before a /"))?;
    let is_name = |byte: u8| is_of_names(byte) || matches!(byte, b'.' | b'-');
    if name.is_empty() || name.len() > 256 || !name.bytes().all(is_name) || name.as_bytes()[0].is_ascii_digit() {
        return Err(wrong("the name is none of a variable"));
    }
    if !classes.iter().any(|known| known == class) {
        return Err(wrong("bulla.dev/env-classes does not name that class"));
    }
    let is_part = |part: &str| {
        !matches!(part, "" | "." | "..") && part.bytes().all(|byte| is_of_names(byte) || matches!(byte, b'.' | b'-'))
    };
    if file.len() > 512 || file.contains("..") || !file.split('/').all(is_part) {
        return Err(wrong("the file is none"));
    }
    Ok((name.to_owned(), class.to_owned(), file.to_owned()))
}

/// A text in quotation marks, the begin of it if it is long: a precision cuts no quoted text.
fn short(text: &str) -> String {
    format!("{:?}", text.chars().take(100).collect::<String>())
}

/// What stands between commas and white space.
fn words(text: Option<&str>) -> impl Iterator<Item = String> {
    let words = text.unwrap_or_default().split(|c: char| c == ',' || c.is_whitespace());
    words.filter(|word| !word.is_empty()).map(str::to_owned)
}

const fn is_of_names(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether objects may be called so (RFC 1123).
fn is_object(name: &str) -> bool {
    let is_right = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    name.len() <= 253
        && !name.contains("..")
        && bytes.iter().all(|&byte| is_right(byte))
        && is_end(bytes.first())
        && is_end(bytes.last())
}
