//! Parts of a PEM file for `kubernetes.io/tls`: one file may have a certificate, its chain and the key, of which `tls.crt` and `tls.key` each get theirs.

use bulla_core::SecretBytes;

/// What a key of a TLS Secret gets of a file: the blocks of its kind, if there is one; else the file as it is.
pub fn part(key: &str, file: &SecretBytes) -> SecretBytes {
    let is_of: fn(&[u8]) -> bool = match key {
        "tls.crt" => |label| label == b"CERTIFICATE",
        "tls.key" => |label| label.ends_with(b"PRIVATE KEY"),
        _ => return file.clone(),
    };
    let bytes = file.expose();
    let mut part = SecretBytes::with_capacity(bytes.len());
    let mut within = None::<&[u8]>;
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let text = line.trim_ascii();
        let label = |begin: &[u8]| text.strip_prefix(begin).and_then(|rest| rest.strip_suffix(b"-----"));
        if let Some(label) = label(b"-----BEGIN ") {
            within = is_of(label).then_some(label);
        }
        if within.is_some() {
            part.extend_from_slice(line);
        }
        if label(b"-----END ").is_some() {
            within = None;
        }
    }
    if part.is_empty() { file.clone() } else { part }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_gets_the_blocks_of_its_kind() {
        let cert = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN EC PRIVATE KEY-----\r\nBB==\r\n-----END EC PRIVATE KEY-----\r\n";
        let both = SecretBytes::from(format!("subject=x\n{cert}between\n{key}{cert}").as_bytes());
        assert_eq!(part("tls.crt", &both).expose(), format!("{cert}{cert}").as_bytes());
        assert_eq!(part("tls.key", &both).expose(), key.as_bytes());
        assert_eq!(part("ca.crt", &both), both);
        // What has no block of the kind is for the API server to judge.
        let other = SecretBytes::from(&b"no PEM"[..]);
        assert_eq!(part("tls.key", &other), other);
    }
}
