//! Texts to test with.

use std::fs;
use std::path::PathBuf;

use crate::Value;

/// The hand-written cases: `testdata/yaml/*.yaml`, of which each file holds many, parted by lines of `=====`.
pub(super) fn corpus() -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/yaml");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        for case in text.split("=====\n") {
            // The same with other line ends, and without the last.
            cases.push(case.as_bytes().to_vec());
            cases.push(case.replace('\n', "\r\n").into_bytes());
            cases.push(case.trim_end_matches('\n').as_bytes().to_vec());
        }
    }
    cases
}

/// Small numbers that are the same in each run.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % bound
    }
}

const PIECES: &[&str] = &[
    "a: 1\n",
    "b: two\n",
    "c:\n",
    "- x\n",
    "- ",
    "  ",
    "    ",
    "\n",
    "\n\n",
    "# one\n",
    "  # two\n",
    "    # three\n",
    " # end",
    ": ",
    ":",
    "? ",
    "[",
    "]",
    "{",
    "}",
    ",",
    ", ",
    "[a, b]",
    "{k: v}",
    "&a ",
    "*a",
    "!!str ",
    "!!int ",
    "!t ",
    "'q'",
    "\"d\"",
    "'it''s'",
    "\"\\n\"",
    "|\n",
    "|-\n",
    "|+\n",
    ">\n",
    "|2\n",
    "  text\n",
    "    more\n",
    "---\n",
    "...\n",
    "--- ",
    "%YAML 1.1\n",
    "<<: ",
    "key: ",
    "x",
    "5",
    "1.5",
    "true",
    "null",
    "~",
    "2001-01-01",
    "\t",
    "\r\n",
    "\u{85}",
    "\u{2028}",
    "é",
    "- - ",
    "- a: 1\n",
    "  b: 2\n",
    "#",
    "'",
    "\"",
    "- # c\n",
    "k: # c\n",
];

/// Cases of the corpus, changed at random, and pieces put together at random.
pub(super) fn mutants(count: usize) -> Vec<Vec<u8>> {
    let corpus = corpus();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut texts = Vec::with_capacity(count);
    for round in 0..count {
        let mut text: Vec<u8> = Vec::new();
        if round % 2 == 0 {
            for _ in 0..random.below(12) + 2 {
                text.extend_from_slice(PIECES[random.below(PIECES.len())].as_bytes());
            }
        } else {
            text = corpus[random.below(corpus.len())].clone();
            for _ in 0..=random.below(4) {
                change(&mut text, &mut random);
            }
        }
        texts.push(text);
    }
    texts
}

fn change(text: &mut Vec<u8>, random: &mut Random) {
    let start = random.below(text.len() + 1);
    match random.below(4) {
        0 => {
            let end = (start + random.below(6)).min(text.len());
            text.drain(start..end);
        }
        1 => {
            let piece = PIECES[random.below(PIECES.len())];
            text.splice(start..start, piece.bytes());
        }
        2 => {
            let end = (start + random.below(30)).min(text.len());
            let copy = text[start..end].to_vec();
            let at = random.below(text.len() + 1);
            text.splice(at..at, copy);
        }
        _ => {
            let lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
            if lines.len() > 1 {
                let (a, b) = (random.below(lines.len()), random.below(lines.len()));
                let mut lines: Vec<Vec<u8>> = lines.into_iter().map(<[u8]>::to_vec).collect();
                lines.swap(a, b);
                *text = lines.concat();
            }
        }
    }
}

/// A tree at random.
pub(super) fn value(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 9 } else { 13 }) {
        0 => Value::Null,
        1 => Value::Bool(random.below(2) == 0),
        2 => Value::Int(i64::try_from(random.below(1000)).unwrap() - 500),
        3 => Value::Float([0.5, -2.0, 1e300, 1e-7, f64::INFINITY, f64::NAN, -0.0, 1e16][random.below(8)]),
        4 => Value::Time("2001-12-14T21:59:43.1-05:00".into()),
        5..=8 => Value::Str(zeroize::Zeroizing::new(STRINGS[random.below(STRINGS.len())].to_vec())),
        9 | 10 => Value::Map((0..random.below(4)).map(|n| (key(random, n), value(random, depth - 1))).collect()),
        _ => Value::Seq((0..random.below(4)).map(|_| value(random, depth - 1)).collect()),
    }
}

