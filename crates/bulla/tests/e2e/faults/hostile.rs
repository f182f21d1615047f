//! Input made to hurt: memory stays bounded, errors are clear.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Output;

use crate::world::World;

/// Encrypts `name` with at most 700 MB of address space beyond which the system refuses memory.
fn encrypt_bounded(world: &World, name: &str) -> Output {
    let script =
        format!("ulimit -v 700000; exec {} encrypt --age {} {name}", env!("CARGO_BIN_EXE_bulla"), world.recipient);
    world.program(Path::new("/bin/sh"), &["-c", &script])
}

#[track_caller]
fn clear_error(name: &str, output: Output, message: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    // A panic is 101, an abort a signal: neither is an answer.
    let code = output.status.code();
    assert!(code.is_some_and(|code| code != 0 && code != 101), "{name}: {:?} {stderr}", output.status);
    assert!(output.stdout.is_empty());
    assert!(stderr.contains(message), "{message:?} is not in:\n{}", &stderr[..stderr.len().min(2000)]);
    assert!(stderr.len() < 4000, "the error repeats the input");
}

#[test]
fn a_hundred_megabytes_of_nesting_are_refused() {
    let world = World::new();
    for (name, open) in [
        ("nested.yaml", "["),
        ("maps.yaml", "{a: "),
        ("items.yaml", "- "),
        ("nested.json", "["),
        ("maps.json", "{\"a\":"),
    ] {
        world.write(name, open.repeat(100_000_000 / open.len()));
        let output = encrypt_bounded(&world, name);
        std::fs::remove_file(world.path(name)).unwrap();
        clear_error(name, output, "");
    }
}

#[test]
fn aliases_that_multiply_are_refused() {
    let world = World::new();
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let previous = format!("*a{}", level - 1);
        writeln!(text, "a{level}: &a{level} [{}]", vec![previous; 10].join(", ")).unwrap();
    }
    world.write("laughs.yaml", text);
    clear_error("laughs.yaml", encrypt_bounded(&world, "laughs.yaml"), "alias");
}

#[test]
fn an_alias_to_itself_is_refused() {
    let world = World::new();
    world.write("self.yaml", "a: &a\n    b: *a\n");
    clear_error("self.yaml", world.bulla(&["encrypt", "--age", &world.recipient, "self.yaml"]), "a");
}

#[test]
fn nul_bytes_and_broken_utf_8_are_refused_with_their_line() {
    let world = World::new();
    for (name, text) in [
        ("nul.yaml", b"a: 1\nb: x\0y\n".as_slice()),
        ("utf8.yaml", b"a: 1\nb: \xff\n"),
        ("nul.json", b"{\n\"b\": \"x\0y\"}"),
        ("utf8.json", b"{\n\"b\": \"\xff\"}"),
    ] {
        world.write(name, text);
        clear_error(name, world.bulla(&["encrypt", "--age", &world.recipient, name]), "line 2");
    }
}

#[test]
fn crlf_and_byte_order_marks_come_back_as_they_were() {
    let world = World::new();
    for (name, text) in [
        ("crlf.yaml", "a: one\r\n# c\r\nb:\r\n  - x\r\n  - 'y'\r\n"),
        ("bom.yaml", "\u{feff}a: one\n"),
        ("crlf.json", "{\r\n  \"a\": \"b\"\r\n}\r\n"),
        ("crlf.env", "A=b\r\nC=d\r\n"),
        ("crlf.ini", "[s]\r\na = b\r\n"),
        ("crlf.toml", "a = \"b\"\r\n[t]\r\nc = 1\r\n"),
        ("end.yaml", "a: no newline at the end"),
        ("end.json", "{\"a\": 1}"),
        ("end.env", "A=1"),
        ("end.ini", "[s]\na = 1"),
        ("end.toml", "a = 1"),
    ] {
        world.write(name, text);
        let encrypted = crate::world::ok(world.bulla(&["encrypt", "--age", &world.recipient, name]));
        assert!(String::from_utf8(encrypted.clone()).unwrap().contains("ENC["), "{name}");
        world.write(name, encrypted);
        let plain = crate::world::ok(world.bulla(&["decrypt", name]));
        assert_eq!(String::from_utf8(plain).unwrap(), text, "{name}");
    }
}
