//! The real sops and age.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bulla_core::{DataKey, KeyId, SecretBytes, WrappedKey};
use bulla_format::sops::{MasterKey, Metadata};

/// The versions that files are exchanged with.
pub const VERSIONS: [&str; 2] = ["3.11.0", "3.13.3"];

/// What tests date their files with.
pub const NOW: &str = "2026-01-02T03:04:05Z";

/// An age key, and a folder for files.
pub struct Peers {
    pub folder: tempfile::TempDir,
    pub recipient: String,
}

impl Peers {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let out = run(Command::new(peer("age-keygen")).arg("-o").arg(folder.path().join("key.txt")), b"");
        let out = String::from_utf8(out.stderr).unwrap();
        let recipient = out.trim().rsplit(' ').next().unwrap().to_owned();
        Self { folder, recipient }
    }

    /// The data key of an encrypted file, by the real age.
    pub fn data_key(&self, metadata: &Metadata) -> DataKey {
        let wrapped = metadata.groups.iter().flatten().find(|key| key.id == self.key_id()).unwrap();
        let mut command = Command::new(peer("age"));
        command.arg("-d").arg("-i").arg(self.folder.path().join("key.txt"));
        let out = succeed(&mut command, wrapped.wrapped.as_str().as_bytes());
        DataKey::from_bytes(SecretBytes::from(out)).unwrap()
    }

    /// Metadata for a new file with this data key, wrapped by the real age.
    pub fn metadata(&self, key: &DataKey) -> Metadata {
        let out = succeed(Command::new(peer("age")).args(["-a", "-r", &self.recipient]), key.as_secret().expose());
        let key = MasterKey {
            id: self.key_id(),
            wrapped: WrappedKey::new(String::from_utf8(out).unwrap()),
            created_at: String::new(),
            unknown: Vec::new(),
        };
        Metadata {
            // sops passes over a kind that is ours.
            groups: vec![vec![key, crate::files::local("/key")]],
            last_modified: NOW.to_owned(),
            version: "3.13.3".to_owned(),
            ..Metadata::default()
        }
    }

    pub fn key_id(&self) -> KeyId {
        KeyId::Age { recipient: self.recipient.clone() }
    }

    pub fn write(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }

    /// What sops prints; fails with what it says if it fails.
    pub fn sops(&self, version: &str, args: &[&str], file: &Path) -> Vec<u8> {
        let out = self.try_sops(version, args, file);
        let message = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "sops {version} {args:?} {}: {message}", file.display());
        out.stdout
    }

    pub fn try_sops(&self, version: &str, args: &[&str], file: &Path) -> Output {
        let mut command = Command::new(peer(&format!("sops-{version}")));
        command
            .args(args)
            .arg(file)
            .current_dir(self.folder.path())
            .env_clear()
            .env("SOPS_DISABLE_VERSION_CHECK", "1")
            .env("SOPS_AGE_KEY_FILE", self.folder.path().join("key.txt"));
        run(&mut command, b"")
    }

    /// Encrypts with sops. The old form of the command, because 3.11 drops rules behind the new one.
    pub fn sops_encrypt(&self, version: &str, args: &[&str], name: &str, plain: &[u8]) -> Vec<u8> {
        let file = self.write(name, plain);
        let all: Vec<_> = ["--encrypt", "--age", &self.recipient].into_iter().chain(args.iter().copied()).collect();
        self.sops(version, &all, &file)
    }

    /// Decrypts with sops.
    pub fn sops_decrypt(&self, version: &str, name: &str, encrypted: &[u8]) -> Vec<u8> {
        let file = self.write(name, encrypted);
        self.sops(version, &["decrypt"], &file)
    }
}

/// A peer's program. It missing is a failure, not a reason to skip.
fn peer(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let folder = std::env::var_os("BULLA_PEERS").map_or_else(|| root.join("target/peers"), PathBuf::from);
    let path = folder.join("bin").join(name);
    assert!(path.exists(), "{} is missing; run: cargo xtask peers", path.display());
    path
}

fn succeed(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let out = run(command, input);
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}
