//! `seal`: Secrets become `SealedSecrets`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bulla_core::{SecretBytes, file};
use bulla_document::{Syntax, Value};
use bulla_format::sealed::{PublicKey, Scope};
use bulla_format::sops::MacCheck;
use zeroize::Zeroizing;

use crate::app::App;
use crate::args::given;
use crate::engine::{self, Access};
use crate::error::Failure;
use crate::exit::Code;
use crate::input::Source;
use crate::kind::kind_of;
use crate::output::{Contents, Sink};
use crate::seal::args::{From, OutputFormat};
use crate::seal::cluster::{self, Controller, Said};
use crate::seal::manifest::{self, Part, unreadable};
use crate::seal::{self, SealedObject, Secret, certificate, merge, private_keys, raw, recover, rotate};
use crate::stream::Stream;
use crate::term;

pub(crate) use crate::seal::args::SealArgs;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla seal --fetch-cert > cert.pem                      once; the file is no secret
  bulla seal --cert cert.pem secret.yaml -w sealed.yaml
  kubectl create secret generic db --dry-run=client --from-literal=password=x -o yaml |
    bulla seal --cert cert.pem --merge-into sealed.yaml
  bulla seal --cert cert.pem --from sops secret.enc.yaml  from one ciphertext to the other
  bulla seal --re-encrypt -f sealed.yaml                  to the cluster's newest key
  bulla seal --recovery-unseal --recovery-private-key backup.yaml sealed.yaml

Every flag can be given as a variable: SEALED_SECRETS_CERT for --cert.";

/// Does what the flags ask for.
///
/// # Errors
/// See [`Code`].
pub(crate) fn run(app: &App, args: &SealArgs) -> Result<Code, Failure> {
    check_modes(args)?;
    if args.mode.recovery_unseal {
        return recovery(args);
    }
    if args.mode.validate {
        let source = source(args);
        let parts = parts(app, args, &source)?;
        let verdicts = rotate::validate(app, &Controller::new(app, args)?, &source.name(), &parts)?;
        if args.format == Some(OutputFormat::Json) && !app.is_kubeseal() {
            let report =
                serde_json::to_string_pretty(&verdicts).map_err(|error| Failure::generic(error.to_string()))?;
            sink(args, None).write(format!("{report}\n").as_bytes(), Contents::Encrypted)?;
        }
        rotate::check(&verdicts)?;
        return Ok(Code::Success);
    }
    if args.mode.re_encrypt {
        return re_encrypt(app, args);
    }
    if args.mode.fetch_cert {
        let (place, text) = certificate::fetch(app, args)?;
        certificate::check(&place, &text, args.algorithm)?;
        sink(args, None).write(&text, Contents::Encrypted)?;
        return Ok(Code::Success);
    }
    let key = certificate::key(app, args)?;
    if args.mode.raw {
        sink(args, None).write(raw::seal(app, args, &key)?.as_bytes(), Contents::Encrypted)?;
        return Ok(Code::Success);
    }
    match &args.mode.merge_into {
        Some(target) => merge_into(app, args, &key, target),
        None => seal_all(app, args, &key),
    }
}

fn check_modes(args: &SealArgs) -> Result<(), Failure> {
    let conflict = |what: &str| Err(Failure::new(Code::ConflictingFlags, what));
    let mode = &args.mode;
    let modes = [
        (mode.recovery_unseal, "--recovery-unseal"),
        (mode.validate, "--validate"),
        (mode.re_encrypt, "--re-encrypt"),
        (mode.fetch_cert, "--fetch-cert"),
        (mode.raw, "--raw"),
        (mode.merge_into.is_some(), "--merge-into"),
    ];
    let asked: Vec<&str> = modes.iter().filter(|(asked, _)| *asked).map(|(_, name)| *name).collect();
    if asked.len() > 1 {
        return conflict(&format!("{} cannot be asked for at once", asked.join(" and ")));
    }
    if !mode.from_file.is_empty() && !mode.raw {
        return conflict("--from-file requires --raw");
    }
    if args.from.is_some() && !asked.is_empty() && mode.merge_into.is_none() {
        return conflict("--from is for sealing manifests");
    }
    if !mode.recovery_private_key.is_empty() && !mode.recovery_unseal {
        term::warn("ignoring --recovery-private-key because unseal command not chosen with --recovery-unseal");
    }
    if args.in_place && (mode.recovery_unseal || mode.validate || mode.fetch_cert || mode.raw) {
        return conflict("--in-place is for sealing manifests");
    }
    if args.in_place && source(args) == Source::Stdin {
        return conflict("cannot use --in-place when reading from stdin");
    }
    Ok(())
}

