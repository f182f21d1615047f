//! What hostile templates cost under the default limits: time of a core, time a step, and the process' peak of memory.
//!
//! `cargo run --release -p bulla-template --example cost`, with a word of a name to measure only some.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is its purpose")]

use std::process::Command;
use std::time::Duration;

use bulla_template::{ExecErrorKind, Limit, Limits, Options, Template, Text, Value};

/// A name, what is repeated to make the template, how often, and what stands around it.
type Case = (&'static str, &'static str, usize, &'static str, &'static str);

const LOOP: &str = "{{ range 1000000000 }}";
const END: &str = "{{ end }}";

const CASES: &[Case] = &[
    ("nothing", "", 1, "", ""),
    ("empty loop", "", 1, LOOP, END),
    ("loop with a variable", "{{ $x := $ }}", 1, LOOP, END),
    (
        "loop over fields",
        "{{ if .m.m.x }}{{ end }}",
        1,
        "{{ $d := . }}{{ range 1000000000 }}{{ with $d }}",
        "{{ end }}{{ end }}",
    ),
    ("arithmetic", "{{ $x = add $x 1 2 3 }}", 1, "{{ $x := 1 }}{{ range 1000000000 }}", END),
    ("decimals", "{{ $x = addf $x 1.5 2.25 }}", 1, "{{ $x := 1.5 }}{{ range 1000000000 }}", END),
    ("small strings", "{{ $x := upper \"abc\" }}", 1, LOOP, END),
    ("printf", "{{ $x := printf \"%05d %q %x\" 12 \"abc\" \"abc\" }}", 1, LOOP, END),
    ("floats printed", "{{ $x := printf \"%.300f\" 1e300 }}", 1, LOOP, END),
    ("maps", "{{ $x := dict \"a\" 1 \"b\" 2 \"c\" 3 }}", 1, LOOP, END),
    ("lists kept", "{{ $x = append $x 1 }}", 1, "{{ $x := list }}{{ range 1000000000 }}", END),
    (
        "nested values",
        "{{ $x = list $x }}{{ $y = dict \"k\" $y }}",
        1,
        "{{ $x := list }}{{ $y := dict }}{{ range 1000000000 }}",
        END,
    ),
    ("large strings", "{{ $x := upper $s }}", 1, "{{ $s := repeat 1000000 \"a\" }}{{ range 1000000000 }}", END),
    ("all memory in one string", "{{ $x := repeat 31000000 \"a\" }}", 1, "", ""),
    ("all memory in small strings", "{{ $x := splitList \"\" (repeat 250000 \"a\") }}", 1, "", ""),
    ("all memory in a map", "{{ $x := split \"\" (repeat 250000 \"a\") }}", 1, "", ""),
    ("all memory in numbers", "{{ $x := until 900000 }}", 1, "", ""),
    (
        "large strings compared",
        "{{ if eq $a $b }}{{ end }}",
        1,
        "{{ $a := repeat 1000000 \"a\" }}{{ $b := repeat 1000000 \"a\" }}{{ range 1000000000 }}",
        END,
    ),
    (
        "large prefix",
        "{{ if hasPrefix $a $b }}{{ end }}",
        1,
        "{{ $a := repeat 1000000 \"a\" }}{{ $b := repeat 1000000 \"a\" }}{{ range 1000000000 }}",
        END,
    ),
    (
        "search",
        "{{ if contains $a $b }}{{ end }}",
        1,
        "{{ $a := printf \"%sb\" (repeat 1000 \"a\") }}{{ $b := repeat 1000000 \"a\" }}{{ range 1000000000 }}",
        END,
    ),
    ("numbers read", "{{ $x := float64 $s }}", 1, "{{ $s := repeat 1000000 \"1\" }}{{ range 1000000000 }}", END),
    ("versions", "{{ $x := semverCompare \"^1.2 || ~2.x || >=3\" \"1.2.3\" }}", 1, LOOP, END),
    ("hashes", "{{ $x := sha512sum $s }}", 1, "{{ $s := repeat 1000000 \"1\" }}{{ range 1000000000 }}", END),
    ("small hashes", "{{ $x := sha1sum \"a\" }}", 1, LOOP, END),
    ("base64", "{{ $x := b64enc $s }}", 1, "{{ $s := repeat 1000000 \"1\" }}{{ range 1000000000 }}", END),
    (
        "JSON read",
        "{{ $x := fromJson $s }}",
        1,
        "{{ $s := printf \"[%s1]\" (repeat 1000 \"1,\") }}{{ range 1000000000 }}",
        END,
    ),
    (
        "JSON not read",
        "{{ $x := fromJson $s }}",
        1,
        "{{ $s := printf \"\\\"%s\" (repeat 1000000 \"a\") }}{{ range 1000000000 }}",
        END,
    ),
    ("JSON written", "{{ $x := toJson $s }}", 1, "{{ $s := until 1000 }}{{ range 1000000000 }}", END),
    (
        "dates",
        "{{ $x := dateInZone \"Mon Jan 2 15:04:05 MST 2006\" $n \"Europe/Berlin\" }}",
        1,
        "{{ $n := now }}{{ range 1000000000 }}",
        END,
    ),
    ("dates read", "{{ $x := toDate \"2006-01-02 MST\" \"2024-05-06 CET\" }}", 1, LOOP, END),
    ("random strings", "{{ $x := randAlphaNum 20 }}", 1, LOOP, END),
    ("shuffle", "{{ $x := shuffle $s }}", 1, "{{ $s := repeat 100000 \"1\" }}{{ range 1000000000 }}", END),
    ("sort", "{{ $x := sortAlpha $s }}", 1, "{{ $s := until 10000 }}{{ range 1000000000 }}", END),
    ("uniq", "{{ $x := uniq $s }}", 1, "{{ $s := until 100000 }}{{ range 1000000000 }}", END),
    ("URLs", "{{ $x := urlJoin (urlParse \"https://u:p@host:80/a/b?q#f\") }}", 1, LOOP, END),
    ("regex, small", "{{ $x := regexMatch \"^[a-z]+$\" \"abc\" }}", 1, LOOP, END),
    ("regex, classes", "{{ $x := regexMatch \"\\\\pL\\\\pL\\\\pL\" \"abc\" }}", 1, LOOP, END),
    ("regex, large", "{{ $x := regexMatch \"(\\\\pL{1,100}){1,100}\" \"abc\" }}", 1, LOOP, END),
    (
        "regex, no DFA",
        "{{ $x := regexMatch \"[01]*1[01]{90}2\" $s }}",
        1,
        "{{ $s := repeat 10000 (randNumeric 30 | replace \"2\" \"0\" | replace \"3\" \"0\" | replace \"4\" \"0\" | replace \"5\" \"0\" | replace \"6\" \"1\" | replace \"7\" \"1\" | replace \"8\" \"1\" | replace \"9\" \"1\") }}{{ range 1000000000 }}",
        END,
    ),
    (
        "regex, square",
        "{{ $x := regexFindAll \".*[^A-Z]|[A-Z]\" $s -1 }}",
        1,
        "{{ $s := repeat 100000 \"A\" }}{{ range 1000000000 }}",
        END,
    ),
    ("bcrypt", "{{ $x := bcrypt \"abc\" }}", 1, LOOP, END),
    ("derivePassword", "{{ $x := derivePassword 1 \"long\" \"p\" \"u\" \"s\" }}", 1, LOOP, END),
    ("RSA 4096", "{{ $x := genPrivateKey \"rsa\" }}", 1, LOOP, END),
    ("RSA 2048", "{{ $x := genCA \"ca\" 1 }}", 1, LOOP, END),
    ("EC", "{{ $x := genPrivateKey \"ecdsa\" }}", 1, LOOP, END),
    ("Ed25519", "{{ $x := genPrivateKey \"ed25519\" }}", 1, LOOP, END),
    (
        "certificates",
        "{{ $x := genSignedCertWithKey \"x\" list list 5 $ca $k }}",
        1,
        "{{ $k := genPrivateKey \"ecdsa\" }}{{ $ca := genCAWithKey \"ca\" 5 $k }}{{ range 1000000000 }}",
        END,
    ),
    ("AES", "{{ $x := encryptAES \"p\" \"text\" | decryptAES \"p\" }}", 1, LOOP, END),
    ("many variables", "{{ $a := 1 }}", 30_000, "", "{{ range 1000000000 }}{{ $ }}{{ end }}"),
    (
        "many variables, deep",
        "{{ $a := upper \"x\" }}",
        18_000,
        "{{ define \"a\" }}",
        "{{ template \"a\" }}{{ end }}{{ template \"a\" }}",
    ),
    ("long names", "a", 250_000, "{{ range 1000000000 }}{{ $.", "}}{{ end }}"),
    ("large text, actions", "{{.}}", 78_000, "", ""),
    ("large text, arguments", "1 ", 190_000, "{{ list ", "}}"),
    ("large text, fields", ".a", 190_000, "{{ ", "}}"),
    ("large text, branches", "{{if 1}}{{end}}", 25_000, "", ""),
    ("large text, else", "{{else if 0}}", 30_000, "{{if 0}}", "{{end}}"),
    ("large text, definitions", "{{define \"a\"}}x{{end}}", 15_000, "", ""),
    ("large text, strings", "\"\"", 1, "{{ list ", "}}"),
    ("large text, pipes", "|len", 95_000, "{{ 1", "}}"),
];

