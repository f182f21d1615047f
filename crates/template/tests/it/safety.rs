//! Limits hold, nothing panics, no error shows a secret; keys and ciphertexts are good for the peer and the other way round.

use bulla_template::{
    ExecErrorKind, Function, Functions, Limit, Limits, MissingKey, Options, Param, Template, Text, Value,
};
use serde_json::json;

use crate::oracle::{Answer, Case, ask, ours};

const SECRET: &str = "hunter2-and-more";

fn run(template: &str, data: &Value) -> Result<String, Box<bulla_template::ExecError>> {
    let template = Template::parse("t", template, &Options::default()).expect("it parses");
    let out = template.execute(data, &Limits::default())?;
    Ok(String::from_utf8_lossy(out.expose()).into_owned())
}

fn limit_of(template: &str) -> Limit {
    let parsed = Template::parse("t", template, &Options::default()).expect("it parses");
    let limits = Limits { steps: 1_000_000, output: 1 << 20, memory: 4 << 20, ..Limits::default() };
    let Err(error) = parsed.execute(&Value::Nil, &limits) else { panic!("{template} comes to an end") };
    match error.kind {
        ExecErrorKind::Limit(limit) => limit,
        kind => panic!("{template}: {kind}"),
    }
}

#[test]
fn what_would_not_end_or_would_take_all_memory_is_stopped() {
    for (template, limit) in [
        ("{{ define \"a\" }}{{ template \"a\" }}{{ end }}{{ template \"a\" }}", Limit::Depth),
        ("{{ repeat 1000000000000 \"x\" }}", Limit::Memory),
        ("{{ repeat 100000000 \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\" }}", Limit::Memory),
        ("{{ until 1000000000000 }}", Limit::Memory),
        ("{{ untilStep 0 9223372036854775807 1 }}", Limit::Memory),
        ("{{ untilStep -9223372036854775807 9223372036854775807 1 }}", Limit::Memory),
        ("{{ seq 0 9223372036854775806 }}", Limit::Memory),
        ("{{ seq -9223372036854775807 9223372036854775806 }}", Limit::Memory),
        ("{{ range 1000000000000 }}{{ end }}", Limit::Steps),
        ("{{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}", Limit::Steps),
        ("{{ range 1000000000 }}0123456789{{ end }}", Limit::Output),
        ("{{ nindent 1000000000 \"a\" }}", Limit::Memory),
        ("{{ indent 1000000 (repeat 1000 \"\\n\") }}", Limit::Memory),
        ("{{ $x := \"0123456789\" }}{{ range 100 }}{{ $x = print $x $x }}{{ end }}", Limit::Memory),
        ("{{ $x := list 1 2 }}{{ range 100 }}{{ $x = concat $x $x }}{{ end }}", Limit::Memory),
        ("{{ $x := list 1 2 }}{{ range 60 }}{{ $x = list $x $x }}{{ end }}{{ $x }}", Limit::Steps),
        ("{{ $x := list 1 2 }}{{ range 60 }}{{ $x = list $x $x }}{{ end }}{{ toJson $x | len }}", Limit::Steps),
        (
            "{{ $x := list 1 2 }}{{ range 60 }}{{ $x = list $x $x }}{{ end }}{{ deepEqual $x (deepCopy $x) }}",
            Limit::Memory,
        ),
        ("{{ $x := list }}{{ range 1000 }}{{ $x = list $x }}{{ end }}{{ $x }}", Limit::Depth),
        ("{{ $x := list }}{{ range 1000 }}{{ $x = list $x }}{{ end }}{{ toJson $x }}", Limit::Depth),
        ("{{ $x := list }}{{ range 1000 }}{{ $x = list $x }}{{ end }}{{ deepCopy $x | len }}", Limit::Depth),
        (
            "{{ $x := dict }}{{ range 1000 }}{{ $x = dict \"a\" $x }}{{ end }}{{ merge (dict \"a\" (dict \"a\" 1)) $x (deepCopy $x) }}",
            Limit::Depth,
        ),
        ("{{ fromJson (repeat 100000 \"[\") }}", Limit::Depth),
        ("{{ range 1000 }}{{ $_ := bcrypt \"x\" }}{{ end }}", Limit::Steps),
        ("{{ randAlphaNum 1000000000000 }}", Limit::Memory),
        ("{{ randBytes 1000000000000 }}", Limit::Memory),
        ("{{ replace \"\" (repeat 10000 \"x\") (repeat 10000 \"y\") }}", Limit::Memory),
        ("{{ regexReplaceAll \"\" (repeat 10000 \"x\") (repeat 10000 \"y\") }}", Limit::Memory),
        ("{{ wrapWith 1 (repeat 10000 \"x\") (repeat 10000 \"y\") }}", Limit::Memory),
        ("{{ join (repeat 10000 \"x\") (until 10000) }}", Limit::Memory),
        ("{{ range 1000 }}{{ printf \"%1000000d\" 1 | len }}{{ end }}", Limit::Memory),
        ("{{ $l := until 20000 }}{{ uniq $l | len }}{{ has -1 $l }}{{ uniq $l | len }}", Limit::Steps),
        ("{{ range 1000000 }}{{ regexMatch \"(a{1,100}){1,10}\" \"aaa\" }}{{ end }}", Limit::Steps),
        (
            "{{ $a := repeat 1000000 \"a\" }}{{ $b := repeat 1000000 \"a\" }}{{ range 1000 }}{{ $_ := eq $a $b }}{{ end }}",
            Limit::Steps,
        ),
        ("{{ $a := repeat 1000000 \"a\" }}{{ range 1000 }}{{ $_ := hasPrefix $a $a }}{{ end }}", Limit::Steps),
        ("{{ range 100000 }}{{ $_ := printf \"%.300f\" 1e300 }}{{ end }}", Limit::Steps),
        ("{{ regexFindAll \".*[^A-Z]|[A-Z]\" (repeat 100000 \"A\") -1 }}", Limit::Steps),
        ("{{ range 100000 }}{{ $_ := regexMatch \"\\\\pL\\\\pL\\\\pL\" \"abc\" }}{{ end }}", Limit::Steps),
        (
            "{{ define \"f\" }}{{ template \"g\" (list . .) }}{{ end }}{{ define \"g\" }}{{ template \"f\" . }}{{ end }}{{ template \"f\" 1 }}",
            Limit::Depth,
        ),
    ] {
        assert_eq!(limit_of(template), limit, "{template}");
    }
}

