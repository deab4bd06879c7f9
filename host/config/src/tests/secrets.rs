//! What came from a variable, a file or a key that holds secrets is in no
//! message, no warning, no summary and no `Debug`.

use std::path::Path;
use std::time::Duration;

use super::super::{Algorithm, Carry, Jwt, Sigv4, load, parse};
use super::mutations::{FULL, placed};
use super::{keep_private, with};

/// Every text in FULL that is a value, as the bytes between its quotes.
fn texts() -> Vec<(usize, usize)> {
    let mut texts = Vec::new();
    let mut offset = 0;
    for line in FULL.lines() {
        let value = line.find(" = ").map_or(line.len(), |equals| equals + 3);
        let quotes: Vec<usize> = line[value..].match_indices('"').map(|(i, _)| offset + value + i).collect();
        texts.extend(quotes.chunks(2).map(|pair| (pair[0] + 1, pair[1])));
        offset += line.len() + 1;
    }
    assert!(texts.len() > 25, "{texts:?}");
    texts
}

/// Texts of some use in many keys, and of none in others.
const CANARIES: &[&str] = &[
    "canary",
    "CANARY",
    "https://canary.example",
    "http://u:canary@a",
    "/canary",
    "canary.wasm",
    "0canary",
    "canary\ncanary",
];

#[test]
fn the_text_of_a_variable_is_in_no_message_wherever_it_is_used() {
    let mut refused = 0;
    for (start, end) in texts() {
        for reference in ["${SECRET}", "x${SECRET}", "${UNSET:-SECRET}"] {
            for canary in CANARIES {
                let text = format!(
                    "{}{}{}",
                    &FULL[..start],
                    reference.replace("-SECRET", &format!("-{}", canary.replace('\n', ""))),
                    &FULL[end..]
                );
                let Err(mistakes) = with(&text, &[("SECRET", canary)]) else { continue };
                refused += 1;
                let said = format!("{mistakes}\n{mistakes:?}").to_lowercase();
                assert!(!said.contains("canary"), "{said}");
            }
        }
    }
    assert!(refused > 300, "{refused}");
}

#[test]
fn the_text_of_a_secret_file_is_in_no_message() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "ca-nary\n").unwrap();
    for (start, end) in texts() {
        let text = format!("{}${{file:secret}}{}", &FULL[..start], &FULL[end..]);
        if let Err(mistakes) = parse(&dir.path().join("broker.toml"), &text, &|_| None) {
            let said = format!("{mistakes}\n{mistakes:?}");
            assert!(!said.contains("ca-nary"), "{said}");
            assert!(said.contains("secret"), "the file is named: {said}");
        }
    }
}

#[test]
fn a_secret_in_the_place_of_a_table_list_or_section_is_not_shown() {
    for text in [
        "sandbox = \"canary\"",
        "providers = \"canary\"",
        "auth = \"canary\"",
        "auth = { tokens = \"canary\" }",
        "auth = { tokens = [\"canary\"] }",
        "[providers]\ne2b = \"canary\"",
        "[providers.e2b]\nplugin = \"e2b\"\nsecrets = \"canary\"",
        "[providers.e2b]\nplugin = \"e2b\"\napi_key = \"canary\"",
        "[providers.e2b]\nplugin = \"e2b\"\nallow = \"canary\"",
        "[providers.e2b]\nplugin = \"e2b\"\nsecrets = { api_key = [\"canary\"] }",
        "[providers.e2b]\nplugin = \"e2b\"\nsecrets = { api_key = \"canary\" }",
        "[providers.e2b]\nplugin = \"e2b\"\nsecrets = { api_key = { value = [\"canary\"], to = \"canary\", carry = \"canary\" } }",
        "[providers.e2b]\nplugin = \"e2b\"\nsecrets = { api_key = { value = \"x\", carry = { bearer = \"canary\" } } }",
        "[providers.e2b]\nplugin = \"e2b\"\nsecrets = { api_key = canary }",
        "[providers.e2b]\nplugin = \"e2b\"\nsecrets = { api_key = \"canary }",
        "[providers.e2b]\nplugin = \"e2b\"\nsecrets = { api_key = '''canary",
        "[sandbox]\nenv = \"canary\"",
        "[sandbox]\nenv = [\"canary\"]",
        "api_key \"canary\"",
    ] {
        let mistakes = with(text, &[]).expect_err(text);
        let said = format!("{mistakes}\n{mistakes:?}");
        assert!(!said.contains("canary"), "{said}");
    }
}

