//! Where a secret goes, how long a request may take before and between its bytes, and how many a Store may have.

use std::collections::BTreeMap;

use super::super::connector::CONNECT_TIMEOUT;
use super::super::places::REQUESTS;
use super::*;
use sandbox_broker_config::{Binding, BoundSecret, Carry};
use sandbox_broker_secrets::Secrets;

/// A server that listens and then says only this.
async fn says(words: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1024]).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, words.as_bytes()).await.unwrap();
        pending::<()>().await;
    });
    address.to_string()
}

/// A sender with these grants and these secrets.
fn sender(allow: &[&str], secrets: Secrets) -> Sender {
    let tls =
        rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let allow = allow.iter().map(|url| EgressGrant::parse(url).unwrap()).collect();
    Sender::with_tls(allow, false, None, Arc::new(Permissions { secrets, ..Permissions::default() }), tls)
}

#[test]
fn a_wildcard_carries_no_secret_and_a_strangers_name_gets_none() {
    let to = ["https://api.e2b.app", "https://a.example/v1"].map(|url| EgressGrant::parse(url).unwrap());
    let binding = Binding { to: to.into(), carry: Some(Carry::Bearer), sas: None };
    let bound = BoundSecret { value: "sk-very-secret".to_owned().into(), binding };
    let secrets = BTreeMap::from([("key".to_owned(), bound)]).into();
    let sender = sender(&["https://*.e2b.app", "https://a.example"], secrets);
    for (url, has) in [
        ("https://api.e2b.app/sandboxes", true),
        ("https://API.e2b.app:443/", true),
        ("https://a.example/v1/x", true),
        ("https://8080-mybox.e2b.app/", false),
        ("https://x.api.e2b.app/", false),
        ("https://a.example/v2", false),
        ("https://a.example/v1/..;/admin", false),
        ("https://a.example/", false),
    ] {
        let mut head = http::Request::get(url).body(()).unwrap().into_parts().0;
        let target = sender.check(&head.uri).unwrap();
        let carried = sender.permissions.secrets.carried(|to| target.is_granted(to));
        sender.add_secrets(&carried, &mut head, &Payload::default()).unwrap();
        assert_eq!(head.headers.contains_key("authorization"), has, "{url}");
    }
    assert!(sender.check(&"http://api.e2b.app/".parse().unwrap()).is_err());
}

async fn get(url: &str, options: RequestOptions) -> Result<http::Response<WasiBody>, Error> {
    let sender = sender(&[url], Secrets::default());
    let body = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = http::Request::get(url).body(body).unwrap();
    sender.send(request, Some(options), Arc::default()).await
}

/// How long a guest is willing to wait.
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_guests_time_for_connecting_covers_the_greeting() {
    let url = format!("https://{}", says("").await);
    let options = RequestOptions { connect_timeout: Some(SHORT), ..RequestOptions::default() };
    assert!(matches!(get(&url, options).await, Err(Error::ConnectionTimeout)));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_greet_is_given_up() {
    let url = format!("https://{}", says("").await);
    let began = tokio::time::Instant::now();
    assert!(get(&url, RequestOptions::default()).await.is_err());
    assert_eq!(began.elapsed().as_secs(), CONNECT_TIMEOUT.as_secs());
}

#[tokio::test]
async fn a_guests_time_between_bytes_is_kept() {
    let url = format!("http://{}", says("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await);
    let options = RequestOptions { between_bytes_timeout: Some(SHORT), ..RequestOptions::default() };
    let body = get(&url, options).await.unwrap().into_body();
    assert!(matches!(body.collect().await, Err(Error::ConnectionReadTimeout)));
}

#[tokio::test]
async fn requests_beyond_those_of_a_store_are_refused_until_one_has_ended() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1024]).await.unwrap();
            let said = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
            tokio::io::AsyncWriteExt::write_all(&mut stream, said).await.unwrap();
            open.push(stream);
        }
    });
    let mut sender =
        Sender::new(vec![EgressGrant::parse(&url).unwrap()], false, None, &Tls::default(), Arc::default()).unwrap();
    sender.places.patience = SHORT;
    let (store, other) = (Arc::new(StoreRequests::default()), Arc::new(StoreRequests::default()));
    let get = async |store: &Arc<StoreRequests>| {
        let body = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
        sender.send(http::Request::get(&url).body(body).unwrap(), None, store.clone()).await
    };
    let mut answers = Vec::new();
    for _ in 0..REQUESTS {
        answers.push(get(&store).await.unwrap());
    }
    assert!(matches!(get(&store).await, Err(Error::ConnectionLimitReached)));
    get(&other).await.expect("another Store has its own");
    answers.pop();
    get(&store).await.expect("one has ended");
}
