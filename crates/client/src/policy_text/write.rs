//! Writing: two spaces a step, one rule a line, signs and comments of neighbours below one another.

use super::{Assigns, Body, Item, List, Node, Value};

/// The whole text.
pub(super) fn write(body: &Body) -> String {
    let mut text = String::new();
    let mut before: Option<&Node> = None;
    for node in &body.0 {
        if let Some(before) = before {
            text.push_str(if are_neighbours(before, node) { "\n" } else { "\n\n" });
        }
        match node {
            Node::Comments(comments) => text.push_str(&comments.join("\n")),
            Node::Item(item) => text.push_str(&one(item, 0, 0)),
        }
        before = Some(node);
    }
    text.push('\n');
    text
}

/// Whether nothing stands between two at the top: paths without rules on lines one after the other.
fn are_neighbours(before: &Node, after: &Node) -> bool {
    let (Node::Item(before), Node::Item(after)) = (before, after) else { return false };
    let is_empty = |item: &Item| matches!(&item.value, Value::Object(body) if body.0.is_empty());
    is_empty(before) && is_empty(after) && after.lead.is_empty() && before.lines.last + 1 == after.lines.first
}

fn body(of: &Body, depth: usize) -> String {
    let mut blocks: Vec<String> = Vec::new();
    let mut rest = of.0.as_slice();
    while let Some((node, others)) = rest.split_first() {
        let block = match node {
            Node::Comments(comments) => {
                rest = others;
                indented(comments, depth)
            }
            Node::Item(first) if is_single(first) => {
                let mut group = vec![first];
                rest = others;
                while let Some((Node::Item(next), others)) = rest.split_first()
                    && is_single(next)
                    && next.lead.is_empty()
                    && group.last().is_some_and(|last| last.lines.last + 1 == next.lines.first)
                {
                    group.push(next);
                    rest = others;
                }
                aligned(&group, depth)
            }
            Node::Item(item) => {
                rest = others;
                one(item, depth, 0)
            }
        };
        blocks.push(block);
    }
    blocks.join("\n\n")
}

/// Whether it is written on one line.
fn is_single(item: &Item) -> bool {
    match &item.value {
        Value::Plain(text) => !text.contains('\n'),
        Value::List(list) => is_on_one_line(list),
        Value::Object(body) => body.0.is_empty() && item.assigns == Assigns::Yes,
    }
}

fn is_on_one_line(list: &List) -> bool {
    let has_no_comments = |list: &List| {
        list.rest.is_empty() && list.elements.iter().all(|element| element.lead.is_empty() && element.trail.is_none())
    };
    list.lines.first == list.lines.last
        && has_no_comments(list)
        && list.elements.iter().all(|element| matches!(&element.value, Value::Plain(text) if !text.contains('\n')))
}

/// Rules on lines one after the other.
fn aligned(items: &[&Item], depth: usize) -> String {
    let width = items.iter().map(|item| length(&item.keys.join(" "))).max().unwrap_or(0);
    let lines: Vec<String> = items.iter().map(|item| head(item, width) + &value(&item.value, depth)).collect();
    let longest = lines.iter().map(|line| length(line)).max().unwrap_or(0);
    let mut text = Vec::new();
    for (item, line) in items.iter().zip(lines) {
        if !item.lead.is_empty() {
            text.push(indented(&item.lead, depth));
        }
        let line = match &item.trail {
            Some(comment) => format!("{line}{} {comment}", " ".repeat(longest - length(&line))),
            None => line,
        };
        text.push(format!("{}{line}", step(depth)));
    }
    text.join("\n")
}

/// A rule by itself.
fn one(item: &Item, depth: usize, width: usize) -> String {
    let mut text = String::new();
    if !item.lead.is_empty() {
        text.push_str(&indented(&item.lead, depth));
        text.push('\n');
    }
    text.push_str(&step(depth));
    text.push_str(&head(item, width));
    text.push_str(&value(&item.value, depth));
    if let Some(comment) = &item.trail {
        text.push(' ');
        text.push_str(comment);
    }
    text
}

fn head(item: &Item, width: usize) -> String {
    let keys = item.keys.join(" ");
    match item.assigns {
        Assigns::Yes => format!("{keys}{} = ", " ".repeat(width.saturating_sub(length(&keys)))),
        Assigns::No => format!("{keys} "),
    }
}

fn value(of: &Value, depth: usize) -> String {
    match of {
        Value::Plain(text) => text.clone(),
        Value::Object(inner) if inner.0.is_empty() => "{}".to_owned(),
        Value::Object(inner) => format!("{{\n{}\n{}}}", body(inner, depth + 1), step(depth)),
        Value::List(list) if is_on_one_line(list) => {
            let elements: Vec<String> = list.elements.iter().map(|element| value(&element.value, depth)).collect();
            format!("[{}]", elements.join(", "))
        }
        Value::List(list) => long(list, depth),
    }
}

/// A list with an element a line.
fn long(list: &List, depth: usize) -> String {
    let texts: Vec<String> =
        list.elements.iter().map(|element| format!("{},", value(&element.value, depth + 1))).collect();
    let longest = texts.iter().map(|text| length(text)).max().unwrap_or(0);
    let mut text = "[\n".to_owned();
    for (at, (element, written)) in list.elements.iter().zip(&texts).enumerate() {
        let had_lead = at > 0 && list.elements.get(at - 1).is_some_and(|before| !before.lead.is_empty());
        if at > 0 && (had_lead || !element.lead.is_empty()) {
            text.push('\n');
        }
        if !element.lead.is_empty() {
            text.push_str(&indented(&element.lead, depth + 1));
            text.push('\n');
        }
        text.push_str(&step(depth + 1));
        text.push_str(written);
        if let Some(comment) = &element.trail {
            text.push_str(&" ".repeat(longest - length(written)));
            text.push(' ');
            text.push_str(comment);
        }
        text.push('\n');
    }
    if !list.rest.is_empty() {
        text.push_str(&indented(&list.rest, depth + 1));
        text.push('\n');
    }
    format!("{text}{}]", step(depth))
}

fn indented(comments: &[String], depth: usize) -> String {
    comments.iter().map(|comment| step(depth) + comment).collect::<Vec<_>>().join("\n")
}

fn step(depth: usize) -> String {
    "  ".repeat(depth)
}

fn length(text: &str) -> usize {
    text.chars().count()
}
