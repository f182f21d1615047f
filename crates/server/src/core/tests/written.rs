//! What is written down when: before it is done, or with its answer.

use std::path::{Path, PathBuf};

use super::*;

/// An engine that looks how many records there are while it is asked.
struct Looks(PathBuf);

#[async_trait]
impl Engine for Looks {
    const ABOUT: &'static str = "Counts records.";

    fn routes() -> Vec<Route<Self>> {
        vec![
            Route::<Self>::new("plain", "Counted").on(Operation::Read, |engine, _| Box::pin(engine.count())),
            Route::<Self>::new("unchanging", "Counted, without effect")
                .unchanging(&[Operation::Read])
                .on(Operation::Read, |engine, _| Box::pin(engine.count())),
            Route::<Self>::new("slow", "Counted after a while, without effect").unchanging(&[Operation::Read]).on(
                Operation::Read,
                |engine, _| {
                    Box::pin(async {
                        tokio::task::yield_now().await;
                        engine.count().await
                    })
                },
            ),
            Route::<Self>::new("panics", "Panics")
                .unchanging(&[Operation::Read])
                .on(Operation::Read, |_, _| Box::pin(async { panic!("as it should") })),
        ]
    }
}

impl Looks {
    #[expect(clippy::unused_async, reason = "the signature that all handlers share")]
    async fn count(&self) -> Result<Response> {
        Ok(Response::data(object! { "records": records(&self.0).len() }))
    }
}

/// Kinds and paths of all records.
fn records(path: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    let record = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        (line["type"].as_str().unwrap().to_owned(), line["request"]["path"].as_str().unwrap().to_owned())
    };
    text.lines().map(record).collect()
}

#[tokio::test]
async fn what_has_an_effect_is_written_down_before_and_the_rest_with_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let theirs = path.clone();
    let options = Options {
        audit: vec![audit_file(&path)],
        catalog: crate::catalog()
            .with(Class::Secret, "looks", move |_, _| Arc::new(Declared::new(Looks(theirs.clone())))),
        ..options()
    };
    let core = Core::new(Arc::new(Memory::default()), Vec::new(), options);
    let root = crate::dev::start(&core, None).await.unwrap().root_token;
    let ask = |operation, path: &str, data, wrap_ttl| {
        let (core, path, token) = (Arc::clone(&core), path.to_owned(), Some(root.clone()));
        async move {
            let id = random::uuid()?;
            core.handle(Request { id, token, wrap_ttl, ..Request::new(operation, path, data) }).await
        }
    };
    ask(Operation::Update, "sys/mounts/l", object! { "type": "looks" }, None).await.unwrap();
    for (name, data, wrap, written) in [
        ("plain", object! {}, None, 1),
        ("unchanging", object! {}, None, 0),
        ("unchanging", object! { "plaintext": "x".repeat(4096) }, None, 0),
        // What can take its time, and what does.
        ("unchanging", object! { "plaintext": "x".repeat(4097) }, None, 1),
        ("unchanging", object! { "batch_input": vec!["x"] }, None, 1),
        ("slow", object! {}, None, 1),
        // The wrapped answer is a token.
        ("unchanging", object! {}, Some(Duration::from_mins(1)), 1),
    ] {
        let before = records(&path).len();
        let response = ask(Operation::Read, &format!("l/{name}"), data, wrap).await.unwrap();
        let request = ("request".to_owned(), format!("l/{name}"));
        let after = records(&path).split_off(before);
        assert_eq!(after, [request.clone(), ("response".to_owned(), request.1)], "{name}");
        if wrap.is_none() {
            assert_eq!(response.data.unwrap()["records"], Value::from(before + written), "{name}");
        } else {
            let token = response.wrap_info.unwrap().token;
            let data = object! { "token": token.expose() };
            let unwrapped = ask(Operation::Update, "sys/wrapping/unwrap", data, None).await.unwrap();
            let (_, body) = unwrapped.raw.unwrap();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["data"]["records"], before + written, "{name}");
        }
    }
    // What is denied, and what is not there, has no effect; a panic is an answer.
    for (path_asked, status) in [("l/panics", 500), ("nowhere/x", 404)] {
        let before = records(&path).len();
        assert_eq!(ask(Operation::Read, path_asked, object! {}, None).await.unwrap_err().status, status);
        let kinds: Vec<String> = records(&path).split_off(before).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, ["request", "response"], "{path_asked}");
    }
}
