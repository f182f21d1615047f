//! What is read, and what is an error.

use super::*;
use crate::core::lockout::Limits;
use crate::http::{Forwarded, Opened, Others};

#[test]
fn a_configuration_of_the_peer_is_read() {
    let config = parse(
        r#"
        ui = true
        listener "tcp" { address = "0.0.0.0:8200" tls_cert_file = "/c" tls_key_file = "/k" }
        storage "embedded" { path = "/var/lib/bulla" }
        seal "static" { current_key_id = "1" current_key = "file:///key" }
        audit "file" "main" { description = "d" options { file_path = "stdout" log_raw = false } }
        max_lease_ttl = "24h"
        default_lease_ttl = 3600
        "#,
    )
    .unwrap();
    assert_eq!(config.storage, Storage::Embedded("/var/lib/bulla".into()));
    assert_eq!(config.listeners[0].tls, Some(("/c".into(), "/k".into())));
    assert_eq!((config.times.default_ttl, config.times.max_ttl), (3600, 86_400));
    assert_eq!(config.audit[0].path, "main/");
    assert_eq!(config.audit[0].options["log_raw"], "false");
    assert_eq!(config.ignored, ["ui"]);
    let json = r#"{"listener":{"tcp":{"address":"127.0.0.1:1","tls_disable":"true"}},"storage":{"inmem":{}}}"#;
    let config = parse(json).unwrap();
    assert_eq!(config.storage, Storage::Memory);
    assert!(config.listeners[0].tls.is_none());
}

#[test]
fn a_seal_that_is_disabled_is_one_that_the_server_leaves() {
    let of = |seals: &str| {
        let listener = "listener \"tcp\" { tls_disable = true }\nstorage \"inmem\" {}\n";
        parse(&format!("{listener}{seals}")).map(|config| (config.seals, config.old_seals))
    };
    let (aws, local) = (Seal::AwsKms("arn".to_owned()), Seal::Local("/key".into()));
    let text = "seal \"awskms\" { kms_key_id = \"arn\" disabled = \"true\" }\nseal \"local\" { path = \"/key\" }";
    assert_eq!(of(text), Ok((vec![local.clone()], vec![aws.clone()])));
    assert_eq!(of(&text.replace("\"true\"", "false")), Ok((vec![aws.clone(), local], Vec::new())));
    assert_eq!(
        of("seal \"awskms\" { kms_key_id = \"arn\" disabled = true }\nseal \"shamir\" {}"),
        Ok((Vec::new(), vec![aws]))
    );
    assert!(of("seal \"awskms\" { disabled = true }").is_err());
    // What would be passed over is said where it is to be.
    for (setting, variable) in
        [("access_key = \"a\"", "AWS_ACCESS_KEY_ID"), ("endpoint = \"e\"", "AWS_ENDPOINT_URL_KMS")]
    {
        assert!(of(&format!("seal \"awskms\" {{ kms_key_id = \"arn\" {setting} }}")).unwrap_err().contains(variable));
    }
    let transit = "seal \"transit\" { address = \"https://v\" key_name = \"k\" token = \"t\" }";
    assert!(of(transit).unwrap_err().contains("VAULT_TOKEN"));
    assert!(of("seal \"awskms\" { kms_key_id = \"arn\" disabled = \"perhaps\" }").is_err());
}

#[test]
fn what_everybody_may_ask_is_opened_by_a_listener_that_says_so() {
    let of = |settings: &str| {
        let text = format!("listener \"tcp\" {{ tls_disable = true\n{settings} }}\nstorage \"inmem\" {{}}");
        parse(&text).map(|config| config.listeners[0].opened)
    };
    assert_eq!(of(""), Ok(Opened::default()));
    assert_eq!(of("disable_unauthed_rekey_endpoints = true"), Ok(Opened::default()));
    let opened = of("disable_unauthed_rekey_endpoints = false\ndisable_unauthed_generate_root_endpoints = \"false\"");
    assert_eq!(opened, Ok(Opened { generate_root: true, rekey: true, metrics: false }));
    let opened = of("telemetry { unauthenticated_metrics_access = true }");
    assert_eq!(opened, Ok(Opened { metrics: true, ..Opened::default() }));
    assert!(of("telemetry { unauthenticated_metrics_access = \"perhaps\" }").is_err());
    assert!(of("disable_unauthed_rekey_endpoints = \"no\"").is_err());
}