fn key(random: &mut Random, n: usize) -> String {
    match random.below(8) {
        0 => format!("key {n}: x"),
        1 => format!("- {n}"),
        2 => format!("{n}"),
        3 => format!("line\n{n}"),
        4 => format!("{n}{}", "k".repeat(1100)),
        _ => format!("k{n}"),
    }
}

const STRINGS: &[&[u8]] = &[
    b"",
    b" ",
    b"text",
    b"two words",
    b"yes",
    b"no",
    b"true",
    b"null",
    b"~",
    b"5",
    b"0x1F",
    b"1e3",
    b"2001-01-01",
    b"12:30:45",
    b"<<",
    b"=",
    b"a: b",
    b"a #b",
    b"#",
    b"- x",
    b"-",
    b"---",
    b"...",
    b"? x",
    b"[x]",
    b"{x}",
    b"a, b",
    b"*x",
    b"&x",
    b"!x",
    b"|",
    b">",
    b"'",
    b"\"",
    b"\\",
    b"it's",
    b"say \"x\"",
    b"line\n",
    b"two\nlines",
    b"two\nlines\n",
    b"end\n\n",
    b"end\n\n\n",
    b"\nstart",
    b" x\ny",
    b"x\n y\n\nz",
    b"x\n \ny",
    b"\tx\ny",
    b"x\ty",
    b"x\r\ny",
    b"x\x00y",
    b"\x7f",
    b"\xff\xfe",
    "é".as_bytes(),
    "\u{85}".as_bytes(),
    "a\u{2028}b".as_bytes(),
    "\u{FEFF}".as_bytes(),
    "\u{FFFE}".as_bytes(),
    "😀".as_bytes(),
    b"trailing ",
    b"x:",
    b"x: ",
    b"ENC[a,b]",
    b"x\n---\ny\n",
    b"x\n# y\n",
    b"%x",
    b"@x",
    b"`x`",
    b",",
    b":",
    b"::",
    b"?",
    b"a\n\n\nb",
    b"$HOME",
    b"1_000",
    b".5",
    b"+1",
];

/// Trees at random, written in styles at random: what a person might have written.
pub(super) fn styled(count: usize) -> Vec<Vec<u8>> {
    let mut random = Random(0x5EED);
    (0..count)
        .map(|_| {
            let mut text = String::new();
            let documents = 1 + random.below(8) / 7;
            for document in 0..documents {
                if document > 0 || random.below(10) == 0 {
                    text.push_str("---\n");
                }
                let indent = if random.below(10) == 0 { 2 } else { 0 };
                map(&mut text, &mut random, indent, 3);
            }
            if random.below(5) == 0 {
                text = text.trim_end_matches('\n').to_owned();
            }
            if random.below(4) == 0 {
                text = text.replace('\n', "\r\n");
            }
            text.into_bytes()
        })
        .collect()
}

fn map(text: &mut String, random: &mut Random, indent: usize, depth: usize) {
    for n in 0..=random.below(4) {
        above(text, random, indent);
        text.push_str(&" ".repeat(indent));
        entry(text, random, indent, depth, n);
    }
    if random.below(6) == 0 {
        above(text, random, indent);
    }
}

fn entry(text: &mut String, random: &mut Random, indent: usize, depth: usize, n: usize) {
    match random.below(12) {
        0 => text.push_str(&format!("\"k{n}\":")),
        1 => text.push_str(&format!("'k{n}':")),
        2 => text.push_str(&format!("? k{n}\n{}:", " ".repeat(indent))),
        3 => text.push_str(&format!("k{n} :")),
        _ => text.push_str(&format!("k{n}:")),
    }
    let step = 1 + random.below(4);
    match random.below(if depth == 0 { 7 } else { 12 }) {
        0 => text.push('\n'),
        1..=5 => single(text, random, indent + step),
        6 => {
            text.push(' ');
            flow(text, random, 2);
            behind(text, random);
        }
        7..=9 => {
            behind(text, random);
            map(text, random, indent + step, depth - 1);
        }
        _ => {
            behind(text, random);
            let further = [0, step][random.below(2)];
            list(text, random, indent + further, depth - 1);
        }
    }
}

