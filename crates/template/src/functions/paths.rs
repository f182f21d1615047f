//! sprig's functions on paths, which are those of Unix.

use super::{Function, Param};
use crate::error::Failure;
use crate::limits::Meter;
use crate::value::Value;

pub(super) fn add(all: &mut Vec<Function>) {
    for (names, run) in [
        (["base", "osBase"], base as fn(&[u8]) -> Vec<u8>),
        (["dir", "osDir"], dir),
        (["clean", "osClean"], clean),
        (["ext", "osExt"], ext),
    ] {
        for name in names {
            all.push(Function::new(name, &[Param::Text], move |meter: &mut Meter, args| -> Result<Value, Failure> {
                meter.memory(args.text(0).len() * 2)?;
                Ok(Value::text(run(args.text(0))))
            }));
        }
    }
    for name in ["isAbs", "osIsAbs"] {
        all.push(Function::new(name, &[Param::Text], |_, args| Ok(args.text(0).starts_with(b"/").into())));
    }
}

fn base(path: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        return b".".to_vec();
    }
    let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |at| at + 1);
    if end == 0 {
        return b"/".to_vec();
    }
    let start = path[..end].iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
    path[start..end].to_vec()
}

fn dir(path: &[u8]) -> Vec<u8> {
    let end = path.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
    clean(&path[..end])
}

fn ext(path: &[u8]) -> Vec<u8> {
    let start = path.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
    let name = &path[start..];
    name.iter().rposition(|&byte| byte == b'.').map_or(Vec::new(), |at| name[at..].to_vec())
}

fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match parts.last() {
                Some(&last) if last != b".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(part),
            },
            part => parts.push(part),
        }
    }
    // Room for all at once: growing would leave a copy behind.
    let mut out = Vec::with_capacity(path.len() + 1);
    for (index, part) in parts.into_iter().enumerate() {
        if rooted || index > 0 {
            out.push(b'/');
        }
        out.extend_from_slice(part);
    }
    if rooted && out.is_empty() {
        out.push(b'/');
    }
    if out.is_empty() { b".".to_vec() } else { out }
}
