//! The contract of `wit/` as Rust. The code is generated and has no behaviour of its own.
//!
//! There is one part for what every plugin has, one for each kind, and one for each interface that a sandbox provider may
//! leave out, all over the types of [`host`]. The `export_…!` macros below combine them, so a plugin exports exactly what
//! it has.

/// What a plugin calls: types, net, secrets, cache, log, progress, clocks, random numbers, HTTP.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::mem_forget)]
pub mod host {
    wit_bindgen::generate!({
        inline: "
            package sandbox-broker:sdk-host;
            world imports {
                import wasi:clocks/monotonic-clock@0.3.0;
                import wasi:clocks/system-clock@0.3.0;
                import wasi:random/random@0.3.0;
                import wasi:http/types@0.3.0;
                import wasi:http/client@0.3.0;
                import sandbox-broker:plugin/types@0.2.0;
                import sandbox-broker:plugin/streams@0.2.0;
                import sandbox-broker:plugin/net@0.2.0;
                import sandbox-broker:plugin/secrets@0.2.0;
                import sandbox-broker:plugin/cache@0.2.0;
                import sandbox-broker:plugin/log@0.2.0;
                import sandbox-broker:plugin/progress@0.2.0;
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
            world about-exports { export sandbox-broker:plugin/manifest@0.2.0; }
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
                export sandbox-broker:plugin/sandbox@0.2.0;
                export sandbox-broker:plugin/exec@0.2.0;
            }
        ",
        path: "../wit",
        with: {
            "sandbox-broker:plugin/types@0.2.0": crate::__bindings::host::sandbox_broker::plugin::types,
            "sandbox-broker:plugin/streams@0.2.0": crate::__bindings::host::sandbox_broker::plugin::streams,
        },
        runtime_path: "::sandbox_broker_sdk::wit_bindgen::rt",
        pub_export_macro: true,
        export_macro_name: "__export_provider",
        default_bindings_module: "::sandbox_broker_sdk::__bindings::provider",
    });
}

/// Leases that can be moved.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::mem_forget)]
pub mod lease {
    wit_bindgen::generate!({
        inline: "
            package sandbox-broker:sdk-lease;
            world lease-exports {
                export sandbox-broker:plugin/lease@0.2.0;
            }
        ",
        path: "../wit",
        with: { "sandbox-broker:plugin/types@0.2.0": crate::__bindings::host::sandbox_broker::plugin::types },
        runtime_path: "::sandbox_broker_sdk::wit_bindgen::rt",
        pub_export_macro: true,
        export_macro_name: "__export_lease",
        default_bindings_module: "::sandbox_broker_sdk::__bindings::lease",
    });
}

/// Terminals of the provider.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::mem_forget)]
pub mod terminal {
    wit_bindgen::generate!({
        inline: "
            package sandbox-broker:sdk-terminal;
            world terminal-exports {
                export sandbox-broker:plugin/terminal@0.2.0;
            }
        ",
        path: "../wit",
        with: {
            "sandbox-broker:plugin/types@0.2.0": crate::__bindings::host::sandbox_broker::plugin::types,
            "sandbox-broker:plugin/streams@0.2.0": crate::__bindings::host::sandbox_broker::plugin::streams,
        },
        runtime_path: "::sandbox_broker_sdk::wit_bindgen::rt",
        pub_export_macro: true,
        export_macro_name: "__export_terminal",
        default_bindings_module: "::sandbox_broker_sdk::__bindings::terminal",
    });
}

/// Files by the provider.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::mem_forget)]
pub mod files {
    wit_bindgen::generate!({
        inline: "
            package sandbox-broker:sdk-files;
            world files-exports {
                export sandbox-broker:plugin/files@0.2.0;
            }
        ",
        path: "../wit",
        with: {
            "sandbox-broker:plugin/types@0.2.0": crate::__bindings::host::sandbox_broker::plugin::types,
            "sandbox-broker:plugin/streams@0.2.0": crate::__bindings::host::sandbox_broker::plugin::streams,
        },
        runtime_path: "::sandbox_broker_sdk::wit_bindgen::rt",
        pub_export_macro: true,
        export_macro_name: "__export_files",
        default_bindings_module: "::sandbox_broker_sdk::__bindings::files",
    });
}

