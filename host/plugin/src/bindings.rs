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
    },
    exports: { default: async | store },
});

pub use exports::sandbox_broker::plugin as guest;
pub use sandbox_broker::plugin as host;

/// The world of storage providers.
pub mod storage {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "sandbox-broker:plugin/storage-provider",
        with: {
            "sandbox-broker:plugin/types": crate::bindings::host::types,
            "sandbox-broker:plugin/secrets": crate::bindings::host::secrets,
            "sandbox-broker:plugin/log": crate::bindings::host::log,
            "sandbox-broker:plugin/progress": crate::bindings::host::progress,
        },
        exports: { default: async | store },
    });

    pub use exports::sandbox_broker::plugin::mounter;
}
