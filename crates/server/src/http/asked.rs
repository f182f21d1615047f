//! Requests: a path, a method, headers and a body become what is asked for.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use bulla_listen::{Taken, Unread};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, Uri};
use hyper::body::Body;
use zeroize::Zeroizing;

use super::answer;
use super::body::AnswerBody;
use crate::core::random;
use crate::json::{self, Object, Value};
use crate::logical::{Operation, Request, TokenText, parse_seconds};

/// The longest body. An entry of storage has a megabyte, and text in JSON can be written in three times its length.
const BODY: usize = 4 << 20;
/// The longest body of a login and of whoever brings no token: those that anybody can send.
const OPEN_BODY: usize = 64 << 10;
/// So much of each body is not counted.
const FREE_BODY: usize = 16 << 10;
/// How much all bodies that are being read or answered may have together beyond that: those of whoever has a good token, and those that anybody can send.
const BODIES: usize = 48 << 20;
const OPEN_BODIES: usize = 16 << 20;
/// For how long the rest of a body is passed over that is not read.
const WITHOUT_ROOM: Duration = Duration::from_secs(1);
static ROOMS: LazyLock<Rooms> = LazyLock::new(|| Rooms {
    known: bulla_listen::Room::new(BODIES, FREE_BODY),
    open: bulla_listen::Room::new(OPEN_BODIES, FREE_BODY),
});
/// The longest path below `/v1/`.
const PATH: usize = 16 << 10;

/// What whoever sends a snapshot is told.
const NO_RESTORE: &str =
    "a server is not restored while it runs: stop it, and run bulla server snapshot restore -config FILE SNAPSHOT";

/// An answer that comes before anything is asked. In a box: it is large, and rare.
pub type Early = Box<Response<AnswerBody>>;

/// What is asked for.
pub struct Asked {
    /// For the core.
    pub request: Request,
    /// The room that its body takes, until it is answered.
    pub room: Room,
}

/// Room for a body among all.
pub type Room = Option<Taken>;

fn refuse(status: u16, message: impl Into<String>) -> Early {
    Box::new(answer::errors(status, &[message.into()]))
}

/// The path below `/v1/`, decoded. One that is not clean is sent to the clean one; one that is not once its escapes are read is refused: what
/// somebody put into a name does not become another path.
///
/// # Errors
/// The answer that whoever asks gets instead.
pub fn path(uri: &Uri) -> Result<String, Early> {
    if !is_clean(uri.path()) {
        return Err(redirect(uri.path(), uri.query()));
    }
    let decoded = decode(uri.path(), Plus::Plus).ok_or_else(|| refuse(400, "the path is not UTF-8"))?;
    let path = decoded.strip_prefix("/v1/").ok_or_else(|| Box::new(answer::errors(404, &[])))?;
    if !is_clean(&decoded) {
        return Err(refuse(400, "relative paths not supported"));
    }
    if path.len() > PATH {
        return Err(refuse(414, "the path is too long"));
    }
    if path.chars().any(char::is_control) {
        return Err(refuse(400, "the path has characters that cannot be printed"));
    }
    Ok(path.to_owned())
}

/// Whether no segment is empty or relative, but for what is behind a slash at the end.
fn is_clean(path: &str) -> bool {
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        if matches!(segment, "." | "..") || segment.is_empty() && segments.peek().is_some() {
            return false;
        }
    }
    true
}

/// To the clean path. Escapes stay as they are.
fn redirect(path: &str, query: Option<&str>) -> Early {
    let mut clean: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(clean.pop()),
            other => clean.push(other),
        }
    }
    let mut location = format!("/{}", clean.join("/"));
    if path.ends_with('/') && location != "/" {
        location.push('/');
    }
    if let Some(query) = query.filter(|query| !query.is_empty()) {
        location.push('?');
        location.push_str(query);
    }
    // A header has no other characters than these.
    let location: String = location
        .bytes()
        .map(|byte| if byte.is_ascii_graphic() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    let mut response = answer::with(307, "", Vec::new());
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(LOCATION, location);
    }
    Box::new(response)
}

/// There is the root namespace alone.
pub fn check_namespace(headers: &HeaderMap) -> Option<Response<AnswerBody>> {
    let given = headers.get("x-vault-namespace")?;
    let name = given.to_str().unwrap_or("?").trim_matches('/');
    if name.is_empty() || name == "root" {
        return None;
    }
    let mut response = answer::errors(404, &["namespace not found".to_owned()]);
    response.headers_mut().insert("x-vault-namespace", given.clone());
    Some(response)
}

