//! A plugin that means harm ends its own session and nothing else.

use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sandbox_broker_config::EgressGrant;
use sandbox_broker_core::sandbox::{Call, Code, Location, Provider as _, SandboxRef, Spec, Upload};
use sandbox_broker_plugin::{ComponentProvider, Engine, Section};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::support::awkward::Awkward;
use crate::support::{Broker, Client, DEADLINE, Sandboxd, bare_section, plugin};

fn section(name: &str, lines: &str, config: &str) -> String {
    format!(
        "[providers.{name}]\nplugin = {:?}\n{lines}\n[providers.{name}.config]\n{config}\n",
        plugin("guests/hostile")
    )
}

fn config(provider: &str, sections: &str) -> String {
    format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = {provider:?}\n{sections}")
}

/// The error that a client is told when the plugin does this harm.
async fn told(lines: &str, harm: &str) -> (String, Broker) {
    let broker = Broker::start(&config("h", &section("h", lines, harm))).await;
    let mut client = broker.connect().await;
    let said = client.error().await;
    assert_eq!(client.closed().await.code, 4500);
    (said, broker)
}

#[tokio::test]
async fn an_endless_loop_is_stopped() {
    let (said, _) = told("", "when = \"create\"\nharm = \"loop\"").await;
    assert!(said.contains("CPU"), "{said}");
}

#[tokio::test]
async fn a_trap_is_told() {
    let (said, _) = told("", "when = \"create\"\nharm = \"trap\"").await;
    assert!(said.contains("plugin `hostile`"), "{said}");
}

#[tokio::test]
async fn endless_recursion_is_a_trap_of_the_guest_and_not_of_the_host() {
    let (said, _) = told("", "when = \"create\"\nharm = \"recurse\"").await;
    assert!(said.contains("stopped"), "{said}");
}

#[tokio::test]
async fn memory_is_bounded() {
    let (said, _) = told("", "when = \"create\"\nharm = \"memory\"").await;
    assert!(said.contains("memory"), "{said}");
}

/// Each is memory of the host, which no bound of the plugin's own memory counts.
#[tokio::test]
async fn streams_are_bounded() {
    let (said, _) = told("", "when = \"create\"\nharm = \"handles\"").await;
    assert!(said.contains("stopped") && said.contains("handle") && !said.contains("memory"), "{said}");
}

#[tokio::test]
async fn a_flood_of_requests_for_a_foreign_secret_does_not_flood_the_log() {
    let (said, broker) = told("", "when = \"create\"\nharm = \"flood-secrets\"").await;
    assert!(said.contains("asked often enough"), "{said}");
    let told = broker.log().matches("asked for a secret that is not its own").count();
    assert!((1..2000).contains(&told), "{told} lines of 10,000");
}

async fn provider(section: Section) -> ComponentProvider {
    let plugin = Engine::new(None).unwrap().load(&plugin("guests/hostile")).await.unwrap();
    ComponentProvider::new(plugin, section).unwrap()
}

/// What the plugin says when a sandbox is made for this user.
async fn said_to(provider: &ComponentProvider, user: &str) -> String {
    let call = Call { user: Some(user.into()), ..Call::default() };
    provider.create(&call, &Spec::default()).await.unwrap_err().message
}

#[tokio::test]
async fn what_a_section_keeps_is_there_for_its_next_call_and_for_no_other_section() {
    let remember = |token: &str| bare_section(json!({ "when": "create", "harm": "remember", "body": token }));
    let (one, other) = (provider(remember("one")).await, provider(remember("other")).await);
    for (asked, user, found) in [
        (&one, "ada", "found None"),
        (&other, "ada", "found None"),
        (&one, "ada", "found Some(\"one\")"),
        (&one, "bob", "found Some(\"one\")"),
        (&other, "ada", "found Some(\"other\")"),
    ] {
        assert_eq!(said_to(asked, user).await, found);
    }
    let each = provider(Section { per_user: true, ..remember("a token of one user") }).await;
    for (user, found) in [("ada", "found None"), ("bob", "found None"), ("ada", "found Some(\"a token of one user\")")]
    {
        assert_eq!(said_to(&each, user).await, found);
    }
}

