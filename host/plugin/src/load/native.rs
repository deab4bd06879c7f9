//! From a file's bytes to native code.
//!
//! Owns the engine's configuration and what counts as a component. Both the broker and the process that compiles for it
//! use this file, so they agree on the configuration. Deliberately knows neither the contract nor where code is kept.

use wasmtime::Config;
use wasmtime::component::Component;

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

/// Compiles a plugin to native code for the engine of this program.
pub(super) fn precompile(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    let engine = wasmtime::Engine::new(&config()).map_err(|e| format!("cannot start the plugin engine: {e:#}"))?;
    engine.precompile_component(&encoded(bytes)?).map_err(|e| format!("not a WebAssembly component: {e:#}"))
}

/// Compiles a component in this process, without bounds.
pub(super) fn component(engine: &wasmtime::Engine, bytes: Vec<u8>) -> Result<Component, String> {
    Component::new(engine, encoded(bytes)?).map_err(|e| format!("not a WebAssembly component: {e:#}"))
}
