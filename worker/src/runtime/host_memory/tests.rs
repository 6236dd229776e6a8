#![allow(clippy::unwrap_used)]

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    thread,
};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Body as _;
use proptest::prelude::*;
use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::{Error, FieldMap};

use super::*;

const MIB: u64 = 1 << 20;

/// Returns a map with one field of this many bytes.
fn fields(bytes: usize) -> FieldMap {
    let mut map = FieldMap::new_mutable(usize::MAX);
    let value = ::http::HeaderValue::from_bytes(&vec![b'x'; bytes]).unwrap();
    map.append_raw(::http::HeaderName::from_static("a"), value)
        .unwrap();
    map
}

#[test]
fn a_budget_is_as_large_as_the_memory_limit_within_bounds() {
    for (memory, expected) in [
        (0, 16),
        (4 * MIB, 16),
        (16 * MIB, 16),
        (17 * MIB, 17),
        (64 * MIB, 64),
        (65 * MIB, 64),
        (4096 * MIB, 64),
    ] {
        let limit = HostBudget::new(memory).limit();
        assert_eq!(limit as u64, expected * MIB, "{memory}");
    }
}

#[test]
fn a_charge_is_returned_when_it_is_dropped() {
    let budget = HostBudget::new(0);
    let whole = budget.take(Held::Bodies, budget.limit()).unwrap();
    let refused = budget.take(Held::Values, 1).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the worker holds at most 16MiB for this guest, and its arguments and results of calls need more: release \
         what is not needed, or raise `limits.memory` (the bound is as large, but at least 16MiB and at most 64MiB)"
    );
    drop(whole);
    assert_eq!((budget.used(), budget.free()), (0, budget.limit()));
    assert!(budget.take(Held::Values, usize::MAX).is_err());
}

#[test]
fn bytes_are_charged_until_their_last_slice_is_gone() {
    let budget = HostBudget::new(0);
    let bytes = budget.hold(Held::Bodies, Bytes::from(vec![1; 1000]));
    let slice = bytes.unwrap().slice(10..20);
    assert_eq!((budget.used(), slice.len()), (1000, 10));
    drop(slice);
    assert_eq!(budget.used(), 0);
}

#[test]
fn many_threads_never_charge_more_than_the_limit() {
    let budget = HostBudget::new(0);
    thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for n in 0..10_000 {
                    let charge = budget.take(Held::Fields, n * 777 % budget.limit());
                    assert!(budget.used() <= budget.limit());
                    drop(charge);
                }
            });
        }
    });
    assert_eq!(budget.used(), 0);
}

#[test]
fn pieces_shrink_long_before_the_budget_is_exhausted() {
    let budget = HostBudget::new(0);
    let mut held = Vec::new();
    // This many answers wait at once for clients that do not read, each with one piece.
    for _ in 0..512 {
        let piece = budget.piece(64 << 10);
        assert!(piece >= LEAST_PIECE);
        held.push(budget.take(Held::Bodies, piece).unwrap());
    }
    drop(held);
    assert_eq!(budget.piece(64 << 10), 64 << 10);
}

/// Returns the next frame of a body that is ready.
fn next<B: hyper::body::Body + Unpin>(
    body: &mut B,
) -> Option<Result<hyper::body::Frame<B::Data>, B::Error>> {
    match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(frame) => frame,
        Poll::Pending => panic!("it is there"),
    }
}

#[test]
fn a_body_is_charged_for_what_was_read_of_it_and_fails_beyond_the_budget() {
    let budget = HostBudget::new(0);
    let body = |bytes: usize| {
        let body = Full::new(Bytes::from(vec![0; bytes]));
        MeteredBody::new(body.map_err(|never| match never {}), &budget)
    };
    let mut small = body(1000);
    assert_eq!((budget.used(), small.size_hint().exact()), (0, Some(1000)));
    let frame = next(&mut small).unwrap().unwrap();
    assert_eq!(budget.used(), 1000);
    assert!(next(&mut small).is_none());
    drop(frame);
    assert_eq!(budget.used(), 0);
    let failed = next(&mut body(budget.limit() + 1)).unwrap();
    let Err(Error::InternalError(Some(told))) = failed else {
        panic!("it is too large: {failed:?}");
    };
    assert!(told.contains("HTTP bodies need more"), "{told}");
}

