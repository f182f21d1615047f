//! What was asked and answered, written down before the answer leaves.
//!
//! A record goes to every device. If there are devices and none has it, the request fails. A device that does not take records is waited for once;
//! from then on it is passed over until it does, and that is reported.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;

mod record;
mod sink;

pub use record::Record;

use self::sink::Sink;
use super::hex;
use super::metrics::{Audited, Metrics};
use crate::barrier::{Barrier, View};
use crate::logical::{Error, Result};

/// How long a device may take for one record.
const PATIENCE: Duration = Duration::from_secs(5);

/// A device as the configuration has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Its path, with a slash at the end.
    pub path: String,
    /// `file`; others are refused.
    pub kind: String,
    /// What people call it by.
    pub description: String,
    /// `file_path` (a path, or `stdout`), `mode`, `log_raw`, `hmac_accessor`, `elide_list_responses`, `prefix`, `rotate_bytes`, `rotate_keep`.
    pub options: BTreeMap<String, String>,
}

impl DeviceConfig {
    /// Whether an option is on.
    fn is_on(&self, option: &str, otherwise: Switch) -> Result<bool> {
        match self.options.get(option).map(|value| value.to_lowercase()).as_deref() {
            None | Some("") => Ok(otherwise == Switch::On),
            Some("true" | "1" | "t") => Ok(true),
            Some("false" | "0" | "f") => Ok(false),
            Some(_) => Err(Error::bad_request(format!("audit device {}: {option} is true or false", self.path))),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Switch {
    On,
    Off,
}

/// A device that writes.
pub struct Device {
    /// As the configuration has it.
    pub config: DeviceConfig,
    salt: hmac::Key,
    raw: bool,
    hash_accessors: bool,
    elide_lists: bool,
    prefix: String,
    sink: Sink,
    stuck: AtomicBool,
}

impl Device {
    async fn open(view: &View, config: &DeviceConfig) -> Result<Self> {
        if config.kind != "file" {
            return Err(Error::bad_request(format!(
                "audit device {}: the type {:?} is not supported by this server; \"file\" is, also to stdout (file_path = \"stdout\")",
                config.path, config.kind
            )));
        }
        Ok(Self {
            salt: super::salt(view, &config.path).await?,
            raw: config.is_on("log_raw", Switch::Off)?,
            hash_accessors: config.is_on("hmac_accessor", Switch::On)?,
            elide_lists: config.is_on("elide_list_responses", Switch::Off)?,
            prefix: config.options.get("prefix").cloned().unwrap_or_default(),
            sink: Sink::open(config)?,
            config: config.clone(),
            stuck: AtomicBool::new(false),
        })
    }

    /// A text as this device writes it.
    pub fn hash(&self, text: &str) -> String {
        format!("hmac-sha256:{}", hex(hmac::sign(&self.salt, text.as_bytes()).as_ref()))
    }

    /// Whether the record is written.
    async fn write(&self, line: Vec<u8>) -> bool {
        let taken = self.sink.write(line);
        if self.stuck.load(Ordering::Relaxed) {
            // Hardly waited for: enough to see that it works again.
            let Some(answer) = taken else { return false };
            let done = tokio::time::timeout(Duration::from_millis(1), answer).await;
            return matches!(done, Ok(Ok(true))) && self.unstick();
        }
        let Some(answer) = taken else { return self.stick("it does not take records as fast as they come") };
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(true)) => true,
            Ok(_) => {
                tracing::error!(device = self.config.path, "the audit device could not be written");
                false
            }
            Err(_) => self.stick("it blocks"),
        }
    }

    fn stick(&self, why: &str) -> bool {
        if !self.stuck.swap(true, Ordering::Relaxed) {
            tracing::error!(device = self.config.path, why, "the audit device is passed over");
        }
        false
    }

    fn unstick(&self) -> bool {
        if self.stuck.swap(false, Ordering::Relaxed) {
            tracing::info!(device = self.config.path, "the audit device works again");
        }
        true
    }
}

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
            devices.push(Arc::new(Device::open(&view, config).await?));
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

    /// Writes down what is asked.
    ///
    /// # Errors
    /// 500 if no device has it.
    pub async fn request(&self, record: &Record<'_>) -> Result<()> {
        self.write(|device| record.request_line(device), &self.metrics.audit[0]).await
    }

    /// Writes down what is answered.
    ///
    /// # Errors
    /// 500 if no device has it.
    pub async fn response(&self, record: &Record<'_>) -> Result<()> {
        self.write(|device| record.response_line(device), &self.metrics.audit[1]).await
    }

    async fn write(&self, line: impl Fn(&Device) -> Vec<u8>, audited: &Audited) -> Result<()> {
        let begun = Instant::now();
        let written = match self.devices.as_slice() {
            [] => return Ok(()),
            [only] => only.write(line(only)).await,
            many => {
                let all = many.iter().map(|device| device.write(line(device)));
                futures_util::future::join_all(all).await.contains(&true)
            }
        };
        audited.written.observe(begun);
        if written {
            return Ok(());
        }
        audited.failed.fetch_add(1, Ordering::Relaxed);
        Err(Error::internal(&"no audit device has the record"))
    }
}

#[cfg(test)]
mod tests;
