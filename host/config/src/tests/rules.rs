//! Rules over several keys, what a reload may change, and which files count.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::{Config, Kind, PluginSource, parse};
use super::mutations::FULL;
use super::{mistakes, with};
use crate::document::AT_START;
use sandbox_broker_core::sandbox::Choices;

const LOCAL: &str = "[sandbox]\nprovider = \"local\"\n[providers.local]\nplugin = \"e2b\"\nembedded = \"sandboxd\"\n";

#[test]
fn what_new_sandboxes_are_like_is_read_and_logged() {
    let config = with(FULL, &[]).unwrap();
    let expected = Choices {
        image: Some("debian:12".into()),
        cpu_millis: Some(1500),
        memory_mib: Some(2048),
        disk_mib: Some(10240),
        region: Some("eu-1".into()),
        volumes: Vec::new(),
    };
    assert_eq!(config.sandbox.choices, expected);
    let summary = config.summary();
    let said = " image=\"debian:12\" region=\"eu-1\" cpu_millis=1500 memory_mib=2048 disk_mib=10240 ";
    assert!(summary.contains(said), "{summary}");
    assert_eq!(with(LOCAL, &[]).unwrap().sandbox.choices, Choices::default());
}

#[test]
fn the_least_file_has_the_defaults() {
    let config = with(LOCAL, &[]).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:3000");
    assert_eq!(config.server.log, "info");
    assert!(config.auth.is_none() && config.server.frontend_url.is_none() && config.server.public_urls.is_empty());
    assert_eq!(config.sandbox.timeout, Duration::from_secs(3600));
    assert_eq!(config.sandbox.lease, Duration::from_secs(120));
    assert_eq!(config.sandbox.max_sessions, 100);
    assert_eq!(config.sandbox.shell, ["/bin/bash", "-l"]);
    let limits = &config.providers["local"].limits;
    assert_eq!(limits.memory, 64 << 20);
    assert_eq!(limits.total_memory, 4 << 30);
    assert_eq!(limits.cpu, Duration::from_secs(1));
    assert_eq!(limits.call_timeout, Duration::from_secs(60));
}

#[test]
fn an_empty_file_says_what_it_lacks() {
    assert_eq!(mistakes("", &[]), "broker.toml:1:1: sandbox: found nothing, expected a table");
    assert_eq!(
        mistakes("[sandbox]\nprovider = \"local\"\n", &[]),
        "broker.toml:2:12: sandbox.provider: found \"local\", expected the name of a [providers.NAME] section, of which there is none"
    );
}

#[test]
fn beyond_loopback_it_listens_only_with_auth() {
    let listen =
        |address: &str, auth: &str| mistakes(&format!("[server]\nlisten = \"{address}\"\n{auth}\n{LOCAL}"), &[]);
    let auth = format!("[[auth.tokens]]\nname = \"ada\"\nsha256 = \"{}\"", "0".repeat(64));
    for beyond in ["0.0.0.0:3000", "[::]:3000", "192.168.0.1:3000", "[::ffff:10.0.0.1]:3000"] {
        let refused = listen(beyond, "");
        assert!(refused.starts_with("broker.toml:2:10: server.listen: found an address beyond loopback"), "{refused}");
        assert!(refused.contains("[auth]") && refused.contains("broker token"), "{refused}");
        assert_eq!(listen(beyond, &auth), "");
    }
    for loopback in ["127.0.0.1:0", "127.1.2.3:1", "[::1]:3000", "[::ffff:127.0.0.1]:3000"] {
        assert_eq!(listen(loopback, ""), "");
    }
    assert_eq!(listen("127.0.0.1:0", "[auth]"), "broker.toml:3:1: auth.tokens: found nothing, expected a list");
    assert_eq!(
        listen("127.0.0.1:0", "[auth]\ntokens = []"),
        "broker.toml:4:10: auth.tokens: found a list, expected at least one entry"
    );
}

