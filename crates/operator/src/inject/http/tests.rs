//! What is answered to reviews, whole and broken.

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;

fn webhook() -> Arc<Webhook> {
    Arc::new(Webhook::new(Settings {
        image: "example.test/bulla:1".to_owned(),
        pull_policy: "Always".to_owned(),
        driver: "d".to_owned(),
        resources: json!({}),
        excluded: vec!["kube-system".to_owned()],
    }))
}

fn review(namespace: &str, pod: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": namespace, "operation": "CREATE", "userInfo": {"username": "admin"},
            "object": pod, "oldObject": null, "dryRun": false,
        },
    })
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "web-", "creationTimestamp": null,
            "labels": {"bulla.dev/env": "true", "app": "web"}, "annotations": {"bulla.dev/env-classes": "database"},
        },
        "spec": {"containers": [{"name": "web", "image": "i", "command": ["server"], "resources": {}}]},
    })
}

async fn send(body: impl Into<Vec<u8>>) -> Result<Value, StatusCode> {
    let body = body.into();
    let request = Request::builder().header(header::CONTENT_LENGTH, body.len()).body(Body::from(body)).unwrap();
    webhook().answer(request).await.map_err(|response| response.status())
}

async fn ask(namespace: &str, pod: &Value) -> Value {
    let answer = send(review(namespace, pod).to_string()).await.unwrap();
    assert_eq!((&answer["apiVersion"], &answer["kind"]), (&json!("admission.k8s.io/v1"), &json!("AdmissionReview")));
    assert_eq!(answer["response"]["uid"], "705ab4f5-6393-11e8-b7cc-42010a800002");
    answer["response"].clone()
}

#[tokio::test]
async fn a_pod_that_asks_gets_a_patch_and_others_none() {
    let response = ask("shop", &pod()).await;
    assert_eq!((&response["allowed"], &response["patchType"]), (&json!(true), &json!("JSONPatch")));
    let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    let patch: Vec<Value> = serde_json::from_slice(&patch).unwrap();
    assert!(patch.iter().all(|step| step["path"].as_str().unwrap().starts_with("/spec/")), "{patch:?}");
    let mut other = pod();
    other["metadata"]["labels"] = json!({"bulla.dev/env": "false"});
    for (namespace, pod) in [("shop", &other), ("kube-system", &pod())] {
        let response = ask(namespace, pod).await;
        assert_eq!((&response["allowed"], &response["patch"]), (&json!(true), &Value::Null));
    }
    let mut about_another = review("shop", &pod());
    about_another["request"]["kind"]["kind"] = json!("ConfigMap");
    assert_eq!(send(about_another.to_string()).await.unwrap()["response"]["patch"], Value::Null);
}

#[tokio::test]
async fn a_pod_that_cannot_have_it_is_refused_by_its_name() {
    let mut pod = pod();
    pod["spec"]["containers"][0]["command"] = Value::Null;
    let response = ask("shop", &pod).await;
    assert_eq!(response["allowed"], false);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("bulla.dev/env: web-: container web has no command"), "{message}");
    assert_eq!(response["status"]["code"], 422);
}

#[tokio::test]
async fn what_is_no_review_is_an_error_and_costs_little() {
    let deep = format!("{{\"apiVersion\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let containers = "{},".repeat(900_000);
    let many = review("n", &pod()).to_string().replace("\"containers\":[", &format!("\"containers\":[{containers}"));
    let mut other_version = review("n", &pod());
    other_version["apiVersion"] = json!("admission.k8s.io/v1beta1");
    let mut no_uid = review("n", &pod());
    no_uid["request"]["uid"] = json!("");
    let mut wrong_type = review("n", &pod());
    wrong_type["request"]["object"]["spec"]["containers"][0]["command"] = json!("server");
    let mut no_object = review("n", &pod());
    no_object["request"]["object"] = Value::Null;
    for body in [
        String::new(),
        "null".to_owned(),
        "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\"}".to_owned(),
        "\u{feff}{".to_owned(),
        deep,
        many,
        other_version.to_string(),
        no_uid.to_string(),
        wrong_type.to_string(),
        no_object.to_string(),
    ] {
        assert_eq!(send(body.clone()).await, Err(StatusCode::BAD_REQUEST), "{body:.100}");
    }
    assert_eq!(send(vec![b' '; LONGEST + 1]).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
    let unsaid = Request::builder().body(Body::from("{}")).unwrap();
    assert_eq!(webhook().answer(unsaid).await.unwrap_err().status(), StatusCode::LENGTH_REQUIRED);
    // More than was said is not read.
    let longer = Request::builder().header(header::CONTENT_LENGTH, 2).body(Body::from("{}  ")).unwrap();
    assert_eq!(webhook().answer(longer).await.unwrap_err().status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_review_with_any_byte_wrong_is_answered_or_refused() {
    let whole = review("shop", &pod()).to_string().into_bytes();
    for place in 0..whole.len() {
        let mut bodies = vec![whole[..place].to_vec()];
        for byte in [0, b'"', b'{', b'9', 0xff] {
            let mut body = whole.clone();
            body[place] = byte;
            bodies.push(body);
        }
        for body in bodies {
            match send(body).await {
                Ok(answer) => assert!(answer["response"]["allowed"].is_boolean()),
                Err(status) => assert_eq!(status, StatusCode::BAD_REQUEST, "byte {place}"),
            }
        }
    }
}
