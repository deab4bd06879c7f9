//! From a file's bytes to native code.
//!
//! Owns the engine's configuration, what counts as a component, and the form of a compiled one. Both the broker and the process that compiles for it
//! use this file, so they agree on the configuration. Deliberately knows neither the contract nor where code is kept.

use wasmtime::Config;
use wasmtime::component::Component;

use sandbox_broker_footprint::Footprint;

/// How the engine of the broker and of the compiling process is set up.
pub(super) fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .wasm_component_model_async(true)
        // Features that no plugin needs are off: most advisories of the engine are about them.
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false)
        .max_wasm_stack(256 << 10)
        .async_stack_size(1 << 20);
    config
}

/// The bytes of a component: the file itself, or a component made from a core module.
fn encoded(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    // Byte 4 to 8 of the preamble: version 1, layer 0 is a core module.
    if !bytes.starts_with(b"\0asm\x01\0\0\0") {
        return Ok(bytes);
    }
    wit_component::ComponentEncoder::default()
        .module(&bytes)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|e| format!("the core module has no usable component type: {e:#}"))
}

/// A component that is compiled, and what each instance of it takes.
pub(super) struct Native {
    pub(super) component: Component,
    pub(super) footprint: Footprint,
}

impl std::fmt::Debug for Native {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Native").field("footprint", &self.footprint).finish_non_exhaustive()
    }
}

/// Compiles a plugin to native code for the engine of this program, behind its footprint.
pub(super) fn precompile(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    let engine = wasmtime::Engine::new(&config()).map_err(|e| format!("cannot start the plugin engine: {e:#}"))?;
    let bytes = encoded(bytes)?;
    // What would be too much to run may be too much to compile.
    let footprint = Footprint::of(&bytes)?;
    let code = engine.precompile_component(&bytes).map_err(no_component)?;
    Ok([&footprint.to_bytes()[..], &code].concat())
}

/// Compiles a component in this process, without bounds.
pub(super) fn component(engine: &wasmtime::Engine, bytes: Vec<u8>) -> Result<Native, String> {
    let bytes = encoded(bytes)?;
    let footprint = Footprint::of(&bytes)?;
    Ok(Native { component: Component::new(engine, &bytes).map_err(no_component)?, footprint })
}

fn no_component(error: wasmtime::Error) -> String {
    format!("not a WebAssembly component: {error:#}")
}
