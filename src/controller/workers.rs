//! How many reconciles run at one time, and whose is next: namespaces take turns, so that a thousand changes in one of them delay
//! another by no more than a reconcile. kube's own bound takes those that are due in no order.

use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::round_robin::RoundRobin;
use crate::sync::locked;

/// The workers of one controller.
#[derive(Clone, Debug)]
pub struct Workers(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    waiting: RoundRobin<oneshot::Sender<Worker>>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Worker(Option<Workers>);

impl Workers {
    /// All of them free.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: count, waiting: RoundRobin::default() })))
    }

    /// Waits for a worker, in the line of a namespace.
    pub async fn acquire(&self, namespace: &str) -> Worker {
        let turn = {
            let mut state = locked(&self.0);
            if state.free > 0 {
                state.free -= 1;
                return Worker(Some(self.clone()));
            }
            let (sender, turn) = oneshot::channel();
            state.waiting.push(namespace, sender);
            turn
        };
        // The sender stays in its line until it sends.
        turn.await.unwrap_or(Worker(None))
    }

    fn release(self) {
        loop {
            let next = {
                let mut state = locked(&self.0);
                let Some((_, next)) = state.waiting.pop(&|_| true) else {
                    state.free += 1;
                    return;
                };
                next
            };
            match next.send(Worker(Some(self.clone()))) {
                Ok(()) => return,
                // Who waited is gone. It is not released from here, which would do so from within itself for each of many.
                Err(mut unused) => unused.0 = None,
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(workers) = self.0.take() {
            workers.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, future::BoxFuture};
    use pretty_assertions::assert_eq;

    use super::*;

    fn wait(workers: &Workers, namespace: &'static str) -> BoxFuture<'static, (&'static str, Worker)> {
        let workers = workers.clone();
        let mut waiting = async move { (namespace, workers.acquire(namespace).await) }.boxed();
        assert!(waiting.as_mut().now_or_never().is_none(), "it has a worker already");
        waiting
    }

    #[test]
    fn namespaces_take_turns_however_many_one_of_them_has() {
        let workers = Workers::new(1);
        let mut busy = workers.acquire("a").now_or_never();
        let mut waiting: Vec<_> = ["a", "a", "a", "b", "a"].map(|namespace| wait(&workers, namespace)).into();
        let mut order = Vec::new();
        while busy.take().is_some() {
            let next = waiting.iter_mut().enumerate().find_map(|(n, one)| Some((n, one.now_or_never()?)));
            let Some((number, (namespace, worker))) = next else { break };
            drop(waiting.remove(number));
            order.push(namespace);
            busy = Some(worker);
        }
        assert_eq!(order, ["a", "b", "a", "a", "a"]);
        assert_eq!(locked(&workers.0).free, 1);
    }

    #[test]
    fn a_worker_is_not_lost_with_one_who_waits_no_longer() {
        let workers = Workers::new(1);
        let busy = workers.acquire("a").now_or_never();
        let gone: Vec<_> = (0..3).map(|_| wait(&workers, "a")).collect();
        let last = wait(&workers, "a");
        drop(gone);
        drop(busy);
        drop(last.now_or_never().expect("it has a worker"));
        // One that has a worker and never learns of it.
        let busy = workers.acquire("a").now_or_never();
        let gone = wait(&workers, "a");
        drop(busy);
        drop(gone);
        assert_eq!(locked(&workers.0).free, 1);
    }
}
