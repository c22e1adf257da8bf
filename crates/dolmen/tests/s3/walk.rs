//! The simulation, shortened, on a real server: machines that back up, a maintainer, a thief with the owner's credentials, and
//! a line on which the program fails and is killed, all from one seed.
//!
//! The seed says what is done and what breaks. How long the server and this machine take for it is their own: the same seed
//! tries the same things, and need not meet the same moments. Whatever time passes, only what was promised is asked for.
//!
//! What a snapshot needs is nobody's word here. A copy of the versions alone whose locks end no sooner than the promise, as an
//! independent client sees them, must give it back byte for byte to who has the passphrase: so nothing that it needs could
//! have been deleted by anybody until then.

mod line;
mod outsider;
mod thief;
mod world;

use world::Walk;

/// Walks of the suite, at the same time.
const SEEDS: [u64; 2] = [1, 302];
/// Steps of each.
const STEPS: usize = 10;
/// Walks at the same time, where many are asked for.
const TOGETHER: usize = 3;

/// `DOLMEN_WALKS=100..140 DOLMEN_WALK_STEPS=40`: the walks of other seeds, and longer ones.
#[test]
fn what_is_promised_holds_on_a_bucket_whatever_is_done_to_it() {
    let asked = |variable| std::env::var_os(variable)?.into_string().ok();
    let steps = asked("DOLMEN_WALK_STEPS").map_or(STEPS, |steps| steps.parse().unwrap());
    let seeds: Vec<u64> = match asked("DOLMEN_WALKS") {
        Some(range) => {
            let (first, end) = range.split_once("..").expect("FIRST..END");
            (first.parse().unwrap()..end.parse().unwrap()).collect()
        }
        None => SEEDS.to_vec(),
    };
    for some in seeds.chunks(TOGETHER) {
        let walks: Vec<_> = some.iter().map(|seed| start(*seed, steps)).collect();
        let failed: Vec<_> = walks.into_iter().filter_map(end).collect();
        assert!(failed.is_empty(), "the walks of these seeds: {failed:?}");
    }
}

/// A walk under way, and its seed.
type Started = (u64, std::thread::JoinHandle<()>);

fn start(seed: u64, steps: usize) -> Started {
    let walk = move || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async { Walk::begin(seed).await.take(steps).await });
    };
    let thread = std::thread::Builder::new().name(format!("seed {seed}"));
    (seed, thread.spawn(walk).unwrap())
}

/// Waits for its end; the seed, if something happened that must not.
fn end((seed, thread): Started) -> Option<u64> {
    thread.join().is_err().then_some(seed)
}
