//! Several people do not have each other's files.

use sha2::{Digest as _, Sha256};

use super::Store;
use crate::support::level1::{Visit, Window};
use crate::support::{Broker, eventually};

const PEOPLE: [&str; 2] = ["ada", "bob"];

#[tokio::test]
async fn each_person_has_a_container_of_their_own() {
    let Some(store) = Store::azure().await else { return };
    let of = |user: &str| format!("{}-{user}", store.container);
    let mut config = store.config("", "").replace(&format!("{:?}", store.container), &format!("{:?}", of("{user}")));
    for user in PEOPLE {
        store.service().make(&of(user)).await;
        let hash: String = Sha256::digest(user).iter().map(|b| format!("{b:02x}")).collect();
        config += &format!("[[auth.tokens]]\nname = \"{user}\"\nsha256 = \"{hash}\"\n");
    }
    let broker = Broker::start(&config).await;
    for user in PEOPLE {
        let mut window = Window::open(&broker.url, Visit::default().token(user)).await;
        window.ready().await;
        window.input(&format!("echo of-{user} > {user}s; echo it has $(ls) and no more\n")).await;
        window.expect(&format!("it has {user}s and no more\r\n")).await;
        let own = async || store.service().read(&of(user), &format!("{user}s")).await;
        let stored = eventually("the file in its container", own).await;
        assert_eq!(String::from_utf8(stored).unwrap(), format!("of-{user}\n"));
    }
}
