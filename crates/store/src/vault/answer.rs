//! What a server answered.

use std::time::Duration;

use bulla_core::SecretBytes;
use jiff::Timestamp;

use super::json::Json;
use super::query::Method;
use crate::store::Lease;

/// The longest answer that is read, in bytes: twice what a server stores in one place.
pub const LONGEST: usize = 2 << 20;
/// A lease without end has this.
const FOR_EVER: Duration = Duration::from_hours(24 * 365 * 100);

/// An answer with values.
#[derive(Debug)]
pub struct Answer {
    body: SecretBytes,
    lease: Option<Lease>,
    version: Option<u64>,
}

impl Answer {
    /// Reads an answer to a request that was sent at `begun`. `None` if it is not a server's.
    pub(super) fn read(body: SecretBytes, method: Method, begun: Timestamp) -> Option<Self> {
        let json = Json::parse(body.expose()).filter(|json| json.is_object())?;
        let data = json.member("data");
        let id = json.member("lease_id").and_then(Json::public_text).unwrap_or_default();
        let seconds = json.member("lease_duration").and_then(Json::number).unwrap_or(0);
        let lease = if id.is_empty() {
            // What was made for us and says until when it is good: a certificate, for one.
            let ends = data.filter(|_| !method.is_read()).and_then(|data| data.member("expiration")?.number());
            ends.and_then(|ends| Timestamp::from_second(i64::try_from(ends).ok()?).ok()).map(|ends| Lease {
                id: String::new(),
                begun,
                duration: Duration::try_from(ends.duration_since(begun)).unwrap_or_default(),
                is_renewable: false,
            })
        } else {
            let is_renewable = json.member("renewable").and_then(Json::truth).unwrap_or(false);
            let duration = if seconds == 0 { FOR_EVER } else { Duration::from_secs(seconds) };
            Some(Lease { id, begun, duration, is_renewable })
        };
        let version = data.filter(|data| is_versioned(*data));
        let version = version.and_then(|data| data.member("metadata")?.member("version")?.number());
        Some(Self { body, lease, version })
    }

    /// All of it, as the server wrote it.
    pub fn whole(&self) -> SecretBytes {
        SecretBytes::from(self.body.expose().trim_ascii())
    }

    /// The value of one key: a text as it is, anything else as JSON. Answers of KV engines with versions have their values a level deeper.
    ///
    /// # Errors
    /// The names of the keys that there are.
    pub fn value(&self, key: &str) -> Result<SecretBytes, Vec<String>> {
        let data = Json::parse(self.body.expose()).and_then(|json| json.member("data"));
        let values = data.map(|data| data.member("data").filter(|_| is_versioned(data)).unwrap_or(data));
        let value = values.and_then(|values| values.member(key));
        let value = value.map(|value| value.secret_text().unwrap_or_else(|| SecretBytes::from(value.text())));
        value.ok_or_else(|| values.into_iter().flat_map(Json::members).map(|(key, _)| key).collect())
    }

    /// How long it is good, if the server says so.
    pub const fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// The version of the value, where the engine counts them.
    pub const fn version(&self) -> Option<u64> {
        self.version
    }

    /// How many bytes it has.
    pub const fn size(&self) -> usize {
        self.body.len()
    }
}

/// Whether values are a level deeper.
fn is_versioned(data: Json<'_>) -> bool {
    data.member("data").is_some_and(Json::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, method: Method) -> Option<Answer> {
        Answer::read(SecretBytes::from(text.as_bytes()), method, Timestamp::from_second(1000).unwrap())
    }

    fn value(answer: &Answer, key: &str) -> String {
        String::from_utf8(answer.value(key).unwrap().expose().to_vec()).unwrap()
    }

    #[test]
    fn values_are_found_in_both_versions_of_kv() {
        let one = read(
            r#"{"lease_id":"","lease_duration":2764800,"renewable":false,"data":{"password":"a\"b","n":1}}"#,
            Method::Get,
        )
        .unwrap();
        assert_eq!(
            (value(&one, "password"), value(&one, "n"), one.version()),
            ("a\"b".to_owned(), "1".to_owned(), None)
        );
        let two =
            read(r#"{"data":{"data":{"password":"x","list":[1, 2]},"metadata":{"version":7}}}"#, Method::Get).unwrap();
        assert_eq!(
            (value(&two, "password"), value(&two, "list"), two.version()),
            ("x".to_owned(), "[1, 2]".to_owned(), Some(7))
        );
        assert_eq!(two.value("passwort").unwrap_err(), ["password", "list"]);
        // A value of the name `data` is no other level.
        let data = read(r#"{"data":{"data":"text"}}"#, Method::Get).unwrap();
        assert_eq!(value(&data, "data"), "text");
        assert!(one.lease().is_none() && two.lease().is_none());
        for odd in ["{}", r#"{"data":null}"#, r#"{"data":[]}"#] {
            assert_eq!(read(odd, Method::Get).unwrap().value("a").unwrap_err(), [""; 0]);
        }
        for odd in ["", "[]", "1", "<html>"] {
            assert!(read(odd, Method::Get).is_none(), "{odd}");
        }
    }

    #[test]
    fn leases_are_what_the_server_says_and_certificates_end() {
        let leased =
            read(r#"{"lease_id":"a/b/c","lease_duration":60,"renewable":true,"data":{}}"#, Method::Get).unwrap();
        let lease = leased.lease().unwrap();
        assert_eq!((lease.id.as_str(), lease.is_renewable, lease.ends().as_second()), ("a/b/c", true, 1060));
        let endless = read(r#"{"lease_id":"a","lease_duration":0,"data":{}}"#, Method::Get).unwrap();
        assert!(endless.lease().unwrap().ends() > Timestamp::from_second(1 << 31).unwrap());
        let most = format!(r#"{{"lease_id":"a","lease_duration":{},"data":{{}}}}"#, u64::MAX);
        assert_eq!(read(&most, Method::Get).unwrap().lease().unwrap().ends(), Timestamp::MAX);
        let certificate = r#"{"lease_id":"","data":{"certificate":"x","expiration":1500}}"#;
        assert_eq!(read(certificate, Method::Post).unwrap().lease().unwrap().ends().as_second(), 1500);
        assert!(read(certificate, Method::Get).unwrap().lease().is_none());
    }
}
