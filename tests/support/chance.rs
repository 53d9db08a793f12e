//! Generated cases that can be had again.

/// The cases are the same in each run. Another seed makes others.
const SEED: u64 = 0x6d6f_6465_6c63_6163;

/// The seed that was asked for.
pub fn asked() -> Option<u64> {
    std::env::var("MODELCACHE_TEST_SEED").ok()?.parse().ok()
}

/// The source of chance for a test, and a line that tells how to get the same again.
pub fn chance(test: &str) -> fastrand::Rng {
    let seed = asked().unwrap_or(SEED);
    println!("{test}: MODELCACHE_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// A text of up to `longest` pieces.
pub fn text(chance: &mut fastrand::Rng, pieces: &[&str], longest: usize) -> String {
    let length = chance.usize(..=longest);
    (0..length).map(|_| chance.choice(pieces).copied().unwrap()).collect()
}
