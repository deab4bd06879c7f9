//! Who may use the broker: tokens, the sign-in of the page, and tickets.
//!
//! Owns the check of credentials. Deliberately knows no session, and no route
//! but those that sign in and out and the one that a ticket opens; what any
//! other credential is good for is the same for all: everything.
//!
//! | credential | counts for |
//! |---|---|
//! | a token | every request |
//! | the cookie of a sign-in | requests of the broker's own pages |
//! | a ticket | one terminal |

mod cookie;
mod tables;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use axum::extract::rejection::FormRejection;
use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, HOST, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::json;
use subtle::{Choice, ConstantTimeEq};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::guard::Page;
use super::proxy::Client;
use super::serve::Connection;
use super::{Settings, Shared, refuse, routes};
use cookie::{Name, Several};
use tables::{ATTEMPTS_WINDOW, Attempts, LASTS, SignIns, TICKET_LASTS, Tickets};

pub use tables::{Digested, SignIn};

/// How often an open terminal counts as use of the sign-in that opened it.
const USE_BY_TERMINAL: Duration = Duration::from_secs(60 * 60);

/// A token of `[auth]`, kept as its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    name: String,
    digest: Digested,
}

impl Token {
    /// The token whose SHA-256 is `digest`; `name` is for logs.
    pub fn from_sha256(name: impl Into<String>, digest: [u8; 32]) -> Self {
        Token { name: name.into(), digest: Digested::new(digest) }
    }
}

/// Where sign-ins outlive the process. Each error says what failed and who can
/// mend it.
#[async_trait]
pub trait SignInStore: Send + Sync {
    /// Keeps a sign-in.
    async fn add(&self, sign_in: SignIn) -> Result<(), String>;
    /// Notes when a sign-in was last used; nothing where it is not kept.
    async fn touch(&self, cookie: Digested, used: SystemTime) -> Result<(), String>;
    /// Forgets a sign-in; success also where it is not kept.
    async fn remove(&self, cookie: Digested) -> Result<(), String>;
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

/// What a request's credentials are.
enum Judged {
    Good(Pass),
    /// There are none, or none that count here.
    None,
    /// A token that is not of this broker.
    WrongToken,
    Several(Several),
}

#[derive(Default)]
struct Tables {
    sign_ins: SignIns,
    tickets: Tickets,
    attempts: Attempts,
}

/// The sign-ins of one broker.
pub(super) struct Auth {
    tables: Mutex<Tables>,
    cookie: Name,
    store: Arc<dyn SignInStore>,
    /// Told whenever a sign-in ends before its time.
    signed_out: watch::Sender<()>,
}

impl Auth {
    /// The sign-ins of the broker with this name of its own, among them those
    /// that an earlier process `kept`.
    pub(super) fn new(broker: &str, store: Arc<dyn SignInStore>, kept: Vec<SignIn>) -> Self {
        let auth =
            Auth { tables: Mutex::default(), cookie: Name::of(broker), store, signed_out: watch::Sender::new(()) };
        let now = SystemTime::now();
        kept.into_iter().for_each(|sign_in| drop(auth.tables().sign_ins.add(sign_in, now, |_| true)));
        auth
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Each change of a table is one call that cannot stop halfway.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a request's credentials let it do.
    fn judge(&self, settings: &Settings, request: &Request) -> Judged {
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

    /// Whether what let a request in would let it in now. A sign-in that has
    /// only grown old is still good unless it has to be `fresh`.
    fn good(&self, settings: &Settings, pass: &Pass, fresh: bool) -> bool {
        match pass {
            Pass::Open => settings.tokens.is_none(),
            Pass::Token(token) => known(settings, token).is_some(),
            Pass::SignIn(cookie) => self.tables().sign_ins.get(cookie).is_some_and(|sign_in| {
                known(settings, &sign_in.token).is_some() && (!fresh || sign_in.is_fresh(SystemTime::now()))
            }),
        }
    }

    /// A sign-in was used, which is written down now and then.
    fn used(&self, cookie: Digested) {
        let now = SystemTime::now();
        if !self.tables().sign_ins.touch(&cookie, now) {
            return;
        }
        let store = Arc::clone(&self.store);
        tokio::spawn(async move { store.touch(cookie, now).await.unwrap_or_else(|error| not_kept(&error)) });
    }

    /// The token that a pass stands for, where there are tokens.
    fn token(&self, pass: &Pass) -> Option<Digested> {
        match pass {
            Pass::Open => None,
            Pass::Token(token) => Some(*token),
            Pass::SignIn(cookie) => self.tables().sign_ins.get(cookie).map(|sign_in| sign_in.token),
        }
    }

    /// Whose pass it is: the token's name, where there are tokens.
    pub(super) fn user(&self, settings: &Settings, pass: &Pass) -> Option<Arc<str>> {
        known(settings, &self.token(pass)?).map(|token| token.name.as_str().into())
    }

    /// Whether a session of this user is the caller's own. Where nobody has to
    /// sign in, all are.
    pub(super) fn owns(&self, settings: &Settings, pass: &Pass, user: Option<&str>) -> bool {
        matches!(pass, Pass::Open) || self.user(settings, pass).is_some_and(|caller| Some(&*caller) == user)
    }

    /// Waits until `pass` is no longer good: its token left the configuration,
    /// or it was signed out. Meanwhile a sign-in counts as used.
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
                () = tokio::time::sleep(USE_BY_TERMINAL) => {
                    if let Pass::SignIn(cookie) = pass {
                        self.used(cookie);
                    }
                    Ok(())
                }
            };
            if changed.is_err() {
                return std::future::pending().await; // the broker is going away, which is not this caller's doing
            }
        }
    }

