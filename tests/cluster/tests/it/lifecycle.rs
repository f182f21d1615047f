//! Clusters begin and end, together and half-way, and leave nothing.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use bulla_cluster_tests::xtask;

use crate::{ALONE, Random, number};

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

/// The machine's interfaces of a cluster, while there is something of it. (Other clusters may come and go meanwhile.)
fn interfaces(name: &str) -> Vec<PathBuf> {
    let text = fs::read_to_string(format!("/var/tmp/bulla-cluster/{name}/cluster.json")).unwrap_or_default();
    let cluster: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let Some(number) = cluster["number"].as_u64() else { return Vec::new() };
    let links = fs::read_dir("/sys/class/net").unwrap().flatten().map(|entry| entry.path());
    let is_its = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.strip_prefix(&format!("bulla{number}")).is_some_and(|rest| rest.is_empty() || rest.starts_with('n'))
    };
    links.filter(is_its).collect()
}

/// Those of them that are still there.
fn left(interfaces: Vec<PathBuf>) -> Vec<PathBuf> {
    interfaces.into_iter().filter(|path| path.exists()).collect()
}

#[test]
fn clusters_stand_side_by_side_with_two_nodes_and_leave_nothing() {
    let _alone = ALONE.lock();
    xtask(["up", "--name", "aside", "--nodes", "2"]).ok();
    let nodes = xtask(["kubectl", "--name", "aside", "get", "nodes", "--output", "name"]).ok();
    assert_eq!(nodes, "node/aside-1\nnode/aside-2\n");
    // It is another cluster than the one the tests run on, and a second start changes nothing.
    assert!(xtask(["up", "--name", "aside", "--nodes", "2"]).stderr.contains("runs already"));
    let links = interfaces("aside");
    assert_eq!(links.len(), 3, "a bridge and a link for each node: {links:?}");
    xtask(["down", "--name", "aside"]).ok();
    assert_eq!(traces("aside"), Vec::<String>::new());
    assert_eq!(left(links), Vec::<PathBuf>::new());
    assert!(xtask(["down", "--name", "aside"]).stderr.contains("there was none"));
    assert!(xtask(["status", "--name", "aside"]).refused().contains("cluster up --name aside"));
}

/// The part of a start or an end that kills fall into: a little longer than either takes.
const START: Duration = Duration::from_secs(14);
const END: Duration = Duration::from_millis(1500);

#[test]
fn whatever_was_killed_half_way_the_next_start_or_end_succeeds() {
    let _alone = ALONE.lock();
    let seed = number("BULLA_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let kills = number("BULLA_TEST_KILLS").unwrap_or(5);
    let mut random = Random(seed);
    for kill in 1..=kills {
        let place = format!("kill {kill} of {kills}, BULLA_TEST_SEED={seed}");
        killed("up", random.below(START));
        if random.next().is_multiple_of(2) {
            // Over what is half there a whole one is made, whose end is killed too.
            let up = xtask(["up", "--name", "half"]);
            assert!(up.success, "{place}: {}", up.stderr);
            killed("down", random.below(END));
        }
        let links = interfaces("half");
        let down = xtask(["down", "--name", "half"]);
        assert!(down.success, "{place}: {}", down.stderr);
        assert_eq!(traces("half"), Vec::<String>::new(), "{place}");
        assert_eq!(left(links), Vec::<PathBuf>::new(), "{place}");
    }
}

/// Starts `cluster up` or `down` and kills it, and the cargo that runs it, after a time.
fn killed(action: &str, after: Duration) {
    let mut process = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["run", "--quiet", "--package", "xtask", "--", "cluster", action, "--name", "half"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    thread::sleep(after);
    // It may have come to its end before.
    let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", process.id())]).stderr(Stdio::null()).status();
    process.wait().unwrap();
}
