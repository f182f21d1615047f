//! `sealing-keys backup` and `restore`.

use std::path::PathBuf;

use bulla_core::SecretBytes;
use bulla_document::{Document, EmitOptions, Syntax};
use bulla_kms::Registry;
use bulla_kms::groups::Services;
use bulla_operator::sealing::keys::backup::{self, BackupError, Form, Keep, Outcome};
use bulla_operator::sealing::keys::recipients::KeyServices;
use bulla_operator::sealing::keys::shares;
use clap::Args;
use serde_json::{Value, json};

use super::{Output, table};
use crate::app::App;
use crate::args::sealing_keys::{ServiceArgs, WhereArgs};
use crate::error::Failure;
use crate::exit::Code;
use crate::input::Source;
use crate::output::{self, Contents, Sink};
use crate::term;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla sealing-keys backup --file keys.json              as they are: who opens them in the cluster opens them there
  bulla sealing-keys backup --to age1… --file keys.json   for an age identity that lies in a safe

With --to this machine unwraps the keys, and must be able to use one of the key services that
they are wrapped for.";

/// Examples for the help.
pub(crate) const RESTORE_EXAMPLES: &str = "\
Examples:
  bulla sealing-keys restore keys.json
  kubectl get secret -n kube-system -l sealedsecrets.bitnami.com/sealed-secrets-key -o yaml |
      bulla sealing-keys restore - --key-service arn:aws:kms:…    a backup of sealed-secrets";

/// Arguments of `backup`.
#[derive(Args, Debug)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    place: WhereArgs,

    /// Write to this file, mode 0600, instead of standard output
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,

    #[arg(
        long,
        help = "Wrap for this recipient instead: age1…, an ARN of AWS KMS, a URL of Vault's transit engine, local:/FILE; any of several opens",
        value_name = "KEY",
        conflicts_with = "danger_plaintext"
    )]
    to: Vec<String>,

    /// Write the private keys as they are, as sealed-secrets' own backups: whoever has the file opens every SealedSecret
    #[arg(long)]
    danger_plaintext: bool,
}

/// Arguments of `restore`.
#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// The backup, JSON or YAML; - is standard input
    file: PathBuf,

    #[command(flatten)]
    place: WhereArgs,

    #[command(flatten)]
    services: ServiceArgs,

    /// How the report is written
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// Writes one file with all keys in it, or none.
///
/// # Errors
/// If a key cannot be read or wrapped, or the file cannot be written.
pub(crate) fn run(app: &App, args: &BackupArgs) -> Result<Code, Failure> {
    let services =
        services(app, &ServiceArgs { key_service: Vec::new(), key_service_threshold: None, key_timeout: None });
    let to = match KeyServices::parse(&args.to, None) {
        Ok(KeyServices::Wrapped(named)) => {
            Some(named.resolve(None).map_err(|error| Failure::generic(error.to_string()))?)
        }
        Ok(KeyServices::PlainSecret) => return Err(Failure::generic("--to plain-secret: say --danger-plaintext")),
        Err(_) if args.to.is_empty() => None,
        Err(error) => return Err(Failure::generic(error.to_string())),
    };
    let form = match (&to, args.danger_plaintext) {
        (_, true) => Form::DangerPlaintext(&services),
        (Some(to), false) => Form::For(&services, to),
        (None, false) => Form::AsIs,
    };
    let made = app.block_on(async {
        let store = args.place.store(app).await?;
        backup::backup(&store, form).await.map_err(|error| failure(&error))
    })??;
    let sink = args.file.clone().map_or(Sink::Stdout, Sink::File);
    // Wrapped keys are no secret, but who has them needs only the key service: nobody else has to read them.
    sink.write(made.text.expose(), Contents::Plain)?;
    term::note(&format!("{} keys: {}", made.names.len(), made.names.join(", ")));
    if args.danger_plaintext {
        term::warn("the file has private keys in it: whoever reads it opens every SealedSecret");
    }
    Ok(Code::Success)
}

