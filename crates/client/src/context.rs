//! What a command works with: its flags, its server, and where it prints.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

use bulla_core::json::{Object, Value};
use bulla_core::{Env, SecretString};
use bulla_kms::vault_client::read_duration;
use bulla_kms::vault_variable as variable;

use crate::answer::Answer;
use crate::client::{Call, Client, Reply};
use crate::failure::Failure;
use crate::flags::Given;
use crate::show::{Format, Shown, table, wrapped};
use crate::{Name, data, helper};

/// One run of a command.
pub(crate) struct Context<'a> {
    pub(crate) name: Name,
    pub(crate) flags: Given,
    env: &'a dyn Env,
    client: OnceLock<Client>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(name: Name, flags: Given, env: &'a dyn Env) -> Self {
        Self { name, flags, env, client: OnceLock::new() }
    }

    /// The words after the flags.
    pub(crate) fn words(&self) -> &[String] {
        &self.flags.rest
    }

    /// One of the words after the flags, empty if it lacks.
    pub(crate) fn word(&self, number: usize) -> &str {
        self.flags.rest.get(number).map_or("", String::as_str)
    }

    /// One of the words as a path: no slashes around it.
    pub(crate) fn path(&self, number: usize) -> &str {
        clean(self.word(number))
    }

    /// A variable of the peer's, `BAO_` before `VAULT_`.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.env.vault_var(name)?.into_string().ok()
    }

    /// The environment.
    pub(crate) fn env(&self) -> &'a dyn Env {
        self.env
    }

    /// The form of what is printed.
    ///
    /// # Errors
    /// A form that is not known.
    pub(crate) fn format(&self) -> Result<Format, Failure> {
        match self.flags.text("format") {
            Some(text) => Format::parse(text),
            None => Format::parse(&self.variable("FORMAT").unwrap_or_default()),
        }
    }

    /// The namespace that requests are for, with a slash at its end.
    pub(crate) fn namespace(&self) -> Option<String> {
        let name = self.flags.text("namespace").map(str::to_owned).or_else(|| self.variable("NAMESPACE"))?;
        let name = clean(&name);
        (!name.is_empty()).then(|| format!("{name}/"))
    }

    /// The server's address.
    pub(crate) fn address(&self) -> String {
        let agent = self.flags.full("agent-address").map(str::to_owned).or_else(|| self.variable("AGENT_ADDR"));
        let address = agent.or_else(|| self.flags.full("address").map(str::to_owned)).or_else(|| self.variable("ADDR"));
        let address = address.unwrap_or_else(|| "https://127.0.0.1:8200".to_owned());
        if address.starts_with("unix://") { address } else { address.trim_end_matches('/').to_owned() }
    }

    /// How long answers are to be wrapped.
    ///
    /// # Errors
    /// A variable that is no time.
    pub(crate) fn wrap_ttl(&self) -> Result<Option<u64>, Failure> {
        if let Some(seconds) = self.flags.seconds("wrap-ttl") {
            return Ok(Some(seconds).filter(|seconds| *seconds > 0));
        }
        let Some(text) = self.variable("WRAP_TTL") else { return Ok(None) };
        let time = read_duration(&text).ok_or_else(|| Failure::usage("VAULT_WRAP_TTL is not a time like 30s or 5m"))?;
        Ok(Some(time.as_secs()).filter(|seconds| *seconds > 0))
    }

    /// The token in use: of the environment, or the one that `login` stored.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn token(&self) -> Result<Option<SecretString>, Failure> {
        match self.variable("TOKEN") {
            Some(token) => Ok(Some(SecretString::from(token.trim()))),
            None => helper::load(self.env),
        }
    }

    /// The connection, made when it is first used.
    ///
    /// # Errors
    /// Settings that cannot be used.
    pub(crate) fn client(&self) -> Result<&Client, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let made = Client::new(self, &Variables(self)).map_err(Failure::whatever_was_done)?;
        Ok(self.client.get_or_init(|| made))
    }

    /// Sends a request; any status that is no success fails.
    ///
    /// # Errors
    /// What the server said, or why there is no answer.
    pub(crate) fn call(&self, call: &Call<'_>) -> Result<Reply, Failure> {
        let client = self.client()?;
        let reply = client.send(call)?;
        if reply.is_success() { Ok(reply) } else { Err(client.refused(call, &reply)) }
    }

    /// The answer to a request.
    ///
    /// # Errors
    /// As [`Context::call`].
    pub(crate) fn ask(&self, call: &Call<'_>) -> Result<Option<Answer>, Failure> {
        Answer::read(self.call(call)?.body())
    }

    /// The answer to a reading request. What is not there is `None`, unless the server says more about it.
    ///
    /// # Errors
    /// As [`Context::call`].
    pub(crate) fn read(&self, call: &Call<'_>) -> Result<Option<Answer>, Failure> {
        let client = self.client()?;
        let reply = client.send(call)?;
        if reply.status() == 404 {
            // A proxy's page for people says nothing about a secret.
            let Ok(answer) = Answer::read(reply.body()) else { return Ok(None) };
            let says_more = |answer: &Answer| {
                !answer.data().is_empty() || answer.warnings.as_ref().is_some_and(|list| !list.is_empty())
            };
            return Ok(answer.filter(says_more));
        }
        if !reply.is_success() {
            return Err(client.refused(call, &reply));
        }
        Answer::read(reply.body())
    }

    /// The data that arguments from `first` on say.
    ///
    /// # Errors
    /// An argument that says none.
    pub(crate) fn data(&self, first: usize) -> Result<Object, Failure> {
        data::read(self.words().get(first..).unwrap_or_default(), &mut std::io::stdin().lock())
    }

    /// Prints an answer in the form that was asked for, or its field.
    ///
    /// # Errors
    /// A field that is not there; output that cannot be written.
    pub(crate) fn show(&self, answer: &Answer) -> Result<u8, Failure> {
        if let Some(name) = self.flags.full("field") {
            return self.show_field(answer.field(name).as_ref(), name, "secret");
        }
        let format = self.format()?;
        if format != Format::Table {
            say(&answer.shown().text(format))?;
            return Ok(0);
        }
        self.show_warnings(answer);
        let rows = answer.rows();
        if !rows.is_empty() {
            say(&table::with_header(&["Key", "Value"], &rows))?;
        }
        Ok(0)
    }

    /// Prints an answer's warnings.
    pub(crate) fn show_warnings(&self, answer: &Answer) {
        let warnings = answer.warnings.as_deref().unwrap_or_default();
        if warnings.is_empty() {
            return;
        }
        let mut text = format!("WARNING! The following warnings were returned from {}:\n", self.name.product());
        for warning in warnings {
            text.push_str(&format!("\n{}\n", wrapped(&format!("* {warning}"), 2)));
        }
        warn(&text);
    }

    /// Prints one field, with a newline on a terminal alone.
    ///
    /// # Errors
    /// If it is not there.
    pub(crate) fn show_field(&self, value: Option<&Value>, name: &str, place: &str) -> Result<u8, Failure> {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return Err(Failure::usage(format!("Field {name:?} not present in {place}")));
        };
        let format = self.format()?;
        let text = match format {
            Format::Table | Format::Raw => crate::show::plain::value(value),
            Format::Json | Format::Yaml => Shown::Ref(value).text(format),
        };
        print_bare(&text, format)
    }

    /// Prints an object: as a table, or as it is.
    ///
    /// # Errors
    /// Output that cannot be written.
    pub(crate) fn show_object(&self, object: &Object) -> Result<u8, Failure> {
        let format = self.format()?;
        match format {
            Format::Table => say(&table::object(object))?,
            _ => say(&Shown::Object(object).text(format))?,
        }
        Ok(0)
    }

    /// Prints a list of texts.
    ///
    /// # Errors
    /// Output that cannot be written.
    pub(crate) fn show_list(&self, header: &str, texts: &[String]) -> Result<u8, Failure> {
        let format = self.format()?;
        match format {
            Format::Table => say(&table::list(header, texts))?,
            _ => say(&Shown::Value(Value::from(texts)).text(format))?,
        }
        Ok(0)
    }
}