#[test]
fn a_table_is_measured_by_what_is_in_it() {
    let mut table = ResourceTable::new();
    let first = table.push(fields(100_000)).unwrap();
    let one = measure::footprint(&mut table, 0);
    assert!((100_000..110_000).contains(&one.bytes), "{one:?}");
    // `headers` of a request returns such a copy.
    let copy = table.get(&first).unwrap().clone();
    let copy = table.push(copy).unwrap();
    let shared = measure::footprint(&mut table, 0);
    assert!(shared.bytes < one.bytes + 1000, "{shared:?}");
    let changed = table.get_mut(&copy).unwrap();
    let name = ::http::HeaderName::from_static("b");
    let value = ::http::HeaderValue::from_static("c");
    changed.append_raw(name, value).unwrap();
    let apart = measure::footprint(&mut table, 0);
    assert!(apart.bytes > one.bytes * 2, "{apart:?}");
    let tasks = measure::footprint(&mut table, 100);
    assert!(tasks.bytes >= apart.bytes + 100 * 100, "{tasks:?}");
}

#[test]
fn an_account_forgets_what_was_dropped() {
    let budget = HostBudget::new(0);
    let mut account = Account::new(&budget, 500);
    let mut table = ResourceTable::new();
    // Over time this is far more than the budget, but never much at once.
    for _ in 0..2_000 {
        let expected = account.expect(&mut table, Held::Fields, 100_300);
        expected.unwrap();
        let map = table.push(fields(100_000)).unwrap();
        table.delete(map).unwrap();
    }
    assert!(budget.used() < 500_000, "{}", budget.used());
    drop(account);
    assert_eq!(budget.used(), 0);
}

#[test]
fn an_account_refuses_what_is_kept_beyond_the_budget() {
    let budget = HostBudget::new(0);
    let mut account = Account::new(&budget, 0);
    let mut table = ResourceTable::new();
    let kept = (0..10_000).take_while(|_| {
        let allowed = account.expect(&mut table, Held::Fields, 100_300);
        allowed.is_ok_and(|()| table.push(fields(100_000)).is_ok())
    });
    let kept = kept.count();
    assert!((120..170).contains(&kept), "{kept}");
    // Another instance of the guest can only use the rest.
    let mut other = Account::new(&budget, 0);
    let refused = other.expect(&mut ResourceTable::new(), Held::Fields, 200_000);
    assert_eq!(refused, Err(budget.exceeded(Held::Fields)));
    drop(account);
    let mut empty = ResourceTable::new();
    other.expect(&mut empty, Held::Fields, 200_000).unwrap();
    drop(other);
    assert_eq!(budget.used(), 0);
}

proptest! {
    /// Whatever instances do, and in whatever order they end, the charged bytes are at least what
    /// they hold, and zero in the end.
    #[test]
    fn charges_cover_what_is_held_and_are_all_returned(
        steps in prop::collection::vec((0..3_usize, 0..4_u8, 1..40_000_usize), 1..120)
    ) {
        let budget = HostBudget::new(0);
        let mut stores: Vec<_> = (0..3)
            .map(|_| Some((Account::new(&budget, 10), ResourceTable::new(), Vec::new())))
            .collect();
        for (at, step, bytes) in steps {
            let Some((account, table, held)) = &mut stores[at] else {
                continue;
            };
            match step {
                0 | 1 if account.expect(table, Held::Fields, bytes + 400).is_ok() => {
                    held.push((table.push(fields(bytes)).unwrap(), bytes));
                }
                2 => {
                    if let Some((map, _)) = held.pop() {
                        table.delete(map).unwrap();
                    }
                }
                3 if bytes % 7 == 0 => stores[at] = None,
                _ => {}
            }
            let holds: usize = stores
                .iter()
                .flatten()
                .flat_map(|(_, _, held)| held.iter().map(|(_, bytes)| bytes))
                .sum();
            prop_assert!(budget.used() >= holds);
            prop_assert!(budget.used() <= budget.limit());
        }
        stores.clear();
        prop_assert_eq!(budget.used(), 0);
    }
}
