//! What one Store may hold: memory, tables and core instances, each in total.
//!
//! Owns that all bytes count: those of linear memories and tables, and those that the host keeps for the component's
//! instances. How many of each a component may have is checked when it is loaded, and once more here. Memory also counts to the [`Totals`](crate::totals::Totals) of the section. CPU time is the
//! [`Meter`]'s, handles and calls are bounded where the Store is made.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use super::meter::Meter;
use crate::permissions::Permissions;
use sandbox_broker_footprint::{INSTANCES, MEMORIES, TABLES};

/// Bytes of the host that one element of a table takes. They count as memory.
const ELEMENT_BYTES: usize = size_of::<usize>();

/// The limits of one Store. What it held is given back to the section when it goes.
pub(super) struct StoreLimits {
    permissions: Arc<Permissions>,
    /// Bytes of the host for the component's instances, and of all linear memories and tables.
    held: usize,
    /// Whether there is room for the component's instances.
    room: bool,
    /// Learns that memory ran out.
    meter: Arc<Meter>,
}

impl StoreLimits {
    /// The limits of a Store for a component whose instances take `host` bytes of the host.
    pub(super) fn new(permissions: Arc<Permissions>, meter: Arc<Meter>, host: usize) -> Self {
        let mut limits = StoreLimits { permissions, held: 0, room: false, meter };
        limits.room = limits.take(host);
        limits
    }

    /// Takes this many bytes more for the Store, if they fit. A growth that then fails all the same is not given back: the
    /// engine also reports failures of growths that it never asked for.
    fn take(&mut self, bytes: usize) -> bool {
        let fits = self.held.checked_add(bytes).is_some_and(|sum| sum <= self.permissions.memory);
        let taken = fits && self.permissions.totals.memory.take(bytes);
        if taken {
            self.held += bytes;
        } else {
            self.meter.deny_memory(fits);
        }
        taken
    }
}

impl Drop for StoreLimits {
    fn drop(&mut self) {
        self.permissions.totals.memory.give_back(self.held);
    }
}

