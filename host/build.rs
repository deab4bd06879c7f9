//! Tells cargo that an optimized build holds the page: without this, a page
//! built after the program would not get into it. Other builds read the page
//! from disk.

fn main() {
    if std::env::var_os("PROFILE").is_some_and(|profile| profile == "release") {
        println!("cargo::rerun-if-changed=../web/dist");
    } else {
        println!("cargo::rerun-if-changed=build.rs");
    }
}
