//! Every interleaving of a shard that goes to sleep and two threads that push and may wake it.
//!
//! The rule is `campanile::mailbox::sleep::SleepFlag` itself, over loom's atomics. A mailbox is a
//! counter, pushed to and read with no more ordering than the flag gives, and the bell is loom's
//! `Notify`. loom runs every schedule and every value that a weakly ordered load may return, and
//! fails a run in which a thread waits for ever: that is a wake-up that was missed.
//!
//! Three tests keep the rule broken on purpose and expect the deadlock: weaker fences, a look at
//! the queue before lying down, a question about the bell before the push.
//!
//! What loom 0.7 gets wrong: it knows the order of two writes to one atomic only if one happened
//! before the other. After a `swap` that read an older value, it lets a later `swap` read what that
//! one wrote in place of a newer plain store; C11 rules that out, since nothing comes between what
//! a `swap` reads and what it writes. So a shard that sleeps several times is checked with a
//! `store` that is a `swap` with the store's ordering, and the plain store, which is what needs the
//! fences, with a shard that sleeps once. What loom cannot see: `Relaxed` in place of `Release` and
//! `AcqRel` passes. That is as it should be, for the fences carry the rule alone.

use campanile::mailbox::sleep::{Memory, SleepFlag};
use loom::model::Builder;
use loom::sync::Notify;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use loom::thread;
use std::sync::Arc;

/// loom's atomics, with the orderings of `campanile::mailbox::sleep::Machine`.
#[derive(Debug)]
struct Exact;

/// The same with fences that are not sequentially consistent: wrong.
#[derive(Debug)]
struct WeaklyFenced;

/// The same as [`Exact`], but a store is a `swap`.
#[derive(Debug)]
struct Swapping;

macro_rules! memory {
    ($name:ident, $store:ident, $fence:ident) => {
        impl Memory for $name {
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

/// A shard as far as sleeping goes: a flag, what was pushed, a bell.
struct Shard<M: Memory> {
    flag: SleepFlag<M>,
    pushed: AtomicUsize,
    bell: Notify,
}

impl<M: Memory> Shard<M> {
    /// What a waker does.
    fn push(&self) {
        self.pushed.fetch_add(1, Ordering::Relaxed);
        if self.flag.take_sleeping() {
            self.bell.notify();
        }
    }

    /// What a shard does that has nothing to do, until there is something.
    fn sleep_once(&self) {
        self.flag.begin_sleep();
        while self.pushed.load(Ordering::Relaxed) == 0 {
            self.bell.wait();
        }
    }

    /// What a shard's loop does, until it has seen both pushes.
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
fn model<M: Memory + 'static>(push: fn(&Shard<M>), sleep: fn(&Shard<M>))
where
    M::Flag: Send + Sync,
{
    let mut builder = Builder::new();
    // Without a bound the shard that sleeps several times takes minutes; three switches that
    // nobody waits for are enough for each of the broken rules below.
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
fn a_push_wakes_who_lay_down() {
    model::<Exact>(Shard::push, Shard::sleep_once);
}

#[test]
fn no_push_is_missed() {
    model::<Swapping>(Shard::push, Shard::sleep_until_both);
}

#[test]
fn of_two_wakers_one_rings() {
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
fn a_look_before_lying_down_misses_a_push() {
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
fn a_question_before_the_push_misses_it() {
    let push = |shard: &Shard<Exact>| {
        let must_ring = shard.flag.take_sleeping();
        shard.pushed.fetch_add(1, Ordering::Relaxed);
        if must_ring {
            shard.bell.notify();
        }
    };
    model::<Exact>(push, Shard::sleep_once);
}