/// What is asked for. `known` says whether the token is good, and is asked if the body is too long for anybody, or finds no room as such.
pub async fn read<F: Future<Output = Result<(), Early>>>(
    head: &Parts,
    body: impl Body<Data = Bytes> + Unpin,
    mut path: String,
    address: SocketAddr,
    known: impl FnOnce() -> F,
) -> Result<Asked, Early> {
    let query = query(head.uri.query().unwrap_or_default())?;
    let is = |name: &str| {
        query
            .get(name)
            .and_then(Value::as_str)
            .is_some_and(|text| matches!(text, "true" | "1" | "t" | "T" | "TRUE" | "True"))
    };
    let operation = match head.method.as_str() {
        "GET" if query.contains_key("help") => Operation::Help,
        "GET" if is("list") => Operation::List,
        "GET" if is("scan") => Operation::Scan,
        "GET" => Operation::Read,
        "HEAD" if path == "sys/health" => Operation::Read,
        "POST" | "PUT" => Operation::Update,
        "PATCH" => Operation::Patch,
        "DELETE" => Operation::Delete,
        "LIST" => Operation::List,
        "SCAN" => Operation::Scan,
        _ => return Err(Box::new(answer::errors(405, &[]))),
    };
    let lists = matches!(operation, Operation::List | Operation::Scan);
    if lists && !path.ends_with('/') {
        path.push('/');
    }
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if operation == Operation::Patch && kind.is_empty() {
        return Err(refuse(400, "mime: no media type"));
    }
    if operation == Operation::Patch && kind != "application/merge-patch+json" {
        return Err(refuse(
            415,
            format!("PATCH requires Content-Type of application/merge-patch+json, provided {kind}"),
        ));
    }
    if operation == Operation::Update
        && matches!(path.as_str(), "sys/storage/raft/snapshot" | "sys/storage/raft/snapshot-force")
    {
        // It may be as long as the storage. Whoever is told before it is sent hears it.
        ROOMS.open.read(body).pass_over(BODY, WITHOUT_ROOM).await;
        return Err(refuse(501, NO_RESTORE));
    }
    let (token, mut room) = (token(&head.headers), None);
    let mut data = match operation {
        Operation::Update | Operation::Patch => {
            let anybody = token.is_none() || path.starts_with("auth/") && path.contains("/login");
            let (bytes, taken) = ROOMS.collect(body, if anybody { None } else { Some(known) }).await?;
            room = Some(taken);
            fields(&bytes, kind)?
        }
        _ => query,
    };
    if !matches!(operation, Operation::Update | Operation::Patch) {
        for name in ["list", "scan", "help"] {
            data.remove(name);
        }
    }
    let request = Request {
        id: random::uuid().map_err(|_| refuse(500, "internal error"))?,
        operation,
        path,
        data,
        token,
        wrap_ttl: wrap_ttl(&head.headers)?,
        remote: Some(address.ip()),
        remote_port: address.port(),
        headers: Vec::new(),
    };
    Ok(Asked { request, room })
}

/// The token that is brought.
pub fn token(headers: &HeaderMap) -> Option<TokenText> {
    let direct = headers.get("x-vault-token").and_then(|token| token.to_str().ok());
    let bearer = || headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ");
    let text = direct.filter(|token| !token.is_empty()).or_else(bearer)?.trim();
    (!text.is_empty()).then(|| TokenText::new(text.to_owned()))
}

fn wrap_ttl(headers: &HeaderMap) -> Result<Option<Duration>, Early> {
    let Some(given) = headers.get("x-vault-wrap-ttl").and_then(|ttl| ttl.to_str().ok()) else { return Ok(None) };
    if headers.get("x-vault-wrap-format").is_some_and(|format| format == "jwt") {
        return Err(refuse(400, "the wrapping format jwt is not supported"));
    }
    let seconds =
        parse_seconds(given).map_err(|error| refuse(400, format!("error parsing X-Vault-Wrap-TTL header: {error}")))?;
    match u64::try_from(seconds) {
        Ok(0) => Ok(None),
        Ok(seconds) => Ok(Some(Duration::from_secs(seconds))),
        Err(_) => Err(refuse(400, "error parsing X-Vault-Wrap-TTL header: requested wrap ttl cannot be negative")),
    }
}

/// The fields of a body: JSON whatever it calls itself, unless it is a form and does not look like JSON.
fn fields(bytes: &[u8], kind: &str) -> Result<Object, Early> {
    let text = bytes.trim_ascii();
    // `bao write -f` sends the second.
    if text.is_empty() || text == b"null" {
        return Ok(Object::new());
    }
    if kind == "application/x-www-form-urlencoded" && !matches!(text.first(), Some(b'{' | b'[')) {
        let text = std::str::from_utf8(text).map_err(|_| refuse(400, "the form is not UTF-8"))?;
        return query(text);
    }
    json::parse_request(text).map_err(|error| {
        refuse(if error.is_limit() { 413 } else { 400 }, format!("failed to decode JSON input: {error}"))
    })
}