#[tokio::test]
async fn what_a_section_keeps_is_bounded_and_its_oldest_go_first() {
    let hoarder = provider(bare_section(json!({ "when": "create", "harm": "hoard" }))).await;
    let left: Vec<u8> = (85..100).collect();
    let refused = ["Code::InvalidArgument"; 3].join(", ");
    assert_eq!(said_to(&hoarder, "ada").await, format!("left {left:?} and refused [{refused}]"));
}

#[tokio::test]
async fn what_a_section_keeps_is_gone_with_its_configuration() {
    let config = |token: &str| config("h", &section("h", "", &create("remember", &format!("body = {token:?}"))));
    let broker = Broker::start(&config("one")).await;
    assert!(broker.connect().await.error().await.contains("found None"));
    assert!(broker.connect().await.error().await.contains("found Some(\"one\")"), "it is there until then");
    broker.edit(&config("other"));
    broker.logs("configuration is live").await;
    assert!(broker.connect().await.error().await.contains("found None"));
}

#[tokio::test]
async fn a_request_and_the_failure_of_its_call_have_the_same_traceparent() {
    let server = silent().await;
    let send = |settings: &str| create("send", &format!("url = {:?}\n{settings}", server.url));
    let lines = format!("allow = [{:?}]", server.url);
    let (_, broker) = told(&lines, &send("")).await;
    let first = server.seen("")[0].header("traceparent").unwrap().to_owned();
    assert!(first.len() == 55 && first.starts_with("00-"), "{first}");
    assert!(broker.log().lines().any(|line| line.contains("could not create a sandbox") && line.contains(&first)));

    let (_, broker) = told(&lines, &send("headers = { traceparent = \"of the plugin\" }")).await;
    let seen = server.seen("");
    let own: Vec<_> = seen[1].headers.get_all("traceparent").iter().collect();
    assert_eq!(own, ["of the plugin"]);
    assert!(!broker.log().contains(&first), "another session is another trace");

    let config = json!({ "when": "create", "harm": "send", "url": server.url });
    let section = Section { allow: vec![EgressGrant::parse(&server.url).unwrap()], ..bare_section(config) };
    let (provider, call) = (provider(section).await, Call { session: Some("one".into()), ..Call::default() });
    for _ in 0..2 {
        provider.create(&call, &Spec::default()).await.unwrap_err();
    }
    let [.., one, two] = &server.seen("")[..] else { panic!("two requests") };
    let [one, two] = [one, two].map(|seen| seen.header("traceparent").unwrap());
    assert_eq!(one[..35], two[..35], "calls of a session share a trace");
    assert_ne!(one, two);
}

#[tokio::test]
async fn random_numbers_differ_and_come_in_bounded_numbers() {
    let gambler = provider(bare_section(json!({ "when": "create", "harm": "chance" }))).await;
    assert_eq!(said_to(&gambler, "ada").await, "16 bytes, true, 65536");
}

/// The plugin takes none of the bytes and never answers.
#[tokio::test]
async fn an_upload_that_the_plugin_does_not_take_ends_at_the_deadline_of_a_call() {
    let mut section = bare_section(json!({ "when": "write", "harm": "hang" }));
    section.limits.call_timeout = Duration::from_secs(1);
    let provider = provider(section).await;
    let (tx, data) = mpsc::channel(4);
    let (complete, rx) = oneshot::channel();
    let feed = tokio::spawn(async move {
        let mut taken = 0;
        while tx.send(Bytes::from(vec![7; 64 << 10])).await.is_ok() {
            taken += 1;
        }
        taken
    });
    let upload = Upload { size: None, data, complete: rx };
    let sandbox = SandboxRef { id: "h".into(), state: Bytes::new() };
    let (call, at, began) = (Call::default(), Location { path: "/w/a".into(), user: None }, Instant::now());
    let error =
        tokio::time::timeout(DEADLINE, provider.write(&call, &sandbox, &at, upload)).await.unwrap().unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded);
    assert_eq!(error.message, "the provider `h` did not answer `write` within 1 s");
    assert!(began.elapsed() >= Duration::from_secs(1));
    // The source learns of it, and little of what it had was kept for the plugin.
    let taken = tokio::time::timeout(DEADLINE, feed).await.unwrap().unwrap();
    assert!(taken < 16, "{taken} chunks");
    drop(complete);
}

#[tokio::test]
async fn a_host_that_is_not_granted_is_denied() {
    let server = Sandboxd::start().await;
    let url = &server.url;
    let (said, broker) = told("", &format!("when = \"create\"\nharm = \"fetch\"\nurl = \"{url}/health\"")).await;
    assert!(said.contains("allow"), "{said}");
    assert!(broker.log().contains("not in `allow`"));
}

