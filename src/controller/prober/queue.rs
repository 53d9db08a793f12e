//! Whose question is next: namespaces take turns, and a first question goes before one that only refreshes an answer. Pure.

use crate::controller::round_robin::RoundRobin;

/// One in so many is a refresh while there are first questions: a flood of new objects does not stop all refreshing.
const REFRESH_ONE_IN: u32 = 4;

/// What a question is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Priority {
    /// Nothing is known yet.
    First,
    /// There is an answer, which is old.
    Refresh,
}

/// A queue that is fair to namespaces.
#[derive(Debug)]
pub struct FairQueue<T> {
    first: RoundRobin<T>,
    refresh: RoundRobin<T>,
    /// First questions since the last refresh.
    in_a_row: u32,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { first: RoundRobin::default(), refresh: RoundRobin::default(), in_a_row: 0 }
    }
}

impl<T> FairQueue<T> {
    /// Puts an item at the end of its namespace's line.
    pub fn push(&mut self, namespace: &str, priority: Priority, item: T) {
        match priority {
            Priority::First => self.first.push(namespace, item),
            Priority::Refresh => self.refresh.push(namespace, item),
        }
    }

    /// Takes the next item of a namespace that `admits` lets through, with that namespace.
    pub fn pop(&mut self, admits: impl Fn(&str) -> bool) -> Option<(String, T)> {
        let refresh_is_due = self.in_a_row + 1 >= REFRESH_ONE_IN;
        let popped = if refresh_is_due {
            self.refresh.pop(&admits).map(|item| (item, false)).or_else(|| self.pop_first(&admits))
        } else {
            self.pop_first(&admits).or_else(|| self.refresh.pop(&admits).map(|item| (item, false)))
        };
        let (item, is_first) = popped?;
        self.in_a_row = if is_first { self.in_a_row.saturating_add(1) } else { 0 };
        Some(item)
    }

    fn pop_first(&mut self, admits: &impl Fn(&str) -> bool) -> Option<((String, T), bool)> {
        self.first.pop(admits).map(|item| (item, true))
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    fn drain(queue: &mut FairQueue<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.pop(|_| true).map(|(_, item)| item)).collect()
    }

    #[test]
    fn namespaces_take_turns_however_much_one_of_them_asks() {
        let mut queue = FairQueue::default();
        for item in ["a1", "a2", "a3", "a4"] {
            queue.push("a", Priority::First, item);
        }
        queue.push("b", Priority::First, "b1");
        queue.push("c", Priority::First, "c1");
        queue.push("c", Priority::First, "c2");
        assert_eq!(drain(&mut queue), ["a1", "b1", "c1", "a2", "c2", "a3", "a4"]);
    }

    #[test]
    fn first_questions_go_before_refreshes_and_do_not_starve_them() {
        let mut queue = FairQueue::default();
        queue.push("a", Priority::Refresh, "r1");
        queue.push("a", Priority::Refresh, "r2");
        for item in ["f1", "f2", "f3", "f4"] {
            queue.push("b", Priority::First, item);
        }
        assert_eq!(drain(&mut queue), ["f1", "f2", "f3", "r1", "f4", "r2"]);
    }

    #[test]
    fn a_namespace_that_has_enough_in_flight_is_passed_over_and_loses_nothing() {
        let mut queue = FairQueue::default();
        for item in ["a1", "a2"] {
            queue.push("a", Priority::First, item);
        }
        queue.push("b", Priority::Refresh, "b1");
        assert_eq!(queue.pop(|namespace| namespace != "a"), Some(("b".to_owned(), "b1")));
        assert_eq!(queue.pop(|namespace| namespace != "a"), None);
        assert_eq!(drain(&mut queue), ["a1", "a2"]);
    }
}
