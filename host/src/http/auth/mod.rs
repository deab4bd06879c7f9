//! Who may use the broker: tokens, the sign-in of the page, and tickets.
//!
//! Owns the check of credentials and the tables of sign-ins and tickets, in
//! memory and bounded. Deliberately knows no session, and no route but those
//! that sign in and out and the one that a ticket opens; what any other
//! credential is good for is the same for all: everything.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::rejection::FormRejection;
use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, COOKIE, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::serve::Connection;
use super::{Settings, Shared, refuse, routes};

/// Name of the cookie that a sign-in sets.
const COOKIE_NAME: &str = "broker_session";

/// How long a sign-in lasts: a working day. A terminal opened within it lives
/// on after it.
const SIGN_IN_LASTS: Duration = Duration::from_secs(12 * 60 * 60);

/// Sign-ins at a time; the oldest gives way. One takes about 100 bytes.
const MAX_SIGN_INS: usize = 4096;

/// How long a ticket waits for its terminal: a page opens one at once.
const TICKET_LASTS: Duration = Duration::from_secs(30);

/// Tickets at a time; the oldest gives way.
const MAX_TICKETS: usize = 4096;

/// Wrong tokens that one address may try in [`ATTEMPTS_WINDOW`]. Tokens are
/// random, so this saves logs and work rather than the tokens.
const MAX_ATTEMPTS: u32 = 10;

/// Time after which an address's wrong tokens are forgotten.
const ATTEMPTS_WINDOW: Duration = Duration::from_secs(60);

/// Addresses remembered for their wrong tokens; the oldest gives way.
const MAX_ADDRESSES: usize = 1024;

/// SHA-256 of a credential. Credentials are random and of at least 128 bits,
/// so a plain hash cannot be turned back by guessing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Digested([u8; 32]);

impl fmt::Debug for Digested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hash)")
    }
}

impl Digested {
    fn of(credential: &[u8]) -> Self {
        Digested(Sha256::digest(credential).into())
    }
}

/// A token of `[auth]`, kept as its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    name: String,
    digest: Digested,
}

impl Token {
    /// The token whose SHA-256 is `digest`; `name` is for logs.
    pub fn from_sha256(name: impl Into<String>, digest: [u8; 32]) -> Self {
        Token { name: name.into(), digest: Digested(digest) }
    }
}

/// How a request was let in; an extension of every request that was.
#[derive(Clone, Debug)]
pub(super) enum Pass {
    /// There is no `[auth]`.
    Open,
    /// By a token.
    Token(Digested),
    /// By a sign-in.
    SignIn(Digested),
}

struct SignIn {
    /// The token that it stands for.
    token: Digested,
    since: Instant,
}

struct Ticket {
    /// How the one who asked for it was let in.
    pass: Pass,
    since: Instant,
}

#[derive(Default)]
struct Tables {
    sign_ins: HashMap<Digested, SignIn>,
    tickets: HashMap<Digested, Ticket>,
    /// Wrong tokens by address, and since when they are counted.
    attempts: HashMap<IpAddr, (u32, Instant)>,
}

/// The sign-ins of one broker.
pub(super) struct Auth {
    tables: Mutex<Tables>,
    /// Told at each sign-out.
    signed_out: watch::Sender<()>,
}

