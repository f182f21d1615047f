//! The files that are worked on, the same in every run.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;

/// A deterministic stream of printable characters: no secret, but as hard to compress or to guess as one.
struct Letters(u64);

impl Letters {
    fn take(&mut self, len: usize) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = String::with_capacity(len);
        for _ in 0..len {
            // xorshift64*
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            text.push(char::from(ALPHABET[(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 58) as usize]));
        }
        text
    }
}

/// 20 lines of YAML as an application has them.
pub fn small_yaml(path: &Path) -> Result<()> {
    let mut letters = Letters(1);
    let mut text = String::from("# settings of one service\ndatabase:\n");
    for key in ["host", "port_name", "user", "password", "name", "ssl_mode"] {
        writeln!(text, "    {key}: {}", letters.take(24))?;
    }
    text.push_str("cache:\n    url: redis://cache:6379/0\n    ttl: 300\napi:\n");
    for key in ["key", "secret", "webhook", "issuer", "audience"] {
        writeln!(text, "    {key}: {}", letters.take(32))?;
    }
    text.push_str("features:\n    - search\n    - export\n");
    write(path, text.as_bytes())
}

/// 10 MB of YAML: 100 000 keys in 1 000 maps.
pub fn large_yaml(path: &Path) -> Result<()> {
    let mut letters = Letters(2);
    let mut text = String::with_capacity(11_000_000);
    for map in 0..1_000 {
        writeln!(text, "map_{map:04}:")?;
        for key in 0..100 {
            writeln!(text, "    key_{key:03}: {}", letters.take(86))?;
        }
    }
    write(path, text.as_bytes())
}

/// One flat JSON object.
pub fn flat_json(path: &Path, keys: usize) -> Result<()> {
    let mut letters = Letters(3);
    let mut text = String::from("{\n");
    for key in 0..keys {
        let comma = if key + 1 == keys { "" } else { "," };
        writeln!(text, "\t\"key_{key:05}\": \"{}\"{comma}", letters.take(32))?;
    }
    text.push_str("}\n");
    write(path, text.as_bytes())
}

/// 50 MB of bytes.
pub fn binary(path: &Path) -> Result<()> {
    write(path, Letters(4).take(50_000_000).as_bytes())
}

/// 500 files of [`small_yaml`].
pub fn many(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    (0..500).try_for_each(|file| small_yaml(&folder.join(format!("service_{file:03}.yaml"))))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    Ok(fs::File::create(path)?.write_all(bytes)?)
}
