//! A throw-away folder with keys, and the programs that run in it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bulla_test_support::program;
use tempfile::TempDir;

/// An age key of these tests alone.
pub(crate) struct Person {
    pub(crate) recipient: &'static str,
    identity: &'static str,
}

pub(crate) const ALICE: Person = Person {
    recipient: "age1tmsczvp3jh6spye096hl8gw5wzz0ldn3cyz6r9vh39l4hnpncs6q97sjlw",
    identity: "AGE-SECRET-KEY-19YS72X66G2LKR5453V6M65Q5K3ANL4YYTXQVCL99G5K4D0MDTQDST9UXKV",
};
pub(crate) const BOB: Person = Person {
    recipient: "age12y3c4f79na424dvxjxqsuslzsnylwn5neqkvj7kqv55lm4hv5dcq6s4qvk",
    identity: "AGE-SECRET-KEY-1MT3S7HQXRV077TVP0Q0GTZHCAUEM7WXLW45UEUUL8WNTML7X4H0QKEN99U",
};

/// A folder of its own, in which Alice's key is at hand.
pub(crate) struct World {
    folder: TempDir,
}

/// Which program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// Ours, under its own name.
    Bulla,
    /// Ours, under the name `sops`.
    Link,
    /// The real one.
    Sops(&'static str),
}

/// What a program did.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Run {
    /// Standard output as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// Fails the test unless the program succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }

    /// Fails the test unless the program ended with this status and printed nothing on standard output.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.stderr);
        assert_eq!(self.text(), "");
        self
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        symlink(env!("CARGO_BIN_EXE_bulla"), folder.path().join("sops")).unwrap();
        let world = Self { folder };
        for (name, person) in [("alice.key", ALICE), ("bob.key", BOB)] {
            world.write(name, person.identity);
            fs::set_permissions(world.path(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    #[expect(clippy::disallowed_methods, reason = "nobody else reads a test's folder meanwhile")]
    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// A command that knows this folder, Alice's key and nothing of the tester's environment.
    pub(crate) fn command(&self, which: Program) -> Command {
        let mut command = match which {
            Program::Bulla => Command::new(env!("CARGO_BIN_EXE_bulla")),
            Program::Link => Command::new(self.path("sops")),
            Program::Sops(version) => Command::new(program(&format!("bin/sops-{version}"))),
        };
        command
            .current_dir(self.folder())
            .env_clear()
            .env("HOME", self.folder())
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("SOPS_AGE_KEY_FILE", self.path("alice.key"))
            .env("SOPS_DISABLE_VERSION_CHECK", "1")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, which: Program, arguments: &[&str]) -> Run {
        finish(self.command(which).args(arguments), b"")
    }

    pub(crate) fn bulla(&self, arguments: &[&str]) -> Run {
        self.run(Program::Bulla, arguments)
    }

    /// The real sops, the newest that is known.
    pub(crate) fn real(&self, arguments: &[&str]) -> Run {
        self.run(Program::Sops("3.13.3"), arguments)
    }

    /// Encrypts a text for Alice with bulla, under this name.
    pub(crate) fn encrypted(&self, name: &str, text: &str) {
        self.write(name, text);
        self.bulla(&["encrypt", "-i", "--age", ALICE.recipient, name]).ok();
    }
}

/// What encrypts a Secret's values for Alice, in place.
pub(crate) fn encrypt_secret(file: &str) -> [&str; 7] {
    ["encrypt", "-i", "--age", ALICE.recipient, "--encrypted-regex", "^(data|stringData)$", file]
}

/// Runs a command to its end with `input` on its standard input.
pub(crate) fn finish(command: &mut Command, input: &[u8]) -> Run {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A program that does not read its input closes the pipe; that is its right.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
