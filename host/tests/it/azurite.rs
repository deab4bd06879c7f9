//! The storage service that other tests stand on does what they take it for.

use crate::support::azurite::{Azurite, Blob};

/// Promise: what is uploaded is listed and read back under its very name, a
/// service that was stopped goes on with its data, and a container is made and
/// deleted.
#[tokio::test]
async fn the_storage_service_keeps_what_it_is_given() {
    let Some(mut azurite) = Azurite::start().await else { return };
    azurite.make_container("one").await;
    azurite.make_container("two").await;
    let odd = "a folder/100% ünïcode & <more>.txt";
    azurite.upload("one", odd, "content").await;
    azurite.upload("one", "empty", "").await;
    let listed = [(odd, 7), ("empty", 0)];
    let listed = listed.map(|(name, size)| Blob { name: name.to_owned(), size, directory: false });
    assert_eq!(azurite.list("one").await, listed);
    assert_eq!(azurite.list("two").await, []);
    let hash = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
    assert_eq!(azurite.sha256("one", odd).await.as_deref(), Some(hash));
    assert_eq!(azurite.read("two", odd).await, None);

    let endpoint = azurite.endpoint();
    azurite.stop().await;
    assert!(reqwest::get(&endpoint).await.is_err(), "nothing listens");
    azurite.resume().await;
    assert_eq!(azurite.endpoint(), endpoint);
    assert_eq!(azurite.list("one").await, listed);
    assert_eq!(azurite.read("one", "empty").await, Some(Vec::new()));

    azurite.delete("one", odd).await;
    assert_eq!(azurite.list("one").await, listed[1..]);
    azurite.delete_container("one").await;
    azurite.make_container("three").await;
    assert_eq!(azurite.list("three").await, []);
}
