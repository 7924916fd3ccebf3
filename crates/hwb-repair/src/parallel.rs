//! Work on many things at once, in no more memory than that takes.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::num::NonZero;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What a thing takes while it is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    /// How long it takes, in any unit.
    pub(crate) time: u64,
    /// How many bytes are in memory for it.
    pub(crate) memory: u64,
}

/// Does something to each of `items`, and gives what came of it in their order. They are begun in it too: put the
/// longest first, lest a thread end with it alone.
///
/// One that takes much memory is put off while others do, as long as that makes nobody wait.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    threads: NonZero<usize>,
    items: &[T],
    load: impl Fn(&T) -> Load,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let loads: Vec<Load> = items.iter().map(load).collect();
    let desk = Desk::new(Queue::new(&loads, least_room(threads, &loads)));
    let done = Mutex::new(Vec::new());
    let take = || {
        while let Some(turn) = desk.next() {
            let result = work(&items[turn.number]);
            let number = turn.number;
            drop(turn);
            lock(&done).push((number, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.get().min(items.len()) {
            scope.spawn(take);
        }
        take();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The room with which everything is done about as soon as with any, to a sixteenth of the largest load.
fn least_room(threads: NonZero<usize>, loads: &[Load]) -> u64 {
    let largest = loads.iter().map(|load| load.memory).max().unwrap_or(0);
    let mut most = largest.saturating_mul(threads.get() as u64);
    let shortest = duration(threads, loads, most);
    let suffices = |room| duration(threads, loads, room) <= shortest.saturating_add(shortest / 32);
    let mut least = largest;
    while most - least > (largest / 16).max(1) {
        let middle = least + (most - least) / 2;
        if suffices(middle) { most = middle } else { least = middle }
    }
    most
}

/// How long everything takes with so much room.
fn duration(threads: NonZero<usize>, loads: &[Load], room: u64) -> u64 {
    let mut queue = Queue::new(loads, room);
    let (mut now, mut busy) = (0_u64, BinaryHeap::new());
    loop {
        while busy.len() < threads.get()
            && let Some(number) = queue.next()
        {
            busy.push(Reverse((now.saturating_add(loads[number].time), number)));
        }
        let Some(Reverse((end, number))) = busy.pop() else { return now };
        now = end;
        queue.give_back(number);
    }
}

/// What is yet to be begun, and how much memory is taken.
#[derive(Debug)]
struct Queue<'a> {
    loads: &'a [Load],
    waiting: BTreeSet<usize>,
    taken: u64,
    room: u64,
}

impl<'a> Queue<'a> {
    fn new(loads: &'a [Load], room: u64) -> Self {
        Self { loads, waiting: (0..loads.len()).collect(), taken: 0, room }
    }

    /// The first for which there is room, be it because no other takes any.
    fn next(&mut self) -> Option<usize> {
        let after = |number: usize| self.taken.saturating_add(self.loads[number].memory);
        let fits = |number: &usize| self.taken == 0 || after(*number) <= self.room;
        let number = self.waiting.iter().copied().find(fits)?;
        self.taken = after(number);
        self.waiting.remove(&number);
        Some(number)
    }

    fn give_back(&mut self, number: usize) {
        self.taken = self.taken.saturating_sub(self.loads[number].memory);
    }
}

/// Where threads get what they work on.
#[derive(Debug)]
struct Desk<'a> {
    queue: Mutex<Queue<'a>>,
    /// Memory was given back.
    returned: Condvar,
}

/// One thing, taken from a desk; its memory is given back in the end, even of what panics.
#[derive(Debug)]
struct Turn<'a> {
    desk: &'a Desk<'a>,
    number: usize,
}

impl<'a> Desk<'a> {
    const fn new(queue: Queue<'a>) -> Self {
        Self { queue: Mutex::new(queue), returned: Condvar::new() }
    }

    /// Waits for the next; `None` once all were begun.
    fn next(&'a self) -> Option<Turn<'a>> {
        let mut queue = lock(&self.queue);
        while !queue.waiting.is_empty() {
            if let Some(number) = queue.next() {
                return Some(Turn { desk: self, number });
            }
            queue = self.returned.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.desk.queue).give_back(self.number);
        self.desk.returned.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: NonZero<usize> = NonZero::<usize>::MIN.saturating_add(1);

    /// How long it takes, without a limit and with the room that is chosen, if what takes time takes as much memory.
    fn check(sizes: &[u64], expect: (u64, u64, u64)) {
        let loads: Vec<Load> = sizes.iter().map(|&size| Load { time: size, memory: size }).collect();
        let room = least_room(TWO, &loads);
        assert_eq!((duration(TWO, &loads, u64::MAX), duration(TWO, &loads, room), room), expect, "{sizes:?}");
    }

    #[test]
    fn as_little_room_as_makes_nobody_wait() {
        check(&[], (0, 0, 0));
        check(&[0, 0], (0, 0, 0));
        check(&[9, 9, 5, 1], (14, 14, 18));
        // What must be done at once to end in time is.
        check(&[100], (100, 100, 106));
        check(&[100, 100], (100, 100, 200));
        check(&[720, 380, 145, 76, 35, 34, 29, 20, 10], (729, 729, 1125));
        // Small ones go along with the largest, and the next ones with each other.
        check(&[487, 316, 193, 172, 133, 100, 100, 60, 46, 24, 24, 20], (846, 852, 638));
    }

    #[test]
    fn everything_is_done_once_and_stays_in_order() {
        for threads in 1..5 {
            let items: Vec<u64> = (0..50).rev().chain([0, 99]).collect();
            let running = Mutex::new((0, 0));
            let done = in_parallel(
                NonZero::new(threads).unwrap(),
                &items,
                |&memory| Load { time: 1, memory },
                |item| {
                    let mut now = lock(&running);
                    now.0 += item;
                    now.1 = now.1.max(now.0);
                    drop(now);
                    std::thread::yield_now();
                    lock(&running).0 -= item;
                    item + 1
                },
            );
            assert!(lock(&running).1 <= 99 * threads as u64);
            assert_eq!(done, items.iter().map(|item| item + 1).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_panic_keeps_nobody_waiting() {
        let work = |&item: &u64| assert_ne!(item, 9, "this one fails");
        let run = || in_parallel(TWO, &[9, 9, 5, 1], |&memory| Load { time: 1, memory }, work);
        std::panic::catch_unwind(run).unwrap_err();
    }
}