#[test]
fn proxies_are_believed_whose_networks_are_written() {
    let of = |settings: &str| {
        let text = format!("listener \"tcp\" {{ tls_disable = true\n{settings} }}\nstorage \"inmem\" {{}}");
        parse(&text).map(|config| config.listeners[0].forwarded.clone())
    };
    assert_eq!(of(""), Ok(None));
    let whole = Forwarded {
        proxies: vec!["10.0.0.0/8".to_owned(), "::1".to_owned()],
        skipped: 0,
        without: Others::Refused,
        elsewhere: Others::Refused,
    };
    for given in ["\"10.0.0.0/8, ::1\"", "[\"10.0.0.0/8\", \"::1\"]"] {
        assert_eq!(of(&format!("x_forwarded_for_authorized_addrs = {given}")), Ok(Some(whole.clone())), "{given}");
    }
    let more = "x_forwarded_for_authorized_addrs = \"::1\"\nx_forwarded_for_hop_skips = 2\n\
        x_forwarded_for_reject_not_present = false\nx_forwarded_for_reject_not_authorized = \"false\"";
    let lenient =
        Forwarded { proxies: vec!["::1".to_owned()], skipped: 2, without: Others::Direct, elsewhere: Others::Direct };
    assert_eq!(of(more), Ok(Some(lenient)));
    for bad in [
        "x_forwarded_for_hop_skips = 1",
        "x_forwarded_for_authorized_addrs = \"proxy.example\"",
        "x_forwarded_for_authorized_addrs = []",
        "x_forwarded_for_authorized_addrs = \"::1\"\nx_forwarded_for_hop_skips = -1",
        "x_forwarded_for_authorized_addrs = \"::1\"\nx_forwarded_for_reject_not_present = \"no\"",
    ] {
        assert!(of(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_configuration_may_be_in_several_files_of_either_form() {
    let listener = "listener \"tcp\" { tls_disable = true }\nlog_level = \"debug\"\npid_file = \"/run/pid\"";
    let storage = "{\"storage\": {\"inmem\": {}}, \"cluster_name\": \"c\"}";
    let config = parse_all(&[listener, storage]).unwrap();
    assert_eq!((config.listeners.len(), config.cluster_name.as_str()), (1, "c"));
    assert_eq!((config.log_level.as_deref(), config.pid_file), (Some("debug"), Some("/run/pid".into())));
    assert!(parse_all(&[listener]).is_err() && parse_all(&[listener, storage, storage]).is_err());
}

#[test]
fn who_is_locked_out_when_is_configured_by_method() {
    let of = |block: &str| {
        let listener = "listener \"tcp\" { tls_disable = true }\nstorage \"inmem\" {}\n";
        parse(&format!("{listener}{block}")).map(|config| config.lockouts)
    };
    let lockouts = of(
        "user_lockout \"all\" { lockout_threshold = \"3\" lockout_duration = \"10m\" }\nuser_lockout \"approle\" { disable_lockout = true }",
    )
    .unwrap();
    let limits = lockouts.of("userpass");
    assert_eq!((limits.threshold, limits.duration.as_secs(), limits.reset.as_secs()), (3, 600, 900));
    assert_eq!(lockouts.of("approle"), Limits::OFF);
    for bad in [
        "user_lockout \"jwt\" {}",
        "user_lockout \"all\" { lockout_threshold = 0 }",
        "user_lockout \"all\" { lockout_limit = 1 }",
        "user_lockout \"all\" { lockout_treshold = 3 }",
    ] {
        assert!(of(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_is_not_there_names_what_is() {
    let listener = "listener \"tcp\" { tls_disable = true }\n";
    for (text, expected) in [
        ("storage \"raft\" { path = \"x\" }", "storage \"embedded\""),
        ("storage \"mysql\" {}", "not supported yet"),
        ("storage \"postgresql\" { ha_enabled = true }", "ha_enabled"),
        ("storage \"postgresql\" { max_parallel = 2 }", "max_parallel"),
        ("storage \"postgresql\" { table = \"a b\" }", "NAME"),
        ("storage \"inmem\" {}\nseal \"pkcs11\" {}", "\"transit\""),
        ("", "there is no storage"),
        ("storage \"inmem\" {}\nha_storage \"consul\" {}", "ha_storage"),
        ("storage \"inmem\" {}\nmax_lease_ttl = \"x\"", "max_lease_ttl is a duration"),
    ] {
        let error = parse(&format!("{listener}{text}")).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert!(parse("storage \"inmem\" {}\nlistener \"tcp\" {}").unwrap_err().contains("tls_cert_file"));
}

#[test]
fn a_setting_that_nobody_knows_is_an_error_where_somebody_may_rely_on_it() {
    let of = |listener: &str, rest: &str| {
        parse(&format!("listener \"tcp\" {{ tls_disable = true\n{listener} }}\nstorage \"inmem\" {{ {rest} }}"))
    };
    for bad in
        ["tls_cert_flie = \"x\"", "tls_min_version = \"tls13\"", "max_request_size = 10", "tls_client_ca_file = \"x\""]
    {
        assert!(of(bad, "").unwrap_err().contains("not supported"), "{bad}");
    }
    assert!(of("tls_min_version = \"tls12\"", "").unwrap().ignored.is_empty());
    let config = of("proxy_protocol_behavior = \"x\"", "pat = 1").unwrap();
    assert_eq!(config.ignored, ["listener 127.0.0.1:8200: proxy_protocol_behavior", "storage \"inmem\": pat"]);
}

#[test]
fn plain_http_stays_on_the_machine_unless_somebody_says_so() {
    let listener = |address: &str, insecure| Listener {
        address: address.to_owned(),
        tls: None,
        insecure,
        opened: Opened::default(),
        forwarded: None,
    };
    assert!(listener("127.0.0.1:8200", false).check().is_ok());
    assert!(listener("[::1]:8200", false).check().is_ok());
    assert!(listener("[::1]:8200", true).warning().is_none());
    for address in ["0.0.0.0:8200", "[::]:8200", "10.0.0.1:8200", "vault:8200", ":8200"] {
        assert!(listener(address, false).check().is_err(), "{address}");
        assert!(listener(address, true).check().is_ok());
        assert!(listener(address, true).warning().is_some_and(|text| text.contains("WITHOUT TLS")), "{address}");
    }
}
