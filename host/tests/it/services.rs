//! The storage services that other tests stand on do what they take them for.

use crate::support::s3::{Key, S3};
use crate::support::service::{Blob, Kind, Service};

/// Promise: what is uploaded is listed and read back under its very name, a
/// service that was stopped goes on with its data, and a container is made and
/// deleted.
async fn keeps_what_it_is_given(kind: Kind) {
    let Some(mut service) = Service::start(kind).await else { return };
    service.make("one").await;
    service.make("two").await;
    let odd = "a folder/100% ünïcode & <more>.txt";
    service.upload("one", odd, "content").await;
    service.upload("one", "empty", "").await;
    let listed = [(odd, 7), ("empty", 0)];
    let listed = listed.map(|(name, size)| Blob { name: name.to_owned(), size, directory: false });
    assert_eq!(service.list("one").await, listed);
    assert_eq!(service.list("two").await, []);
    let hash = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
    assert_eq!(service.sha256("one", odd).await.as_deref(), Some(hash));
    assert_eq!(service.read("two", odd).await, None);

    let endpoint = service.endpoint();
    service.stop().await;
    assert!(reqwest::get(&endpoint).await.is_err(), "nothing listens");
    service.resume().await;
    assert_eq!(service.endpoint(), endpoint);
    assert_eq!(service.list("one").await, listed);
    assert_eq!(service.read("one", "empty").await, Some(Vec::new()));

    service.delete("one", odd).await;
    assert_eq!(service.list("one").await, listed[1..]);
    service.delete_container("one").await;
    service.make("three").await;
    assert_eq!(service.list("three").await, []);
}

#[tokio::test]
async fn azurite_keeps_what_it_is_given() {
    keeps_what_it_is_given(Kind::Azure).await;
}

#[tokio::test]
async fn the_s3_service_keeps_what_it_is_given() {
    keeps_what_it_is_given(Kind::S3).await;
}

/// Promise: the service looks at signatures, so a test that passes has signed.
#[tokio::test]
async fn the_s3_service_refuses_a_wrong_signature() {
    let Some(service) = S3::start().await else { return };
    service.make("one").await;
    let list = async |key: Key| service.send(&key, reqwest::Method::GET, "/one", &[], None).await.status().as_u16();
    assert_eq!(list(S3::key()).await, 200);
    assert_eq!(list(Key { secret: "another".into(), ..S3::key() }).await, 403);
    assert_eq!(list(Key { token: "none".into(), ..S3::key() }).await, 403);
}
