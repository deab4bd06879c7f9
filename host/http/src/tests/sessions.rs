//! What is said of sessions over HTTP, where the provider is the test.

use serde_json::{Value, json};

use super::harness::{Broker, Options, soon};
use sandbox_broker_session::{Event, Join, Outcome};

#[tokio::test]
async fn a_session_without_a_recorder_has_no_recording() {
    let broker = Broker::start(Options::default()).await;
    let client = broker.session().await;
    let path = format!("/api/sessions/{}/recording", client.id());
    let answer = broker.get(&path, "").await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.error().contains("runs without a recorder"), "{answer:?}");

    broker.provider.creates.send_replace(false);
    let starting = broker.sessions.open(Join::default(), false).unwrap();
    let answer = broker.get(&format!("/api/sessions/{}/recording", starting.id()), "").await;
    assert_eq!((answer.status, answer.error().contains("does not run")), (409, true), "{answer:?}");
    assert_eq!(broker.get(&format!("/api/sessions/{}", starting.id()), "").await.json()["state"], "creating");
}

#[tokio::test]
async fn a_delete_ends_the_session_whoever_is_there() {
    let broker = Broker::start(Options::default()).await;
    let client = broker.session().await;
    let path = format!("/api/sessions/{}", client.id());
    assert_eq!(broker.ask("DELETE", &path, "").await.status, 204);
    let mut reader = client.reader();
    let outcome = loop {
        if let Some(Event::Ended(outcome)) = soon(reader.next()).await {
            break outcome;
        }
    };
    assert!(matches!(outcome, Outcome::Killed), "{outcome:?}");
    broker.alive(0).await;
    soon(async {
        while broker.sessions.get(client.id()).is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(broker.ask("DELETE", &path, "").await.status, 404);
}

#[tokio::test]
async fn a_session_has_the_name_that_its_user_gives_it_and_no_other() {
    let broker = Broker::start(Options::default().token("ada").token("bob")).await;
    let client = broker.sessions.open(Join { user: Some("ada".into()), ..Join::default() }, true).unwrap();
    let path = format!("/api/sessions/{}", client.id());
    let rename = async |who: &str, kind: &str, body: &str| {
        let head = format!("Authorization: Bearer {who}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
        broker
            .send(&format!(
                "PATCH {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{head}\r\n{body}",
                broker.address
            ))
            .await
    };
    let name = async || broker.get(&path, "Authorization: Bearer ada\r\n").await.json()["name"].clone();
    assert_eq!(name().await, Value::Null);
    let longest = "😀".repeat(80);
    let answer = rename("ada", "application/json", &json!({ "name": format!("  {longest} ") }).to_string()).await;
    assert_eq!((answer.status, &answer.json()["name"]), (200, &json!(longest)), "{answer:?}");
    for (who, kind, body, status) in [
        ("bob", "application/json", json!({ "name": "mine" }).to_string(), 404),
        ("ada", "text/plain", json!({ "name": "mine" }).to_string(), 400),
        ("ada", "application/json", json!({ "name": format!("{longest}!") }).to_string(), 400),
        ("ada", "application/json", json!({ "name": "a\u{1b}]0;b\u{7}" }).to_string(), 400),
        ("ada", "application/json", json!({ "name": "two\nlines" }).to_string(), 400),
        ("ada", "application/json", json!({ "name": "gnp\u{202e}.exe" }).to_string(), 400),
        ("ada", "application/json", json!({ "name": 7 }).to_string(), 400),
        ("ada", "application/json", json!({ "name": "x".repeat(4000) }).to_string(), 400),
    ] {
        let answer = rename(who, kind, &body).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert_eq!(name().await, json!(longest), "{body}");
    }
    assert_eq!(rename("ada", "application/json", r#"{"name":" "}"#).await.json()["name"], Value::Null);
}

#[tokio::test]
async fn a_session_from_before_the_sign_in_is_nobodys() {
    let broker = Broker::start(Options::default().token("ada").token("bob")).await;
    let join = |user: Option<&str>| Join { client: "desk".into(), user: user.map(Into::into), ..Join::default() };
    let (nobodys, adas) = (broker.sessions.open(join(None), true), broker.sessions.open(join(Some("ada")), true));
    let (nobodys, adas) = (nobodys.unwrap(), adas.unwrap());
    let (cookie, _) = broker.sign_in("ada").await;
    for (credentials, own) in [
        ("Authorization: Bearer ada\r\n".to_owned(), true),
        (format!("Cookie: {cookie}\r\n"), true),
        ("Authorization: Bearer bob\r\n".to_owned(), false),
    ] {
        let list = broker.get("/api/sessions", &credentials).await.json();
        let ids: Vec<_> = list["sessions"].as_array().unwrap().iter().map(|session| session["id"].clone()).collect();
        assert_eq!(ids, if own { vec![adas.id()] } else { Vec::new() }, "{credentials}");
        let status = async |id: &str| broker.get(&format!("/api/sessions/{id}"), &credentials).await.status;
        assert_eq!((status(adas.id()).await, status(nobodys.id()).await), (if own { 200 } else { 404 }, 404));
    }
}
