//! What `gpg` reports, and what it means.
//!
//! Format: GnuPG's `doc/DETAILS`, "Format of the --status-fd output": lines `[GNUPG:] KEYWORD ARGUMENTS`, here mixed with
//! the lines for people, which are in the user's language and are only quoted. Error codes are those of libgpg-error:
//! the source in the upper bits, the code in the lower 16.

use std::process::ExitStatus;

use bulla_core::KeyErrorKind;

use crate::command::last_complaint;
use crate::failure::Failure;

const BAD_PASSPHRASE: u32 = 11;
const NO_SECRET_KEY: u32 = 17;
const TIMEOUT: u32 = 62;
const NO_AGENT: u32 = 77;
const NO_PINENTRY: u32 = 85;
const PINENTRY: u32 = 86;
const BAD_PIN: u32 = 87;
const CANCELLED: u32 = 99;
const CARD_REMOVED: u32 = 110;
const CARD_NOT_PRESENT: u32 = 112;
const PIN_BLOCKED: u32 = 130;
const FULLY_CANCELLED: u32 = 198;
/// A system error: "inappropriate ioctl for device", which is how a pinentry says that it has no terminal.
const NO_TERMINAL: u32 = 32768 + 102;

/// A run's report.
pub(super) struct Report {
    /// Status lines: keyword and arguments.
    lines: Vec<(String, Vec<String>)>,
    /// The last line for people.
    complaint: Option<String>,
}

impl Report {
    /// Takes what came from `--status-fd 2`.
    pub(super) fn read(stderr: &[u8]) -> Self {
        let text = String::from_utf8_lossy(stderr);
        let (mut lines, mut people) = (Vec::new(), Vec::new());
        for line in text.lines() {
            let Some(status) = line.strip_prefix("[GNUPG:] ") else {
                people.push(line);
                continue;
            };
            let mut words = status.split_whitespace().map(str::to_owned);
            if let Some(keyword) = words.next() {
                lines.push((keyword, words.collect()));
            }
        }
        Self { lines, complaint: last_complaint(people.join("\n").as_bytes()) }
    }

    /// Whether the key was found but does not take messages.
    pub(super) fn is_unusable(&self) -> bool {
        self.first("INV_RECP").is_some_and(|arguments| arguments.first().map(String::as_str) != Some("1"))
    }

    /// Whether there was text and nothing to decrypt: `gpg --decrypt` also prints what is only signed, or only wrapped up.
    pub(super) fn was_in_the_clear(&self) -> bool {
        self.first("PLAINTEXT").is_some() && self.first("BEGIN_DECRYPTION").is_none()
    }

    /// Why nothing could be encrypted. `keys` is what `--with-colons --list-keys` says of the key, if it is unusable.
    pub(super) fn cannot_encrypt(&self, fingerprint: &str, keys: &str, status: ExitStatus) -> Failure {
        match self.first("INV_RECP").and_then(|arguments| arguments.first()).map(String::as_str) {
            Some("1") => Failure::new(KeyErrorKind::NotFound, "there is no such public key in the keyring")
                .hint(format!("import it: gpg --import FILE, or gpg --recv-keys {fingerprint}")),
            Some(_) => {
                let (reason, advice) = unusable(keys);
                Failure::new(KeyErrorKind::BadKeyFile, format!("the public key cannot be encrypted to: {reason}"))
                    .hint(advice)
            }
            None => self.unexpected("encrypt", status),
        }
    }

    /// Why nothing could be decrypted. `has_tty` is whether the user has told the agent of their terminal.
    pub(super) fn cannot_decrypt(&self, status: ExitStatus, has_tty: bool) -> Failure {
        if let Some(code) = self.error("pkdecrypt_failed") {
            return self.cannot_use(code, has_tty);
        }
        if self.first("DECRYPTION_INFO").is_some() {
            // gpg had the session key, so the message was for us.
            let what = if status.success() {
                "the wrapped key holds nothing that this gpg can read (newer ones write forms that older ones do not know)"
            } else {
                "the wrapped key is damaged"
            };
            return Failure::new(KeyErrorKind::BadCiphertext, what);
        }
        let recipients: Vec<_> = self.all("ENC_TO").filter_map(|arguments| arguments.first()).cloned().collect();
        if !recipients.is_empty() && self.first("NO_SECKEY").is_some() {
            let what = format!("there is no secret key for {} in the keyring", recipients.join(" or "));
            return Failure::new(KeyErrorKind::NotFound, what).hint(
                "gpg --list-secret-keys shows those there are; import the secret key, or plug in the card that holds it",
            );
        }
        if self.first("NODATA").is_some() || self.first("BADARMOR").is_some() {
            return Failure::new(KeyErrorKind::BadCiphertext, "the wrapped key is no OpenPGP message, or is cut off");
        }
        self.unexpected("decrypt", status)
    }

