//! Any text as the path of a request: what is let through has no segment that leads elsewhere, and who is sent on is sent on once.
#![no_main]

use bulla_server::http::path;
use http::Uri;

libfuzzer_sys::fuzz_target!(|text: &str| {
    for uri in [text.to_owned(), format!("/v1/{text}")] {
        if let Ok(uri) = uri.parse::<Uri>() {
            look(&uri);
        }
    }
});

fn look(uri: &Uri) {
    match path(uri) {
        Ok(path) => {
            let inner = path.strip_suffix('/').unwrap_or(&path);
            let is_clean = inner.is_empty() || inner.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
            assert!(is_clean && !path.starts_with('/'), "{path:?}");
            assert!(!path.chars().any(char::is_control) && path.len() <= uri.path().len());
            // Written again with everything escaped that can be, it is the same path.
            let escaped: String =
                path.bytes().map(|byte| if byte == b'/' { "/".to_owned() } else { format!("%{byte:02x}") }).collect();
            let escaped: Uri = format!("/v1/{escaped}").parse().expect("escapes are a path");
            assert!(self::path(&escaped).is_ok_and(|again| again == path), "{path:?}");
        }
        Err(answer) => {
            let location =
                answer.headers().get("location").map(|location| location.to_str().expect("a location is text"));
            assert_eq!(location.is_some(), answer.status() == 307);
            assert!(matches!(answer.status().as_u16(), 307 | 400 | 404 | 414), "{}", answer.status());
            let Some(location) = location else { return };
            let next: Uri = location.parse().expect("where somebody is sent is a path");
            assert!(next.host().is_none() && location.starts_with('/') && !location.starts_with("//"), "{location}");
            let query = uri.query().filter(|query| !query.is_empty());
            assert!(next.query() == query || query.is_some_and(|query| !query.is_ascii()), "{location}");
            assert!(path(&next).map_or_else(|answer| answer.status() != 307, |_| true), "{location}");
        }
    }
}