impl ResourceLimiter for StoreLimits {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(maximum.is_none_or(|most| desired <= most) && self.take(desired.saturating_sub(current)))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current).saturating_mul(ELEMENT_BYTES);
        Ok(maximum.is_none_or(|most| desired <= most) && self.take(more))
    }

    fn instances(&self) -> usize {
        if self.room { INSTANCES } else { 0 }
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Instance, Memory, Module, Table};

    use super::*;
    use crate::store::GuestStore;
    use crate::totals::Totals;
    use sandbox_broker_core::sandbox::Call;
    use sandbox_broker_footprint::Footprint;

    const MIB: usize = 1 << 20;
    const PAGE: usize = 64 << 10;

    /// A module that exports `memories` memories and a table, all of them empty and without a maximum.
    fn module(engine: &Engine, memories: u8) -> Module {
        let mut bytes = b"\0asm\x01\0\0\0".to_vec();
        let mut section = |id, content: Vec<u8>| bytes.extend([vec![id, content.len() as u8], content].concat());
        section(4, vec![1, 0x70, 0, 0]);
        section(5, [vec![memories], [0, 0].repeat(memories.into())].concat());
        let exports = (0..memories).map(|n| vec![1, b'a' + n, 2, n]).chain([vec![1, b't', 1, 0]]);
        section(7, [vec![memories + 1], exports.flatten().collect()].concat());
        Module::new(engine, bytes).unwrap()
    }

    struct Guest {
        of: GuestStore,
        memories: Vec<Memory>,
        table: Table,
    }

    impl Guest {
        async fn new(engine: &Engine, memories: u8, permissions: &Arc<Permissions>) -> Self {
            let mut of = GuestStore::new(engine, Footprint::default(), Arc::clone(permissions), None, &Call::default());
            let instance = Instance::new_async(&mut of.store, &module(engine, memories), &[]).await.unwrap();
            let memory = |n| instance.get_memory(&mut of.store, &char::from(b'a' + n).to_string()).unwrap();
            let memories = (0..memories).map(memory).collect();
            let table = instance.get_table(&mut of.store, "t").unwrap();
            Guest { of, memories, table }
        }

        async fn grow(&mut self, memory: usize, bytes: usize) -> bool {
            self.memories[memory].grow_async(&mut self.of.store, (bytes / PAGE) as u64).await.is_ok()
        }

        /// Bytes that the memories take in 1 MiB after another, until no memory takes any more.
        async fn fill(&mut self) -> usize {
            let mut taken = 0;
            for memory in 0..self.memories.len() {
                while self.grow(memory, MIB).await {
                    taken += MIB;
                }
            }
            taken
        }
    }

    fn section(memory: usize, total: usize) -> Arc<Permissions> {
        Arc::new(Permissions { memory, totals: Totals::of(total), ..Permissions::default() })
    }

    fn engine() -> Engine {
        Engine::new(wasmtime::Config::new().epoch_interruption(true)).unwrap()
    }

    #[tokio::test]
    async fn the_memories_of_an_instance_have_one_limit_together() {
        let mut guest = Guest::new(&engine(), MEMORIES as u8, &section(4 * MIB, usize::MAX)).await;
        assert_eq!(guest.fill().await, 4 * MIB);
        assert!(guest.of.meter.reason().unwrap().contains("more memory than its limit"));
    }

    #[tokio::test]
    async fn more_memories_than_a_component_has_are_refused() {
        let engine = engine();
        let mut guest =
            GuestStore::new(&engine, Footprint::default(), section(4 * MIB, usize::MAX), None, &Call::default());
        let module = module(&engine, MEMORIES as u8 + 1);
        assert!(Instance::new_async(&mut guest.store, &module, &[]).await.is_err());
    }

    #[tokio::test]
    async fn tables_count_as_memory() {
        let mut guest = Guest::new(&engine(), 1, &section(4 * MIB, usize::MAX)).await;
        let null = || wasmtime::Ref::Func(None);
        let elements = (3 * MIB / ELEMENT_BYTES) as u64;
        guest.table.grow_async(&mut guest.of.store, elements, null()).await.unwrap();
        assert_eq!(guest.fill().await, MIB);
        assert!(guest.table.grow_async(&mut guest.of.store, 1, null()).await.is_err());
    }

    #[tokio::test]
    async fn all_instances_of_a_section_have_one_limit_together_and_give_back_what_they_had() {
        let (engine, section) = (engine(), section(4 * MIB, 6 * MIB));
        let mut first = Guest::new(&engine, 2, &section).await;
        let mut second = Guest::new(&engine, 2, &section).await;
        assert_eq!((first.fill().await, second.fill().await), (4 * MIB, 2 * MIB));
        assert!(second.of.meter.reason().unwrap().contains("limits.total_memory"));
        drop(first);
        assert_eq!(second.fill().await, 2 * MIB, "no more than one instance may have");
        assert_eq!(Guest::new(&engine, 2, &section).await.fill().await, 2 * MIB);
        drop(second);
        assert_eq!(Guest::new(&engine, 2, &section).await.fill().await, 4 * MIB);
    }

    #[tokio::test]
    async fn a_growth_that_fails_gives_nothing_back() {
        let mut guest = Guest::new(&engine(), 2, &section(4 * MIB, usize::MAX)).await;
        assert!(guest.grow(0, 3 * MIB).await);
        // More than a 32-bit memory can have: the engine refuses it by itself.
        assert!(guest.memories[0].grow_async(&mut guest.of.store, 1 << 32).await.is_err());
        assert_eq!(guest.fill().await, MIB);
    }

    /// A small file that asks for many instances of a module with much that the host keeps.
    #[tokio::test]
    async fn what_the_host_keeps_for_instances_counts_as_memory() {
        let engine = engine();
        let (globals, times) = (10_000_usize, 100);
        let (mut module, mut global) = (wasm_encoder::Module::new(), wasm_encoder::GlobalSection::new());
        let ty = wasm_encoder::GlobalType { val_type: wasm_encoder::ValType::I32, mutable: true, shared: false };
        for _ in 0..globals {
            global.global(ty, &wasm_encoder::ConstExpr::i32_const(0));
        }
        module.section(&global);
        let mut instances = wasm_encoder::InstanceSection::new();
        for _ in 0..times {
            instances.instantiate::<[(&str, wasm_encoder::ModuleArg); 0], &str>(0, []);
        }
        let mut component = wasm_encoder::Component::new();
        component.section(&wasm_encoder::ModuleSection(&module)).section(&instances);
        let bytes = component.finish();
        let footprint = Footprint::of(&bytes).unwrap();
        assert!(footprint.host() > globals * times * 16);
        let component = wasmtime::component::Component::new(&engine, &bytes).unwrap();
        let linker = wasmtime::component::Linker::new(&engine);
        let start = async |memory| {
            let mut guest = GuestStore::new(&engine, footprint, section(memory, usize::MAX), None, &Call::default());
            let started = linker.instantiate_async(&mut guest.store, &component).await.is_ok();
            (started, guest.meter.reason())
        };
        let (started, why) = start(8 * MIB).await;
        assert!(!started && why.as_ref().unwrap().contains("more memory than its limit of 8 MiB"), "{why:?}");
        assert_eq!(start(64 * MIB).await, (true, None));
    }
}
