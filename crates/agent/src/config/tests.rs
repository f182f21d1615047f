//! Configurations as people have them, and what is refused.
#![allow(clippy::unwrap_used)]

use super::*;

const AUTH: &str = r#"auto_auth { method "approle" { config = { role_id_file_path = "/r" } } "#;

#[test]
fn what_the_injector_writes_is_read() {
    let text = r#"{
      "auto_auth": {
        "method": {"type": "kubernetes", "mount_path": "auth/k8s/", "config": {"role": "app", "token_path": "/t"},
                   "min_backoff": "2s", "max_backoff": "1m", "exit_on_err": true},
        "sink": [{"type": "file", "config": {"path": "/home/vault/.vault-token"}}]
      },
      "exit_after_auth": true,
      "pid_file": "/home/vault/.pid",
      "vault": {"address": "https://vault:8200", "ca_cert": "/ca", "retry": {"num_retries": 3}},
      "template": [{"destination": "/vault/secrets/x", "contents": "{{ with secret \"a\" }}x{{ end }}",
                    "left_delimiter": "{{", "right_delimiter": "}}", "perms": "0400", "command": "kill -HUP 1"}],
      "template_config": {"exit_on_retry_failure": true, "static_secret_render_interval": "1m",
                          "max_connections_per_host": 10, "lease_renewal_threshold": 0.5}
    }"#;
    let config = parse(text).unwrap();
    let auth = config.auto_auth.unwrap();
    assert_eq!(auth.method.kind, MethodKind::Kubernetes { role: "app".into(), token: "/t".into() });
    assert_eq!((auth.method.mount.as_str(), auth.method.min_backoff), ("auth/k8s", Duration::from_secs(2)));
    assert!(auth.method.exit_on_err && config.exit_after_auth);
    assert_eq!((auth.sinks[0].mode, auth.sinks[0].path.to_str()), (0o640, Some("/home/vault/.vault-token")));
    assert_eq!((config.vault.retries(), config.vault.ca_cert.as_deref()), (3, Some("/ca")));
    assert_eq!((config.templates[0].perms, config.templates[0].create_dest_dirs), (Some(0o400), true));
    assert_eq!(config.templates[0].command.as_ref().unwrap().words, ["kill -HUP 1"]);
    assert_eq!(config.rendering.static_interval, Duration::from_mins(1));
    assert!(config.rendering.exit_on_retry_failure && config.notes.is_empty(), "{:?}", config.notes);
}

#[test]
fn methods_sinks_listeners_and_programs_are_read() {
    let text = r#"
      vault { address = "http://x" retry { num_retries = -1 } }
      auto_auth {
        method { type = "jwt" config { role = "r" path = "/j" remove_jwt_after_reading = "false" } }
        sink "file" { wrap_ttl = "5m" config = { path = "/t" mode = 0600 } }
      }
      env_template "DB_PASSWORD" { contents = "x" error_on_missing_key = true }
      exec { command = ["app", "serve"] restart_on_secret_changes = "never" restart_stop_signal = "SIGINT" }
      cache {}
      telemetry { disable_hostname = true }
      listener "tcp" { address = "127.0.0.1:1" tls_disable = true require_request_header = true
                       agent_api { enable_quit = true } }
      listener "unix" { address = "/s" socket_mode = "0600" tls_disable = true }
    "#;
    let config = parse(text).unwrap();
    let auth = config.auto_auth.unwrap();
    assert!(matches!(auth.method.kind, MethodKind::Jwt { remove: false, .. }));
    assert_eq!((auth.method.mount.as_str(), auth.sinks[0].mode), ("auth/jwt", 0o600));
    assert_eq!(auth.sinks[0].wrap_ttl, Some(Duration::from_mins(5)));
    assert_eq!((config.env_templates[0].0.as_str(), config.vault.retries()), ("DB_PASSWORD", 0));
    let exec = config.exec.unwrap();
    assert_eq!((exec.restart, exec.stop_signal), (Restart::Never, rustix::process::Signal::INT));
    assert!(config.listeners[0].enable_quit && config.listeners[0].require_request_header);
    assert_eq!(
        config.listeners[1].place,
        Place::Unix("/s".into(), SocketAccess { mode: Some(0o600), user: None, group: None })
    );
    assert!(config.notes.iter().any(|note| note.starts_with("cache: nothing is cached")), "{:?}", config.notes);
    assert!(
        config.notes.iter().any(|note| note == "telemetry has no effect: there are no metrics"),
        "{:?}",
        config.notes
    );
}