fn main() {
    let mut args = std::env::args().skip(1);
    match (args.next(), args.next()) {
        (Some(flag), Some(name)) if flag == "--one" => {
            CASES.iter().filter(|case| case.0 == name).for_each(measure);
        }
        (word, _) => {
            println!("{:<30} {:>9} {:>9} {:>9} {:>9}  result", "", "parse", "run", "ns/step", "peak MiB");
            let program = std::env::current_exe().unwrap_or_default();
            for case in CASES.iter().filter(|case| word.as_ref().is_none_or(|word| case.0.contains(word))) {
                // One process each: the peak of memory never sinks.
                if let Err(error) = Command::new(&program).args(["--one", case.0]).status() {
                    eprintln!("{}: {error}", case.0);
                }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn measure((name, part, count, before, after): &Case) {
    let text = format!("{before}{}{after}", part.repeat(*count));
    let map = || Value::map([(Text::from("x"), Value::Int(1))]);
    let data = Value::map([(Text::from("m"), Value::map([(Text::from("m"), map())]))]);
    let options = Options::default();
    // The tables that are made once belong to no template.
    let _ = Template::parse("t", "", &options);
    let start = on_cpu();
    let parsed = Template::parse("t", &text, &options);
    let parse = on_cpu().saturating_sub(start);
    let start = on_cpu();
    let (result, steps) = match &parsed {
        Err(error) => (error.to_string(), None),
        Ok(template) => match template.execute(&data, &Limits::default()) {
            Ok(out) => (format!("{} bytes", out.len()), None),
            Err(error) => match error.kind {
                ExecErrorKind::Limit(Limit::Steps) => ("steps".to_owned(), Some(Limits::default().steps)),
                ExecErrorKind::Limit(limit) => (limit.to_string(), None),
                kind => (kind.to_string(), None),
            },
        },
    };
    let run = on_cpu().saturating_sub(start);
    drop(parsed);
    let a_step = steps.map_or(String::new(), |steps| format!("{:.1}", run.as_secs_f64() * 1e9 / steps as f64));
    println!(
        "{name:<30} {:>9} {:>9} {a_step:>9} {:>9.1}  {}",
        milliseconds(parse),
        milliseconds(run),
        peak(),
        result.chars().take(60).collect::<String>()
    );
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// How long this process has run, without its waits for a core.
fn on_cpu() -> Duration {
    let times = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    Duration::from_nanos(times.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0))
}

/// The most memory that this process has had, in MiB.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
}
