//! What consul-template's own tests ask for, and what a client of Vault answers.
#![allow(clippy::unwrap_used)]

use crate::{Functions, Limits, Options, Template, Value};

fn run(text: &str, data: &str) -> Result<String, String> {
    let options = Options { functions: Functions::consul_template(), ..Options::default() };
    let template = Template::parse("t", text, &options).map_err(|error| error.to_string())?;
    let data = Value::from_json_exact(data.as_bytes(), Limits::default()).unwrap();
    let out = template.execute(&data, &Limits::default()).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(out.expose().to_vec()).unwrap())
}

#[test]
fn texts_lists_and_maps() {
    for (text, result) in [
        (r#"{{ base64Encode "hé" }} {{ base64Decode "aMOp" }} {{ base64URLEncode "??>" }}"#, "aMOp hé Pz8-"),
        (r#"{{ "a,b" | split "," | join "-" }}{{ split "," "  " | len }}"#, "a-b0"),
        (r#"{{ "x=1;y=2;z" | splitToMap ";" "=" | toJSON }}"#, r#"{"x":"1","y":"2"}"#),
        (r#"{{ contains "b" (split "," "a,b") }} {{ "abc" | contains "bc" }} {{ in "abc" "d" }}"#, "true true false"),
        (r#"{{ containsAll (sprig_list "a" "b") (split "," "a,b,c") }}"#, "true"),
        (r#"{{ containsNone (sprig_list "x") "abc" }} {{ containsNotAll (sprig_list "x") "abc" }}"#, "true true"),
        (r#"{{ trim "x" "xxaxx" }}{{ trimSpace " b " }}{{ trimPrefix "p" "pc" }}{{ trimSuffix "s" "ds" }}"#, "abcd"),
        (r#"{{ replaceAll "a" "b" "aXa" }} {{ regexReplaceAll "[0-9]+" "n" "a1b22" }}"#, "bXb anbn"),
        (r#"{{ toLower "AB" }}{{ toUpper "ab" }} {{ toTitle "don't this_be foo.bar" }}"#, "abAB Don't This_be Foo.bar"),
        (
            r#"{{ regexMatch "^a+$" "aaa" }} {{ range loop 2 4 }}{{ . }},{{ end }}{{ range loop "2" }}{{ . }}{{ end }}"#,
            "true 2,3,01",
        ),
        ("{{ indent 2 \"a\\n\\nb\\n\" }}|", "  a\n\n  b\n|"),
        (
            r#"{{ parseInt "12" }} {{ parseBool "true" }} {{ parseFloat "1.5" }} {{ parseUint "7" }}{{ parseInt "" }}"#,
            "12 true 1.5 70",
        ),
        (r#"{{ with parseJSON "{\"a\":[1,2]}" }}{{ index .a 1 }}{{ end }}{{ parseJSON "" | len }}"#, "20"),
        (r#"{{ sha256Hex "x" }}"#, "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"),
        (r#"{{ sprig_dict "a/b" 1 "a/c" 2 "d" 3 | explodeMap | toJSON }}"#, r#"{"a":{"b":1,"c":2},"d":3}"#),
        (r#"{{ toUnescapedJSONPretty (sprig_dict "a" "<b>") }}{{ sprig_upper "a" }}"#, "{\n  \"a\": \"<b>\"\n}A"),
        (r#"{{ timestamp "unix" | len }} {{ timestamp "2006" | len }} {{ timestamp | len }}"#, "10 4 20"),
    ] {
        assert_eq!(run(text, "null").as_deref(), Ok(result), "{text}");
    }
    // RFC 4231, test case 2.
    assert_eq!(
        run(r#"{{ hmacSHA256Hex "what do ya want for nothing?" "Jefe" }}"#, "null").unwrap(),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
}

#[test]
fn numbers_keep_their_digits_and_are_texts_of_another_type() {
    let data = r#"{"n":12345678901234567890,"f":1.50,"s":"x"}"#;
    for (text, result) in [
        ("{{ .n }} {{ .f }}", "12345678901234567890 1.50"),
        ("{{ . }}", "map[f:1.50 n:12345678901234567890 s:x]"),
        ("{{ toJSON . }}", r#"{"f":1.50,"n":12345678901234567890,"s":"x"}"#),
        // `n` alone is a boolean of YAML 1.1, which Go quotes.
        ("{{ toYAML . }}", "f: 1.5\n\"n\": 1.2345678901234567e+19\ns: x"),
        (r#"{{ eq .f "1.50" }} {{ printf "%T %s %v" .f .f .f }}"#, "true json.Number 1.50 1.50"),
        (r#"{{ printf "%d" .f }}"#, "%!d(json.Number=1.50)"),
        ("{{ sprig_int .f }}{{ sprig_float64 .f }}", "01.5"),
    ] {
        assert_eq!(run(text, data).as_deref(), Ok(result), "{text}");
    }
    assert!(run("{{ eq .f 1.5 }}", data).unwrap_err().contains("incompatible types"));
    assert!(run("{{ toLower .f }}", data).unwrap_err().contains("expected string; got json.Number"));
}

#[test]
fn yaml_is_gos() {
    let data = r#"{"b":["x",{"c":1}],"a":"yes","t":"one\ntwo\n","e":{},"n":null}"#;
    assert_eq!(
        run("{{ toYAML . }}", data).unwrap(),
        "a: \"yes\"\nb:\n- x\n- c: 1\ne: {}\n\"n\": null\nt: |\n  one\n  two"
    );
    assert_eq!(run("{{ toYAML (sprig_list 1 2.5 true) }}", "null").unwrap(), "- 1\n- 2.5\n- true");
}

#[test]
fn what_is_not_offered_says_why_and_what_cannot_be_is_an_error() {
    for (text, why) in [
        ("{{ plugin \"x\" }}", "templates cannot start programs"),
        ("{{ sprig_env \"x\" }}", "templates cannot read the environment"),
        ("{{ upper \"x\" }}", "not defined"),
        ("{{ base64Decode \"!\" }}", "illegal base64 data"),
        ("{{ parseInt \"x\" }}", "no such number"),
        ("{{ loop 1 2 3 }}", "1 or 2 arguments"),
        ("{{ loop 1000000000 }}", "memory"),
        ("{{ indent -1 \"x\" }}", "positive"),
        ("{{ timestamp \"a\" \"b\" }}", "0 or 1"),
        ("{{ sprig_dict \"a\" 1 \"a/b\" 2 | explodeMap }}", "a key is a map"),
    ] {
        let error = run(text, "null").unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}