#[test]
fn what_is_accepted_and_does_nothing_is_told_with_what_that_means() {
    let text = r#"
      auto_auth {
        method "cert" { config = { name = "web", client_cert = "/c", client_key = "/k", reload = true } }
        enable_reauth_on_new_credentials = true
      }
      vault { address = "http://x" namespace = "team/" }
      cache { persist "kubernetes" { path = "/p" } cache_static_secrets = true }
      listener "tcp" { address = "127.0.0.1:1" tls_disable = true proxy_protocol_behavior = "use_always" profiling {} }
      template { contents = "x" destination = "y" error_fatal = false wait { min = "1s" } }
      disable_idle_connections = ["auto-auth"]
      disable_keep_alives = ["proxying", ""]
      log_level = "WARN"
      log_rotate_duration = "2h"
      log_rotate_max_files = -1
      disable_mlock = true
      something = 1
    "#;
    let config = parse(text).unwrap();
    let method = config.auto_auth.unwrap().method;
    let files = CertFiles { ca_cert: None, client_cert: Some("/c".into()), client_key: Some("/k".into()) };
    assert_eq!(
        (method.mount.as_str(), method.kind),
        ("auth/cert", MethodKind::Cert { name: Some("web".into()), files })
    );
    assert_eq!(config.vault.namespace.as_deref(), Some("team"));
    assert_eq!(config.vault.idle, KeepAlive { own: Idle::Closed, proxied: Idle::Closed });
    assert_eq!(config.templates[0].failure, FailureMeans::Waiting);
    assert_eq!((config.log.level.as_deref(), config.log.rotate_max_files), (Some("WARN"), Some(-1)));
    assert_eq!(config.log.rotate_duration, Some(Duration::from_hours(2)));
    for told in [
        "auto_auth: enable_reauth_on_new_credentials has no effect: files are read again when a token ends",
        "cache: persist has no effect: nothing is cached, so",
        "cache: cache_static_secrets has no effect: ",
        "listener: proxy_protocol_behavior has no effect: ",
        "listener: profiling has no effect",
        "template: wait has no effect: ",
        "disable_mlock has no effect: ",
        "something has no effect",
    ] {
        assert!(config.notes.iter().any(|note| note.starts_with(told)), "{told}: {:?}", config.notes);
    }
}

#[test]
fn variables_go_before_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.hcl");
    let text = "listener \"unix\" { address = \"/s\" }";
    let fresh = bulla_core::file::Fresh { mode: bulla_core::file::NewMode::Exactly(0o600), user: None, group: None };
    bulla_core::file::replace_as(&path, text.as_bytes(), fresh).unwrap();
    let env = |name: &str, value: &str| std::collections::BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let load = |name, value| load(std::slice::from_ref(&path), &env(name, value));
    let idle = load("BAO_AGENT_DISABLE_KEEP_ALIVES", "Auto-Auth, proxying").unwrap().vault.idle;
    assert_eq!(idle, KeepAlive { own: Idle::Closed, proxied: Idle::Closed });
    let idle = load("VAULT_AGENT_DISABLE_IDLE_CONNECTIONS", "caching").unwrap().vault.idle;
    assert_eq!(idle, KeepAlive { own: Idle::Kept, proxied: Idle::Closed });
    assert!(
        load("BAO_AGENT_DISABLE_KEEP_ALIVES", "all").unwrap_err().contains("unknown disable_keep_alives value: all")
    );
}

#[test]
fn what_makes_no_sense_is_refused_in_the_peers_words() {
    for (text, why) in [
        ("", "no auto_auth, cache, or listener block"),
        ("auto_auth {}", "no 'method' block found"),
        ("auto_auth { method \"ldap\" { config = {} } }", "Unknown auth method \"ldap\""),
        ("auto_auth { method \"approle\" { config = {} } }", "missing 'role_id_file_path'"),
        (&format!("{AUTH} }}"), "auto_auth requires at least one sink"),
        (&format!("{AUTH} sink \"file\" {{ config = {{}} }} }}"), "'path' not specified for file sink"),
        (
            &format!("{AUTH} sink \"file\" {{ dh_type = \"curve25519\" config = {{ path = \"/x\" }} }} }}"),
            "Diffie-Hellman",
        ),
        (&format!("{AUTH} sinks {{ sink \"file\" {{ config = {{ path = \"/x\" }} }} }} }}"), "write each as sink"),
        (&format!("{AUTH} }}\ntemplate {{ contents = \"x\" }}"), "missing 'destination'"),
        (&format!("{AUTH} }}\ntemplate {{ destination = \"x\" }}"), "either 'contents' or 'source'"),
        (&format!("{AUTH} }}\ntemplate {{ contents = \"x\" destination = \"y\" perm = 1 }}"), "no setting \"perm\""),
        (&format!("{AUTH} }}\nenv_template \"A\" {{ contents = \"x\" }}"), "a top-level 'exec' element"),
        (&format!("{AUTH} }}\nenv_template \"A\" {{ contents = \"x\" perms = \"0600\" }}"), "'perms' is not allowed"),
        (
            "template { contents = \"x\" destination = \"y\" }\nlistener \"unix\" { address = \"/s\" }",
            "templates need a token",
        ),
        ("listener \"tcp\" { address = \"127.0.0.1:1\" }", "'tls_cert_file'"),
        ("listener \"tcp\" { tls_disable = true tls_client_ca_file = \"/x\" }", "tls_client_ca_file is not offered"),
        ("listener \"tcp\" { tls_disable = true tls_min_version = \"tls13\" }", "1.2 and 1.3 are spoken"),
        ("listener \"tcp\" { tls_disable = true role = \"metrics_only\" }", "metrics"),
        ("api_proxy { use_auto_auth_token = true }", "requires at least 1 listener"),
        (
            "api_proxy { use_auto_auth_token = true }\nlistener \"unix\" { address = \"/s\" }",
            "auto_auth not configured",
        ),
        ("api_proxy { use_auto_auth_token = \"maybe\" }", "true/false/force"),
        ("log_level = \"loud\"", "unknown log level"),
        ("auto_auth { method \"cert\" { config = { client_cert = \"x\" } } }", "specified together"),
        (
            "vault { namespace = \"a\" }\nauto_auth { method \"jwt\" { namespace = \"b\" config = { role = \"r\", path = \"/p\" } }\nsink \"file\" { config = { path = \"/x\" } } }",
            "are different",
        ),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}