    /// The secret key is there, and the agent does not give it.
    fn cannot_use(&self, code: u32, has_tty: bool) -> Failure {
        let denied = |what: &str| Failure::new(KeyErrorKind::Denied, what);
        match code {
            BAD_PASSPHRASE => denied("the passphrase of the secret key was wrong"),
            BAD_PIN => denied("the PIN of the card was wrong"),
            PIN_BLOCKED => denied("the PIN of the card is blocked after too many wrong ones")
                .hint("gpg --card-edit, then admin and passwd, unblocks it"),
            CANCELLED | FULLY_CANCELLED if self.is_terminal_missing() && !has_tty => no_terminal(),
            CANCELLED | FULLY_CANCELLED => denied("the question for the passphrase was cancelled"),
            TIMEOUT => Failure::new(KeyErrorKind::Timeout, "nobody answered the question for the passphrase"),
            NO_TERMINAL | PINENTRY => no_terminal(),
            NO_PINENTRY => denied("gpg-agent has no pinentry to ask for the passphrase with")
                .hint("install one (pinentry-curses), or correct pinentry-program in gpg-agent.conf"),
            NO_AGENT => Failure::new(KeyErrorKind::Unreachable, "gpg-agent cannot be reached")
                .hint("gpgconf --launch gpg-agent starts it, and says why it does not"),
            CARD_REMOVED | CARD_NOT_PRESENT => {
                Failure::new(KeyErrorKind::NotFound, "the card that holds the secret key is not there")
                    .hint("plug it in; gpg --card-status shows what gpg sees of it")
            }
            NO_SECRET_KEY => Failure::new(KeyErrorKind::NotFound, "gpg-agent does not have the secret key")
                .hint("gpg --list-secret-keys shows those there are"),
            code => {
                let detail = self.detail();
                Failure::new(KeyErrorKind::Other, format!("gpg-agent cannot use the secret key (code {code}){detail}"))
            }
        }
    }

    /// Whether a pinentry for terminals was started without one: `PINENTRY_LAUNCHED PID FLAVOR VERSION TTYNAME …`.
    fn is_terminal_missing(&self) -> bool {
        self.first("PINENTRY_LAUNCHED").is_some_and(|arguments| {
            let flavor = arguments.get(1).map(String::as_str);
            matches!(flavor, Some("curses" | "tty")) && arguments.get(3).is_none_or(|tty| tty == "-")
        })
    }

    fn unexpected(&self, action: &str, status: ExitStatus) -> Failure {
        Failure::new(KeyErrorKind::Other, format!("gpg could not {action} ({status}){}", self.detail()))
    }

    /// gpg's own last words.
    fn detail(&self) -> String {
        self.complaint.as_ref().map(|line| format!(": {line}")).unwrap_or_default()
    }

    fn all<'a>(&'a self, keyword: &'a str) -> impl Iterator<Item = &'a Vec<String>> {
        self.lines.iter().filter(move |line| line.0 == keyword).map(|line| &line.1)
    }

    fn first<'a>(&'a self, keyword: &'a str) -> Option<&'a Vec<String>> {
        self.all(keyword).next()
    }

    /// The code of the last `ERROR WHERE CODE`.
    fn error(&self, location: &str) -> Option<u32> {
        let errors = self.all("ERROR").filter(|arguments| arguments.first().is_some_and(|word| word == location));
        errors.last()?.get(1)?.parse().ok().map(|code: u32| code & 0xffff)
    }
}

fn no_terminal() -> Failure {
    Failure::new(KeyErrorKind::Denied, "gpg-agent has no terminal to ask for the passphrase on")
        .hint("run: export GPG_TTY=$(tty)")
}

