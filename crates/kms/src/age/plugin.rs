//! Plugins: recipients and identities that a program `age-plugin-NAME` on `PATH` serves.
//!
//! Source: the C2SP `age-plugin` specification. The program is started with `--age-plugin=recipient-v1` or
//! `--age-plugin=identity-v1`; [stanzas](super::stanza) go to its input and come from its output, in two phases: we say
//! what there is to wrap or unwrap, then it answers, and may ask the person things through us.
//!
//! Not the age crate's own client, for three reasons: this one waits for the program and stops it when it hangs, says
//! what a program that crashed complained of, and does not take a program that cannot be started for one that does not
//! fit.

mod output;

use std::cell::RefCell;
use std::collections::HashSet;
use std::env::temp_dir;
use std::ffi::OsStr;
use std::io::{self, BufReader, Read};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use age::EncryptError;
use age_core::format::{FILE_KEY_BYTES, FileKey, Stanza};
use age_core::primitives::bech32_decode;
use age_core::secrecy::ExposeSecret;
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bulla_core::{Env, KeyErrorKind, SecretString};
use rustix::process::{Pid, Signal, kill_process};
use zeroize::Zeroizing;

use self::output::Output;
use super::stanza;
use crate::ask::{Ask, person_is_there};
use crate::command::{last_complaint, on_path};
use crate::failure::{Failure, printable};

/// After this long someone who waits for a plugin is told so, as age does.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a plugin may take to end when all is said, before it is interrupted, and then killed.
const GRACE: Duration = Duration::from_millis(500);

/// A recipient `age1NAME1…`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Recipient {
    name: String,
    text: String,
}

impl Recipient {
    /// Parses it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { name: plugin_name(text, "age1", "")?, text: text.to_owned() })
    }

    /// The plugin's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// An identity `AGE-PLUGIN-NAME-1…`: a reference to a key that the plugin can use, or the key itself.
pub(super) struct Identity {
    name: String,
    text: SecretString,
}

impl Identity {
    /// Parses it.
    ///
    /// # Errors
    /// What is wrong with it, without its text.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { name: plugin_name(text, "age-plugin-", "-")?, text: SecretString::from(text) })
    }

    /// The plugin's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Lets the plugin try the stanzas of a file; `None` if none is for it. Blocks.
    ///
    /// # Errors
    /// If it cannot be run, breaks down or gives up.
    pub(super) fn unwrap(&self, stanzas: &[Stanza], host: &Host) -> Result<Option<FileKey>, Failure> {
        Session::run(&self.name, "identity-v1", host, |session| {
            session.send("add-identity", &[self.text.expose()], &[])?;
            for stanza in stanzas {
                let mut arguments = vec!["0", &stanza.tag];
                arguments.extend(stanza.args.iter().map(String::as_str));
                session.send("recipient-stanza", &arguments, &stanza.body)?;
            }
            session.send("done", &[], &[])?;

            let mut file_key = None;
            session.answer(|stanza| match stanza.tag.as_str() {
                "file-key" => {
                    let body = Zeroizing::new(std::mem::take(&mut stanza.body));
                    if stanza.args != ["0"] || file_key.is_some() || body.len() != FILE_KEY_BYTES {
                        return Err(Trouble::Protocol("it gave a malformed file key".to_owned()));
                    }
                    file_key = Some(FileKey::init_with_mut(|key| key.copy_from_slice(&body)));
                    Ok(true)
                }
                _ => Ok(false),
            })?;
            Ok(file_key)
        })
    }
}

/// What a plugin needs of its surroundings.
pub(super) struct Host<'a> {
    /// Where programs are looked for.
    pub(super) env: &'a dyn Env,
    /// Who answers the plugin's questions.
    pub(super) ask: &'a dyn Ask,
    /// When a plugin is stopped if there is no person whom it could be waiting for.
    pub(super) timeout: Duration,
}

/// A recipient with what its plugin needs, for the age crate. Blocks. What went wrong stays in it.
pub(super) struct Wrap<'a> {
    recipient: &'a Recipient,
    host: Host<'a>,
    failure: RefCell<Option<Failure>>,
}

