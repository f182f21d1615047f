//! A file that is logged to, and begun anew when it is large or old: the agent's `log_file`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing_subscriber::fmt::MakeWriter;

/// How long a file is logged to, where nobody says.
const DAY: Duration = Duration::from_hours(24);
/// The mode of a new file.
const MODE: u32 = 0o640;

/// When a file is begun anew, and how many older ones stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// After so many bytes.
    pub(crate) bytes: Option<u64>,
    /// After this long; a day if it is not said.
    pub(crate) duration: Option<Duration>,
    /// How many older ones are kept; all, if it is 0, and none, if it is less.
    pub(crate) keep: i64,
}

/// The file.
pub(crate) struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    open: Mutex<Open>,
}

struct Open {
    file: File,
    length: u64,
    since: SystemTime,
}

impl LogFile {
    /// Opens the file; in a folder, that of `name`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn open(path: &Path, name: &str, rotation: Rotation) -> io::Result<Self> {
        let is_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir();
        let path = if is_folder { path.join(format!("{name}.log")) } else { path.to_owned() };
        let open = Mutex::new(Open::new(&path)?);
        Ok(Self { path, rotation, open })
    }

    fn write(&self, line: &[u8]) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let is_large = self.rotation.bytes.is_some_and(|most| open.length >= most);
        let age = open.since.elapsed().unwrap_or_default();
        if open.length > 0 && (is_large || age >= self.rotation.duration.unwrap_or(DAY)) {
            // Where that cannot be it goes on in the same file.
            if let Ok(new) = self.begin_anew() {
                *open = new;
            }
        }
        open.file.write_all(line)?;
        open.length += line.len() as u64;
        Ok(())
    }

    fn begin_anew(&self) -> io::Result<Open> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let (stem, end) = self.name();
        fs::rename(&self.path, self.path.with_file_name(format!("{stem}-{now}{end}")))?;
        let new = Open::new(&self.path)?;
        if self.rotation.keep != 0 {
            let keep = usize::try_from(self.rotation.keep).unwrap_or(0);
            let mut older = self.older();
            older.truncate(older.len().saturating_sub(keep));
            for path in older {
                let _ = fs::remove_file(path);
            }
        }
        Ok(new)
    }

    /// Those before this one, the oldest first.
    fn older(&self) -> Vec<PathBuf> {
        let (stem, end) = self.name();
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let is_older = |name: &str| {
            let time = name.strip_prefix(&format!("{stem}-")).and_then(|rest| rest.strip_suffix(&end));
            time.and_then(|time| time.parse::<u128>().ok())
        };
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut older: Vec<(u128, PathBuf)> =
            names.filter_map(|entry| Some((is_older(entry.file_name().to_str()?)?, entry.path()))).collect();
        older.sort();
        older.into_iter().map(|(_, path)| path).collect()
    }

    /// What comes before the time in the name of an older file, and after it.
    fn name(&self) -> (String, String) {
        let part = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        let end = part(self.path.extension()).map_or_else(String::new, |end| format!(".{end}"));
        (part(self.path.file_stem()).unwrap_or_default(), end)
    }
}

impl Open {
    fn new(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
        let there = file.metadata()?;
        let since = SystemTime::now();
        Ok(Self { file, length: there.len(), since })
    }
}

/// A line at a time.
pub(crate) struct Line<'a>(&'a LogFile);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_large_is_begun_anew_and_as_many_stay_as_are_wanted() {
        for (keep, expected) in [(0, 3), (2, 2), (-1, 0)] {
            let folder = tempfile::tempdir().unwrap();
            let rotation = Rotation { bytes: Some(10), duration: None, keep };
            let path = folder.path().join("");
            let log = LogFile::open(&path, "agent", rotation).unwrap();
            for number in 0..7 {
                log.make_writer().write_all(format!("line {number}\n").as_bytes()).unwrap();
            }
            assert_eq!(fs::read_to_string(folder.path().join("agent.log")).unwrap(), "line 6\n");
            let older = log.older();
            assert_eq!(older.len(), expected, "{keep}");
            if let Some(newest) = older.last() {
                assert_eq!(fs::read_to_string(newest).unwrap(), "line 4\nline 5\n");
            }
        }
    }

    #[test]
    fn a_file_that_is_old_is_begun_anew_and_one_that_is_there_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.txt");
        let long = Rotation { bytes: None, duration: None, keep: 0 };
        LogFile::open(&path, "agent", long).unwrap().write(b"1\n").unwrap();
        let log = LogFile::open(&path, "agent", long).unwrap();
        log.write(b"2\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n2\n");
        let short = Rotation { duration: Some(Duration::ZERO), ..long };
        LogFile::open(&path, "agent", short).unwrap().write(b"3\n").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), log.older().len()), ("3\n", 1));
        assert!(LogFile::open(Path::new("/nowhere/x"), "agent", long).is_err());
    }
}
