//! One reconcile at a time makes a Job for a volume that attaches to one node: those that wait for it are woken together, and the view
//! of each is from before the others' Jobs.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use crate::sync::locked;

/// The claims that a Job is being made for, by UID.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<Mutex<HashSet<String>>>);

/// The right to make a Job, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    claim: String,
}

impl Turns {
    /// None while another one has it.
    pub fn take(&self, claim: &str) -> Option<Turn> {
        let is_free = locked(&self.0).insert(claim.to_owned());
        is_free.then(|| Turn { turns: self.clone(), claim: claim.to_owned() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        locked(&self.turns.0).remove(&self.claim);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_the_turn_for_a_claim() {
        let turns = Turns::default();
        let first = turns.take("a");
        assert!(first.is_some() && turns.clone().take("a").is_none());
        assert!(turns.take("b").is_some(), "another claim is another turn");
        drop(first);
        assert!(turns.take("a").is_some());
    }
}
