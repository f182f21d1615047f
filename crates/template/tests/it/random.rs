//! Random small templates, and the corpus' with random faults in them, compared with the peer's answers.
//!
//! The same ones each time; `TEMPLATE_SEED` and `TEMPLATE_CASES` in the environment make it a hunt. A failure says which seed it had.

use bulla_template::MissingKey;
use serde_json::json;

use crate::corpus;
use crate::oracle::{Case, differences};

/// xorshift64*: enough to choose by.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        Self(setting("TEMPLATE_SEED", 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % end
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const CASES: u64 = 1000;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

const VALUES: &[&str] = &[
    ".s",
    ".n",
    ".f",
    ".t",
    ".l",
    ".m",
    ".m.k",
    ".m.x",
    ".null",
    ".missing",
    ".ss",
    ".e",
    "1",
    "0",
    "-3",
    "2.5",
    "1e7",
    "\"a\"",
    "\"\"",
    "\"héllo wörld\"",
    "\"1.5\"",
    "\"a,b,c\"",
    "`raw`",
    "true",
    "false",
    "nil",
    "'x'",
    "$",
    ".",
    "(list 1 \"a\" nil)",
    "(dict \"a\" 1 \"b\" (list 2))",
    "(until 4)",
    "(split \",\" \"a,b\")",
    "(splitList \"l\" \"hello\")",
    "\"FooBar_baz\"",
    "0x1f",
    "(int64 7)",
    "\"[a-z]+\"",
    "\"%v %5d %q\"",
    "\"2h45m\"",
    "\"aGk=\"",
    "\"{\\\"a\\\":[1,null]}\"",
    "\"http://u:p@h:1/p?q#f\"",
    "1_000",
];

const FUNCTIONS: &[(&str, usize)] = &[
    ("upper", 1),
    ("lower", 1),
    ("title", 1),
    ("untitle", 1),
    ("trim", 1),
    ("trunc", 2),
    ("substr", 3),
    ("repeat", 2),
    ("replace", 3),
    ("quote", 2),
    ("squote", 2),
    ("cat", 3),
    ("indent", 2),
    ("nindent", 2),
    ("contains", 2),
    ("hasPrefix", 2),
    ("snakecase", 1),
    ("camelcase", 1),
    ("kebabcase", 1),
    ("swapcase", 1),
    ("initials", 1),
    ("nospace", 1),
    ("wrap", 2),
    ("wrapWith", 3),
    ("abbrev", 2),
    ("abbrevboth", 3),
    ("plural", 3),
    ("toString", 1),
    ("toStrings", 1),
    ("join", 2),
    ("sortAlpha", 1),
    ("split", 2),
    ("splitList", 2),
    ("splitn", 3),
    ("trimAll", 2),
    ("trimSuffix", 2),
    ("trimPrefix", 2),
    ("list", 3),
    ("first", 1),
    ("last", 1),
    ("rest", 1),
    ("initial", 1),
    ("append", 2),
    ("prepend", 2),
    ("concat", 2),
    ("reverse", 1),
    ("uniq", 1),
    ("without", 2),
    ("has", 2),
    ("compact", 1),
    ("slice", 2),
    ("mustSlice", 3),
    ("chunk", 2),
    ("index", 2),
    ("len", 1),
    ("dict", 2),
    ("get", 2),
    ("set", 3),
    ("unset", 2),
    ("hasKey", 2),
    ("pluck", 2),
    ("pick", 2),
    ("omit", 2),
    ("merge", 2),
    ("mergeOverwrite", 2),
    ("dig", 3),
    ("deepCopy", 1),
    ("default", 2),
    ("empty", 1),
    ("coalesce", 3),
    ("ternary", 3),
    ("all", 2),
    ("any", 2),
    ("toJson", 1),
    ("toPrettyJson", 1),
    ("toRawJson", 1),
    ("fromJson", 1),
    ("add", 2),
    ("sub", 2),
    ("mul", 2),
    ("div", 2),
    ("mod", 2),
    ("max", 2),
    ("min", 2),
    ("addf", 2),
    ("subf", 2),
    ("mulf", 2),
    ("divf", 2),
    ("maxf", 2),
    ("minf", 2),
    ("floor", 1),
    ("ceil", 1),
    ("round", 2),
    ("add1", 1),
    ("int", 1),
    ("int64", 1),
    ("float64", 1),
    ("atoi", 1),
    ("toDecimal", 1),
    ("until", 1),
    ("seq", 2),
    ("untilStep", 3),
    ("b64enc", 1),
    ("b64dec", 1),
    ("b32enc", 1),
    ("b32dec", 1),
    ("sha256sum", 1),
    ("adler32sum", 1),
    ("regexMatch", 2),
    ("regexFind", 2),
    ("regexFindAll", 3),
    ("regexReplaceAll", 3),
    ("regexSplit", 3),
    ("regexQuoteMeta", 1),
    ("semver", 1),
    ("semverCompare", 2),
    ("urlParse", 1),
    ("urlJoin", 1),
    ("base", 1),
    ("dir", 1),
    ("clean", 1),
    ("ext", 1),
    ("typeOf", 1),
    ("kindOf", 1),
    ("deepEqual", 2),
    ("typeIs", 2),
    ("printf", 2),
    ("printf", 3),
    ("print", 2),
    ("println", 2),
    ("html", 1),
    ("js", 1),
    ("urlquery", 1),
    ("eq", 2),
    ("ne", 2),
    ("lt", 2),
    ("gt", 2),
    ("le", 2),
    ("and", 2),
    ("or", 2),
    ("not", 1),
    ("duration", 1),
    ("durationRound", 1),
    ("date", 2),
    ("htmlDate", 1),
    ("toDate", 2),
];