#[test]
fn a_good_configuration_shows_names_and_whether_they_are_set() {
    let config = with(FULL, &[]).unwrap();
    let (summary, debug) = (config.summary(), format!("{config:?}"));
    let warnings: String = config.warnings().iter().map(ToString::to_string).collect();
    for said in [&summary, &debug, &warnings] {
        assert!(!said.contains("canary"), "{said}");
    }
    assert!(!summary.contains('\n'));
    for part in [
        "listen=127.0.0.1:3000",
        "auth=[ada bob]",
        "provider=cloud",
        "storage=none",
        "env=[TOKEN]",
        "secrets=[api_key:(set)]",
        "embedded=sandboxd",
        "allow=[https://api.e2b.app https://*.e2b.app]",
    ] {
        assert!(summary.contains(part), "{part} in {summary}");
    }
}

#[test]
fn a_secret_as_text_in_the_file_is_warned_of_and_more_so_when_others_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    keep_private();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broker.toml");
    std::fs::write(&path, FULL).unwrap();
    let warnings = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let warnings = load(&path, &|_| None).unwrap().warnings().to_vec();
        warnings.iter().map(|w| w.to_string().replace(path.to_str().unwrap(), "broker.toml")).collect::<Vec<_>>()
    };
    let text = "+4:33: providers.cloud.secrets.api_key.value: the secret stands in this file as text; \
                a reference, ${NAME} or ${file:/path}, keeps it out";
    let text = &*placed("[providers.cloud]", text);
    assert_eq!(warnings(0o600), [text]);
    assert_eq!(
        warnings(0o644),
        [text, "broker.toml: holds secrets and can be read by others (mode 0644); chmod 600 keeps it private"]
    );
}

#[test]
fn a_secret_in_a_file_that_others_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    keep_private();
    let dir = tempfile::tempdir().unwrap();
    let (path, key) = (dir.path().join("broker.toml"), dir.path().join("key"));
    std::fs::write(&path, FULL.replace("canary-secret", "${file:key}")).unwrap();
    std::fs::write(&key, "canary-of-the-file").unwrap();
    let warnings = |mode| {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        load(&path, &|_| None).unwrap().warnings().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(warnings(0o600), [""; 0]);
    let [told] = &warnings(0o644)[..] else { panic!("one warning") };
    assert!(told.contains(key.to_str().unwrap()) && told.contains("mode 0644") && !told.contains("canary"), "{told}");
}

#[test]
fn secrets_that_go_out_in_the_clear_are_warned_of() {
    let warnings = |origin: &str| {
        let text = FULL.replace("https://api.e2b.app", origin).replace("canary-secret", "${KEY:-x}");
        let config = with(&text, &[]).unwrap();
        config.warnings().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        warnings("http://api.e2b.app"),
        [placed(
            "[providers.cloud]",
            "+4:52: providers.cloud.secrets.api_key.to[0]: the secret may go there over http, where others can read it"
        )]
    );
    assert!(warnings("http://127.0.0.1:3001").is_empty());
    assert!(warnings("https://api.e2b.app").is_empty());
}

/// Editors and `echo` put line ends there, and no header carries them.
#[test]
fn line_ends_at_the_end_of_a_secret_are_no_part_of_it_and_others_are_warned_of() {
    let text = FULL.replace("canary-secret", "${KEY}");
    for (key, secret) in [("canary\n", "canary"), ("canary\r\n\n", "canary"), (" canary ", " canary ")] {
        let config = with(&text, &[("KEY", key)]).unwrap();
        assert_eq!(config.providers["cloud"].secrets["api_key"].value.expose(), secret);
        assert!(config.warnings().is_empty(), "{:?}", config.warnings());
    }
    let sent = text.replace("reveal = [\"api_key\"]", "reveal = []");
    let config = with(&sent, &[("KEY", "can\nary\n")]).unwrap();
    let warnings: Vec<_> = config.warnings().iter().map(ToString::to_string).collect();
    let warning = "providers.cloud.secrets.api_key.value: found a line end or another control character in the secret \
                   (from $KEY); no request can carry it";
    assert!(
        matches!(&warnings[..], [said] if said.ends_with(warning) && said.starts_with("broker.toml:")),
        "{warnings:?}"
    );
    let nothing = with(&text, &[("KEY", "\n")]).expect_err("nothing is left").to_string();
    assert!(nothing.contains("Missing required environment variable: KEY"), "{nothing}");

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), "canary\n\n").unwrap();
    let text = FULL.replace("canary-secret", "${file:key}");
    let config = parse(&dir.path().join("broker.toml"), &text, &|_| None).unwrap();
    assert_eq!(config.providers["cloud"].secrets["api_key"].value.expose(), "canary");
}

