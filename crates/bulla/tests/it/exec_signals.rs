//! Signals on their way to the program.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::processes::Running;
use crate::world::{Program, World, finish};

/// Writes down what it gets, until there is a file `end`.
const COUNTER: &str = "for s in TERM HUP INT QUIT USR1 USR2 WINCH; do trap \"echo $s >> got\" $s; done; echo ready\n\
                       while [ ! -e end ]; do sleep 0.02; done; exit 5\n";

fn world() -> World {
    let world = World::new();
    world.encrypted("app.env", "A=1\n");
    world.write("counter.sh", COUNTER);
    world.write("got", "");
    world
}

/// Waits for the next signal to be written down, and a while longer for one that must not come.
fn got(world: &World, before: usize) -> Vec<String> {
    let since = Instant::now();
    while world.read("got").lines().count() == before {
        assert!(since.elapsed() < Duration::from_secs(20), "no signal came");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(150));
    world.read("got").lines().map(str::to_owned).collect()
}

#[test]
fn each_signal_that_is_sent_to_bulla_reaches_the_program_once() {
    let world = world();
    let running = Running::start(world.command(Program::Bulla).args(["exec-env", "app.env", "--", "sh", "counter.sh"]));
    let mut expected = Vec::new();
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::WINCH, "WINCH"),
    ] {
        running.signal(signal);
        expected.push(name.to_owned());
        assert_eq!(got(&world, expected.len() - 1), expected);
    }
    // Bulla has waited all the time, and gives the program's status.
    world.write("end", "");
    assert_eq!(running.end(), (String::new(), 5));
}

#[test]
fn a_ctrl_c_at_the_terminal_reaches_the_program_once() {
    let world = world();
    // `script` gives the command a terminal, types what comes on its own input, and starts it through $SHELL. Some shells stay
    // in between, get the Ctrl-C too and end by it with 130: bulla takes the shell's place.
    let bulla = format!("exec {} exec-env app.env -- sh counter.sh", env!("CARGO_BIN_EXE_bulla"));
    let mut terminal = Command::new("script")
        .args(["--quiet", "--flush", "--return", "--command", &bulla, "/dev/null"])
        .current_dir(world.folder())
        .env("SOPS_AGE_KEY_FILE", world.path("alice.key"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script is not there; install util-linux");
    let mut keyboard = terminal.stdin.take().unwrap();
    let mut screen = BufReader::new(terminal.stdout.take().unwrap()).lines();
    assert_eq!(screen.next().unwrap().unwrap().trim(), "ready");
    keyboard.write_all(b"\x03").unwrap();
    assert_eq!(got(&world, 0), ["INT"]);
    world.write("end", "");
    assert_eq!(terminal.wait().unwrap().code(), Some(5));
}

#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let world = world();
    let bulla = env!("CARGO_BIN_EXE_bulla");
    let ignored = |before: &str| {
        let script = format!("{before} exec {bulla} exec-env app.env -- grep SigIgn /proc/self/status");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(world.folder()).env("SOPS_AGE_KEY_FILE", world.path("alice.key"));
        let run = finish(&mut command, b"").ok();
        u64::from_str_radix(run.text().split_whitespace().last().unwrap(), 16).unwrap() & 1
    };
    assert_eq!(ignored("trap '' HUP;"), 1);
    assert_eq!(ignored(""), 0);
}
