//! Model checks of the wake-up protocol: all interleavings of a shard that goes to sleep and two
//! threads that push and may wake it.
//!
//! The tests run `campanile::mailbox::sleep::SleepFlag` with loom's atomics. The mailbox is a
//! counter without any ordering besides the flag's; loom's `Notify` wakes the shard. loom runs
//! every schedule with every value that a weakly ordered load may return. It fails a run in which
//! a thread waits forever, which is a missed wake-up.
//!
//! Three tests break the protocol on purpose and expect the deadlock: weaker fences, a check of the
//! queue before the flag is set, a check of the flag before the push.
//!
//! A limitation of loom 0.7: it orders two writes to one atomic only if one happened before the
//! other. After a `swap` that read an older value, a later `swap` may read the value of that one
//! instead of a newer plain store. C11 excludes this, because no write comes between the read and
//! the write of a `swap`. Therefore a shard that sleeps several times is checked with a `store`
//! that is a `swap` with the store's ordering, and the plain store, which needs the fences, with a
//! shard that sleeps once. loom also accepts `Relaxed` instead of `Release` and `AcqRel`; that is
//! correct, because the fences alone order the accesses.

use campanile::mailbox::sleep::{Atomics, SleepFlag};
use loom::model::Builder;
use loom::sync::Notify;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use loom::thread;
use std::sync::Arc;

/// loom's atomics, with the orderings of `campanile::mailbox::sleep::StdAtomics`.
#[derive(Debug)]
struct Exact;

/// Like [`Exact`], but with fences that are not sequentially consistent: incorrect.
#[derive(Debug)]
struct WeaklyFenced;

/// Like [`Exact`], but a store is a `swap`.
#[derive(Debug)]
struct Swapping;

macro_rules! memory {
    ($name:ident, $store:ident, $fence:ident) => {
        impl Atomics for $name {
            type Flag = AtomicBool;

            fn flag() -> AtomicBool {
                AtomicBool::new(false)
            }

            fn store(flag: &AtomicBool, value: bool) {
                let _before = flag.$store(value, Ordering::Release);
            }

            fn swap(flag: &AtomicBool, value: bool) -> bool {
                flag.swap(value, Ordering::AcqRel)
            }

            fn fence() {
                fence(Ordering::$fence);
            }
        }
    };
}

memory!(Exact, store, SeqCst);
memory!(WeaklyFenced, store, AcqRel);
memory!(Swapping, swap, SeqCst);

/// The parts of a shard that take part in sleeping: the flag, the mailbox, the notification.
struct Shard<M: Atomics> {
    flag: SleepFlag<M>,
    pushed: AtomicUsize,
    bell: Notify,
}

impl<M: Atomics> Shard<M> {
    /// Pushes and wakes the shard if it sleeps.
    fn push(&self) {
        self.pushed.fetch_add(1, Ordering::Relaxed);
        if self.flag.take_sleeping() {
            self.bell.notify();
        }
    }

    /// Sleeps until something was pushed, as an idle shard does.
    fn sleep_once(&self) {
        self.flag.begin_sleep();
        while self.pushed.load(Ordering::Relaxed) == 0 {
            self.bell.wait();
        }
    }

    /// Runs a shard's loop until it has seen both pushes.
    fn sleep_until_both(&self) {
        let mut seen = 0;
        while seen < 2 {
            self.flag.begin_sleep();
            if self.pushed.load(Ordering::Relaxed) == seen {
                self.bell.wait();
            }
            self.flag.end_sleep();
            seen = self.pushed.load(Ordering::Relaxed);
        }
    }
}

/// Runs a shard against two threads that each push once.
fn model<M: Atomics + 'static>(push: fn(&Shard<M>), sleep: fn(&Shard<M>))
where
    M::Flag: Send + Sync,
{
    let mut builder = Builder::new();
    // Without a limit, the shard that sleeps several times takes minutes. Three preemptions are
    // enough to detect each of the broken variants below.
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let shard = Arc::new(Shard {
            flag: SleepFlag::new(),
            pushed: AtomicUsize::new(0),
            bell: Notify::new(),
        });
        let wakers = [0, 1].map(|_| {
            let shard = Arc::clone(&shard);
            thread::spawn(move || push(&shard))
        });
        sleep(&shard);
        for waker in wakers {
            waker.join().expect("a waker does not panic");
        }
    });
}

#[test]
fn a_push_wakes_a_sleeping_shard() {
    model::<Exact>(Shard::push, Shard::sleep_once);
}

#[test]
fn no_push_is_missed() {
    model::<Swapping>(Shard::push, Shard::sleep_until_both);
}

#[test]
fn of_two_wakers_one_notifies() {
    loom::model(|| {
        let flag = Arc::new(SleepFlag::<Exact>::new());
        flag.begin_sleep();
        let wakers = [0, 1].map(|_| {
            let flag = Arc::clone(&flag);
            thread::spawn(move || usize::from(flag.take_sleeping()))
        });
        let rings = wakers.map(|waker| waker.join().expect("a waker does not panic"));
        assert_eq!(rings[0] + rings[1], 1);
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn with_weaker_fences_a_push_is_missed() {
    model::<WeaklyFenced>(Shard::push, Shard::sleep_once);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_check_before_begin_sleep_misses_a_push() {
    model::<Exact>(Shard::push, |shard| {
        let looked = shard.pushed.load(Ordering::Relaxed);
        shard.flag.begin_sleep();
        if looked == 0 {
            shard.bell.wait();
        }
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_check_of_the_flag_before_the_push_misses_it() {
    let push = |shard: &Shard<Exact>| {
        let must_ring = shard.flag.take_sleeping();
        shard.pushed.fetch_add(1, Ordering::Relaxed);
        if must_ring {
            shard.bell.notify();
        }
    };
    model::<Exact>(push, Shard::sleep_once);
}