#[tokio::test]
async fn a_private_address_behind_a_granted_name_is_refused() {
    // `localtest.invalid` does not resolve; a literal in another spelling does.
    for url in ["http://[::ffff:169.254.169.254]/", "http://169.254.169.254/latest/meta-data/"] {
        let lines = format!("allow = [\"{}\"]", url.trim_end_matches("/latest/meta-data/").trim_end_matches('/'));
        let (said, _) = told(&lines, &format!("when = \"create\"\nharm = \"fetch\"\nurl = \"{url}\"")).await;
        assert!(!said.contains("answered"), "{said}");
    }
}

/// What no plugin may ever hold.
const CANARY: &str = "canary-3f9a1c77";

/// Lines of a section whose requests to `to` carry its secret, and which may send to `others` as well.
fn bound(carry: &str, to: &str, others: &[&str]) -> String {
    let allow = [&[to], others].concat();
    format!("allow = {allow:?}\nsecrets.own = {{ value = \"{CANARY}\", to = [{to:?}], carry = {carry} }}")
}

/// A server that answers everything with all that it was sent.
async fn echo() -> Awkward {
    Awkward::start_seeing(|seen, body| async move {
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        format!("{} {:?} {}", seen.line, seen.headers, String::from_utf8_lossy(&body)).into_response()
    })
    .await
}

async fn silent() -> Awkward {
    Awkward::start(|_, _| async { "good".into_response() }).await
}

/// Whether this server was sent the secret anywhere but in `header`.
fn has_it_but_in(server: &Awkward, header: &str) -> bool {
    server.seen("").iter().any(|seen| {
        let elsewhere = seen.headers.iter().filter(|(name, _)| *name != header);
        let mut texts = elsewhere.map(|(_, value)| value.to_str().unwrap()).chain([seen.line.as_str()]);
        texts.any(|text| text.contains(CANARY))
    })
}

#[tokio::test]
async fn a_secret_of_another_is_neither_used_nor_revealed() {
    for (harm, words) in [("foreign-token", "of_another"), ("reveal", "own")] {
        let (said, broker) = told(&bound("\"bearer\"", "http://127.0.0.1:1", &[]), &create(harm, "")).await;
        assert!(said.contains(words) && !said.contains("canary"), "{said}");
        assert!(!broker.log().contains("canary-own"));
    }
}

fn create(harm: &str, settings: &str) -> String {
    format!("when = \"create\"\nharm = {harm:?}\n{settings}")
}

#[tokio::test]
async fn the_secret_is_never_in_guest_memory_log_or_command_line() {
    let server = silent().await;
    let reversed: String = CANARY.chars().rev().collect();
    let settings = format!("url = {:?}\nreversed = {reversed:?}", server.url);
    let (said, broker) = told(&bound("\"bearer\"", &server.url, &[]), &create("scan", &settings)).await;
    // The request went out with the secret; the guest has seen none of it.
    assert!(said.contains("found 0"), "{said}");
    let [seen] = &server.seen("")[..] else { panic!("one request") };
    assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {CANARY}")));
    assert!(!broker.log().contains(CANARY));
    let command_line = std::fs::read(format!("/proc/{}/cmdline", broker.pid())).unwrap();
    assert!(!String::from_utf8_lossy(&command_line).contains(CANARY));
}

#[tokio::test]
async fn the_header_that_carries_a_secret_is_not_the_plugins_to_write() {
    let server = silent().await;
    let settings = format!(
        "url = {:?}\nheaders = {{ x-api-key = \"mine\", X-Api-Key = \"again\", x-other = \"{{{{secret:own}}}}\" }}",
        server.url
    );
    let (said, _) = told(&bound("{ header = \"X-Api-Key\" }", &server.url, &[]), &create("send", &settings)).await;
    assert!(said.contains("answered 200"), "{said}");
    let [seen] = &server.seen("")[..] else { panic!("one request") };
    assert_eq!(seen.headers.get_all("x-api-key").iter().collect::<Vec<_>>(), [CANARY]);
    assert_eq!(seen.header("x-other"), Some("{{secret:own}}"), "a placeholder is text like any other");
}