    /// A ticket that stands for `pass`, once and for a short time.
    pub(super) fn issue(&self, pass: Pass) -> Result<String, getrandom::Error> {
        let (ticket, owner) = (credential()?, self.token(&pass));
        self.tables().tickets.add(Digested::of(ticket.as_bytes()), pass, owner);
        Ok(ticket)
    }

    /// What a ticket stands for. It is used up, also where that is nothing any
    /// more.
    pub(super) fn redeem(&self, settings: &Settings, ticket: &str) -> Option<Pass> {
        let pass = self.tables().tickets.take(&Digested::of(ticket.as_bytes()))?;
        self.good(settings, &pass, true).then_some(pass)
    }

    /// Starts a sign-in for a token and returns its cookie's value.
    async fn sign_in(&self, settings: &Settings, token: Digested) -> Result<String, getrandom::Error> {
        let cookie = credential()?;
        let now = SystemTime::now();
        let new = SignIn { cookie: Digested::of(cookie.as_bytes()), token, since: now, used: now };
        let gone = self.tables().sign_ins.add(new, now, |token| known(settings, token).is_some());
        if !gone.is_empty() {
            self.signed_out.send_replace(());
        }
        // Nobody waits for a sign-in because the disk is full: it is then over with this process.
        for cookie in gone {
            self.store.remove(cookie).await.unwrap_or_else(|error| not_kept(&error));
        }
        self.store.add(new).await.unwrap_or_else(|error| not_kept(&error));
        Ok(cookie)
    }

    async fn sign_out(&self, cookie: Digested) {
        if self.tables().sign_ins.remove(&cookie) {
            self.signed_out.send_replace(());
        }
        self.store.remove(cookie).await.unwrap_or_else(|error| not_kept(&error));
    }
}

fn not_kept(error: &str) {
    error!(error, "a change of the sign-ins is not kept: after a restart they are as they were before it");
}

/// 256 random bits, of characters that a cookie and an address may hold.
fn credential() -> Result<String, getrandom::Error> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)?;
    Ok(URL_SAFE_NO_PAD.encode(random))
}

