//! `exec-env` and `exec-file`: what the program gets, and where nothing of it is to be found.

use std::fs;

use crate::processes::{Running, files_with, holds, proc_file};
use crate::world::{Program, World, finish};

const SECRET: &str = "s3cret-Zk9-value";

fn world() -> World {
    let world = World::new();
    world.encrypted("app.env", &format!("# settings\nPASSWORD={SECRET}\nQUOTED=\"a b\"\nexport NAME='x' # why\n"));
    world.encrypted("app.yaml", &format!("password: {SECRET}\nport: 5432\nratio: 1.5\non: true\nnothing: null\n"));
    fs::create_dir(world.path("tmp")).unwrap();
    world
}

fn command(world: &World, arguments: &[&str]) -> std::process::Command {
    let mut command = world.command(Program::Bulla);
    command.env("TMPDIR", world.path("tmp")).args(arguments);
    command
}

/// Everywhere but in the environment of the program, which is told apart.
fn assert_nowhere(world: &World, running: &Running) {
    let pids = running.pids();
    assert!(pids.len() >= 2, "the program is not running");
    for pid in &pids {
        assert!(!holds(&proc_file(*pid, "cmdline").unwrap(), SECRET), "in the command line of {pid}");
    }
    // A bulla that is closed to us is as good as one without it.
    assert!(!proc_file(pids[0], "environ").is_some_and(|environ| holds(&environ, SECRET)), "in bulla's environment");
    assert_eq!(files_with(world.folder(), SECRET), Vec::<String>::new(), "on disk");
}

#[test]
fn exec_env_leaves_secrets_in_the_program_s_environment_and_nowhere_else() {
    let world = world();
    let script = "echo ready; read x";
    let running = Running::start(&mut command(&world, &["exec-env", "app.env", "--", "sh", "-c", script]));
    assert_nowhere(&world, &running);
    // That is what exec-env is for; it also shows that the look can find.
    assert!(holds(&proc_file(running.pids()[1], "environ").unwrap(), SECRET));
    running.end();
}

#[test]
fn exec_file_leaves_secrets_in_no_environment_either_by_pipe_and_by_memfd() {
    let world = world();
    for form in ["--filename=settings", "--memfd"] {
        let script = "value=$(cat \"$1\"); echo ready; read x; echo \"$value\"";
        let arguments = ["exec-file", form, "app.env", "--", "sh", "-c", script, "app", "{}"];
        let running = Running::start(&mut command(&world, &arguments));
        assert_nowhere(&world, &running);
        for pid in &running.pids()[1..] {
            assert!(!holds(&proc_file(*pid, "environ").unwrap(), SECRET), "in the environment of {pid}");
        }
        let (rest, status) = running.end();
        // It has had it in its hands all the time.
        assert!(holds(rest.as_bytes(), SECRET), "{rest}");
        assert_eq!(status, 0);
    }
    assert_eq!(fs::read_dir(world.path("tmp")).unwrap().count(), 0, "the private folder is gone");
}

#[test]
fn the_program_s_status_is_ours() {
    let world = world();
    let status = |script: &str| world.bulla(&["exec-env", "app.env", "--", "sh", "-c", script]).code;
    assert_eq!(status("exit 0"), 0);
    assert_eq!(status("exit 7"), 7);
    assert_eq!(status("kill -TERM $$"), 128 + 15);
    assert_eq!(status("kill -KILL $$"), 128 + 9);
    world.bulla(&["exec-env", "app.env", "--", "there-is-no-such-program"]).fails(127);
    world.write("not-a-program", "x");
    world.bulla(&["exec-env", "app.env", "--", "./not-a-program"]).fails(126);
}

#[test]
fn arguments_reach_the_program_as_they_are_and_no_shell_reads_them() {
    let world = world();
    let run = world.bulla(&["exec-env", "app.env", "--", "printf", "[%s]", "a b", "$PASSWORD", "`id`", "--help", "*"]);
    assert_eq!(run.ok().text(), "[a b][$PASSWORD][`id`][--help][*]");
    let run = world.bulla(&["exec-env", "--shell", "app.env", "--", "echo $QUOTED; exit 3"]);
    assert_eq!((run.text(), run.code), ("a b\n", 3));
    world.bulla(&["exec-env", "--shell", "app.env", "--", "echo", "two"]).fails(1);
    let failed = world.bulla(&["exec-env", "app.env", "--", "echo hello"]).fails(127);
    assert!(failed.stderr.contains("--shell"), "{}", failed.stderr);
}