/// Why the first key in a listing takes no messages, and what to do: fields 2 (validity) and 12 (capabilities) of its
/// `pub` record. See GnuPG's `doc/DETAILS`, "Format of the colon listings".
fn unusable(keys: &str) -> (&'static str, &'static str) {
    let fields: Vec<_> = keys.lines().find(|line| line.starts_with("pub:")).unwrap_or_default().split(':').collect();
    let validity = fields.get(1).copied().unwrap_or_default();
    let capabilities = fields.get(11).copied().unwrap_or_default();
    match validity {
        "r" => ("it is revoked", "take it off the recipients, and add its successor"),
        "e" => ("it has expired", "import it again from its owner; if it is yours: gpg --quick-set-expire"),
        _ if !capabilities.contains('E') => (
            "it has no valid subkey for encryption",
            "import it again from its owner; if it is yours: gpg --quick-add-key",
        ),
        _ => ("gpg does not say why", "gpg --list-keys shows what it knows of it"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn decrypt(report: &str, has_tty: bool) -> Failure {
        Report::read(report.as_bytes()).cannot_decrypt(ExitStatus::from_raw(2 << 8), has_tty)
    }

    fn agent(code: u32, pinentry: &str) -> String {
        // As GnuPG 2.2.40 prints it.
        format!(
            "[GNUPG:] ENC_TO F8EB699E122F0AE4 1 0\n{pinentry}gpg: encrypted with 2048-bit RSA key\n\
             gpg: Entschlüsselung mit Public-Key fehlgeschlagen: Falsch\n[GNUPG:] ERROR pkdecrypt_failed {code}\n\
             [GNUPG:] BEGIN_DECRYPTION\n[GNUPG:] DECRYPTION_FAILED\ngpg: decryption failed: No secret key\n"
        )
    }

    #[test]
    fn what_the_agent_says_is_told_whatever_its_source_and_language() {
        for (code, kind, part) in [
            (67_108_875, KeyErrorKind::Denied, "passphrase of the secret key was wrong"),
            (83_886_179, KeyErrorKind::Denied, "was cancelled"),
            (83_886_278, KeyErrorKind::Denied, "was cancelled"),
            (67_108_949, KeyErrorKind::Denied, "no pinentry"),
            (83_918_950, KeyErrorKind::Denied, "no terminal"),
            (67_108_926, KeyErrorKind::Timeout, "nobody answered"),
            (33_554_509, KeyErrorKind::Unreachable, "cannot be reached"),
            (100_663_408, KeyErrorKind::NotFound, "card"),
            (67_108_951, KeyErrorKind::Denied, "PIN of the card was wrong"),
            (67_108_994, KeyErrorKind::Denied, "blocked"),
            (67_108_881, KeyErrorKind::NotFound, "does not have the secret key"),
            (7, KeyErrorKind::Other, "code 7): gpg: decryption failed"),
        ] {
            let failure = decrypt(&agent(code, ""), true);
            assert_eq!(failure.kind, kind, "{}", failure.what);
            assert!(failure.what.contains(part), "{}", failure.what);
        }
    }

    #[test]
    fn a_pinentry_without_a_terminal_is_told_from_one_that_was_cancelled() {
        let on = |tty: &str| {
            agent(83_886_179, &format!("[GNUPG:] PINENTRY_LAUNCHED 7 curses 1.2.1 {tty} xterm - - 0/0 -\n"))
        };
        assert!(decrypt(&on("-"), false).what.contains("no terminal"));
        assert!(decrypt(&on("-"), true).what.contains("cancelled"));
        assert!(decrypt(&on("/dev/pts/3"), false).what.contains("cancelled"));
    }

    #[test]
    fn the_reason_why_a_key_is_unusable_is_read_from_its_listing() {
        let listing = |validity: &str, capabilities: &str| {
            format!("tru::1:1:0:3:1:5\npub:{validity}:255:22:8F:1:2::-:::{capabilities}::::::23::0:\nfpr:::::::::AA:\n")
        };
        assert_eq!(unusable(&listing("r", "sc")).0, "it is revoked");
        assert_eq!(unusable(&listing("e", "sc")).0, "it has expired");
        assert_eq!(unusable(&listing("u", "scSC")).0, "it has no valid subkey for encryption");
        assert_eq!(unusable(&listing("u", "escaESCA")).0, "gpg does not say why");
        assert_eq!(unusable("").0, "it has no valid subkey for encryption");
    }

    #[test]
    fn a_report_without_status_lines_quotes_the_last_words() {
        let failure = decrypt("gpg: Fatal: can't create directory\n", false);
        assert_eq!(failure.what, "gpg could not decrypt (exit status: 2): gpg: Fatal: can't create directory");
        assert_eq!(decrypt("", false).what, "gpg could not decrypt (exit status: 2)");
    }
}