/// The configured token with this hash. Every token is compared in full, so
/// the time tells nothing about how near a guess was.
fn known<'a>(settings: &'a Settings, digest: &Digested) -> Option<&'a Token> {
    let mut found = None;
    for token in settings.tokens.iter().flatten() {
        let same: Choice = token.digest.bytes().ct_eq(digest.bytes());
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

/// Whether the browser asked over TLS: at the broker's public address, by the
/// `Host` that it named, or the `Origin` where a proxy has changed that.
fn is_secure(settings: &Settings, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    settings.public_urls.iter().any(|url| {
        url.is_secure()
            && (text(HOST).is_some_and(|host| url.is_host(host)) || text(ORIGIN).is_some_and(|own| url.is_origin(own)))
    })
}

/// Whether a request comes from one of our own pages, so that a cookie counts.
/// A browser names the origin of whatever changes something and of every
/// WebSocket; of what only reads it may say nothing, as over plain HTTP.
fn is_of_own_page(request: &Request) -> bool {
    match request.extensions().get() {
        Some(Page::Own) => true,
        Some(Page::Quiet) => request.method().is_safe() && super::matched(request) != Some(routes::TERMINAL),
        _ => false,
    }
}

/// Refuses requests without credentials with 401, except to what is open to
/// all, and tells the others how they were let in.
pub(super) async fn authenticate(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    let settings = shared.settings();
    let refused = match shared.auth.judge(&settings, &request) {
        Judged::Good(pass) => {
            if !(matches!(pass, Pass::Open) && super::is_open(&request))
                && let Some(connection) = request.extensions().get::<Connection>()
            {
                connection.is_known();
            }
            request.extensions_mut().insert(pass);
            return next.run(request).await;
        }
        Judged::None => unauthenticated(),
        // The page has to be told in words.
        Judged::Several(several) if super::matched(&request) == Some(routes::SESSION) => {
            return refuse(StatusCode::BAD_REQUEST, several);
        }
        Judged::Several(several) => refuse(StatusCode::BAD_REQUEST, several),
        Judged::WrongToken => wrong_token(&shared, &request, unauthenticated()),
    };
    if super::is_open(&request) { next.run(request).await } else { refused }
}

/// Counts a wrong token, and answers with `refused` unless its sender has tried
/// too many.
fn wrong_token(shared: &Shared, request: &Request, refused: Response) -> Response {
    let Some(Client(address)) = request.extensions().get().copied() else { return refused };
    if shared.auth.tables().attempts.count(address) {
        warn!(client = %address, path = request.uri().path(), "refused a wrong token");
        return refused;
    }
    too_many()
}

fn too_many() -> Response {
    let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens; wait a minute and try again");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(ATTEMPTS_WINDOW.as_secs()));
    response
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
         fresh ticket; the cookie of a sign-in counts for the broker's own page only",
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
    Extension(Client(client)): Extension<Client>,
    Extension(page): Extension<Page>,
    headers: HeaderMap,
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
    let secure = is_secure(&settings, &headers);
    if page == Page::Frontend {
        return refuse(
            StatusCode::FORBIDDEN,
            "people sign in on the broker's own page only; a page elsewhere asks for tickets",
        );
    }
    if let Err(several) = shared.auth.cookie.find(&headers, secure) {
        return refuse(StatusCode::BAD_REQUEST, several);
    }
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok()).unwrap_or_default();
    // Which the operator has put beside the secure ones.
    let on_purpose = !secure && settings.public_urls.iter().any(|url| url.is_origin(origin));
    if let Some(url) = settings.public_urls.iter().find(|url| url.is_secure())
        && origin.starts_with("http://")
        && !on_purpose
        && !connection.local.ip().to_canonical().is_loopback()
    {
        let why = format!(
            "this page was opened over plain http, where others can read a token and the browser keeps no cookie of \
             this broker: open {url} and sign in there"
        );
        return refuse(StatusCode::FORBIDDEN, why);
    }
    // A right token is never refused because others tried wrong ones.
    let Some(token) = known(&settings, &Digested::of(form.token.trim().as_bytes())) else {
        if !shared.auth.tables().attempts.count(client) {
            return too_many();
        }
        warn!(peer = %connection.peer, %client, "refused a sign-in with a wrong token");
        return refuse(StatusCode::UNAUTHORIZED, "this is no token of this broker");
    };
    match shared.auth.sign_in(&settings, token.digest).await {
        Ok(cookie) => {
            info!(peer = %connection.peer, %client, token = token.name, "signed in");
            shared.auth.cookie.set(&cookie, LASTS, secure)
        }
        Err(error) => not_random(&error),
    }
}

fn not_random(error: &getrandom::Error) -> Response {
    error!(%error, "no randomness for a credential");
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

/// `POST /sign-out`: ends the sign-in that asks for it, and no other.
pub(super) async fn sign_out(
    State(shared): State<Shared>,
    Extension(pass): Extension<Pass>,
    headers: HeaderMap,
) -> Response {
    if let Pass::SignIn(cookie) = pass {
        shared.auth.sign_out(cookie).await;
    }
    shared.auth.cookie.set("", Duration::ZERO, is_secure(&shared.settings(), &headers))
}