#[test]
fn files_that_are_missing_or_strange_are_refused_with_their_name() {
    let dir = tempfile::tempdir().unwrap();
    let said = |path: &Path| load(path, &|_| None).expect_err("it is no configuration").to_string();
    let name = dir.path().display();
    let gone = said(&dir.path().join("gone.toml"));
    assert!(gone.starts_with(&format!("{name}/gone.toml: cannot be read: there is no file")), "{gone}");
    assert!(gone.contains("--config"), "{gone}");
    assert_eq!(said(dir.path()), format!("{name}: cannot be read: not a file"));
    let path = dir.path().join("b.toml");
    std::fs::write(&path, b"[server]\nlog = \"\xff canary\"").unwrap();
    assert_eq!(said(&path), format!("{name}/b.toml:2:8: not TOML: found bytes that are not UTF-8, expected text"));
    std::fs::write(&path, vec![b'#'; super::super::MAX_BYTES as usize + 1]).unwrap();
    assert_eq!(said(&path), format!("{name}/b.toml: cannot be read: larger than 1 MiB"));
}

#[test]
fn two_secrets_do_not_go_to_one_place_in_one_header() {
    let second = |to: &str, carry: &str| {
        let text = FULL.replace(
            "carry = { header = \"x-api-key\" } } }",
            &format!("carry = {{ header = \"x-api-key\" }} }}, more = {{ value = \"${{KEY:-x}}\", to = [\"{to}\"], carry = {carry} }} }}"),
        );
        let found = with(&text, &[]).err().map(|mistakes| mistakes.to_string());
        found.unwrap_or_default()
    };
    let said = second("https://api.e2b.app/v2", "{ header = \"X-API-Key\" }");
    assert!(
        said.contains("providers.cloud.secrets.more.carry: found the header x-api-key, in which the secret api_key goes to the same place"),
        "{said}"
    );
    assert_eq!(second("https://api.e2b.app", "\"bearer\""), "");
    assert_eq!(second("https://other.e2b.app", "{ header = \"x-api-key\" }"), "");
}

#[test]
fn a_secret_that_is_only_revealed_is_bound_to_nothing() {
    let whole = "{ value = \"canary-secret\", to = [\"https://api.e2b.app\"], carry = { header = \"x-api-key\" } }";
    let text = FULL.replace(whole, "{ value = \"canary-secret\" }");
    with(&text, &[]).unwrap_or_else(|e| panic!("{e}"));
    let unused = with(&text.replace("reveal = [\"api_key\"]", "reveal = []"), &[]).expect_err("it is of no use");
    let said = unused.to_string();
    assert!(said.contains("api_key.to: found nothing") && said.contains("api_key.carry: found nothing"), "{said}");
}

#[test]
fn a_private_key_signs_tokens() {
    let carried = |jwt: &str| {
        let text = FULL.replace("{ header = \"x-api-key\" }", &format!("{{ jwt = {jwt} }}"));
        let config = with(&text, &[]).map_err(|mistakes| mistakes.to_string())?;
        Ok::<_, String>(config.providers["cloud"].secrets["api_key"].binding.carry.clone())
    };
    let least = carried("{ algorithm = \"RS256\", issuer = \"app\" }").unwrap_or_else(|e| panic!("{e}"));
    let life = Duration::from_secs(300);
    let (audience, subject, key_id) = (None, None, None);
    let jwt = Jwt { algorithm: Algorithm::Rs256, issuer: "app".into(), audience, subject, key_id, life };
    assert_eq!(least, Some(Carry::Jwt(jwt)));
    let said = carried("{ algorithm = \"ES256\", issuer = \"app\", life = \"2h\" }").expect_err("too long");
    assert!(said.contains("carry.jwt.life: found text, expected a duration of 1m to 1h"), "{said}");
}

#[test]
fn a_secret_signs_requests_of_aws() {
    let text = FULL.replace(
        "{ header = \"x-api-key\" }",
        "{ sigv4 = { key_id = \"AKIDEXAMPLE\", region = \"eu-west-1\", service = \"s3\" } }",
    );
    let config = with(&text, &[]).unwrap_or_else(|e| panic!("{e}"));
    let (key_id, region, service) = ("AKIDEXAMPLE".into(), "eu-west-1".into(), "s3".into());
    let carry = &config.providers["cloud"].secrets["api_key"].binding.carry;
    assert_eq!(carry, &Some(Carry::Sigv4(Sigv4 { key_id, region, service })));
}
