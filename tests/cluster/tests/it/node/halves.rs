//! What each half of the service is to the kernel.

use std::fs;

use super::Door;

/// A line of `/proc/PID/status`.
fn status(pid: u32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} of {pid}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The interfaces of a process' network.
fn interfaces(pid: u32) -> Vec<String> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap();
    let names = table.lines().skip(2).filter_map(|line| line.split(':').next());
    // The kernel may give every new network its unused tunnels.
    names.map(|name| name.trim().to_owned()).filter(|name| name == "lo" || name.starts_with("eth")).collect()
}

#[test]
fn the_half_that_serves_has_no_rights_and_the_half_that_mounts_no_network() {
    let [mounting, serving] = Door::shared().halves().expect("two processes");
    assert_eq!(status(serving, "PPid"), mounting.to_string());

    assert_eq!(status(serving, "Uid"), "65532 65532 65532 65532");
    assert_eq!((status(serving, "Gid"), status(serving, "Groups")), ("65532 65532 65532 65532".into(), String::new()));
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&status(serving, set), 16), Ok(0), "{set}");
    }
    assert_eq!(status(serving, "NoNewPrivs"), "1");
    assert_eq!(interfaces(serving), ["lo", "eth0"]);

    // CHOWN, DAC_OVERRIDE, FOWNER, KILL, SYS_ADMIN.
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(u64::from_str_radix(&status(mounting, set), 16), Ok(0x20_002b), "{set}");
    }
    assert_eq!(status(mounting, "NoNewPrivs"), "1");
    assert_eq!(interfaces(mounting), ["lo"]);
    // At most the heading of the table.
    assert!(fs::read_to_string(format!("/proc/{mounting}/net/route")).unwrap().lines().count() <= 1);
}
