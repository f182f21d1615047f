//! Pods reach each other and the API through Services, and we reach them through the API.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use bulla_cluster_tests::Namespace;
use serde_json::{Value, json};

use crate::pod;

/// A pod that answers over HTTP, and a Service in front of it.
fn serve(namespace: &Namespace) -> String {
    let script = "mkdir /tmp/www; echo answer > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www";
    namespace.apply(&pod("web", script)).ok();
    let service: Value = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    namespace.apply(&service).ok();
    namespace.wait_for_pod("web", "Running");
    namespace.field("service/web", ".spec.clusterIP")
}

#[test]
fn a_service_leads_to_its_pod_also_from_the_pod_itself() {
    let namespace = Namespace::new("service");
    let address = serve(&namespace);
    namespace.apply(&pod("client", "sleep 1000")).ok();
    namespace.wait_for_pod("client", "Running");
    let request = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {address} 80");
    for from in ["client", "web"] {
        namespace.eventually("the answer", || {
            namespace.kubectl(&["exec", from, "--", "sh", "-c", &request]).stdout.ends_with("\r\n\r\nanswer\n")
        });
    }
}

#[test]
fn a_pod_reaches_the_api_at_its_own_service_with_its_token() {
    let namespace = Namespace::new("api");
    // busybox has no TLS that checks; what counts here is that the API's Service leads to the API.
    let script = "nc -w 2 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT </dev/null && echo reached && \
                  test -s /var/run/secrets/kubernetes.io/serviceaccount/token && echo token";
    namespace.apply(&pod("p", script)).ok();
    namespace.eventually("the log", || namespace.kubectl(&["logs", "p"]).stdout == "reached\ntoken\n");
}

#[test]
fn a_port_of_a_pod_is_forwarded_to_us() {
    let namespace = Namespace::new("forward");
    serve(&namespace);
    let mut forward =
        namespace.command().args(["port-forward", "pod/web", ":8080"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    // Kept to the end: what kubectl still has to say must go somewhere, or it ends.
    let mut output = BufReader::new(forward.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    // "Forwarding from 127.0.0.1:PORT -> 8080"
    let address = line.split(' ').nth(2).unwrap_or_else(|| panic!("{line}"));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    forward.kill().unwrap();
    forward.wait().unwrap();
    assert!(answer.ends_with("answer\n"), "{answer}");
}
