//! What people see: warnings and notes on stderr, colour only where a terminal shows it.

use std::io::{BufRead, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

/// The bar that is on the screen.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// A progress bar that is shown until it is dropped. What is said meanwhile takes its place for a moment.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Of so many steps: a bar on a terminal, nothing elsewhere.
    pub(crate) fn show(steps: usize) -> Self {
        let bar = if steps > 1 && std::io::stderr().is_terminal() {
            ProgressBar::new(steps as u64)
        } else {
            ProgressBar::hidden()
        };
        *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        Self(bar)
    }

    /// Of a number of things that nobody knows.
    pub(crate) fn count(what: &'static str) -> Self {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} {msg}") {
            bar.set_style(style);
        }
        bar.set_message(what);
        *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        Self(bar)
    }

    /// So many are done.
    pub(crate) fn at(&self, number: u64) {
        self.0.set_position(number);
    }

    /// One step is done.
    pub(crate) fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        *BAR.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.finish_and_clear();
    }
}

/// Writes with the bar out of the way.
fn aside<T>(write: impl FnOnce() -> T) -> T {
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Prints a warning.
pub(crate) fn warn(message: &str) {
    say(&format!("warning: {message}"));
}

/// Prints something worth knowing.
pub(crate) fn note(message: &str) {
    say(&format!("note: {message}"));
}

/// Prints a line on stderr. When nobody can read it there is nobody to tell.
pub(crate) fn say(line: &str) {
    let _ = aside(|| writeln!(std::io::stderr().lock(), "{line}"));
}

/// Prints a line on stdout.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn print(line: &str) -> Result<(), crate::error::Failure> {
    aside(|| crate::output::print(format!("{line}\n").as_bytes()))
}

/// A colour.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Colour {
    /// What comes.
    Green,
    /// What goes.
    Red,
}

/// Whether colours are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
    /// On a terminal.
    On,
    /// Elsewhere, and where `NO_COLOR` is set.
    Off,
}

impl Colours {
    /// Whether `stream` shows colours.
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if stream.is_terminal() && !refused { Self::On } else { Self::Off }
    }

    /// `text` in a colour, if colours are shown.
    pub(crate) fn paint(self, colour: Colour, text: &str) -> String {
        match (self, colour) {
            (Self::Off, _) => text.to_owned(),
            (Self::On, Colour::Green) => format!("\x1b[32m{text}\x1b[0m"),
            (Self::On, Colour::Red) => format!("\x1b[31m{text}\x1b[0m"),
        }
    }
}

/// Asks a question on stderr and gives the answer's first letter, in lower case. `None` if nobody answers: the end of
/// standard input.
pub(crate) fn ask(question: &str) -> Option<char> {
    aside(|| {
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "{question} ");
        let _ = stderr.flush();
        drop(stderr);
        let mut answer = String::new();
        match std::io::stdin().lock().read_line(&mut answer) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(answer.trim().chars().next().unwrap_or('\n').to_ascii_lowercase()),
        }
    })
}
