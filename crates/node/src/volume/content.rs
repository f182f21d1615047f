//! What a provider answered, checked: the files that may be written.
//!
//! Names come from people's classes and from providers, so nothing of them may leave the volume or stand in the way of how it is
//! written: relative, plain components only, none that begins with two dots in the first place, no file where another's folder is.
//! (CVE-2020-8567 and CVE-2020-8568 were providers that wrote to paths with `..`.)

use std::collections::BTreeMap;

use bulla_core::SecretBytes;

/// How much a volume may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All files together, in bytes.
    pub bytes: usize,
    /// How many files.
    pub files: usize,
}

impl Default for Limits {
    /// 16 MiB in 1 000 files.
    fn default() -> Self {
        Self { bytes: 16 << 20, files: 1000 }
    }
}

/// The longest path, in bytes, and how many folders deep it may go.
const LONGEST: usize = 1024;
const DEEPEST: usize = 8;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Who may do what, as `chmod` counts: at most 0777.
    pub mode: u32,
    /// What is in it.
    pub contents: SecretBytes,
}

/// The files of a volume by their paths, which are relative and plain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    files: BTreeMap<String, File>,
    bytes: usize,
}

/// Why a file may not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// Its path is not one inside of the volume.
    #[error("{path:?} is no path inside of a volume: {why}")]
    Path {
        /// The path, shortened.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Two files have one path, or one is where another's folder has to be.
    #[error("{0:?} stands in the way of another file")]
    Taken(String),
    /// Its mode has more than permissions.
    #[error("{path:?} has the mode {mode:o}: permissions alone (0777 at most) can be given")]
    Mode {
        /// The path.
        path: String,
        /// The mode.
        mode: u32,
    },
    /// There is more than a volume may have.
    #[error("the files of the volume are more than {0}")]
    TooMuch(String),
}

impl Content {
    /// Adds a file.
    ///
    /// # Errors
    /// [`ContentError`]; the content is as it was.
    pub fn add(&mut self, path: &str, file: File, limits: &Limits) -> Result<(), ContentError> {
        let path = checked(path)?;
        if file.mode & !0o777 != 0 {
            return Err(ContentError::Mode { path: path.to_owned(), mode: file.mode });
        }
        if self.is_taken(path) {
            return Err(ContentError::Taken(path.to_owned()));
        }
        if self.files.len() >= limits.files {
            return Err(ContentError::TooMuch(format!("{} files", limits.files)));
        }
        let bytes = self.bytes.saturating_add(file.contents.len());
        if bytes > limits.bytes {
            return Err(ContentError::TooMuch(format!("{} bytes together", limits.bytes)));
        }
        self.bytes = bytes;
        self.files.insert(path.to_owned(), file);
        Ok(())
    }

    /// The files by path, in order.
    pub fn files(&self) -> impl ExactSizeIterator<Item = (&str, &File)> {
        self.files.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// A file.
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.get(path)
    }

    /// All files together, in bytes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first parts of all paths: what is seen at the volume's top.
    pub fn tops(&self) -> impl Iterator<Item = &str> {
        let mut last = None;
        self.files.keys().filter_map(move |path| {
            let top = path.split('/').next().unwrap_or(path);
            (last != Some(top)).then(|| {
                last = Some(top);
                top
            })
        })
    }

    fn is_taken(&self, path: &str) -> bool {
        let is_file = |path: &str| self.files.contains_key(path);
        let above = path.match_indices('/').map(|(end, _)| &path[..end]);
        let below = format!("{path}/");
        let has_below = self.files.range(below.clone()..).next().is_some_and(|(other, _)| other.starts_with(&below));
        is_file(path) || has_below || above.into_iter().any(is_file)
    }
}

/// The path, if it may be written.
fn checked(path: &str) -> Result<&str, ContentError> {
    let shown = || path.chars().take(80).collect();
    let refuse = |why| Err(ContentError::Path { path: shown(), why });
    if path.is_empty() || path.len() > LONGEST {
        return refuse("it is empty or too long");
    }
    if path.starts_with("..") {
        return refuse("names that begin with two dots are the volume's own");
    }
    if path.contains('\0') {
        return refuse("it has a zero byte");
    }
    let mut depth = 0;
    for part in path.split('/') {
        depth += 1;
        match part {
            "" => return refuse("it is absolute, ends with a slash, or has two together"),
            "." | ".." => return refuse("it has a part of dots alone"),
            part if part.len() > 255 => return refuse("a part of it is too long for a file system"),
            _ => {}
        }
    }
    if depth > DEEPEST { refuse("it goes too deep") } else { Ok(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(contents: &str) -> File {
        File { mode: 0o644, contents: SecretBytes::from(contents.as_bytes()) }
    }

    fn add(content: &mut Content, path: &str) -> Result<(), ContentError> {
        content.add(path, file("x"), &Limits::default())
    }

    #[test]
    fn a_path_never_leaves_the_volume() {
        let long = "a/".repeat(600) + "a";
        let deep = "a/".repeat(8) + "a";
        let part = "a".repeat(256);
        for bad in [
            "", "/a", "a/", "a//b", "..", "../a", "..data", "..data/a", "a/../b", "a/..", "./a", "a/.", "a\0b", &long,
            &deep, &part,
        ] {
            assert!(matches!(add(&mut Content::default(), bad), Err(ContentError::Path { .. })), "{bad:?}");
        }
        for good in ["a", "a.b", ".hidden", "a/..b", "a/b/c", "ä/ö", "a b", "-"] {
            assert_eq!(add(&mut Content::default(), good), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn no_file_is_where_another_ones_folder_is() {
        let mut content = Content::default();
        add(&mut content, "a/b").unwrap();
        add(&mut content, "a/c").unwrap();
        add(&mut content, "a-b").unwrap();
        for taken in ["a", "a/b", "a/b/c"] {
            assert_eq!(add(&mut content, taken), Err(ContentError::Taken(taken.to_owned())));
        }
        assert_eq!(content.tops().collect::<Vec<_>>(), ["a-b", "a"]);
    }

    #[test]
    fn there_is_no_more_than_the_limits_allow() {
        let limits = Limits { bytes: 4, files: 2 };
        let mut content = Content::default();
        content.add("a", file("123"), &limits).unwrap();
        assert!(matches!(content.add("b", file("45"), &limits), Err(ContentError::TooMuch(_))));
        content.add("b", file("4"), &limits).unwrap();
        assert!(matches!(content.add("c", file(""), &limits), Err(ContentError::TooMuch(_))));
        assert_eq!((content.bytes(), content.files().len()), (4, 2));
        let suid = File { mode: 0o4755, ..file("") };
        assert!(matches!(Content::default().add("a", suid, &limits), Err(ContentError::Mode { mode: 0o4755, .. })));
    }
}