fn seal_all(app: &App, args: &SealArgs, key: &PublicKey) -> Result<Code, Failure> {
    let source = source(args);
    let _lock = if args.in_place { source.lock_existing()? } else { None };
    let name = source.name();
    let parts = parts(app, args, &source)?;
    let format = format(app, args);
    let mut out = SecretBytes::new();
    let mut sealed_any = false;
    for part in &parts {
        let Some(object) = &part.object else {
            // A document of comments keeps its place.
            if format.is_none() {
                out.extend_from_slice(part.document.text().expose());
            }
            continue;
        };
        let items = manifest::items(object);
        let is_list = !matches!(items.as_slice(), [item] if std::ptr::eq(*item, object));
        let others = items.iter().filter(|item| !is_secret(app, item)).count();
        if others > 0 && (is_list || app.is_kubeseal() || format.is_some()) {
            let (version, kind) =
                items.iter().find(|item| !is_secret(app, item)).map(|item| manifest::kind(item)).unwrap_or_default();
            return Err(unreadable(&name, format!("it has a {kind:?} of {version:?}, which is no Secret")));
        }
        if others > 0 {
            check_other(&name, object)?;
            out.extend_from_slice(part.document.text().expose());
            continue;
        }
        sealed_any |= !items.is_empty();
        for item in items {
            let (secret, sealed) = seal_one(app, args, key, item).map_err(|failure| failure.context(&name))?;
            let start = out.len();
            emit(part, &sealed, format, is_list, &mut out)?;
            warn_of_comments(&name, &secret, &out.expose()[start..]);
        }
    }
    if !sealed_any {
        return Err(unreadable(&name, "no secrets found. Ensure the input is valid and UTF-8 encoded"));
    }
    sink(args, Some(&source)).write(out.expose(), Contents::Encrypted)?;
    Ok(Code::Success)
}

/// That an object which stays as it is holds no Secret: who seals a file trusts that none is left in it.
fn check_other(name: &str, object: &Value) -> Result<(), Failure> {
    let (version, kind) = manifest::kind(object);
    let looks_so = |kind: &str| kind.eq_ignore_ascii_case("Secret") || kind.eq_ignore_ascii_case("SecretList");
    let in_list = match object.get("items") {
        Some(Value::Seq(items)) => items.iter().any(|item| looks_so(manifest::kind(item).1)),
        _ => false,
    };
    if looks_so(kind) || in_list {
        let what = format!("it has a {kind:?} of {version:?}, whose values would stay plain; a Secret is of \"v1\"");
        return Err(unreadable(name, what).with_hint("give it the apiVersion and kind that it has in the cluster"));
    }
    if holds_secret(object) {
        term::warn(&format!("{name}: the {kind:?} has a Secret inside, which is not sealed: it stays as it is"));
    }
    Ok(())
}

/// Whether a Secret with values stands anywhere below.
fn holds_secret(value: &Value) -> bool {
    match value {
        Value::Map(entries) => {
            let has = |field: &str| matches!(value.get(field), Some(Value::Map(map)) if !map.is_empty());
            let is_one = manifest::kind(value).1 == "Secret" && (has("data") || has("stringData"));
            is_one || entries.iter().any(|(_, value)| holds_secret(value))
        }
        Value::Seq(items) => items.iter().any(holds_secret),
        _ => false,
    }
}

