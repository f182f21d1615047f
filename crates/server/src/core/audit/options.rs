//! What a device's options say, read once: a mistake is heard at the start, and not when the first record is to be written.
//!
//! Names and defaults are the peer's. Those that nobody knows have no effect there; here they are listed, to be warned of.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use bulla_core::{Env, file};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::{DeviceConfig, PATIENCE};
use crate::json;
use crate::logical::{Error, Result, parse_seconds};

/// What a device is to do.
pub struct Plan {
    /// What records look like.
    pub form: Form,
    /// Where they go.
    pub place: Place,
    /// Options without effect.
    pub ignored: Vec<String>,
}

/// What records look like.
pub struct Form {
    /// Nothing is hashed.
    pub raw: bool,
    /// Accessors are hashed too.
    pub hash_accessors: bool,
    /// Of listings the number is written, not the names.
    pub elide_lists: bool,
    /// What stands before each record.
    pub prefix: String,
}

/// Where records go.
pub enum Place {
    /// To standard output.
    Stdout,
    /// To a file.
    File(LogFile),
    /// To syslogd.
    Syslog(Syslog),
    /// To a socket.
    Socket(Socket),
    /// To a server of HTTP.
    Http(Http),
}

/// A file.
pub struct LogFile {
    pub path: PathBuf,
    /// Permission bits of a file that is made.
    pub mode: u32,
    /// How long it gets before it is moved away.
    pub rotate: Option<u64>,
    /// How many of those that were moved away stay.
    pub keep: u64,
}

/// Who speaks RFC 3164 on this machine.
pub struct Syslog {
    pub address: PathBuf,
    /// Facility and severity, as a record begins with them.
    pub priority: u8,
    pub tag: String,
    pub timeout: Duration,
}

/// A socket.
pub struct Socket {
    pub kind: SocketKind,
    /// `HOST:PORT`, or a path.
    pub address: String,
    /// How long connecting takes at most, and one record.
    pub timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    Tcp,
    Udp,
    Unix,
    UnixDatagram,
}

/// A server of HTTP.
pub struct Http {
    pub uri: Url,
    pub headers: HeaderMap,
}

/// How long a socket may be waited for: what a device takes longer for is passed over long before.
const LONGEST: Duration = Duration::from_mins(1);
/// Largest file that an address or a header is read from.
const FILE: u64 = 64 << 10;
/// Informational, as the peer has it.
const SEVERITY: u8 = 6;
/// In the order of their codes; those without a name of their own in RFC 3164 are not to be had.
const FACILITIES: [&str; 12] =
    ["KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV", "FTP"];

impl Plan {
    /// Reads a device's options.
    ///
    /// # Errors
    /// 400 with what is wrong.
    pub fn read(config: &DeviceConfig, env: &dyn Env) -> Result<Self> {
        let options = Options { config, asked: RefCell::default() };
        if options.text("format").is_some_and(|format| format != "json") {
            return Err(options.bad("the only format is \"json\""));
        }
        // Whether a far side is there is found out all the time, and keeps no server sealed.
        options.text("skip_test");
        let form = Form {
            raw: options.is_on("log_raw", Switch::Off)?,
            hash_accessors: options.is_on("hmac_accessor", Switch::On)?,
            elide_lists: options.is_on("elide_list_responses", Switch::Off)?,
            prefix: options.text("prefix").unwrap_or_default().to_owned(),
        };
        let place = match config.kind.as_str() {
            "file" => options.file()?,
            "syslog" => Place::Syslog(options.syslog()?),
            "socket" => Place::Socket(options.socket()?),
            "http" => Place::Http(options.http(env)?),
            other => {
                return Err(options.bad(&format!(
                    "the type {other:?} is not supported by this server; \"file\" (also to stdout: file_path = \"stdout\"), \"syslog\", \"socket\" and \"http\" are"
                )));
            }
        };
        let asked = options.asked.borrow();
        let ignored = config.options.keys().filter(|name| !asked.contains(&name.as_str())).cloned().collect();
        Ok(Self { form, place, ignored })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Switch {
    On,
    Off,
}

struct Options<'c> {
    config: &'c DeviceConfig,
    /// Which options have a meaning.
    asked: RefCell<Vec<&'static str>>,
}

impl<'c> Options<'c> {
    fn bad(&self, what: &str) -> Error {
        Error::bad_request(format!("audit device {}: {what}", self.config.path))
    }

