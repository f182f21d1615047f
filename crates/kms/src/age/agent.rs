//! The passphrase cache of `gpg-agent`: remembers passphrases of identity files between runs, and asks for them with
//! the user's own pinentry.
//!
//! Protocol: Assuan over the agent's Unix socket, commands `GET_PASSPHRASE` and `CLEAR_PASSPHRASE` (`GnuPG` manual,
//! "Agent Protocol"). The socket is looked for where sops looks, and last in `GNUPGHOME`; the cache id is sops' own, so
//! that what was typed for one is known to the other.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use bulla_core::{Env, SecretBytes, SecretString};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::ask::person_is_there;
use crate::failure::printable;

/// How long the agent may take for what it asks nobody about: an answer comes at once or never.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take to ask where there seems to be no one. A pinentry may know of a desktop that we do not.
const LONG_PATIENCE: Duration = Duration::from_secs(30);

/// `GPG_ERR_CANCELED` and `GPG_ERR_FULLY_CANCELED`, without the part that names the source.
const CANCELLED: [u32; 2] = [99, 198];

/// What came of asking.
pub(super) enum Answer {
    /// The passphrase.
    Passphrase(SecretString),
    /// The person gave up.
    Cancelled,
    /// The agent cannot ask (it has no pinentry, or that has no terminal): its words.
    Unable(String),
}

/// A connection to the agent.
pub(super) struct Agent {
    stream: BufReader<UnixStream>,
}

impl Agent {
    /// Connects to the running agent; `None` if there is none.
    pub(super) fn connect(env: &dyn Env) -> Option<Self> {
        let stream = UnixStream::connect(socket(env)?).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        let mut agent = Self { stream: BufReader::new(stream) };
        agent.reply().ok().filter(|reply| reply.starts_with("OK"))?;
        let terminal = env.text("GPG_TTY").or_else(terminal_of_stdin);
        let options = [("display", env.text("DISPLAY")), ("ttyname", terminal), ("ttytype", env.text("TERM"))];
        for (name, value) in options {
            // An agent that does not take an option can still know the passphrase.
            if let Some(value) = value.filter(|value| !value.contains(['\r', '\n'])) {
                agent.call(&format!("OPTION {name}={value}")).ok()?;
            }
        }
        let limit = (!person_is_there(env)).then_some(LONG_PATIENCE);
        agent.stream.get_ref().set_read_timeout(limit).ok()?;
        Some(agent)
    }

    /// The passphrase cached under `id`, or what the person types. `problem` says what was wrong with the last one.
    pub(super) fn passphrase(&mut self, id: &str, problem: Option<&str>, question: &str) -> io::Result<Answer> {
        let problem = problem.map_or_else(|| "X".to_owned(), escape);
        let reply = self.call(&format!("GET_PASSPHRASE {} {problem} Passphrase {}", escape(id), escape(question)))?;
        if let Some(hex) = reply.strip_prefix("OK") {
            let passphrase = unhex(hex.trim()).and_then(|bytes| SecretString::from_utf8(bytes).ok());
            return Ok(passphrase.map_or_else(
                || Answer::Unable("it answered with something that is no text".to_owned()),
                Answer::Passphrase,
            ));
        }
        let code = reply.split(' ').nth(1).and_then(|code| code.parse::<u32>().ok()).unwrap_or_default();
        if CANCELLED.contains(&(code & 0xffff)) {
            return Ok(Answer::Cancelled);
        }
        Ok(Answer::Unable(printable(&reply)))
    }

    /// Makes the agent forget what it has under `id`.
    pub(super) fn forget(&mut self, id: &str) -> io::Result<()> {
        self.call(&format!("CLEAR_PASSPHRASE {}", escape(id))).map(drop)
    }

    fn call(&mut self, command: &str) -> io::Result<Zeroizing<String>> {
        self.stream.get_mut().write_all(format!("{command}\n").as_bytes())?;
        self.reply()
    }

    /// The line that ends a reply; comments, status lines and inquiries are passed over.
    fn reply(&mut self) -> io::Result<Zeroizing<String>> {
        loop {
            let mut line = Zeroizing::new(String::with_capacity(1100));
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line.starts_with("INQUIRE") {
                self.stream.get_mut().write_all(b"END\n")?;
            } else if line.starts_with("OK") || line.starts_with("ERR") {
                return Ok(line);
            }
        }
    }
}

/// sops' cache id of an encrypted identity file with these contents (without armor).
///
/// `SopsAge` and 25 bytes of the contents' SHA-256 in Base32: 47 characters, of the 50 that the agent takes.
pub(super) fn cache_id(contents: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut id = String::from("SopsAge");
    for five in Sha256::digest(contents)[..25].chunks_exact(5) {
        let bits = five.iter().fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
        for letter in (0..8).rev() {
            id.push(char::from(LETTERS[usize::try_from(bits >> (5 * letter) & 31).unwrap_or_default()]));
        }
    }
    id
}

