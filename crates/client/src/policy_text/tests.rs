//! What is read is written, whole; the real program does the same in `crates/bulla/tests/it/vault_cli_policy.rs`.

use super::*;

#[test]
fn comments_stay_where_they_were() {
    let text = "# top\n\npath \"a\" { # open\n capabilities=[ \"read\", # one\n \"list\" ]\n # tail\n} // end\n/* last\n one */";
    let written = format(text).unwrap();
    for comment in ["# top", "# open", "# one", "# tail", "// end", "/* last\n one */"] {
        assert!(written.contains(comment), "{written}");
    }
    assert_eq!(format(&written).unwrap(), written, "it is set already");
}

#[test]
fn what_is_no_policy_is_said_and_where() {
    for (text, why) in [
        ("path \"a\" {", "RBRACE"),
        ("path \"a\" { capabilities = [\"bogus\"] }", "bogus"),
        ("path \"a\" { capabilites = [\"read\"] }", "line 1"),
        ("\n\nfoo = 1\n", "line 3"),
        ("path \"a", "At 1:6"),
        ("path \"a\" { capabilities = [\"read\" \"list\"] }", "At 1:35"),
        ("path \"a\" { capabilities = <<EOF\nx\n", "At 1:27"),
        ("path = ", "ends"),
        ("/* x", "comment"),
        ("{}", "expected"),
        ("path \"a\" {}}", "stands here"),
        ("path \u{1}", "illegal"),
    ] {
        let error = format(text).unwrap_err();
        assert!(error.message.contains(why), "{text}: {}", error.message);
    }
    let deep = format!("path \"a\" {{ allowed_parameters = {}{} }}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(format(&deep).unwrap_err().message.contains("too deep"));
    assert!(format(&"#".repeat(LONGEST + 1)).is_err());
}