    /// An option that says something.
    fn text(&self, name: &'static str) -> Option<&'c str> {
        self.asked.borrow_mut().push(name);
        self.config.options.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    fn need(&self, name: &'static str) -> Result<&'c str> {
        self.text(name).ok_or_else(|| self.bad(&format!("{name} is missing")))
    }

    fn is_on(&self, name: &'static str, otherwise: Switch) -> Result<bool> {
        match self.text(name).map(str::to_lowercase).as_deref() {
            None => Ok(otherwise == Switch::On),
            Some("true" | "1" | "t") => Ok(true),
            Some("false" | "0" | "f") => Ok(false),
            Some(_) => Err(self.bad(&format!("{name} is true or false"))),
        }
    }

    fn number(&self, name: &'static str) -> Result<Option<u64>> {
        let number = |text: &str| text.parse().map_err(|_| self.bad(&format!("{name} is a number")));
        self.text(name).map(number).transpose()
    }

    fn file(&self) -> Result<Place> {
        let (path, old) = (self.text("file_path"), self.text("path"));
        let path = path.or(old).ok_or_else(|| self.bad("file_path is missing"))?;
        let mode = self.text("mode").map_or(Ok(0o600), |text| u32::from_str_radix(text, 8));
        let mode = mode.ok().filter(|mode| *mode <= 0o777);
        let mode = mode.ok_or_else(|| self.bad("mode is permission bits in octal"))?;
        let (rotate, keep) = (self.number("rotate_bytes")?, self.number("rotate_keep")?);
        if path == "stdout" {
            return Ok(Place::Stdout);
        }
        Ok(Place::File(LogFile {
            path: path.into(),
            // 0 leaves the mode of a file that is there.
            mode: if mode == 0 { 0o600 } else { mode },
            rotate: rotate.filter(|bytes| *bytes > 0),
            keep: keep.unwrap_or(5).max(1),
        }))
    }

    fn syslog(&self) -> Result<Syslog> {
        let facility = self.text("facility").unwrap_or("AUTH").to_uppercase();
        let code = match facility.strip_prefix("LOCAL").and_then(|number| number.parse::<u8>().ok()) {
            Some(number @ 0..=7) => Some(16 + number),
            Some(_) => None,
            None => FACILITIES.iter().zip(0..).find(|(name, _)| **name == facility).map(|(_, code)| code),
        };
        let code = code.ok_or_else(|| {
            self.bad(&format!("facility {facility:?} is not known; {} and LOCAL0 to LOCAL7 are", FACILITIES.join(", ")))
        })?;
        let tag = self.text("tag").unwrap_or("vault");
        if tag.len() > 32 || !tag.bytes().all(|byte| byte.is_ascii_graphic() && !b":[]".contains(&byte)) {
            return Err(self.bad("tag has at most 32 characters of ASCII, without space, colon and brackets"));
        }
        Ok(Syslog {
            address: self.text("address").unwrap_or("/dev/log").into(),
            priority: code << 3 | SEVERITY,
            tag: tag.to_owned(),
            timeout: self.timeout()?,
        })
    }

    fn socket(&self) -> Result<Socket> {
        let address = self.need("address")?.to_owned();
        let kind = match self.text("socket_type").unwrap_or("tcp") {
            "tcp" => SocketKind::Tcp,
            "udp" => SocketKind::Udp,
            "unix" => SocketKind::Unix,
            "unixgram" => SocketKind::UnixDatagram,
            other => {
                return Err(self.bad(&format!(
                    "socket_type {other:?} is not supported; \"tcp\", \"udp\", \"unix\" and \"unixgram\" are"
                )));
            }
        };
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if matches!(kind, SocketKind::Tcp | SocketKind::Udp) && port.is_none() {
            return Err(self.bad("address is HOST:PORT, with the port as a number"));
        }
        Ok(Socket { kind, address, timeout: self.timeout()? })
    }

    /// 0 is as long as it may be.
    fn timeout(&self) -> Result<Duration> {
        let seconds = parse_seconds(self.text("write_timeout").unwrap_or("2s")).ok();
        let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let time = seconds.map(|seconds| if seconds == 0 { LONGEST } else { Duration::from_secs(seconds) });
        time.filter(|time| *time <= LONGEST).ok_or_else(|| {
            self.bad(&format!(
                "write_timeout is a duration in whole seconds, at most {LONGEST:?}; a device that takes longer than {PATIENCE:?} is passed over"
            ))
        })
    }

    fn http(&self, env: &dyn Env) -> Result<Http> {
        let uri = self.resolve("uri", self.need("uri")?, env)?;
        // What is wrong with it does not show it: it may have come from a file with secrets.
        let uri = Url::parse(uri.trim()).map_err(|error| self.bad(&format!("uri: {error}")))?;
        if !matches!(uri.scheme(), "http" | "https") || uri.host_str().is_none() {
            return Err(self.bad("uri is no http or https address"));
        }
        if !uri.username().is_empty() || uri.password().is_some() {
            return Err(self.bad("uri has no password in it; give a header Authorization, from env:// or file://"));
        }
        let bad =
            || self.bad("headers is a JSON object of lists of texts, like {\"Authorization\":[\"env://AUDIT_TOKEN\"]}");
        let mut headers = HeaderMap::new();
        let given = json::parse_strict(self.text("headers").unwrap_or("{}").as_bytes()).map_err(|_| bad())?;
        for (name, values) in &given {
            let json::Value::Array(values) = values else { return Err(bad()) };
            let named = HeaderName::try_from(name.as_str()).map_err(|_| bad())?;
            for value in values {
                let value = self.resolve("headers", value.as_str().ok_or_else(bad)?, env)?;
                let value = HeaderValue::try_from(value);
                let mut value =
                    value.map_err(|_| self.bad(&format!("header {name} has a value that no header has")))?;
                value.set_sensitive(true);
                headers.append(&named, value);
            }
        }
        Ok(Http { uri, headers })
    }

    /// `env://NAME` and `file://PATH` stand for what is there, anything else for itself.
    fn resolve(&self, option: &str, text: &str, env: &dyn Env) -> Result<String> {
        if let Some(name) = text.strip_prefix("env://") {
            return env.text(name).ok_or_else(|| self.bad(&format!("{option}: the variable {name} is not set")));
        }
        let Some(path) = text.strip_prefix("file://") else { return Ok(text.to_owned()) };
        let bytes = file::read(path.as_ref(), FILE).map_err(|error| self.bad(&format!("{option}: {error}")))?;
        let text = std::str::from_utf8(bytes.expose());
        // The end of the line is the editor's.
        text.map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
            .map_err(|_| self.bad(&format!("{option}: {path} is not UTF-8")))
    }
}