#[test]
fn a_wrong_auth_section_does_not_also_look_like_none() {
    let text = format!("[server]\nlisten = \"0.0.0.0:1\"\n[[auth.tokens]]\nname = \"ada\"\nsha256 = \"0\"\n{LOCAL}");
    let got = mistakes(&text, &[]);
    assert!(got.starts_with("broker.toml:5:10: auth.tokens[0].sha256: ") && got.lines().count() == 1, "{got}");
    let got = mistakes(&format!("auth = 5\nserver = {{ listen = \"0.0.0.0:1\" }}\n{LOCAL}"), &[]);
    assert_eq!(got, "broker.toml:1:8: auth: found a number, expected a table");
}

#[test]
fn a_wrong_provider_does_not_also_look_like_none() {
    for wrong in ["plugin = 5", "plugin = \"e2b\"\nunknown = 1", "plugin = \"e2b\"\nsecrets = 1"] {
        let got = mistakes(&format!("[sandbox]\nprovider = \"x\"\n[providers.x]\n{wrong}\n"), &[]);
        assert_eq!(got.lines().count(), 1, "{got}");
        assert!(got.contains("providers.x."), "{got}");
    }
}

#[test]
fn only_the_provider_in_use_needs_its_secrets() {
    let text = |provider: &str, secret: &str| {
        let text = format!("{LOCAL}[providers.cloud]\nplugin = \"e2b\"\n{}\n", bound(secret));
        text.replace("provider = \"local\"", &format!("provider = \"{provider}\""))
    };
    let said = |secret| mistakes(&text("cloud", secret), &[("EMPTY", "")]);
    for empty in ["\"\"", "\"${KEY:-}\"", "\"${EMPTY}\"", "\"${KEY:-}${EMPTY}\""] {
        assert_eq!(mistakes(&text("local", empty), &[("EMPTY", "")]), "");
    }
    let at = "broker.toml:9:29: providers.cloud.secrets.key.value: ";
    assert_eq!(said("\"${KEY:-}\""), format!("{at}Missing required environment variable: KEY{AT_START}"));
    assert_eq!(said("\"${EMPTY}\""), format!("{at}Missing required environment variable: EMPTY{AT_START}"));
    assert_eq!(said("\"\""), format!("{at}found empty text, expected the secret: this provider is in use"));
    assert_eq!(
        said("\"${KEY:-}${EMPTY}\""),
        format!("{at}found empty text, expected the secret: this provider is in use")
    );
}

/// Lines of a section that bind this secret.
fn bound(secret: &str) -> String {
    let to = "\"https://a.example\"";
    format!("allow = [{to}]\nsecrets = {{ key = {{ value = {secret}, to = [{to}], carry = \"bearer\" }} }}")
}

/// LOCAL with a provider of storage and this in `[storage]`.
fn storing(storage: &str) -> String {
    format!("{LOCAL}[providers.azure]\nplugin = \"azure-blobfuse\"\n{}\n[storage]\n{storage}\n", bound("\"${KEY:-}\""))
}

const MOUNT: &str = "an absolute path for the mount such as \"/workspace/files\", without . and .. and a / at its end, \
                     and in no system directory";

#[test]
fn storage_is_one_mount_or_a_list_of_them() {
    let mounts = |storage: &str| {
        let config = with(&storing(storage), &[("KEY", "k")]).unwrap_or_else(|e| panic!("{e}"));
        let uses: Vec<_> = config.uses().map(|of| (of.provider.to_owned(), of.kind)).collect();
        assert_eq!(uses[0], ("local".to_owned(), Kind::Sandbox));
        assert!(uses[1..].iter().all(|of| *of == ("azure".to_owned(), Kind::Storage)));
        assert_eq!(uses.len(), 1 + config.storage.len());
        let mounts = config.storage.iter().map(|m| (m.path.clone(), m.read_only)).collect::<Vec<_>>();
        (mounts, config.summary())
    };
    let (none, summary) = mounts("provider = \"azure\"\npath = \"/w\"");
    assert!(none.is_empty() && summary.contains(" storage=none "), "{summary}");
    let (one, summary) = mounts("enabled = true\nprovider = \"azure\"\npath = \"/w/f\"\nread_only = true");
    assert_eq!(one, [("/w/f".to_owned(), true)]);
    assert!(summary.contains(" storage=[\"/w/f\"=azure:ro] "), "{summary}");
    let entry = |path: &str| format!("[[storage.mounts]]\nprovider = \"azure\"\npath = \"{path}\"\n");
    let (two, _) = mounts(&format!("enabled = true\n{}{}", entry("/w/b"), entry("/w/a")));
    assert_eq!(two, [("/w/b".to_owned(), false), ("/w/a".to_owned(), false)], "in the order of the file");
}