/// Sleeping sandboxes.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::mem_forget)]
pub mod pause {
    wit_bindgen::generate!({
        inline: "
            package sandbox-broker:sdk-pause;
            world pause-exports {
                export sandbox-broker:plugin/pause@0.2.0;
            }
        ",
        path: "../wit",
        with: { "sandbox-broker:plugin/types@0.2.0": crate::__bindings::host::sandbox_broker::plugin::types },
        runtime_path: "::sandbox_broker_sdk::wit_bindgen::rt",
        pub_export_macro: true,
        export_macro_name: "__export_pause",
        default_bindings_module: "::sandbox_broker_sdk::__bindings::pause",
    });
}

/// Routes to ports.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::mem_forget)]
pub mod ports {
    wit_bindgen::generate!({
        inline: "
            package sandbox-broker:sdk-ports;
            world ports-exports {
                export sandbox-broker:plugin/ports@0.2.0;
            }
        ",
        path: "../wit",
        with: { "sandbox-broker:plugin/types@0.2.0": crate::__bindings::host::sandbox_broker::plugin::types },
        runtime_path: "::sandbox_broker_sdk::wit_bindgen::rt",
        pub_export_macro: true,
        export_macro_name: "__export_ports",
        default_bindings_module: "::sandbox_broker_sdk::__bindings::ports",
    });
}

/// Volumes of the provider.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::mem_forget)]
pub mod volumes {
    wit_bindgen::generate!({
        inline: "
            package sandbox-broker:sdk-volumes;
            world volumes-exports {
                export sandbox-broker:plugin/volumes@0.2.0;
            }
        ",
        path: "../wit",
        with: { "sandbox-broker:plugin/types@0.2.0": crate::__bindings::host::sandbox_broker::plugin::types },
        runtime_path: "::sandbox_broker_sdk::wit_bindgen::rt",
        pub_export_macro: true,
        export_macro_name: "__export_volumes",
        default_bindings_module: "::sandbox_broker_sdk::__bindings::volumes",
    });
}

/// What a storage provider exports in addition.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::mem_forget)]
pub mod storage {
    wit_bindgen::generate!({
        inline: "
            package sandbox-broker:sdk-storage;
            world storage-exports {
                export sandbox-broker:plugin/mounter@0.2.0;
            }
        ",
        path: "../wit",
        with: { "sandbox-broker:plugin/types@0.2.0": crate::__bindings::host::sandbox_broker::plugin::types },
        runtime_path: "::sandbox_broker_sdk::wit_bindgen::rt",
        pub_export_macro: true,
        export_macro_name: "__export_storage",
        default_bindings_module: "::sandbox_broker_sdk::__bindings::storage",
    });
}

/// Exports a type as a sandbox provider. It implements [`manifest::Guest`](crate::manifest::Guest),
/// [`sandbox::Guest`](crate::sandbox::Guest) and [`exec::Guest`](crate::exec::Guest), and for each interface that is named
/// after the colon the `Guest` of that module: `lease`, `terminal`, `files`, `pause`, `ports`, `volumes`.
///
/// ```ignore
/// sandbox_broker_sdk::export_sandbox_provider!(Plugin: lease, files);
/// ```
///
/// Only for wasm: a native linker does not accept the names of the exports.
#[macro_export]
macro_rules! export_sandbox_provider {
    ($plugin:ident $(: $($interface:ident),+ $(,)?)?) => {
        $crate::__bindings::about::__export_about!($plugin with_types_in $crate::__bindings::about);
        $crate::__bindings::provider::__export_provider!($plugin with_types_in $crate::__bindings::provider);
        $($($crate::__export_optional!($interface $plugin);)+)?
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_optional {
    (lease $plugin:ident) => {
        $crate::__bindings::lease::__export_lease!($plugin with_types_in $crate::__bindings::lease);
    };
    (terminal $plugin:ident) => {
        $crate::__bindings::terminal::__export_terminal!($plugin with_types_in $crate::__bindings::terminal);
    };
    (files $plugin:ident) => {
        $crate::__bindings::files::__export_files!($plugin with_types_in $crate::__bindings::files);
    };
    (pause $plugin:ident) => {
        $crate::__bindings::pause::__export_pause!($plugin with_types_in $crate::__bindings::pause);
    };
    (ports $plugin:ident) => {
        $crate::__bindings::ports::__export_ports!($plugin with_types_in $crate::__bindings::ports);
    };
    (volumes $plugin:ident) => {
        $crate::__bindings::volumes::__export_volumes!($plugin with_types_in $crate::__bindings::volumes);
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
