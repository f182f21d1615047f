//! Files of mounted volumes as environment variables.
//!
//! **A volume of Kubernetes** (of a CSI driver, a Secret, a ConfigMap) has a link `..data` to the folder of its current version. All of
//! it is read from one version: what changes meanwhile is read again from the start. Any other folder is read as it is.
//!
//! **Names.** A file's path in its folder becomes a variable's name: ASCII letters in upper case, `-`, `.` and `/` as `_`, the prefix before it. The
//! result must be letters, digits and `_`, and begin with no digit. Two files that become one name are an error, and so is a name that
//! decides what code a program runs ([`is_of_loaders`]): whoever may only choose a file's name must not choose that. A mapping gives a file any name
//! that Kubernetes takes, those included.
//!
//! **Values.** One line break at the end goes (`\n` or `\r\n`), as editors and `echo` leave it there. A NUL byte is an error. Linux takes 128 KiB
//! for one variable with its name; here all of them may have 1 MiB, in 1000 files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use bulla_core::{SecretBytes, file};
use rustix::fs::OFlags;

use super::environment::{Change, Variable};
use crate::error::Failure;
use crate::exit::Code;

/// The link to a volume's current version.
const CURRENT: &str = "..data";
/// The longest variable that Linux takes, with its name, `=` and the NUL at its end (`MAX_ARG_STRLEN`).
const LONGEST: usize = 128 << 10;
/// The most that all values may have together.
const MOST_BYTES: usize = 1 << 20;
/// The most files.
const MOST_FILES: usize = 1000;
/// How deep folders may lie in each other.
const DEEPEST: usize = 8;
/// How often a volume is read again that changes while it is read.
const TRIES: u32 = 5;

/// What becomes of files' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Upper case, `_` for what no name has.
    Upper,
    /// Nothing.
    AsIs,
}

/// A file under a name that somebody chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    name: String,
    file: PathBuf,
}

/// Where variables come from, and what they are called.
#[derive(Clone, Debug)]
pub(crate) struct Mounted {
    /// The folders.
    pub(crate) folders: Vec<PathBuf>,
    /// What names begin with that files' names become.
    pub(crate) prefix: String,
    /// Files under names of their own.
    pub(crate) mappings: Vec<Mapping>,
    /// Whether the others are taken too, if there are mappings.
    pub(crate) all: bool,
    /// What becomes of files' names.
    pub(crate) names: Names,
    /// Whether the line break at the end stays.
    pub(crate) exact: bool,
}

impl Mapping {
    /// From `NAME=FILE`, the file by its path in one of the folders, or with the folder before it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, file) = text.split_once('=').ok_or("must be NAME=FILE")?;
        if name.is_empty() || !name.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(format!("{name:?} cannot be a variable's name: printable ASCII, and not nothing"));
        }
        let path = Path::new(file);
        let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::RootDir);
        if file.is_empty() || file.contains("..") || !path.components().all(is_plain) {
            return Err(format!("{file:?} is no path of a file in a folder"));
        }
        Ok(Self { name: name.to_owned(), file: path.to_owned() })
    }
}

/// A version of a folder: what its link said.
pub(crate) type Version = Option<PathBuf>;

impl Mounted {
    /// The variables, in the order of their names.
    ///
    /// # Errors
    /// A folder that is not there ([`Code::NoFile`]) or cannot be read ([`Code::CouldNotReadInput`]); a file that cannot be a variable; no file at all.
    pub(crate) fn variables(&self) -> Result<Vec<Variable>, Failure> {
        let mut found = BTreeMap::<String, (PathBuf, SecretBytes)>::new();
        let mut used = vec![0_usize; self.mappings.len()];
        let mut bytes = 0;
        for folder in &self.folders {
            for (path, contents) in self.read(folder, &mut used)? {
                bytes += contents.len();
                if bytes > MOST_BYTES {
                    return Err(too_much(folder, &format!("more than {MOST_BYTES} bytes")));
                }
                for name in self.names_of(folder, &path)? {
                    let shown = folder.join(&path);
                    let value = checked(&name, &shown, &contents, self.exact)?;
                    if let Some((other, _)) = found.insert(name.clone(), (shown.clone(), value)) {
                        self.check_mappings(&used, Found::Some)?;
                        return Err(Failure::generic(format!(
                            "{} and {} would both be the variable {name}",
                            other.display(),
                            shown.display()
                        ))
                        .with_hint("give one of them a name of its own: --map NAME=FILE"));
                    }
                }
            }
        }
        self.check_mappings(&used, Found::All)?;
        if found.is_empty() {
            return Err(Failure::generic(format!("there is no file in {}", self.shown()))
                .with_hint("is the volume mounted in this container?"));
        }
        let variable = |(name, (_, value))| Variable { name, change: Change::Set(value) };
        Ok(found.into_iter().map(variable).collect())
    }

