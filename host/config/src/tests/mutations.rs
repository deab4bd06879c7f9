//! One mistake at a time in a file that has every key: each is refused with
//! its place, its key, what was found and what is expected, and nothing else.

use super::documented::keys;
use super::{mistakes, place, with};

/// Every key once, one to a line. What must never be seen says "canary".
pub(super) const FULL: &str = concat!(
    r#"[server]
listen = "127.0.0.1:3000"
frontend_url = "http://localhost:5174"
public_url = "https://broker.example"
public_urls = ["https://broker.lan:8443"]
trusted_proxies = ["10.0.0.0/8"]
log = "info"

[[auth.tokens]]
name = "ada"
sha256 = "caca000000000000000000000000000000000000000000000000000000000000"

[[auth.tokens]]
name = "bob"
sha256 = "caca000000000000000000000000000000000000000000000000000000000001"

[sandbox]
provider = "cloud"
timeout = "1h"
max_age = "24h"
lease = "2m"
keep_after_disconnect = "2h"
on_slow_client = "gap"
size = "driver"
max_sessions = 100
max_sessions_per_user = 25
workdir = "/workspace"
shell = ["/bin/bash", "-l"]
env = { TOKEN = "canary-env" }
user = "ada"

[sandbox.choices]
image = "debian:12"
cpu_millis = 1500
memory = "2GiB"
disk = "10GiB"
region = "eu-1"

[storage]
enabled = false
provider = "azure"
path = "/workspace/files"
read_only = false
shared = false

[[storage.mounts]]
provider = "azure"
path = "/workspace/more"
read_only = true

[providers.local]
plugin = "e2b"
embedded = "sandboxd"
host_services = ["10000"]

[providers.cloud]
plugin = "./e2b.wasm"
allow = ["https://api.e2b.app", "https://*.e2b.app"]
allow_private = false
secrets = { api_key = { value = "canary-secret", to = ["https://api.e2b.app"], carry = { header = "x-api-key" } } }
reveal = ["api_key"]

[providers.cloud.tls]
ca = ""#,
    env!("CARGO_MANIFEST_DIR"),
    r#"/src/tests/data/ca.pem"
cert = ""#,
    env!("CARGO_MANIFEST_DIR"),
    r#"/src/tests/data/ca.pem"
key = ""#,
    env!("CARGO_MANIFEST_DIR"),
    r#"/src/tests/data/key.pem"

[providers.cloud.limits]
memory = "64MiB"
total_memory = "4GiB"
cpu = "1s"
call_timeout = "60s"

[providers.cloud.config]
template = "canary-setting"

[providers.store]
plugin = "azure-blobfuse"
allow = ["https://acct.blob.core.windows.net"]

[providers.store.secrets.key]
value = "${UNSET:-canary-key}"
to = ["https://acct.blob.core.windows.net"]
carry = { shared_key = "acct" }
sas = { containers = ["files"], max_life = "2h" }
"#
);

const DURATION: &str = r#"a duration such as "30s", "5m" or "1h30m""#;
const ORIGIN: &str = r#"an origin such as "https://example.com": http or https, a host, perhaps a port, nothing else"#;
const LISTEN: &str = r#"an IP address and a port such as "127.0.0.1:3000" or "[::1]:3000""#;
const GRANT: &str = r#"an origin such as "https://api.e2b.app" or "https://*.e2b.app", perhaps with a path under which requests may go, or "unix:///run/docker.sock""#;
const LOG: &str = r#"a level (error, warn, info, debug, trace) or directives such as "info,sandbox_broker=debug""#;
const NAME: &str = "a name: lower case letters, digits, - and _, beginning with a letter or digit, at most 63";
const SECRET_NAME: &str = "a name: letters, digits, - and _, at most 64";
const SHA256: &str = "64 hexadecimal digits, as `broker token` prints them";
const PLUGIN: &str = r#"the name of a built-in plugin such as "e2b", or a path to a .wasm file"#;
const SIZE: &str = r#"a size such as "64MiB""#;
const PATH: &str = r#"an absolute path such as "/workspace""#;
const FILE: &str = r#"the path of a file such as "/etc/broker/ca.pem""#;
const MOUNT: &str = r#"an absolute path for the mount such as "/workspace/files", without . and .. and a / at its end, and in no system directory"#;
const SECRET: &str =
    r#"a table such as { value = "${API_KEY:-}", to = ["https://api.example.com"], carry = { header = "x-api-key" } }"#;
const CARRY: &str = r#""bearer", { header = NAME }, { basic = USER }, { shared_key = ACCOUNT }, { sigv4 = { key_id = ID, region = REGION, service = SERVICE } } or { jwt = { algorithm = ALGORITHM, issuer = ISSUER } }"#;
const DESTINATION: &str =
    r#"an origin without a wildcard such as "https://api.e2b.app", perhaps with a path below which the secret may go"#;
