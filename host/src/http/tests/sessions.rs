//! What is said of sessions over HTTP, where the provider is the test.

use super::harness::{Broker, Options, soon};
use crate::session::{Event, Join, Outcome};

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