    /// The versions of the folders, to be compared with later ones.
    pub(crate) fn versions(&self) -> Vec<Version> {
        self.folders.iter().map(|folder| fs::read_link(folder.join(CURRENT)).ok()).collect()
    }

    /// The folders, for messages.
    pub(crate) fn shown(&self) -> String {
        self.folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
    }

    /// The files of one version of a folder that are wanted, by their paths in it.
    fn read(&self, folder: &Path, used: &mut [usize]) -> Result<Vec<(PathBuf, SecretBytes)>, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let version = current(folder)?;
            let from = version.as_ref().map_or_else(|| folder.to_owned(), |version| folder.join(version));
            let read = self.read_version(folder, &from);
            if current(folder)? == version {
                let (files, mappings) = read?;
                for mapping in mappings {
                    used[mapping] += 1;
                }
                return Ok(files);
            }
            if tries == TRIES {
                return Err(Failure::new(
                    Code::CouldNotReadInput,
                    format!("{} changes all the time", folder.display()),
                ));
            }
        }
    }

    /// The wanted files that are in `from`, and which mappings found theirs.
    #[allow(clippy::type_complexity, reason = "named once, taken apart at once")]
    fn read_version(&self, folder: &Path, from: &Path) -> Result<(Vec<(PathBuf, SecretBytes)>, Vec<usize>), Failure> {
        let mut paths = Vec::new();
        list(from, Path::new(""), 0, &mut paths)?;
        paths.sort();
        let (mut files, mut mappings) = (Vec::new(), Vec::new());
        for path in paths {
            let by: Vec<usize> =
                (0..self.mappings.len()).filter(|&number| self.mappings[number].is_of(folder, &path)).collect();
            if by.is_empty() && !self.takes_all() {
                continue;
            }
            mappings.extend(by);
            let contents = open(&from.join(&path), &folder.join(&path))?;
            files.push((path, contents));
        }
        Ok((files, mappings))
    }

    const fn takes_all(&self) -> bool {
        self.all || self.mappings.is_empty()
    }

    /// The names that a file's value gets.
    fn names_of(&self, folder: &Path, path: &Path) -> Result<Vec<String>, Failure> {
        let chosen = self.mappings.iter().filter(|mapping| mapping.is_of(folder, path));
        let chosen: Vec<String> = chosen.map(|mapping| mapping.name.clone()).collect();
        if !chosen.is_empty() {
            return Ok(chosen);
        }
        let refused = |why: String| {
            Failure::generic(format!("{} cannot be a variable: {why}", folder.join(path).display()))
                .with_hint("give it a name: --map NAME=FILE, and --all for the other files; or leave it out: --map for those that you want")
        };
        let text = path.to_str().ok_or_else(|| refused("its name is not UTF-8".to_owned()))?;
        let name = match self.names {
            Names::Upper => text.to_ascii_uppercase().replace(['-', '.', '/'], "_"),
            Names::AsIs => text.to_owned(),
        };
        let name = format!("{}{name}", self.prefix);
        let is_right = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !name.bytes().all(is_right) || name.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(refused(format!("{name:?} is not letters, digits and _, with no digit first")));
        }
        if is_of_loaders(&name) {
            return Err(refused(format!("{name} decides what code programs run")));
        }
        Ok(vec![name])
    }

    /// That no mapping found more than one file, and, once all are found, that each found one.
    fn check_mappings(&self, used: &[usize], found: Found) -> Result<(), Failure> {
        for (mapping, used) in self.mappings.iter().zip(used) {
            let map = format!("--map {}={}", mapping.name, mapping.file.display());
            if *used == 0 && found == Found::All {
                let message = format!("{map}: there is no such file in {}", self.shown());
                return Err(Failure::new(Code::NoFile, message));
            }
            if *used > 1 {
                return Err(Failure::generic(format!("{map}: more than one folder has it"))
                    .with_hint("write the folder before it"));
            }
        }
        Ok(())
    }
}

