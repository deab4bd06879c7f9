//! Storage plugins from the operator's desk: what they may ask of the host,
//! what they may plan, and what is said when they mean harm. The plugins are
//! real components; a server at the wire plays the storage's service.

use std::path::PathBuf;
use std::process::Output;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;

use crate::support::awkward::Awkward;
use crate::support::{plugin, program};

/// A directory with a configuration, and what the program says about it.
struct Desk {
    directory: tempfile::TempDir,
}

/// What the program said, and whether it was content.
struct Said {
    good: bool,
    out: String,
    err: String,
}

impl Desk {
    /// Storage of the hostile plugin: lines of its section, its settings.
    fn new(lines: &str, settings: &str) -> Self {
        let storage = "enabled = true\nprovider = \"store\"\npath = \"/w/files\"";
        Self::with(&section("store", plugin("guests/hostile-storage"), lines, settings), "box", storage)
    }

    fn with(sections: &str, provider: &str, storage: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sandboxes = section("box", plugin("guests/hostile"), "", "");
        let config = format!("[sandbox]\nprovider = {provider:?}\n[storage]\n{storage}\n{sandboxes}{sections}");
        std::fs::write(directory.path().join("broker.toml"), config).unwrap();
        Desk { directory }
    }

    async fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(&[], arguments).await
    }

    async fn run_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Said {
        let run = tokio::process::Command::new(program())
            .current_dir(self.directory.path())
            // One for all, so that each plugin is compiled once.
            .args(["--config", "broker.toml", "--state-dir", concat!(env!("CARGO_TARGET_TMPDIR"), "/storage-plugin")])
            .args(arguments)
            // The shipped configuration reads variables that a person may have set.
            .env_clear()
            .env("RUST_LOG", "debug")
            .envs(variables.iter().copied())
            .output();
        let Output { status, stdout, stderr } = run.await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { good: status.success(), out: text(stdout), err: text(stderr) }
    }

    /// The line on which `storage check` says what is wrong.
    async fn refused(&self) -> String {
        let Said { good, out, err } = self.run(&["storage", "check"]).await;
        assert!(!good && out.is_empty(), "{out}");
        let line = err.lines().find_map(|line| line.strip_prefix("store at /w/files: "));
        line.unwrap_or_else(|| panic!("no verdict in {err}")).to_owned()
    }
}

fn section(name: &str, plugin: PathBuf, lines: &str, settings: &str) -> String {
    format!("[providers.{name}]\nplugin = {plugin:?}\n{lines}\n[providers.{name}.config]\n{settings}\n")
}

/// Lines of a section whose requests to this service carry its secret.
fn bound(service: &Awkward) -> String {
    let url = &service.url;
    format!("allow = [{url:?}]\nsecrets.own = {{ value = \"canary-own\", to = [{url:?}], carry = \"bearer\" }}")
}

async fn good_service() -> Awkward {
    Awkward::start(|_, _| async { StatusCode::OK.into_response() }).await
}

fn harm(when: &str, harm: &str) -> String {
    format!("when = {when:?}\nharm = {harm:?}\n")
}

