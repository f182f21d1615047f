//! Container images, written without a container engine: one layer, a configuration, a manifest.
//!
//! Format: an OCI image layout (image-spec 1.1, `image-layout.md`) in a tar file, which `ctr images import`, `skopeo` and `podman load` read. The
//! same inputs give the same bytes.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// An image for linux/amd64.
pub struct Image<'a> {
    /// Its whole name with the tag.
    pub name: &'a str,
    pub entries: Vec<Entry>,
    /// The `config` object of the image's configuration: entry point, user, environment.
    pub config: Value,
}

/// A file of an image. Paths begin without a slash; folders come before what is in them.
pub enum Entry {
    Folder { path: String, mode: u32 },
    File { path: String, mode: u32, contents: Vec<u8> },
    Link { path: String, target: String },
}

impl Entry {
    /// A program.
    pub fn program(path: &str, from: &Path) -> Result<Self> {
        let contents = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        Ok(Self::File { path: path.to_owned(), mode: 0o755, contents })
    }
}

impl Image<'_> {
    /// Writes the image to a file. Answers the manifest's digest.
    pub fn write(&self, to: &Path) -> Result<String> {
        let layer = self.layer()?;
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        })
        .to_string()
        .into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        })
        .to_string()
        .into_bytes();
        let mut listed = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        listed["annotations"] = json!({
            "io.containerd.image.name": self.name,
            "org.opencontainers.image.ref.name": self.name.rsplit_once(':').map_or("latest", |(_, tag)| tag),
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [listed],
        });
        let file = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
        let mut tar = Builder::new(std::io::BufWriter::new(file));
        append(&mut tar, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append(&mut tar, "index.json", 0o644, index.to_string().as_bytes())?;
        for folder in ["blobs/", "blobs/sha256/"] {
            special(&mut tar, folder, 0o755, EntryType::Directory, None)?;
        }
        for blob in [&config, &manifest, &layer] {
            append(&mut tar, &format!("blobs/{}", digest(blob).replace(':', "/")), 0o644, blob)?;
        }
        tar.into_inner()?.flush()?;
        Ok(digest(&manifest))
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        for entry in &self.entries {
            match entry {
                Entry::Folder { path, mode } => special(&mut tar, path, *mode, EntryType::Directory, None)?,
                Entry::File { path, mode, contents } => append(&mut tar, path, *mode, contents)?,
                Entry::Link { path, target } => special(&mut tar, path, 0o777, EntryType::Symlink, Some(target))?,
            }
        }
        Ok(tar.into_inner()?)
    }
}

fn append<W: Write>(tar: &mut Builder<W>, path: &str, mode: u32, contents: &[u8]) -> Result<()> {
    let mut header = header(mode, EntryType::Regular);
    header.set_size(contents.len() as u64);
    tar.append_data(&mut header, path, contents)?;
    Ok(())
}

fn special<W: Write>(tar: &mut Builder<W>, path: &str, mode: u32, kind: EntryType, link: Option<&str>) -> Result<()> {
    let mut header = header(mode, kind);
    header.set_size(0);
    match link {
        Some(target) => tar.append_link(&mut header, path, target)?,
        None => tar.append_data(&mut header, path, std::io::empty())?,
    }
    Ok(())
}

/// Everything is root's and as old as the epoch.
fn header(mode: u32, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(blob), "size": blob.len()})
}

/// `sha256:` and the hash in hexadecimal.
pub fn digest(blob: &[u8]) -> String {
    let hash = Sha256::digest(blob);
    let mut text = String::from("sha256:");
    for byte in hash {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_a_layout_whose_digests_fit() {
        let image = Image {
            name: "a.test/b:1",
            entries: vec![
                Entry::Folder { path: "bin/".into(), mode: 0o755 },
                Entry::File { path: "bin/x".into(), mode: 0o755, contents: b"x".into() },
                Entry::Link { path: "bin/y".into(), target: "x".into() },
            ],
            config: json!({"Entrypoint": ["/bin/x"]}),
        };
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1"), folder.path().join("2"));
        assert_eq!(image.write(&one).unwrap(), image.write(&two).unwrap());
        assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
        let mut blobs = 0;
        for entry in tar::Archive::new(File::open(&one).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut contents = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut contents).unwrap();
            if path.starts_with("blobs/sha256/") && !path.ends_with('/') {
                assert_eq!(path, format!("blobs/{}", digest(&contents).replace(':', "/")));
                blobs += 1;
            }
        }
        assert_eq!(blobs, 3);
    }
}