/// Which files are found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Those so far.
    Some,
    /// All of them.
    All,
}

impl Mapping {
    fn is_of(&self, folder: &Path, path: &Path) -> bool {
        self.file == path || (self.file.is_absolute() && self.file.strip_prefix(folder) == Ok(path))
    }
}

/// Variables by which loaders, shells and interpreters are told what to run before the program.
fn is_of_loaders(name: &str) -> bool {
    const NAMES: [&str; 38] = [
        "BASH_ENV",
        "CDPATH",
        "CLASSPATH",
        "DOTNET_ADDITIONAL_DEPS",
        "DOTNET_SHARED_STORE",
        "DOTNET_STARTUP_HOOKS",
        "ENV",
        "GCONV_PATH",
        "GIT_ASKPASS",
        "GIT_EDITOR",
        "GIT_EXTERNAL_DIFF",
        "GIT_PAGER",
        "GIT_PROXY_COMMAND",
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "GLIBC_TUNABLES",
        "IFS",
        "JAVA_TOOL_OPTIONS",
        "JDK_JAVA_OPTIONS",
        "NODE_OPTIONS",
        "NODE_PATH",
        "OPENSSL_CONF",
        "OPENSSL_ENGINES",
        "OPENSSL_MODULES",
        "PATH",
        "PERL5DB",
        "PERL5LIB",
        "PERL5OPT",
        "PERLLIB",
        "PHPRC",
        "PHP_INI_SCAN_DIR",
        "PROMPT_COMMAND",
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "RUBYLIB",
        "RUBYOPT",
        "_JAVA_OPTIONS",
    ];
    const BEGINS: [&str; 5] = ["COR_", "CORECLR_", "GIT_CONFIG", "LD_", "LUA_"];
    BEGINS.iter().any(|begin| name.starts_with(begin)) || NAMES.contains(&name)
}

/// The version of a folder that is current; `None` of one that has no versions.
fn current(folder: &Path) -> Result<Version, Failure> {
    match fs::read_link(folder.join(CURRENT)) {
        Ok(to) if to.file_name() == Some(to.as_os_str()) => Ok(Some(to)),
        Ok(to) => Err(Failure::new(
            Code::CouldNotReadInput,
            format!("{}: its link {CURRENT} leads elsewhere: {}", folder.display(), to.display()),
        )),
        // Not there, or not a link.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => Ok(None),
        Err(error) => Err(unreadable(folder, &error)),
    }
}

/// The files below a folder, by their paths in it. What begins with two dots is the volume's own.
fn list(root: &Path, below: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let folder = root.join(below);
    if depth > DEEPEST {
        return Err(too_much(&folder, &format!("folders more than {DEEPEST} deep")));
    }
    for entry in fs::read_dir(&folder).map_err(|error| unreadable(&folder, &error))? {
        let name = entry.map_err(|error| unreadable(&folder, &error))?.file_name();
        if name.as_encoded_bytes().starts_with(b"..") {
            continue;
        }
        let path = below.join(&name);
        let metadata = fs::metadata(root.join(&path)).map_err(|error| unreadable(&root.join(&path), &error))?;
        if metadata.is_dir() {
            list(root, &path, depth + 1, files)?;
        } else {
            files.push(path);
        }
        if files.len() > MOST_FILES {
            return Err(too_much(&folder, &format!("more than {MOST_FILES} files")));
        }
    }
    Ok(())
}

/// The contents of a file. A pipe would keep the program waiting for ever: none is opened for long.
fn open(path: &Path, shown: &Path) -> Result<SecretBytes, Failure> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
        .map_err(|error| unreadable(shown, &error))?;
    let metadata = file.metadata().map_err(|error| unreadable(shown, &error))?;
    if !metadata.is_file() {
        return Err(Failure::generic(format!("{} is not a regular file", shown.display())));
    }
    file::read_from(file, shown, metadata.len(), LONGEST as u64)
        .map_err(|error| Failure::new(Code::CouldNotReadInput, error.to_string()))
}

