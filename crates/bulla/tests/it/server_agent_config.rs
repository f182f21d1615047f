//! Configurations of `bulla agent` as people have them, and files that are not what they should be, beside OpenBao's agent.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bulla_test_support::bao::{Bao, ROOT};
use bulla_test_support::service_accounts::UNUSED_AUTHORITY;
use serde_json::{Value, json};

use crate::server_agent::{BOTH, LOGIN, Place, Program, World};
use crate::server_clients::{ours, write};
use crate::server_faults::Disk;

/// Blocks and settings that both accept, whatever comes of them.
const ACCEPTED: &str = r#"
    telemetry { statsite_address = "127.0.0.1:1" disable_hostname = true }
    cluster_name = "c"
    disable_mlock = true
    disable_idle_connections = ["auto-auth", "caching", "proxying", "templating"]
    disable_keep_alives = ["auto-auth", "templating"]
    cache {}
    template_config { exit_on_retry_failure = true static_secret_render_interval = "10m" max_connections_per_host = 3 }
"#;

#[test]
fn a_configuration_with_all_that_people_write_runs_and_nothing_is_left_out_in_silence() {
    let server = ours();
    let world = World::new(server.address, "1h", "2h");
    for which in BOTH {
        let place = world.place();
        // Several files and a folder, put together.
        fs::create_dir(place.path("folder")).unwrap();
        write(
            &place.path("folder/a.hcl"),
            &format!("auto_auth {{ {LOGIN}\n sink \"file\" {{ config = {{ path = \"token\" }} }} }}"),
        );
        write(
            &place.path("folder/b.json"),
            &json!({ "template": [{ "contents": "b", "destination": "b" }] }).to_string(),
        );
        write(&place.path("folder/notes.txt"), "nonsense");
        write(
            &place.path("more.hcl"),
            "template {\n contents = \"more\"\n destination = \"more\"\n}\nexit_after_auth = true",
        );
        write(&place.path("agent.hcl"), &format!("vault {{ address = \"{}\" }}\n{ACCEPTED}", world.url()));
        let configs = ["-config=agent.hcl", "-config=folder", "-config", "more.hcl"];
        let mut agent = place.start_by(&[], which, &configs);
        assert!(agent.ended(&place).success(), "{which:?}\n{}", place.read("log"));
        assert_eq!((place.read("b").as_str(), place.read("more").as_str()), ("b", "more"), "{which:?}");
        assert!(!place.read("token").is_empty());
        if which == Program::Bulla {
            for name in ["telemetry", "cluster_name", "disable_mlock", "cache: nothing is cached"] {
                assert!(place.read("log").contains(name), "{name}\n{}", place.read("log"));
            }
        }
    }
}

#[test]
fn what_cannot_be_meant_ends_both() {
    let place = Place::new();
    let rest = "auto_auth { method \"token_file\" {\n config = { token_file_path = \"t\" }\n}\n sink \"file\" {\n config = { path = \"x\" }\n} }\n";
    for (config, why) in [
        ("disable_keep_alives = [\"everything\"]", "unknown disable_keep_alives value: everything"),
        ("disable_idle_connections = [\"everything\"]", "unknown disable_idle_connections value: everything"),
        ("log_level = \"loud\"", "unknown log level"),
        ("log_format = \"xml\"", "unknown log format"),
        ("log_rotate_duration = \"soon\"", ""),
    ] {
        for which in BOTH {
            write(&place.path("log"), "");
            let mut agent = place.start(which, "http://127.0.0.1:1", &format!("{rest}{config}\n"), &[]);
            assert_eq!(agent.ended(&place).code(), Some(1), "{which:?}: {config}\n{}", place.read("log"));
            assert!(place.read("log").contains(why), "{which:?}: {config}\n{}", place.read("log"));
        }
    }
}

