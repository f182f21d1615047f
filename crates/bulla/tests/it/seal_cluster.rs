//! kubeseal and `bulla seal` with an API server, which is played here: what it is asked, and what comes of its answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::seal::{SECRET, Who, bulla, command, kubeseal, world};
use crate::world::{World, finish};

/// An API server with sealed-secrets' controller behind it, and the first lines of what it was asked.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers each request by its first line: status and body.
    fn start(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let lines = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &answer, &lines);
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn serve(mut stream: TcpStream, answer: &impl Fn(&str) -> (u16, String), lines: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if first.is_empty() {
            line.trim_end().clone_into(&mut first);
        } else if line.trim().is_empty() {
            break;
        } else if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    lines.lock().unwrap().push(first.clone());
    let (status, body) = answer(&first);
    let kind = if body.starts_with('{') { "application/json" } else { "text/plain" };
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

const SERVICE: &str = r#"{"kind":"Service","apiVersion":"v1","metadata":{"name":"sealed-secrets-controller","namespace":"kube-system"},"spec":{"ports":[{"name":"http","port":8080}]}}"#;

fn write_kubeconfig(world: &World, server: &str, more: &str) {
    world.write(
        ".kube/config",
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: x\nclusters: [{{name: x, cluster: {{server: '{server}'{more}}}}}]\n\
             users: [{{name: x, user: {{token: t}}}}]\ncontexts: [{{name: x, context: {{cluster: x, user: x}}}}]\n"
        ),
    );
}

#[test]
fn what_the_controller_says_of_each_object_is_a_report() {
    let world = world();
    let verdicts = Arc::new(Mutex::new(0));
    let server = Server::start(move |line| {
        if line.starts_with("GET ") {
            return (200, SERVICE.to_owned());
        }
        let mut count = verdicts.lock().unwrap();
        *count += 1;
        if *count % 2 == 1 { (200, String::new()) } else { (409, "x: no key opens it\n".to_owned()) }
    });
    write_kubeconfig(&world, &format!("http://{}", server.address), "");
    let sealed = kubeseal(&world, Who::Theirs, "--cert cert.pem -o yaml", SECRET).ok().text().to_owned();
    let two = format!("{sealed}{}", sealed.replace("name: db", "name: other"));
    let run = bulla(&world, "seal --validate -o json", &two);
    assert_eq!(run.code, 25, "{}", run.stderr);
    let report: serde_json::Value = serde_json::from_str(run.text()).unwrap();
    assert_eq!(
        report,
        serde_json::json!([
            {"namespace": "shop", "name": "db", "opens": true},
            {"namespace": "shop", "name": "other", "opens": false, "reason": "x: no key opens it"},
        ])
    );
    assert!(run.stderr.contains("unable to decrypt sealed secret: \"other\""), "{}", run.stderr);
    bulla(&world, "seal --validate", &two).fails(25);
    // Under the other name nothing is printed, whatever the format.
    for who in [Who::Theirs, Who::Ours] {
        let run = kubeseal(&world, who, "--validate -o json", &sealed).ok();
        assert_eq!(run.text(), "", "{who:?}");
        assert_eq!(kubeseal(&world, who, "--validate -o json", &sealed).code, 1, "{who:?}");
    }
}

#[test]
fn a_proxy_of_the_kubeconfig_the_flag_or_the_environment_is_gone_through() {
    let world = world();
    let proxy = Server::start(|_| (502, String::new()));
    let url = format!("http://{}", proxy.address);
    let fetch = |who, line: &str, variables: &[(&str, &str)]| {
        let mut command = command(&world, who);
        command.arg("--fetch-cert").args(line.split_whitespace()).envs(variables.iter().copied());
        finish(&mut command, b"")
    };
    let goes_through = |who, line: &str, variables: &[(&str, &str)]| {
        let run = fetch(who, line, variables);
        assert_eq!(run.code, 1, "{}", run.stderr);
        proxy.asked().iter().any(|line| line.starts_with("CONNECT cluster.invalid:6443 "))
    };
    for who in [Who::Theirs, Who::Ours] {
        write_kubeconfig(&world, "https://cluster.invalid:6443", "");
        assert!(!goes_through(who, "", &[]), "{who:?}");
        assert!(goes_through(who, &format!("--proxy-url {url}"), &[]), "{who:?}");
        assert!(goes_through(who, "", &[("HTTPS_PROXY", &url)]), "{who:?}");
        assert!(goes_through(who, "", &[("https_proxy", &url)]), "{who:?}");
        assert!(!goes_through(who, "", &[("HTTPS_PROXY", &url), ("NO_PROXY", "x.example,.invalid")]), "{who:?}");
        assert!(!goes_through(who, "", &[("HTTP_PROXY", &url)]), "{who:?}");
        write_kubeconfig(&world, "https://cluster.invalid:6443", &format!(", proxy-url: '{url}'"));
        assert!(goes_through(who, "", &[("NO_PROXY", "cluster.invalid")]), "{who:?}: its own proxy is meant");
    }
    write_kubeconfig(&world, "https://cluster.invalid:6443", ", proxy-url: 'gopher://x'");
    let run = fetch(Who::Ours, "", &[]);
    assert!(run.code == 1 && run.stderr.contains("gopher"), "{}", run.stderr);
}

#[test]
fn sealing_keys_say_by_their_status_what_is_wrong() {
    let world = world();
    // Nothing that says where a cluster is.
    bulla(&world, "sealing-keys list", "").fails(111);
    let server = Server::start(|line| {
        let kinds =
            [("/sealingkeys", "SealingKeyList"), ("/secrets", "SecretList"), ("/sealedsecrets", "SealedSecretList")];
        if line.contains("/secrets/") {
            // The one whose name is the prefix of all keys.
            return (
                404,
                r#"{"kind":"Status","apiVersion":"v1","message":"none","reason":"NotFound","code":404}"#.to_owned(),
            );
        }
        match kinds.into_iter().find(|(path, _)| line.contains(path)) {
            Some((_, kind)) => {
                let list = r#"{"kind":"KIND","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[]}"#;
                (200, list.replace("KIND", kind))
            }
            None => (
                403,
                r#"{"kind":"Status","apiVersion":"v1","message":"no","reason":"Forbidden","code":403}"#.to_owned(),
            ),
        }
    });
    write_kubeconfig(&world, &format!("http://{}", server.address), "");
    assert_eq!(bulla(&world, "sealing-keys list --output json", "").ok().text().trim(), "[]");
    for (line, input, code) in [
        ("sealing-keys show nowhere", "", 100),
        ("sealing-keys retire nowhere", "", 100),
        ("sealing-keys renew", "", 100),
        ("sealing-keys backup", "", 100),
        ("sealing-keys restore -", "a: [", 2),
        ("sealing-keys restore -", "{\"a\": 1}", 2),
        ("sealing-keys restore nowhere.json", "", 100),
        ("sealing-keys init-shares --threshold 2", "", 1),
    ] {
        let run = bulla(&world, line, input);
        assert_eq!(run.code, code, "{line}: {}", run.stderr);
        assert_eq!(run.text(), "", "{line}");
    }
}
