//! Merges requests to reconcile the same object that come within a short time. Knows nothing of what they are about.

use std::{
    collections::{HashSet, VecDeque},
    hash::Hash,
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream};
use tokio::{
    select,
    time::{Instant, sleep_until},
};

/// Yields each item when `window` has passed since it came; the same item in the meantime is one with it.
///
/// kube's own `debounce` begins its window anew with each request: whoever changes an object all the time would keep it, and all
/// that is woken by it, from ever being reconciled.
pub fn coalesce<T: Clone + Eq + Hash + Send + 'static>(
    items: impl Stream<Item = T> + Send + 'static,
    window: Duration,
) -> impl Stream<Item = T> + Send {
    let waiting = (items.boxed().fuse(), VecDeque::<(Instant, T)>::new(), HashSet::new());
    stream::unfold(waiting, move |(mut items, mut order, mut known)| async move {
        loop {
            let due = order.front().map(|(due, _)| *due);
            select! {
                biased;
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    if let Some((_, item)) = order.pop_front() {
                        known.remove(&item);
                        return Some((item, (items, order, known)));
                    }
                }
                Some(item) = items.next(), if !items.is_done() => {
                    if known.insert(item.clone()) {
                        order.push_back((Instant::now() + window, item));
                    }
                }
                else => return None,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use tokio::time::sleep;

    use super::*;

    const WINDOW: Duration = Duration::from_millis(100);

    /// The items with the milliseconds after which they come, of items that come at these times.
    async fn coalesced(given: Vec<(u64, &'static str)>) -> Vec<(u128, &'static str)> {
        let began = Instant::now();
        let items = stream::iter(given).then(move |(at, item)| async move {
            sleep_until(began + Duration::from_millis(at)).await;
            item
        });
        coalesce(items, WINDOW).map(|item| (began.elapsed().as_millis(), item)).collect().await
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_together_is_one_and_others_do_not_wait_for_it() {
        let given = vec![(0, "a"), (10, "a"), (20, "b"), (99, "a"), (150, "a")];
        assert_eq!(coalesced(given).await, [(100, "a"), (120, "b"), (250, "a")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_of_changes_does_not_prolong_the_window() {
        let given = (0..100).map(|n| (n * 50, "a")).collect();
        let times = coalesced(given).await;
        assert!(times.len() >= 30 && times[0] == (100, "a"), "{times:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_others_delays_nothing_that_is_due() {
        let mut number = 0_u64;
        let flood = stream::repeat_with(move || {
            number += 1;
            number
        });
        let flood = flood.then(|item| async move {
            sleep(Duration::from_millis(1)).await;
            item
        });
        let first: Vec<_> = Box::pin(coalesce(flood, WINDOW)).take(3).collect().await;
        assert_eq!(first, [1, 2, 3]);
    }
}
