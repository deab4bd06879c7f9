//! Invitations: whoever shows one may watch a session that is not theirs.
//!
//! Owns how an invitation is made and compared. Deliberately knows no person,
//! and not what a guest may do. Nothing is stored: an invitation is a code over
//! the session's id. It is valid while the session lives, whichever process of
//! the broker serves the session.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// Separates these codes from any others that are made with the same key.
const PURPOSE: &[u8] = b"watch session ";

/// Makes a broker's invitations.
#[derive(Clone)]
pub struct Invitations(Hmac<Sha256>);

impl Invitations {
    /// Uses the broker's key: at least 32 secret random bytes. Whoever has them
    /// may watch every session.
    pub fn new(key: &[u8]) -> Self {
        Invitations(Hmac::new_from_slice(key).expect("HMAC takes a key of any length"))
    }

    /// Returns the invitation to this session.
    pub(crate) fn to(&self, session: &str) -> Invitation {
        let code = self.0.clone().chain_update(PURPOSE).chain_update(session).finalize();
        Invitation(URL_SAFE_NO_PAD.encode(code.into_bytes()).into())
    }
}

impl fmt::Debug for Invitations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invitations(…)")
    }
}

/// Lets whoever shows it watch one session: [`Invitation::LEN`] of
/// `A-Za-z0-9_-`. A secret of the session's user.
#[derive(Clone)]
pub struct Invitation(Box<str>);

impl Invitation {
    /// Its length in bytes.
    pub const LEN: usize = 43;

    /// Reads an invitation that somebody shows. None if the text cannot be one.
    pub fn shown(text: &str) -> Option<Self> {
        let good = text.len() == Self::LEN && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        good.then(|| Invitation(text.into()))
    }

    /// Its text, as it is sent.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Compares in constant time.
impl PartialEq for Invitation {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Invitation {}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invitation(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_is_to_one_session_of_one_broker() {
        let (ours, theirs) = (Invitations::new(&[1; 32]), Invitations::new(&[2; 32]));
        let one = ours.to("one");
        assert_eq!(one.expose().len(), Invitation::LEN);
        assert_eq!(Invitation::shown(one.expose()).as_ref(), Some(&one));
        assert_eq!(ours.clone().to("one"), one, "also of a later process");
        assert_ne!(ours.to("two"), one);
        assert_ne!(theirs.to("one"), one);
        for wrong in ["", &one.expose()[1..], &format!("{}!", &one.expose()[1..])] {
            assert_eq!(Invitation::shown(wrong), None, "{wrong:?}");
        }
        assert!(!format!("{ours:?}{one:?}").contains(one.expose()));
    }
}
