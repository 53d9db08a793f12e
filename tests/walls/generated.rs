//! Generated hostile volumes: every kind of modification at every place, in every state of a cache, under every command.
//!
//! `MODELCACHE_TEST_SEED=N` reproduces case N, and `MODELCACHE_TEST_CASES=N` runs that many from it on.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use crate::{
    base::{Base, Bases},
    chance::asked,
    judge::wrongs,
    kind::{Kind, plant},
    orders::{self, FETCH},
    place::Place,
    program::Order,
    site::Site,
};

/// The number of cases.
const CASES: u64 = 1000;
/// The number of the first case. Each number has its own place and kind.
const FIRST: u64 = 20_260_000;
/// The number of concurrent cases: each mostly waits for short runs of the program.
const AT_ONCE: usize = 4;

/// A case, by its number alone.
#[derive(Debug)]
struct Case {
    place: Place,
    kind: Kind,
    base: Base,
    as_nobody: bool,
    orders: [Order; 2],
}

impl Case {
    /// Consecutive numbers have different places and kinds, and all pairs occur before one repeats.
    fn new(number: u64, chance: &mut fastrand::Rng) -> Self {
        let pairs = (Place::ALL.len() * Kind::ALL.len()) as u64;
        // A step coprime to the number of pairs visits all of them.
        let pair = usize::try_from(number.wrapping_mul(617) % pairs).unwrap();
        let (place, kind) = (Place::ALL[pair % Place::ALL.len()], Kind::ALL[pair / Place::ALL.len()]);
        let base = match place {
            Place::Incomplete | Place::Sidecar if chance.u8(..4) > 0 => {
                *chance.choice(&[Base::Empty, Base::Half]).unwrap()
            }
            Place::Store | Place::StoreFolder | Place::StoreFile if chance.u8(..4) > 0 => Base::SharedStore,
            _ => *chance.choice(&Base::ALL).unwrap(),
        };
        let orders = [orders::LOOKS, orders::CHANGES].map(|some| *chance.choice(some).unwrap());
        Self { place, kind, base, as_nobody: kind.is_about_modes() || chance.u8(..4) == 0, orders }
    }
}

/// Runs a case, and returns what went wrong.
fn play(bases: &Bases, number: u64) -> (Case, Vec<String>) {
    let mut chance = fastrand::Rng::with_seed(number);
    let case = Case::new(number, &mut chance);
    let site = Site::new(bases, case.base, case.as_nobody);
    let planted = plant(case.kind, case.place, bases, &site, &mut chance);
    let mut found = Vec::new();
    for order in &case.orders {
        found.extend(wrongs(bases, &site, order).1);
    }
    planted.take_away();
    site.give_cache();
    let (end, after) = wrongs(bases, &site, &FETCH);
    found.extend(after);
    if end.code != Some(0) {
        let err = String::from_utf8_lossy(&end.err);
        found.push(format!("afterwards: not even without it: {}", err.lines().last().unwrap_or_default()));
    }
    (case, found)
}

/// The category of an error, by its first words.
fn class(wrong: &str) -> &str {
    wrong.split("}: ").nth(1).unwrap_or(wrong).split(':').next().unwrap_or_default()
}

#[tokio::test]
async fn no_generated_volume_causes_harm() {
    let bases = Bases::make().await;
    let count = std::env::var("MODELCACHE_TEST_CASES").ok().and_then(|count| count.parse().ok());
    let (first, count) = match asked() {
        Some(number) => (number, count.unwrap_or(1)),
        None => (FIRST, count.unwrap_or(CASES)),
    };
    let next = AtomicU64::new(0);
    let failed = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Relaxed);
                    if at >= count {
                        return;
                    }
                    let number = first + at;
                    let played = catch_unwind(AssertUnwindSafe(|| play(&bases, number)));
                    match played {
                        Ok((_, found)) if found.is_empty() => {}
                        Ok((case, found)) => {
                            let text = format!(
                                "MODELCACHE_TEST_SEED={number} {case:?}\n    {}",
                                found.join("\n    ")
                            );
                            failed.lock().unwrap().insert(number, (found, text));
                        }
                        Err(_) => {
                            let text = format!("MODELCACHE_TEST_SEED={number}: the case itself has failed");
                            failed.lock().unwrap().insert(number, (Vec::new(), text));
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let mut classes: BTreeMap<&str, usize> = BTreeMap::new();
    for (found, text) in failed.values() {
        println!("{text}");
        let mut seen: Vec<_> = found.iter().map(|wrong| class(wrong)).collect();
        seen.sort_unstable();
        seen.dedup();
        for class in seen {
            *classes.entry(class).or_default() += 1;
        }
    }
    println!("{count} volumes from {first} on: {} harmed somebody {classes:?}", failed.len());
    assert!(failed.is_empty(), "{} of {count} volumes harmed somebody", failed.len());
}