const DESTINATIONS: &str = r#"a list of origins such as ["https://api.example.com"]: the secret goes nowhere else"#;
const IMAGE: &str = "an image or a template of the provider, 1 to 512 bytes";
const REGION: &str = "a region of the provider, 1 to 64 bytes";
const FILLED: &str = "text that is not empty";

/// Section, line, the key's full name, what it expects when the type is wrong.
const KEYS: &[(&str, &str, &str, &str)] = &[
    ("[server]", "listen", "server.listen", LISTEN),
    ("[server]", "frontend_url", "server.frontend_url", ORIGIN),
    ("[server]", "public_url", "server.public_url", ORIGIN),
    ("[server]", "public_urls", "server.public_urls", "a list"),
    ("[server]", "trusted_proxies", "server.trusted_proxies", "a list"),
    ("[server]", "log", "server.log", LOG),
    ("[[auth.tokens]]", "name", "auth.tokens[0].name", NAME),
    ("[[auth.tokens]]", "sha256", "auth.tokens[0].sha256", SHA256),
    ("[sandbox]", "provider", "sandbox.provider", NAME),
    ("[sandbox]", "timeout", "sandbox.timeout", DURATION),
    ("[sandbox]", "max_age", "sandbox.max_age", DURATION),
    ("[sandbox]", "lease", "sandbox.lease", DURATION),
    ("[sandbox]", "keep_after_disconnect", "sandbox.keep_after_disconnect", DURATION),
    ("[sandbox]", "on_slow_client", "sandbox.on_slow_client", "text"),
    ("[sandbox]", "size", "sandbox.size", "text"),
    ("[sandbox]", "max_sessions", "sandbox.max_sessions", "a whole number"),
    ("[sandbox]", "max_sessions_per_user", "sandbox.max_sessions_per_user", "a whole number"),
    ("[sandbox]", "workdir", "sandbox.workdir", PATH),
    ("[sandbox]", "shell", "sandbox.shell", "a list"),
    ("[sandbox]", "env", "sandbox.env", "a table"),
    ("[sandbox]", "user", "sandbox.user", FILLED),
    ("[sandbox.choices]", "image", "sandbox.choices.image", IMAGE),
    ("[sandbox.choices]", "cpu_millis", "sandbox.choices.cpu_millis", "a whole number"),
    ("[sandbox.choices]", "memory", "sandbox.choices.memory", SIZE),
    ("[sandbox.choices]", "disk", "sandbox.choices.disk", SIZE),
    ("[sandbox.choices]", "region", "sandbox.choices.region", REGION),
    ("[storage]", "enabled", "storage.enabled", "true or false"),
    ("[storage]", "provider", "storage.provider", NAME),
    ("[storage]", "path", "storage.path", MOUNT),
    ("[storage]", "read_only", "storage.read_only", "true or false"),
    ("[storage]", "shared", "storage.shared", "true or false"),
    ("[[storage.mounts]]", "provider", "storage.mounts[0].provider", NAME),
    ("[[storage.mounts]]", "path", "storage.mounts[0].path", MOUNT),
    ("[[storage.mounts]]", "read_only", "storage.mounts[0].read_only", "true or false"),
    ("[providers.local]", "embedded", "providers.local.embedded", "text"),
    ("[providers.local]", "host_services", "providers.local.host_services", "a list"),
    ("[providers.cloud]", "plugin", "providers.cloud.plugin", PLUGIN),
    ("[providers.cloud]", "allow", "providers.cloud.allow", "a list"),
    ("[providers.cloud]", "allow_private", "providers.cloud.allow_private", "true or false"),
    ("[providers.cloud]", "secrets", "providers.cloud.secrets", "a table"),
    ("[providers.cloud]", "reveal", "providers.cloud.reveal", "a list"),
    ("[providers.store.secrets.key]", "value", "providers.store.secrets.key.value", "text"),
    ("[providers.store.secrets.key]", "to", "providers.store.secrets.key.to", "a list"),
    ("[providers.store.secrets.key]", "carry", "providers.store.secrets.key.carry", CARRY),
    ("[providers.store.secrets.key]", "sas", "providers.store.secrets.key.sas", "a table"),
    ("[providers.cloud.tls]", "ca", "providers.cloud.tls.ca", FILE),
    ("[providers.cloud.tls]", "cert", "providers.cloud.tls.cert", FILE),
    ("[providers.cloud.tls]", "key", "providers.cloud.tls.key", FILE),
    ("[providers.cloud.limits]", "memory", "providers.cloud.limits.memory", SIZE),
    ("[providers.cloud.limits]", "total_memory", "providers.cloud.limits.total_memory", SIZE),
    ("[providers.cloud.limits]", "cpu", "providers.cloud.limits.cpu", DURATION),
    ("[providers.cloud.limits]", "call_timeout", "providers.cloud.limits.call_timeout", DURATION),
];

