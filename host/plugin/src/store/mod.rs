//! One Store for one operation of a plugin.
//!
//! Owns how a Store is made, with every limit on a guest set, and how it goes. Each capability has its own part of
//! [`State`] and sees no other. Deliberately knows no call of the contract's exports.

mod limits;
pub(crate) mod meter;

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtxView, WasiView};

use self::limits::StoreLimits;
use self::meter::Meter;
use crate::imports::cache::{CacheView, LendsCache};
use crate::imports::http::{Http, HttpView, LendsHttp};
use crate::imports::log::{LendsLog, LogView};
use crate::imports::progress::{LendsProgress, ProgressView};
use crate::imports::secrets::{LendsSecrets, SecretsView};
use crate::imports::wasi::Wasi;
use crate::lent::Lent;
use crate::net::places::StoreRequests;
use crate::net::sender::Sender;
use crate::permissions::Permissions;
use sandbox_broker_core::progress::Progress;
use sandbox_broker_core::sandbox::Call;
use sandbox_broker_footprint::Footprint;

/// Bytes that a guest may hand over in one call. The largest honest call is a directory listing.
const HOSTCALL_BYTES: usize = 4 << 20;
/// Handles that a guest may hold: of resources, streams, futures and calls of its own. It may have as many again for
/// what the host holds on its behalf. A session holds about ten.
const HANDLES: usize = 1024;

/// The data of one Store.
pub(crate) struct State {
    table: ResourceTable,
    http: Http,
    lent: Lent,
    wasi: Wasi,
    permissions: Arc<Permissions>,
    /// Name of the user for whom the operation is.
    user: Option<String>,
    progress: Option<Progress>,
    limits: StoreLimits,
    meter: Arc<Meter>,
}

impl State {
    /// What measures the guest.
    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// What the guest has of the host.
    pub(crate) fn lent(&mut self) -> &mut Lent {
        &mut self.lent
    }

    /// What the Store's requests go through.
    pub(crate) fn sending(&self) -> (Option<Arc<Sender>>, Arc<StoreRequests>) {
        (self.http.sender(), self.http.requests())
    }
}

impl LendsCache for State {
    fn cache(&mut self) -> CacheView<'_> {
        let Permissions { cache, per_user, .. } = &*self.permissions;
        CacheView { cache, user: self.user.as_deref().filter(|_| *per_user) }
    }
}

impl LendsLog for State {
    fn log(&mut self) -> LogView<'_> {
        LogView { provider: &self.permissions.provider, budget: &self.permissions.log_budget }
    }
}

impl LendsProgress for State {
    fn progress(&mut self) -> ProgressView<'_> {
        ProgressView(self.progress.as_ref())
    }
}

impl LendsSecrets for State {
    fn secrets(&mut self) -> SecretsView<'_> {
        let Permissions { provider, secrets, reveal, log_budget, .. } = &*self.permissions;
        SecretsView { provider, secrets, reveal, user: self.user.as_deref(), log_budget }
    }
}

impl LendsHttp for State {
    fn http(&mut self) -> HttpView<'_> {
        HttpView { http: &mut self.http, table: &mut self.table }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: self.wasi.lend(&self.permissions), table: &mut self.table }
    }
}

/// A Store that marks its requests as dead before it goes, so that an upload that is cut off never looks complete to
/// the server.
pub(crate) struct GuestStore {
    pub(crate) store: Store<State>,
    pub(crate) meter: Arc<Meter>,
    requests: Arc<StoreRequests>,
}

impl Drop for GuestStore {
    fn drop(&mut self) {
        self.requests.end();
    }
}

impl GuestStore {
    /// A Store for one instance of a component that takes `footprint`, with every limit set, for the user of `call` and the
    /// person who waits for it. Without a `sender`, no request leaves.
    pub(crate) fn new(
        engine: &wasmtime::Engine,
        footprint: Footprint,
        permissions: Arc<Permissions>,
        sender: Option<Arc<Sender>>,
        call: &Call,
    ) -> Self {
        let meter = Arc::new(Meter::new(permissions.clone()));
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        let http = Http::new(sender, call.traceparent.as_deref().map(StoreRequests::of).unwrap_or_default());
        let requests = http.requests();
        let limits = StoreLimits::new(permissions.clone(), meter.clone(), footprint.host());
        let Call { user, progress, .. } = call.clone();
        let (lent, wasi) = (Lent::default(), Wasi::default());
        let state = State { table, http, lent, wasi, permissions, user, progress, limits, meter: meter.clone() };
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(HOSTCALL_BYTES);
        store.set_max_component_handles(HANDLES);
        store.set_epoch_deadline(1);
        let ticking = meter.clone();
        store.epoch_deadline_callback(move |_| {
            if ticking.tick() {
                Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
            } else {
                Ok(UpdateDeadline::Interrupt)
            }
        });
        GuestStore { store, meter, requests }
    }
}
