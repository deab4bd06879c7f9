//! The built component: that it has the exports of a storage provider and can
//! reach nothing. `cargo xtask plugins` builds it.

use std::path::PathBuf;

use wit_component::{DecodedWasm, decode};

#[test]
fn it_imports_secrets_and_the_log_and_nothing_else() {
    let directory = std::env::var_os("BROKER_PLUGINS_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins"), PathBuf::from);
    let path = directory.join("s3.wasm");
    let bytes =
        std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; run `cargo xtask plugins` first", path.display()));
    let DecodedWasm::Component(resolve, world) = decode(&bytes).expect("a component") else {
        panic!("{} is no component", path.display())
    };
    let world = &resolve.worlds[world];
    let mut imports: Vec<String> = world.imports.keys().map(|key| resolve.name_world_key(key)).collect();
    imports.sort();
    let ours = |name: &str| format!("sandbox-broker:plugin/{name}@0.2.0");
    assert_eq!(imports, [ours("log"), ours("secrets"), ours("types")]);
    let mut exports: Vec<String> = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
    exports.sort();
    assert_eq!(exports, [ours("manifest"), ours("mounter")]);
}