#[tokio::test]
async fn a_placeholder_in_a_path_a_query_or_a_body_is_text() {
    let server = silent().await;
    let settings = format!(
        "method = \"PUT\"\nurl = \"{}/%7B%7Bsecret:own%7D%7D?k={{{{secret:own}}}}\"\nbody = \"{{{{secret:own}}}}\"",
        server.url
    );
    let (said, _) = told(&bound("\"bearer\"", &server.url, &[]), &create("send", &settings)).await;
    assert!(!said.contains(CANARY), "{said}");
    assert!(!has_it_but_in(&server, "authorization"));
}

#[tokio::test]
async fn a_method_whose_answer_is_the_request_is_refused() {
    let server = echo().await;
    for method in ["TRACE", "trace", "TRACK", "CONNECT"] {
        let settings = format!("method = {method:?}\nurl = {:?}", server.url);
        let (said, _) = told(&bound("\"bearer\"", &server.url, &[]), &create("send", &settings)).await;
        assert!(said.contains("not one that may be sent"), "{method}: {said}");
    }
    assert!(server.seen("").is_empty());
}

/// The host reads a body before it signs it.
#[tokio::test]
async fn a_signed_request_arrives_whole_and_its_signature_is_kept_from_the_plugin() {
    let server = Awkward::start(|_, body| async move {
        axum::body::to_bytes(body, usize::MAX).await.unwrap().len().to_string().into_response()
    })
    .await;
    let carry = "{ sigv4 = { key_id = \"AKIDEXAMPLE\", region = \"eu-west-1\", service = \"s3\" } }";
    let settings = format!(
        "method = \"PUT\"\nurl = \"{}/bucket/a%20b?x=1\"\nbody = \"hello\"\nheaders = {{ authorization = \"mine\" }}",
        server.url
    );
    let (said, _) = told(&bound(carry, &server.url, &[]), &create("send", &settings)).await;
    assert!(said.contains("answered 200  5"), "{said}");
    let [seen] = &server.seen("PUT /bucket/a%20b?x=1")[..] else { panic!("one request") };
    let [authorization] = &seen.headers.get_all("authorization").iter().collect::<Vec<_>>()[..] else { panic!("one") };
    assert!(authorization.to_str().unwrap().starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"));
    let hash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(seen.header("x-amz-content-sha256"), Some(hash));
    assert!(!has_it_but_in(&server, ""));
}

#[tokio::test]
async fn a_token_is_signed_by_the_host_and_kept_from_the_plugin() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let key = STANDARD.encode(pair.serialize_der());
    let pem = format!("-----BEGIN PRIVATE KEY-----\\n{key}\\n-----END PRIVATE KEY-----\\n");
    let carry = "{ jwt = { algorithm = \"ES256\", issuer = \"app\" } }";
    let (quiet, repeats) = (silent().await, echo().await);
    for (server, words) in [(&quiet, "answered 200"), (&repeats, "the answer has the secret")] {
        let settings = format!("url = {:?}\nheaders = {{ authorization = \"mine\" }}", server.url);
        let lines = bound(carry, &server.url, &[]).replace(CANARY, &pem);
        let (said, broker) = told(&lines, &create("send", &settings)).await;
        assert!(said.contains(words), "{said}");
        let [seen] = &server.seen("")[..] else { panic!("one request") };
        let token = seen.header("authorization").unwrap().strip_prefix("Bearer ").unwrap();
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["iss"], "app");
        assert!(!said.contains(token) && !broker.log().contains(token) && !broker.log().contains(&key[20..40]));
    }
}

/// As Azure does with `x-ms-client-request-id`, and as pages for debugging do.
#[tokio::test]
async fn an_answer_that_repeats_the_secret_is_a_failure() {
    let body = echo().await;
    let header = Awkward::start_seeing(|seen, _| async move {
        let authorization = seen.headers.get("authorization").cloned().unwrap();
        ([("x-echo", authorization)], "good").into_response()
    })
    .await;
    // The secret ends in another piece than it begins in.
    let pieces = Awkward::start_seeing(|seen, _| async move {
        let value = seen.header("authorization").unwrap().to_owned();
        let (first, second) = value.split_at(value.len() / 2 + 4);
        let pieces = [first.to_owned(), second.to_owned()].map(Ok::<_, std::convert::Infallible>);
        Body::from_stream(futures_util::stream::iter(pieces)).into_response()
    })
    .await;
    for (carry, server) in
        [("\"bearer\"", &body), ("\"bearer\"", &header), ("\"bearer\"", &pieces), ("{ basic = \"user\" }", &body)]
    {
        let settings = format!("url = {:?}", server.url);
        let (said, broker) = told(&bound(carry, &server.url, &[]), &create("send", &settings)).await;
        assert!(said.contains("the answer has the secret"), "{carry}: {said}");
        assert!(!said.contains("canary") && !broker.log().contains(CANARY), "{said}");
        assert!(broker.log().contains("was kept from the plugin"));
    }
}

