//! The kernel's table of mounts (`/proc/thread-self/mountinfo`, described in proc(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::memory::SOURCE;

/// The places below `folder`, relative to it, where file systems of ours are mounted.
///
/// # Errors
/// If the table cannot be read.
pub fn ours(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let table = std::fs::read("/proc/thread-self/mountinfo")?;
    Ok(table.split(|&byte| byte == b'\n').filter_map(|line| place(line, folder)).collect())
}

/// `36 35 98:0 /root /place options fields... - type source options`.
fn place(line: &[u8], folder: &Path) -> Option<PathBuf> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let separator = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
    let (kind, source) = (fields.get(separator + 1)?, fields.get(separator + 2)?);
    if *kind != b"tmpfs" || *source != SOURCE.as_bytes() {
        return None;
    }
    let place = PathBuf::from(OsString::from_vec(unescaped(fields.get(4)?)));
    place.strip_prefix(folder).ok().map(Path::to_owned)
}

/// Spaces, tabs, line feeds and backslashes stand as `\040` and the like.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|digits| byte == b'\\' && digits.iter().all(|d| (b'0'..b'8').contains(d)));
        if let Some(digits) = digits {
            let value = digits.iter().fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0'));
            // Three octal digits of the kernel are a byte.
            result.push(u8::try_from(value).unwrap_or(b'?'));
            rest = &after[3..];
        } else {
            result.push(byte);
            rest = after;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_mounts_are_found_by_source_and_folder() {
        let pods = Path::new("/var/lib/kubelet/pods");
        let found = |line: &str| place(line.as_bytes(), pods);
        let ours = "36 35 0:50 / /var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/a\\040b/mount rw,nosuid shared:1 master:2 - tmpfs bulla rw";
        assert_eq!(found(ours).as_deref(), Some(Path::new("u/volumes/kubernetes.io~csi/a b/mount")));
        assert_eq!(found(&ours.replace("tmpfs bulla", "tmpfs tmpfs")), None);
        assert_eq!(found(&ours.replace("/var/lib/kubelet", "/mnt")), None);
        assert_eq!(found("36 35 0:50 / /var/lib/kubelet/pods/x rw - tmpfs bulla rw").as_deref(), Some(Path::new("x")));
        for broken in ["", "36", "36 35 0:50 / /x rw", "36 35 0:50 / /x rw -", "36 35 0:50 / /x rw - tmpfs"] {
            assert_eq!(found(broken), None);
        }
        assert_eq!(unescaped(b"a\\040\\134b\\"), b"a \\b\\");
    }
}