#[test]
fn it_is_logged_to_a_file_that_is_begun_anew() {
    let server = ours();
    let world = World::new(server.address, "1h", "2h");
    let settings = "log_file = \"logs/\"\nlog_format = \"json\"\nlog_level = \"debug\"\nlog_rotate_bytes = 300\nlog_rotate_max_files = 2\n";
    for which in BOTH {
        let place = world.place();
        fs::create_dir(place.path("logs")).unwrap();
        let templates: String =
            (0..8).map(|n| format!("template {{\n contents = \"{n}\"\n destination = \"out/{n}\"\n}}\n")).collect();
        let config = format!(
            "exit_after_auth = true\n{settings}auto_auth {{ {LOGIN}\n sink \"file\" {{ config = {{ path = \"token\" }} }} }}\n{templates}"
        );
        let mut agent = place.start(which, &world.url(), &config, &[]);
        assert!(agent.ended(&place).success(), "{which:?}\n{}", place.read("log"));
        let names: Vec<String> = fs::read_dir(place.path("logs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names.len(), 3, "{which:?}: {names:?}");
        let own = if which == Program::Bulla { "bulla" } else { "bao" };
        let is_own =
            |name: &String| name.starts_with(own) && Path::new(name).extension().is_some_and(|end| end == "log");
        assert!(names.iter().all(is_own), "{which:?}: {names:?}");
        assert!(names.contains(&format!("{own}.log")), "{which:?}: {names:?}");
        for name in &names {
            for line in place.read(&format!("logs/{name}")).lines() {
                assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()), "{which:?}: {line}");
            }
        }
        assert!(!place.read("log").contains(&place.read("token")), "{which:?}");
    }
    // Flags and variables go before.
    let place = world.place();
    let config = format!(
        "exit_after_auth = true\nlog_format = \"json\"\nauto_auth {{ {LOGIN}\n sink \"file\" {{ config = {{ path = \"token\" }} }} }}\n"
    );
    let flags = ["-log-file=my.txt", "-log-format=standard", "-log-level=trace"];
    let mut agent = place.start(Program::Bulla, &world.url(), &config, &flags);
    assert!(agent.ended(&place).success());
    assert!(place.read("my.txt").contains("logged in") && !place.read("my.txt").contains('\u{1b}'));
    assert!(serde_json::from_str::<Value>(place.read("my.txt").lines().next().unwrap()).is_err());
}

#[test]
fn a_file_that_is_none_and_a_full_disk_stop_no_other_template() {
    let server = ours();
    let world = World::new(server.address, "1h", "2h");
    let place = world.place();
    let disk = Disk::mount(place.path("disk"), "4k");
    fs::create_dir(place.path("folder")).unwrap();
    for name in ["pipe", "source"] {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, place.path(name), mode).unwrap();
    }
    let template = |more: &str, file: &str| format!("template {{\n destination = \"{file}\"\n {more}\n}}\n");
    let text = |text: &str| format!("contents = {}", json!(text));
    let read = text("{{ with secret \"old/app\" }}{{ .Data.a }}{{ end }}");
    let all = [
        template("source = \"source\"", "never"),
        template(&read, "pipe"),
        template(&read, "folder"),
        template(&text("{{ range loop 20000 }}x{{ end }}"), "disk/large"),
        template(&read, "good"),
    ]
    .concat();
    let config = format!("exit_after_auth = true\nauto_auth {{ {LOGIN} }}\n{all}");
    let mut agent = place.start(Program::Bulla, &world.url(), &config, &["-first-render-timeout=4s"]);
    assert_eq!(agent.ended(&place).code(), Some(1), "{}", place.read("log"));
    assert_eq!(place.read("good"), "1");
    let log = place.read("log");
    for why in ["it is no regular file", "it is a pipe or a device", "it is a folder", "No space left on device"] {
        assert!(log.contains(why), "{why}\n{log}");
    }
    assert!(!place.path("disk/large").exists());
    drop(disk);
}

#[test]
fn authorities_that_are_replaced_are_read_again() {
    let bao = Bao::with_tls();
    let place = Place::new();
    let good = fs::read_to_string(bao.0.folder.path().join("vault-ca.pem")).unwrap();
    write(&place.path("ca.pem"), UNUSED_AUTHORITY);
    write(&place.path("root"), ROOT);
    let config = format!(
        "vault {{\n address = \"https://{}\"\n ca_cert = \"ca.pem\"\n}}\n\
         auto_auth {{\n method \"token_file\" {{\n max_backoff = \"2s\"\n config = {{ token_file_path = \"root\" }}\n }}\n sink \"file\" {{ config = {{ path = \"token\" }} }}\n}}\n",
        bao.0.address
    );
    let agent = place.start_as(Program::Bulla, &config, &[]);
    place.eventually("nobody is believed yet", || place.read("log").contains("cannot log in"));
    // What is no certificate changes nothing, and is said.
    write(&place.path("ca.pem"), "nonsense");
    place.eventually("that is said", || place.read("log").contains("were not read again"));
    write(&place.path("new.pem"), &good);
    fs::rename(place.path("new.pem"), place.path("ca.pem")).unwrap();
    place.eventually("it logs in", || place.path("token").exists());
    std::thread::sleep(Duration::from_millis(100));
    assert!(!place.read("log").contains(ROOT));
    drop(agent);
}
