//! `prepare` and `release` as tables: answers in, the next request or words
//! out.

use sandbox_broker_sdk::mounter::{Answer, Request, Response};
use sandbox_broker_sdk::{Code, Error};

use super::{Fake, ID_A, ID_B, now, refusal, section, target};
use crate::acl::{self, Policy};
use crate::config::Config;
use crate::conversation::Turn;
use crate::grant::Grant;
use crate::prepare::prepare;
use crate::release::release;

/// Requests of one conversation, at most. The contract's rule.
const REQUESTS: usize = 16;

const SAS: &str = "sv=2022-11-02&sr=c&sp=rcwdl&se=2026-12-25T00%3A00%3A00Z&sig=top%2Bsecret";

fn ok(status: u16) -> Answer {
    Answer::Response(refusal(status, ""))
}

fn no(status: u16, code: &str) -> Answer {
    Answer::Response(refusal(status, code))
}

fn listed() -> Answer {
    let body = b"\xef\xbb\xbf<?xml version=\"1.0\"?><EnumerationResults ServiceEndpoint=\"x\"/>".to_vec();
    Answer::Response(Response { body, ..refusal(200, "") })
}

fn leased() -> Answer {
    let mut response = refusal(201, "");
    response.headers.push(("x-ms-lease-id".into(), "l-1".into()));
    Answer::Response(response)
}

fn held() -> Answer {
    no(409, "LeaseAlreadyPresent")
}

fn access(policies: &[Policy]) -> Answer {
    Answer::Response(Response { body: acl::write(policies), ..refusal(200, "") })
}

fn policy(id: &str) -> Policy {
    Policy { expiry: Some("2026-12-31T00:00:00.0000000Z".into()), ..Policy::allowing(id, "r") }
}

/// A conversation that was led to its end.
#[derive(Debug)]
struct Led<R> {
    requests: Vec<Request>,
    end: Result<R, Error>,
}

impl<R: std::fmt::Debug> Led<R> {
    /// What was asked, in short.
    fn asked(&self) -> Vec<String> {
        self.requests.iter().map(short).collect()
    }

    fn error(&self) -> &Error {
        self.end.as_ref().expect_err("an error")
    }

    /// The list that was written.
    fn written(&self) -> Vec<Policy> {
        let set = self.requests.iter().find(|request| short(request).starts_with("PUT acl")).expect("a list");
        acl::read(&set.body).expect("well formed")
    }
}

impl Led<Grant> {
    fn grant(&self) -> Grant {
        let kept = self.end.as_ref().expect("a grant").kept();
        Grant::parse(&kept.kept).expect("ours").expect("not empty")
    }
}

fn short(request: &Request) -> String {
    let comp = request.url.split_once("comp=").map_or("", |(_, rest)| rest.split('&').next().unwrap_or_default());
    let header = |name: &str| {
        let found = request.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| format!(" {value}")).unwrap_or_default()
    };
    let policy = if request.url.contains("&si=") { " by policy" } else { "" };
    format!("{} {comp}{}{policy}", request.method, header("x-ms-lease-action"))
}

/// Leads a conversation as the host does, with these answers.
fn lead<R>(answers: &[Answer], mut next: impl FnMut(&[Answer]) -> Result<Turn<R>, Error>) -> Led<R> {
    let mut requests = Vec::new();
    loop {
        let so_far = &answers[..requests.len()];
        match next(so_far) {
            Err(e) => return Led { requests, end: Err(e) },
            Ok(Turn::Done(done)) => return Led { requests, end: Ok(done) },
            Ok(Turn::Send(request)) => {
                assert!(requests.len() < REQUESTS, "it asks for more than the contract allows");
                requests.push(request);
                assert!(requests.len() <= answers.len(), "no answer is left for {:?}", requests.last());
            }
        }
    }
}

fn prepared(host: &Fake, config: &Config, answers: &[Answer]) -> Led<Grant> {
    lead(answers, |so_far| prepare(host, config, &target(), now(), so_far))
}