#[test]
fn storage_that_is_enabled_must_be_whole() {
    let said = |storage: &str| mistakes(&storing(storage), &[("KEY", "k")]);
    assert_eq!(
        said("enabled = true"),
        format!(
            "broker.toml:10:1: storage.path: found nothing, expected {MOUNT}: storage is enabled\n\
             broker.toml:10:1: storage.provider: found nothing, expected the name of a [providers.NAME] section: storage is enabled"
        )
    );
    assert_eq!(
        said("enabled = true\nprovider = \"azur\"\npath = \"/w\""),
        "broker.toml:12:12: storage.provider: found \"azur\", expected the name of a [providers.NAME] section: \
         azure, local; did you mean azure?"
    );
    assert_eq!(said("enabled = false\nprovider = \"azur\""), "", "not in use");
    let entry = |path: &str| format!("[[storage.mounts]]\nprovider = \"azure\"\npath = \"{path}\"\n");
    assert_eq!(
        said(&format!("enabled = true\nread_only = true\n{}", entry("/w"))),
        "broker.toml:12:13: storage.read_only: found this key beside a list of mounts, expected it in each [[storage.mounts]]"
    );
    for other in ["/w", "/w/files", "/w/files/deep"] {
        assert_eq!(
            said(&format!("enabled = true\n{}{}", entry("/w/files"), entry(other))),
            format!(
                "broker.toml:17:8: storage.mounts[1].path: found \"{other}\", which overlaps another mount, \
                 expected a path beside it"
            )
        );
    }
    assert_eq!(said(&format!("enabled = true\n{}{}", entry("/w/files"), entry("/w/files2"))), "");
    let nine: String = (0..9).map(|n| entry(&format!("/w/{n}"))).collect();
    assert_eq!(
        said(&format!("enabled = true\n{nine}")),
        "broker.toml:12:1: storage.mounts: found a list, expected at most 8 entries"
    );
}

#[test]
fn storage_in_use_needs_its_secrets() {
    let text = |enabled| storing(&format!("enabled = {enabled}\nprovider = \"azure\"\npath = \"/w\""));
    assert_eq!(mistakes(&text(false), &[]), "");
    assert_eq!(
        mistakes(&text(true), &[]),
        format!(
            "broker.toml:9:29: providers.azure.secrets.key.value: Missing required environment variable: KEY{AT_START}"
        )
    );
    let both = "[[storage.mounts]]\nprovider = \"azure\"\npath = \"/a\"\n[[storage.mounts]]\nprovider = \"azure\"\npath = \"/b\"";
    assert_eq!(mistakes(&storing(&format!("enabled = true\n{both}")), &[]).lines().count(), 1, "said once");
}

