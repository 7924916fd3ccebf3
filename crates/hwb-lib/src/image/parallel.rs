//! Several blobs on their way at once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Error;

/// So many go at once.
const AT_ONCE: usize = 4;

/// Does something to each of `items`, several at once, and gives what came of it in their order. The first failure is
/// told, and nothing further is begun after it.
pub(super) fn each<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    let waiting = Mutex::new(items.iter().enumerate());
    let (done, failure) = (Mutex::new(Vec::new()), Mutex::new(None));
    let next = || lock(&waiting).next();
    let take = || {
        while let Some((number, item)) = next() {
            match work(item) {
                Ok(result) => lock(&done).push((number, result)),
                Err(error) => {
                    *lock(&waiting) = [].iter().enumerate();
                    lock(&failure).get_or_insert(error);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..AT_ONCE.min(items.len()) {
            scope.spawn(take);
        }
        take();
    });
    if let Some(failure) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(failure);
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
