//! What was asked and answered, written down before the answer leaves.
//!
//! A record goes to every device. If there are devices and none has it, the request fails. A device that does not take records is waited for once;
//! from then on it is passed over until it does, and that is reported.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use bulla_core::env::ProcessEnv;

mod options;
mod record;
mod sink;
mod sinks;

pub use record::{QUOTA, Record};

use self::options::{Form, Plan};
use self::record::Line;
use self::sink::{Sink, Written};
pub use self::sinks::Sinks;
use super::hex;
use super::metrics::{Audited, Metrics};
use crate::barrier::{Barrier, View};
use crate::logical::{Error, Result};

/// How long a device may take for one record.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one may that is passed over.
const GLANCE: Duration = Duration::from_millis(1);

/// A device as the configuration has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Its path, with a slash at the end.
    pub path: String,
    /// `file`, `syslog`, `socket` or `http`.
    pub kind: String,
    /// What people call it by.
    pub description: String,
    /// Those of its kind, as they are written: what `env://` and `file://` stand for is not in here.
    pub options: BTreeMap<String, String>,
}

/// Reads the options of all devices, so that what is wrong with them is heard before anything is opened. Gives those that have no effect.
///
/// # Errors
/// 400 with what is wrong.
pub fn check(configs: &[DeviceConfig]) -> Result<Vec<String>> {
    let mut ignored = Vec::new();
    for (at, config) in configs.iter().enumerate() {
        if configs[..at].iter().any(|before| before.path == config.path) {
            return Err(Error::bad_request(format!("there are two audit devices with the path {}", config.path)));
        }
        let plan = Plan::read(config, &ProcessEnv)?;
        ignored.extend(plan.ignored.iter().map(|name| format!("audit {}: {name}", config.path)));
    }
    Ok(ignored)
}

/// A device that writes.
pub struct Device {
    /// As the configuration has it.
    pub config: DeviceConfig,
    salt: hmac::Key,
    form: Form,
    sink: Sink,
}

impl Device {
    async fn open(view: &View, config: &DeviceConfig, sinks: &Arc<Sinks>) -> Result<Self> {
        let plan = Plan::read(config, &ProcessEnv)?;
        let salt = super::salt(view, &config.path).await?;
        let (form, sink) = Sink::open(plan, &config.path, sinks)?;
        Ok(Self { config: config.clone(), salt, form, sink })
    }

    /// A text as this device writes it.
    pub fn hash(&self, text: &str) -> String {
        format!("hmac-sha256:{}", hex(hmac::sign(&self.salt, text.as_bytes()).as_ref()))
    }

    /// Whether the record is written. Nobody else waits for that: a thread that does may be kept by a disk that hangs.
    async fn write_alone(&self, line: &[u8]) -> bool {
        match self.sink.write_at_once(line) {
            Some(written) => written == Written::Yes,
            None => self.write(line.to_vec()).await,
        }
    }

    /// What is still to be written, in order: the record of what is answered, behind or after that of what was asked if it was held.
    fn rest(&self, asked: Line, record: &Record<'_>) -> (Option<Vec<u8>>, Vec<u8>) {
        if asked.written {
            return (None, record.answered(self, &asked, Vec::with_capacity(2 * asked.text.len())));
        }
        if self.sink.takes_several() {
            let mut both = Vec::with_capacity(3 * asked.text.len());
            both.extend_from_slice(&asked.text);
            return (None, record.answered(self, &asked, both));
        }
        let answered = record.answered(self, &asked, Vec::new());
        (Some(asked.text), answered)
    }

    /// Whether all records of these are written.
    async fn write_rest(&self, rest: (Option<Vec<u8>>, Vec<u8>)) -> bool {
        match rest {
            (None, line) => self.write(line).await,
            (Some(asked), answered) => {
                // One after the other: a far side has them in this order.
                let has_asked = self.write(asked).await;
                self.write(answered).await && has_asked
            }
        }
    }