#[test]
fn a_reference_takes_the_type_that_its_key_wants_and_only_when_it_is_all_there_is() {
    let text = |max: &str| FULL.replace("= 100", &format!("= \"{max}\""));
    assert_eq!(with(&text("${N}"), &[("N", "7")]).unwrap().sandbox.max_sessions, 7);
    assert_eq!(with(&text("${N:-8}"), &[]).unwrap().sandbox.max_sessions, 8);
    let refused = |max, n| mistakes(&text(max), &[("N", n)]);
    assert!(
        refused("1${N}", "0")
            .contains("found text (from $N, with what stands around it in this file), expected a whole number")
    );
    assert!(refused("${N}", "7.5").contains("found text (from $N), expected a whole number"));
    assert!(refused("${N}", "many").contains("found text (from $N), expected a whole number"));
    assert!(refused("${N}", "0").contains("found text (from $N), expected at least 1"));
    assert!(refused("${M:-many}", "").contains("found text (from the default of $M), expected a whole number"));
    assert!(mistakes(&FULL.replace("= false", "= \"${B}\""), &[("B", "FALSE")]).contains("expected true or false"));
    assert_eq!(
        with(&FULL.replace("\"ada\"\n", "\"${D}\"\n"), &[("D", "5")]).unwrap().sandbox.user.as_deref(),
        Some("5")
    );
}

#[test]
fn an_empty_entry_of_the_environment_is_left_out() {
    let text = FULL.replace("\"canary-env\"", "\"${KEY:-}\", OTHER = \"x\"");
    let config = with(&text, &[]).unwrap();
    assert_eq!(config.sandbox.env.keys().collect::<Vec<_>>(), ["OTHER"]);
}

#[test]
fn an_environment_that_no_plugin_takes_is_refused_before_a_session_fails() {
    let with_entries = |count: usize, text: &str| {
        let entries: Vec<_> = (0..count).map(|n| format!("E{n} = \"{text}\"")).collect();
        mistakes(&FULL.replace("TOKEN = \"canary-env\"", &entries.join(", ")), &[])
    };
    assert_eq!(with_entries(60, "x"), "");
    assert!(
        with_entries(61, "x").contains("sandbox.env: found 61 entries with 234 bytes, expected at most 60 entries")
    );
    let said = with_entries(2, &"canary".repeat(10_000));
    assert!(said.contains("found 2 entries with 120004 bytes") && !said.contains("canary"), "{said}");
}

#[test]
fn paths_start_at_the_file_and_everything_it_names_is_to_be_watched() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), "k").unwrap();
    let path = dir.path().join("broker.toml");
    let text = FULL.replace("canary-secret", "${file:key}");
    let config = parse(&path, &text, &|_| None).unwrap();
    let plugin = dir.path().join("./e2b.wasm");
    assert_eq!(config.providers["cloud"].plugin, PluginSource::Path(plugin.clone()));
    assert_eq!(config.providers["cloud"].secrets["api_key"].value.expose(), "k");
    assert_eq!(config.files()[..3], [path.clone(), dir.path().join("key"), plugin.clone()]);
    let wrong = parse(&path, &text.replace("${file:key}", "${file:/gone}"), &|_| None).unwrap_err();
    assert_eq!(
        wrong.files()[..3],
        [path.clone(), PathBuf::from("/gone"), plugin],
        "a missing file is watched until it is there"
    );
    let broken = parse(&path, "[", &|_| None).unwrap_err();
    assert_eq!(broken.files(), [path]);
}

#[test]
fn what_cannot_change_live_is_refused_by_name() {
    let old = with(FULL, &[]).unwrap();
    let change = |from: &str, to: &str| {
        let text = FULL.replacen(from, to, 1);
        assert_ne!(text, FULL);
        let new = with(&text, &[("PORT", "4000")]).unwrap();
        Config::refuse_live_changes(&old, &new).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let words = "expected the address that the broker listens on: it cannot change live, restart the broker";
    assert_eq!(
        change("127.0.0.1:3000", "127.0.0.1:4000"),
        [format!("broker.toml:2:10: server.listen: found \"127.0.0.1:4000\", {words}")]
    );
    assert_eq!(
        change("127.0.0.1:3000", "127.0.0.1:${PORT}"),
        [format!(
            "broker.toml:2:10: server.listen: found text (from $PORT, with what stands around it in this file), {words}"
        )]
    );
    assert!(change("provider = \"cloud\"", "provider = \"local\"").is_empty());
    assert!(change("\"1h\"", "\"2h\"").is_empty());
    assert!(change("listen = \"127.0.0.1:3000\"\n", "").is_empty(), "the default is the same address");
    let open = FULL.split_once("[[auth").unwrap().0.to_owned() + "[sandbox]" + FULL.split_once("[sandbox]").unwrap().1;
    let open = with(&open, &[]).unwrap();
    let refused = Config::refuse_live_changes(&old, &open).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].contains("auth: found no [auth] section") && refused[0].contains("restart"), "{refused:?}");
    assert!(Config::refuse_live_changes(&open, &old).is_empty(), "to let fewer in is always possible");
    assert_eq!(old.path(), Path::new("broker.toml"));
}

