//! What people see: warnings and notes on stderr, colour only where a terminal shows it.

use std::io::{BufRead, IsTerminal, Write};

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
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Prints a line on stdout.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn print(line: &str) -> Result<(), crate::error::Failure> {
    writeln!(std::io::stdout().lock(), "{line}").map_err(|error| {
        let message = format!("cannot write to standard output: {error}");
        crate::error::Failure::new(crate::exit::Code::CouldNotWriteOutput, message)
    })
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
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "{question} ");
    let _ = stderr.flush();
    drop(stderr);
    let mut answer = String::new();
    match std::io::stdin().lock().read_line(&mut answer) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(answer.trim().chars().next().unwrap_or('\n').to_ascii_lowercase()),
    }
}
