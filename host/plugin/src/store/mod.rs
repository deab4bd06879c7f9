//! One Store for one operation of a plugin.
//!
//! Owns how a Store is made, with every limit on a guest set, and how it goes. Each capability has its own part of
//! [`State`] and sees no other. Deliberately knows no call of the contract's exports.

mod limits;
pub(crate) mod meter;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wasmtime::component::ResourceTable;
use wasmtime::{Store, UpdateDeadline};

use self::limits::StoreLimits;
use self::meter::{Meter, TICK};
use crate::imports::log::{LendsLog, LogView};
use crate::imports::net::{LendsNet, Net, NetView};
use crate::imports::secrets::{LendsSecrets, SecretsView};
use crate::net::sender::Sender;
use crate::permissions::Permissions;

/// Bytes that a guest may hand over in one call. The largest honest call is a directory listing.
const HOSTCALL_BYTES: usize = 4 << 20;
/// Handles that a guest may hold: of resources, streams, futures and calls of its own. It may have as many again for
/// what the host holds on its behalf. A session holds about ten.
const HANDLES: usize = 1024;

/// The data of one Store.
pub(crate) struct State {
    table: ResourceTable,
    net: Net,
    permissions: Arc<Permissions>,
    limits: StoreLimits,
}

impl LendsLog for State {
    fn log(&mut self) -> LogView<'_> {
        LogView { provider: &self.permissions.provider, budget: &self.permissions.log_budget }
    }
}

impl LendsSecrets for State {
    fn secrets(&mut self) -> SecretsView<'_> {
        let Permissions { provider, secrets, reveal, log_budget, .. } = &*self.permissions;
        SecretsView { provider, secrets, reveal, log_budget }
    }
}

impl LendsNet for State {
    fn net(&mut self) -> NetView<'_> {
        NetView { net: &mut self.net, table: &mut self.table }
    }
}

/// A Store that marks its requests as dead before it goes, so that an upload that is cut off never looks complete to
/// the server.
pub(crate) struct GuestStore {
    pub(crate) store: Store<State>,
    pub(crate) meter: Arc<Meter>,
    dead: Arc<AtomicBool>,
}

impl Drop for GuestStore {
    fn drop(&mut self) {
        self.dead.store(true, Ordering::SeqCst);
    }
}

impl GuestStore {
    /// A Store with every limit set. Without a `sender`, no request leaves.
    pub(crate) fn new(engine: &wasmtime::Engine, permissions: Arc<Permissions>, sender: Option<Arc<Sender>>) -> Self {
        let meter = Arc::new(Meter::default());
        let cpu = permissions.cpu;
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        let net = Net::new(sender);
        let dead = net.dead();
        let limits = StoreLimits { memory: permissions.memory, meter: meter.clone() };
        let mut store = Store::new(engine, State { table, net, permissions, limits });
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(HOSTCALL_BYTES);
        store.set_max_component_handles(HANDLES);
        store.set_epoch_deadline(1);
        let ticking = meter.clone();
        let allowed = u32::try_from(cpu.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX).max(1);
        store.epoch_deadline_callback(move |_| {
            if ticking.tick(allowed) {
                Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
            } else {
                Ok(UpdateDeadline::Interrupt)
            }
        });
        GuestStore { store, meter, dead }
    }
}
