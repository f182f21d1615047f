//! Inputs and command lines of all kinds, given to the real kubeseal and to ours.

use crate::seal::{SECRET, Who, bulla, command, kubeseal, shape, world};
use crate::world::{Run, World, finish};

const OPEN: &str = "--recovery-unseal --recovery-private-key key.pem";
const PLACED: &str = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\n  namespace: shop\n";
const UNPLACED: &str = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\nstringData:\n  a: b\n";

fn kubeconfig(current: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: {current}\n\
         clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1'}}}}]\n\
         users: [{{name: u, user: {{token: t}}}}]\n\
         contexts:\n- {{name: named, context: {{cluster: c, user: u, namespace: blue}}}}\n\
         - {{name: bare, context: {{cluster: c, user: u}}}}\n"
    )
}

#[test]
fn scalars_that_are_no_strings_become_the_same_strings_under_kubeseal_s_name() {
    let world = world();
    let values = [
        "yes",
        "y",
        "On",
        "NO",
        "n",
        "off",
        "true",
        "False",
        "5432",
        "017",
        "0x1F",
        "1_000",
        "1.50",
        ".5",
        "1e3",
        "1e6",
        "123456789.5",
        "-0",
        "2020-01-01",
        "null",
        "~",
        "\"yes\"",
        "'5'",
        "!!str 5",
        "yes sir",
        "5 5",
    ];
    let items: String = values.iter().enumerate().map(|(n, value)| format!("  item{n}: {value}\n")).collect();
    let input = format!("{PLACED}  labels:\n    a: 1\n    b: on\nimmutable: yes\nstringData:\n{items}");
    let [theirs, ours] = [Who::Theirs, Who::Ours].map(|who| {
        let sealed = kubeseal(&world, who, "--cert cert.pem", &input).ok();
        let opened = shape(kubeseal(&world, Who::Theirs, OPEN, sealed.text()).ok().text());
        (opened["data"].clone(), shape(sealed.text())["spec"]["template"].clone())
    });
    for (n, value) in values.iter().enumerate() {
        let item = format!("item{n}");
        // Of an empty value the peer writes null.
        let text = |data: &serde_json::Value| data[&item].as_str().unwrap_or_default().to_owned();
        assert_eq!(text(&ours.0), text(&theirs.0), "{value}");
    }
    assert_eq!(ours.1, theirs.1);
    // What the API server would refuse is refused under our own name.
    for value in ["yes", "n", "5432", "true", "1.5", "2020-01-01"] {
        let run = bulla(&world, "seal --cert cert.pem", &format!("{PLACED}stringData:\n  a: {value}\n")).fails(2);
        assert!(run.stderr.contains("\"a\" is not a string"), "{}", run.stderr);
    }
    for who in ["seal --cert cert.pem", "seal --cert cert.pem -o json"] {
        bulla(&world, who, &format!("{PLACED}stringData:\n  n: v\n")).fails(2);
    }
}

#[test]
fn the_namespace_is_found_in_the_same_places() {
    let world = world();
    world.write("named", kubeconfig("named"));
    world.write("bare", kubeconfig("bare"));
    world.write("dangling", kubeconfig("gone"));
    let run = |who, line: &str, variable: Option<&str>| {
        let mut command = command(&world, who);
        command.args(["--cert", "cert.pem"]).args(line.split_whitespace());
        if let Some(paths) = variable {
            command.env("KUBECONFIG", paths);
        }
        finish(&mut command, UNPLACED.as_bytes())
    };
    let namespace = |run: &Run| match run.code {
        0 => shape(run.text())["metadata"]["namespace"].as_str().map(str::to_owned),
        _ => None,
    };
    for (line, variable, expected) in [
        ("--kubeconfig named", None, Some("blue")),
        ("--kubeconfig bare", None, Some("default")),
        ("--kubeconfig bare --context named", None, Some("blue")),
        ("--kubeconfig bare -n green", None, Some("green")),
        ("--kubeconfig dangling", None, None),
        ("--kubeconfig named --context nowhere", None, None),
        ("--kubeconfig nowhere", None, None),
        ("--context nowhere", None, None),
        ("", None, None),
        ("", Some("nowhere:named"), Some("blue")),
        ("", Some("bare:named"), Some("default")),
        ("", Some("nowhere"), None),
    ] {
        let [theirs, ours] = [Who::Theirs, Who::Ours].map(|who| run(who, line, variable));
        assert_eq!(namespace(&theirs).as_deref(), expected, "{line} {variable:?}: {}", theirs.stderr);
        assert_eq!(namespace(&ours).as_deref(), expected, "{line} {variable:?}: {}", ours.stderr);
        assert_eq!(ours.code, theirs.code, "{line} {variable:?}");
    }
    // An empty flag is none.
    let run = finish(command(&world, Who::Ours).args(["--cert", "cert.pem", "-n", ""]), SECRET.as_bytes()).ok();
    assert_eq!(shape(run.text())["metadata"]["namespace"], "shop");
}