/// What costs nothing to have many times, read each time: one long string a thousand times in a list, long keys that begin alike.
#[test]
fn what_is_shared_is_paid_for_each_time_it_is_read() {
    let list = |doublings: u32| {
        format!(
            "{{{{ $a := repeat 100000 \"a\" }}}}{{{{ $l := list $a $a }}}}{{{{ range {doublings} }}}}{{{{ $l = concat $l $l }}}}{{{{ end }}}}"
        )
    };
    let dicts = "{{ $p := repeat 100000 \"a\" }}\
        {{ $d := dict (print $p 1) 1 (print $p 2) 2 (print $p 3) 3 }}{{ $e := dict (print $p 1) 1 (print $p 2) 2 (print $p 3) 3 }}";
    for (before, rest, limit) in [
        (list(12), "{{ toJson $l | len }}", Limit::Memory),
        (list(12), "{{ sortAlpha $l | len }}", Limit::Steps),
        (list(10), "{{ genSelfSignedCertWithKey \"n\" (list) $l 1 (genPrivateKey \"ecdsa\") }}", Limit::Memory),
        (list(0), "{{ genCAWithKey (repeat 1000000 \"a\") 1 (genPrivateKey \"ecdsa\") }}", Limit::Memory),
        (dicts.to_owned(), "{{ range 10000 }}{{ $_ := merge $d $e }}{{ end }}", Limit::Steps),
        (dicts.to_owned(), "{{ range 10000 }}{{ $_ := deepEqual $d $e }}{{ end }}", Limit::Steps),
        (dicts.to_owned(), "{{ range 4000 }}{{ $_ := deepCopy $d }}{{ end }}", Limit::Steps),
        (dicts.to_owned(), "{{ range 100 }}{{ $_ := pluck $p $d $e $d $e $d $e $d $e }}{{ end }}", Limit::Steps),
        (list(0), "{{ regexReplaceAll \"a\" (repeat 10000 \"a\") (repeat 10000 \"$x\") | len }}", Limit::Steps),
        (list(0), "{{ trimAll (repeat 2000000 \"a\") \"b\" }}", Limit::Memory),
    ] {
        assert_eq!(limit_of(&format!("{before}{rest}")), limit, "{rest}");
    }
}

