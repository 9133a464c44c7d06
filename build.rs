//! Rebuilds the crate when an embedded migration changes; cargo does not see what a macro reads.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
