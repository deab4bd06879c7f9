//! How long a request may take before and between its bytes.

use super::super::connector::CONNECT_TIMEOUT;
use super::*;

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

async fn get(url: &str, options: RequestOptions) -> Result<http::Response<WasiBody>, Error> {
    let tls =
        rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let sender = Sender::with_tls(vec![EgressGrant::parse(url).unwrap()], false, None, Arc::default(), tls);
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
