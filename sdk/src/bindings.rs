//! The contract of `wit/` as Rust. The code is generated and has no behaviour of its own.
//!
//! There is one part per group of exports, all over the types of [`host`]. The `export_…!` macros below combine them
//! into the worlds of the contract, so a plugin exports exactly what it has.

/// What a plugin calls: types, secrets, log, clocks, HTTP.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::mem_forget)]
pub mod host {
    wit_bindgen::generate!({
        inline: "
            package sandbox-broker:sdk-host;
            world imports {
                import wasi:clocks/monotonic-clock@0.3.0;
                import wasi:clocks/system-clock@0.3.0;
                import wasi:http/types@0.3.0;
                import wasi:http/client@0.3.0;
                import sandbox-broker:plugin/types@0.1.0;
                import sandbox-broker:plugin/secrets@0.1.0;
                import sandbox-broker:plugin/log@0.1.0;
            }
        ",
        path: "../wit",
        generate_all,
        runtime_path: "::sandbox_broker_sdk::wit_bindgen::rt",
    });
}

/// What every plugin exports.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::mem_forget)]
pub mod about {
    wit_bindgen::generate!({
        inline: "
            package sandbox-broker:sdk-about;
            world about-exports { export sandbox-broker:plugin/manifest@0.1.0; }
        ",
        path: "../wit",
        runtime_path: "::sandbox_broker_sdk::wit_bindgen::rt",
        pub_export_macro: true,
        export_macro_name: "__export_about",
        default_bindings_module: "::sandbox_broker_sdk::__bindings::about",
    });
}

/// What a sandbox provider exports in addition.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::mem_forget)]
pub mod provider {
    wit_bindgen::generate!({
        inline: "
            package sandbox-broker:sdk-provider;
            world provider-exports {
                export sandbox-broker:plugin/sandbox@0.1.0;
                export sandbox-broker:plugin/terminal@0.1.0;
                export sandbox-broker:plugin/exec@0.1.0;
                export sandbox-broker:plugin/files@0.1.0;
            }
        ",
        path: "../wit",
        with: { "sandbox-broker:plugin/types@0.1.0": crate::__bindings::host::sandbox_broker::plugin::types },
        runtime_path: "::sandbox_broker_sdk::wit_bindgen::rt",
        pub_export_macro: true,
        export_macro_name: "__export_provider",
        default_bindings_module: "::sandbox_broker_sdk::__bindings::provider",
    });
}

/// What a storage provider exports in addition.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::mem_forget)]
pub mod storage {
    wit_bindgen::generate!({
        inline: "
            package sandbox-broker:sdk-storage;
            world storage-exports { export sandbox-broker:plugin/mounter@0.1.0; }
        ",
        path: "../wit",
        with: { "sandbox-broker:plugin/types@0.1.0": crate::__bindings::host::sandbox_broker::plugin::types },
        runtime_path: "::sandbox_broker_sdk::wit_bindgen::rt",
        pub_export_macro: true,
        export_macro_name: "__export_storage",
        default_bindings_module: "::sandbox_broker_sdk::__bindings::storage",
    });
}

/// Exports a type as a plugin of the world `sandbox-provider`. It implements
/// [`manifest::Guest`](crate::manifest::Guest) and the `Guest` traits of [`sandbox`](crate::sandbox),
/// [`terminal`](crate::terminal), [`exec`](crate::exec) and [`files`](crate::files). Only for wasm: a native linker
/// does not accept the names of the exports.
#[macro_export]
macro_rules! export_sandbox_provider {
    ($plugin:ident) => {
        $crate::__bindings::about::__export_about!($plugin with_types_in $crate::__bindings::about);
        $crate::__bindings::provider::__export_provider!($plugin with_types_in $crate::__bindings::provider);
    };
}

/// Exports a type as a plugin of the world `storage-provider`. It implements
/// [`manifest::Guest`](crate::manifest::Guest) and
/// [`mounter::Guest`](crate::mounter::Guest). Only for wasm.
#[macro_export]
macro_rules! export_storage_provider {
    ($plugin:ident) => {
        $crate::__bindings::about::__export_about!($plugin with_types_in $crate::__bindings::about);
        $crate::__bindings::storage::__export_storage!($plugin with_types_in $crate::__bindings::storage);
    };
}
