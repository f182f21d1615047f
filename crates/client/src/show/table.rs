//! Tables in columns four spaces apart. An empty cell is `n/a`.

use bulla_core::json::Object;

use super::plain;

/// Rows under a header and its underline. No newline at the end.
pub(crate) fn with_header(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut all = vec![header.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>()];
    all.push(header.iter().map(|cell| "-".repeat(cell.len())).collect());
    all.extend(rows.iter().cloned());
    columns(&all)
}

/// Rows alone.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let cell = |text: &str| match text.trim() {
        "" => "n/a".to_owned(),
        text => text.to_owned(),
    };
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|text| cell(text)).collect()).collect();
    let mut widths = Vec::new();
    for row in &rows {
        for (column, text) in row.iter().enumerate() {
            let width = text.chars().count();
            match widths.get_mut(column) {
                None => widths.push(width),
                Some(widest) => *widest = width.max(*widest),
            }
        }
    }
    let mut lines = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut line = String::new();
        for (column, text) in row.iter().enumerate() {
            line.push_str(text);
            if column + 1 < row.len() {
                let gap = widths.get(column).map_or(0, |width| width.saturating_sub(text.chars().count()));
                line.extend(std::iter::repeat_n(' ', gap + 4));
            }
        }
        lines.push(line);
    }
    lines.join("\n")
}

/// An object under `Key` and `Value`.
pub(crate) fn object(object: &Object) -> String {
    let rows: Vec<_> = object.iter().map(|(key, value)| vec![key.clone(), plain::field(key, value)]).collect();
    with_header(&["Key", "Value"], &rows)
}

/// A list of texts under a header.
pub(crate) fn list(header: &str, texts: &[String]) -> String {
    let rows: Vec<_> = texts.iter().map(|text| vec![text.clone()]).collect();
    with_header(&[header], &rows)
}

/// `== Title ==` above something `width` wide.
pub(crate) fn title(title: &str, width: usize) -> String {
    let room = width.saturating_sub(title.len() + 2);
    let side = "=".repeat(if room == 0 { 2 } else { room.div_ceil(2) });
    format!("{side} {title} {side}")
}

/// The title above the table of `object`.
pub(crate) fn title_of(text: &str, object: &Object) -> String {
    let longest = object.keys().map(String::len).max().unwrap_or(0);
    title(text, longest + "Value".len() + 4)
}