fn list(text: &mut String, random: &mut Random, indent: usize, depth: usize) {
    for _ in 0..=random.below(3) {
        above(text, random, indent);
        text.push_str(&" ".repeat(indent));
        text.push('-');
        match random.below(if depth == 0 { 3 } else { 5 }) {
            0 => text.push('\n'),
            1 | 2 => single(text, random, indent + 2),
            3 => {
                text.push(' ');
                entry(text, random, indent + 2, depth - 1, 9);
                if random.below(2) == 0 {
                    map(text, random, indent + 2, depth - 1);
                }
            }
            _ => {
                text.push_str(" - x\n");
                list(text, random, indent + 2, depth - 1);
            }
        }
    }
}

fn single(text: &mut String, random: &mut Random, indent: usize) {
    let pad = " ".repeat(indent);
    match random.below(14) {
        0 => text.push_str(&format!(" |\n{pad}one\n{pad}two\n")),
        1 => text.push_str(&format!(" |-\n{pad}one\n\n{pad}  two\n")),
        2 => text.push_str(&format!(" |+\n{pad}one\n\n")),
        3 => text.push_str(&format!(" >\n{pad}one\n{pad}two\n")),
        4 => text.push_str(&format!(" first\n{pad}second\n")),
        5 => text.push_str(&format!(" \"first\n{pad}second\"\n")),
        6 => text.push_str(&format!(" | # comment\n{pad}one\n")),
        _ => {
            text.push(' ');
            text.push_str(
                [
                    "plain",
                    "two words",
                    "5",
                    "1.5",
                    "true",
                    "'single'",
                    "\"double\"",
                    "\"esc\\n\"",
                    "!t x",
                    "&a y",
                    "!!str z",
                    "null",
                    "2001-01-01",
                    "''",
                    "0x10",
                    "&b !!int 5",
                    "!!str &c x",
                    "!u &d y",
                    "*e",
                    "é ü",
                ][random.below(18)],
            );
            behind(text, random);
        }
    }
}

fn flow(text: &mut String, random: &mut Random, depth: usize) {
    let list = random.below(2) == 0;
    text.push(if list { '[' } else { '{' });
    let count = random.below(4);
    for n in 0..count {
        if n > 0 {
            text.push_str([",", ", ", ",\n      ", " , "][random.below(4)]);
        }
        if !list {
            text.push_str(&format!("k{n}: "));
        } else if random.below(8) == 0 {
            text.push_str("p: ");
        }
        if depth > 0 && random.below(4) == 0 {
            flow(text, random, depth - 1);
        } else {
            text.push_str(["1", "x", "'s'", "\"d\"", "true", "~", "two words"][random.below(7)]);
        }
    }
    if count > 0 && random.below(8) == 0 {
        text.push(',');
    }
    text.push(if list { ']' } else { '}' });
}

/// Perhaps a comment or an empty line above.
fn above(text: &mut String, random: &mut Random, indent: usize) {
    match random.below(10) {
        0 => text.push('\n'),
        1 | 2 => text.push_str(&format!("{}# above\n", " ".repeat(indent))),
        3 => text.push_str(&format!("{}# first\n\n{}# second\n", " ".repeat(indent), " ".repeat(indent))),
        4 if random.below(4) == 0 => text.push_str(&format!("{}# deep\n", " ".repeat(indent + 3))),
        _ => {}
    }
}

/// Perhaps a comment behind, and the line's end.
fn behind(text: &mut String, random: &mut Random) {
    if random.below(5) == 0 {
        text.push_str(" # behind");
    }
    text.push('\n');
}
