//! Sign-ins outlive the process, and one that was forgotten stays so.

use super::{at, sqlite};
use crate::SignIn;

fn sign_in(n: u8) -> SignIn {
    SignIn { cookie: [n; 32], token: [100 + n; 32], since: at(1), used: at(2) }
}

#[tokio::test]
async fn sign_ins_outlive_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let journal = sqlite(directory.path());
    for n in 1..=3 {
        journal.add_sign_in(sign_in(n)).await.unwrap();
    }
    journal.use_sign_in([2; 32], at(9)).await.unwrap();
    journal.remove_sign_in([3; 32]).await.unwrap();
    drop(journal);

    let mut found = sqlite(directory.path()).sign_ins().await.unwrap();
    found.sort_by_key(|sign_in| sign_in.cookie);
    assert_eq!(found, [sign_in(1), SignIn { used: at(9), ..sign_in(2) }]);
}

#[tokio::test]
async fn a_late_use_brings_no_sign_in_back() {
    let directory = tempfile::tempdir().unwrap();
    let journal = sqlite(directory.path());
    journal.add_sign_in(sign_in(1)).await.unwrap();
    journal.remove_sign_in([1; 32]).await.unwrap();
    journal.use_sign_in([1; 32], at(9)).await.unwrap();
    journal.remove_sign_in([1; 32]).await.unwrap();
    assert_eq!(journal.sign_ins().await.unwrap(), []);
}
