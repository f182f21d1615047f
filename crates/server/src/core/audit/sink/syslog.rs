//! The syslog of this machine, RFC 3164.
//!
//! ```text
//! datagram = "<" facility * 8 + severity ">" "Nov  6 13:57:16" " " tag "[" process id "]: " record
//! ```
//!
//! The time is in UTC; the record has its own.

use std::io;
use std::time::Duration;

use super::super::options;
use super::link::Transport;
use super::socket::Datagrams;

pub struct Syslogd {
    datagrams: Datagrams,
    priority: u8,
    tag: String,
}

impl Syslogd {
    pub fn new(plan: options::Syslog) -> Self {
        Self { datagrams: Datagrams::new(plan.address, plan.timeout), priority: plan.priority, tag: plan.tag }
    }
}

impl Transport for Syslogd {
    fn name(&self) -> String {
        self.datagrams.name()
    }

    fn connect(&mut self) -> io::Result<()> {
        self.datagrams.connect()
    }

    fn check(&mut self) -> io::Result<()> {
        self.datagrams.check()
    }

    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        let time = jiff::Timestamp::now().strftime("%b %e %H:%M:%S");
        let mut datagram = format!("<{}>{time} {}[{}]: ", self.priority, self.tag, std::process::id()).into_bytes();
        datagram.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        self.datagrams.send(&datagram)
    }

    fn close(&mut self) {
        self.datagrams.close();
    }

    fn doubt(&self) -> Duration {
        self.datagrams.doubt()
    }
}
