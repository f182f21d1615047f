//! `initialize` blocks: what a server asks of itself when it starts for the first time.
//!
//! ```text
//! initialize NAME { [when = VALUE] { request NAME { operation = VALUE path = VALUE [token] [data] [allow_failure] [when] } } }
//! VALUE  = what it is | { eval_source = SOURCE eval_type = TYPE … }
//! SOURCE = "env" env_var [require_present] | "file" path
//!        | "request" initialize_name request_name [field_selector] | "response" initialize_name response_name [field_selector]
//! ```
//!
//! What is not known here is an error: an `allow_failure` that is misspelt is not ignored.

use std::collections::BTreeMap;

use bulla_core::hcl::{Body, Value};

use crate::initialize::{At, Block, Field, Kind, Reference, Source, Step};
use crate::json;

type Fields = BTreeMap<String, Field>;

/// Reads a block.
///
/// # Errors
/// What is wrong, and where.
pub fn read(name: &str, body: &Body) -> Result<Block, String> {
    let at = format!("initialize {name:?}");
    let mut block = Block { name: name.to_owned(), when: None, requests: Vec::new() };
    for item in &body.items {
        let keys: Vec<&str> = item.keys.iter().map(String::as_str).collect();
        match (keys.as_slice(), &item.value) {
            (["request", name], Value::Body(inner)) => {
                let step = step(name, inner).map_err(|why| format!("{at}, request {name:?}: {why}"))?;
                block.requests.push(step);
            }
            (["when"], value) if block.when.is_none() => {
                block.when = Some(field(value).map_err(|why| format!("{at}: when: {why}"))?);
            }
            _ => return Err(format!("{at}: {:?} has no place here; request \"…\" {{ … }} has", keys.join(" "))),
        }
    }
    Ok(block)
}

/// In JSON blocks stand in lists: what is in an object has no order, and order matters here.
///
/// # Errors
/// If more than one stands in an object.
pub fn check_order(text: &str) -> Result<(), String> {
    if !text.trim_start().starts_with('{') {
        return Ok(());
    }
    let Ok(whole) = json::parse_strict(text.as_bytes()) else { return Ok(()) };
    for block in alone(&whole, "initialize")? {
        if let json::Value::Object(inner) = block {
            alone(inner, "request")?;
        }
    }
    Ok(())
}

/// What blocks of a name hold, each of which stands alone in its object.
fn alone<'j>(object: &'j json::Object, name: &str) -> Result<Vec<&'j json::Value>, String> {
    let objects = match object.get(name) {
        Some(json::Value::Array(many)) => many.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    };
    let mut blocks = Vec::new();
    for object in objects.into_iter().filter_map(json::Value::as_object) {
        if object.len() > 1 {
            return Err(format!(
                "{name}: in JSON write a list of objects with one block each, as what stands in one object has no order: \"{name}\": [{{\"first\": {{…}}}}, {{\"second\": {{…}}}}]"
            ));
        }
        blocks.extend(object.values());
    }
    Ok(blocks)
}

fn step(name: &str, body: &Body) -> Result<Step, String> {
    let mut fields = fields(body)?;
    let mut need = |name: &str| fields.remove(name).ok_or_else(|| format!("{name} is missing"));
    let (operation, path) = (need("operation")?, need("path")?);
    let step = Step {
        name: name.to_owned(),
        operation,
        path,
        token: fields.remove("token"),
        data: fields.remove("data"),
        allow_failure: fields.remove("allow_failure"),
        when: fields.remove("when"),
    };
    match fields.keys().next() {
        Some(name) => Err(format!("{name} is not supported; operation, path, token, data, allow_failure and when are")),
        None => Ok(step),
    }
}

