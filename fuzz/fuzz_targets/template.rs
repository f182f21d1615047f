//! Any text as a template: it is parsed and run within small limits, or refused.
#![no_main]

use std::sync::OnceLock;

use bulla_template::{Limits, Options, Template, Text, Value};

const LIMITS: Limits = Limits { steps: 200_000, output: 1 << 16, memory: 1 << 20, depth: 100 };

libfuzzer_sys::fuzz_target!(|text: &str| {
    static OPTIONS: OnceLock<Options> = OnceLock::new();
    let Ok(template) = Template::parse("fuzz", text, OPTIONS.get_or_init(Options::default)) else { return };
    let data = Value::map([
        (Text::from("s"), Value::text("some text")),
        (Text::from("n"), Value::Int(5)),
        (Text::from("l"), Value::list(vec![Value::text("a"), Value::Nil, Value::Float(1.5)])),
        (Text::from("m"), Value::string_map([(Text::from("k"), Text::from("v"))])),
    ]);
    match template.execute(&data, &LIMITS) {
        Ok(out) => assert!(out.len() <= LIMITS.output),
        Err(error) => assert!(error.to_string().starts_with("template: fuzz:")),
    }
});
