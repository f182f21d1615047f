//! `bulla agent` as the first process of a container.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::server_agent::{Agent, LOGIN, Place, Program, World};
use crate::server_clients::{ours, write};

/// Runs a script with a variable, as the second process.
fn contain(world: &World, script: &str) -> (Place, Agent) {
    let place = world.place();
    let config = format!(
        "vault {{ address = \"{}\" }}\nauto_auth {{ {LOGIN} }}\nenv_template \"A\" {{\n contents = {}\n}}\nexec {{\n command = [\"sh\", \"-c\", {}]\n}}\n",
        world.url(),
        json!("{{ with secret \"old/app\" }}{{ .Data.b }}{{ end }}"),
        json!(script),
    );
    write(&place.path("agent.hcl"), &config);
    let before = ["/usr/bin/unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let agent = place.start_by(&before, Program::Bulla, &["-config=agent.hcl"]);
    (place, agent)
}

/// The agent as it is seen from outside.
fn inner(agent: &Agent) -> Pid {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", agent.id())).unwrap();
    Pid::from_raw(children.trim().parse().unwrap()).unwrap()
}

#[test]
fn as_the_first_process_it_waits_for_orphans_passes_signals_on_and_ends_with_its_program() {
    let server = ours();
    let world = World::new(server.address, "1h", "2h");
    let script = "trap 'echo usr1 >> seen' USR1; trap 'echo usr2 >> seen' USR2; echo \"$A $PPID\" > seen\n\
        for i in 1 2 3 4 5; do (sleep 0.1 &); done\n\
        while [ ! -e end ]; do sleep 0.05; [ -e count ] && grep -l '^State:.Z' /proc/[0-9]*/status | wc -l > zombies; done; exit 9";
    let (place, mut agent) = contain(&world, script);
    place.eventually("the program runs", || place.read("seen") == "two 1\n");
    std::thread::sleep(Duration::from_millis(500));
    write(&place.path("count"), "");
    place.eventually("orphans are waited for", || place.read("zombies").trim() == "0");
    for (signal, line) in [(Signal::USR1, "usr1\n"), (Signal::USR2, "usr2\n")] {
        kill_process(inner(&agent), signal).unwrap();
        place.eventually("the signal is passed on", || place.read("seen").ends_with(line));
    }
    write(&place.path("end"), "");
    assert_eq!(agent.ended(&place).code(), Some(9), "{}", place.read("log"));
}

#[test]
fn a_program_ends_with_an_agent_that_is_killed() {
    let server = ours();
    let world = World::new(server.address, "1h", "2h");
    let script = "trap 'echo $1 >> seen; exit 0' USR1; echo \"$A\" > seen; while :; do sleep 0.05; done";
    let exec = |words: &[&str], signal: &str| {
        format!(
            "auto_auth {{ {LOGIN} }}\nenv_template \"A\" {{\n contents = \"a\"\n}}\nexec {{\n command = {}\n{signal}\n}}\n",
            json!(words)
        )
    };
    let place = world.place();
    let config = exec(&["sh", "-c", script, "name", "an argument"], "restart_stop_signal = \"SIGUSR1\"");
    let agent = place.start(Program::Bulla, &world.url(), &config, &[]);
    place.eventually("the program runs", || place.read("seen") == "a\n");
    agent.signal(Signal::KILL);
    place.eventually("it is told to end", || place.read("seen") == "a\nan argument\n");
    // What is not there, or is no program, is told as a shell does it.
    for (name, status) in [("./nowhere", 127), ("./role-id", 126)] {
        let place = world.place();
        let mut agent = place.start(Program::Bulla, &world.url(), &exec(&[name, "x"], ""), &[]);
        assert_eq!(agent.ended(&place).code(), Some(status), "{}", place.read("log"));
        assert!(place.read("log").contains(&format!("cannot run {name}")), "{}", place.read("log"));
    }
}

#[test]
fn as_the_first_process_it_is_ended_by_a_signal_and_its_program_before_it() {
    let server = ours();
    let world = World::new(server.address, "1h", "2h");
    let script = "trap 'sleep 0.3; echo ended >> seen; exit 0' TERM; echo began > seen; while :; do sleep 0.05; done";
    let (place, mut agent) = contain(&world, script);
    place.eventually("the program runs", || place.read("seen") == "began\n");
    kill_process(inner(&agent), Signal::TERM).unwrap();
    assert_eq!(agent.ended(&place).code(), Some(0), "{}", place.read("log"));
    assert_eq!(place.read("seen"), "began\nended\n");
}
