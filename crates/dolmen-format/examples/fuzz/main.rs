//! Mutates the golden vectors for a while: `cargo run --release -p dolmen-format --example fuzz -- SECONDS SEED`.
#![expect(clippy::print_stdout, reason = "it is a program")]

mod harness;

use std::error::Error;
use std::time::{Duration, Instant};

use harness::{Random, mutate, round_trip, vectors};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().ok_or("SECONDS SEED")?.parse()?;
    let seed: u64 = arguments.next().ok_or("SECONDS SEED")?.parse()?;
    let vectors = vectors()?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut random = Random(seed);
    let (mut inputs, mut accepted) = (0_u64, 0_u64);
    while Instant::now() < end {
        for _ in 0..1000 {
            let input = mutate(&vectors, &mut random);
            inputs += 1;
            match round_trip(&input) {
                Ok(times) => accepted += u64::from(times > 0),
                Err(decoder) => {
                    return Err(format!("{decoder} reads a second encoding: {input:02x?}").into());
                }
            }
        }
    }
    println!("{inputs} inputs, {accepted} accepted, each in one encoding");
    Ok(())
}
