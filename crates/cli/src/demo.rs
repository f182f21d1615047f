//! `demo`: the newcomer's journey, on a real application, and then a look into the places where its secrets could be.
//!
//! First the application as it is mostly run: that is the control, in which the look must find the secrets everywhere. Then
//! the same application with bulla, in which it must not. Needs git and `/bin/sh`, and nothing else: no cloud, no cluster, no
//! network. Everything happens in a temporary folder.

mod application;
pub(crate) mod cluster;
mod look;
mod narrator;
mod report;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::Failure;
use crate::exit::Code;
use application::Application;
use look::{Moment, Place, Secret};
use narrator::{Narrator, Step};
use report::{Expected, Run};

pub(crate) use narrator::Talk;

const ENV: &str = include_str!("../../../examples/shop/.env");
const SECRET: &str = include_str!("../../../examples/shop/k8s/secret.yaml");
const DEPLOYMENT: &str = include_str!("../../../examples/shop/k8s/deployment.yaml");
const APP: &str = include_str!("../../../examples/shop/app.sh");
/// What the names of the folders begin with.
const FOLDER: &str = "bulla-demo-";
/// The variables of `.env` that are secret.
const SECRET_NAMES: [&str; 3] = ["DB_PASSWORD", "PAYMENT_API_KEY", "SESSION_KEY"];

/// What becomes of the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folder {
    /// It is removed.
    Removed,
    /// It stays, to look around in.
    Kept,
}

/// Runs the journey. The status is not 0 if a secret was where it must not be, or the control did not find what is there.
///
/// # Errors
/// If a step fails that must not.
pub(crate) fn run(folder: Folder, talk: Talk) -> Result<Code, Failure> {
    let stage = tempfile::Builder::new()
        .prefix(FOLDER)
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()
        .map_err(|error| Failure::generic(format!("cannot make a temporary folder: {error}")))?;
    // As git and /proc name it.
    let top = fs::canonicalize(stage.path())
        .map_err(|error| Failure::generic(format!("{}: {error}", stage.path().display())))?;
    let began = Moment::of(&top).map_err(|error| Failure::generic(format!("{}: {error}", top.display())))?;
    let journey = Journey { narrator: Narrator::new(talk, &top)?, secrets: secrets(), top, began };
    let runs = vec![journey.plain()?, journey.encrypted()?];
    let runs = runs.into_iter().flatten().collect::<Vec<_>>();
    let kept = match folder {
        Folder::Kept => Some(stage.keep()),
        Folder::Removed => None,
    };
    report::print(talk, &runs, &notes(&runs, kept.as_deref()), kept.as_deref())?;
    Ok(if runs.iter().all(Run::is_as_expected) { Code::Success } else { Code::Generic })
}

/// What is to be said of the outcome.
fn notes(runs: &[Run], kept: Option<&Path>) -> String {
    let mut notes = String::new();
    if runs.iter().flat_map(|run| &run.looks).any(|look| look.looked.contains("closed")) {
        notes.push_str("\nThe closed process is bulla: other programs of the same user cannot look into it.\n");
    }
    notes.push_str(
        "\nexec-env puts secrets into the program's environment: that is what it is for, and the same user can read it there. \
         A program that\nreads a file is better started with exec-file.\n",
    );
    match kept {
        Some(path) => {
            let path = path.display();
            notes.push_str(&format!("\nLook around: {path}  (SOPS_AGE_KEY_FILE={path}/keys.txt)\n"));
        }
        None => notes.push_str("\nThe folder was removed; --keep leaves it to look around in.\n"),
    }
    notes
}

/// The look at the plain application is the control; the others prove.
struct Journey {
    narrator: Narrator,
    secrets: Vec<Secret>,
    top: PathBuf,
    began: Moment,
}

impl Journey {
    /// The application as it is mostly run.
    fn plain(&self) -> Result<Vec<Run>, Failure> {
        let say = &self.narrator;
        say.title("1. Without bulla: the control. The look must find the secrets, or it proves nothing later.")?;
        let folder = self.lay_out("without")?;
        say.run(&folder, &Step::new("git", &["init", "--quiet"]))?;
        say.run(&folder, &Step::new("git", &["add", "."]))?;
        say.run(&folder, &Step::new("git", &["commit", "--quiet", "--message", "The shop"]))?;
        say.comment("What bulla's guard would have said:")?;
        say.run(&folder, &Step::new("bulla", &["git", "pre-commit", "--all"]).fails())?;
        let start = "set -a; . ./.env; exec sh app.sh .env \"postgresql://$DB_USER:$DB_PASSWORD@$DB_HOST/$DB_NAME\"";
        let looks = self.start_and_look(&folder, &Step::new("sh", &["-c", start]))?;
        // Later looks go through the whole folder.
        fs::remove_dir_all(&folder).map_err(|error| Failure::generic(format!("{}: {error}", folder.display())))?;
        let everywhere = [Place::Git, Place::Disk, Place::Environment, Place::CommandLine];
        Ok(vec![Run { name: "without bulla", looks, expected: Expected::Found(everywhere.to_vec()) }])
    }

