//! What a file's contents are taken as.

use bulla_document::Syntax;
use bulla_format::sops::FileKind;
use clap::{Args, ValueEnum};

/// A type of file, as `--input-type` and `--output-type` name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileType {
    /// YAML, several documents included.
    Yaml,
    /// JSON.
    Json,
    /// `NAME=value` lines.
    Dotenv,
    /// INI with sections.
    Ini,
    /// TOML.
    Toml,
    /// Any bytes.
    Binary,
}

impl From<FileType> for FileKind {
    fn from(file_type: FileType) -> Self {
        match file_type {
            FileType::Yaml => Self::Text(Syntax::Yaml),
            FileType::Json => Self::Text(Syntax::Json),
            FileType::Dotenv => Self::Text(Syntax::Dotenv),
            FileType::Ini => Self::Text(Syntax::Ini),
            FileType::Toml => Self::Text(Syntax::Toml),
            FileType::Binary => Self::Binary,
        }
    }
}

/// Flags of every command that reads and writes files.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct TypeArgs {
    /// Take the input as this type, whatever its name (yaml, json, dotenv, ini, toml, binary)
    #[arg(long, value_name = "TYPE", hide_possible_values = true)]
    pub(crate) input_type: Option<FileType>,

    /// Write the output as this type
    #[arg(long, value_name = "TYPE", hide_possible_values = true)]
    pub(crate) output_type: Option<FileType>,
}