/// Whether an object is a Secret. kubeseal takes what says nothing for one.
fn is_secret(app: &App, object: &Value) -> bool {
    match manifest::kind(object) {
        ("v1", "Secret") => true,
        ("" | "v1", "Secret" | "") => app.is_kubeseal(),
        _ => false,
    }
}

fn emit(
    part: &Part,
    sealed: &SealedObject,
    format: Option<OutputFormat>,
    is_list: bool,
    out: &mut SecretBytes,
) -> Result<(), Failure> {
    if let Some(format) = format {
        return seal::write(&sealed.to_value(), format, out);
    }
    if !is_list && let Some(text) = seal::keep_layout(part, sealed) {
        out.extend_from_slice(text.expose());
        return Ok(());
    }
    if part.document.syntax() == Syntax::Json {
        return seal::write(&sealed.to_value(), OutputFormat::Json, out);
    }
    term::note(&format!("{:?}: its layout cannot be kept; it is written anew", sealed.metadata.name));
    seal::write(&sealed.to_value(), OutputFormat::Yaml, out)
}

/// Says which comments hold a value that was sealed. They are the user's, and stay.
fn warn_of_comments(name: &str, secret: &Secret, text: &[u8]) {
    // Shorter ones stand in a comment by chance.
    const SHORTEST: usize = 6;
    let comments: Vec<&[u8]> = text
        .split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let at =
                if line.trim_ascii_start().starts_with(b"#") { Some(0) } else { memchr::memmem::find(line, b" #") };
            at.map(|at| &line[at..])
        })
        .collect();
    if comments.is_empty() {
        return;
    }
    for (item, plain) in secret.data.iter().filter(|(_, plain)| plain.expose().trim_ascii().len() >= SHORTEST) {
        let encoded = Zeroizing::new(BASE64_STANDARD.encode(plain.expose()));
        let holds = |comment: &&[u8]| {
            memchr::memmem::find(comment, plain.expose().trim_ascii()).is_some()
                || memchr::memmem::find(comment, encoded.as_bytes()).is_some()
        };
        if comments.iter().any(holds) {
            term::warn(&format!("{name}: a comment holds the value of {item:?}, and stays as it is"));
        }
    }
}

fn seal_one(app: &App, args: &SealArgs, key: &PublicKey, object: &Value) -> Result<(Secret, SealedObject), Failure> {
    let mut secret = read_secret(args, object)?;
    if let Some(name) = args.name.as_ref().filter(|name| !name.is_empty()) {
        secret.metadata.name.clone_from(name);
    }
    if secret.metadata.name.is_empty() {
        return Err(Failure::new(Code::CouldNotReadInput, "missing metadata.name in input Secret"));
    }
    if let Some(scope) = args.scope.and_then(|scope| scope.0) {
        secret.metadata.set_scope(scope);
    }
    if secret.scope() != Scope::ClusterWide {
        place(app, args, &mut secret)?;
    }
    let sealed = SealedObject::seal(key, &secret)
        .map_err(|what| Failure::new(Code::CannotEncryptTree, format!("{:?}: {what}", secret.metadata.name)))?;
    Ok((secret, sealed))
}

fn read_secret(args: &SealArgs, object: &Value) -> Result<Secret, Failure> {
    let secret = Secret::read(object).map_err(|what| Failure::new(Code::CouldNotReadInput, what))?;
    if secret.data.is_empty() && !args.allow_empty_data {
        let what = "secret.data is empty in input Secret, assuming this is an error and aborting. To work with empty data, --allow-empty-data can be used";
        return Err(Failure::new(Code::CouldNotReadInput, what));
    }
    Ok(secret)
}

