//! Decides whether a workload gets more of a pool. This is pure logic.
//!
//! Half of each pool is reserved in equal parts for the workloads of the worker, whether they use
//! it or not. The other half is lent: a workload may exceed its part by as much as is neither
//! reserved nor lent afterwards, as long as the part of one additional workload remains free. A
//! workload that takes all it can get thus leaves a quarter of the pool, two leave a sixth, and
//! whatever they take, the next workload to come finds its own part free.

/// Returns how much of a pool is reserved for each workload.
pub(super) fn reserve(capacity: u32, workloads: usize) -> u32 {
    let workloads = u32::try_from(workloads.max(1)).unwrap_or(u32::MAX);
    capacity / 2 / workloads
}

/// Returns the most that one instance may take of a pool: an amount that a workload can have even
/// beside others that take all they can get.
pub(super) fn largest(capacity: u32) -> u32 {
    capacity / 8
}

/// A workload's request to one pool, and the state of that pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub capacity: u32,
    /// The sum of what all workloads hold.
    pub used: u32,
    /// The sum over all workloads of what each holds or has reserved, whichever is more.
    pub committed: u32,
    /// The reserve of this workload, and of each other.
    pub reserve: u32,
    /// The reserve of each workload if there were one more.
    pub next_reserve: u32,
    /// The amount that this workload holds.
    pub has: u32,
    pub wants: u32,
}

pub(super) fn grants(ask: Ask) -> bool {
    let Ask {
        capacity,
        used,
        committed,
        reserve,
        next_reserve,
        has,
        wants,
    } = ask;
    if wants == 0 {
        return true;
    }
    if wants > capacity.saturating_sub(used) {
        return false;
    }
    let then = has + wants;
    if then <= reserve {
        return true;
    }
    let committed = committed - has.max(reserve) + then;
    let free = capacity.checked_sub(committed);
    free.is_some_and(|free| free >= next_reserve && free >= then - reserve)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: u32 = 1_200;

    /// A pool and what each of its workloads holds.
    struct Model {
        has: Vec<u32>,
    }

    impl Model {
        fn ask(&self, of: usize, wants: u32) -> bool {
            let reserve = reserve(CAPACITY, self.has.len());
            grants(Ask {
                capacity: CAPACITY,
                used: self.has.iter().sum(),
                committed: self.has.iter().map(|has| reserve.max(*has)).sum(),
                reserve,
                next_reserve: super::reserve(CAPACITY, self.has.len() + 1),
                has: self.has[of],
                wants,
            })
        }

        /// Takes as much as it can get.
        fn take_all(&mut self, of: usize) -> u32 {
            while self.ask(of, 1) {
                self.has[of] += 1;
            }
            self.has[of]
        }

        fn free(&self) -> u32 {
            CAPACITY - self.has.iter().sum::<u32>()
        }
    }

    #[test]
    fn one_that_takes_all_leaves_a_quarter_and_others_their_part() {
        let mut pool = Model { has: vec![0] };
        assert_eq!((pool.take_all(0), pool.free()), (900, 300));
        // The next workload finds its part free, and no more.
        pool.has.push(0);
        assert_eq!((pool.take_all(1), pool.free()), (300, 0));

        let mut pool = Model { has: vec![0; 4] };
        assert_eq!(pool.take_all(0), 150 + 300);
        for other in 1..4 {
            for _ in 0..150 {
                assert!(pool.ask(other, 1));
                pool.has[other] += 1;
            }
        }
    }

    #[test]
    fn the_next_workload_finds_its_part_free_however_many_take_all() {
        for hogs in 1..40 {
            let mut pool = Model { has: vec![0; hogs] };
            for hog in 0..hogs {
                pool.take_all(hog);
            }
            pool.has.push(0);
            let part = reserve(CAPACITY, hogs + 1);
            assert!(pool.ask(hogs, part), "beside {hogs}: {:?}", pool.has);
        }
    }

    #[test]
    fn one_that_took_more_gets_no_more_once_others_have_come() {
        let mut pool = Model { has: vec![0] };
        pool.take_all(0);
        pool.has.resize(4, 0);
        pool.has[0] -= 1;
        assert!(!pool.ask(0, 1), "its loan is due");
        pool.has[0] = 300;
        assert!(pool.ask(0, 1));
    }

    #[test]
    fn the_largest_instance_fits_beside_one_that_takes_all() {
        let mut pool = Model { has: vec![0] };
        pool.take_all(0);
        pool.has.push(0);
        assert!(pool.ask(1, largest(CAPACITY)));
    }

    #[test]
    fn a_pool_that_is_not_needed_does_not_matter() {
        let full = Ask {
            capacity: 10,
            used: 10,
            committed: 10,
            reserve: 5,
            next_reserve: 2,
            has: 10,
            wants: 0,
        };
        assert!(grants(full));
        assert!(!grants(Ask { wants: 1, ..full }));
    }
}
