//! Code generated from `wit/`. Nothing here is written by hand.
//!
//! There is one part for each world, and one for the exports that every plugin has. All share the types of the first.

#![allow(missing_docs, unreachable_pub, dead_code, clippy::all, reason = "generated code")]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "sandbox-broker:plugin/sandbox-provider",
    with: {
        "wasi:http": wasmtime_wasi_http::p3::bindings::http,
        "wasi:clocks": wasmtime_wasi::p3::bindings::clocks,
    },
    exports: { default: async | store },
});

pub use exports::sandbox_broker::plugin as guest;
pub use sandbox_broker::plugin as host;

/// The exports that every plugin has.
pub mod about {
    wasmtime::component::bindgen!({
        inline: "
            package sandbox-broker:host-about;
            world about { export sandbox-broker:plugin/manifest@0.1.0; }
        ",
        path: "../../wit",
        exports: { default: async | store },
    });

    pub use exports::sandbox_broker::plugin::manifest;
}

/// The world of storage providers.
pub mod storage {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "sandbox-broker:plugin/storage-provider",
        with: {
            "sandbox-broker:plugin/types": crate::bindings::host::types,
            "sandbox-broker:plugin/secrets": crate::bindings::host::secrets,
            "sandbox-broker:plugin/log": crate::bindings::host::log,
        },
        exports: { default: async | store },
    });

    pub use exports::sandbox_broker::plugin::mounter;
}
