//! Makes a repository use bulla: drivers in Git's configuration, attributes of the files, the hook.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bulla_core::file;

use crate::error::Failure;
use crate::exit::Code;
use crate::git::repository::Repository;
use crate::shell;

/// Whose configuration is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The repository's; attributes go into `.gitattributes`, which is committed.
    Local,
    /// The user's; attributes go into the user's own file of attributes.
    Global,
}

/// What was done, a line each.
pub(crate) type Done = Vec<String>;

/// What a `.gitattributes` line gives a file.
const ATTRIBUTES: &str = "diff=bulla merge=bulla";
const HOOK: &str = "#!/bin/sh\n# Refuses to commit plain secrets. Installed by: bulla git install --hook\nexec ";

/// Sets the drivers in Git's configuration.
///
/// # Errors
/// If git refuses.
pub(crate) fn drivers(repository: &Repository, scope: Scope) -> Result<Done, Failure> {
    let bulla = command_name();
    let settings = [
        // `--`: a file may be called `--keyservice=…`.
        ("diff.bulla.textconv", format!("{bulla} git textconv --")),
        // Git would keep what textconv prints, plaintext, as notes in the repository.
        ("diff.bulla.cachetextconv", "false".to_owned()),
        ("merge.bulla.name", "merge of encrypted files by key".to_owned()),
        ("merge.bulla.driver", format!("{bulla} git merge --marker-size %L -- %O %A %B %P")),
        // Ancestors that git merges among themselves stay valid files: one of them is taken.
        ("merge.bulla.recursive", "binary".to_owned()),
        ("mergetool.bulla.cmd", format!("{bulla} git mergetool -- \"$BASE\" \"$LOCAL\" \"$REMOTE\" \"$MERGED\"")),
        ("mergetool.bulla.trustExitCode", "true".to_owned()),
    ];
    for (name, value) in &settings {
        repository.output(&["config", scope_flag(scope), "--replace-all", name, value])?;
    }
    let whose = match scope {
        Scope::Local => "this repository's",
        Scope::Global => "your",
    };
    Ok(vec![format!("set the drivers diff.bulla, merge.bulla and mergetool.bulla in {whose} Git configuration")])
}

/// Adds a line for each pattern to the file of attributes, unless it has one.
///
/// # Errors
/// If the file cannot be read or replaced.
pub(crate) fn attributes(repository: &Repository, scope: Scope, patterns: &[String]) -> Result<Done, Failure> {
    if patterns.is_empty() {
        return Ok(Vec::new());
    }
    let path = match scope {
        Scope::Local => repository.top()?.join(".gitattributes"),
        Scope::Global => global_attributes(repository)?,
    };
    let failed = |what: String| Failure::new(Code::CouldNotWriteOutput, what);
    // Git does not follow such a link, and it may be the repository's author who says where it leads: to a shell's profile, with
    // file names for commands.
    if scope == Scope::Local && path.is_symlink() {
        return Err(failed(format!("{} is a symbolic link, which Git does not follow", path.display()))
            .with_hint("put a file in its place"));
    }
    let mut text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(format!("cannot read {}: {error}", path.display()))),
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let mut done = Vec::new();
    for pattern in patterns {
        let line = format!("{} {ATTRIBUTES}", quote(pattern));
        if !text.lines().any(|known| known.trim() == line) {
            text.push_str(&line);
            text.push('\n');
            done.push(format!("added to {}: {line}", path.display()));
        }
    }
    if !done.is_empty() {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| failed(format!("cannot make {}: {error}", folder.display())))?;
        }
        file::replace(&path, text.as_bytes(), 0o644).map_err(|error| failed(error.to_string()))?;
    }
    Ok(done)
}

/// Installs the pre-commit hook. One that is there already and is not ours stays.
///
/// # Errors
/// If there is another hook, or ours cannot be written.
pub(crate) fn hook(repository: &Repository, scope: Scope) -> Result<Done, Failure> {
    if scope == Scope::Global {
        return Err(Failure::generic("a hook belongs to one repository").with_hint("run it without --global"));
    }
    let path = repository.line(&["rev-parse", "--path-format=absolute", "--git-path", "hooks/pre-commit"])?;
    let path = PathBuf::from(path);
    let command = format!("{} git pre-commit", command_name());
    match fs::read_to_string(&path) {
        Ok(text) if text.contains("git pre-commit") && text.contains("bulla") => return Ok(Vec::new()),
        Ok(_) => {
            return Err(Failure::generic(format!("{} is there already and is not bulla's", path.display()))
                .with_hint(format!("add this line to it: {command} || exit 1")));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Failure::generic(format!("cannot read {}: {error}", path.display()))),
    }
    let write = || -> Result<(), String> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        }
        file::replace(&path, format!("{HOOK}{command}\n").as_bytes(), 0o755).map_err(|error| error.to_string())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())
    };
    write().map_err(|error| {
        Failure::new(Code::CouldNotWriteOutput, format!("cannot write {}: {error}", path.display()))
    })?;
    Ok(vec![format!("installed the hook {}", path.display())])
}

/// The pattern that means exactly this path from the top.
pub(crate) fn exact(path: &Path) -> String {
    let mut pattern = String::from("/");
    for character in path.to_string_lossy().chars() {
        if matches!(character, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

/// How the drivers call us: by name where the name leads here, by path where it does not.
fn command_name() -> String {
    let Ok(me) = std::env::current_exe() else { return "bulla".to_owned() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = std::env::split_paths(&path).map(|folder| folder.join("bulla")).find(|file| file.is_file());
    let same = |other: PathBuf| fs::canonicalize(other).ok() == fs::canonicalize(&me).ok();
    if first.is_some_and(same) { "bulla".to_owned() } else { shell::quote(&me.to_string_lossy()) }
}

/// A pattern as `.gitattributes` has it: in quotes, C style, where it has spaces or looks like something else.
fn quote(pattern: &str) -> String {
    let plain =
        !pattern.chars().any(|character| character.is_whitespace() || character == '"' || character.is_control())
            && !pattern.starts_with(['#', '!']);
    if plain {
        return pattern.to_owned();
    }
    let mut quoted = String::from('"');
    for character in pattern.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

fn scope_flag(scope: Scope) -> &'static str {
    match scope {
        Scope::Local => "--local",
        Scope::Global => "--global",
    }
}

/// `core.attributesFile`, else the place that git looks in.
fn global_attributes(repository: &Repository) -> Result<PathBuf, Failure> {
    let said = repository.run(&["config", "--global", "--type=path", "core.attributesFile"])?;
    if said.status.success() {
        return Ok(PathBuf::from(String::from_utf8_lossy(&said.stdout).trim_end_matches('\n')));
    }
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config: Option<PathBuf> = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")));
    config
        .map(|config| config.join(OsString::from("git/attributes")))
        .ok_or_else(|| Failure::generic("neither HOME nor XDG_CONFIG_HOME says where your Git attributes are"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_with_spaces_is_quoted_and_one_of_a_path_means_that_path() {
        assert_eq!(quote("/a b"), "\"/a b\"");
        assert_eq!(quote("*.yaml"), "*.yaml");
        assert_eq!(quote("#x"), "\"#x\"");
        assert_eq!(exact(Path::new("a[1].yaml")), "/a\\[1].yaml");
    }
}
