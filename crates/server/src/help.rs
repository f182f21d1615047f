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
    Response::data(object! { "help": text.as_str(), "see_also": Value::Null })
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::LowerText => "string",
        Kind::Int => "int",
        Kind::Float => "float",
        Kind::Bool => "bool",
        Kind::Seconds => "duration (sec)",
        Kind::Map => "map",
        Kind::TextMap => "keypair",
        Kind::Texts | Kind::Ints | Kind::List => "slice",
    }
}