fn released(config: &Config, grant: &[u8], answers: &[Answer]) -> Led<()> {
    lead(answers, |so_far| release(&Fake::new(), config, &target(), now(), grant, so_far))
}

#[test]
fn a_mount_gets_a_policy_of_its_own_and_others_keep_theirs() {
    let host = Fake::new();
    let theirs = [policy("reader"), policy(&format!("one.{ID_B}")), policy(&format!("two.{}", "e".repeat(32)))];
    let mut list = theirs.to_vec();
    list.insert(1, policy(&format!("one.{}", "d".repeat(32))));
    let led = prepared(&host, &section(""), &[listed(), leased(), access(&list), ok(200), ok(200), listed()]);
    assert_eq!(
        led.asked(),
        ["GET list", "PUT lease acquire", "GET acl", "PUT acl", "PUT lease release", "GET list by policy"]
    );
    let ours = format!("one.{ID_A}");
    assert_eq!(led.grant(), Grant::under(ours.clone(), true));
    let [kept @ .., added] = &led.written()[..] else { panic!("a list") };
    assert_eq!(kept, theirs, "what a crash left is gone, the rest is untouched");
    assert_eq!(*added, Policy::allowing(&ours, "rcwdl"));
    assert_eq!(host.warned(), Vec::<String>::new());
}

#[test]
fn public_access_and_the_lease_go_along_with_the_list() {
    let mut given = refusal(200, "");
    given.headers.push(("x-ms-blob-public-access".into(), "blob".into()));
    given.body = acl::write(&[]);
    let answers = [listed(), leased(), Answer::Response(given), ok(200), ok(200), listed()];
    let led = prepared(&Fake::new(), &section(""), &answers);
    let headers = &led.requests[3].headers;
    assert!(headers.contains(&("x-ms-blob-public-access".into(), "blob".into())));
    assert!(headers.contains(&("x-ms-lease-id".into(), "l-1".into())));
    assert!(led.requests[4].headers.contains(&("x-ms-lease-id".into(), "l-1".into())));

    let answers = [listed(), leased(), access(&[]), ok(200), ok(200), listed()];
    let led = prepared(&Fake::new(), &section(""), &answers);
    assert!(!led.requests[3].headers.iter().any(|(name, _)| name == "x-ms-blob-public-access"));
}

/// A request with a token is not signed, so that the token is what is proved.
#[test]
fn only_requests_that_prove_a_token_have_one() {
    let answers = [listed(), leased(), access(&[]), ok(200), ok(200), listed()];
    for request in prepared(&Fake::new(), &section(""), &answers).requests {
        assert_eq!(request.url.contains("sig="), request.url.contains("comp=list"), "{}", request.url);
        assert!(request.headers.contains(&("x-ms-version".into(), "2022-11-02".into())));
        assert!(!request.headers.iter().any(|(name, _)| name == "authorization"));
    }
}

#[test]
fn what_stops_a_session_is_told_apart() {
    let refused = |name: &str| Error::new(Code::Unavailable, "x").with("transport", name);
    for (answer, code, expected) in [
        (no(404, "ContainerNotFound"), Code::NotFound, "has no container files: create it"),
        (no(403, "AuthenticationFailed"), Code::Unauthenticated, "does not accept the account key"),
        (no(403, "KeyBasedAuthenticationNotPermitted"), Code::FailedPrecondition, "does not permit access by its key"),
        (no(403, "AuthorizationFailure"), Code::PermissionDenied, "the network rules of account mystore"),
        (no(400, "AccountRequiresHttps"), Code::FailedPrecondition, "takes https only"),
        (ok(200), Code::Unimplemented, "does not answer as a blob service (200)"),
        (Answer::Failure(refused("DnsTimeout")), Code::Unavailable, "there is no storage account mystore, or"),
        (Answer::Failure(refused("ConnectionRefused")), Code::Unavailable, "nobody serves https://mystore.blob"),
        (Answer::Failure(refused("HttpRequestDenied")), Code::Unavailable, "add it to `allow`"),
    ] {
        let led = prepared(&Fake::new(), &section(""), &[answer]);
        let e = led.error();
        assert_eq!((led.asked().len(), e.code), (1, code), "{}", e.message);
        assert!(e.message.contains(expected), "{}", e.message);
    }
}