#[test]
fn one_of_several_people_has_a_quarter_of_the_sessions() {
    let token = |name: &str, n: u8| {
        format!("[[auth.tokens]]\nname = \"{name}\"\nsha256 = \"{}\"\n", format!("{n:02}").repeat(32))
    };
    let (one, two) = (token("ada", 1), token("ada", 1) + &token("bob", 2));
    let limit = |auth: &str, keys: &str| {
        let text = format!("{auth}{}", LOCAL.replace("[sandbox]\n", &format!("[sandbox]\n{keys}\n")));
        with(&text, &[]).unwrap().sandbox.max_sessions_per_user
    };
    assert_eq!((limit("", ""), limit(&one, ""), limit(&two, "")), (100, 100, 25));
    assert_eq!(limit(&two, "max_sessions = 1"), 1);
    assert_eq!(limit(&two, "max_sessions_per_user = 60"), 60);
}

#[test]
fn several_people_share_storage_only_on_purpose() {
    let token = |name: &str, n: u8| {
        format!("[[auth.tokens]]\nname = \"{name}\"\nsha256 = \"{}\"\n", format!("{n:02}").repeat(32))
    };
    let (one, two) = (token("ada", 1), token("ada", 1) + &token("bob", 2));
    let told = |auth: &str, keys: &str, container: &str| {
        let azure = format!(
            "[providers.azure]\nplugin = \"azure-blobfuse\"\n[providers.azure.config]\ncontainer = \"{container}\"\n"
        );
        let storage = format!("[storage]\nenabled = true\nprovider = \"azure\"\npath = \"/workspace/files\"\n{keys}\n");
        mistakes(&format!("{storage}{auth}{LOCAL}{azure}"), &[])
    };
    for (auth, keys, container) in
        [("", "", "files"), (&*one, "", "files"), (&two, "", "files-{user}"), (&two, "shared = true", "files")]
    {
        assert_eq!(told(auth, keys, container), "", "{auth} {keys} {container}");
    }
    for keys in ["", "shared = false"] {
        let refused = told(&two, keys, "files");
        assert!(
            refused.starts_with("broker.toml:3:12: storage.provider: found \"azure\", where everybody"),
            "{refused}"
        );
        assert!(refused.contains("{user}") && refused.contains("storage.shared = true"), "{refused}");
    }
    let refused = told("", "", "files-{user}");
    assert!(refused.starts_with("broker.toml:3:12: storage.provider: ") && refused.contains("[auth]"), "{refused}");
}

#[test]
fn settings_with_a_placeholder_are_checked_for_each_person() {
    let token = |name: &str, n: u8| {
        format!("[[auth.tokens]]\nname = \"{name}\"\nsha256 = \"{}\"\n", format!("{n:02}").repeat(32))
    };
    let config = |second: &str| {
        let azure = "[providers.azure]\nplugin = \"azure-blobfuse\"\n[providers.azure.config]\ncontainer = \"files-{user}\"\nsize = \"${SIZE}\"\n";
        with(&format!("{}{}{LOCAL}{azure}", token("ada", 1), token(second, 2)), &[("SIZE", "7")]).unwrap()
    };
    let schema = serde_json::json!({
        "properties": { "container": { "type": "string", "pattern": "^[a-z0-9-]+$" }, "size": { "type": "integer" } },
    });
    let good = config("bob");
    let settings = good.check_provider_config("azure", &schema).unwrap();
    assert_eq!(settings, serde_json::json!({ "container": "files-{user}", "size": 7 }), "references took their type");
    assert_eq!(super::super::settings_of("bob", &settings)["container"], "files-bob");
    let wrong = config("bob_b").check_provider_config("azure", &schema).unwrap_err().to_string();
    assert!(wrong.contains("providers.azure.config.container"), "{wrong}");
}

