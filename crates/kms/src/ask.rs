//! Asking the person at the terminal: passphrases, values, consent.
//!
//! Always on the controlling terminal, never on standard input or output: those belong to the files that pass through.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bulla_core::{Env, KeyErrorKind, SecretBytes, SecretString};
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::failure::{Failure, printable};

/// Why a person did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// There is no terminal.
    #[error("there is no terminal to ask on ({0})")]
    NoTerminal(io::Error),
    /// The person gave up.
    #[error("the question was cancelled")]
    Cancelled,
}

impl AskError {
    /// The failure of what the question was about.
    pub(crate) fn about(&self, subject: &str) -> Failure {
        let failure = Failure::new(KeyErrorKind::Denied, format!("{subject}: {self}"));
        match self {
            Self::NoTerminal(_) => failure.hint(
                "run it from a terminal, start gpg-agent to ask on its behalf, or use an identity without a passphrase",
            ),
            Self::Cancelled => failure,
        }
    }
}

/// Asks for a secret on the controlling terminal; what is typed is not shown.
///
/// # Errors
/// Why nobody answered, in words.
pub fn ask_secret(question: &str) -> Result<SecretString, String> {
    Terminal::default().secret(question).map_err(|error| error.to_string())
}

/// Someone who can be asked. The terminal in the program, answers made up front in tests.
pub(crate) trait Ask: Send + Sync {
    /// Asks for a passphrase or the like; what is typed is not shown.
    fn secret(&self, question: &str) -> Result<SecretString, AskError>;

    /// Asks for a line of text.
    fn line(&self, question: &str) -> Result<String, AskError>;

    /// Shows a message.
    fn tell(&self, message: &str);
}

/// The controlling terminal. One question at a time.
pub(crate) struct Terminal {
    path: PathBuf,
    turn: Mutex<()>,
}

impl Default for Terminal {
    fn default() -> Self {
        Self::at(Path::new("/dev/tty"))
    }
}

impl Terminal {
    /// The terminal with this path.
    fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), turn: Mutex::new(()) }
    }

    fn open(&self) -> Result<File, AskError> {
        File::options().read(true).write(true).open(&self.path).map_err(AskError::NoTerminal)
    }
}

impl Ask for Terminal {
    fn secret(&self, question: &str) -> Result<SecretString, AskError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let terminal = self.open()?;
        // Before the question: what is typed the moment it appears is not shown either.
        let quiet = Quiet::hush(&terminal).map_err(AskError::NoTerminal)?;
        let typed = write!(&terminal, "{} ", printable(question)).and_then(|()| read_hidden(&terminal));
        drop(quiet);
        let _ = writeln!(&terminal);
        match typed {
            Ok(Typed::Line(line)) => SecretString::from_utf8(line).map_err(|_| AskError::Cancelled),
            Ok(Typed::Interrupt) => {
                // As if the terminal had sent it, now that the terminal is itself again.
                let _ = kill_process(getpid(), Signal::INT);
                Err(AskError::Cancelled)
            }
            Ok(Typed::End) | Err(_) => Err(AskError::Cancelled),
        }
    }

    fn line(&self, question: &str) -> Result<String, AskError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut terminal = self.open()?;
        let mut line = String::new();
        let read =
            write!(terminal, "{} ", printable(question)).and_then(|()| BufReader::new(terminal).read_line(&mut line));
        match read {
            Ok(1..) => Ok(line.trim_end_matches(['\r', '\n']).to_owned()),
            _ => Err(AskError::Cancelled),
        }
    }

    fn tell(&self, message: &str) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let told = self.open().is_ok_and(|mut terminal| writeln!(terminal, "{}", printable(message)).is_ok());
        if !told {
            tracing::info!("{}", printable(message));
        }
    }
}

/// A terminal that shows nothing of what is typed, and gives it letter by letter; restored when dropped.
///
/// Ctrl-C is a letter, too: as a signal it would end the program with the terminal still mute.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn hush(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut hushed = before.clone();
        hushed.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
        hushed.special_codes[SpecialCodeIndex::VMIN] = 1;
        hushed.special_codes[SpecialCodeIndex::VTIME] = 0;
        // What was typed before the question was not meant for it.
        tcsetattr(terminal, OptionalActions::Flush, &hushed)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // There is nothing left to do if the terminal is gone.
        let _ = tcsetattr(self.terminal, OptionalActions::Drain, &self.before);
    }
}

/// What someone typed unseen.
enum Typed {
    Line(SecretBytes),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D on an empty line, or the terminal went away.
    End,
}