/// Gives a Secret without a namespace the one it would be applied to.
fn place(app: &App, args: &SealArgs, secret: &mut Secret) -> Result<(), Failure> {
    let own = &mut secret.metadata.namespace;
    if !own.is_empty() && given(args.cluster.namespace.as_ref()).is_none() {
        return Ok(());
    }
    let (namespace, said) = cluster::namespace(app, &args.cluster)?;
    if own.is_empty() {
        if said == Said::Elsewhere && !app.is_kubeseal() {
            term::note(&format!(
                "{:?} is sealed for the namespace {namespace:?}; say another with --namespace",
                secret.metadata.name
            ));
        }
        *own = namespace;
    } else if *own != namespace {
        let what = format!("namespace mismatch: input secret is in namespace {own:?} but {namespace:?} was specified");
        return Err(Failure::new(Code::ConflictingFlags, what));
    }
    Ok(())
}

fn merge_into(app: &App, args: &SealArgs, key: &PublicKey, target: &Path) -> Result<Code, Failure> {
    let source = source(args);
    let name = source.name();
    let parts = parts(app, args, &source)?;
    let objects: Vec<&Value> = parts.iter().filter_map(|part| part.object.as_ref()).flat_map(manifest::items).collect();
    let [object] = objects.as_slice() else {
        return Err(unreadable(
            &name,
            format!("it has {} objects; one Secret is merged into one SealedSecret", objects.len()),
        ));
    };
    if !is_secret(app, object) {
        return Err(unreadable(&name, "it is no Secret"));
    }
    let mut secret = read_secret(args, object).map_err(|failure| failure.context(&name))?;
    let file = Source::File(target.to_owned());
    let _lock = file.lock_existing()?;
    let text = file.read_existing()?;
    let (scope, namespace) = merge::place(&file.name(), &text)?;
    if scope != Scope::ClusterWide {
        // The target's own namespace counts, and must be the one that was asked for.
        if !namespace.is_empty() {
            secret.metadata.namespace = namespace;
        }
        place(app, args, &mut secret)?;
    }
    let merged = merge::merge(&file.name(), &text, &secret, args.scope.and_then(|scope| scope.0), key)?;
    let merged = match args.format {
        None => merged,
        // Asked for by name: written anew, as kubeseal does always.
        Some(format) => {
            let mut out = SecretBytes::new();
            for part in manifest::read(&file.name(), &merged)? {
                if let Some(object) = &part.object {
                    seal::write(object, format, &mut out)?;
                }
            }
            out
        }
    };
    Sink::File(target.to_owned()).write(merged.expose(), Contents::Encrypted)?;
    Ok(Code::Success)
}

fn re_encrypt(app: &App, args: &SealArgs) -> Result<Code, Failure> {
    let source = source(args);
    // As kubeseal: a file that is named alone is replaced.
    let in_place = args.in_place || (args.sealed_secret_file.is_none() && source != Source::Stdin);
    let _lock = if in_place { source.lock_existing()? } else { None };
    let parts = parts(app, args, &source)?;
    let controller = Controller::new(app, args)?;
    let renewed = rotate::re_encrypt(app, &controller, &source.name(), &parts)?;
    let format = if in_place { args.format } else { format(app, args) };
    let mut out = SecretBytes::new();
    for (index, part) in parts.iter().enumerate() {
        match (renewed.iter().find(|(at, _)| *at == index), format) {
            (None, None) => out.extend_from_slice(part.document.text().expose()),
            (None, Some(_)) => {}
            (Some((_, sealed)), None) => out.extend_from_slice(rotate::in_place(part, sealed)?.expose()),
            (Some((_, sealed)), Some(format)) => seal::write(&sealed.to_value(), format, &mut out)?,
        }
    }
    let sink = if in_place { in_place_sink(&source) } else { sink(args, None) };
    sink.write(out.expose(), Contents::Encrypted)?;
    Ok(Code::Success)
}