impl<'a> Wrap<'a> {
    pub(super) fn new(recipient: &'a Recipient, host: Host<'a>) -> Self {
        Self { recipient, host, failure: RefCell::new(None) }
    }

    /// What went wrong, if anything did.
    pub(super) fn into_failure(self) -> Option<Failure> {
        self.failure.into_inner()
    }

    fn wrap(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), Failure> {
        Session::run(&self.recipient.name, "recipient-v1", &self.host, |session| {
            session.send("add-recipient", &[&self.recipient.text], &[])?;
            session.send("wrap-file-key", &[], file_key.expose_secret())?;
            session.send("extension-labels", &[], &[])?;
            session.send("done", &[], &[])?;

            let mut stanzas = Vec::new();
            let mut labels = None;
            session.answer(|stanza| match stanza.tag.as_str() {
                "recipient-stanza" => {
                    let mut args = std::mem::take(&mut stanza.args).into_iter();
                    match (args.next().as_deref(), args.next()) {
                        (Some("0"), Some(tag)) => {
                            let body = std::mem::take(&mut stanza.body);
                            stanzas.push(Stanza { tag, args: args.collect(), body });
                            Ok(true)
                        }
                        _ => Err(Trouble::Protocol("it gave a malformed recipient stanza".to_owned())),
                    }
                }
                "labels" if labels.is_none() => {
                    labels = Some(std::mem::take(&mut stanza.args).into_iter().collect());
                    Ok(true)
                }
                "labels" => Err(Trouble::Protocol("it gave labels twice".to_owned())),
                _ => Ok(false),
            })?;
            if stanzas.is_empty() {
                return Err(Trouble::Protocol("it wrapped nothing".to_owned()));
            }
            Ok((stanzas, labels.unwrap_or_default()))
        })
    }
}

impl age::Recipient for Wrap<'_> {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        self.wrap(file_key).map_err(|failure| {
            self.failure.replace(Some(failure));
            EncryptError::Io(io::ErrorKind::Other.into())
        })
    }
}

/// What can go wrong in talking to a plugin.
enum Trouble {
    /// It went away.
    Ended,
    /// It does not keep to the protocol: how.
    Protocol(String),
    /// It gave up: its words.
    Reported(String),
    /// It took too long.
    Late,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => Self::Ended,
            io::ErrorKind::TimedOut => Self::Late,
            _ => Self::Protocol(error.to_string()),
        }
    }
}

/// A running plugin.
struct Session<'a> {
    binary: String,
    input: Option<ChildStdin>,
    output: Option<BufReader<Output>>,
    child: Arc<Mutex<Child>>,
    complaints: Option<JoinHandle<Vec<u8>>>,
    /// Dropped when the session ends, so that nobody watches it any longer.
    watched: Option<Sender<()>>,
    /// Says whether the plugin was stopped because it took too long.
    watcher: Option<JoinHandle<bool>>,
    host: &'a Host<'a>,
}

impl<'a> Session<'a> {
    /// Starts the plugin, talks to it, and waits for its end.
    fn run<T>(
        name: &str,
        protocol: &str,
        host: &'a Host<'a>,
        talk: impl FnOnce(&mut Self) -> Result<T, Trouble>,
    ) -> Result<T, Failure> {
        let mut session = Self::start(name, protocol, host)?;
        let result = talk(&mut session);
        let (status, slow, complaints) = session.end();
        let binary = &session.binary;
        result.map_err(|trouble| {
            let fail = |kind, what: String| Failure::new(kind, format!("{binary} {what}"));
            let trouble = if slow { Trouble::Late } else { trouble };
            match trouble {
                Trouble::Late => {
                    let limit = host.timeout.as_secs_f32();
                    fail(KeyErrorKind::Timeout, format!("did not answer within {limit} s and was stopped"))
                }
                Trouble::Reported(what) => fail(KeyErrorKind::Other, format!("says: {what}")),
                Trouble::Protocol(what) => fail(KeyErrorKind::Other, format!("does not speak the protocol: {what}")),
                Trouble::Ended => {
                    let ending = status.map_or_else(|| "was stopped".to_owned(), |s| format!("ended ({s})"));
                    let complaint = last_complaint(&complaints).map(|line| format!(": {line}")).unwrap_or_default();
                    fail(KeyErrorKind::Other, format!("{ending} before it had answered{complaint}"))
                        .hint("AGEDEBUG=plugin shows all that the plugin says")
                }
            }
        })
    }