    /// The application with bulla.
    fn encrypted(&self) -> Result<Vec<Run>, Failure> {
        let say = &self.narrator;
        say.title("2. With bulla: the same application, its secrets encrypted before the first commit.")?;
        let folder = self.lay_out("shop")?;
        say.run(&folder, &Step::new("git", &["init", "--quiet"]))?;
        let recipient = say.run(&folder, &Step::new("bulla", &["keygen", "--output", "../keys.txt"]))?;
        say.comment("The key stays outside of the repository; SOPS_AGE_KEY_FILE says where.")?;
        let config = format!(
            "creation_rules:\n  - path_regex: (^|/)\\.env$\n    age: {0}\n  - path_regex: ^k8s/secret.*\\.yaml$\n    \
             encrypted_regex: ^(data|stringData)$\n    age: {0}\n",
            recipient.trim()
        );
        say.write(&folder.join(".sops.yaml"), &config)?;
        say.run(&folder, &Step::new("bulla", &["encrypt", "--in-place", ".env", "k8s/secret.yaml"]))?;
        say.excerpt(&folder.join("k8s/secret.yaml"), 14)?;
        say.run(&folder, &Step::new("git", &["add", "."]))?;
        say.run(&folder, &Step::new("bulla", &["git", "install", "--hook"]))?;
        say.run(&folder, &Step::new("git", &["add", "."]))?;
        say.run(&folder, &Step::new("git", &["commit", "--quiet", "--message", "The shop"]))?;
        self.comes_back(&folder, ".env", ENV)?;
        self.comes_back(&folder, "k8s/secret.yaml", SECRET)?;

        say.comment("The program reads its settings from a pipe:")?;
        let by_file = Step::new("bulla", &["exec-file", ".env", "--", "sh", "app.sh", "{}"]);
        let by_file = self.start_and_look(&folder, &by_file)?;
        say.comment("Or from its environment, for programs that know no other way:")?;
        let by_env = Step::new("bulla", &["exec-env", ".env", "--", "sh", "app.sh"]);
        let by_env = self.start_and_look(&folder, &by_env)?;
        Ok(vec![
            Run { name: "bulla exec-file", looks: by_file, expected: Expected::Nothing },
            Run { name: "bulla exec-env", looks: by_env, expected: Expected::Found(vec![Place::Environment]) },
        ])
    }

    /// Decrypted, a file is byte for byte what it was.
    fn comes_back(&self, folder: &Path, file: &str, original: &str) -> Result<(), Failure> {
        let plain = self.narrator.run_quietly(folder, &Step::new("bulla", &["decrypt", file]))?;
        if plain != original {
            return Err(Failure::generic(format!("{file} is not what it was when it is decrypted")));
        }
        self.narrator.comment("  the very bytes that were encrypted, comments and quotes included")
    }

    fn lay_out(&self, name: &str) -> Result<PathBuf, Failure> {
        let folder = self.top.join(name);
        fs::create_dir_all(folder.join("k8s"))
            .map_err(|error| Failure::generic(format!("cannot make {}: {error}", folder.display())))?;
        let files = [(".env", ENV), ("app.sh", APP), ("k8s/secret.yaml", SECRET), ("k8s/deployment.yaml", DEPLOYMENT)];
        for (file, text) in files {
            bulla_core::file::replace(&folder.join(file), text.as_bytes(), 0o644)
                .map_err(|error| Failure::generic(error.to_string()))?;
        }
        self.narrator.comment(&format!("{}: .env  app.sh  k8s/secret.yaml  k8s/deployment.yaml", folder.display()))?;
        Ok(folder)
    }

    /// Starts the application, logs in to see that it has its credentials, and looks while it runs.
    fn start_and_look(&self, folder: &Path, step: &Step) -> Result<Vec<look::Look>, Failure> {
        let mut application = Application::start(&self.narrator, folder, step)?;
        let password = &self.secrets[0];
        application.login(password)?;
        self.narrator.comment("  it is up; a wrong password was denied, the right one granted")?;
        let looks = vec![
            look::into_git(folder, &self.secrets)?,
            look::onto_disk(&self.top, self.began, &self.secrets)?,
            look::into_environments(&application.processes()?, &self.secrets),
            look::into_command_lines(&application.processes()?, &self.secrets),
        ];
        application.stop()?;
        Ok(looks)
    }
}

fn secrets() -> Vec<Secret> {
    SECRET_NAMES
        .iter()
        .filter_map(|name| {
            let value = ENV.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
            Some(Secret::new(name, value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_secrets_of_the_example_are_looked_for() {
        assert_eq!(secrets().len(), SECRET_NAMES.len());
    }
}
