//! Judges credentials, and issues and revokes them.
//!
//! Owns the tables of sign-ins and tickets, and that their changes are kept.
//! Deliberately answers no request.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use axum::extract::Request;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue};
use subtle::{Choice, ConstantTimeEq};
use tokio::sync::watch;
use tracing::error;

use super::cookie::{CookieName, Several};
use super::credential::{Digested, Token, credential};
use super::pass::Pass;
use super::store::{SignIn, SignInStore};
use super::tables::{Attempts, SignIns, Tickets};
use crate::access::source::RequestSource;
use crate::app::Settings;
use crate::paths::{TERMINAL, matched};
use sandbox_stdx::lock::lock;

/// How often an open terminal counts as use of the sign-in that opened it.
const USE_BY_TERMINAL: Duration = Duration::from_secs(60 * 60);

/// What a request's credentials are.
pub(super) enum Judged {
    /// They let it in.
    Good(Pass),
    /// There are none, or none that count here.
    None,
    /// There is a token that is not of this broker.
    WrongToken,
    /// There are several cookies of the broker's name.
    Several(Several),
}

#[derive(Default)]
struct Tables {
    sign_ins: SignIns,
    tickets: Tickets,
    attempts: Attempts,
}

/// The sign-ins of one broker.
pub(crate) struct Auth {
    tables: Mutex<Tables>,
    cookie: CookieName,
    store: Arc<dyn SignInStore>,
    /// Changes whenever a sign-in ends before its time.
    signed_out: watch::Sender<()>,
}

impl Auth {
    /// The sign-ins of the broker that is called `broker`, among them those that an
    /// earlier process `kept`.
    pub(crate) fn new(broker: &str, store: Arc<dyn SignInStore>, kept: Vec<SignIn>) -> Self {
        let auth = Auth {
            tables: Mutex::default(),
            cookie: CookieName::of(broker),
            store,
            signed_out: watch::Sender::new(()),
        };
        let now = SystemTime::now();
        kept.into_iter().for_each(|sign_in| drop(auth.tables().sign_ins.add(sign_in, now, |_| true)));
        auth
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Each change of a table is one call that cannot stop halfway.
        lock(&self.tables)
    }

    /// The cookie of this broker's sign-ins.
    pub(super) fn cookie(&self) -> &CookieName {
        &self.cookie
    }

    /// Counts a wrong token of this address. False if it has tried too many.
    pub(super) fn counts_wrong_token(&self, address: IpAddr) -> bool {
        self.tables().attempts.count(address)
    }

