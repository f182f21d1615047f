//! The language is read as the peer reads it, and nothing else is.

use proptest::prelude::*;

use super::*;

#[test]
fn blocks_values_and_comments_are_read() {
    let text = r#"
# a comment
path "secret/*" { capabilities = ["read", "list",] } // another
/* and
   one */ storage "file" {
  path = "/x\n\u00e9"
  number = 12
  "quoted key" = true, second = -1.5
  nested { a = [1, [2]] }
  text = <<-EOT
      one
        two
      EOT
  last = false
}
"#;
    let body = parse(text).unwrap();
    assert_eq!(body.items[0].keys, ["path", "secret/*"]);
    assert_eq!(body.items[0].line, 3);
    let Value::Body(storage) = &body.items[1].value else { panic!() };
    assert_eq!(storage.value("path"), Some(&Value::String("/x\né".to_owned())));
    assert_eq!(storage.value("second"), Some(&Value::Number("-1.5".to_owned())));
    assert_eq!(storage.value("quoted key"), Some(&Value::Bool(true)));
    assert_eq!(storage.value("text"), Some(&Value::String("one\n  two\n".to_owned())));
    assert_eq!(storage.value("last"), Some(&Value::Bool(false)));
}

#[test]
fn json_has_the_same_shape() {
    let hcl = parse("path \"a\" { capabilities = [\"read\"] }\nlistener \"tcp\" { address = \"x\" }\ndisable = true")
        .unwrap();
    for json in [
        r#"{"disable":true,"listener":{"tcp":{"address":"x"}},"path":{"a":{"capabilities":["read"]}}}"#,
        r#"{"disable":true,"listener":[{"tcp":{"address":"x"}}],"path":[{"a":[{"capabilities":["read"]}]}]}"#,
    ] {
        let json = parse(json).unwrap();
        assert_eq!(json.items.len(), 3);
        for item in &hcl.items {
            let same = json.items.iter().find(|other| other.keys == item.keys).unwrap();
            assert_eq!(same.keys, item.keys);
        }
    }
}

#[test]
fn what_is_malformed_says_where() {
    let error = parse("path \"x\" {").unwrap_err();
    assert_eq!(error.to_string(), "At 1:11: object expected closing RBRACE got: EOF");
    for bad in
        ["a", "a =", "= 1", "a = b", "a = [1 2]", "\"a", "a = <<X\n", "/*", "a = {", "}", "a = \"\\q\"", "a = 1x"]
    {
        assert!(parse(bad).is_err(), "{bad}");
    }
    assert!(parse(&"a {".repeat(100_000)).is_err());
    assert!(parse(&format!("a = {}", "[".repeat(100_000))).is_err());
    assert!(parse(&format!("{{\"a\":{}", "[".repeat(100_000))).is_err());
}

#[test]
fn a_policy_in_json_says_each_thing_once() {
    let text = r#"{"path":{"a":{"capabilities":["deny"]},"a":{"capabilities":["read"]}}}"#;
    assert!(parse(text).unwrap_err().to_string().contains("a key twice"));
}

#[test]
fn a_long_text_of_many_lines_is_read_at_once() {
    let started = std::time::Instant::now();
    let text = "a=1\n".repeat(200_000);
    let body = parse(&text).unwrap();
    assert_eq!(body.items.last().map(|item| item.line), Some(200_000));
    assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(parse(&" ".repeat(MAX_TEXT + 1)).unwrap_err().to_string().contains("longer"));
}

proptest! {
    #[test]
    fn nothing_panics(text in any::<String>(), pieces in prop::collection::vec("[a{}=\"\\[\\],#/*<\\-\n 1]", 0..40)) {
        let _ = parse(&text);
        let _ = parse(&pieces.concat());
    }
}
