//! The connection to a server: as those who name one wish it, as far as the rules let them.

use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bulla_core::{SecretBytes, SecretString};
use bulla_kms::dns::Resolver;
use bulla_kms::vault_http::{Again, Http, Idle, Redirects, Reply, Request, Setup};
use bulla_kms::vault_trust::{self, Identity, IdentityError, Trust};
use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, openat2};
use rustls::{ClientConfig, RootCertStore};

use super::answer::LONGEST;
use super::{Rules, error};
use crate::limit::Limit;
use crate::store::{StoreError, StoreErrorKind};

/// How long one request may take, with what it is repeated for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it waits for its turn before that.
const TURN: Duration = Duration::from_secs(15);
/// How often it is sent again.
const RETRIES: u32 = 2;
/// The largest file with certificates or a key.
const LARGEST: u64 = 1 << 20;
/// The most files of a folder with certificates.
const MOST_FILES: usize = 1000;

/// How a server is to be spoken with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Connection {
    /// The server; `None` is the default one.
    pub address: Option<String>,
    /// The namespace of everything that is asked there.
    pub namespace: Option<String>,
    /// Whose certificates are believed.
    pub authorities: Authorities,
    /// Files with the client's certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate is for, if it is not the address'.
    pub server_name: Option<String>,
}

/// Whose certificates are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Authorities {
    /// The rules': those of a file, or the system's.
    #[default]
    Default,
    /// Those of this PEM text.
    Pem(String),
    /// Those of this PEM file.
    File(PathBuf),
    /// Those of the PEM files of this folder.
    Folder(PathBuf),
    /// Everybody's.
    DangerAnybody,
}

/// A server that is spoken with.
pub(super) struct Server {
    /// What messages call it.
    pub(super) address: String,
    http: Http,
    limit: Arc<Limit>,
}

impl Server {
    pub(super) fn new(
        connection: &Connection,
        address: Url,
        may_reach: fn(IpAddr) -> bool,
        rules: &Rules,
        resolver: Resolver,
        limit: Arc<Limit>,
    ) -> Result<Self, StoreError> {
        let mut headers = HeaderMap::new();
        // The server's own protection against requests that someone else makes a program send.
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if let Some(namespace) = &connection.namespace {
            let value =
                HeaderValue::from_str(namespace).map_err(|_| invalid("the namespace is not the path of one"))?;
            headers.insert("x-vault-namespace", value);
        }
        let name = address.as_str().trim_end_matches('/').to_owned();
        let setup = Setup {
            address,
            socket: None,
            tls: tls(connection, rules)?,
            server_name: connection.server_name.clone(),
            headers,
            // What a proxy reaches in our place is beyond the rules.
            proxies: Vec::new(),
            retries: RETRIES,
            redirects: Redirects::SameOrigin,
            longest_answer: LONGEST,
            resolver,
            idle: Idle::Kept,
            may_reach,
        };
        let http = Http::new(setup).map_err(|failed| error::no_answer(&name, &failed))?;
        Ok(Self { address: name, http, limit })
    }

    /// Sends a request, when its turn has come.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        query: Option<&str>,
        body: Bytes,
        token: Option<&SecretString>,
    ) -> Result<Reply, StoreError> {
        let _turn = self.limit.pass(TURN).await.map_err(|busy| error::too_many(&self.address, busy))?;
        let again = if method == Method::GET { Again::OnTrouble } else { Again::IfNothingWasDone };
        let request = Request { method, path, query, body, headers: HeaderMap::new(), token, again };
        match tokio::time::timeout(PATIENCE, self.http.send(&request)).await {
            Ok(sent) => sent.map_err(|failed| error::no_answer(&self.address, &failed)),
            Err(_) => Err(error::too_slow(&self.address, PATIENCE)),
        }
    }
}

fn invalid(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, message)
}

fn tls(connection: &Connection, rules: &Rules) -> Result<ClientConfig, StoreError> {
    let mut roots = RootCertStore::empty();
    let mut add = |place: &str, pem: &[u8]| {
        vault_trust::add(&mut roots, pem).map_err(|why| invalid(format!("certificates of authorities: {place}: {why}")))
    };
    let trust = match (&connection.authorities, &rules.authorities) {
        (Authorities::DangerAnybody, _) => Trust::DangerAnybody,
        (Authorities::Default, None) => Trust::System,
        (Authorities::Default, Some(file)) => {
            let read = bulla_core::file::read(file, LARGEST)
                .map_err(|error| invalid(format!("the node service's own certificates of authorities: {error}")))?;
            add(&file.display().to_string(), read.expose())?;
            Trust::Only(roots)
        }
        (Authorities::Pem(text), _) => {
            add("as they are given", text.as_bytes())?;
            Trust::Only(roots)
        }
        (Authorities::File(file), _) => {
            add(&file.display().to_string(), named_file(rules, file)?.expose())?;
            Trust::Only(roots)
        }
        (Authorities::Folder(folder), _) => {
            for file in named_folder(rules, folder)? {
                add(&file.display().to_string(), named_file(rules, &file)?.expose())?;
            }
            if roots.is_empty() {
                return Err(invalid(format!("{} has no file in it", folder.display())));
            }
            Trust::Only(roots)
        }
    };
    let identity = match &connection.certificate {
        None => None,
        Some((certificate, key)) => {
            let pem = (named_file(rules, certificate)?, named_file(rules, key)?);
            let identity = Identity::from_pem(pem.0.expose(), pem.1.expose()).map_err(|wrong| match wrong {
                IdentityError::Certificate => invalid(format!("{} has no PEM certificates", certificate.display())),
                IdentityError::Key => invalid(format!("{} has no PEM private key", key.display())),
            })?;
            Some(identity)
        }
    };
    vault_trust::config(trust, identity).map_err(|error| invalid(format!("TLS: {error}")))
}

