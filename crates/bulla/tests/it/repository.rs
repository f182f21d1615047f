//! A Git repository in a world of its own, with bulla installed in it.

use std::process::Command;

use crate::world::{ALICE, Program, Run, World, finish};

/// A repository; the work tree is the world's folder `repo`.
pub(crate) struct Repository {
    pub(crate) world: World,
}

impl Repository {
    pub(crate) fn new() -> Self {
        let world = World::new();
        std::fs::create_dir(world.path("repo")).unwrap();
        let repository = Self { world };
        repository.git(&["init", "--quiet", "--initial-branch=main"]).ok();
        repository
    }

    /// With an encrypted file, the drivers installed, all committed on `main`.
    pub(crate) fn with(name: &str, text: &str) -> Self {
        let repository = Self::new();
        repository.encrypted(name, text);
        repository.bulla(&["git", "install", &format!("/{name}")]).ok();
        repository.commit("base");
        repository
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        self.world.write(&format!("repo/{name}"), contents);
    }

    pub(crate) fn read(&self, name: &str) -> String {
        self.world.read(&format!("repo/{name}"))
    }

    pub(crate) fn encrypted(&self, name: &str, text: &str) {
        self.write(name, text);
        self.bulla(&["encrypt", "-i", "--age", ALICE.recipient, name]).ok();
    }

    pub(crate) fn bulla_command(&self) -> Command {
        let mut command = self.world.command(Program::Bulla);
        settings(&mut command, self);
        command
    }

    pub(crate) fn bulla(&self, arguments: &[&str]) -> Run {
        finish(self.bulla_command().args(arguments), b"")
    }

    pub(crate) fn real(&self, arguments: &[&str]) -> Run {
        let mut command = self.world.command(Program::Sops("3.13.3"));
        finish(command.current_dir(self.world.path("repo")).args(arguments), b"")
    }

    /// A git that has Alice's key at hand, as the drivers inherit it.
    pub(crate) fn git_command(&self) -> Command {
        let mut command = Command::new("git");
        command
            .env_clear()
            .env("HOME", self.world.folder())
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("SOPS_AGE_KEY_FILE", self.world.path("alice.key"));
        settings(&mut command, self);
        command
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> Run {
        finish(self.git_command().args(arguments), b"")
    }

    /// Commits everything.
    pub(crate) fn commit(&self, message: &str) {
        self.git(&["add", "--all"]).ok();
        self.git(&["commit", "--quiet", "--message", message]).ok();
    }

    /// A branch `name` from `main`, changed by `change` and committed; `main` is checked out afterwards.
    pub(crate) fn branch(&self, name: &str, change: impl FnOnce(&Self)) {
        self.git(&["checkout", "--quiet", "-b", name, "main"]).ok();
        change(self);
        self.commit(name);
        self.git(&["checkout", "--quiet", "main"]).ok();
    }

    /// Sets a value of an encrypted file: `["db"]["password"]`, JSON.
    pub(crate) fn set(&self, name: &str, path: &str, value: &str) {
        self.bulla(&["set", name, path, value]).ok();
    }

    /// Makes this the plaintext of an encrypted file, in the editor.
    pub(crate) fn edit(&self, name: &str, plain: &str) {
        self.world.write("new", plain);
        let editor = format!("cp {}", self.world.path("new").display());
        finish(self.bulla_command().env("EDITOR", editor).args(["edit", name]), b"").ok();
    }

    /// Whether any object of the repository, reachable or not, or any file of the work tree has this in it.
    pub(crate) fn holds(&self, text: &str) -> bool {
        let objects = self.git(&["cat-file", "--batch-all-objects", "--batch"]).ok();
        String::from_utf8_lossy(&objects.stdout).contains(text)
            || !crate::processes::files_with(&self.world.path("repo"), text).is_empty()
    }

    pub(crate) fn decrypt(&self, name: &str) -> String {
        self.bulla(&["decrypt", name]).ok().text().to_owned()
    }
}

fn settings(command: &mut Command, repository: &Repository) {
    command
        .current_dir(repository.world.path("repo"))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs([("GIT_AUTHOR_NAME", "T"), ("GIT_AUTHOR_EMAIL", "t@example.com")])
        .envs([("GIT_COMMITTER_NAME", "T"), ("GIT_COMMITTER_EMAIL", "t@example.com")]);
}