#[test]
fn what_lets_others_in_or_listen_is_warned_of() {
    let auth = format!("[[auth.tokens]]\nname = \"ada\"\nsha256 = \"{}\"\n", "0".repeat(64));
    let warned = |server: &str, auth: &str| {
        let config = with(&format!("[server]\n{server}\n{auth}{LOCAL}"), &[]).unwrap();
        config.warnings().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let (beyond, tls) = ("listen = \"0.0.0.0:3000\"", "public_url = \"https://a.example\"");
    for (server, auth, words) in [
        (tls, "", "broker.toml:2:14: server.public_url: there is no [auth]"),
        (beyond, &*auth, "broker.toml:2:10: server.listen: tokens, and all that is typed, go over plain http"),
        ("public_url = \"http://a.example\"", &auth, "broker.toml:2:14: server.public_url: tokens"),
    ] {
        let warnings = warned(server, auth);
        assert!(matches!(&warnings[..], [only] if only.starts_with(words)), "{server}: {warnings:?}");
    }
    for (server, auth) in [
        ("", ""),
        ("", &*auth),
        (tls, &auth),
        (&format!("{beyond}\n{tls}"), &auth),
        ("public_url = \"http://broker.localhost:8080\"", ""),
        ("public_url = \"http://[::1]:8080\"", ""),
    ] {
        assert_eq!(warned(server, auth), [""; 0], "{server}");
    }
}

#[test]
fn services_of_the_machine_are_ports_of_its_loopback_wherever_they_are_written() {
    let ports = |services: &str| {
        let config = with(&format!("{LOCAL}host_services = {services}\n"), &[]).unwrap_or_else(|e| panic!("{e}"));
        config.providers["local"].host_services.clone()
    };
    assert_eq!(ports("[]"), [0_u16; 0]);
    assert_eq!(
        ports(
            r#"["10000", "127.0.0.1:8080", "localhost:81", "http://127.0.0.1:10001/devstore", "http://[::1]:7", "10000", "http://localhost/"]"#
        ),
        [7, 80, 81, 8080, 10000, 10001]
    );
    assert_eq!(ports(r#"["", "https://x.blob.core.windows.net/y", "10.0.0.1:5"]"#), [0_u16; 0]);
    for wrong in ["0", "70000", "x", "127.0.0.1"] {
        let said = mistakes(&format!("{LOCAL}host_services = [\"{wrong}\"]\n"), &[]);
        assert!(said.contains("providers.local.host_services[0]: found") && said.contains("expected a port"), "{said}");
    }
}

#[test]
fn storage_on_the_loopback_is_warned_of_unless_sandboxes_reach_it() {
    let warnings = |services: &str| {
        let text = format!(
            "{LOCAL}host_services = {services}\n[storage]\nenabled = true\nprovider = \"azure\"\npath = \"/f\"\n\
             [providers.azure]\nplugin = \"azure-blobfuse\"\nallow = [\"http://127.0.0.1:10000\"]\n"
        );
        let config = with(&text, &[]).unwrap_or_else(|e| panic!("{e}"));
        config.warnings().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let said = warnings("[]");
    assert_eq!(said.len(), 1);
    assert!(said[0].contains("add it to providers.local.host_services"), "{said:?}");
    assert_eq!(warnings(r#"["http://127.0.0.1:10000/x"]"#), [""; 0]);
}