#[test]
fn values_are_text_as_the_file_shows_it() {
    let world = world();
    let mut command =
        command(&world, &["exec-env", "app.yaml", "--", "sh", "-c", "echo $port $ratio $on ${nothing-unset}"]);
    let run = finish(command.env("nothing", "inherited"), b"").ok();
    assert_eq!(run.text(), "5432 1.5 true unset\n");
    let run = world.bulla(&["exec-env", "app.env", "--", "sh", "-c", "echo \"$QUOTED|$NAME\""]).ok();
    assert_eq!(run.text(), "a b|x\n");
}

#[test]
fn under_the_name_sops_the_program_gets_what_the_real_one_gives() {
    let world = world();
    world.encrypted(
        "all.yaml",
        "i: 1\nf: 1234567.5\ng: 2.0\nh: 1e-7\nb: false\nt: 2024-01-02T03:04:05.5Z\ns: 'a  b'\nx-y: 1\n",
    );
    world.encrypted("all.json", r#"{"s": "line\nline", "f": 0.1, "i": 5, "b": true, "e": ""}"#);
    world.encrypted("all.ini", "a = 1\n[DEFAULT]\nx = y\n");
    world.encrypted("bytes.bin", "all of it\n");
    for file in ["app.env", "all.yaml", "all.json"] {
        let sorted = |which| {
            let run = world.run(which, &["exec-env", "--pristine", file, "env -0"]).ok();
            let mut variables: Vec<_> = run.text().split('\0').map(str::to_owned).collect();
            variables.sort();
            variables
        };
        assert_eq!(sorted(Program::Link), sorted(Program::Sops("3.13.3")), "{file}");
        assert!(sorted(Program::Link).len() > 3, "{file}");
    }
    for arguments in [
        &["exec-env", "app.env", "exit 7"][..],
        &["exec-env", "app.env", "kill -TERM $$"],
        &["exec-file", "app.env", "cat {} > /dev/null; exit 4"],
        &["exec-env", "all.ini", "true"],
        &["exec-env", "app.env", "true", "false"],
        &["exec-env", "app.env"],
        &["exec-env", "missing.env", "true"],
        &["exec-file", "missing.env", "true"],
        &["exec-file", "--filename", "a/b", "app.env", "true"],
        &["exec-file", "--output-type", "json", "app.yaml", "cat {}"],
        &["exec-file", "--no-fifo", "--output-type", "dotenv", "all.json", "cat {}"],
        &["exec-file", "--input-type", "dotenv", "app.env", "cat {}"],
        &["exec-file", "app.env", "basename {}"],
        &["exec-env", "bytes.bin", "echo $data"],
    ] {
        let (ours, real) = (world.run(Program::Link, arguments), world.real(arguments));
        assert_eq!((ours.code, &ours.stdout), (real.code, &real.stdout), "{arguments:?}: {}", ours.stderr);
    }
}

#[test]
fn a_null_is_no_variable_where_sops_writes_nil() {
    let world = World::new();
    world.encrypted("a.yaml", "a: null\nb: x\n");
    let dotenv = ["decrypt", "--output-type", "dotenv", "a.yaml"];
    assert_eq!(world.real(&dotenv).ok().text(), "a=<nil>\nb=x\n");
    assert_eq!(world.run(Program::Link, &dotenv).ok().text(), "b=x\n");
    assert!(world.bulla(&dotenv).fails(4).stderr.contains("null"));
}

#[test]
fn what_cannot_be_a_variable_is_refused_and_nothing_runs() {
    let world = world();
    for (name, text, reason) in [
        ("nested.yaml", "a:\n  b: 1\n", "a is not a single value"),
        ("list.yaml", "a: [1]\n", "a is not a single value"),
        ("equals.yaml", "a=b: 1\n", "cannot be an environment variable"),
        ("empty.yaml", "\"\": 1\n", "cannot be an environment variable"),
        ("control.yaml", "\"a\\nb\": 1\n", "cannot be an environment variable"),
        ("nul.json", "{\"a\": \"x\\u0000y\"}", "NUL"),
        ("bytes.bin", "x", "binary"),
        ("two.yaml", "a: 1\n---\nb: 2\n", "2 YAML documents"),
    ] {
        world.encrypted(name, text);
        let run = world.bulla(&["exec-env", name, "--", "echo", "ran"]).fails(1);
        assert!(run.stderr.contains(reason), "{name}: {}", run.stderr);
    }
}

#[test]
fn a_pristine_environment_holds_the_file_s_entries_alone() {
    let world = world();
    let mut command = command(&world, &["exec-env", "--pristine", "app.env", "--", "/usr/bin/env"]);
    let run = finish(command.env("OTHER", "1"), b"").ok();
    let mut names: Vec<_> = run.text().lines().map(|line| line.split('=').next().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["NAME", "PASSWORD", "QUOTED"]);
}

#[test]
fn the_private_key_itself_is_not_passed_on() {
    let world = world();
    let mut command =
        command(&world, &["exec-env", "app.env", "--", "sh", "-c", "echo \"${SOPS_AGE_KEY-none} $OTHER\""]);
    command.env_remove("SOPS_AGE_KEY_FILE").env("SOPS_AGE_KEY", world.read("alice.key")).env("OTHER", "passed");
    assert_eq!(finish(&mut command, b"").ok().text(), "none passed\n");
}

#[test]
fn a_program_may_open_the_file_never_or_again_and_again() {
    let world = world();
    let large = format!("{SECRET}{}", "x".repeat(300_000));
    world.encrypted("large.bin", &large);
    world.bulla(&["exec-file", "large.bin", "--", "sh", "-c", "true # {}"]).ok();
    let script = "for n in 1 2 3; do cat \"$1\" | wc -c; done; head -c 5 \"$1\" > /dev/null; cat \"$1\" | wc -c";
    for form in ["--filename=a.bin", "--memfd"] {
        let run = world.bulla(&["exec-file", form, "large.bin", "--", "sh", "-c", script, "x", "{}"]).ok();
        assert_eq!(run.text(), format!("{}\n", large.len()).repeat(4), "{form}");
    }
}

#[test]
fn the_file_has_the_name_that_was_asked_for_and_is_no_regular_file_on_a_disk() {
    let world = world();
    let script = "stat -L -c '%F' \"$1\"; basename \"$1\"; stat -f -L -c %T \"$1\"";
    let look = |form: &[&str]| {
        let tail = ["--filename", "config.yaml", "app.yaml", "--", "sh", "-c", script, "x", "{}"];
        world.bulla(&[&["exec-file"], form, &tail].concat()).ok().text().to_owned()
    };
    assert!(look(&[]).starts_with("fifo\nconfig.yaml\n"), "{}", look(&[]));
    assert_eq!(look(&["--memfd"]), "regular file\nconfig.yaml\ntmpfs\n");
    // What sops would put into a temporary file.
    assert_eq!(look(&["--no-fifo"]), "regular file\nconfig.yaml\ntmpfs\n");
    for name in ["../x", "a/b", "/x", "..", ""] {
        world.bulla(&["exec-file", "--filename", name, "app.yaml", "--", "true", "{}"]).fails(1);
    }
    world.bulla(&["exec-file", "app.yaml", "--", "true"]).fails(1);
}

#[test]
fn the_memfd_cannot_be_changed_by_the_program() {
    let world = world();
    let script = "(echo x > \"$1\") 2>/dev/null; truncate -s 0 \"$1\" 2>/dev/null; cat \"$1\"";
    let run = world.bulla(&["exec-file", "--memfd", "app.env", "--", "sh", "-c", script, "x", "{}"]).ok();
    assert!(run.text().contains(SECRET));
}

#[test]
fn a_script_with_descriptors_of_its_own_does_not_lose_the_memfd() {
    let world = world();
    let script = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>/dev/null; cat \"$1\"";
    let run = world.bulla(&["exec-file", "--memfd", "app.env", "--", "sh", "-c", script, "x", "{}"]).ok();
    assert!(run.text().contains(SECRET));
}

#[test]
fn a_program_can_take_the_place_of_bulla() {
    let world = world();
    let mut command =
        command(&world, &["exec-env", "--same-process", "app.env", "--", "sh", "-c", "echo ready; read x; echo $$"]);
    let running = Running::start(&mut command);
    let pids = running.pids();
    assert_eq!(pids.len(), 1);
    assert_eq!(running.end(), (format!("{}\n", pids[0]), 0));
}

#[test]
fn a_program_in_the_background_has_its_file_after_bulla_has_ended() {
    let world = world();
    let script = "while [ ! -e go ]; do sleep 0.02; done; cat \"$1\" > out; touch done";
    world.bulla(&["exec-file", "--background", "app.env", "--", "sh", "-c", script, "x", "{}"]).ok();
    world.write("go", "");
    let since = std::time::Instant::now();
    while !world.path("done").exists() {
        assert!(since.elapsed().as_secs() < 20, "the program did not finish");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(world.read("out").contains(SECRET));
}

#[test]
fn standard_input_and_output_are_the_program_s() {
    let world = world();
    let mut command = command(&world, &["exec-env", "app.env", "--", "tr", "a-z", "A-Z"]);
    assert_eq!(finish(&mut command, b"hello").ok().text(), "HELLO");
}
