//! HTTP as a client writes it that does not mind the rules: any bytes in the path, any method, any header.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Headers of answers that clients and proxies go by.
const HEADERS: &[&str] =
    &["content-type", "location", "cache-control", "retry-after", "www-authenticate", "x-vault-namespace", "warning"];

/// An answer. A status of 0 is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// One request on a connection of its own.
pub fn send(address: SocketAddr, head: &str, body: &[u8]) -> Answer {
    let exchange = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let whole = format!("{head}Host: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        // A server that refuses by the head may close before it has all of the body.
        let _ = stream.write_all(&[whole.as_bytes(), body].concat());
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        if answer.is_empty() { ended.map(|_| answer) } else { Ok(answer) }
    };
    read(&exchange().unwrap_or_default()).unwrap_or_default()
}

fn read(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let all: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let rest = &answer[end + 4..];
    let body = if all.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        chunks(rest)
    } else {
        rest.to_vec()
    };
    let text = String::from_utf8_lossy(&body).into_owned();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    let headers = all.into_iter().filter(|(name, _)| HEADERS.contains(&name.as_str())).collect();
    Some(Answer { status, headers, body })
}

fn chunks(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let length = std::str::from_utf8(&rest[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let Some(chunk) = length.filter(|length| *length > 0).and_then(|length| rest.get(end + 2..end + 2 + length))
        else {
            break;
        };
        body.extend_from_slice(chunk);
        rest = rest.get(end + 4 + chunk.len()..).unwrap_or_default();
    }
    body
}