fn field(value: &Value) -> Result<Field, String> {
    Ok(match value {
        Value::String(text) => Field::Value(text.as_str().into()),
        Value::Bool(value) => Field::Value((*value).into()),
        Value::Number(digits) => {
            // 0600 is 384 for some who read it, 600 for others.
            let value = json::parse(digits.as_bytes()).ok().filter(|value| matches!(value, json::Value::Number(_)));
            Field::Value(value.ok_or_else(|| format!("{digits} is no number of JSON; write it as a text"))?)
        }
        Value::List(many) => Field::List(many.iter().map(field).collect::<Result<_, _>>()?),
        Value::Body(body) => {
            let fields = fields(body)?;
            if fields.contains_key("eval_source") || fields.contains_key("eval_type") {
                source(fields)?
            } else {
                Field::Object(fields)
            }
        }
    })
}

/// `a "b" { … }` is `a = { b = { … } }`.
fn fields(body: &Body) -> Result<Fields, String> {
    let mut fields = Fields::new();
    for item in &body.items {
        let mut value = field(&item.value)?;
        let Some((first, rest)) = item.keys.split_first() else { continue };
        for key in rest.iter().rev() {
            value = Field::Object(Fields::from([(key.clone(), value)]));
        }
        add(&mut fields, first.clone(), value)?;
    }
    Ok(fields)
}

/// Blocks of one name are one.
fn add(fields: &mut Fields, name: String, value: Field) -> Result<(), String> {
    match (fields.get_mut(&name), value) {
        (None, value) => drop(fields.insert(name, value)),
        (Some(Field::Object(there)), Field::Object(more)) => {
            for (name, value) in more {
                add(there, name, value)?;
            }
        }
        (Some(_), _) => return Err(format!("{name} is there twice")),
    }
    Ok(())
}

fn source(mut fields: Fields) -> Result<Field, String> {
    let source = text(&mut fields, "eval_source")?.ok_or("eval_source is missing beside eval_type")?;
    let kind = text(&mut fields, "eval_type")?.ok_or("eval_type is missing beside eval_source")?;
    let kind = Kind::parse(&kind)?;
    let mut need = |name: &str| text(&mut fields, name)?.ok_or_else(|| format!("the source {source:?} needs {name}"));
    let source = match source.as_str() {
        "env" => {
            let name = need("env_var")?;
            let required = match fields.remove("require_present") {
                None => false,
                Some(Field::Value(json::Value::Bool(value))) => value,
                Some(_) => return Err("require_present is true or false".to_owned()),
            };
            Source::Env { name, required }
        }
        "file" => Source::File(need("path")?.into()),
        "request" | "response" => {
            let (block, request) = (need("initialize_name")?, need(&format!("{source}_name"))?);
            let selector = fields.remove("field_selector").map_or(Ok(Vec::new()), selector)?;
            let reference = Reference { block, request, selector };
            if source == "request" { Source::Request(reference) } else { Source::Response(reference) }
        }
        other => {
            return Err(format!(
                "eval_source {other:?} is not supported; \"env\", \"file\", \"request\" and \"response\" are"
            ));
        }
    };
    match fields.keys().next() {
        Some(name) => Err(format!("{name} means nothing for this eval_source")),
        None => Ok(Field::Source(source, kind)),
    }
}

fn text(fields: &mut Fields, name: &str) -> Result<Option<String>, String> {
    match fields.remove(name) {
        None => Ok(None),
        Some(Field::Value(json::Value::String(text))) => Ok(Some(text)),
        Some(_) => Err(format!("{name} is a text that stands here")),
    }
}

fn selector(field: Field) -> Result<Vec<At>, String> {
    let bad = || "field_selector is a name, or a list of names and numbers".to_owned();
    let many = if let Field::List(many) = field { many } else { vec![field] };
    let at = |one| match one {
        Field::Value(json::Value::String(key)) => Ok(At::Key(key)),
        Field::Value(json::Value::Number(digits)) => digits.parse().map(At::Index).map_err(|_| bad()),
        _ => Err(bad()),
    };
    many.into_iter().map(at).collect()
}