#[tokio::test]
async fn a_secret_goes_to_no_other_place_that_is_granted() {
    let (server, other) = (silent().await, echo().await);
    let lines = bound("{ header = \"x-api-key\" }", &format!("{}/only", server.url), &[&server.url, &other.url]);
    for (url, has) in
        [(format!("{}/only/here", server.url), true), (server.url.clone(), false), (other.url.clone(), false)]
    {
        let settings = format!("url = {url:?}\nheaders = {{ x-api-key = \"{{{{secret:own}}}}\" }}");
        let (said, _) = told(&lines, &create("send", &settings)).await;
        assert!(said.contains("answered 200") && !said.contains(CANARY), "{said}");
        let all = [server.seen(""), other.seen("")].concat();
        let last = all.iter().rfind(|seen| seen.header("host").is_some_and(|host| url.contains(host)));
        assert_eq!(last.unwrap().header("x-api-key") == Some(CANARY), has, "{url}");
    }
}

#[tokio::test]
async fn a_redirect_leads_no_secret_to_another_origin() {
    let other = echo().await;
    let target = other.url.clone();
    let server = Awkward::start(move |_, _| {
        let target = target.clone();
        async move { (StatusCode::TEMPORARY_REDIRECT, [("location", target)]).into_response() }
    })
    .await;
    let settings = format!("url = {:?}\nheaders = {{ authorization = \"Bearer {{{{secret:own}}}}\" }}", server.url);
    let (said, _) = told(&bound("\"bearer\"", &server.url, &[&other.url]), &create("redirect", &settings)).await;
    assert!(said.contains("answered 307 and 200") && said.contains("{{secret:own}}"), "{said}");
    assert!(!said.contains(CANARY) && !has_it_but_in(&other, ""));
}

/// A server that is granted says which token belongs to which place.
#[tokio::test]
async fn what_a_server_says_never_becomes_a_secret() {
    let other = echo().await;
    let server = Awkward::start(|_, _| async { "{{secret:own}}".into_response() }).await;
    let settings = format!("url = {:?}\nother = {:?}", server.url, other.url);
    let (said, _) = told(&bound("\"bearer\"", &server.url, &[&other.url]), &create("inject", &settings)).await;
    assert!(said.contains("{{secret:own}}") && !said.contains(CANARY), "{said}");
    assert_eq!(other.seen("")[0].header("x-access-token"), Some("{{secret:own}}"));
    assert!(!has_it_but_in(&other, ""));
}

#[tokio::test]
async fn a_token_is_made_for_the_listed_container_alone_and_within_its_bounds() {
    let url = "https://acct.blob.core.windows.net";
    let lines = format!(
        "allow = [{url:?}]\nsecrets.own = {{ value = \"Y2FuYXJ5\", to = [{url:?}], carry = {{ shared_key = \"acct\" }}, \
         sas = {{ containers = [\"files\"], max_life = \"1h\" }} }}"
    );
    let (said, broker) = told(&lines, &create("token", "")).await;
    let expected = "made Code::PermissionDenied Code::PermissionDenied Code::PermissionDenied \
                    Code::InvalidArgument Code::InvalidArgument Code::InvalidArgument";
    assert!(said.contains(expected), "{said}");
    assert!(broker.log().contains("plugin asked for a token that `sas` does not allow"));
}

#[tokio::test]
async fn a_forged_log_line_stays_one_line_and_a_flood_is_cut() {
    let (said, broker) = told("", "when = \"create\"\nharm = \"forge\"").await;
    assert!(!said.contains('\u{1b}') && !said.contains('\n'), "{said:?}");
    let log = broker.log();
    assert!(!log.contains('\u{1b}'), "escape sequences reached the log");
    assert!(!log.lines().any(|l| l.trim_start().starts_with("2026-01-01")), "a line was forged");
    assert!(log.matches("forged line").count() < 2000);
}