#[test]
fn a_full_list_means_to_go_on_without_a_policy_and_is_told_once() {
    let host = Fake::new();
    let full: Vec<Policy> = (0..5).map(|n| policy(&n.to_string())).collect();
    let led = prepared(&host, &section(""), &[listed(), leased(), access(&full), ok(200)]);
    assert_eq!(led.asked(), ["GET list", "PUT lease acquire", "GET acl", "PUT lease release"]);
    assert_eq!(led.grant(), Grant::plain());
    let [warning] = &host.warned()[..] else { panic!("one warning: {:?}", host.warned()) };
    assert!(warning.contains("cannot be revoked") && warning.contains("all its 5 access policies"), "{warning}");
}

#[test]
fn a_place_that_a_crash_left_is_taken() {
    let mut full: Vec<Policy> = (0..4).map(|n| policy(&n.to_string())).collect();
    full.push(policy(&format!("one.{}", "d".repeat(32))));
    let answers = [listed(), leased(), access(&full), ok(200), ok(200), listed()];
    let led = prepared(&Fake::new(), &section(""), &answers);
    assert_eq!(led.written().len(), 5);
    assert!(led.grant().policy.is_some());
}

#[test]
fn a_lease_that_somebody_else_has_is_asked_for_again_and_then_given_up() {
    let again = [listed(), held(), held(), leased(), access(&[]), ok(200), ok(200), listed()];
    assert!(prepared(&Fake::new(), &section(""), &again).grant().active);

    let host = Fake::new();
    let mut never = vec![listed()];
    never.extend((0..8).map(|_| held()));
    let led = prepared(&host, &section(""), &never);
    assert_eq!((led.requests.len(), led.grant()), (9, Grant::plain()));
    assert!(host.warned()[0].contains("somebody else holds its lease"), "{:?}", host.warned());
}

#[test]
fn the_longest_conversations_stay_within_the_contract() {
    let mut answers = vec![listed()];
    answers.extend((0..7).map(|_| held()));
    answers.extend([leased(), access(&[]), ok(200), ok(200)]);
    answers.extend([no(403, "AuthenticationFailed"), no(403, "AuthenticationFailed")]);
    let led = prepared(&Fake::new(), &section(""), &answers);
    assert!(led.requests.len() <= REQUESTS);
    assert_eq!(led.grant(), Grant::under(format!("one.{ID_A}"), false), "the policy is not followed yet");
}

#[test]
fn whatever_refuses_a_policy_the_mount_goes_on_and_the_lease_is_given_back() {
    for (answers, expected) in [
        (vec![listed(), no(403, "AuthorizationFailure")], "its lease was refused: 403 AuthorizationFailure"),
        (vec![listed(), leased(), no(403, "X"), ok(200)], "its access list was not given: 403 X"),
        (vec![listed(), leased(), ok(200), no(412, "Y"), ok(200)], "its access list was not changed: 412 Y"),
        (
            vec![
                listed(),
                leased(),
                Answer::Response(Response { body: b"<Other/>".to_vec(), ..refusal(200, "") }),
                no(409, "Z"),
            ],
            "its access list holds something unknown",
        ),
    ] {
        let host = Fake::new();
        let led = prepared(&host, &section(""), &answers);
        assert_eq!(led.grant(), Grant::plain());
        assert_eq!(led.requests.len(), answers.len());
        assert!(host.warned()[0].contains(expected), "{:?}", host.warned());
    }
}