/// The value that a file stands for.
fn checked(name: &str, file: &Path, contents: &SecretBytes, exact: bool) -> Result<SecretBytes, Failure> {
    let bytes = contents.expose();
    let line = bytes.strip_suffix(b"\n").map_or(bytes, |line| line.strip_suffix(b"\r").unwrap_or(line));
    let value = if exact { bytes } else { line };
    if value.contains(&0) {
        return Err(Failure::generic(format!(
            "{}: holds a NUL byte, which no environment variable can",
            file.display()
        )));
    }
    if name.len() + value.len() + 2 > LONGEST {
        return Err(Failure::generic(format!(
            "{}: is longer than a variable can be, {LONGEST} bytes with its name",
            file.display()
        ))
        .with_hint("let the program read the file"));
    }
    Ok(SecretBytes::from(value))
}

fn too_much(folder: &Path, what: &str) -> Failure {
    Failure::generic(format!("{}: {what}", folder.display())).with_hint("name those that you want: --map NAME=FILE")
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let code = if error.kind() == io::ErrorKind::NotFound { Code::NoFile } else { Code::CouldNotReadInput };
    let name: &OsStr = path.as_os_str();
    Failure::new(code, format!("cannot read {}: {error}", name.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn mounted(prefix: &str, names: Names) -> Mounted {
        let (folders, mappings) = (vec!["/s".into()], Vec::new());
        Mounted { folders, prefix: prefix.to_owned(), mappings, all: false, names, exact: false }
    }

    fn name(prefix: &str, names: Names, path: &str) -> Result<String, String> {
        let names = mounted(prefix, names).names_of(Path::new("/s"), Path::new(path));
        names.map(|names| names[0].clone()).map_err(|failure| failure.message)
    }

    #[test]
    fn a_file_s_name_becomes_a_variable_s() {
        for (path, expected) in
            [("password", "PASSWORD"), ("db-password", "DB_PASSWORD"), ("api/token.txt", "API_TOKEN_TXT"), (".x", "_X")]
        {
            assert_eq!(name("", Names::Upper, path).unwrap(), expected);
        }
        assert_eq!(name("db_", Names::Upper, "user").unwrap(), "db_USER");
        assert_eq!(name("", Names::AsIs, "http_proxy").unwrap(), "http_proxy");
        assert_eq!(name("N", Names::Upper, "2fa").unwrap(), "N2FA");
    }

    #[test]
    fn a_name_that_cannot_be_one_or_decides_what_runs_is_refused() {
        for path in ["2fa", "a b", "a=b", "é", "ld-preload", "path", "node.options", "ld.x"] {
            assert!(name("", Names::Upper, path).is_err(), "{path}");
        }
        assert!(name("", Names::AsIs, "a-b").is_err());
        // Whoever writes the command may.
        assert!(Mapping::parse("PATH=path").is_ok());
    }

    #[test]
    fn a_mapping_is_a_name_and_a_path() {
        let mapping = Mapping::parse("a.b=/s/x/y").unwrap();
        assert!(mapping.is_of(Path::new("/s"), Path::new("x/y")) && !mapping.is_of(Path::new("/t"), Path::new("x/y")));
        assert!(Mapping::parse("A=x/y").unwrap().is_of(Path::new("/any"), Path::new("x/y")));
        for text in ["A", "=x", "A=", "A=../x", "A=..data/x", "é=x", "A\n=x", "A=./x"] {
            assert!(Mapping::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_line_break_goes_from_the_end_and_nothing_else() {
        let value = |text: &str, exact| {
            checked("A", Path::new("f"), &SecretBytes::from(text.as_bytes()), exact).map(|v| v.expose().to_vec())
        };
        for (text, expected) in
            [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a\r", "a\r"), (" a ", " a "), ("", "")]
        {
            assert_eq!(value(text, false).unwrap(), expected.as_bytes());
        }
        assert_eq!(value("a\n", true).unwrap(), b"a\n");
        assert!(value("a\0b", false).unwrap_err().message.contains("NUL"));
        assert!(value(&"x".repeat(LONGEST - 3), false).is_ok());
        assert!(value(&"x".repeat(LONGEST - 2), false).is_err());
    }
}