/// Room for bodies. What nobody can fill who has no good token is kept apart.
struct Rooms {
    known: bulla_listen::Room,
    open: bulla_listen::Room,
}

impl Rooms {
    /// All of a body. It is anybody's until who sends it is known, which is asked if there is `known` and it matters.
    async fn collect<F: Future<Output = Result<(), Early>>>(
        &self,
        body: impl Body<Data = Bytes> + Unpin,
        known: Option<impl FnOnce() -> F>,
    ) -> Result<(Zeroizing<Vec<u8>>, Taken), Early> {
        let mut reading = self.open.read(body);
        let (mut limit, mut read) = (OPEN_BODY, reading.to_end(OPEN_BODY).await);
        if let (Err(Unread::TooLong | Unread::Full), Some(known)) = (read, known) {
            // In a box: it is rare, and every request has room for what is here.
            if let Err(refused) = Box::pin(known()).await {
                reading.pass_over(BODY, WITHOUT_ROOM).await;
                return Err(refused);
            }
            limit = BODY;
            read = match reading.move_to(&self.known) {
                Ok(()) => reading.to_end(limit).await,
                Err(bulla_listen::Full) => Err(Unread::Full),
            };
        }
        match read {
            Ok(()) => Ok(reading.whole()),
            Err(Unread::TooLong) => {
                Err(refuse(413, format!("the request body is longer than the limit of {limit} bytes")))
            }
            Err(Unread::Full) => Err(refuse(503, "the server has too many large requests at once; try again")),
            Err(Unread::Slow) => Err(refuse(408, "the request body comes too slowly")),
            Err(Unread::Broken) => Err(refuse(400, "the request body could not be read")),
        }
    }
}

/// `a=1&b=2`; a name that is there twice is a list.
fn query(text: &str) -> Result<Object, Early> {
    let mut fields = Object::new();
    for (at, pair) in text.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        if at == json::MAX_ENTRIES {
            return Err(refuse(413, "too many fields"));
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let both = decode(name, Plus::Space).zip(decode(value, Plus::Space));
        let (name, value) = both.ok_or_else(|| refuse(400, "the query is malformed"))?;
        match fields.get_mut(&name) {
            None => drop(fields.insert(name, Value::String(value))),
            Some(Value::Array(values)) => values.push(Value::String(value)),
            Some(first) => {
                let values = vec![std::mem::take(first), Value::String(value)];
                *first = Value::Array(values);
            }
        }
    }
    Ok(fields)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    Plus,
    Space,
}

