//! Clusters begin and end, together and half-way, and leave nothing.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use bulla_cluster_tests::xtask;

/// Held by a test that counts what clusters leave.
static ALONE: Mutex<()> = Mutex::new(());

/// What there is of a cluster on this machine, found without asking the code that should have removed it.
fn traces(name: &str) -> Vec<String> {
    let folder = format!("/var/tmp/bulla-cluster/{name}");
    let mut traces = Vec::new();
    if Path::new(&folder).exists() {
        traces.push(folder.clone());
    }
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&folder) {
            traces.push(format!("process {}: {line}", entry.file_name().display()));
        }
    }
    traces
        .extend(fs::read_to_string("/proc/mounts").unwrap().lines().filter(|l| l.contains(&folder)).map(str::to_owned));
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        for index in 1..=4 {
            let cgroup = hierarchy.path().join(format!("bulla-{name}-{index}"));
            traces.extend(cgroup.exists().then(|| cgroup.display().to_string()));
        }
    }
    traces
}

/// The interfaces of clusters.
fn interfaces() -> usize {
    let names = fs::read_dir("/sys/class/net").unwrap().flatten();
    names.filter(|entry| entry.file_name().to_string_lossy().starts_with("bulla")).count()
}

#[test]
fn clusters_stand_side_by_side_with_two_nodes_and_leave_nothing() {
    let _alone = ALONE.lock();
    let before = interfaces();
    xtask(["up", "--name", "aside", "--nodes", "2"]).ok();
    let nodes = xtask(["kubectl", "--name", "aside", "get", "nodes", "--output", "name"]).ok();
    assert_eq!(nodes, "node/aside-1\nnode/aside-2\n");
    // It is another cluster than the one the tests run on, and a second start changes nothing.
    assert!(xtask(["up", "--name", "aside", "--nodes", "2"]).stderr.contains("runs already"));
    xtask(["down", "--name", "aside"]).ok();
    assert_eq!(traces("aside"), Vec::<String>::new());
    assert_eq!(interfaces(), before);
    assert!(xtask(["down", "--name", "aside"]).stderr.contains("there was none"));
    assert!(xtask(["status", "--name", "aside"]).refused().contains("cluster up --name aside"));
}

#[test]
fn a_start_that_was_killed_half_way_is_cleaned_up() {
    let _alone = ALONE.lock();
    let before = interfaces();
    // Early, while there is little; later, with nodes half started.
    for milliseconds in [150, 700, 2500, 6000] {
        let mut up = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["run", "--quiet", "--package", "xtask", "--", "cluster", "up", "--name", "half"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(milliseconds));
        // cargo and what it started.
        assert!(Command::new("kill").args(["-KILL", "--", &format!("-{}", up.id())]).status().unwrap().success());
        up.wait().unwrap();
        xtask(["down", "--name", "half"]).ok();
        assert_eq!(traces("half"), Vec::<String>::new(), "killed after {milliseconds} ms");
        assert_eq!(interfaces(), before, "killed after {milliseconds} ms");
    }
}
