//! Several things read at the same time, with what became of each in their order.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Does `work` for each item by so many threads. `None` for those that did not begin, because `more` said no before.
///
/// The first item always begins: whoever has little time gets on all the same.
pub(super) fn in_parallel<T: Sync, R: Send>(
    threads: usize,
    items: &[T],
    more: &(dyn Fn() -> bool + Sync),
    work: &(dyn Fn(&T) -> R + Sync),
) -> Vec<Option<R>> {
    let next = AtomicUsize::new(0);
    let each = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            match items.get(at) {
                Some(item) if at == 0 || more() => done.push((at, work(item))),
                _ => return done,
            }
        }
    };
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    let done = std::thread::scope(|scope| {
        let helpers = threads.clamp(1, items.len().max(1)) - 1;
        let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(each)).collect();
        let mut done = each();
        for helper in helpers {
            done.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    for (at, result) in done {
        results[at] = Some(result);
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items_however_many_read() {
        let items: Vec<u64> = (0..1000).collect();
        for threads in [0, 1, 3] {
            let results = in_parallel(threads, &items, &|| true, &|item| item * 2);
            assert!(results.iter().zip(&items).all(|(result, item)| *result == Some(item * 2)));
        }
        assert!(in_parallel(4, &[0u8; 0], &|| true, &|item| *item).is_empty());
    }

    #[test]
    fn without_time_only_the_first_begins() {
        let results = in_parallel(1, &[1, 2, 3], &|| false, &|item| *item);
        assert_eq!(results, [Some(1), None, None]);
    }
}
