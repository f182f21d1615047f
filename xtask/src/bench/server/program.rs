//! The two servers, with configurations that say the same.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bulla_test_support::postgres::Postgres;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bench::measure::processor_time;

/// Which of the two, and its program.
pub enum Kind {
    Peer(PathBuf),
    Bulla(PathBuf),
}

impl Kind {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Peer(_) => "openbao",
            Self::Bulla(_) => "bulla",
        }
    }

    pub fn program(&self) -> &Path {
        match self {
            Self::Peer(program) | Self::Bulla(program) => program,
        }
    }
}

/// Where they keep things.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Store {
    /// Each in files of its own.
    Own,
    /// In a database.
    Postgresql,
}

impl Store {
    pub const fn name(self, kind: &Kind) -> &'static str {
        match (self, kind) {
            (Self::Own, Kind::Peer(_)) => "raft",
            (Self::Own, Kind::Bulla(_)) => "embedded",
            (Self::Postgresql, _) => "PostgreSQL",
        }
    }

    /// What is added to the name of a work.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Own => "",
            Self::Postgresql => ", PostgreSQL",
        }
    }
}

/// A server and its folder.
pub struct Server {
    pub plain: SocketAddr,
    pub tls: SocketAddr,
    program: PathBuf,
    folder: PathBuf,
    child: Option<Child>,
    /// Of its own, and new: stopped with it.
    _database: Option<Postgres>,
    /// The certificate that it shows, which is its own authority.
    certificate: rcgen::Certificate,
}

impl Server {
    /// Writes its configuration.
    pub fn new(kind: &Kind, store: Store, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder.join("data"))?;
        let [plain, tls, cluster] = [unused()?, unused()?, unused()?];
        let key = rcgen::KeyPair::generate()?;
        let certificate = rcgen::CertificateParams::new(["127.0.0.1".to_owned()])?.self_signed(&key)?;
        write(&folder.join("tls.crt"), certificate.pem().as_bytes())?;
        write(&folder.join("tls.key"), key.serialize_pem().as_bytes())?;
        let place = |name: &str| folder.join(name).display().to_string();
        let database = (store == Store::Postgresql).then(database);
        let storage = match (&database, kind) {
            (Some(database), _) => format!(
                "storage \"postgresql\" {{ connection_url = \"postgres://tester@127.0.0.1:{}/postgres?sslmode=disable\" }}\n",
                database.port()
            ),
            (None, Kind::Peer(_)) => {
                format!("storage \"raft\" {{\n  path = \"{}\"\n  node_id = \"1\"\n}}\n", place("data"))
            }
            (None, Kind::Bulla(_)) => format!("storage \"embedded\" {{ path = \"{}\" }}\n", place("data")),
        };
        let addresses = match kind {
            Kind::Peer(_) => format!("api_addr = \"http://{plain}\"\ncluster_addr = \"http://{cluster}\"\n"),
            Kind::Bulla(_) => String::new(),
        };
        let config = format!(
            "{storage}{addresses}listener \"tcp\" {{\n  address = \"{plain}\"\n  tls_disable = true\n}}\n\
             listener \"tcp\" {{\n  address = \"{tls}\"\n  tls_cert_file = \"{}\"\n  tls_key_file = \"{}\"\n}}\n\
             seal \"static\" {{\n  current_key_id = \"1\"\n  current_key = \"{}\"\n}}\n\
             audit \"file\" \"main\" {{\n  options {{\n    file_path = \"{}\"\n  }}\n}}\n",
            place("tls.crt"),
            place("tls.key"),
            "ab".repeat(32),
            place("audit.log"),
        );
        write(&folder.join("server.hcl"), config.as_bytes())?;
        Ok(Self {
            plain,
            tls,
            program: kind.program().to_owned(),
            folder: folder.to_owned(),
            child: None,
            _database: database,
            certificate,
        })
    }

    /// Starts it. Seconds until it answers that it is unsealed and active, or that it has to be initialised.
    pub fn start(&mut self) -> Result<f64> {
        let log = fs::File::options().create(true).append(true).open(self.folder.join("log"))?;
        let begun = Instant::now();
        let child = Command::new(&self.program)
            .arg("server")
            .arg(format!("-config={}", self.folder.join("server.hcl").display()))
            .env("HOME", &self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| self.program.display().to_string())?;
        self.child = Some(child);
        while !is_serving(self.plain).unwrap_or_default() {
            if begun.elapsed() > Duration::from_mins(5) {
                bail!("{} does not serve after five minutes", self.program.display());
            }
            if let Some(status) = self.child.as_mut().context("a server")?.try_wait()? {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                bail!("{} has ended: {status}\n{log}", self.program.display());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Ends it.
    pub fn stop(&mut self) -> Result<()> {
        self.end(Signal::SIGTERM)
    }

    /// Ends it in the middle of what it does.
    pub fn kill(&mut self) -> Result<()> {
        self.end(Signal::SIGKILL)
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        kill(Pid::from_raw(i32::try_from(child.id())?), signal)?;
        child.wait()?;
        Ok(())
    }

    /// User and system time so far, in seconds.
    pub fn cpu(&self) -> Result<f64> {
        processor_time(&self.process()?)
    }

    /// Memory in use, in MB (10^6 bytes).
    pub fn resident(&self) -> Result<f64> {
        let status = fs::read_to_string(self.process()?.join("status")).context("the server has ended")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("status")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>().context("status")? * 1024.0 / 1e6)
    }

    /// What a client trusts.
    pub fn trust(&self) -> Result<Arc<rustls::ClientConfig>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.der().clone())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
    }

    fn process(&self) -> Result<PathBuf> {
        let child = self.child.as_ref().context("the server does not run")?;
        Ok(Path::new("/proc").join(child.id().to_string()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A database that keeps what it acknowledges.
fn database() -> Postgres {
    let database = Postgres::start();
    // For tests it runs without.
    database.end("INT");
    database.resume_with(&["fsync=on"]);
    database
}

/// Whether it is active, or waits to be initialised.
fn is_serving(address: SocketAddr) -> Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /v1/sys/health HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok([&b"HTTP/1.1 200"[..], b"HTTP/1.1 501"].iter().any(|begin| answer.starts_with(begin)))
}

fn unused() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::File::create(path).and_then(|mut file| file.write_all(bytes)).with_context(|| path.display().to_string())
}
