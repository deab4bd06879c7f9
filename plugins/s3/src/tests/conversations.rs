//! `prepare` as tables: answers in, the next request or words out.

use sandbox_broker_sdk::mounter::{Answer, Grant, Request, Response};
use sandbox_broker_sdk::{Code, Error};

use super::{Fake, assumed, credentials, now, refusal, section, target};
use crate::config::Config;
use crate::conversation::Turn;
use crate::grant;
use crate::prepare::prepare;

fn listed() -> Answer {
    let body = b"<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>".to_vec();
    Answer::Response(Response { status: 200, headers: Vec::new(), body })
}

/// Leads a conversation as the host does, with these answers.
fn lead(host: &Fake, config: &Config, answers: &[Answer]) -> (Vec<Request>, Result<Grant, Error>) {
    let mut requests = Vec::new();
    loop {
        match prepare(host, config, &target(), now(), &answers[..requests.len()]) {
            Err(e) => return (requests, Err(e)),
            Ok(Turn::Done(grant)) => return (requests, Ok(grant)),
            Ok(Turn::Send(request)) => {
                assert!(requests.len() < answers.len(), "no answer is left for {request:?}");
                requests.push(request);
            }
        }
    }
}

#[test]
fn credentials_are_made_and_tried() {
    let host = Fake::default();
    let (requests, end) = lead(&host, &section(""), &[Answer::Response(assumed()), listed()]);
    let asked: Vec<String> =
        requests.iter().map(|one| format!("{} {}", one.method, one.url.split('?').next().expect("a url"))).collect();
    assert_eq!(asked, ["POST https://sts.eu-west-1.amazonaws.com/", "GET https://s3.eu-west-1.amazonaws.com/files"]);
    let grant = end.expect("a grant");
    assert_eq!(grant::credentials(&grant, now(), 60), Some(credentials()));
    assert!(!String::from_utf8_lossy(&grant.kept).contains("cret"));
    assert!(host.warned.borrow().is_empty());
}

#[test]
fn a_key_of_ones_own_is_tried_and_not_kept() {
    let config = section(r#","credential":"key","access_key_id":"AKIAX""#);
    let host = Fake { key: Some("se/cret".into()), ..Fake::default() };
    let (requests, end) = lead(&host, &config, &[listed()]);
    assert!(requests[0].url.contains("X-Amz-Credential=AKIAX%2F") && !requests[0].url.contains("Security-Token"));
    assert!(end.expect("a grant").sealed.is_empty());
    let (_, end) = lead(&Fake::default(), &config, &[]);
    assert_eq!(end.expect_err("not revealed").code, Code::PermissionDenied);
}

#[test]
fn what_the_services_refuse_ends_it() {
    let no = |status, code| Answer::Response(refusal(status, code));
    let (_, end) = lead(&Fake::default(), &section(""), &[no(403, "InvalidClientTokenId")]);
    assert_eq!(end.expect_err("a wrong key").code, Code::Unauthenticated);
    let (_, end) = lead(&Fake::default(), &section(""), &[Answer::Response(assumed()), no(404, "NoSuchBucket")]);
    assert_eq!(end.expect_err("no bucket").code, Code::NotFound);
    let page = Answer::Response(Response { status: 200, headers: Vec::new(), body: b"<html/>".to_vec() });
    let (_, end) = lead(&Fake::default(), &section(""), &[Answer::Response(assumed()), page]);
    assert_eq!(end.expect_err("another server").code, Code::Unimplemented);
}

#[test]
fn a_clock_that_differs_is_told_once() {
    let mut response = assumed();
    response.headers.push(("date".into(), "Wed, 25 Nov 2026 00:01:38 GMT".into()));
    let host = Fake::default();
    let (_, end) = lead(&host, &section(""), &[Answer::Response(response), listed()]);
    assert!(end.is_ok());
    assert_eq!(*host.warned.borrow(), ["the broker's clock is 240 s ahead of the service's: set it right"]);
}
