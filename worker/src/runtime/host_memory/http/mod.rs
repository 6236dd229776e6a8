//! Replaces the functions of `wasi:http/types` by which a guest makes the worker hold memory. Each
//! charges for what it is about to add, and then calls wasmtime's.

mod p2;
mod p3;
mod stream;

use wasmtime::component::Linker;

use super::{Exceeded, Held, measure::field_bytes};
use crate::runtime::{Guest, engine::Generation};

pub(super) fn add_to_linker(
    linker: &mut Linker<Guest>,
    generation: Generation,
) -> wasmtime::Result<()> {
    p2::add_to_linker(linker)?;
    if generation == Generation::P3 {
        p3::add_to_linker(linker)?;
    }
    Ok(())
}

/// Charges for the fields that are about to be added to a map.
fn expect_fields<'a>(
    guest: &mut Guest,
    fields: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Result<(), Exceeded> {
    let bytes = fields.map(|(name, value)| field_bytes(name, value)).sum();
    expect(guest, bytes)
}

fn expect(guest: &mut Guest, bytes: usize) -> Result<(), Exceeded> {
    let (account, table) = guest.account_and_table();
    account.expect(table, Held::Fields, bytes)
}

/// Charges for the values of one name; see [`expect_fields`].
fn expect_values(guest: &mut Guest, name: &str, values: &[Vec<u8>]) -> Result<(), Exceeded> {
    expect_fields(guest, values.iter().map(|value| (name, &value[..])))
}