#[tokio::test]
async fn a_good_mount_is_prepared_and_released_and_that_is_said() {
    let service = good_service().await;
    let desk = Desk::new(&format!("allow = [{:?}]", service.url), &format!("url = \"{}/c?sig=canary\"", service.url));
    let Said { good, out, err } = desk.run(&["storage", "check"]).await;
    assert!(good, "{err}");
    assert_eq!(out, "store at /w/files: the service accepts the key and has the container or bucket\n");
    assert_eq!(service.seen("GET /c?sig=canary").len(), 2, "one in each conversation");
    // Every request is logged, none of their tokens.
    assert!(err.contains(r#""path":"/c""#) && !err.contains("canary"), "{err}");
}

#[tokio::test]
async fn a_storage_plugin_that_means_harm_is_stopped_and_named() {
    let service = good_service().await;
    let lines = bound(&service);
    for (what, words) in [
        ("loop", "CPU"),
        ("trap", "plugin `hostile-storage` of provider `store` failed in `prepare`"),
        ("memory", "memory"),
        ("hang", "failed in `prepare`"),
        ("endless", "more than 16 requests"),
        ("grant", "larger than 4 KiB"),
        ("sealed", "larger than 16 KiB"),
        ("method", "`TRACE` is no method"),
        ("body", "64 KiB"),
        ("foreign-token", "`of_another`, which providers.store.secrets does not have"),
        ("reveal", "`own` may not be revealed"),
        ("forge", "forged line"),
    ] {
        let desk = Desk::new(&lines, &format!("{}url = {:?}", harm("prepare", what), service.url));
        let said = desk.refused().await;
        assert!(said.contains(words), "{what}: {said}");
        assert!(!said.contains("canary") && !said.contains('\u{1b}'), "{said:?}");
    }
    let desk = Desk::new("", &harm("release", "trap"));
    let said = desk.refused().await;
    assert!(said.contains("failed in `release`"), "{said}");
}

#[tokio::test]
async fn what_a_storage_plugin_keeps_is_there_in_its_next_call() {
    let service = good_service().await;
    let settings = format!("{}url = {:?}", harm("prepare", "remember"), service.url);
    let said = Desk::new(&bound(&service), &settings).refused().await;
    assert!(said.contains("8 random bytes came back"), "{said}");
}

#[tokio::test]
async fn a_conversation_has_an_end_that_the_operator_sets() {
    let silent = Awkward::start(|_, _| std::future::pending()).await;
    let lines = format!("allow = [{:?}]\nlimits = {{ call_timeout = \"1s\" }}", silent.url);
    let said = Desk::new(&lines, &format!("url = {:?}", silent.url)).refused().await;
    assert_eq!(said, "the provider `store` did not answer `prepare` within 1 s");
}

#[tokio::test]
async fn the_seventeenth_request_is_not_sent() {
    let service = good_service().await;
    let settings = format!("{}url = {:?}", harm("prepare", "endless"), service.url);
    Desk::new(&format!("allow = [{:?}]", service.url), &settings).refused().await;
    // And one of the release that is owed.
    assert_eq!(service.seen("GET ").len(), 17);
}

#[tokio::test]
async fn a_request_goes_only_where_the_operator_allowed() {
    let (service, other) = (good_service().await, good_service().await);
    let allow = format!("allow = [{:?}]", other.url);
    let said = Desk::new(&allow, &format!("url = {:?}", service.url)).refused().await;
    assert!(said.contains("has not allowed 127.0.0.1:") && said.contains("add it to `allow`"), "{said}");
    assert!(service.seen("").is_empty());
    let said = Desk::new(&allow, &format!("url = {:?}", service.url.replace("//", "//user:pass@"))).refused().await;
    assert!(said.contains("not one that may be sent") && !said.contains("pass"), "{said}");
    // A redirect is an answer like others.
    let target = service.url.clone();
    let redirecting = Awkward::start(move |_, _| {
        let target = target.clone();
        async move { (StatusCode::TEMPORARY_REDIRECT, [("location", target)]).into_response() }
    });
    let redirecting = redirecting.await;
    let allow = format!("allow = [{:?}, {:?}]", redirecting.url, service.url);
    let settings = format!("{}url = {:?}", harm("prepare", "tell"), redirecting.url);
    let said = Desk::new(&allow, &settings).refused().await;
    assert!(said.starts_with("307 with 0 bytes"), "{said}");
    assert!(service.seen("").is_empty());
}

#[tokio::test]
async fn failures_on_the_way_are_told_apart() {
    let silent = Awkward::start(|_, _| std::future::pending()).await;
    let plain = good_service().await;
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let said = async |url: String| Desk::new(&format!("allow = [{url:?}]"), &format!("url = {url:?}")).refused().await;
    let (refused, unresolved, no_tls, private, late) = tokio::join!(
        said(closed),
        said("http://nobody.invalid".to_owned()),
        said(plain.url.replace("http:", "https:")),
        said("http://169.254.169.254".to_owned()),
        said(silent.url.clone()),
    );
    for (said, words) in [
        (refused, "refuses connections: check that it runs"),
        (unresolved, "the name of nobody.invalid does not resolve"),
        (no_tls, "no secure connection to 127.0.0.1:"),
        (private, "169.254.169.254 has a private or reserved address"),
        (late, "did not answer in time"),
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[tokio::test]
async fn a_secret_leaves_in_the_header_and_the_host_frames_the_request() {
    let service = good_service().await;
    let desk = Desk::new(&bound(&service), &format!("{}url = {:?}", harm("prepare", "own-header"), service.url));
    let Said { good, err, .. } = desk.run(&["storage", "check"]).await;
    assert!(good && !err.contains("canary"), "{err}");
    let [seen] = service.seen("PUT ").try_into().unwrap();
    assert_eq!(seen.headers.get_all("authorization").iter().collect::<Vec<_>>(), ["Bearer canary-own"]);
    assert_eq!(seen.header("x-other"), Some("{{secret:own}}"));
    assert_eq!(seen.header("content-length"), Some("0"));
    assert_eq!(seen.header("host"), Some(service.url.trim_start_matches("http://")));
}

#[tokio::test]
async fn of_an_answer_the_first_64_kib_are_kept_and_its_headers_in_lower_case() {
    let service = Awkward::start(|_, _| async {
        let mut headers = HeaderMap::new();
        headers.insert("X-Ms-Request-Id", "1".parse().unwrap());
        (StatusCode::FORBIDDEN, headers, Body::from(vec![b'x'; 1 << 20])).into_response()
    })
    .await;
    let settings = format!("{}url = {:?}", harm("prepare", "tell"), service.url);
    let said = Desk::new(&format!("allow = [{:?}]", service.url), &settings).refused().await;
    assert!(said.starts_with("403 with 65536 bytes") && said.contains("x-ms-request-id=1"), "{said}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_failure() {
    let service = Awkward::start(|_, _| async {
        let pieces = futures_util::stream::iter([Ok("begun"), Err("broken")]);
        Body::from_stream(pieces).into_response()
    })
    .await;
    let settings = format!("{}url = {:?}", harm("prepare", "tell"), service.url);
    let said = Desk::new(&format!("allow = [{:?}]", service.url), &settings).refused().await;
    assert!(said.contains("broke"), "{said}");
}

#[tokio::test]
async fn a_plan_out_of_bounds_is_refused() {
    for (what, words) in [
        ("steps", "more than 32 steps"),
        ("file", "larger than 64 KiB"),
        ("giant", "stopped"),
        ("relative", "no absolute path"),
        ("escape", "no absolute path"),
        ("mode", "permission bits"),
        ("argv", "1 to 64 arguments"),
        ("arguments", "1 to 64 arguments"),
        ("env", "64 variables"),
        ("verify", "1 to 64 arguments"),
        ("watch", "more than 32 commands"),
        ("send", "`plan` asked for a request although nothing was prepared"),
        ("loop", "CPU"),
    ] {
        let Said { good, out, err } = Desk::new("", &harm("plan", what)).run(&["storage", "plan"]).await;
        let line = err.lines().find(|line| line.starts_with("store at /w/files: ")).unwrap_or_default();
        assert!(!good && out.is_empty() && line.contains(words), "{what}: {err}");
    }
}

#[tokio::test]
async fn a_plan_is_shown_without_a_request_or_a_secret() {
    let service = good_service().await;
    let settings = format!("{}url = {:?}", harm("plan", "secrets"), service.url);
    let lines = format!("{}\nreveal = [\"own\"]", bound(&service));
    let Said { good, out, err } = Desk::new(&lines, &settings).run(&["storage", "plan", "--mount", "1"]).await;
    assert!(good, "{err}");
    for part in [
        "store at /w/files\nHostile [2J Storage\ncredentials are renewed: after 60s\n",
        "mount, with its proof within 15s:\n  1. write /a, mode 0600, ",
        "     |  \"sas\": \"sv=1&sig=(masked)&se=2\",\n     |  \"key\": \"(secret own)\"\n",
        "  1. run as root, within 5s\n     | HOME=/nowhere umount /w/files\n",
        "clear, after a mount that died:\n  nothing\n",
    ] {
        assert!(out.contains(part), "{part:?} in {out}");
    }
    assert!(!out.contains("canary") && !err.contains("canary") && !out.contains('\u{1b}'), "{out}");
    assert!(service.seen("").is_empty());
}

#[tokio::test]
async fn times_of_a_plan_are_taken_to_the_nearest_that_makes_sense() {
    let Said { out, .. } = Desk::new("", &harm("plan", "times")).run(&["storage", "plan"]).await;
    for part in ["renewed: after 1s\n", "proof within 1s:", "run as root, within 120s\n", "unmount, within 120s:"] {
        assert!(out.contains(part), "{part:?} in {out}");
    }
}

#[tokio::test]
async fn what_there_is_not_is_said() {
    let desk = Desk::new("", "");
    let Said { good, err, .. } = desk.run(&["storage", "check", "--mount", "2"]).await;
    assert!(!good && err.contains("there is no mount 2: the configuration has 1"), "{err}");
    let sections = section("store", plugin("guests/hostile-storage"), "", "");
    let desk = Desk::with(&sections, "box", "provider = \"store\"\npath = \"/w\"");
    let Said { good, err, .. } = desk.run(&["storage", "plan"]).await;
    assert!(!good && err.contains("storage is not enabled: set storage.enabled in broker.toml"), "{err}");
}

#[tokio::test]
async fn a_plugin_of_the_other_kind_is_refused_where_it_is_named() {
    let sections = section("store", plugin("guests/hostile-storage"), "", "");
    let Said { good, err, .. } = Desk::with(&sections, "store", "").run(&["check"]).await;
    assert!(!good);
    assert!(
        err.contains(
            "broker.toml:2:12: sandbox.provider: found \"store\", whose plugin is of kind storage, \
             expected a provider of kind sandbox: box"
        ),
        "{err}"
    );
    let storage = "enabled = true\nprovider = \"box\"\npath = \"/w\"";
    let Said { good, err, .. } = Desk::with(&sections, "box", storage).run(&["check"]).await;
    assert!(!good);
    assert!(
        err.contains(
            "broker.toml:5:12: storage.provider: found \"box\", whose plugin is of kind sandbox, \
             expected a provider of kind storage: store"
        ),
        "{err}"
    );
}

/// A plugin with one text in place of another of the same length.
fn patched(desk: &Desk, name: &str, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(plugin(name)).unwrap();
    let places: Vec<usize> =
        bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from.as_bytes()).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "{from} is in {name}");
    for at in places {
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
    }
    std::fs::write(desk.directory.path().join("patched.wasm"), bytes).unwrap();
}

#[tokio::test]
async fn a_plugin_is_what_it_says_and_a_storage_plugin_imports_no_network() {
    for (name, from, to, words) in [
        (
            "guests/hostile-storage",
            r#""kind":"storage""#,
            r#""kind":"sandbox""#,
            "the plugin `hostile-storage` says that it is of kind `sandbox` and exports what one of kind `storage` does",
        ),
        ("guests/hostile-storage", r#""kind":"storage""#, r#""kind":"kitchen""#, "unknown variant `kitchen`"),
        (
            "guests/hostile",
            "sandbox-broker:plugin/manifest@0.2.0",
            "sandbox-broker:plugin/manifest@0.1.0",
            "the plugin is built for contract 0.1.0, and this broker speaks 0.2: build the plugin again",
        ),
        (
            "guests/hostile",
            "sandbox-broker:plugin/sandbox@0.2.0",
            "sandbox-broker:plugin/mounter@0.2.0",
            "it imports too much: wasi:",
        ),
    ] {
        let desk = Desk::with(&section("odd", "patched.wasm".into(), "", ""), "box", "");
        patched(&desk, name, from, to);
        let Said { good, err, .. } = desk.run(&["check"]).await;
        assert!(!good && err.contains(": providers.odd.plugin: ") && err.contains(words), "{err}");
        if words.starts_with("it imports") {
            assert!(err.contains("wasi:http/client@0.3.0"), "{err}");
        }
    }
}

#[tokio::test]
async fn a_setting_without_its_variable_matters_once_storage_is_in_use() {
    let sections = section("store", plugin("guests/hostile-storage"), "", "account = \"${NO_SUCH_ACCOUNT:-}\"");
    let storage = |enabled| format!("enabled = {enabled}\nprovider = \"store\"\npath = \"/w\"");
    let Said { good, out, err } = Desk::with(&sections, "box", &storage(false)).run(&["check"]).await;
    assert!(good && out.contains("store: Hostile Storage"), "{err}");
    let Said { good, err, .. } = Desk::with(&sections, "box", &storage(true)).run(&["check"]).await;
    let words = "providers.store.config.account: Missing required environment variable: NO_SUCH_ACCOUNT";
    assert!(!good && err.contains(words), "{err}");
}

/// The blob service of Azure as far as a mount talks to it. Keeps the access
/// lists that were written; `refusal` is its answer to everything, where there
/// is one.
async fn blob_service(refusal: Option<(u16, &'static str)>) -> (Awkward, Arc<Mutex<Vec<String>>>) {
    let lists = Arc::new(Mutex::new(Vec::new()));
    let written = lists.clone();
    let service = Awkward::start(move |line, body| {
        let written = written.clone();
        async move {
            let known = [("x-ms-request-id", "1")];
            if let Some((status, code)) = refusal {
                return (StatusCode::from_u16(status).unwrap(), known, [("x-ms-error-code", code)]).into_response();
            }
            let has = |part: &str| line.contains(part);
            if has("comp=list") {
                (known, "<?xml version=\"1.0\"?><EnumerationResults/>").into_response()
            } else if has("comp=lease") {
                (StatusCode::CREATED, known, [("x-ms-lease-id", "l-1")]).into_response()
            } else if has("PUT ") && has("comp=acl") {
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                written.lock().unwrap().push(String::from_utf8(body.to_vec()).unwrap());
                known.into_response()
            } else {
                let list = written.lock().unwrap().last().cloned();
                (known, list.unwrap_or_else(|| "<?xml version=\"1.0\"?><SignedIdentifiers/>".into())).into_response()
            }
        }
    });
    (service.await, lists)
}

/// "canary-account-key" as Azure writes keys.
const ACCOUNT_KEY: &str = "Y2FuYXJ5LWFjY291bnQta2V5";

/// A mount of that service by the built-in plugin.
fn azure(service: &Awkward) -> Desk {
    let url = &service.url;
    let lines = format!(
        "allow = [{url:?}]\nsecrets.account_key = {{ value = {ACCOUNT_KEY:?}, to = [{url:?}], \
         carry = {{ shared_key = \"acct\" }}, sas = {{ containers = [\"files\"] }} }}"
    );
    let settings = format!("account = \"acct\"\ncontainer = \"files\"\nendpoint = \"{}/acct\"", service.url);
    let storage = "enabled = true\nprovider = \"store\"\npath = \"/w/files\"";
    Desk::with(&section("store", plugin("azure-blobfuse"), &lines, &settings), "box", storage)
}

#[tokio::test]
async fn a_container_of_azure_is_proved_and_its_access_list_is_as_before() {
    let (service, lists) = blob_service(None).await;
    let Said { good, out, err } = azure(&service).run(&["storage", "check"]).await;
    assert!(good, "{err}");
    assert_eq!(out, "store at /w/files: the service accepts the key and has the container or bucket\n");
    let lists = lists.lock().unwrap();
    let [with, without] = lists.as_slice() else { panic!("{lists:?}") };
    assert!(with.contains("<Id>") && !without.contains("<Id>"), "{lists:?}");
    let token = service.seen("GET ").iter().find_map(|seen| Some(seen.line.split_once("sig=")?.1.to_owned())).unwrap();
    for secret in [ACCOUNT_KEY, "canary", token.split('&').next().unwrap()] {
        assert!(!err.contains(secret), "{secret} in {err}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_container_of_azure_is_told_apart() {
    for (status, code, words) in [
        (403, "AuthenticationFailed", "account acct does not accept the account key: set the secret account_key"),
        (404, "ContainerNotFound", "account acct has no container files: create it"),
    ] {
        let (service, _) = blob_service(Some((status, code))).await;
        let said = azure(&service).refused().await;
        assert!(said.starts_with(words), "{said}");
    }
}

#[tokio::test]
async fn the_shipped_configuration_plans_a_mount_once_it_has_an_account() {
    let desk = Desk::with("", "box", "");
    std::fs::write(desk.directory.path().join("broker.toml"), include_str!("../../../broker.toml")).unwrap();
    let plugins = plugin("azure-blobfuse").parent().unwrap().display().to_string();
    let Said { good, out, err } = desk.run(&["--plugins", &plugins, "check"]).await;
    assert!(good && out.contains("azure: Azure Blob Storage"), "{err}");
    let variables = [
        ("AZURE_STORAGE_ENABLED", "true"),
        ("AZURE_STORAGE_ACCOUNT", "acct"),
        ("AZURE_STORAGE_KEY", ACCOUNT_KEY),
        ("AZURE_STORAGE_CONTAINER", "files"),
    ];
    let Said { good, out, err } = desk.run_with(&variables, &["--plugins", &plugins, "storage", "plan"]).await;
    assert!(good, "{err}");
    for part in ["azure at /workspace/files\nAzure Blob Storage\n", "sig=(masked)", "blobfuse2"] {
        assert!(out.contains(part), "{part:?} in {out}");
    }
    assert!(!out.contains(ACCOUNT_KEY) && !out.contains("canary"), "{out}");
    for (set, words) in [
        (&variables[..2], "azure.secrets.account_key.value: Missing required environment variable: AZURE_STORAGE_KEY"),
        (
            &[variables[0], variables[2]],
            "azure.config.account: Missing required environment variable: AZURE_STORAGE_ACCOUNT",
        ),
    ] {
        let Said { good, err, .. } = desk.run_with(set, &["--plugins", &plugins, "check"]).await;
        assert!(!good && err.contains(words), "{err}");
    }
}