    fn start(name: &str, protocol: &str, host: &'a Host<'a>) -> Result<Self, Failure> {
        let binary = format!("age-plugin-{name}");
        let path = on_path(OsStr::new(&binary), host.env.var("PATH").as_deref()).ok_or_else(|| {
            Failure::new(KeyErrorKind::NotFound, format!("the plugin {binary} is not on PATH"))
                .hint(format!("install {binary}, or put the folder that holds it on PATH"))
        })?;
        let debug = host.env.text("AGEDEBUG").as_deref() == Some("plugin");
        let mut child = Command::new(&path)
            .arg(format!("--age-plugin={protocol}"))
            // As age does: what a plugin does must not depend on where it is called from.
            .current_dir(temp_dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(if debug { Stdio::inherit() } else { Stdio::piped() })
            .spawn()
            .map_err(|error| Failure::new(KeyErrorKind::Other, format!("cannot start {}: {error}", path.display())))?;
        let (input, output, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let child = Arc::new(Mutex::new(child));
        let (watched, ends) = channel();
        let deadline = (!person_is_there(host.env)).then_some(host.timeout);
        let guard = {
            let (child, binary) = (Arc::clone(&child), binary.clone());
            thread::spawn(move || watch(&child, &ends, &binary, deadline))
        };
        Ok(Self {
            binary,
            input,
            output: output.map(|pipe| BufReader::new(Output::new(pipe, deadline))),
            child,
            complaints: stderr.map(|stderr| thread::spawn(move || keep_some(stderr))),
            watched: Some(watched),
            watcher: Some(guard),
            host,
        })
    }

    fn send(&mut self, tag: &str, arguments: &[&str], body: &[u8]) -> Result<(), Trouble> {
        let input = self.input.as_mut().ok_or(Trouble::Ended)?;
        Ok(stanza::write(input, tag, arguments, body)?)
    }

    /// The second phase: takes the plugin's stanzas until it is done. `take` returns whether it knew what to do with one.
    fn answer(&mut self, mut take: impl FnMut(&mut Stanza) -> Result<bool, Trouble>) -> Result<(), Trouble> {
        loop {
            let output = self.output.as_mut().ok_or(Trouble::Ended)?;
            let mut stanza = stanza::read(output)?.ok_or(Trouble::Ended)?;
            if take(&mut stanza)? {
                self.send("ok", &[], &[])?;
                continue;
            }
            let body = || String::from_utf8_lossy(&stanza.body);
            match stanza.tag.as_str() {
                "done" => return Ok(()),
                "error" => {
                    self.send("ok", &[], &[])?;
                    return Err(Trouble::Reported(printable(&body())));
                }
                "msg" => {
                    self.host.ask.tell(&format!("{}: {}", self.binary, body()));
                    self.send("ok", &[], &[])?;
                }
                "request-secret" => match self.host.ask.secret(&format!("{}: {}", self.binary, body())) {
                    Ok(secret) => self.send("ok", &[], secret.expose().as_bytes())?,
                    Err(_) => self.send("fail", &[], &[])?,
                },
                "request-public" => match self.host.ask.line(&format!("{}: {}", self.binary, body())) {
                    Ok(line) => self.send("ok", &[], line.as_bytes())?,
                    Err(_) => self.send("fail", &[], &[])?,
                },
                "confirm" => match self.confirm(&body(), &stanza.args)? {
                    Some(answer) => self.send("ok", &[answer], &[])?,
                    None => self.send("fail", &[], &[])?,
                },
                _ => self.send("unsupported", &[], &[])?,
            }
        }
    }

    /// Lets the person choose; `None` if nobody did.
    fn confirm(&self, message: &str, options: &[String]) -> Result<Option<&'static str>, Trouble> {
        let malformed = || Trouble::Protocol("it asked a malformed question".to_owned());
        let options: Vec<String> = options
            .iter()
            .map(|option| {
                let bytes = BASE64_STANDARD_NO_PAD.decode(option).map_err(|_| malformed())?;
                String::from_utf8(bytes).map_err(|_| malformed())
            })
            .collect::<Result<_, _>>()?;
        let question = match options.as_slice() {
            [yes] => format!("{}: {message} (enter for \"{yes}\")", self.binary),
            [yes, no] => format!("{}: {message} (1 for \"{yes}\", 2 for \"{no}\")", self.binary),
            _ => return Err(malformed()),
        };
        for _ in 0..3 {
            match (self.host.ask.line(&question).as_deref().map(str::trim), options.len()) {
                (Ok(_), 1) | (Ok("1"), _) => return Ok(Some("yes")),
                (Ok("2"), _) => return Ok(Some("no")),
                (Ok(_), _) => {}
                (Err(_), _) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Closes the pipes and waits, with growing emphasis. Returns how the plugin ended, unless it had to be killed,
    /// whether it was stopped for taking too long, and its complaints.
    fn end(&mut self) -> (Option<ExitStatus>, bool, Vec<u8>) {
        drop(self.input.take());
        drop(self.output.take());
        let status = self.wait(GRACE).or_else(|| {
            let child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            drop(child);
            if let Some(pid) = pid {
                // If it is gone by now, all the better.
                let _ = kill_process(pid, Signal::INT);
            }
            self.wait(GRACE)
        });
        if status.is_none() {
            kill(&self.child);
        }
        drop(self.watched.take());
        let slow = self.watcher.take().is_some_and(|watcher| watcher.join().unwrap_or(false));
        // What still holds the plugin's stderr open after its end is not waited for.
        let complaints = self.complaints.take().filter(|_| status.is_some());
        let complaints = complaints.and_then(|thread| join_within(thread, GRACE)).unwrap_or_default();
        (status, slow, complaints)
    }

    fn wait(&self, patience: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + patience;
        loop {
            let status = self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait();
            match status {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(1)),
                _ => return None,
            }
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if self.watched.is_some() {
            self.end();
        }
    }
}

/// Tells whoever waits that the plugin takes long, and stops it at the deadline; `true` if it did.
fn watch(child: &Mutex<Child>, ends: &Receiver<()>, binary: &str, deadline: Option<Duration>) -> bool {
    let patience = deadline.map_or(PATIENCE, |deadline| deadline.min(PATIENCE));
    if ends.recv_timeout(patience) != Err(RecvTimeoutError::Timeout) {
        return false;
    }
    if patience == PATIENCE {
        tracing::warn!("still waiting for {binary}");
    }
    let Some(deadline) = deadline else { return false };
    if ends.recv_timeout(deadline.saturating_sub(patience)) != Err(RecvTimeoutError::Timeout) {
        return false;
    }
    kill(child);
    true
}

fn kill(child: &Mutex<Child>) {
    let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
    // It may have ended meanwhile.
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads to the end, keeping the first 16 KiB.
fn keep_some(mut source: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let _ = source.by_ref().take(1 << 14).read_to_end(&mut kept);
    let _ = io::copy(&mut source, &mut io::sink());
    kept
}

fn join_within<T>(thread: JoinHandle<T>, patience: Duration) -> Option<T> {
    let end = Instant::now() + patience;
    while !thread.is_finished() {
        if Instant::now() > end {
            return None;
        }
        thread::sleep(Duration::from_millis(1));
    }
    thread.join().ok()
}

/// The plugin that a Bech32 text is for: what stands between `before` and `after` in its prefix.
fn plugin_name(text: &str, before: &str, after: &str) -> Result<String, String> {
    bech32_decode(
        text,
        |_| "it is not valid Bech32 (a letter is wrong or missing)".to_owned(),
        |_| Ok(()),
        |prefix, _| {
            let prefix = prefix.to_string().to_ascii_lowercase();
            let name = prefix.strip_prefix(before).and_then(|name| name.strip_suffix(after)).unwrap_or_default();
            let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
            if name.is_empty() || !name.bytes().all(valid) {
                return Err("it names no valid plugin".to_owned());
            }
            Ok(name.to_owned())
        },
    )
}