#[test]
fn a_format_of_open_brackets_is_read_once() {
    let start = std::time::Instant::now();
    let text = run("{{ printf (repeat 1000000 \"%[\") | len }}", &Value::Nil).unwrap();
    assert_eq!(text, "1000000");
    // The square of the length took minutes.
    assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
}

#[test]
fn deep_values_are_dropped_without_deep_recursion() {
    let text = run(
        "{{ $x := list }}{{ $y := dict }}{{ range 30000 }}{{ $x = list $x }}{{ $y = dict \"k\" $y \"l\" $x }}{{ end }}done",
        &Value::Nil,
    );
    assert_eq!(text.unwrap(), "done");
    // A chain that is built from its root: each map is set into the one before.
    let text = run(
        "{{ $root := dict }}{{ $at := $root }}{{ range 30000 }}{{ $new := dict }}{{ $_ := set $at \"n\" $new }}{{ $at = $new }}{{ end }}done",
        &Value::Nil,
    );
    assert_eq!(text.unwrap(), "done");
}

#[test]
fn a_map_cannot_be_put_into_itself() {
    for template in [
        "{{ $d := dict }}{{ set $d \"a\" $d }}",
        "{{ $d := dict }}{{ set $d \"a\" (list (dict \"b\" $d)) }}",
        "{{ $d := dict \"x\" 1 }}{{ merge $d (dict \"a\" $d) }}",
        "{{ $d := dict }}{{ $e := dict \"d\" $d }}{{ set $d \"e\" $e }}",
    ] {
        let error = run(template, &Value::Nil).unwrap_err();
        assert!(error.to_string().contains("cannot be put into itself"), "{template}: {error}");
    }
}

#[test]
fn deep_nesting_of_the_text_is_refused() {
    for (open, close) in
        [("(", ")"), ("{{ if 1 }}", "{{ end }}"), ("{{ range 1 }}", "{{ end }}"), ("{{ with 1 }}", "{{ end }}")]
    {
        let deep = |depth: usize| {
            let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            if open == "(" { format!("{{{{ {text} }}}}") } else { text }
        };
        assert!(Template::parse("t", &deep(100_000), &Options::default()).is_err());
        assert_eq!(run(&deep(40), &Value::Nil).unwrap(), "1");
    }
    let chain = format!("{{{{ if 0 }}}}{}{{{{ else }}}}last{{{{ end }}}}", "{{ else if 0 }}".repeat(10_000));
    assert_eq!(run(&chain, &Value::Nil).unwrap(), "last");
}

/// What a debug build needs on the stack of a test's thread, at all limits at once.
#[test]
fn the_deepest_template_fits_the_stack() {
    let inner = format!("{}.{}", "(".repeat(50), ")".repeat(50));
    let text = format!(
        "{{{{ define \"a\" }}}}{{{{ if {inner} }}}}{{{{ template \"a\" {inner} }}}}{{{{ end }}}}{{{{ end }}}}{{{{ template \"a\" 1 }}}}"
    );
    assert_eq!(limit_of(&text), Limit::Depth);
}

