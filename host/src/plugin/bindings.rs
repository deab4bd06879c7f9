//! Generated from `wit/`; nothing is written by hand here.

#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "sandbox-broker:plugin/sandbox-provider",
    with: {
        "wasi:http": wasmtime_wasi_http::p3::bindings::http,
        "wasi:clocks": wasmtime_wasi::p3::bindings::clocks,
    },
    exports: { default: async | store },
});

pub use exports::sandbox_broker::plugin as guest;
pub use sandbox_broker::plugin as host;
