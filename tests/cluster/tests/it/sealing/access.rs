//! `/v1/verify` and `/v1/rotate`: who may ask, and what is answered.

use bulla_cluster_tests::Namespace;
use bulla_test_support::http;
use serde_json::{Value, json};

use super::{Keys, Operator, plain};

#[test]
fn verify_and_rotate_take_a_token_and_a_rule() {
    let (namespace, keys) = (Namespace::new("access"), Keys::new());
    let operator = Operator::start(&namespace, &keys, "a", &["--rate-limit=100", "--rate-limit-burst=100"]).ready();
    let sealed = operator.seal(&namespace, &plain("db", &json!({"password": "one"})), &[]);
    let body = sealed.to_string();
    let ask = |path: &str, header: &str, token: &str, body: &str| {
        http(operator.api, "POST", path, &[(header, &format!("Bearer {token}"))], body)
    };
    assert_eq!(http(operator.api, "POST", "/v1/verify", &[], &body).0, 401);
    assert_eq!(ask("/v1/verify", "Authorization", "nonsense", &body).0, 401);

    // A token of a service account that has no rule; then with one, for this namespace alone.
    for name in ["nobody", "sealer"] {
        namespace.kubectl(&["create", "serviceaccount", name]).ok();
    }
    let token = |account: &str, audience: &[&str]| {
        let arguments = [&["create", "token", account][..], audience].concat();
        namespace.kubectl(&arguments).ok().trim().to_owned()
    };
    namespace
        .apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "sealer"},
            "rules": [{
                "apiGroups": ["bitnami.com"],
                "resources": ["sealedsecrets/verify", "sealedsecrets/rotate"],
                "verbs": ["create"],
            }],
        }))
        .ok();
    let account = format!("{}:sealer", namespace.name);
    namespace.kubectl(&["create", "rolebinding", "sealer", "--role=sealer", "--serviceaccount", &account]).ok();
    let (status, why) = ask("/v1/verify", "Authorization", &token("nobody", &[]), &body);
    assert!(status == 403 && why.contains("sealedsecrets/verify"), "{status} {why}");
    let sealer = token("sealer", &["--audience", "bulla.dev/sealing"]);
    assert_eq!(ask("/v1/verify", "X-Bulla-Authorization", &sealer, &body).0, 200);
    assert_eq!(ask("/v1/verify", "Authorization", &token("sealer", &[]), &body).0, 200);
    // A token that was made for somebody else is not for us.
    let other = token("sealer", &["--audience", "vault"]);
    assert_eq!(ask("/v1/verify", "Authorization", &other, &body).0, 401);
    let mut elsewhere = sealed.clone();
    elsewhere["metadata"]["namespace"] = json!("kube-system");
    assert_eq!(ask("/v1/verify", "Authorization", &sealer, &elsewhere.to_string()).0, 403);

    // What does not open is 409 and no more is said, whatever the template asks.
    let mut moved = sealed.clone();
    moved["metadata"]["name"] = json!("other");
    assert_eq!(ask("/v1/verify", "Authorization", &sealer, &moved.to_string()), (409, String::new()));
    let mut oracle = sealed.clone();
    oracle["spec"]["template"]["data"] = json!({"x": "{{ fail .password }}"});
    assert_eq!(ask("/v1/verify", "Authorization", &sealer, &oracle.to_string()), (200, String::new()));
    assert_eq!(ask("/v1/verify", "Authorization", &sealer, "{").0, 400);
    let (status, _) = ask("/v1/verify", "Authorization", &sealer, &" ".repeat(3 << 20));
    assert!(status == 413 || status == 0, "{status}");

    let (status, rotated) = ask("/v1/rotate", "Authorization", &sealer, &body);
    assert_eq!(status, 200, "{rotated}");
    let rotated: Value = serde_json::from_str(&rotated).unwrap();
    assert_eq!(ask("/v1/verify", "Authorization", &sealer, &rotated.to_string()).0, 200);
    assert!(rotated["spec"]["template"]["metadata"]["annotations"].is_null());
    let count = "sealed_secrets_controller_http_requests_total{path=\"/v1/verify\",code=\"409\",method=\"post\"}";
    assert_eq!(operator.metric(count), Some(1.0));
}

#[test]
fn each_caller_may_ask_so_often() {
    let (namespace, keys) = (Namespace::new("rate"), Keys::new());
    let flags = ["--allow-anonymous=verify", "--rate-limit=1", "--rate-limit-burst=2"];
    let operator = Operator::start(&namespace, &keys, "a", &flags).ready();
    let body = operator.seal(&namespace, &plain("db", &json!({"password": "one"})), &[]).to_string();
    let statuses: Vec<u16> = (0..4).map(|_| http(operator.api, "POST", "/v1/verify", &[], &body).0).collect();
    assert_eq!(statuses[..2], [200, 200]);
    assert!(statuses[2..].contains(&429), "{statuses:?}");
    assert_eq!(http(operator.api, "POST", "/v1/rotate", &[], &body).0, 401);
}
