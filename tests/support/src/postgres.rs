//! A real `PostgreSQL`, which a test can stop, kill and start again.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tempfile::TempDir;

use crate::namespace::Namespace;
use crate::patience::Patience;
use crate::unused_address;

/// Who runs it when we are root: the program refuses that.
const NOBODY: u32 = 65534;

/// A database server with a folder of its own, killed when dropped.
pub struct Postgres {
    folder: TempDir,
    port: u16,
    running: Mutex<Option<Child>>,
    /// Where it is, if not here.
    namespace: Option<Namespace>,
}

impl Postgres {
    /// One that is running already, if some test holds it. The last to let go stops it.
    pub fn shared() -> Arc<Self> {
        static RUNNING: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(postgres) = running.upgrade() {
            return postgres;
        }
        let postgres = Arc::new(Self::start());
        *running = Arc::downgrade(&postgres);
        postgres
    }

    /// One of the caller's own.
    pub fn start() -> Self {
        Self::start_in(None)
    }

    /// One in a network of its own, which is reached there by everybody, and here over its socket.
    pub fn start_behind_a_line() -> Self {
        Self::start_in(Some(Namespace::new()))
    }

    /// The network that it is in.
    pub fn namespace(&self) -> &Namespace {
        self.namespace.as_ref().unwrap()
    }

    fn start_in(namespace: Option<Namespace>) -> Self {
        let folder = TempDir::new().unwrap();
        if is_root() {
            std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = folder.path().join("data");
        let mut command = program("initdb");
        command.args(["--no-sync", "--no-instructions", "--auth=trust", "--username=tester", "--encoding=UTF8"]);
        command.args(["--locale=C.UTF-8", "-D"]).arg(&data);
        expect(command.current_dir(folder.path()).output().unwrap());
        let postgres = Self { folder, port: unused_address().port(), running: Mutex::new(None), namespace };
        if postgres.namespace.is_some() {
            let rules = postgres.folder.path().join("data/pg_hba.conf");
            let mut rules = std::fs::File::options().append(true).open(rules).unwrap();
            std::io::Write::write_all(&mut rules, b"host all all 10.213.0.0/16 trust\n").unwrap();
        }
        postgres.resume();
        postgres
    }

    /// Starts it again, with settings beside those of its file.
    pub fn resume_with(&self, settings: &[&str]) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(running.is_none(), "it is running");
        let mut child = self.spawn(settings);
        let patience = Patience::default();
        while !self.try_query("SELECT 1").status.success() {
            assert!(patience.is_left(), "it does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
            // What is left of one that was killed is in its way for a moment.
            if child.try_wait().unwrap().is_some() {
                child = self.spawn(settings);
            }
        }
        *running = Some(child);
    }

    fn spawn(&self, settings: &[&str]) -> Child {
        let mut command = self.namespace.as_ref().map_or_else(
            || program("postgres"),
            |namespace| {
                let mut command = namespace.command();
                let inner = program("postgres");
                command.arg(inner.get_program()).args(inner.get_args());
                command
            },
        );
        command.arg("-D").arg(self.folder.path().join("data")).arg("-k").arg(self.folder.path());
        let listens = if self.namespace.is_some() { "0.0.0.0" } else { "127.0.0.1" };
        command.args(["-h", listens, "-p", &self.port.to_string()]);
        // A test does not lose power; its kills are seen by what the system has.
        for setting in ["fsync=off", "max_connections=200"].iter().chain(settings) {
            command.args(["-c", setting]);
        }
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).current_dir(self.folder.path());
        command.spawn().unwrap()
    }

    /// Starts it again.
    pub fn resume(&self) {
        self.resume_with(&[]);
    }

    /// Ends it with a signal (`KILL`, or `INT`, as its own scripts do), and waits for its end.
    pub fn end(&self, signal: &str) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = running.take().unwrap();
        self.signal(child.id(), signal);
        child.wait().unwrap();
    }

    /// Sends a signal to one of its processes.
    pub fn signal(&self, process: u32, signal: &str) {
        expect(Command::new("kill").args([&format!("-{signal}"), &process.to_string()]).output().unwrap());
    }

    /// How it is reached over its socket; who has it is `tester`.
    pub fn url(&self) -> String {
        format!("host={} port={} user=tester dbname=postgres", self.folder.path().display(), self.port)
    }

    /// How it is reached over the line.
    pub fn url_over_the_line(&self) -> String {
        let there = self.namespace().there();
        format!("host={there} port={} user=tester dbname=postgres sslmode=disable", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folder; `data` in it has its settings.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs statements as who may do everything, and gives what they print.
    pub fn query(&self, statements: &str) -> String {
        let output = self.try_query(statements);
        String::from_utf8(expect(output).stdout).unwrap().trim().to_owned()
    }

    fn try_query(&self, statements: &str) -> Output {
        let mut command = Command::new(path("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url(), "-c", statements]);
        command.output().unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.running.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One of its programs, run by whom it accepts.
fn program(name: &str) -> Command {
    if !is_root() {
        return Command::new(path(name));
    }
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "--"]);
    command.arg(path(name));
    command
}

pub(crate) fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

/// Debian has a folder for each release.
fn path(name: &str) -> PathBuf {
    let releases = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = releases.map(|release| release.path().join("bin").join(name)).filter(|path| path.exists()).max();
    found.unwrap_or_else(|| panic!("PostgreSQL's {name} is not there. Run: apt-get install postgresql"))
}

fn expect(output: Output) -> Output {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}