#[test]
fn a_merge_takes_the_place_that_the_target_leaves_open() {
    let input = UNPLACED.replace("name: db", "name: db\n  namespace: shop");
    for (target, added) in [
        ("metadata: {name: db}\n", "metadata: {name: db, namespace: shop}\n"),
        ("metadata: {namespace: shop}\n", "metadata: {name: db, namespace: shop}\n"),
        ("", "metadata: {name: db, namespace: shop}\n"),
    ] {
        for who in [Who::Theirs, Who::Ours] {
            let world = world();
            let head = "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\n";
            let spec =
                "spec:\n  encryptedData: {old: AgA=}\n  template: {metadata: {labels: {a: b}, annotations: {c: d}}}\n";
            world.write("sealed.yaml", format!("{head}{target}{spec}"));
            kubeseal(&world, who, "--cert cert.pem -o yaml --merge-into sealed.yaml", &input).ok();
            // Whoever applies it says the place: kustomize, kubectl -n.
            let merged = shape(&world.read("sealed.yaml"));
            assert_ne!(merged["spec"]["encryptedData"]["a"], serde_json::Value::Null);
            let value = world
                .read("sealed.yaml")
                .lines()
                .find(|line| line.trim_start().starts_with("a: Ag"))
                .unwrap()
                .to_owned();
            let placed = format!("{head}{added}spec:\n  encryptedData:\n    {}\n", value.trim());
            let opened = kubeseal(&world, Who::Theirs, OPEN, &placed).ok();
            assert_eq!(shape(opened.text())["data"]["a"], "Yg==", "{who:?} {target}");
        }
    }
    let world = world();
    let text = "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: db, namespace: shop}\nspec: {encryptedData: {a: AgA=}}\n";
    world.write("sealed.yaml", text);
    for who in [Who::Theirs, Who::Ours] {
        let run = kubeseal(&world, who, "--cert cert.pem -n elsewhere --merge-into sealed.yaml", UNPLACED);
        assert_eq!(run.code, 1, "{who:?}");
        assert!(run.stderr.contains("namespace mismatch"), "{who:?}: {}", run.stderr);
    }
    assert_eq!(world.read("sealed.yaml"), text);
}

#[test]
fn a_certificate_s_place_may_be_written_in_all_the_ways_of_urls() {
    let world = world();
    world.write("a file.pem", world.read("cert.pem"));
    let folder = world.folder().display().to_string();
    for place in [
        format!("file://{folder}/a%20file.pem"),
        format!("FILE://{folder}/cert.pem"),
        format!("file:{folder}/cert.pem"),
        format!("file://localhost{folder}/cert.pem"),
    ] {
        for who in [Who::Theirs, Who::Ours] {
            finish(command(&world, who).args(["--cert", &place]), SECRET.as_bytes()).ok();
        }
    }
    for place in ["ftp://example.com/cert.pem", "file://elsewhere.example/cert.pem", "file:cert.pem", "file:///%zz"] {
        for who in [Who::Theirs, Who::Ours] {
            let run = finish(command(&world, who).args(["--cert", place]), SECRET.as_bytes());
            // The peer takes any host for this one.
            assert!(run.code == 1 || who == Who::Theirs, "{place} {who:?}");
        }
    }
    // One that expired is the cluster's all the same.
    for who in [Who::Theirs, Who::Ours] {
        let run = kubeseal(&world, who, "--fetch-cert --cert old.pem", "").ok();
        assert_eq!(run.text(), world.read("old.pem"), "{who:?}");
        assert!(who == Who::Theirs || run.stderr.contains("expired"), "{}", run.stderr);
    }
    assert_eq!(kubeseal(&world, Who::Ours, "--fetch-cert --cert key.pem", "").code, 1, "a private key is not printed");
}

