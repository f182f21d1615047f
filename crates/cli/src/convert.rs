//! Plaintexts of one type written as another, and parts of them taken out.

use bulla_core::SecretBytes;
use bulla_document::{Document, EmitOptions, Syntax, Value};
use bulla_format::sops::FileKind;
use zeroize::Zeroizing;

use crate::app::App;
use crate::error::Failure;
use crate::exit::Code;
use crate::term;

/// Under which key the bytes of a binary file stand in its tree.
const BINARY_KEY: &str = "data";

/// Rewrites a plaintext of type `from` as type `to`. The same bytes where the types are the same.
///
/// # Errors
/// [`Code::CannotDump`] for a tree that the other type has no form for.
pub(crate) fn convert(app: &App, text: SecretBytes, from: FileKind, to: FileKind) -> Result<SecretBytes, Failure> {
    if from == to && app.global.indent.is_none() {
        return Ok(text);
    }
    if from == to && to != FileKind::Text(Syntax::Json) {
        // A new indentation costs a text its comments, so it is applied only where there can be none.
        return Ok(text);
    }
    emit(app, trees(text, from)?, to)
}

/// Writes a part of a file: a string as it is, a map as a file of type `to`, anything else as `to` writes a single value.
///
/// # Errors
/// [`Code::CannotDump`] for what `to` has no form for.
pub(crate) fn part(app: &App, value: Value, to: FileKind) -> Result<SecretBytes, Failure> {
    match (value, to) {
        (value @ Value::Map(_), _) => emit(app, vec![value], to),
        (Value::Str(text), _) => Ok(SecretBytes::from(text.as_slice())),
        (_, FileKind::Binary) => {
            Err(cannot_dump("binary files are not structured: only strings can be extracted as binary"))
        }
        (_, FileKind::Text(Syntax::Dotenv)) => Err(cannot_dump("only strings can be extracted as dotenv")),
        (value, FileKind::Text(Syntax::Yaml)) => bulla_document::emit(&[value], Syntax::Yaml, EmitOptions::default())
            .map_err(|error| cannot_dump(&error.to_string())),
        (value, FileKind::Text(_)) => {
            let mut text = bulla_document::emit(&[value], Syntax::Json, options(app, to))
                .map_err(|error| cannot_dump(&error.to_string()))?;
            // As in sops, which ends whole files with a line break and single values without.
            let end = text.expose().trim_ascii_end().len();
            text.truncate(end);
            Ok(text)
        }
    }
}

/// The trees of a plaintext: one a document; of a binary file the one sops makes.
///
/// # Errors
/// A text that is not of its type.
pub(crate) fn trees(text: SecretBytes, kind: FileKind) -> Result<Vec<Value>, Failure> {
    match kind {
        FileKind::Text(syntax) => {
            let document = Document::parse(syntax, text)
                .map_err(|error| Failure::new(Code::CouldNotReadInput, error.to_string()))?;
            Ok(document.roots().iter().map(|&root| document.to_value(root)).collect())
        }
        FileKind::Binary => {
            let bytes = Zeroizing::new(text.expose().to_vec());
            Ok(vec![Value::Map(vec![(BINARY_KEY.to_owned(), Value::Str(bytes))])])
        }
    }
}

fn emit(app: &App, mut trees: Vec<Value>, to: FileKind) -> Result<SecretBytes, Failure> {
    if trees.len() > 1 && to != FileKind::Text(Syntax::Yaml) {
        // sops drops the others without a word.
        if !app.is_sops() {
            return Err(cannot_dump("only YAML can hold several documents")
                .with_hint("take one out first, or leave the output as YAML"));
        }
        term::warn("only the first of several documents is written: the output's type holds one");
        trees.truncate(1);
    }
    // sops writes `A=<nil>`, which is nobody's password. As in `exec-env`, the variable is left out.
    if app.is_sops() && to == FileKind::Text(Syntax::Dotenv) {
        for tree in &mut trees {
            if let Value::Map(entries) = tree {
                entries.retain(|(_, value)| !matches!(value, Value::Null));
            }
        }
    }
    match to {
        FileKind::Text(syntax) => {
            bulla_document::emit(&trees, syntax, options(app, to)).map_err(|error| cannot_dump(&error.to_string()))
        }
        FileKind::Binary => match trees.first().and_then(|tree| tree.get(BINARY_KEY)) {
            Some(Value::Str(bytes)) => Ok(SecretBytes::from(bytes.as_slice())),
            _ => Err(cannot_dump("error emitting binary store: no binary data found in tree")
                .with_hint("this is likely not an encrypted binary file; choose the output's type with --output-type")),
        },
    }
}

fn options(app: &App, kind: FileKind) -> EmitOptions {
    let store = match kind {
        FileKind::Text(Syntax::Yaml) => "yaml",
        FileKind::Text(Syntax::Json) => "json",
        _ => return EmitOptions::default(),
    };
    // What a configuration says about looks must not keep a file from being decrypted.
    let configured = || app.configs.for_file(app, None).ok().flatten()?.config.indent.get(store).copied();
    EmitOptions { indent: app.global.indent.or_else(configured) }
}

fn cannot_dump(what: &str) -> Failure {
    Failure::new(Code::CannotDump, format!("Error dumping file: {what}"))
}
