//! Names that nobody can guess.
//!
//! Owns how an id is made. Deliberately knows not what it names.

use std::sync::Arc;

/// Returns 128 random bits as 32 hexadecimal digits. Nobody can guess such an
/// id, and no two are the same.
pub fn new_id() -> Arc<str> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the system has a source of random numbers");
    format!("{:032x}", u128::from_be_bytes(bits)).into()
}