/// CPU time that a process has used.
fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Times of echoes in turn, the middle one of them, for as long as this.
async fn echoes(client: &mut Client, within: Duration) -> Duration {
    let (began, mut pace) = (Instant::now(), tokio::time::interval(Duration::from_millis(40)));
    let mut times = Vec::new();
    while began.elapsed() < within {
        pace.tick().await;
        let (sent, n) = (Instant::now(), 1000 + times.len());
        client.input(&format!("echo n=$(({n}))\n")).await;
        client.expect(&format!("n={n}\r\n")).await;
        times.push(sent.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}

/// Promise: plugins that never rest, and give way after every moment so that no limit of a single call stops them, are
/// held to a quarter of a core each, whether the work is theirs or the host's. A session of another provider goes on
/// nearly as fast as before.
#[tokio::test]
async fn plugins_that_never_rest_are_held_to_their_share_and_others_notice_little() {
    const GUESTS: u32 = 2;
    let server = Sandboxd::start().await;
    for harm in ["nap", "calls"] {
        let harmful = section("h", "", &format!("when = \"input\"\nharm = \"{harm}\""));
        let sections = format!("{}{harmful}", server.section("box"));
        let broker = Broker::start_quiet(&config("box", &sections)).await;
        let mut good = broker.connect().await;
        good.ready().await;
        let alone = echoes(&mut good, Duration::from_secs(2)).await;
        broker.edit(&config("h", &sections));
        broker.logs("configuration is live").await;
        let (began, before, mut bad) = (Instant::now(), cpu_time(broker.pid()), Vec::new());
        for _ in 0..GUESTS {
            let mut client = broker.connect().await;
            assert_eq!(client.ready().await["provider"], "h");
            client.input("x").await;
            bad.push(client);
        }
        let beside = echoes(&mut good, Duration::from_secs(10)).await;
        let (used, time) = ((cpu_time(broker.pid()) - before).as_secs_f64(), began.elapsed().as_secs_f64());
        println!("{harm}: {used:.1} s of CPU in {time:.1} s; an echo takes {beside:?}, and {alone:?} alone");
        // The burst and the share of each, and what the broker itself takes.
        let most = f64::from(GUESTS) * (2.0 + 0.25 * time) + 0.2 * time;
        assert!(used < most, "{used:.1} s of CPU in {time:.1} s");
        assert!(beside < alone * 3 + Duration::from_millis(30), "{beside:?}, and {alone:?} alone");
    }
}

/// Promise: a plugin cannot open more connections than its instance may have, and the broker goes on to serve others.
#[tokio::test]
async fn requests_that_nobody_answers_are_bounded() {
    let tarpit = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", tarpit.local_addr().unwrap());
    let open = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = tarpit.accept().await {
            open.push(stream);
        }
    });
    let (said, broker) =
        told(&format!("allow = [\"{url}\"]"), &format!("when = \"create\"\nharm = \"tarpit\"\nurl = \"{url}\"")).await;
    assert!(said.contains("16 of 80 refused"), "{said}");
    assert_eq!(broker.get("/health").await.status(), 200);
    open.abort();
}

#[tokio::test]
async fn others_do_not_notice() {
    let server = Sandboxd::start().await;
    let sections = format!("{}{}", server.section("box"), section("h", "", "when = \"input\"\nharm = \"loop\""));
    let broker = Broker::start(&config("box", &sections)).await;
    let mut good = broker.connect().await;
    good.ready().await;
    let alone = echoes(&mut good, Duration::from_secs(1)).await;
    broker.edit(&config("h", &sections));
    broker.logs("configuration is live").await;
    let mut bad = Vec::new();
    for _ in 0..3 {
        let mut client = broker.connect().await;
        assert_eq!(client.ready().await["provider"], "h");
        client.input("x").await;
        bad.push(client);
    }
    // Three guests have three seconds of CPU time between them, and give way to others every 10 ms.
    let beside = echoes(&mut good, Duration::from_secs(2)).await;
    println!("an echo takes {beside:?} beside three that spin, and {alone:?} alone");
    assert!(beside < alone * 3 + Duration::from_millis(100), "{beside:?}, and {alone:?} alone");
    for client in &mut bad {
        let said = client.error().await;
        assert!(said.contains("CPU"), "{said}");
    }
    good.input("echo still he\"\"re\n").await;
    good.expect("still here").await;
}