    /// Judges a request's credentials.
    pub(super) fn judge(&self, settings: &Settings, request: &Request) -> Judged {
        if settings.tokens.is_none() {
            return Judged::Good(Pass::Open);
        }
        let headers = request.headers();
        let bearer = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes())).map(Digested::of);
        if let Some(token) = bearer.filter(|token| known(settings, token).is_some()) {
            return Judged::Good(Pass::Token(token));
        }
        let cookie = match self.cookie.find(headers, is_secure(settings, headers)) {
            Ok(cookie) => cookie.filter(|_| is_of_own_page(request)).map(Digested::of),
            Err(several) => return Judged::Several(several),
        };
        if let Some(cookie) = cookie.filter(|cookie| self.good(settings, &Pass::SignIn(*cookie), true)) {
            self.used(cookie);
            return Judged::Good(Pass::SignIn(cookie));
        }
        match ticket_of(request).and_then(|ticket| self.redeem(settings, ticket)) {
            Some(pass) => Judged::Good(pass),
            None if bearer.is_some() => Judged::WrongToken,
            None => Judged::None,
        }
    }

    /// Whether a pass is still good. A sign-in that has only grown old is still good
    /// unless it has to be `fresh`.
    fn good(&self, settings: &Settings, pass: &Pass, fresh: bool) -> bool {
        match pass {
            Pass::Open => settings.tokens.is_none(),
            Pass::Token(token) => known(settings, token).is_some(),
            Pass::SignIn(cookie) => self.tables().sign_ins.get(cookie).is_some_and(|sign_in| {
                known(settings, &sign_in.token).is_some() && (!fresh || sign_in.is_fresh(SystemTime::now()))
            }),
        }
    }

    /// Notes that a sign-in was used. The store is told now and then.
    fn used(&self, cookie: Digested) {
        let now = SystemTime::now();
        if !self.tables().sign_ins.touch(&cookie, now) {
            return;
        }
        let store = Arc::clone(&self.store);
        tokio::spawn(async move { store.touch(cookie, now).await.unwrap_or_else(|error| log_not_kept(&error)) });
    }

    /// The token that a pass stands for, if there are tokens.
    fn token(&self, pass: &Pass) -> Option<Digested> {
        match pass {
            Pass::Open => None,
            Pass::Token(token) => Some(*token),
            Pass::SignIn(cookie) => self.tables().sign_ins.get(cookie).map(|sign_in| sign_in.token),
        }
    }

    /// Whose pass it is: the token's name, if there are tokens.
    pub(crate) fn user(&self, settings: &Settings, pass: &Pass) -> Option<Arc<str>> {
        known(settings, &self.token(pass)?).map(|token| token.name.as_str().into())
    }

    /// Whether a session of this user is the caller's own. If nobody has to sign in,
    /// every session is.
    pub(crate) fn owns(&self, settings: &Settings, pass: &Pass, user: Option<&str>) -> bool {
        matches!(pass, Pass::Open) || self.user(settings, pass).is_some_and(|caller| Some(&*caller) == user)
    }

    /// Waits until `pass` is no longer good, because its token left the configuration
    /// or it was signed out. Meanwhile a sign-in counts as used.
    pub(crate) async fn revoked(self: Arc<Self>, mut settings: watch::Receiver<Arc<Settings>>, pass: Pass) {
        let mut signed_out = self.signed_out.subscribe();
        loop {
            let now = settings.borrow_and_update().clone();
            if !self.good(&now, &pass, false) {
                return;
            }
            let changed = tokio::select! {
                changed = settings.changed() => changed,
                changed = signed_out.changed() => changed,
                () = tokio::time::sleep(USE_BY_TERMINAL) => {
                    if let Pass::SignIn(cookie) = pass {
                        self.used(cookie);
                    }
                    Ok(())
                }
            };
            if changed.is_err() {
                // The broker is shutting down. That revokes nothing.
                return std::future::pending().await;
            }
        }
    }

    /// Issues a ticket that stands for `pass`, once and for a short time.
    pub(crate) fn issue(&self, pass: Pass) -> Result<String, getrandom::Error> {
        let (ticket, owner) = (credential()?, self.token(&pass));
        self.tables().tickets.add(Digested::of(ticket.as_bytes()), pass, owner);
        Ok(ticket)
    }

    /// Takes a ticket and returns what it stands for. It is used up, even if that is
    /// no longer good.
    pub(crate) fn redeem(&self, settings: &Settings, ticket: &str) -> Option<Pass> {
        let pass = self.tables().tickets.take(&Digested::of(ticket.as_bytes()))?;
        self.good(settings, &pass, true).then_some(pass)
    }

    /// Starts a sign-in for a token and returns its cookie's value.
    pub(super) async fn sign_in(&self, settings: &Settings, token: Digested) -> Result<String, getrandom::Error> {
        let cookie = credential()?;
        let now = SystemTime::now();
        let new = SignIn { cookie: Digested::of(cookie.as_bytes()), token, since: now, used: now };
        let gone = self.tables().sign_ins.add(new, now, |token| known(settings, token).is_some());
        if !gone.is_empty() {
            self.signed_out.send_replace(());
        }
        // A full disk refuses no sign-in. Such a sign-in ends with this process.
        for cookie in gone {
            self.store.remove(cookie).await.unwrap_or_else(|error| log_not_kept(&error));
        }
        self.store.add(new).await.unwrap_or_else(|error| log_not_kept(&error));
        Ok(cookie)
    }

    /// Ends a sign-in.
    pub(super) async fn sign_out(&self, cookie: Digested) {
        if self.tables().sign_ins.remove(&cookie) {
            self.signed_out.send_replace(());
        }
        self.store.remove(cookie).await.unwrap_or_else(|error| log_not_kept(&error));
    }
}

/// Logs that the store failed.
fn log_not_kept(error: &str) {
    error!(error, "a change of the sign-ins is not kept: after a restart they are as they were before it");
}

/// Finds the configured token with this hash. Every token is compared in full, so
/// the time does not tell how near a guess was.
pub(super) fn known<'a>(settings: &'a Settings, digest: &Digested) -> Option<&'a Token> {
    let mut found = None;
    for token in settings.tokens.iter().flatten() {
        let same: Choice = token.digest.bytes().ct_eq(digest.bytes());
        if same.into() {
            found = Some(token);
        }
    }
    found
}

/// Reads the token of an `Authorization: Bearer` field.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Whether the browser asked over TLS. It did if the `Host` is a secure public
/// address of the broker, or the `Origin`, because a proxy may change the `Host`.
pub(super) fn is_secure(settings: &Settings, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    settings.public_urls.iter().any(|url| {
        url.is_secure()
            && (text(HOST).is_some_and(|host| url.is_host(host)) || text(ORIGIN).is_some_and(|own| url.is_origin(own)))
    })
}

/// Whether a request comes from one of the broker's own pages, so that a cookie
/// counts. A browser names the origin of every request that changes something and
/// of every WebSocket. With a request that only reads it may not, as over plain
/// HTTP.
fn is_of_own_page(request: &Request) -> bool {
    match request.extensions().get() {
        Some(RequestSource::Own) => true,
        Some(RequestSource::Quiet) => request.method().is_safe() && matched(request) != Some(TERMINAL),
        _ => false,
    }
}

/// Reads the ticket in the address of a terminal.
fn ticket_of(request: &Request) -> Option<&str> {
    let query = request.uri().query().filter(|_| matched(request) == Some(TERMINAL))?;
    query.split('&').find_map(|member| member.strip_prefix("ticket="))
}