/// A message about FULL. `expected` counts lines from the head of `section`:
/// `+2:8: …` is the second line below it.
pub(super) fn placed(section: &str, expected: &str) -> String {
    let (plus, rest) = expected.strip_prefix('+').and_then(|text| text.split_once(':')).expect("a line");
    let head = FULL.find(&format!("{section}\n")).expect("the section is there");
    let line = FULL[..head].matches('\n').count() + 1 + plus.parse::<usize>().expect("a number");
    format!("broker.toml:{line}:{rest}")
}

/// The line `key = …` in its section, and where it begins.
fn line_of(section: &str, key: &str) -> (usize, &'static str) {
    let section = FULL.find(&format!("{section}\n")).expect("the section is there");
    let start = section + FULL[section..].find(&format!("\n{key} = ")).expect("the key is there") + 1;
    (start, FULL[start..].lines().next().expect("a line"))
}

/// FULL with another line in place of this key's, and that line's number.
fn with_line(section: &str, key: &str, new: &str) -> (String, usize) {
    let (start, old) = line_of(section, key);
    let text = format!("{}{new}{}", &FULL[..start], &FULL[start + old.len()..]);
    (text, FULL[..start].matches('\n').count() + 1)
}

/// The only mistake in `text`, without the file's name; nothing in it may be
/// secret.
fn only_mistake(text: &str) -> String {
    let all = mistakes(text, &[]);
    assert!(!all.is_empty(), "accepted:\n{text}");
    assert_eq!(all.lines().count(), 1, "more than one mistake:\n{all}");
    assert!(!all.contains("canary") && !all.contains("caca"), "a secret is shown: {all}");
    all.strip_prefix("broker.toml:").expect("the file's name").to_owned()
}

