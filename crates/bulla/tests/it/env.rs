//! `env`: files of mounted volumes as a program's environment.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::processes::{Running, holds, proc_file};
use crate::world::{Program, Run, World, finish};

const SECRET: &str = "s3cret-Zk9-value";

/// A volume as Kubernetes writes it: a folder a version, a link to the current one, links to what is in it.
pub(crate) fn volume(world: &World, name: &str, version: &str, files: &[(&str, &str)]) {
    for (file, contents) in files {
        world.write(&format!("{name}/..{version}/{file}"), contents);
        let first = file.split('/').next().unwrap();
        let _ = symlink(format!("..data/{first}"), world.path(&format!("{name}/{first}")));
    }
    let link = world.path(&format!("{name}/..data_tmp"));
    symlink(format!("..{version}"), &link).unwrap();
    fs::rename(link, world.path(&format!("{name}/..data"))).unwrap();
}

/// Runs a shell's text with these flags.
fn shell(world: &World, flags: &[&str], script: &str) -> Run {
    world.bulla(&[&["env"], flags, &["--", "sh", "-c", script]].concat())
}

#[test]
fn every_file_of_a_volume_becomes_a_variable() {
    let world = World::new();
    let files = [("password", "s3cret\n"), ("db-user", "app"), ("api/token", "t\n\n"), ("spaces", "  a b  ")];
    volume(&world, "v", "1", &files);
    world.write("v/..bulla", "the node service's own");
    let script = "printf '%s|' \"$PASSWORD\" \"$DB_USER\" \"$API_TOKEN\" \"$SPACES\"; env | grep -ci bulla";
    assert_eq!(shell(&world, &["--from", "v"], script).text(), "s3cret|app|t\n|  a b  |0\n");
    assert_eq!(shell(&world, &["--from=v", "--prefix=X_"], "echo $X_PASSWORD").ok().text(), "s3cret\n");
    assert_eq!(
        shell(&world, &["--from=v", "--map=P=password", "--exact"], "printf %s. \"$P\"").ok().text(),
        "s3cret\n."
    );
    // What is mounted goes before what was there.
    let mut command = world.command(Program::Bulla);
    command.env("PASSWORD", "old").env("OTHER", "kept").args([
        "env",
        "--from",
        "v",
        "--",
        "sh",
        "-c",
        "echo $PASSWORD $OTHER",
    ]);
    assert_eq!(finish(&mut command, b"").ok().text(), "s3cret kept\n");
}

#[test]
fn a_mapping_gives_one_file_a_name_and_leaves_the_others_out() {
    let world = World::new();
    volume(&world, "a", "1", &[("password", "one"), ("user", "app"), ("bad name", "x")]);
    volume(&world, "b", "1", &[("password", "two")]);
    let from = ["--from=a", "--from=b"];
    let run = |flags: &[&str], script| shell(&world, &[&from, flags].concat(), script);
    let a = world.path("a/password");
    // By its path in a folder that alone has it, or by the folder it is in.
    assert_eq!(
        run(&["--map=PGUSER=user"], "echo $PGUSER ${USER-none} ${PASSWORD-none}").ok().text(),
        "app none none\n"
    );
    let in_a = format!("--map=x.y={}", a.display());
    let from_a = format!("--from={}", world.path("a").display());
    // A shell would not pass such a name on.
    let environ = world.bulla(&["env", &from_a, &in_a, "--", "cat", "/proc/self/environ"]).ok();
    assert!(environ.text().split('\0').any(|variable| variable == "x.y=one"), "{}", environ.text());
    let both = run(&["--map=P=password"], "echo ran").fails(1);
    assert!(both.stderr.contains("more than one folder"), "{}", both.stderr);
    let none = run(&["--map=P=missing"], "echo ran").fails(100);
    assert!(none.stderr.contains("no such file in a, b"), "{}", none.stderr);
    // Two names for one file; and the others besides.
    let flags = ["--from=b", "--map=P=password", "--map=Q=password", "--all"];
    assert_eq!(shell(&world, &flags, "echo $P $Q ${PASSWORD-none}").ok().text(), "two two none\n");
}

