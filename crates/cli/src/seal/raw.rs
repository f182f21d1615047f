//! One value, sealed by itself, to be put into a manifest by hand.

use std::path::Path;

use bulla_core::SecretBytes;
use bulla_format::sealed::{Algorithm, Binding, MAX_PLAINTEXT, PublicKey, Scope, seal_value};

use super::args::SealArgs;
use super::cluster;
use crate::app::App;
use crate::error::Failure;
use crate::exit::Code;
use crate::input::Source;

/// Seals the value that `--from-file` or standard input has. The answer has no line break.
///
/// # Errors
/// [`Code::ConflictingFlags`] when the place is not fully said.
pub(crate) fn seal(app: &App, args: &SealArgs, key: &PublicKey) -> Result<String, Failure> {
    let usage = |what: String| Failure::new(Code::ConflictingFlags, what);
    if args.algorithm == Algorithm::Hybrid {
        return Err(usage(
            "a hybrid value is bound to its item and its template, which --raw does not know".to_owned(),
        )
        .with_hint("seal it into its SealedSecret with --merge-into FILE"));
    }
    let scope = args.scope.and_then(|scope| scope.0).unwrap_or_default();
    let name = args.name.as_deref().filter(|name| !name.is_empty());
    let namespace = match scope {
        Scope::ClusterWide => String::new(),
        Scope::Strict | Scope::NamespaceWide => cluster::namespace(app, &args.cluster)?.0,
    };
    if scope == Scope::Strict && name.is_none() {
        return Err(usage(format!("must provide the --name flag with --raw and --scope {scope}")));
    }
    if scope != Scope::ClusterWide && namespace.is_empty() {
        return Err(usage(format!("must provide the --namespace flag with --raw and --scope {scope}")));
    }
    let plain = value(args)?;
    let binding = Binding::new(scope, &namespace, name.unwrap_or_default(), "");
    seal_value(key, &binding, plain.expose()).map_err(|error| Failure::new(Code::CannotEncryptTree, error.to_string()))
}

fn value(args: &SealArgs) -> Result<SecretBytes, Failure> {
    let source = match args.mode.from_file.as_slice() {
        [] => Source::Stdin,
        // As kubectl's flag: an item's name may stand before the file's.
        [file] => Source::File(Path::new(file.split_once('=').map_or(file.as_str(), |(_, file)| file)).to_owned()),
        _ => {
            let what = "must provide only one --from-file when encrypting a single item with --raw";
            return Err(Failure::new(Code::ConflictingFlags, what));
        }
    };
    let plain = source.read()?;
    if plain.len() > MAX_PLAINTEXT {
        return Err(Failure::new(
            Code::CannotEncryptTree,
            format!("{}: more than the 1 MiB that a Secret holds", source.name()),
        ));
    }
    Ok(plain)
}