#[test]
fn without_a_mistake_it_is_accepted() {
    with(FULL, &[]).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn every_key_of_the_schema_is_among_those_that_are_tried() {
    let tried = |heading: &str, key: &str| {
        KEYS.iter().any(|(_, _, name, _)| {
            let name = name.replace("[0]", "").replace(".secrets.key.", ".secrets.SECRET.");
            let mut parts: Vec<&str> = name.split('.').collect();
            if parts[0] == "providers" {
                parts[1] = "NAME";
            }
            parts.join(".") == format!("{heading}.{key}")
        })
    };
    let keys = keys();
    for (heading, key) in keys.iter().flat_map(|(heading, inner)| inner.keys().map(move |key| (heading, key))) {
        let section = format!("{heading}.{key}");
        // The plugin's own schema checks its settings.
        let is_table = keys.contains_key(&section) || key == "config";
        // What stands on one line with its table is tried with it.
        let within = heading.rsplit_once('.').is_some_and(|(outer, table)| tried(outer, table));
        assert!(is_table || within || tried(heading, key), "{section} is missing in FULL and KEYS");
    }
}

#[test]
fn every_key_with_a_value_of_another_type_is_refused_and_never_taken_as_not_set() {
    let wrong = [
        ("text", "\"canary\"", "text"),
        ("number", "5", "the number 5"),
        ("number", "1.5", "the number 1.5"),
        ("boolean", "true", "true"),
        ("list", "[]", "a list"),
        ("table", "{}", "a table"),
    ];
    let mut count = 0;
    for (section, line, key, expected) in KEYS {
        let own = match *expected {
            "a whole number" => "number",
            "true or false" => "boolean",
            "a list" => "list",
            "a table" => "table",
            _ => "text",
        };
        for (kind, value, found) in wrong {
            if kind == own && value != "1.5" {
                continue;
            }
            let (text, number) = with_line(section, line, &format!("{line} = {value}"));
            // What stands where a secret belongs is not shown.
            let secret = key.ends_with("secrets") || (key.contains(".secrets.") && !key.ends_with(".to"));
            let found = match (key.starts_with("auth") || *key == "sandbox.env" || secret, kind) {
                (true, "number") => "a number",
                (true, "boolean") => "a boolean",
                _ => found,
            };
            let column = line.len() + 4;
            let got = only_mistake(&text);
            assert_eq!(got, format!("{number}:{column}: {key}: found {found}, expected {expected}"));
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn every_misspelt_key_is_refused_with_the_one_that_was_meant() {
    for (section, line, key, _) in KEYS {
        let misspelt = format!("{}_{}", &line[..2], &line[2..]);
        let (_, old) = line_of(section, line);
        let (text, number) = with_line(section, line, &old.replacen(line, &misspelt, 1));
        let wrong_key = format!("{}{misspelt}", key.strip_suffix(line).expect("the key ends its name"));
        let got = mistakes(&text, &[]);
        let expected = format!("broker.toml:{number}:1: {wrong_key}: found an unknown key, expected ");
        let mine = got.lines().find(|l| l.starts_with(&expected)).unwrap_or_else(|| panic!("{expected} in {got}"));
        assert!(mine.ends_with(&format!("; did you mean {line}?")), "{mine}");
        assert!(!got.contains("canary") && !got.contains("caca"), "{got}");
    }
}

#[test]
fn every_key_that_stands_twice_is_refused() {
    for (section, line, _, _) in KEYS {
        let (_, old) = line_of(section, line);
        let (text, number) = with_line(section, line, &format!("{old}\n{old}"));
        let at = number + 1;
        assert_eq!(only_mistake(&text), format!("{at}:1: {line}: found the same key twice, expected it once"));
    }
}

#[test]
fn a_key_that_is_missing_is_refused_only_where_there_is_no_default() {
    let required: &[(&str, &str, &str)] = &[
        ("auth.tokens[0].name", "[[auth.tokens]]", NAME),
        ("auth.tokens[0].sha256", "[[auth.tokens]]", SHA256),
        ("sandbox.provider", "[sandbox]", NAME),
        ("storage.mounts[0].provider", "[[storage.mounts]]", NAME),
        ("storage.mounts[0].path", "[[storage.mounts]]", MOUNT),
        ("providers.cloud.plugin", "[providers.cloud]", PLUGIN),
        ("providers.store.secrets.key.value", "[providers.store.secrets.key]", "text"),
        ("providers.store.secrets.key.to", "[providers.store.secrets.key]", DESTINATIONS),
        ("providers.store.secrets.key.carry", "[providers.store.secrets.key]", CARRY),
    ];
    for (section, line, key, _) in KEYS {
        let (text, _) = with_line(section, line, "");
        match required.iter().find(|(name, ..)| name == key) {
            Some((_, head, expected)) => {
                let expected = placed(head, &format!("+0:1: {key}: found nothing, expected {expected}"));
                assert_eq!(format!("broker.toml:{}", only_mistake(&text)), expected);
            }
            // The names of `reveal` are names of secrets.
            None if *key == "providers.cloud.secrets" => {
                assert!(only_mistake(&text).contains("providers.cloud.reveal[0]"))
            }
            // A secret goes only where requests may go.
            None if *key == "providers.cloud.allow" => {
                assert!(only_mistake(&text).contains("providers.cloud.secrets.api_key.to[0]"))
            }
            // One of a pair.
            None if key.ends_with(".tls.cert") || key.ends_with(".tls.key") => {
                let expected = format!("+0:1: {key}: found nothing, expected the file with the ");
                assert!(format!("broker.toml:{}", only_mistake(&text)).starts_with(&placed(section, &expected)));
            }
            None => assert_eq!(mistakes(&text, &[]), "", "{key} has a default"),
        }
    }
}

/// What stands in FULL, what replaces it, where in that the mistake is, and the
/// message after the position.
const VALUES: &[(&str, &str, &str, &str)] = &[
    // Addresses.
    ("\"127.0.0.1:3000\"", "\"localhost:3000\"", "\"", "server.listen: found \"localhost:3000\", expected LISTEN"),
    ("\"127.0.0.1:3000\"", "\"127.0.0.1\"", "\"", "server.listen: found \"127.0.0.1\", expected LISTEN"),
    ("\"127.0.0.1:3000\"", "\":3000\"", "\"", "server.listen: found \":3000\", expected LISTEN"),
    ("\"127.0.0.1:3000\"", "\"127.0.0.1:70000\"", "\"", "server.listen: found \"127.0.0.1:70000\", expected LISTEN"),
    ("\"127.0.0.1:3000\"", "\"\"", "\"", "server.listen: found \"\", expected LISTEN"),
    // Origins.
    ("\"http://localhost:5174\"", "\"*\"", "\"", "server.frontend_url: found \"*\", expected ORIGIN"),
    (
        "\"http://localhost:5174\"",
        "\"localhost:5174\"",
        "\"",
        "server.frontend_url: found \"localhost:5174\", expected ORIGIN",
    ),
    ("\"http://localhost:5174\"", "\"http://a/b\"", "\"", "server.frontend_url: found \"http://a/b\", expected ORIGIN"),
    ("\"http://localhost:5174\"", "\"http://*.a\"", "\"", "server.frontend_url: found \"http://*.a\", expected ORIGIN"),
    ("\"http://localhost:5174\"", "\"http://u:canary@a\"", "\"", "server.frontend_url: found text, expected ORIGIN"),
    (
        "\"https://broker.example\"",
        "\"ftp://broker.example\"",
        "\"",
        "server.public_url: found \"ftp://broker.example\", expected ORIGIN",
    ),
    (
        "\"https://broker.lan:8443\"",
        "\"http://b\", \"broker.lan\"",
        "\"broker.lan",
        "server.public_urls[1]: found \"broker.lan\", expected ORIGIN",
    ),
    // Log.
    ("\"info\"", "\"loud=very\"", "\"", "server.log: found \"loud=very\", expected LOG"),
    ("\"info\"", "\"inof\"", "\"", "server.log: found \"inof\", expected LOG; did you mean info?"),
    ("\"info\"", "\"\"", "\"", "server.log: found \"\", expected LOG"),
    // Tokens.
    (
        "name = \"bob\"",
        "name = \"ada\"",
        "\"",
        "auth.tokens[1].name: found the name of another token, expected a name of its own",
    ),
    ("name = \"bob\"", "name = \"canary token\"", "\"", "auth.tokens[1].name: found text, expected NAME"),
    (
        "\"caca000000000000000000000000000000000000000000000000000000000001\"",
        "\"canary\"",
        "\"",
        "auth.tokens[1].sha256: found text, expected SHA256",
    ),
    (
        "\"caca000000000000000000000000000000000000000000000000000000000001\"",
        "\"cacax00000000000000000000000000000000000000000000000000000000001\"",
        "\"",
        "auth.tokens[1].sha256: found text, expected SHA256",
    ),
    // The sandbox.
    (
        "provider = \"cloud\"",
        "provider = \"clod\"",
        "\"",
        "sandbox.provider: found \"clod\", expected the name of a [providers.NAME] section: cloud, local, store; did you mean cloud?",
    ),
    (
        "provider = \"cloud\"",
        "provider = \"zzz\"",
        "\"",
        "sandbox.provider: found \"zzz\", expected the name of a [providers.NAME] section: cloud, local, store",
    ),
    ("provider = \"cloud\"", "provider = \"Cloud\"", "\"", "sandbox.provider: found \"Cloud\", expected NAME"),
    ("provider = \"cloud\"", "provider = \"\"", "\"", "sandbox.provider: found \"\", expected NAME"),
    ("\"1h\"", "\"1 hour\"", "\"", "sandbox.timeout: found \"1 hour\", expected DURATION"),
    ("\"1h\"", "\"3600\"", "\"", "sandbox.timeout: found \"3600\", expected DURATION"),
    ("\"1h\"", "\"-1h\"", "\"", "sandbox.timeout: found \"-1h\", expected DURATION"),
    ("\"1h\"", "\"0s\"", "\"", "sandbox.timeout: found \"0s\", expected a duration of 1s to 720h"),
    ("\"1h\"", "\"721h\"", "\"", "sandbox.timeout: found \"721h\", expected a duration of 1s to 720h"),
    ("\"2m\"", "\"2999ms\"", "\"", "sandbox.lease: found \"2999ms\", expected a duration of 3s to 24h"),
    ("\"2m\"", "\"25h\"", "\"", "sandbox.lease: found \"25h\", expected a duration of 3s to 24h"),
    ("= 100", "= 0", "0", "sandbox.max_sessions: found the number 0, expected at least 1"),
    ("= 100", "= -1", "-", "sandbox.max_sessions: found the number -1, expected at least 1"),
    ("= 100", "= 10001", "1", "sandbox.max_sessions: found the number 10001, expected at most 10000"),
    (
        "= 100",
        "= 99999999999999999999",
        "9",
        "sandbox.max_sessions: found a whole number that is too large, expected one of 64 bits",
    ),
    ("= 100", "= inf", "i", "sandbox.max_sessions: found a number that is not finite, expected a finite one"),
    ("= 100", "= 2024-01-01", "2", "sandbox.max_sessions: found a date, expected text in quotes"),
    ("= 100", "= \"100\"", "\"", "sandbox.max_sessions: found text, expected a whole number"),
    ("\"/workspace\"", "\"workspace\"", "\"", "sandbox.workdir: found \"workspace\", expected PATH"),
    ("\"/workspace\"", "\"~/x\\ny\"", "\"", "sandbox.workdir: found \"~/x\\ny\", expected PATH"),
    ("[\"/bin/bash\", \"-l\"]", "[]", "[", "sandbox.shell: found a list, expected at least one entry"),
    ("[\"/bin/bash\", \"-l\"]", "[\"\"]", "\"", "sandbox.shell[0]: found \"\", expected text that is not empty"),
    ("[\"/bin/bash\", \"-l\"]", "[\"/bin/bash\", 1]", "1]", "sandbox.shell[1]: found the number 1, expected text"),
    ("[\"/bin/bash\", \"-l\"]", "\"/bin/bash -l\"", "\"", "sandbox.shell: found text, expected a list"),
    ("{ TOKEN = \"canary-env\" }", "{ TOKEN = 1234 }", "1234", "sandbox.env.TOKEN: found a number, expected text"),
    ("{ TOKEN = \"canary-env\" }", "{ TOKEN = [\"canary\"] }", "[", "sandbox.env.TOKEN: found a list, expected text"),
    (
        "{ TOKEN = \"canary-env\" }",
        "{ \"TO KEN\" = \"canary\" }",
        "\"TO",
        "sandbox.env.\"TO KEN\": found this name, expected the name of an environment variable: letters, digits and _, not beginning with a digit",
    ),
    ("user = \"ada\"", "user = \"\"", "\"", "sandbox.user: found \"\", expected text that is not empty"),
    // What sandboxes are like.
    ("\"debian:12\"", "\"\"", "\"", "sandbox.choices.image: found \"\", expected IMAGE"),
    ("\"debian:12\"", "\"a\\nb\"", "\"", "sandbox.choices.image: found \"a\\nb\", expected IMAGE"),
    ("= 1500", "= 0", "0", "sandbox.choices.cpu_millis: found the number 0, expected at least 1"),
    ("= 1500", "= 1.5", "1.5", "sandbox.choices.cpu_millis: found the number 1.5, expected a whole number"),
    ("\"2GiB\"", "\"2GB\"", "\"", "sandbox.choices.memory: found \"2GB\", expected SIZE"),
    (
        "\"2GiB\"",
        "\"1500KiB\"",
        "\"",
        "sandbox.choices.memory: found \"1500KiB\", expected a size of 1MiB to 1024GiB in whole MiB",
    ),
    (
        "\"10GiB\"",
        "\"0MiB\"",
        "\"",
        "sandbox.choices.disk: found \"0MiB\", expected a size of 1MiB to 1024GiB in whole MiB",
    ),
    ("\"eu-1\"", "\"\"", "\"", "sandbox.choices.region: found \"\", expected REGION"),
    // Storage.
    ("enabled = false", "enabled = \"false\"", "\"", "storage.enabled: found text, expected true or false"),
    ("\"/workspace/files\"", "\"files\"", "\"", "storage.path: found \"files\", expected MOUNT"),
    ("\"/workspace/files\"", "\"/\"", "\"", "storage.path: found \"/\", expected MOUNT"),
    ("\"/workspace/files\"", "\"/etc/files\"", "\"", "storage.path: found \"/etc/files\", expected MOUNT"),
    ("\"/workspace/files\"", "\"/a/../usr\"", "\"", "storage.path: found \"/a/../usr\", expected MOUNT"),
    ("\"/workspace/more\"", "\"/workspace/\"", "\"", "storage.mounts[0].path: found \"/workspace/\", expected MOUNT"),
    (
        "path = \"/workspace/more\"",
        "paht = \"/workspace/more\"\npath = \"/a\"",
        "paht",
        "storage.mounts[0].paht: found an unknown key, expected one of path, provider, read_only; did you mean path?",
    ),
    // Providers.
    ("[providers.local]", "[providers.Local]", "Local", "providers.Local: found this name, expected NAME"),
    ("[providers.local]", "[providers.\"a b\"]", "\"", "providers.\"a b\": found this name, expected NAME"),
    (
        "plugin = \"e2b\"",
        "plugin = \"oci://x/e2b@sha256:0\"",
        "\"",
        "providers.local.plugin: found text, expected PLUGIN",
    ),
    (
        "plugin = \"e2b\"",
        "plugin = \"https://x/e2b.wasm\"",
        "\"",
        "providers.local.plugin: found \"https://x/e2b.wasm\", expected PLUGIN",
    ),
    ("plugin = \"e2b\"", "plugin = \"E2B\"", "\"", "providers.local.plugin: found \"E2B\", expected PLUGIN"),
    ("plugin = \"e2b\"", "plugin = \"./e2b.so\"", "\"", "providers.local.plugin: found \"./e2b.so\", expected PLUGIN"),
    ("\"sandboxd\"", "\"docker\"", "\"", "providers.local.embedded: found \"docker\", expected \"sandboxd\""),
    ("\"https://*.e2b.app\"", "\"https://*\"", "\"", "providers.cloud.allow[1]: found \"https://*\", expected GRANT"),
    (
        "\"https://*.e2b.app\"",
        "\"https://*.app\"",
        "\"",
        "providers.cloud.allow[1]: found \"https://*.app\", expected GRANT",
    ),
    ("\"https://*.e2b.app\"", "\"e2b.app\"", "\"", "providers.cloud.allow[1]: found \"e2b.app\", expected GRANT"),
    (
        "\"https://*.e2b.app\"",
        "\"https://u:canary@e2b.app\"",
        "\"",
        "providers.cloud.allow[1]: found text, expected GRANT",
    ),
    ("\"https://*.e2b.app\"", "7", "7", "providers.cloud.allow[1]: found the number 7, expected GRANT"),
    (
        "{ value = \"canary-secret\", to = [\"https://api.e2b.app\"], carry = { header = \"x-api-key\" } }",
        "\"canary-secret\"",
        "\"",
        "providers.cloud.secrets.api_key: found text, expected SECRET",
    ),
    (
        "{ value = \"canary-secret\", to = [\"https://api.e2b.app\"], carry = { header = \"x-api-key\" } }",
        "\"${KEY:-}\"",
        "\"",
        "providers.cloud.secrets.api_key: found text (from the default of $KEY), expected SECRET",
    ),
    (
        "to = [\"https://api.e2b.app\"]",
        "to = [\"https://*.e2b.app\"]",
        "\"",
        "providers.cloud.secrets.api_key.to[0]: found \"https://*.e2b.app\", expected DESTINATION",
    ),
    (
        "to = [\"https://api.e2b.app\"]",
        "to = [\"https://api.e2b.app\", \"https://evil.example\"]",
        "\"https://evil",
        "providers.cloud.secrets.api_key.to[1]: found \"https://evil.example\", expected a place that this provider's allow covers",
    ),
    (
        "to = [\"https://api.e2b.app\"]",
        "to = []",
        "[",
        "providers.cloud.secrets.api_key.to: found nothing, expected a list of origins such as [\"https://api.example.com\"]: the secret goes nowhere else",
    ),
    (
        "{ header = \"x-api-key\" }",
        "\"basic\"",
        "\"",
        "providers.cloud.secrets.api_key.carry: found text, expected CARRY",
    ),
    (
        "{ header = \"x-api-key\" }",
        "{ header = \"Host\" }",
        "{",
        "providers.cloud.secrets.api_key.carry: found { header = … }, expected CARRY",
    ),
    (
        "{ header = \"x-api-key\" }",
        "{ cookie = \"a\" }",
        "{",
        "providers.cloud.secrets.api_key.carry: found { cookie = … }, expected CARRY",
    ),
    (
        "{ header = \"x-api-key\" }",
        "{ header = \"a\", basic = \"b\" }",
        "{",
        "providers.cloud.secrets.api_key.carry: found a table, expected CARRY",
    ),
    (
        "{ header = \"x-api-key\" }",
        "{ sigv4 = { key_id = \"A/B\", region = \"us-east-1\", service = \"s3\" } }",
        "{",
        "providers.cloud.secrets.api_key.carry: found { sigv4 = … }, expected CARRY",
    ),
    (
        "{ header = \"x-api-key\" }",
        "{ jwt = { algorithm = \"HS256\", issuer = \"a\" } }",
        "{",
        "providers.cloud.secrets.api_key.carry: found { jwt = … }, expected CARRY",
    ),
    (
        "{ shared_key = \"acct\" }",
        "{ shared_key = \"a/c\" }",
        "{",
        "providers.store.secrets.key.carry: found { shared_key = … }, expected CARRY",
    ),
    (
        "carry = { shared_key = \"acct\" }\n",
        "carry = \"bearer\"\n",
        "{ containers",
        "providers.store.secrets.key.sas: found this key, expected it only beside carry = { shared_key = ACCOUNT }",
    ),
    (
        "max_life = \"2h\"",
        "max_life = \"25h\"",
        "\"",
        "providers.store.secrets.key.sas.max_life: found text, expected a duration of 1m to 24h",
    ),
    (
        "\"files\"]",
        "\"a\\nb\"]",
        "\"",
        "providers.store.secrets.key.sas.containers[0]: found text, expected the name of a container: lower case letters, digits, - and perhaps {user}",
    ),
    (
        "sas = { containers = [\"files\"], max_life = \"2h\" }",
        "sas = { max_life = \"2h\" }",
        "{",
        "providers.store.secrets.key.sas.containers: found nothing, expected a list",
    ),
    (
        "\"canary-secret\"",
        "\"\"",
        "\"",
        "providers.cloud.secrets.api_key.value: found empty text, expected the secret: this provider is in use",
    ),
    ("\"canary-secret\"", "12345", "1", "providers.cloud.secrets.api_key.value: found a number, expected text"),
    ("\"canary-secret\"", "true", "t", "providers.cloud.secrets.api_key.value: found a boolean, expected text"),
    (
        "\"canary-secret\"",
        "\"${canary\"",
        "\"",
        "providers.cloud.secrets.api_key.value: found \"${\" without a \"}\", expected ${NAME}, ${NAME:-default} or ${file:/path}; write $${ for the text ${",
    ),
    (
        "\"canary-secret\"",
        "\"${sk-canary}\"",
        "\"",
        "providers.cloud.secrets.api_key.value: found ${…} that does not hold a variable's name, expected ${NAME} of letters, digits and _, ${NAME:-default} or ${file:/path}",
    ),
    (
        "\"canary-secret\"",
        "\"${KEY}\"",
        "\"",
        "providers.cloud.secrets.api_key.value: Missing required environment variable: KEY; set it before the broker starts, or write a default, ${KEY:-…}, or a file, ${file:PATH}",
    ),
    (
        "\"canary-secret\"",
        "\"${KEY:-}\"",
        "\"",
        "providers.cloud.secrets.api_key.value: Missing required environment variable: KEY; the broker reads its environment when it starts: set it and restart, or write ${file:PATH} for a file with the value",
    ),
    (
        "\"canary-secret\"",
        "\"${file:/no/such/file}\"",
        "\"",
        "providers.cloud.secrets.api_key.value: found no readable file /no/such/file (entity not found), expected one with at most 64 KiB of UTF-8 text",
    ),
    (
        "api_key = {",
        "\"api key\" = {",
        "\"",
        "providers.cloud.secrets.\"api key\": found this name, expected SECRETNAME",
    ),
    (
        "reveal = [\"api_key\"]",
        "reveal = [\"other\"]",
        "\"",
        "providers.cloud.reveal[0]: found \"other\", expected a name in this provider's secrets: api_key",
    ),
    (
        "reveal = [\"api_key\"]",
        "reveal = [\"a b\"]",
        "\"",
        "providers.cloud.reveal[0]: found \"a b\", expected SECRETNAME",
    ),
    ("\"64MiB\"", "\"64MB\"", "\"", "providers.cloud.limits.memory: found \"64MB\", expected SIZE"),
    ("\"64MiB\"", "\"1KiB\"", "\"", "providers.cloud.limits.memory: found \"1KiB\", expected a size of 1MiB to 4GiB"),
    ("\"64MiB\"", "\"5GiB\"", "\"", "providers.cloud.limits.memory: found \"5GiB\", expected a size of 1MiB to 4GiB"),
    (
        "\"4GiB\"",
        "\"1025GiB\"",
        "\"",
        "providers.cloud.limits.total_memory: found \"1025GiB\", expected a size of 1MiB to 1024GiB",
    ),
    ("\"1s\"", "\"1ms\"", "\"", "providers.cloud.limits.cpu: found \"1ms\", expected a duration of 10ms to 60s"),
    ("\"60s\"", "\"1h\"", "\"", "providers.cloud.limits.call_timeout: found \"1h\", expected a duration of 1s to 10m"),
    // Sections.
    (
        "[server]",
        "[sever]",
        "sever",
        "sever: found an unknown key, expected one of auth, providers, sandbox, server, storage; did you mean server?",
    ),
    (
        "[storage]",
        "[storage.azure]",
        "azure",
        "storage.azure: found an unknown key, expected one of enabled, mounts, path, provider, read_only, shared",
    ),
    (
        "[providers.cloud.limits]",
        "[providers.cloud.limit]",
        "limit]",
        "providers.cloud.limit: found an unknown key, expected one of allow, allow_private, config, embedded, host_services, limits, plugin, reveal, secrets, tls; did you mean limits?",
    ),
    // Syntax.
    ("[server]", "[server", "\n", "not TOML: unclosed table, expected `]`"),
    ("\"1h\"", "1h", "1h", "not TOML: SYNTAX"),
    ("\"canary-secret\"", "canary-secret", "canary", "not TOML: string values must be quoted, expected literal string"),
    ("= 100", "=", "\n", "not TOML: SYNTAX"),
];

#[test]
fn every_wrong_value_is_refused_with_its_place_and_in_words() {
    let words = [
        ("LISTEN", LISTEN),
        ("ORIGIN", ORIGIN),
        ("LOG", LOG),
        ("SECRETNAME", SECRET_NAME),
        ("NAME", NAME),
        ("SHA256", SHA256),
        ("DURATION", DURATION),
        ("PATH", PATH),
        ("MOUNT", MOUNT),
        ("PLUGIN", PLUGIN),
        ("GRANT", GRANT),
        ("SIZE", SIZE),
        ("IMAGE", IMAGE),
        ("REGION", REGION),
        ("SECRET", SECRET),
        ("CARRY", CARRY),
        ("DESTINATION", DESTINATION),
    ];
    for (from, to, part, message) in VALUES {
        let text = FULL.replacen(from, to, 1);
        assert_ne!(text, FULL, "{from} is in it");
        let start = FULL.find(from).expect("it is there");
        let at = place(&text, start + text[start..].find(part).expect("the part is there"));
        let got = only_mistake(&text);
        let message = words.iter().fold((*message).to_owned(), |message, (name, words)| {
            message.replace(&format!("expected {name}"), &format!("expected {words}"))
        });
        match message.strip_suffix("SYNTAX") {
            Some(start) => assert!(got.starts_with(&format!("{at}: {start}")), "{got}"),
            None => assert_eq!(got, format!("{at}: {message}"), "{from} -> {to}"),
        }
    }
}

#[test]
fn all_mistakes_of_all_steps_come_at_once_in_the_order_of_the_file() {
    let text = FULL
        .replace("\"127.0.0.1:3000\"", "\"0.0.0.0:3000\"")
        .replace("[[auth.tokens]]", "[[other]]")
        .replace("\"1h\"", "\"${T}\"")
        .replace("\"2m\"", "2")
        .replace("= 100", "= \"${N:-many}\"")
        .replace("\"64MiB\"", "\"1KiB\"")
        .replace("shell =", "shel =");
    let got = mistakes(&text, &[]);
    let keys: Vec<&str> = got.lines().filter_map(|line| line.split(": ").nth(1)).collect();
    assert_eq!(
        keys,
        [
            "server.listen",
            "other",
            "sandbox.timeout",
            "sandbox.lease",
            "sandbox.max_sessions",
            "sandbox.shel",
            "providers.cloud.limits.memory"
        ],
        "{got}"
    );
}