/// An argument that is a secret: `-` and `@file` say where it is.
///
/// # Errors
/// If that cannot be read.
pub(crate) fn secret(argument: &str) -> Result<SecretString, Failure> {
    match argument.strip_prefix('@') {
        Some(path) => secret_text(data::read_file(path).map_err(Failure::usage)?.expose()),
        None if argument == "-" => {
            secret_text(data::read_all(&mut std::io::stdin().lock()).map_err(Failure::usage)?.expose())
        }
        None => Ok(SecretString::from(argument.trim())),
    }
}

/// Prints a text that a program may read: nothing after it but on a terminal.
pub(crate) fn print_bare(text: &str, format: Format) -> Result<u8, Failure> {
    let newline = if std::io::stdout().is_terminal() || format == Format::Yaml { "\n" } else { "" };
    print(&format!("{text}{newline}"))?;
    Ok(0)
}

/// A path without slashes and space around it.
pub(crate) fn clean(path: &str) -> &str {
    path.trim().trim_matches('/')
}

/// A mount's path: one slash at its end.
pub(crate) fn mount(path: &str) -> String {
    format!("{}/", clean(path))
}

/// Prints on standard error; when nobody can read it there is nobody to tell.
pub(crate) fn warn(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints a line on standard output.
///
/// # Errors
/// As [`print`].
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Prints on standard output.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| Failure::usage(format!("cannot write to standard output: {error}")))
}

fn secret_text(bytes: &[u8]) -> Result<SecretString, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|_| Failure::usage("what was read is not UTF-8"))?;
    Ok(SecretString::from(text.trim()))
}

/// The variables that `bulla_kms` reads, as flags and the peer's two prefixes have them. Ways to log in of our own are hidden.
struct Variables<'c, 'a>(&'c Context<'a>);

impl Env for Variables<'_, '_> {
    fn var(&self, name: &str) -> Option<OsString> {
        let flags = &self.0.flags;
        let flag = match name {
            variable::CACERT => flags.full("ca-cert"),
            variable::CAPATH => flags.full("ca-path"),
            variable::CLIENT_CERT => flags.full("client-cert"),
            variable::CLIENT_KEY => flags.full("client-key"),
            variable::TLS_SERVER_NAME => flags.full("tls-server-name"),
            variable::SKIP_VERIFY => flags.switch("tls-skip-verify").map(|on| if on { "true" } else { "false" }),
            variable::DISABLE_REDIRECTS => {
                flags.switch("disable-redirects").map(|on| if on { "true" } else { "false" })
            }
            _ => None,
        };
        if let Some(text) = flag {
            return Some(text.into());
        }
        match name {
            variable::NAMESPACE => return self.0.namespace().map(Into::into),
            // What they say is in the address already.
            variable::ADDR | variable::AGENT_ADDR => return None,
            _ => {}
        }
        let Some(rest) = name.strip_prefix("VAULT_") else {
            let is_ours = name.starts_with("BULLA_") || name.starts_with("SOPS_");
            return if is_ours { None } else { self.0.env.var(name) };
        };
        // The peer's command line repeats nothing unless it is told to.
        self.0.env.vault_var(rest).or_else(|| (name == variable::MAX_RETRIES).then(|| "0".into()))
    }
}
