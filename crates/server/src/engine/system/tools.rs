//! `sys/tools`: random bytes and hashes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::System;
use crate::core::hex;
use crate::engine::transit::Hash;
use crate::logical::{Call, Error, Field, Kind, Response, Result};

const FORMAT: Field = Field::new("format", Kind::Text, "`base64` or `hex`.");

pub const RANDOM: &[Field] = &[
    Field::new("bytes", Kind::Int, "How many."),
    Field::new("urlbytes", Kind::Text, "How many, in the path."),
    Field::new("source", Kind::Text, "Without effect: there is one."),
    FORMAT,
];

pub const HASH: &[Field] = &[
    Field::new("input", Kind::Text, "What is hashed, in base64."),
    Field::new("algorithm", Kind::Text, "`sha2-256` or another of `sha2-` and `sha3-`, with 224 to 512."),
    Field::new("urlalgorithm", Kind::Text, "The same, in the path."),
    FORMAT,
];

pub async fn random(_: &System, call: &Call<'_>) -> Result<Response> {
    crate::engine::tools::random(call).await
}

pub async fn hash(_: &System, call: &Call<'_>) -> Result<Response> {
    let in_path = call.input.capture("urlalgorithm").to_owned();
    let name = if in_path.is_empty() { call.input.text("algorithm")?.unwrap_or_default() } else { in_path };
    let algorithm = match name.as_str() {
        "" => Some(Hash::Sha256),
        // What is old is for those who have to sign with it.
        name => Hash::parse(name).filter(|hash| *hash != Hash::Sha1),
    };
    let algorithm = algorithm.ok_or_else(|| Error::bad_request(format!("unsupported algorithm {name}")))?;
    let input = call.input.text("input")?.unwrap_or_default();
    let input = STANDARD.decode(input).map_err(|_| Error::bad_request("unable to decode input as base64"))?;
    let sum = algorithm.of(&input);
    let text = match call.input.text("format")?.as_deref() {
        None | Some("hex" | "") => hex(&sum),
        Some("base64") => STANDARD.encode(&sum),
        Some(other) => {
            return Err(Error::bad_request(format!(
                "unsupported encoding format {other}; must be \"hex\" or \"base64\""
            )));
        }
    };
    Ok(Response::data(object! { "sum": text }))
}
