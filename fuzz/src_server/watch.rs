//! What must hold for each answer, whoever asked for whatever before.

use std::collections::{BTreeMap, BTreeSet};

use bulla_core::json::{self, Value};
use serde::de::IgnoredAny;

use super::script::{Line, Who};
use super::world::{Answer, Canary, World};

/// What has been seen of one input.
pub struct Watch {
    /// Texts that stand for names in requests.
    pub texts: BTreeMap<String, String>,
    /// Tokens of wrapped answers.
    pub wraps: Vec<String>,
    /// Those that nobody else may know yet, with who may.
    canaries: Vec<Canary>,
    /// Tokens that are somebody's.
    tokens: Vec<String>,
    /// The ids of requests whose answers were given.
    given: BTreeSet<String>,
    input: String,
}

impl Watch {
    /// Nothing yet.
    pub fn new(world: &World, input: &str) -> Self {
        Self {
            texts: world.texts.iter().map(|(name, text)| ((*name).to_owned(), text.clone())).collect(),
            wraps: Vec::new(),
            canaries: world.canaries.clone(),
            tokens: world.people.iter().map(|person| person.token.clone()).chain([world.waiting.clone()]).collect(),
            given: BTreeSet::new(),
            input: input.to_owned(),
        }
    }

    /// Looks at an answer to `line`; what was asked is `sent`, as it went over the wire.
    pub fn look(&mut self, line: &Line<'_>, sent: &[u8], answer: &Answer) {
        let holder = if let Who::Holder(name) = line.who { name } else { "" };
        let shown = String::from_utf8_lossy(&answer.body).into_owned();
        form(answer, &shown);
        // What the peer refuses with 500 says what is wrong; this is ours, and means that something failed here.
        let is_ours =
            answer.status >= 500 && shown.contains("internal error") && !self.input.contains("internal error");
        assert!(!is_ours, "{line:?}: {} {shown}", answer.status);
        if holder == "admin" {
            // Who may do everything may also give everything away, and shut the server.
            self.canaries.clear();
        }
        for canary in self.canaries.iter().filter(|canary| !canary.readers.contains(&holder)) {
            assert!(!holds(answer, &shown, &canary.text), "{line:?} got what it may not have: {shown}");
        }
        if answer.status >= 400 {
            let told = self.tokens.iter().find(|token| holds(answer, &shown, token) && !sent_with(sent, token));
            assert!(told.is_none(), "an error of {line:?} has a token: {shown}");
        }
        self.remember(holder, answer);
    }

    /// Whether a token with this text was made.
    pub fn is_token(&self, text: &str) -> bool {
        self.tokens.iter().any(|token| token == text)
    }

    fn remember(&mut self, holder: &str, answer: &Answer) {
        let (token, wrap) = (answer.text(&["auth", "client_token"]), answer.text(&["wrap_info", "token"]));
        if token.is_some() || wrap.is_some() {
            // Whoever gets it may read what its maker may.
            self.canaries.retain(|canary| !canary.readers.contains(&holder));
        }
        if let Some(wrap) = wrap {
            self.texts.insert("wrap".to_owned(), wrap.clone());
            self.tokens.push(wrap.clone());
            self.wraps.push(wrap);
        }
        if let Some(token) = token {
            self.texts.insert("token".to_owned(), token.clone());
            self.tokens.push(token);
        }
        if let Some(cipher) = answer.text(&["data", "ciphertext"]) {
            self.texts.insert("cipher".to_owned(), cipher);
        }
        // A wrapped answer has the id of the request that it was for. Whatever way it is taken, it is taken once.
        for path in [&["request_id"][..], &["data", "request_id"]] {
            let id = answer.text(path).filter(|id| !id.is_empty() && !self.input.contains(id.as_str()));
            if let Some(id) = id {
                assert!(self.given.insert(id), "an answer was given twice: {}", String::from_utf8_lossy(&answer.body));
            }
        }
    }
}

/// What an answer looks like.
fn form(answer: &Answer, shown: &str) {
    assert_eq!(answer.headers.get("cache-control").map(http::HeaderValue::as_bytes), Some(b"no-store".as_slice()));
    let kind = answer.headers.get("content-type").map(|kind| kind.to_str().unwrap_or("?").to_owned());
    match kind.as_deref() {
        // Metrics are text where Prometheus asks for them.
        Some(kind) if kind.starts_with("text/plain") => assert!(!shown.contains('\0')),
        Some("application/json") if answer.body.is_empty() => assert_eq!(answer.status, 204),
        Some("application/json") => {
            let is_json = serde_json::from_slice::<IgnoredAny>(&answer.body).is_ok();
            let object = json::parse_object(&answer.body);
            assert!(is_json && object.is_ok(), "{} is no JSON: {shown}", answer.status);
            let object = object.unwrap_or_default();
            if let Some(errors) = object.get("errors").filter(|_| answer.status >= 400) {
                let Value::Array(errors) = errors else { panic!("errors are a list: {shown}") };
                assert!(errors.iter().all(|error| error.as_str().is_some()), "errors are texts: {shown}");
            }
        }
        Some(other) => panic!("an answer of kind {other}: {shown}"),
        None => {
            assert!(answer.status == 307 && answer.body.is_empty(), "{} {shown}", answer.status);
            let location = answer.headers.get("location").and_then(|location| location.to_str().ok());
            let location = location.expect("a redirect says where");
            let uri: http::Uri = location.parse().expect("where a redirect leads is a path");
            let next = bulla_server::http::path(&uri);
            assert!(uri.host().is_none() && location.starts_with('/') && !location.starts_with("//"), "{location}");
            assert!(next.map_or_else(|answer| answer.status() != 307, |_| true), "{location}");
        }
    }
}

/// Whether an answer has `text` anywhere.
fn holds(answer: &Answer, shown: &str, text: &str) -> bool {
    shown.contains(text) || answer.headers.values().any(|value| sent_with(value.as_bytes(), text))
}

fn sent_with(sent: &[u8], text: &str) -> bool {
    sent.windows(text.len()).any(|window| window == text.as_bytes())
}
