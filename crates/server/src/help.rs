//! Help on a path, from its declaration.

use crate::core::mount::Mount;
use crate::json::Value;
use crate::logical::{Described, Kind, Response};

/// Help on the path `below` a mount, which `described` declares.
pub fn of(mount: &Mount, described: &Described, below: &str) -> Response {
    let mut text = format!("Request:        {below}\nMatching Route: {}\n\n{}\n", described.pattern, described.about);
    if !described.fields.is_empty() {
        text.push_str("\n## PARAMETERS\n");
        for field in described.fields {
            text.push_str(&format!("\n    {} ({})\n\n        {}\n", field.name, kind(field.kind), field.about));
        }
    }
    text.push_str(&format!("\n## DESCRIPTION\n\n{}\n\n## PATHS\n", mount.backend.about()));
    for one in mount.backend.described() {
        text.push_str(&format!("\n    {}\n        {}\n", one.pattern, one.about));
    }
    // At the top: `path-help` of a client reads it there.
    let body = Value::from(object! { "help": text.as_str(), "openapi": Value::Null, "see_also": Value::Null });
    Response { raw: Some(("application/json", body.to_vec())), ..Response::empty() }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::LowerText => "string",
        Kind::Int => "int",
        Kind::Float => "float",
        Kind::Bool => "bool",
        Kind::Seconds | Kind::SignedSeconds => "duration (sec)",
        Kind::Map => "map",
        Kind::TextMap => "keypair",
        Kind::Texts | Kind::Ints | Kind::List => "slice",
    }
}