fn recovery(args: &SealArgs) -> Result<Code, Failure> {
    let ring = private_keys::read(&args.mode.recovery_private_key)?;
    let source = source(args);
    let name = source.name();
    let parts = manifest::read(&name, &input(&source)?)?;
    let format = args.format.or_else(|| by_ending(args)).unwrap_or(OutputFormat::Json);
    let mut out = SecretBytes::new();
    let mut found = false;
    for object in parts.iter().filter_map(|part| part.object.as_ref()).flat_map(manifest::items) {
        let sealed = SealedObject::read(object).map_err(|what| unreadable(&name, what))?;
        seal::write(&recover::open(&name, &ring, &sealed)?, format, &mut out)?;
        found = true;
    }
    if !found {
        return Err(unreadable(&name, "no SealedSecret is in it"));
    }
    let sink = sink(args, None);
    // A file that is there keeps its mode.
    if let Sink::File(path) = &sink
        && let Some(mode) = std::fs::metadata(path).ok().and_then(|metadata| file::exposed_mode(&metadata))
    {
        let what =
            format!("{} can be read by others (mode {mode:o}); a plain Secret is not written there", path.display());
        return Err(Failure::new(Code::CouldNotWriteOutput, what).with_hint("chmod 600, or name another file"));
    }
    sink.write(out.expose(), Contents::Plain)?;
    Ok(Code::Success)
}

fn source(args: &SealArgs) -> Source {
    let file = args.secret_file.as_ref().or(args.file.as_ref()).filter(|path| !path.as_os_str().is_empty());
    Source::from_argument(file.map(PathBuf::as_path))
}

fn input(source: &Source) -> Result<SecretBytes, Failure> {
    if *source == Source::Stdin && std::io::stdin().is_terminal() {
        term::say("(tty detected: expecting json/yaml k8s resource in stdin)");
    }
    source.read()
}

/// The input's documents; those of an encrypted file are decrypted in memory.
fn parts(app: &App, args: &SealArgs, source: &Source) -> Result<Vec<Part>, Failure> {
    let name = source.name();
    let text = input(source)?;
    let mut parts = match args.from {
        None => manifest::read(&name, &text)?,
        Some(From::Sops) => manifest::read(&name, &decrypted(app, args, &name, text)?)?,
    };
    if app.is_kubeseal() {
        parts.iter_mut().filter_map(|part| part.object.as_mut()).for_each(seal::coerce_strings);
    }
    Ok(parts)
}

fn decrypted(app: &App, args: &SealArgs, name: &str, text: SecretBytes) -> Result<SecretBytes, Failure> {
    let access = Access::new(app, &args.access)?;
    if let Some(stream) = Stream::find(&text) {
        return stream.decrypt(app, &access, name, MacCheck::Check);
    }
    let kind = kind_of(app.personality, None, name, text.expose());
    let opened = engine::open(app, &access, name, kind, text, MacCheck::Check)?;
    Ok(opened.plain.text)
}

/// How objects are written anew; nothing: in the input's own layout.
fn format(app: &App, args: &SealArgs) -> Option<OutputFormat> {
    let asked = by_ending(args).or(args.format);
    if app.is_kubeseal() { Some(asked.unwrap_or(OutputFormat::Json)) } else { args.format }
}

/// kubeseal: a file's ending says YAML, whatever else was said.
fn by_ending(args: &SealArgs) -> Option<OutputFormat> {
    let ending = args.sealed_secret_file.as_ref()?.extension()?;
    (ending == "yaml" || ending == "yml").then_some(OutputFormat::Yaml)
}

fn sink(args: &SealArgs, source: Option<&Source>) -> Sink {
    match (&args.sealed_secret_file, source) {
        (Some(path), _) if !path.as_os_str().is_empty() => Sink::File(path.clone()),
        (_, Some(source)) if args.in_place => in_place_sink(source),
        _ => Sink::Stdout,
    }
}

fn in_place_sink(source: &Source) -> Sink {
    match source {
        Source::File(path) => Sink::File(path.clone()),
        Source::Stdin => Sink::Stdout,
    }
}
