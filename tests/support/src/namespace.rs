//! A network of its own for a server, behind a line that can be cut: what is sent then is lost without a word, as when a cable is pulled.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

/// A network namespace, gone when dropped. Root alone can make one.
pub struct Namespace {
    name: String,
    line: String,
    number: u8,
}

impl Namespace {
    /// Makes one, with a line to here.
    pub fn new() -> Self {
        static NUMBER: AtomicU8 = AtomicU8::new(1);
        assert!(
            crate::postgres::is_root(),
            "this test cuts a network off, for which it makes a network namespace: it needs to be root, with ip(8) of iproute2"
        );
        let process = std::process::id();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let made = Self { name: format!("bulla-t{process}-{number}"), line: format!("bt{process}x{number}"), number };
        let (name, line, inner) = (&made.name, &made.line, format!("bi{process}x{number}"));
        ip(&["netns", "add", name]);
        ip(&["link", "add", line, "type", "veth", "peer", "name", &inner, "netns", name]);
        ip(&["address", "add", &format!("{}/30", made.address(1)), "dev", line]);
        ip(&["-n", name, "address", "add", &format!("{}/30", made.address(2)), "dev", &inner]);
        ip(&["-n", name, "link", "set", &inner, "up"]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        made.mend();
        made
    }

    /// A network that no other test has: by the process, and by which of its namespaces it is.
    fn address(&self, host: u8) -> Ipv4Addr {
        let process = u8::try_from(std::process::id() % 250).unwrap_or_default();
        Ipv4Addr::new(10, 213, process, self.number * 4 + host)
    }

    /// Where a server in it is reached from here.
    pub fn there(&self) -> Ipv4Addr {
        self.address(2)
    }

    /// What runs a program in it.
    pub fn command(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]);
        command
    }

    /// Nothing comes through any more, and nobody is told.
    pub fn cut(&self) {
        // The other end: here, the system would know that there is no way.
        ip(&["-n", &self.name, "link", "set", &self.line.replacen("bt", "bi", 1), "down"]);
    }

    /// Everything comes through.
    pub fn mend(&self) {
        ip(&["link", "set", &self.line, "up"]);
        ip(&["-n", &self.name, "link", "set", &self.line.replacen("bt", "bi", 1), "up"]);
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // With it, the line goes.
        let _ = Command::new("ip").args(["link", "del", &self.line]).output();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("ip(8) of iproute2 cannot be run: {error}"));
    assert!(output.status.success(), "ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
}
