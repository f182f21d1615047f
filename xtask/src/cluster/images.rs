//! The images that a node starts with: the pause container, and a busybox for tests' pods.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::json;

use super::components::PAUSE;
use super::state::Cluster;
use crate::image::{Entry, Image};
use crate::process::Process;

/// An image with Debian's static busybox, for tests' pods.
pub const BUSYBOX: &str = "bulla.test/busybox:1";

/// Writes the images of every node to a folder. Answers their files.
pub fn write(folder: &Path) -> Result<Vec<PathBuf>> {
    let busybox = Path::new("/bin/busybox");
    let mut entries = vec![
        Entry::Folder { path: "bin/".to_owned(), mode: 0o755 },
        Entry::Folder { path: "etc/".to_owned(), mode: 0o755 },
        Entry::Folder { path: "tmp/".to_owned(), mode: 0o1777 },
        Entry::File { path: "etc/passwd".to_owned(), mode: 0o644, contents: b"root:x:0:0::/:/bin/sh\n".into() },
        Entry::program("bin/busybox", busybox)?,
    ];
    let pause = Image {
        name: PAUSE,
        entries: vec![Entry::Folder { path: "bin/".to_owned(), mode: 0o755 }, Entry::program("bin/busybox", busybox)?],
        config: json!({"Entrypoint": ["/bin/busybox", "sleep", "2147483647"], "User": "65535:65535"}),
    };
    let applets = String::from_utf8(Process::new(busybox).args(["--list"]).output()?)?;
    entries.extend(
        applets
            .lines()
            .filter(|name| *name != "busybox")
            .map(|name| Entry::Link { path: format!("bin/{name}"), target: "busybox".to_owned() }),
    );
    let busybox = Image { name: BUSYBOX, entries, config: json!({"Cmd": ["sh"], "Env": ["PATH=/bin"]}) };
    let files = vec![folder.join("pause.tar"), folder.join("busybox.tar")];
    for (image, file) in [pause, busybox].iter().zip(&files) {
        image.write(file)?;
    }
    Ok(files)
}

/// Gives every node an image with one program. A program that is not static gets this machine's libraries with it: tests need not
/// wait for a static one to be built.
#[cfg(feature = "bench-cluster")]
pub fn load(cluster: &Cluster, name: &str, program: &Path) -> Result<()> {
    load_ready_for(cluster, name, program, None)
}

/// The same, with the libraries of another program too, and the program under its own name beside `main`.
pub fn load_ready_for(cluster: &Cluster, name: &str, program: &Path, other: Option<&Path>) -> Result<()> {
    let folder = tempfile::tempdir_in(cluster.folder())?;
    let file = folder.path().join("image.tar");
    let mut entries =
        vec![Entry::Folder { path: "bin/".to_owned(), mode: 0o755 }, Entry::program("bin/main", program)?];
    if let Some(own) = program.file_name() {
        entries.push(Entry::Link { path: format!("bin/{}", own.display()), target: "main".to_owned() });
    }
    let mut all = libraries(program)?;
    all.extend(other.map(libraries).transpose()?.unwrap_or_default());
    all.sort();
    all.dedup();
    for library in all {
        let path = library.to_string_lossy();
        entries.push(Entry::program(path.trim_start_matches('/'), &library)?);
    }
    let image = Image { name, entries, config: json!({"Entrypoint": ["/bin/main"], "User": "65532:65532"}) };
    image.write(&file)?;
    cluster.import(&file)
}

/// The dynamic loader and the libraries of a program, where the loader looks for them; none of a static one.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let headers = Process::new("readelf").args(["--program-headers".as_ref(), program.as_os_str()]).output()?;
    if !String::from_utf8_lossy(&headers).contains("INTERP") {
        return Ok(Vec::new());
    }
    // `NAME => PATH (ADDRESS)`, and for the loader itself `PATH (ADDRESS)`.
    let list = String::from_utf8(Process::new("ldd").args([program]).output()?)?;
    let words = list.lines().flat_map(|line| line.split_whitespace().filter(|word| word.starts_with('/')));
    Ok(words.map(PathBuf::from).collect())
}