#[test]
fn a_secret_that_says_wrongly_what_it_is_does_not_stay_plain() {
    let world = world();
    let plain = "metadata: {name: x, namespace: shop}\nstringData: {password: hunter2}\n";
    for other in [
        format!("kind: Secret\n{plain}"),
        format!("apiVersion: v2\nkind: Secret\n{plain}"),
        format!("apiVersion: v1\nkind: secret\n{plain}"),
        format!("kind: List\nitems:\n- {}\n", format!("kind: Secret\n{plain}").trim_end().replace('\n', "\n  ")),
    ] {
        let run = bulla(&world, "seal --cert cert.pem", &format!("{SECRET}---\n{other}")).fails(2);
        assert!(run.stderr.contains("would stay plain"), "{other}: {}", run.stderr);
        assert!(!run.stderr.contains("hunter2"));
    }
    let inside = format!(
        "apiVersion: x/v1\nkind: Template\nobjects:\n- {}\n",
        format!("kind: Secret\n{plain}").trim_end().replace('\n', "\n  ")
    );
    let run = bulla(&world, "seal --cert cert.pem", &format!("{SECRET}---\n{inside}")).ok();
    assert!(run.stderr.contains("has a Secret inside, which is not sealed"), "{}", run.stderr);
    bulla(
        &world,
        "seal --cert cert.pem",
        &format!("{SECRET}---\napiVersion: v1\nkind: ConfigMap\ndata: {{1: x, y: z}}\n"),
    )
    .ok();
}

#[test]
fn a_comment_that_holds_a_sealed_value_is_reported() {
    let world = world();
    for comment in ["# was hunter2-value", "# aHVudGVyMi12YWx1ZQ=="] {
        let input = format!("{PLACED}{comment}\nstringData:\n  password: hunter2-value\n  user: me # me\n");
        let run = bulla(&world, "seal --cert cert.pem", &input).ok();
        assert!(run.stderr.contains("a comment holds the value of \"password\""), "{}", run.stderr);
        assert!(!run.stderr.contains("hunter2") && !run.stderr.contains("\"user\""), "{}", run.stderr);
    }
    let run = bulla(
        &world,
        "seal --cert cert.pem -o yaml",
        &format!("{PLACED}# hunter2-value\nstringData: {{a: hunter2-value}}\n"),
    )
    .ok();
    assert_eq!((run.stderr.as_str(), run.text().contains("hunter2")), ("", false), "written anew, without comments");
}

#[test]
fn templates_are_rendered_when_a_secret_is_recovered() {
    let world = world();
    let sealed = kubeseal(&world, Who::Theirs, "--cert cert.pem -o yaml", SECRET).ok();
    let with = |data: &str| sealed.text().replacen("  template:\n", &format!("  template:\n    data:\n{data}"), 1);
    let text = with("      url: postgres://{{ .user }}:{{ .password | upper }}@db\n      user: '{{ .user }}2'\n");
    let [theirs, ours] = [Who::Theirs, Who::Ours].map(|who| kubeseal(&world, who, OPEN, &text).ok());
    assert_eq!(ours.text(), theirs.text());
    let run = bulla(&world, &format!("seal {OPEN}"), &with("      a: '{{ fail .password }}'\n      b: '{{ nope }}'\n"))
        .fails(25);
    assert!(run.stderr.contains("\"a\": ") && run.stderr.contains("function \"nope\" not defined"), "{}", run.stderr);
    assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
}

fn sealed_world() -> World {
    world()
}

#[test]
fn hostile_manifests_are_refused_in_time() {
    let world = sealed_world();
    let bomb = (1..9).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
        let items = vec![format!("*a{}", n - 1); 10].join(", ");
        format!("{text}a{n}: &a{n} [{items}]\n")
    });
    for input in [
        bomb,
        "[".repeat(200_000),
        "{\"a\":".repeat(200_000),
        "a: ".repeat(100_000),
        "- ".repeat(100_000),
        format!("{PLACED}data: {{{}}}\n", "? ".repeat(100_000)),
        format!("{PLACED}data:\n{}", "  a: eA==\n".repeat(50_000)),
        "---\n".repeat(200_000),
        format!("{PLACED}data:\n  a: \"{}\"\n", "A".repeat(3 << 20)),
    ] {
        let start = std::time::Instant::now();
        let run = bulla(&world, "seal --cert cert.pem", &input);
        assert!((2..=23).contains(&run.code), "{}: {}", run.code, &run.stderr[..run.stderr.len().min(300)]);
        assert_eq!(run.text(), "");
        assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
    }
}