impl Auth {
    pub(super) fn new() -> Self {
        Auth { tables: Mutex::default(), signed_out: watch::Sender::new(()) }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Each change of a table is one call that cannot stop halfway.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a request's credentials let it do. `None`: nothing.
    fn pass(&self, settings: &Settings, headers: &HeaderMap) -> Option<Pass> {
        if settings.tokens.is_none() {
            return Some(Pass::Open);
        }
        let bearer = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes())).map(Digested::of);
        if let Some(token) = bearer.filter(|token| known(settings, token).is_some()) {
            return Some(Pass::Token(token));
        }
        cookies(headers).map(Digested::of).map(Pass::SignIn).find(|pass| self.good(settings, pass, true))
    }

    /// Whether what let a request in would let it in now. A sign-in that has
    /// only grown old is still good unless it has to be `fresh`.
    fn good(&self, settings: &Settings, pass: &Pass, fresh: bool) -> bool {
        match pass {
            Pass::Open => settings.tokens.is_none(),
            Pass::Token(token) => known(settings, token).is_some(),
            Pass::SignIn(cookie) => self.tables().sign_ins.get(cookie).is_some_and(|sign_in| {
                known(settings, &sign_in.token).is_some() && !(fresh && sign_in.since.elapsed() >= SIGN_IN_LASTS)
            }),
        }
    }

    /// Whose pass it is: the token's name, where there are tokens.
    pub(super) fn user(&self, settings: &Settings, pass: &Pass) -> Option<Arc<str>> {
        let token = match pass {
            Pass::Open => return None,
            Pass::Token(token) => *token,
            Pass::SignIn(cookie) => self.tables().sign_ins.get(cookie)?.token,
        };
        known(settings, &token).map(|token| token.name.as_str().into())
    }

    /// Whether a session of this user is the caller's own. Where nobody has to
    /// sign in, all are.
    pub(super) fn owns(&self, settings: &Settings, pass: &Pass, user: Option<&str>) -> bool {
        matches!(pass, Pass::Open) || self.user(settings, pass).is_some_and(|caller| Some(&*caller) == user)
    }

    /// Waits until `pass` is no longer good: its token left the configuration,
    /// or it was signed out.
    pub(super) async fn revoked(self: Arc<Self>, mut settings: watch::Receiver<Arc<Settings>>, pass: Pass) {
        let mut signed_out = self.signed_out.subscribe();
        loop {
            let now = settings.borrow_and_update().clone();
            if !self.good(&now, &pass, false) {
                return;
            }
            let changed = tokio::select! {
                changed = settings.changed() => changed,
                changed = signed_out.changed() => changed,
            };
            if changed.is_err() {
                return std::future::pending().await; // the broker is going away, which is not this caller's doing
            }
        }
    }

    fn may_try(&self, address: IpAddr) -> bool {
        let attempts = &self.tables().attempts;
        attempts.get(&address).is_none_or(|(count, since)| *count < MAX_ATTEMPTS || since.elapsed() >= ATTEMPTS_WINDOW)
    }

    fn count_attempt(&self, address: IpAddr) {
        let attempts = &mut self.tables().attempts;
        attempts.retain(|_, (_, since)| since.elapsed() < ATTEMPTS_WINDOW);
        make_room(attempts, MAX_ADDRESSES, |(_, since)| *since);
        attempts.entry(address).or_insert((0, Instant::now())).0 += 1;
    }

    /// A ticket that stands for `pass`, once and for a short time.
    pub(super) fn issue(&self, pass: Pass) -> Result<String, getrandom::Error> {
        let ticket = credential()?;
        let tickets = &mut self.tables().tickets;
        tickets.retain(|_, ticket| ticket.since.elapsed() < TICKET_LASTS);
        make_room(tickets, MAX_TICKETS, |ticket| ticket.since);
        tickets.insert(Digested::of(ticket.as_bytes()), Ticket { pass, since: Instant::now() });
        Ok(ticket)
    }

    /// What a ticket stands for. It is used up, also where that is nothing any
    /// more.
    pub(super) fn redeem(&self, settings: &Settings, ticket: &str) -> Option<Pass> {
        let Ticket { pass, since } = self.tables().tickets.remove(&Digested::of(ticket.as_bytes()))?;
        (since.elapsed() < TICKET_LASTS && self.good(settings, &pass, true)).then_some(pass)
    }

    /// Starts a sign-in for a token and returns its cookie's value.
    fn sign_in(&self, token: Digested) -> Result<String, getrandom::Error> {
        let cookie = credential()?;
        let sign_ins = &mut self.tables().sign_ins;
        make_room(sign_ins, MAX_SIGN_INS, |sign_in| sign_in.since);
        sign_ins.insert(Digested::of(cookie.as_bytes()), SignIn { token, since: Instant::now() });
        Ok(cookie)
    }

    fn sign_out(&self, headers: &HeaderMap) {
        let removed = {
            let sign_ins = &mut self.tables().sign_ins;
            cookies(headers).filter(|cookie| sign_ins.remove(&Digested::of(cookie)).is_some()).count()
        };
        if removed > 0 {
            self.signed_out.send_replace(());
        }
    }
}

/// 256 random bits, of characters that a cookie and an address may hold.
fn credential() -> Result<String, getrandom::Error> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)?;
    Ok(URL_SAFE_NO_PAD.encode(random))
}

/// Removes the oldest when there is no room for one more.
fn make_room<K: Copy + Eq + std::hash::Hash, V>(table: &mut HashMap<K, V>, max: usize, since: impl Fn(&V) -> Instant) {
    if table.len() >= max
        && let Some(oldest) = table.iter().min_by_key(|(_, value)| since(value)).map(|(key, _)| *key)
    {
        table.remove(&oldest);
    }
}

