//! Any bytes as what a node asks the sealing operator, and as what it is answered. What is read is written as it was.
//!
//! The protocol's own file, without the rest of its crate: the clouds' clients would be built with coverage, too.
#![no_main]
#![allow(dead_code, reason = "the file has both ends' parts")]

#[path = "../../crates/store/src/sealed/protocol.rs"]
mod protocol;

use protocol::{MOST_OBJECTS, MOST_WATCHED, Question, Read, Request, is_good};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    match Request::read(data) {
        Ok(request) => {
            assert!((1..=MOST_OBJECTS).contains(&request.objects.len()));
            // They are put into a path of the API server.
            assert!(request.objects.iter().all(|object| !object.name.is_empty() && !object.name.contains(['/', '%', '?'])));
            let text = serde_json::to_vec(&request).unwrap();
            let again = Request::read(&text).unwrap();
            assert_eq!((again.pod_token, again.objects), (request.pod_token, request.objects));
        }
        Err(error) => assert!(error.len() < 1000, "{error}"),
    }
    if let Ok(question) = Question::read(data) {
        assert!(question.objects.len() <= MOST_WATCHED);
        let text = serde_json::to_vec(&question).unwrap();
        assert_eq!(Question::read(&text).unwrap().objects, question.objects);
    }
    let _ = serde_json::from_slice::<Read<'_>>(data);
    if let Ok(text) = str::from_utf8(data) {
        let _ = is_good(text, 0);
    }
});
