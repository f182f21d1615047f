//! `env --on-change`: a program that is started again, or told, when its volumes change.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::env::volume;
use crate::processes::Running;
use crate::world::{Program, World};

fn start(world: &World, change: &str, script: &str) -> Running {
    let flags = ["env", "--from=v", "--splay=1ms", "--stop-timeout=2s"];
    let mut command = world.command(Program::Bulla);
    Running::start(command.args(flags).arg(format!("--on-change={change}")).args(["--", "sh", "-c", script]))
}

fn world() -> World {
    let world = World::new();
    volume(&world, "v", "1", &[("password", "one")]);
    world
}

#[test]
fn a_program_is_started_again_with_the_new_values() {
    let world = world();
    let mut running = start(&world, "restart", "echo ready; echo $PASSWORD; exec sleep 100");
    assert_eq!(running.line(), "one");
    let first = running.pids();
    assert_eq!(first.len(), 2, "{first:?}");
    volume(&world, "v", "2", &[("password", "two")]);
    assert_eq!((running.line(), running.line()), ("ready".to_owned(), "two".to_owned()));
    let second = running.pids();
    assert!(second[0] == first[0] && second[1] != first[1], "{first:?} {second:?}");
    // What cannot be a variable changes nothing; what then can, does.
    volume(&world, "v", "3", &[("password", "three"), ("2fa", "x")]);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(running.pids(), second);
    volume(&world, "v", "4", &[("password", "four")]);
    assert_eq!((running.line(), running.line()), ("ready".to_owned(), "four".to_owned()));
    // Who is asked to end is not started again.
    running.signal(Signal::TERM);
    assert_eq!(running.end(), (String::new(), 128 + 15));
}

#[test]
fn a_program_that_does_not_end_for_a_restart_is_killed() {
    let world = world();
    let script = "trap '' TERM; echo ready; echo $PASSWORD; while true; do sleep 0.1; done";
    let mut running = start(&world, "restart", script);
    assert_eq!(running.line(), "one");
    volume(&world, "v", "2", &[("password", "two")]);
    let since = Instant::now();
    assert_eq!((running.line(), running.line()), ("ready".to_owned(), "two".to_owned()));
    assert!(since.elapsed() >= Duration::from_secs(2));
}

#[test]
fn a_program_is_told_by_a_signal_and_ends_when_it_wants() {
    let world = world();
    let script = "trap 'cat v/password; echo; exit 4' HUP; echo ready; while true; do sleep 0.1; done";
    let mut running = start(&world, "HUP", script);
    volume(&world, "v", "2", &[("password", "two")]);
    assert_eq!(running.line(), "two");
    assert_eq!(running.end(), (String::new(), 4));
}

#[test]
fn only_volumes_change() {
    let world = world();
    world.write("plain/a", "1");
    let run = world.bulla(&["env", "--from=plain", "--on-change=restart", "--", "echo", "ran"]).fails(1);
    assert!(run.stderr.contains("subPath"), "{}", run.stderr);
    for change in ["KILL", "hup", ""] {
        world.bulla(&["env", "--from=v", &format!("--on-change={change}"), "--", "echo", "ran"]).fails(1);
    }
}