#[test]
fn no_error_shows_a_secret() {
    let data = || {
        Value::map([
            (Text::from("s"), Value::text(SECRET)),
            (Text::from("l"), Value::list(vec![Value::text(SECRET), Value::text(format!("[{SECRET}"))])),
            (Text::from("m"), Value::map([(Text::from(SECRET), Value::text(SECRET))])),
            (Text::from("bad"), Value::text(format!("(({SECRET}"))),
        ])
    };
    for template in [
        "{{ .s.x }}",
        "{{ upper .l }}",
        "{{ .s | until }}",
        "{{ index .l .s }}",
        "{{ index .m .s .s }}",
        "{{ index .s 99 }}",
        "{{ range .s }}{{ end }}",
        "{{ fail .s }}",
        "{{ printf \"%s\" .s | fail }}",
        "{{ mustToDate \"2006\" .s }}",
        "{{ mustFromJson .s }}",
        "{{ mustRegexMatch .bad .s }}",
        "{{ regexFind .bad .s }}",
        "{{ semver .s }}",
        "{{ semverCompare .s .s }}",
        "{{ urlParse (print \"http://h:\" .s) }}",
        "{{ urlParse (print \":\" .s) }}",
        "{{ urlJoin (dict \"userinfo\" (print .s \" \") \"host\" .s) }}",
        "{{ decryptAES .s .s }}",
        "{{ genCA .s .s }}",
        "{{ genPrivateKey .s }}",
        "{{ genCAWithKey .s 1 .s }}",
        "{{ buildCustomCert .s .s }}",
        "{{ buildCustomCert (b64enc .s) (b64enc .s) }}",
        "{{ genSelfSignedCert .s (list .s) (list .s) 1 }}",
        "{{ htpasswd (print .s \":\") .s }}",
        "{{ bcrypt (repeat 20 .s) }}",
        "{{ derivePassword 1 .s .s .s .s }}",
        "{{ template .s }}",
        "{{ eq .s 1 }}",
        "{{ lt .s 1 }}",
        "{{ eq .l .l }}",
        "{{ dig .s .s .s }}",
        "{{ set .s .s .s }}",
        "{{ call .s }}",
        "{{ slice .s .s }}",
        "{{ slice .l 5 1 }}",
        "{{ len (index .l 0 0) }}",
        "{{ .s .l }}",
        "{{ .m.nope.x }}{{ .l.x }}",
        "{{ ternary .s .s .s }}",
        "{{ chunk 0 .l }}",
        "{{ first .s }}",
        "{{ join .l .s }}",
        "{{ repeat -1 .s }}",
        "{{ substr 90 1 .s }}",
        "{{ mustDateModify .s now }}",
        "{{ round .s .s }}",
        "{{ (.s) .s }}",
        "{{ $x := .s }}{{ $x.y }}",
        "{{ not .s .s }}",
        "{{ randInt 5 (int .s) }}",
        "{{ mustToJson (float64 \"inf\") .s }}",
        "{{ div (len .s) 0 }}",
        "{{ merge .s .m }}",
        "{{ get .m .l }}",
    ] {
        let Ok(parsed) =
            Template::parse("t", template, &Options { missing_key: MissingKey::Error, ..Options::default() })
        else {
            continue;
        };
        let Err(error) = parsed.execute(&data(), &Limits::default()) else { panic!("{template} does not fail") };
        for shown in [error.to_string(), format!("{error:?}"), format!("{:#?}", error.kind)] {
            assert!(!shown.contains("hunter2"), "{template}: {shown}");
        }
    }
    assert!(!format!("{:?}", Text::from(SECRET)).contains("hunter2"));
}

#[test]
fn the_message_of_fail_is_there_for_who_asks() {
    let error = run("{{ fail .s }}", &Value::map([(Text::from("s"), Value::text(SECRET))])).unwrap_err();
    let ExecErrorKind::Fail(message) = &error.kind else { panic!("{error}") };
    assert_eq!(message.expose(), SECRET.as_bytes());
}

#[test]
fn errors_say_where() {
    let error = run("line one\n  {{ .a.b | upper }}", &Value::map([(Text::from("a"), Value::text("x"))])).unwrap_err();
    assert_eq!(error.to_string(), "template: t:2:6: executing \"t\" at <.a.b>: can't evaluate field b in type string");
    let parse = |text: &str| Template::parse("t", text, &Options::default()).err().expect("it fails").to_string();
    assert_eq!(parse("a\n{{ nope }}"), "template: t:2: function \"nope\" not defined");
    assert_eq!(
        parse("{{ env \"HOME\" }}"),
        "template: t:1: function \"env\" not defined: templates cannot read the environment"
    );
    assert_eq!(
        parse("{{ getHostByName \"h\" }}"),
        "template: t:1: function \"getHostByName\" not defined: templates cannot use the network"
    );
    assert_eq!(parse("{{ 1i }}"), "template: t:1: complex numbers are not supported: \"1i\"");
}