/// The contents of a file that somebody named who is not who runs this process.
///
/// The file is opened below the folder of the rules without leaving it, whatever its path or a link on the way says, and nothing else than a plain file
/// is read. What is wrong is said in the same words whether it is there or not.
fn named_file(rules: &Rules, file: &Path) -> Result<SecretBytes, StoreError> {
    let opened = File::from(open(rules, file, OFlags::RDONLY | OFlags::NONBLOCK)?);
    let unusable =
        |_| invalid(format!("{} cannot be used: it must be a file that this service may read", file.display()));
    if !opened.metadata().map_err(unusable)?.is_file() {
        return Err(unusable(std::io::ErrorKind::InvalidInput.into()));
    }
    bulla_core::file::read_from(&opened, file, 0, LARGEST).map_err(|error| invalid(error.to_string()))
}

/// The plain files in a folder that somebody named, in order.
fn named_folder(rules: &Rules, folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let opened = open(rules, folder, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let unusable = |_| invalid(format!("{} cannot be listed", folder.display()));
    let mut files = Vec::new();
    for entry in Dir::new(opened).map_err(unusable)? {
        let entry = entry.map_err(unusable)?;
        // Kubernetes' own volumes have links to files, beside folders that begin with two dots.
        let name = entry.file_name().to_string_lossy();
        if !name.starts_with("..") && name != "." && entry.file_type() != FileType::Directory {
            files.push(folder.join(&*name));
        }
        if files.len() > MOST_FILES {
            return Err(invalid(format!("{} has more than {MOST_FILES} files", folder.display())));
        }
    }
    files.sort();
    Ok(files)
}

/// Opens what somebody named, below the folder of the rules.
fn open(rules: &Rules, path: &Path, flags: OFlags) -> Result<std::os::fd::OwnedFd, StoreError> {
    let denied = |message: String| StoreError::new(StoreErrorKind::Denied, message);
    let Some(folder) = &rules.files else {
        return Err(denied(format!(
            "{} is a file of the node, and the node service lets none be named: give certificates as text (vaultCACertPEM), or have the administrator name a folder (--vault-tls-folder)",
            path.display()
        )));
    };
    let refused = |_| {
        denied(format!(
            "{} cannot be read below {}, the one folder whose files may be named (--vault-tls-folder)",
            path.display(),
            folder.display()
        ))
    };
    let below = path.strip_prefix(folder).map_err(|_| refused(rustix::io::Errno::ACCESS))?;
    let root =
        rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(refused)?;
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    openat2(root, below, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)
        .map_err(refused)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::super::Addresses;
    use super::*;
    use crate::limit::Rate;

    fn rules(files: Option<&Path>) -> Rules {
        let rate = Rate { per_second: 1, burst: 1, under_way: 1 };
        Rules {
            default_address: None,
            addresses: Addresses::default(),
            files: files.map(Path::to_owned),
            authorities: None,
            rate,
        }
    }

    #[test]
    fn no_file_is_read_but_below_the_folder_that_the_administrator_named() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, outside) = (folder.path().join("tls"), folder.path().join("outside.pem"));
        std::fs::create_dir_all(inside.join("..data")).unwrap();
        let write = |path: &Path| File::create(path).and_then(|mut file| file.write_all(b"text")).unwrap();
        write(&outside);
        write(&inside.join("..data/ca.pem"));
        symlink("..data/ca.pem", inside.join("ca.pem")).unwrap();
        symlink("../outside.pem", inside.join("escape.pem")).unwrap();
        symlink(&outside, inside.join("absolute.pem")).unwrap();
        symlink("/proc/self/environ", inside.join("environ")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, inside.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .unwrap();
        let rules = |files| rules(files);
        let named = Some(inside.as_path());
        assert_eq!(named_file(&rules(named), &inside.join("ca.pem")).unwrap().expose(), b"text");
        for bad in [
            "escape.pem",
            "absolute.pem",
            "environ",
            "fifo",
            "none",
            "../outside.pem",
            "..data/../../outside.pem",
            "..data",
            "",
        ] {
            assert!(named_file(&rules(named), &inside.join(bad)).is_err(), "{bad}");
        }
        for bad in ["/etc/passwd", "/proc/self/environ", "ca.pem", ""] {
            assert!(named_file(&rules(named), Path::new(bad)).is_err(), "{bad}");
        }
        // There or not, the answer is the same.
        let said =
            |path: &Path| named_file(&rules(named), path).unwrap_err().message.replace(&*path.to_string_lossy(), "");
        assert_eq!(said(&outside), said(&folder.path().join("nothing.pem")));
        assert_eq!(said(&inside.join("escape.pem")), said(&inside.join("none")));
        let error = named_file(&rules(None), &inside.join("ca.pem")).unwrap_err();
        assert!(error.kind == StoreErrorKind::Denied && error.message.contains("--vault-tls-folder"), "{error}");
        let files = named_folder(&rules(named), &inside).unwrap();
        let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["absolute.pem", "ca.pem", "environ", "escape.pem", "fifo"]);
        assert!(named_folder(&rules(named), Path::new("/etc")).is_err());
    }
}