/// `%41` is `A`. `None` if an escape is malformed or the result is not UTF-8.
fn decode(text: &str, plus: Plus) -> Option<String> {
    if !text.contains(['%', '+']) {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'%' => {
                let [high, low, tail @ ..] = rest else { return None };
                let digit = |byte: u8| char::from(byte).to_digit(16);
                out.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
                rest = tail;
            }
            b'+' if plus == Plus::Space => out.push(b' '),
            byte => out.push(*byte),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Pieces of paths as attackers write them, and anything.
        #[test]
        fn no_path_leads_out_of_where_it_says(
            pieces in proptest::collection::vec(
                prop_oneof![
                    Just("..".to_owned()), Just("%2e%2E".to_owned()), Just(".%2e".to_owned()), Just("%2f".to_owned()), Just("/".to_owned()),
                    Just("%5c..".to_owned()), Just("%00".to_owned()), Just("%c0%ae".to_owned()), Just("%252e".to_owned()), "[a-z%0-9.~]{0,6}",
                ],
                0..12,
            ),
        ) {
            let Ok(uri) = format!("/v1/{}", pieces.join("/")).parse::<Uri>() else { return Ok(()) };
            match path(&uri) {
                Ok(path) => {
                    let inner = path.strip_suffix('/').unwrap_or(&path);
                    let clean = inner.is_empty() || inner.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
                    prop_assert!(clean && !path.starts_with('/'), "{path:?}");
                    prop_assert!(!path.chars().any(char::is_control));
                }
                Err(response) => {
                    let location = response.headers().get(LOCATION).map(|location| location.to_str().unwrap().to_owned());
                    prop_assert_eq!(location.is_some(), response.status() == 307);
                    // Where it is sent on to is clean, or is refused: nobody is sent on and on.
                    if let Some(location) = location {
                        let next = path(&location.parse::<Uri>().unwrap());
                        prop_assert!(next.map_or_else(|response| response.status() != 307, |_| true), "{location}");
                    }
                }
            }
        }

        #[test]
        fn no_query_panics_and_what_is_encoded_comes_back(names in proptest::collection::vec(("[a-z]{1,5}", any::<String>()), 0..6), text in any::<String>()) {
            let _ = query(&text);
            let names: std::collections::BTreeMap<String, String> = names.into_iter().collect();
            let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
            let pairs: Vec<String> = names.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
            let fields = query(&pairs.join("&")).unwrap_or_default();
            prop_assert_eq!(fields.len(), names.len());
            for (name, value) in &names {
                prop_assert_eq!(fields[name].as_str(), Some(value.as_str()));
            }
        }
    }

    #[test]
    fn paths_are_decoded_and_unclean_ones_sent_on() {
        let of = |text: &str| {
            path(&text.parse().unwrap()).map_err(|response| {
                let location = response.headers().get(LOCATION).map(|location| location.to_str().unwrap().to_owned());
                (response.status().as_u16(), location.unwrap_or_default())
            })
        };
        assert_eq!(of("/v1/secret/a%20b"), Ok("secret/a b".to_owned()));
        assert_eq!(of("/v1/secret/a+b/"), Ok("secret/a+b/".to_owned()));
        assert_eq!(of("/v1/"), Ok(String::new()));
        for (unclean, clean) in [
            ("/v1/secret/../sys/x", "/v1/sys/x"),
            ("/v1/secret//x?a=1", "/v1/secret/x?a=1"),
            ("/v1/secret/%2e/../x/", "/v1/secret/x/"),
            ("/v1/a/./b%20c", "/v1/a/b%20c"),
            ("/../../v1/x", "/v1/x"),
            ("/v1/./é?ü", "/v1/%C3%A9?%C3%BC"),
        ] {
            assert_eq!(of(unclean), Err((307, clean.to_owned())), "{unclean}");
        }
        assert_eq!(of("/ui").unwrap_err().0, 404);
        for hidden in
            ["/v1/secret/%2e%2e/x", "/v1/secret/..%2fsys/x", "/v1/secret/a%2f%2e%2E", "/v1/secret/a%2f%2fb", "/v1/%2e"]
        {
            assert_eq!(of(hidden), Err((400, String::new())), "{hidden}");
        }
        for bad in ["/v1/%ff", "/v1/a%00", "/v1/%0a", "/v1/%zz"] {
            assert_eq!(of(bad).unwrap_err().0, 400, "{bad}");
        }
    }

    #[tokio::test]
    async fn what_anybody_sends_takes_no_room_from_who_is_known() {
        let rooms = Rooms { known: bulla_listen::Room::new(BODY, 0), open: bulla_listen::Room::new(100_000, 0) };
        let body = |length: usize| Full::new(Bytes::from(vec![b' '; length]));
        let status =
            |read: Result<(_, Taken), Early>| read.map(|(_, taken)| taken).map_err(|early| early.status().as_u16());
        let nobody = || None::<fn() -> std::future::Ready<Result<(), Early>>>;
        let good = || Some(|| std::future::ready(Ok(())));
        let bad = || Some(|| std::future::ready(Err(refuse(403, ""))));
        // Who is known is asked for where it matters alone.
        let never = || Some(|| -> std::future::Ready<_> { unreachable!("who sends little is not looked up") });
        let first = status(rooms.collect(body(60_000), nobody()).await).unwrap();
        let second = status(rooms.collect(body(40_000), never()).await).unwrap();
        assert_eq!(status(rooms.collect(body(1), nobody()).await).unwrap_err(), 503);
        let third = status(rooms.collect(body(60_000), good()).await).unwrap();
        assert_eq!(status(rooms.collect(body(60_000), bad()).await).unwrap_err(), 403);
        drop(first);
        assert_eq!(status(rooms.collect(body(OPEN_BODY + 1), nobody()).await).unwrap_err(), 413);
        assert_eq!(status(rooms.collect(body(BODY + 1), good()).await).unwrap_err(), 413);
        assert_eq!(status(rooms.collect(body(BODY), good()).await).unwrap_err(), 503);
        drop((second, third));
        drop(status(rooms.collect(body(BODY), good()).await).unwrap());
    }

    #[test]
    fn a_query_has_texts_and_lists() {
        let fields = query("a=1&b=x%20y+z&a=2&c").unwrap_or_default();
        assert_eq!(fields, object! { "a": vec!["1", "2"], "b": "x y z", "c": "" });
        assert!(query("a=%").is_err());
    }
}
