//! Namespaces take turns: a line for each of them. Knows nothing of what is in the lines. Pure.

use std::collections::{HashMap, VecDeque};

/// A line for each namespace, and whose turn it is.
#[derive(Debug)]
pub struct RoundRobin<T> {
    lines: HashMap<String, VecDeque<T>>,
    order: VecDeque<String>,
}

impl<T> Default for RoundRobin<T> {
    fn default() -> Self {
        Self { lines: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> RoundRobin<T> {
    /// Puts an item at the end of its namespace's line.
    pub fn push(&mut self, namespace: &str, item: T) {
        if !self.lines.contains_key(namespace) {
            self.order.push_back(namespace.to_owned());
        }
        self.lines.entry(namespace.to_owned()).or_default().push_back(item);
    }

    /// Takes the next item of a namespace that `admits` lets through, with that namespace.
    pub fn pop(&mut self, admits: &impl Fn(&str) -> bool) -> Option<(String, T)> {
        let turn = self.order.iter().position(|namespace| admits(namespace))?;
        let namespace = self.order.remove(turn)?;
        let line = self.lines.get_mut(&namespace)?;
        let item = line.pop_front()?;
        if line.is_empty() {
            self.lines.remove(&namespace);
        } else {
            self.order.push_back(namespace.clone());
        }
        Some((namespace, item))
    }
}