/// Where the agent listens.
fn socket(env: &dyn Env) -> Option<PathBuf> {
    if let Some(info) = env.text("GPG_AGENT_INFO") {
        return info.split(':').next().filter(|path| !path.is_empty()).map(PathBuf::from);
    }
    [
        env.home().map(|home| home.join(".gnupg")),
        env.path("XDG_RUNTIME_DIR").map(|runtime| runtime.join("gnupg")),
        env.path("GNUPGHOME"),
    ]
    .into_iter()
    .flatten()
    .map(|folder| folder.join("S.gpg-agent"))
    .find(|path| path.metadata().is_ok_and(|found| found.file_type().is_socket()))
}

fn terminal_of_stdin() -> Option<String> {
    rustix::termios::ttyname(io::stdin(), Vec::new()).ok()?.into_string().ok()
}

/// As in URLs, blanks as `+`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => escaped.push('+'),
            b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => escaped.push(char::from(byte)),
            _ => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

fn unhex(hex: &str) -> Option<SecretBytes> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if !hex.len().is_multiple_of(2) {
        return None;
    }
    let mut bytes = SecretBytes::zeroed(hex.len() / 2);
    for (byte, pair) in bytes.expose_mut().iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// An agent that gives these replies, and what it was told.
    fn agent(
        replies: &'static [&'static str],
    ) -> (tempfile::TempDir, BTreeMap<String, String>, thread::JoinHandle<String>) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("S.gpg-agent");
        let listener = UnixListener::bind(&socket).unwrap();
        let env = BTreeMap::from([("GNUPGHOME".to_owned(), folder.path().to_str().unwrap().to_owned())]);
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut stream = BufReader::new(stream);
            let mut heard = String::new();
            stream.get_mut().write_all(b"OK Pleased to meet you\n").unwrap();
            for reply in replies {
                while {
                    let start = heard.len();
                    stream.read_line(&mut heard).unwrap() > 0 && heard[start..].starts_with("OPTION")
                } {
                    stream.get_mut().write_all(b"OK\n").unwrap();
                }
                stream.get_mut().write_all(reply.as_bytes()).unwrap();
            }
            heard
        });
        (folder, env, thread)
    }

    #[test]
    fn a_passphrase_is_asked_for_and_decoded() {
        let (_folder, env, heard) = agent(&["S PROGRESS x\n# comment\nOK 70C3A4737320\n"]);
        let mut agent = Agent::connect(&env).unwrap();
        let Answer::Passphrase(passphrase) = agent.passphrase("Id1", None, "For 'a b%':").unwrap() else { panic!() };
        assert_eq!(passphrase.expose(), "päss ");
        assert!(heard.join().unwrap().ends_with("GET_PASSPHRASE Id1 X Passphrase For+%27a+b%25%27%3A\n"));
    }

    #[test]
    fn giving_up_is_told_apart_from_having_no_pinentry() {
        let (_folder, env, heard) =
            agent(&["ERR 83886179 Operation cancelled <Pinentry>\n", "ERR 67108949 No pinentry <GPG Agent>\n"]);
        let mut agent = Agent::connect(&env).unwrap();
        assert!(matches!(agent.passphrase("Id1", Some("bad"), "?").unwrap(), Answer::Cancelled));
        let Answer::Unable(what) = agent.passphrase("Id1", None, "?").unwrap() else { panic!() };
        assert!(what.contains("No pinentry"), "{what}");
        heard.join().unwrap();
    }

    #[test]
    fn no_agent_is_no_error() {
        assert!(Agent::connect(&BTreeMap::new()).is_none());
        let env = BTreeMap::from([("GPG_AGENT_INFO".to_owned(), "/nonexistent:1:1".to_owned())]);
        assert!(Agent::connect(&env).is_none());
    }

    #[test]
    fn an_agent_that_says_nothing_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let _listener = UnixListener::bind(folder.path().join("S.gpg-agent")).unwrap();
        let env = BTreeMap::from([("GNUPGHOME".to_owned(), folder.path().to_str().unwrap().to_owned())]);
        assert!(Agent::connect(&env).is_none());
    }

    #[test]
    fn the_cache_id_is_that_of_sops() {
        // Go: base32.StdEncoding.EncodeToString(sha256.Sum256([]byte("abc"))[:25]).
        assert_eq!(cache_id(b"abc"), "SopsAgeXJ4BNP4PAHH6UQKBIDPF3LRCEOYAGYNDSYLXVHFU");
        assert_eq!(cache_id(b"abc").len(), 47);
    }
}