#[test]
fn functions_are_added_and_taken_away() {
    let shout = Function::new("shout", &[Param::Text], |meter, args| {
        meter.memory(args.text(0).len() + 1)?;
        Ok(Value::text([args.text(0), b"!"].concat()))
    });
    let functions = Functions::sprig().with([shout]).without(&[("now", "the output must always be the same")]);
    let options = Options { functions, ..Options::default() };
    let template = Template::parse("t", "{{ .a | shout }}", &options).unwrap();
    let out = template.execute(&Value::string_map([(Text::from("a"), Text::from("hey"))]), &Limits::default()).unwrap();
    assert_eq!(out.expose(), b"hey!");
    let error = Template::parse("t", "{{ now }}", &options).err().unwrap();
    assert!(error.to_string().ends_with("not defined: the output must always be the same"), "{error}");
    assert!(
        Template::parse("t", "{{ upper \"a\" }}", &Options { functions: Functions::builtin(), ..Options::default() })
            .is_err()
    );
}

#[test]
fn a_template_is_shared_between_threads_and_run_often() {
    let template = Template::parse("t", "{{ range .l }}{{ . }}{{ end }}", &Options::default()).unwrap();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let template = &template;
            scope.spawn(move || {
                let data = Value::map([(Text::from("l"), Value::list(vec![Value::Int(number); 3]))]);
                for _ in 0..100 {
                    let out = template.execute(&data, &Limits::default()).unwrap();
                    assert_eq!(out.expose(), number.to_string().repeat(3).as_bytes());
                }
            });
        }
    });
}

fn case(template: String) -> Case {
    Case { template, data: json!(null), strings: false, missing_key: MissingKey::Default, delims: Default::default() }
}

fn output(answer: (Answer, String)) -> String {
    match answer {
        (Answer::Output(text), _) => text,
        other => panic!("{other:?}"),
    }
}

/// Which makes something and the rest of a template that takes it.
type Passed = (&'static str, &'static str);

const MADE: &[Passed] = &[
    ("{{ encryptAES \"pass\" \"a secret text\" }}", "{{ decryptAES \"pass\" INPUT }}"),
    ("{{ genPrivateKey \"ecdsa\" }}", "{{ with genCAWithKey \"ca\" 5 INPUT }}{{ eq .Key INPUT }}{{ end }}"),
    ("{{ genPrivateKey \"ed25519\" }}", "{{ with genCAWithKey \"ca\" 5 INPUT }}{{ eq .Key INPUT }}{{ end }}"),
    (
        "{{ with genCA \"ca\" 5 }}{{ printf \"%s,%s\" (b64enc .Cert) (b64enc .Key) }}{{ end }}",
        "{{ $p := splitList \",\" INPUT }}{{ $ca := buildCustomCert (index $p 0) (index $p 1) }}\
         {{ with genSignedCert \"x\" (list \"10.0.0.1\") (list \"x.example\") 5 $ca }}{{ len .Key | lt 1000 }}{{ end }}",
    ),
    (
        "{{ with genSelfSignedCertWithKey \"ca\" (list \"::1\") (list \"a.b\") 5 (genPrivateKey \"ecdsa\") }}{{ printf \"%s,%s\" (b64enc .Cert) (b64enc .Key) }}{{ end }}",
        "{{ $p := splitList \",\" INPUT }}{{ with buildCustomCert (index $p 0) (index $p 1) }}{{ eq (b64enc .Key) (index $p 1) }}{{ end }}",
    ),
];

#[test]
fn keys_certificates_and_ciphertexts_pass_between_us_and_the_peer() {
    for (make, take) in MADE {
        let quote = |text: &str| format!("\"{}\"", text.replace('\n', "\\n"));
        let make = case((*make).to_owned());
        let from_us = output(ours(&make));
        let from_them = output(ask(std::slice::from_ref(&make)).remove(0));
        let theirs = output(ask(&[case(take.replace("INPUT", &quote(&from_us)))]).remove(0));
        let ours = output(ours(&case(take.replace("INPUT", &quote(&from_them)))));
        assert_eq!(ours, theirs, "{take}");
        assert!(ours == "true" || ours == "a secret text", "{ours}");
    }
}
