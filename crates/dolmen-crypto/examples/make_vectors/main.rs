//! Writes the golden vectors: `cargo run -p dolmen-crypto --example make_vectors -- testdata/vectors`.
//!
//! Vectors are added to, never changed: a file that is there and differs is left alone and reported,
//! unless `--replace` follows the folder (for a format that nobody has released).
#![expect(clippy::print_stdout, reason = "it is a program")]

#[path = "world.rs"]
mod world;

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("which folder?")?);
    let replace = arguments.next().is_some_and(|flag| flag == "--replace");
    let mut differ = false;
    for (name, bytes) in world::World::new()?.vectors()? {
        let path = folder.join(&name);
        match std::fs::read(&path) {
            Ok(found) if found == bytes => {}
            Ok(_) if !replace => {
                println!("{name}: differs, left alone");
                differ = true;
            }
            Ok(_) | Err(_) => {
                std::fs::write(&path, bytes)?;
                println!("{name}: written");
            }
        }
    }
    if differ {
        return Err("some vectors are no longer what this version encodes".into());
    }
    Ok(())
}
