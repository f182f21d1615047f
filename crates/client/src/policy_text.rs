//! A policy's text, read with its comments and written in the peer's form: what `policy fmt` does.
//!
//! Nothing is lost but how it was set. A policy is what it was before: what is written is read again, and compared.

use crate::failure::Failure;

mod check;
mod parse;
mod write;

/// A body, or the whole text.
#[derive(Debug, Default, PartialEq, Eq)]
struct Body(Vec<Node>);

#[derive(Debug, PartialEq, Eq)]
enum Node {
    /// Comments that stand for themselves.
    Comments(Vec<String>),
    Item(Item),
}

#[derive(Debug, PartialEq, Eq)]
struct Item {
    /// Comments right above it.
    lead: Vec<String>,
    /// As they are written, with their quotes.
    keys: Vec<String>,
    /// Whether there is a `=`.
    assigns: Assigns,
    value: Value,
    /// What stands behind it.
    trail: Option<String>,
    lines: Lines,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Assigns {
    Yes,
    No,
}

/// Where something begins and ends. Not compared: it is what changes.
#[derive(Clone, Copy, Debug, Default)]
struct Lines {
    first: usize,
    last: usize,
}

impl PartialEq for Lines {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Lines {}

#[derive(Debug, PartialEq, Eq)]
enum Value {
    /// A string, a number, a truth value: as it is written.
    Plain(String),
    List(List),
    Object(Body),
}

#[derive(Debug, PartialEq, Eq)]
struct List {
    elements: Vec<Element>,
    /// Comments behind the last element, on lines of their own.
    rest: Vec<String>,
    lines: Lines,
}

#[derive(Debug, PartialEq, Eq)]
struct Element {
    lead: Vec<String>,
    value: Value,
    trail: Option<String>,
}

/// The longest text that is read.
pub(crate) const LONGEST: usize = 1 << 20;

/// Writes a policy in the peer's form.
///
/// # Errors
/// What is wrong with it, and where.
pub(crate) fn format(text: &str) -> Result<String, Failure> {
    let bad = |why: String| Failure::usage(format!("failed to parse policy: {why}"));
    if text.len() > LONGEST {
        return Err(bad(format!("it is longer than {LONGEST} bytes")));
    }
    let body = parse::read(text).map_err(bad)?;
    check::check(&body).map_err(bad)?;
    let written = write::write(&body);
    let again = parse::read(&written).map_err(bad)?;
    if meaning(&body) != meaning(&again) {
        return Err(bad("it cannot be set anew without changing it; it is left as it is".to_owned()));
    }
    Ok(written)
}

/// All but comments and line ends, in their order.
fn meaning(body: &Body) -> Vec<String> {
    fn value(of: &Value, all: &mut Vec<String>) {
        match of {
            Value::Plain(text) => all.push(text.clone()),
            Value::List(list) => {
                all.push("[".to_owned());
                list.elements.iter().for_each(|element| value(&element.value, all));
                all.push("]".to_owned());
            }
            Value::Object(body) => all.extend(meaning(body)),
        }
    }
    let mut all = vec!["{".to_owned()];
    for item in items(body) {
        all.extend(item.keys.iter().cloned());
        all.push(if item.assigns == Assigns::Yes { "=" } else { " " }.to_owned());
        value(&item.value, &mut all);
    }
    all.push("}".to_owned());
    all
}

fn items(body: &Body) -> impl Iterator<Item = &Item> {
    body.0.iter().filter_map(|node| match node {
        Node::Item(item) => Some(item),
        Node::Comments(_) => None,
    })
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

#[cfg(test)]
mod tests;
