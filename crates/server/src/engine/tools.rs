//! What several engines answer alike.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::core::hex;
use crate::logical::{Call, Error, Response, Result};

/// Random bytes, as many as the last part of the path says, or `bytes`. Any other part is a source of randomness, of which there is one.
#[expect(clippy::unused_async, reason = "the signature that all handlers share")]
pub async fn random(call: &Call<'_>) -> Result<Response> {
    const MOST: i64 = 128 << 10;
    let (source, bytes) = (call.input.capture("source"), call.input.capture("urlbytes"));
    let in_path = if bytes.is_empty() { source } else { bytes };
    let is_source = matches!(in_path, "" | "platform" | "seal" | "all");
    let wanted = if is_source {
        call.input.int("bytes")?.unwrap_or(32)
    } else {
        in_path.parse().map_err(|_| {
            Error::bad_request(format!(
                "error parsing url-set byte count: strconv.Atoi: parsing {in_path:?}: invalid syntax"
            ))
        })?
    };
    if !bytes.is_empty() && !matches!(source, "" | "platform" | "seal" | "all") {
        return Err(Error::bad_request(format!(
            "unsupported entropy source {source:?}; must be \"platform\" or \"seal\", or \"all\""
        )));
    }
    if wanted < 1 {
        return Err(Error::bad_request("'bytes' cannot be less than 1"));
    }
    let wanted = usize::try_from(wanted).ok().filter(|_| wanted <= MOST);
    let wanted = wanted.ok_or_else(|| Error::bad_request(format!("'bytes' should be less than {MOST}")))?;
    let mut bytes = vec![0; wanted];
    getrandom::fill(&mut bytes)?;
    let text = match call.input.text("format")?.as_deref() {
        None | Some("base64" | "") => STANDARD.encode(&bytes),
        Some("hex") => hex(&bytes),
        Some(other) => {
            return Err(Error::bad_request(format!(
                "unsupported encoding format {other:?}; must be \"hex\" or \"base64\""
            )));
        }
    };
    let response = Response::data(object! { "random_bytes": text });
    // There is one source.
    let warns = source == "seal" || in_path == "seal";
    Ok(if warns {
        response.warn("no seal/entropy augmentation available, using platform entropy source")
    } else {
        response
    })
}