/// The configured token with this hash. Every token is compared in full, so
/// the time tells nothing about how near a guess was.
fn known<'a>(settings: &'a Settings, digest: &Digested) -> Option<&'a Token> {
    let mut found = None;
    for token in settings.tokens.iter().flatten() {
        let same: Choice = token.digest.0.ct_eq(&digest.0);
        if same.into() {
            found = Some(token);
        }
    }
    found
}

/// The token of an `Authorization: Bearer` field.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// The values of our cookie.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|pair| pair.trim_ascii().strip_prefix(COOKIE_NAME.as_bytes())?.strip_prefix(b"="))
}

/// The address by which wrong tokens are counted. A person with IPv6 has at
/// least a /64 of it.
fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

/// Refuses requests without credentials with 401, except to what is open to
/// all, and tells the others how they were let in.
pub(super) async fn authenticate(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    let settings = shared.settings();
    let pass = shared.auth.pass(&settings, request.headers());
    match pass.or_else(|| shared.auth.redeem(&settings, ticket_of(&request)?)) {
        Some(pass) => {
            request.extensions_mut().insert(pass);
            next.run(request).await
        }
        None if super::is_open(&request) => next.run(request).await,
        None => unauthenticated(),
    }
}

/// The ticket in the address of a terminal.
fn ticket_of(request: &Request) -> Option<&str> {
    let query = request.uri().query().filter(|_| super::matched(request) == Some(routes::TERMINAL))?;
    query.split('&').find_map(|member| member.strip_prefix("ticket="))
}

fn unauthenticated() -> Response {
    let mut response = refuse(
        StatusCode::UNAUTHORIZED,
        "sign in on the page, send `Authorization: Bearer TOKEN` with a token of [auth], or open a terminal with a \
         fresh ticket",
    );
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

#[derive(Deserialize)]
pub(super) struct SignInForm {
    token: String,
}

/// `POST /sign-in` with the form field `token`.
pub(super) async fn sign_in(
    State(shared): State<Shared>,
    Extension(connection): Extension<Connection>,
    form: Result<Form<SignInForm>, FormRejection>,
) -> Response {
    let form = match form {
        Ok(Form(form)) => form,
        Err(wrong) if wrong.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            return refuse(wrong.status(), "this is too long to be a token");
        }
        Err(_) => return refuse(StatusCode::BAD_REQUEST, "send the token as the form field `token`"),
    };
    let settings = shared.settings();
    let address = counted(connection.peer.ip());
    if !shared.auth.may_try(address) {
        let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens; wait a minute and try again");
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(ATTEMPTS_WINDOW.as_secs()));
        return response;
    }
    let Some(token) = known(&settings, &Digested::of(form.token.trim().as_bytes())) else {
        shared.auth.count_attempt(address);
        warn!(peer = %connection.peer, "refused a sign-in with a wrong token");
        return refuse(StatusCode::UNAUTHORIZED, "this is no token of this broker");
    };
    match shared.auth.sign_in(token.digest) {
        Ok(cookie) => {
            info!(peer = %connection.peer, token = token.name, "signed in");
            set_cookie(&settings, &cookie, SIGN_IN_LASTS)
        }
        Err(error) => not_random(&error),
    }
}

fn not_random(error: &getrandom::Error) -> Response {
    tracing::error!(%error, "no randomness for a credential");
    refuse(StatusCode::INTERNAL_SERVER_ERROR, "the broker has no source of randomness; see its log")
}

/// `POST /api/tickets`: a credential for one terminal, for who cannot send
/// another with it, as a page of another origin.
pub(super) async fn ticket(State(shared): State<Shared>, Extension(pass): Extension<Pass>) -> Response {
    match shared.auth.issue(pass) {
        Ok(ticket) => {
            let answer = json!({ "ticket": ticket, "lasts_ms": TICKET_LASTS.as_millis() as u64 });
            (StatusCode::CREATED, Json(answer)).into_response()
        }
        Err(error) => not_random(&error),
    }
}

/// `POST /sign-out`.
pub(super) async fn sign_out(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    shared.auth.sign_out(&headers);
    set_cookie(&shared.settings(), "", Duration::ZERO)
}

fn set_cookie(settings: &Settings, value: &str, lasts: Duration) -> Response {
    let secure = if settings.public_url.as_ref().is_some_and(|url| url.is_secure()) { "; Secure" } else { "" };
    let cookie =
        format!("{COOKIE_NAME}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}{secure}", lasts.as_secs());
    (StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]).into_response()
}