fn read_hidden(mut terminal: &File) -> io::Result<Typed> {
    const LONGEST: usize = 4096;
    let mut line = SecretBytes::with_capacity(LONGEST);
    loop {
        let mut letter = Zeroizing::new([0; 1]);
        match terminal.read(letter.as_mut()) {
            Ok(0) => return Ok(Typed::End),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        match letter[0] {
            b'\n' | b'\r' => return Ok(Typed::Line(line)),
            0x03 => return Ok(Typed::Interrupt),
            0x04 if line.is_empty() => return Ok(Typed::End),
            // Backspace takes a whole character away, of however many bytes.
            0x08 | 0x7f => {
                let start = line.expose().iter().rposition(|byte| byte & 0xc0 != 0x80).unwrap_or(0);
                line.truncate(start);
            }
            // Ctrl-U.
            0x15 => line.truncate(0),
            _ if line.len() < LONGEST => line.extend_from_slice(letter.as_ref()),
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

/// Whether a program that we start could reach a person: over our terminal, a named one, or a desktop.
///
/// If so, waiting has no deadline: the person may be looking for the token.
pub(crate) fn person_is_there(env: &dyn Env) -> bool {
    ["GPG_TTY", "DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| env.var(name).is_some())
        || File::options().read(true).write(true).open("/dev/tty").is_ok()
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::VecDeque;
    use std::sync::Arc;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    /// Someone whose answers are known before; notes what was asked and told.
    #[derive(Clone, Default)]
    pub(crate) struct Scripted {
        answers: Arc<Mutex<VecDeque<String>>>,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Scripted {
        pub(crate) fn new(answers: &[&str]) -> Self {
            let answers = answers.iter().map(|&answer| answer.to_owned()).collect();
            Self { answers: Arc::new(Mutex::new(answers)), asked: Arc::default() }
        }

        pub(crate) fn asked(&self) -> Vec<String> {
            self.asked.lock().unwrap().clone()
        }
    }

    impl Ask for Scripted {
        fn secret(&self, question: &str) -> Result<SecretString, AskError> {
            self.line(question).map(SecretString::from)
        }

        fn line(&self, question: &str) -> Result<String, AskError> {
            self.asked.lock().unwrap().push(question.to_owned());
            self.answers.lock().unwrap().pop_front().ok_or(AskError::Cancelled)
        }

        fn tell(&self, message: &str) {
            self.asked.lock().unwrap().push(message.to_owned());
        }
    }

    /// A pseudo-terminal: our end of it, and the terminal itself.
    fn pty() -> (File, Terminal) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        (File::from(master), Terminal::at(Path::new(&path)))
    }

    /// Reads from the terminal until `text` was shown, then types `answer`. Gives back the screen, which must outlive the
    /// question: closing it hangs up.
    fn answer_when_asked(mut screen: File, text: &str, answer: &str) -> (File, String) {
        let mut shown = Vec::new();
        let mut part = [0; 256];
        while !String::from_utf8_lossy(&shown).contains(text) {
            let n = screen.read(&mut part).unwrap();
            shown.extend_from_slice(&part[..n]);
        }
        screen.write_all(answer.as_bytes()).unwrap();
        // What the terminal shows after the answer, up to the end of the line.
        while !shown.ends_with(b"\n") {
            let n = screen.read(&mut part).unwrap();
            shown.extend_from_slice(&part[..n]);
        }
        (screen, String::from_utf8(shown).unwrap())
    }

    #[test]
    fn a_passphrase_is_read_from_the_terminal_and_not_shown() {
        let (screen, terminal) = pty();
        // Holds the terminal open, so that its screen can be read after the question.
        let held = terminal.open().unwrap();
        let person = std::thread::spawn(move || answer_when_asked(screen, "key 1: ", "x\x15s3cret äö\x7f\x7fü\n"));
        let answer = terminal.secret("Passphrase for key\x1b1:").unwrap();
        assert_eq!(answer.expose(), "s3cret ü");
        let (_screen, shown) = person.join().unwrap();
        assert!(!shown.contains("s3cret"), "{shown:?}");
        drop(held);
    }

    #[test]
    fn the_terminal_shows_again_what_is_typed_after_the_question() {
        let (screen, terminal) = pty();
        let held = terminal.open().unwrap();
        let before = tcgetattr(&held).unwrap();
        let person = std::thread::spawn(move || answer_when_asked(screen, "? ", "secret\n"));
        terminal.secret("?").unwrap();
        let after = tcgetattr(&held).unwrap();
        assert!(before.local_modes.contains(LocalModes::ECHO));
        assert_eq!(after.local_modes, before.local_modes);
        person.join().unwrap();
    }

    #[test]
    fn a_line_is_read_from_the_terminal() {
        let (screen, terminal) = pty();
        let held = terminal.open().unwrap();
        let person = std::thread::spawn(move || answer_when_asked(screen, "PIN? ", "1234\n"));
        assert_eq!(terminal.line("PIN?").unwrap(), "1234");
        assert!(person.join().unwrap().1.contains("1234"));
        drop(held);
    }

    #[test]
    fn no_terminal_is_told_apart_from_no_answer() {
        let nowhere = Terminal::at(Path::new("/nonexistent/tty"));
        assert!(matches!(nowhere.secret("?"), Err(AskError::NoTerminal(_))));
        assert!(matches!(nowhere.line("?"), Err(AskError::NoTerminal(_))));

        let (screen, terminal) = pty();
        let held = terminal.open().unwrap();
        let person = std::thread::spawn(move || {
            let mut screen = screen;
            let mut part = [0; 64];
            let _ = screen.read(&mut part).unwrap();
            // Ctrl-D (Ctrl-C ends the program), and the screen is kept open while it is taken in.
            screen.write_all(b"\x04").unwrap();
            std::thread::sleep(std::time::Duration::from_millis(200));
        });
        assert!(matches!(terminal.secret("?"), Err(AskError::Cancelled)));
        person.join().unwrap();
        drop(held);
    }
}