    /// Whether the record is written.
    async fn write(&self, line: Vec<u8>) -> bool {
        let state = self.sink.state();
        let passed_over = state.is_passed_over();
        let Some(answer) = self.sink.write(line) else {
            state.pass_over(&"it does not take records as fast as they come");
            return false;
        };
        // Hardly waited for: enough for one that is quick and works again.
        let patience = if passed_over { GLANCE } else { PATIENCE };
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(Written::Yes)) => true,
            Ok(Ok(Written::Away)) => false,
            Ok(_) => {
                tracing::error!(device = self.config.path, "the audit device could not be written");
                false
            }
            Err(_) => {
                state.pass_over(&"it blocks");
                false
            }
        }
    }
}

/// A record of what is asked, as each device has it.
pub struct Asked(Vec<Line>);

/// All devices.
pub struct Broker {
    devices: Vec<Arc<Device>>,
    metrics: Arc<Metrics>,
}

impl Broker {
    /// Opens the devices of the configuration.
    ///
    /// # Errors
    /// If one cannot be opened: a server that should write down what it does does not do anything without.
    pub async fn open(barrier: &Arc<Barrier>, configs: &[DeviceConfig], metrics: &Arc<Metrics>) -> Result<Self> {
        let view = View::hidden(barrier, "sys/audit/");
        let mut devices = Vec::new();
        for config in configs {
            devices.push(Arc::new(Device::open(&view, config, &metrics.sinks).await?));
        }
        Ok(Self { devices, metrics: Arc::clone(metrics) })
    }

    /// All devices.
    pub fn devices(&self) -> &[Arc<Device>] {
        &self.devices
    }

    /// Lets go of files, and opens them again: after they were moved away.
    pub fn reopen(&self) {
        for device in &self.devices {
            device.sink.reopen();
        }
    }

    /// Makes the record of what is asked. It is to be written down now, or, if the request has no effect but its answer, with that of what is answered.
    pub fn asked(&self, record: &Record<'_>) -> Asked {
        Asked(self.devices.iter().map(|device| record.asked(device)).collect())
    }

    /// Writes down what is asked.
    ///
    /// # Errors
    /// 500 if no device has it.
    pub async fn request(&self, asked: &mut Asked) -> Result<()> {
        let begun = Instant::now();
        let written = match (self.devices.as_slice(), asked.0.as_slice()) {
            ([], _) => return Ok(()),
            ([only], [line]) => only.write_alone(&line.text).await,
            (many, lines) => {
                let all = many.iter().zip(lines).map(|(device, line)| device.write(line.text.clone()));
                futures_util::future::join_all(all).await.contains(&true)
            }
        };
        asked.0.iter_mut().for_each(|line| line.written = true);
        noted(written, begun, &self.metrics.audit[0])
    }

    /// Writes down what is answered, and what was asked, if it is not written yet.
    ///
    /// # Errors
    /// 500 if no device has it.
    pub async fn response(&self, asked: Asked, record: &Record<'_>) -> Result<()> {
        let begun = Instant::now();
        let held = asked.0.iter().any(|line| !line.written);
        let rest = self.devices.iter().zip(asked.0).map(|(device, asked)| (device, device.rest(asked, record)));
        let written = match self.devices.as_slice() {
            [] => return Ok(()),
            [_] => {
                let mut written = false;
                for (only, rest) in rest {
                    written = match rest {
                        (None, line) => only.write_alone(&line).await,
                        rest => only.write_rest(rest).await,
                    };
                }
                written
            }
            _ => {
                let all = rest.map(|(device, rest)| device.write_rest(rest));
                futures_util::future::join_all(all).await.contains(&true)
            }
        };
        if held {
            self.metrics.audit[0].written.observe(begun);
            self.metrics.audit[0].failed.fetch_add(u64::from(!written), Ordering::Relaxed);
        }
        noted(written, begun, &self.metrics.audit[1])
    }
}

/// Counts it.
fn noted(written: bool, begun: Instant, audited: &Audited) -> Result<()> {
    audited.written.observe(begun);
    if written {
        return Ok(());
    }
    audited.failed.fetch_add(1, Ordering::Relaxed);
    Err(Error::internal(&"no audit device has the record"))
}

#[cfg(test)]
mod tests;