fn expression(dice: &mut Dice, depth: usize) -> String {
    if depth == 0 || dice.below(3) == 0 {
        return dice.one(VALUES).to_owned();
    }
    format!("({})", call(dice, depth - 1))
}

fn call(dice: &mut Dice, depth: usize) -> String {
    let (name, count) = FUNCTIONS[dice.below(FUNCTIONS.len())];
    // Where a time is missing, it is now.
    let name = if matches!(name, "date" | "htmlDate") { "toDate" } else { name };
    let count = if name == "toDate" { 2 } else { count };
    let mut args: Vec<String> = (0..count).map(|_| expression(dice, depth)).collect();
    match dice.below(4) {
        0 => {
            let last = args.pop().unwrap();
            format!("{last} | {name} {}", args.join(" "))
        }
        _ => format!("{name} {}", args.join(" ")),
    }
}

fn node(dice: &mut Dice, depth: usize) -> String {
    let (open, close) = (dice.one(&["{{", "{{ ", "{{- "]), dice.one(&["}}", " }}", " -}}"]));
    let inner = |dice: &mut Dice| nodes(dice, depth.saturating_sub(1));
    match dice.below(if depth == 0 { 4 } else { 12 }) {
        0 => dice.one(&["text", " ", "\n  ", "a: ", "é"]).to_owned(),
        1..=4 => format!("{open}{}{close}", call(dice, 2)),
        5 => format!("{open}$v := {}{close}{{{{ $v }}}}", expression(dice, 2)),
        6 => format!(
            "{open}if {}{close}{}{{{{ else if {} }}}}{}{{{{else}}}}{}{{{{ end }}}}",
            expression(dice, 2),
            inner(dice),
            expression(dice, 1),
            inner(dice),
            inner(dice)
        ),
        7 => format!(
            "{open}with {}{close}{}{{{{ else }}}}{}{{{{ end }}}}",
            expression(dice, 2),
            inner(dice),
            inner(dice)
        ),
        8 => format!("{open}range {}{close}{}{{{{ else }}}}-{{{{ end }}}}", expression(dice, 2), inner(dice)),
        9 => format!(
            "{{{{ range $k, $v := {} }}}}{{{{ $k }}}}={{{{ $v }}}}{}{{{{ end }}}}",
            expression(dice, 2),
            inner(dice)
        ),
        10 => format!("{{{{ block \"b{}\" {} }}}}{}{{{{ end }}}}", dice.below(1000), expression(dice, 1), inner(dice)),
        _ => format!(
            "{{{{ range {} }}}}{{{{ if {} }}}}{}{{{{ end }}}}.{{{{ end }}}}",
            expression(dice, 1),
            expression(dice, 1),
            dice.one(&["{{ break }}", "{{ continue }}"])
        ),
    }
}

fn nodes(dice: &mut Dice, depth: usize) -> String {
    (0..=dice.below(2)).map(|_| node(dice, depth)).collect()
}

#[test]
fn random_templates_give_what_go_gives() {
    let mut dice = Dice::new();
    let data = json!({
        "s": "some text", "n": 5, "f": 2.5, "t": true, "l": ["b", "a", "b", 1, null], "m": {"k": "v", "n": {"x": 1}},
        "null": null, "ss": ["x", "y"], "e": "",
    });
    let cases: Vec<Case> = (0..setting("TEMPLATE_CASES", CASES))
        .map(|_| Case {
            template: nodes(&mut dice, 2),
            data: data.clone(),
            strings: false,
            missing_key: [MissingKey::Default, MissingKey::Zero, MissingKey::Error][dice.below(3)],
            delims: (String::new(), String::new()),
        })
        .collect();
    report(&cases);
}

#[test]
fn templates_with_faults_fail_where_go_fails() {
    let mut dice = Dice::new();
    // What is random, slow, or depends on the order of a map.
    let unfit = [
        "keys", "values", "now", "ago", "rand", "shuffle", "uuid", "gen", "bcrypt", "htpasswd", "derive", "AES",
        "date", "htmlDate",
    ];
    let fit: Vec<Case> =
        corpus::all().into_iter().filter(|case| !unfit.iter().any(|word| case.template.contains(word))).collect();
    let cases: Vec<Case> = (0..setting("TEMPLATE_CASES", CASES))
        .map(|_| {
            let mut case = fit[dice.below(fit.len())].clone();
            for _ in 0..=dice.below(2) {
                let mut text: Vec<char> = case.template.chars().collect();
                let at = dice.below(text.len() + 1);
                let piece: Vec<char> = dice
                    .one(&[
                        "{{", "}}", "-", " ", "\n", "(", ")", "|", ".", "$x", "\"", "`", "'", ":=", "=", ",", "1",
                        "end", "else", "x", "\\", "nil", "if ", "/*", "*/", "é", "_",
                    ])
                    .chars()
                    .collect();
                match dice.below(3) {
                    0 if at < text.len() => {
                        text.remove(at);
                    }
                    1 if at < text.len() => {
                        let end = (at + 1 + dice.below(6)).min(text.len());
                        let copy = text[at..end].to_vec();
                        text.splice(at..at, copy);
                    }
                    _ => {
                        text.splice(at..at, piece);
                    }
                }
                case.template = text.into_iter().collect();
            }
            case
        })
        .filter(|case| !unfit.iter().any(|word| case.template.contains(word)))
        .collect();
    report(&cases);
}

fn report(cases: &[Case]) {
    let differences = differences(cases);
    let shown: Vec<_> = differences.iter().take(20).cloned().collect();
    assert!(
        differences.is_empty(),
        "{} of {} cases differ with TEMPLATE_SEED={}:\n{}",
        differences.len(),
        cases.len(),
        setting("TEMPLATE_SEED", 1),
        shown.join("\n")
    );
}
