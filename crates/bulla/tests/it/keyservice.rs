//! The key service: our server and client, and those of the real sops.

use std::process::{Child, Command};
use std::time::Duration;

use bulla_test_support::unused_address;

use crate::world::{Program, Run, World, finish};

struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(world: &World, program: Program, network: &str, address: &str) -> Service {
    start_with(world.command(program), network, address)
}

fn start_with(mut command: Command, network: &str, address: &str) -> Service {
    let service = Service(command.args(["keyservice", "--network", network, "--address", address]).spawn().unwrap());
    for _ in 0..200 {
        let up = match network {
            "unix" => std::os::unix::net::UnixStream::connect(address).is_ok(),
            _ => std::net::TcpStream::connect(address).is_ok(),
        };
        if up {
            return service;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the key service does not listen on {address}");
}

/// Decrypts by a remote service alone.
fn decrypt(world: &World, program: Program, uri: &str) -> Run {
    let mut command = world.command(program);
    command.args(["decrypt", "--enable-local-keyservice=false", "--keyservice", uri, "a.json"]);
    finish(command.env_remove("SOPS_AGE_KEY_FILE"), b"")
}

#[test]
fn ours_serves_ours_and_the_real_sops_and_is_served_by_it() {
    let world = World::new();
    world.encrypted("a.json", "{\n\t\"a\": 1\n}\n");
    let socket = world.path("s").display().to_string();
    let address = unused_address().to_string();
    for (server, network, at) in [
        (Program::Bulla, "unix", &socket),
        (Program::Link, "tcp", &address),
        (Program::Sops("3.13.3"), "tcp", &unused_address().to_string()),
    ] {
        let service = start(&world, server, network, at);
        for client in [Program::Bulla, Program::Link, Program::Sops("3.13.3")] {
            let run = decrypt(&world, client, &format!("{network}://{at}")).ok();
            assert_eq!(run.text(), "{\n\t\"a\": 1\n}\n", "{server:?} {client:?}");
        }
        drop(service);
    }
}

#[test]
fn a_slow_key_of_the_server_is_given_up_in_the_server_s_own_time() {
    let world = World::new();
    world.encrypted("a.json", "{\"a\": 1}\n");
    let socket = world.path("s").display().to_string();
    let mut command = world.command(Program::Bulla);
    command.env_remove("SOPS_AGE_KEY_FILE").env("SOPS_AGE_KEY_CMD", "sleep 600").env("BULLA_KEY_TIMEOUT", "300ms");
    let _service = start_with(command, "unix", &socket);
    let run = decrypt(&world, Program::Bulla, &format!("unix://{socket}")).fails(128);
    assert!(run.stderr.contains("SOPS_AGE_KEY_CMD") && run.stderr.contains("0.3 s"), "{}", run.stderr);
}

#[test]
fn without_any_service_the_flags_are_named() {
    let world = World::new();
    world.encrypted("a.json", "{\"a\": 1}\n");
    let run = world.bulla(&["decrypt", "--enable-local-keyservice=false", "a.json"]).fails(128);
    assert!(run.stderr.contains("--keyservice"), "{}", run.stderr);
    world.bulla(&["decrypt", "--keyservice", "nonsense", "a.json"]).fails(1);
}

#[test]
fn sigterm_ends_the_server_and_removes_its_socket() {
    let world = World::new();
    let socket = world.path("s").display().to_string();
    let mut service = start(&world, Program::Bulla, "unix", &socket);
    let killed = Command::new("kill").args(["-TERM", &service.0.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert!(service.0.wait().unwrap().success());
    assert!(!world.path("s").exists());
}