/// Puts keys into the cluster.
///
/// # Errors
/// If the file is no backup. A key that was not restored is reported, with status 1.
pub(crate) fn restore(app: &App, args: &RestoreArgs) -> Result<Code, Failure> {
    let source = if args.file.as_os_str() == "-" { Source::Stdin } else { Source::File(args.file.clone()) };
    let items = backup::parse(to_json(&source.name(), source.read()?)?).map_err(|error| failure(&error))?;
    let services = services(app, &args.services);
    let report = app.block_on(async {
        let store = args.place.store(app).await?;
        let named = if args.services.key_service.is_empty() { None } else { Some(args.services.named()?) };
        let set = shares::load(&store).await.map_err(|error| Failure::generic(error.to_string()))?;
        let to = match &named {
            Some(KeyServices::Wrapped(named)) => {
                Some(named.resolve(set.as_ref()).map_err(|error| Failure::generic(error.to_string()))?)
            }
            _ => None,
        };
        let keep = match (&named, &to) {
            (_, Some(to)) => Keep::Wrapped(&services, to),
            (Some(_), None) => Keep::Plain,
            (None, None) => Keep::Refuse,
        };
        backup::restore(&store, items, keep).await.map_err(|error| failure(&error))
    })??;
    let word = |outcome: &Outcome| match outcome {
        Outcome::Created => "restored".to_owned(),
        Outcome::Present => "was there already".to_owned(),
        Outcome::Failed(reason) => format!("not restored: {reason}"),
    };
    match args.output {
        Output::Json => {
            let report: Vec<Value> =
                report.iter().map(|one| json!({"name": one.name, "outcome": word(&one.outcome)})).collect();
            output::print(format!("{:#}\n", Value::Array(report)).as_bytes())?;
        }
        Output::Text => {
            let rows: Vec<_> = report.iter().map(|one| vec![one.name.clone(), word(&one.outcome)]).collect();
            output::print(table(&rows).as_bytes())?;
        }
    }
    let failed = report.iter().any(|one| matches!(one.outcome, Outcome::Failed(_)));
    Ok(if failed { Code::Generic } else { Code::Success })
}

fn services(app: &App, args: &ServiceArgs) -> Services {
    Services { remote: Vec::new(), local: Some(Registry::new(app.env.clone(), args.options())) }
}

fn failure(error: &BackupError) -> Failure {
    let code = match error {
        BackupError::Api(_) => Code::NoEncryptionKey,
        BackupError::Key { .. } => Code::NoDataKey,
        BackupError::NoKeys(_) => Code::NoFile,
        BackupError::Malformed(_) => Code::CouldNotReadInput,
        _ => Code::Generic,
    };
    let failure = Failure::new(code, error.to_string());
    match error {
        BackupError::Plain(_) => failure.with_hint("wrap them with --to age1…, or say --danger-plaintext"),
        _ => failure,
    }
}

/// YAML and JSON as JSON. Several documents are one list.
fn to_json(name: &str, text: SecretBytes) -> Result<Value, Failure> {
    let malformed = |what: String| Failure::new(Code::CouldNotReadInput, format!("{name}: {what}"));
    let document = Document::parse(Syntax::Yaml, text)
        .map_err(|error| malformed(format!("it is neither YAML nor JSON: {error}")))?;
    let mut values = Vec::new();
    for root in document.roots() {
        let json = bulla_document::emit(&[document.to_value(*root)], Syntax::Json, EmitOptions::default())
            .map_err(|error| malformed(error.to_string()))?;
        // The parser's message could quote what is secret.
        values.push(serde_json::from_slice(json.expose()).map_err(|_| malformed("it cannot be read".to_owned()))?);
    }
    if values.len() == 1 { Ok(values.swap_remove(0)) } else { Ok(json!({"items": values})) }
}