#[test]
fn by_expiry_the_access_list_is_left_alone() {
    let led = prepared(&Fake::new(), &section(r#","revoke":"expiry""#), &[listed()]);
    assert_eq!((led.asked(), led.grant()), (vec!["GET list".to_owned()], Grant::plain()));
    let led = released(&section(r#","revoke":"expiry""#), b"", &[]);
    led.end.expect("nothing to do");
}

#[test]
fn a_wrong_clock_is_told_even_when_it_works() {
    let Answer::Response(mut list) = listed() else { panic!("a list") };
    list.headers.push(("date".into(), "Wed, 25 Nov 2026 00:15:38 GMT".into()));
    let host = Fake::new();
    prepared(&host, &section(r#","revoke":"expiry""#), &[Answer::Response(list)]);
    assert!(host.warned()[0].starts_with("the broker's clock is 600 s behind the service's"), "{:?}", host.warned());
}

#[test]
fn a_given_token_is_proved_as_it_is() {
    let config = section(r#","credential":"sas""#);
    let led = prepared(&Fake::with_sas(SAS), &config, &[listed()]);
    let url = &led.requests[0].url;
    assert!(url.ends_with(SAS), "{url}");
    assert!(led.grant().fingerprint.is_some() && led.grant().policy.is_none());

    let led = prepared(&Fake::with_sas(SAS), &config, &[no(403, "AuthenticationFailed")]);
    assert!(led.error().message.contains("does not accept the secret sas"), "{}", led.error().message);
    let led = prepared(&Fake::with_sas(SAS), &config, &[no(403, "AuthorizationPermissionMismatch")]);
    assert!(led.error().message.contains("make one with rcwdl"), "{}", led.error().message);
    let led = prepared(&Fake::new(), &config, &[]);
    assert_eq!(led.error().message, "sas is not in `reveal`");
}

#[test]
fn a_given_token_that_ends_soon_is_told() {
    let host = Fake::with_sas("sr=c&sp=rcwdl&se=2026-11-25T00%3A30%3A00Z&sig=secret");
    prepared(&host, &section(r#","credential":"sas""#), &[listed()]);
    let warned = host.warned().join("");
    assert!(warned.contains("the secret sas ends soon, at 2026-11-25T00:30:00Z"), "{warned}");
    assert!(!warned.contains("secret&") && !warned.contains("sig="), "{warned}");
}

#[test]
fn release_takes_the_policy_out_and_leaves_the_others() {
    let ours = format!("one.{ID_A}");
    let list = [policy("reader"), policy(&ours), policy(&format!("one.{}", "d".repeat(32)))];
    let grant = Grant::under(ours.clone(), true).to_bytes();
    for grant in [&grant[..], b""] {
        let led = released(&section(""), grant, &[leased(), access(&list), ok(200), ok(200)]);
        assert_eq!(led.asked(), ["PUT lease acquire", "GET acl", "PUT acl", "PUT lease release"]);
        assert_eq!(led.written(), [list[0].clone(), list[2].clone()]);
        led.end.expect("released");
    }
}

#[test]
fn release_again_changes_nothing() {
    let grant = Grant::under(format!("one.{ID_A}"), true).to_bytes();
    let led = released(&section(""), &grant, &[leased(), access(&[policy("reader")]), ok(200)]);
    assert_eq!(led.asked(), ["PUT lease acquire", "GET acl", "PUT lease release"]);
    led.end.expect("released");
}

#[test]
fn release_without_a_policy_asks_nothing() {
    for grant in [Grant::plain(), Grant::of_token(7)] {
        released(&section(""), &grant.to_bytes(), &[]).end.expect("released");
    }
}

#[test]
fn a_policy_that_stays_is_told_unless_the_container_is_gone_or_nothing_was_prepared() {
    let grant = Grant::under(format!("one.{ID_A}"), true).to_bytes();
    let led = released(&section(""), &grant, &[no(403, "AuthorizationFailure")]);
    assert_eq!(led.error().code, Code::Aborted);
    assert!(led.error().message.contains("was not taken back, because its lease was refused: 403"));
    assert!(released(&section(""), &grant, &[no(404, "ContainerNotFound")]).end.is_ok());
    assert!(released(&section(""), b"", &[no(403, "AuthenticationFailed")]).end.is_ok());
}