#[test]
fn what_cannot_be_a_variable_is_refused_and_nothing_runs() {
    let world = World::new();
    let refused = |name: &str, files: &[(&str, &str)], code, says: &str| {
        volume(&world, name, "1", files);
        let run = shell(&world, &["--from", name], "echo ran").fails(code);
        assert!(run.stderr.contains(says), "{name}: {}", run.stderr);
        assert!(!run.stderr.contains(SECRET), "{name}: {}", run.stderr);
    };
    refused("digit", &[("2fa", SECRET)], 1, "with no digit first");
    refused("space", &[("a b", SECRET)], 1, "--map NAME=FILE");
    refused("same", &[("a-b", SECRET), ("a_b", SECRET)], 1, "would both be the variable A_B");
    refused("loader", &[("ld-preload", SECRET)], 1, "decides what code programs run");
    refused("path", &[("path", SECRET)], 1, "decides what code programs run");
    refused("nul", &[("a", "s3cret\0-Zk9-value")], 1, "NUL");
    refused("long", &[("a", &"x".repeat(131_070))], 1, "longer than a variable can be");
    refused("longer", &[("a", &"x".repeat(200_000))], 2, "131072");
    let many: Vec<(String, String)> = (0..1001).map(|n| (format!("f{n}"), String::new())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    refused("many", &many, 1, "more than 1000 files");
    let large: Vec<(String, String)> = (0..11).map(|n| (format!("f{n}"), "x".repeat(100_000))).collect();
    let large: Vec<(&str, &str)> = large.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    refused("large", &large, 1, "more than 1048576 bytes");
    // A volume that is empty, one that is not there, one that may not be read, one whose link leads out of it, and what is no file.
    fs::create_dir(world.path("empty")).unwrap();
    assert!(shell(&world, &["--from=empty"], "echo ran").fails(1).stderr.contains("no file in empty"));
    shell(&world, &["--from=nowhere"], "echo ran").fails(100);
    fs::create_dir(world.path("out")).unwrap();
    symlink("/etc", world.path("out/..data")).unwrap();
    assert!(shell(&world, &["--from=out"], "echo ran").fails(2).stderr.contains("leads elsewhere"));
    fs::create_dir(world.path("pipe")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(world.path("pipe/a")).status().unwrap().success());
    assert!(shell(&world, &["--from=pipe"], "echo ran").fails(1).stderr.contains("not a regular file"));
}

#[test]
fn the_program_takes_the_place_of_bulla_and_secrets_are_in_it_alone() {
    let world = World::new();
    volume(&world, "v", "1", &[("password", SECRET)]);
    let mut command = world.command(Program::Bulla);
    command.args(["env", "--from", "v", "--", "sh", "-c", "echo ready; read x; exit 7"]);
    let running = Running::start(&mut command);
    // One process: signals, status and number are the program's.
    let pids = running.pids();
    assert_eq!(pids.len(), 1, "{pids:?}");
    assert!(holds(&proc_file(pids[0], "environ").unwrap(), SECRET));
    let line = proc_file(pids[0], "cmdline").unwrap();
    assert!(line.starts_with(b"sh\0-c\0") && !holds(&line, SECRET));
    assert_eq!(running.end(), (String::new(), 7));
    shell(&world, &["--from=v"], "kill -TERM $$").fails(-1);
    world.bulla(&["env", "--from=v", "--", "there-is-no-such-program"]).fails(127);
    world.write("not-a-program", "x");
    world.bulla(&["env", "--from=v", "--", "./not-a-program"]).fails(126);
    // Arguments are the program's, whatever they look like.
    let run = world.bulla(&["env", "--from=v", "--", "printf", "[%s]", "--help", "$PASSWORD", "a b"]);
    assert_eq!(run.ok().text(), "[--help][$PASSWORD][a b]");
}

#[test]
fn folders_come_from_the_variable_when_no_flag_names_them() {
    let world = World::new();
    volume(&world, "a", "1", &[("x", "1")]);
    world.write("plain/y", "2");
    let mut command = world.command(Program::Bulla);
    command.env("BULLA_ENV_FROM", "a:plain").args(["env", "--", "sh", "-c", "echo $X $Y"]);
    assert_eq!(finish(&mut command, b"").ok().text(), "1 2\n");
    let run = world.bulla(&["env", "--", "true"]).fails(100);
    assert!(run.stderr.contains("/run/secrets/bulla"), "{}", run.stderr);
}

#[test]
fn the_program_installs_itself_whole_and_may_be_changed_by_nobody() {
    let world = World::new();
    fs::create_dir(world.path("bin")).unwrap();
    for _ in 0..2 {
        world.bulla(&["env", "--install", "bin"]).ok();
    }
    let installed = world.path("bin/bulla");
    assert_eq!(fs::metadata(&installed).unwrap().permissions().mode() & 0o7777, 0o555);
    assert_eq!(fs::read_dir(world.path("bin")).unwrap().count(), 1);
    assert_eq!(fs::read(&installed).unwrap(), fs::read(env!("CARGO_BIN_EXE_bulla")).unwrap());
    let run = world.bulla(&["env", "--install", "nowhere"]).fails(3);
    assert!(run.stderr.contains("must be there"), "{}", run.stderr);
    world.bulla(&["env"]).fails(1);
    world.bulla(&["env", "--install", "bin", "--", "true"]).fails(1);
}
