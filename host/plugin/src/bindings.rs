//! Code generated from `wit/`. Nothing here is written by hand.
//!
//! There is one part for each kind of plugin, and both share the types of the first. Of the world with all interfaces of
//! a sandbox provider only the parts are used: `load/exports` looks for each interface by itself.

#![allow(missing_docs, unreachable_pub, dead_code, clippy::all, reason = "generated code")]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "sandbox-broker:plugin/full-sandbox-provider",
    with: {
        "wasi:http": wasmtime_wasi_http::p3::bindings::http,
        "wasi:clocks": wasmtime_wasi::p3::bindings::clocks,
        "wasi:random": wasmtime_wasi::p3::bindings::random,
        // The generator writes types that do not exist for a named stream or future.
        "sandbox-broker:plugin/streams": crate::bindings::streams,
    },
    imports: {
        "sandbox-broker:plugin/net.fetch": store | trappable,
        "sandbox-broker:plugin/net.upgrade": store | trappable,
        "sandbox-broker:plugin/net.websocket": store | trappable,
        "sandbox-broker:plugin/net.connect": store | trappable,
        "sandbox-broker:plugin/net.rpc": store | trappable,
        "sandbox-broker:plugin/net.feed": store | trappable,
    },
    exports: { default: async | store },
});

/// The interface `streams`, by hand.
pub mod streams {
    use wasmtime::component::{ComponentType, FutureReader, HasData, Lift, Linker, Lower, StreamReader};

    use super::host::types::{Error, Exit};

    pub type Bytes = StreamReader<u8>;
    pub type Ended = FutureReader<Result<String, Error>>;

    #[derive(Debug, ComponentType, Lift, Lower)]
    #[component(variant)]
    pub enum Ending {
        #[component(name = "told")]
        Told(FutureReader<Result<Exit, Error>>),
        #[component(name = "reported")]
        Reported(Ended),
    }

    pub trait Host {}
    impl<T: Host + ?Sized> Host for &mut T {}
    pub trait HostWithStore<T>: HasData {}
    impl<T, D: HasData + ?Sized> HostWithStore<T> for D {}

    /// It has no function.
    pub fn add_to_linker<T, D>(_: &mut Linker<T>, _: fn(&mut T) -> D::Data<'_>) -> wasmtime::Result<()>
    where
        D: HostWithStore<T>,
        T: 'static,
    {
        Ok(())
    }
}

pub use exports::sandbox_broker::plugin as guest;
pub use sandbox_broker::plugin as host;

/// The world of storage providers.
pub mod storage {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "sandbox-broker:plugin/storage-provider",
        with: {
            "sandbox-broker:plugin/types": crate::bindings::host::types,
            "wasi:random": wasmtime_wasi::p3::bindings::random,
            "sandbox-broker:plugin/secrets": crate::bindings::host::secrets,
            "sandbox-broker:plugin/cache": crate::bindings::host::cache,
            "sandbox-broker:plugin/log": crate::bindings::host::log,
            "sandbox-broker:plugin/progress": crate::bindings::host::progress,
        },
        exports: { default: async | store },
    });

    pub use exports::sandbox_broker::plugin::mounter;
}
