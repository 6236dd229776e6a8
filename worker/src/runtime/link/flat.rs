//! The form in which the canonical ABI passes few values: as core parameters and results.

use wasmtime::component::__internal::{
    ComponentTypes, InterfaceType, wasmtime_environ::component::VariantInfo,
};

/// Core values that are read or written one after the other. Each has a place in the form that the
/// whole has in memory. A slot of a variant is as wide as its widest case needs; a narrower value
/// is in its low bits.
pub(super) trait Slots {
    /// Passes a value of `width` bytes.
    fn scalar(&mut self, at: usize, width: usize) -> wasmtime::Result<()>;
    /// Passes an integer of `width` bytes whose sign fills its slot.
    fn signed(&mut self, at: usize, width: usize) -> wasmtime::Result<()>;
    fn bool(&mut self, at: usize) -> wasmtime::Result<()>;
    /// Passes a discriminant, and returns it. It is below `count`.
    fn discriminant(&mut self, at: usize, width: usize, count: u32) -> wasmtime::Result<usize>;
    /// Passes over slots that the case of a variant does not use.
    fn skip(&mut self, count: usize) -> wasmtime::Result<()>;
}

/// Passes values whose places in memory start at `start` and follow each other.
pub(super) fn fields<'a>(
    types: &ComponentTypes,
    fields: impl IntoIterator<Item = &'a InterfaceType>,
    start: usize,
    slots: &mut impl Slots,
) -> wasmtime::Result<()> {
    let mut end = 0;
    for ty in fields {
        let at = types.canonical_abi(ty).next_field32_size(&mut end);
        value(types, *ty, start + at, slots)?;
    }
    Ok(())
}

fn value(
    types: &ComponentTypes,
    ty: InterfaceType,
    at: usize,
    slots: &mut impl Slots,
) -> wasmtime::Result<()> {
    let abi = types.canonical_abi(&ty);
    match ty {
        InterfaceType::Bool => slots.bool(at),
        InterfaceType::S8 | InterfaceType::S16 => slots.signed(at, abi.size32 as usize),
        InterfaceType::String | InterfaceType::List(_) => {
            slots.scalar(at, 4)?;
            slots.scalar(at + 4, 4)
        }
        InterfaceType::Record(record) => {
            let all = types[record].fields.iter().map(|field| &field.ty);
            fields(types, all, at, slots)
        }
        InterfaceType::Tuple(tuple) => fields(types, &types[tuple].types, at, slots),
        InterfaceType::Flags(_) => {
            let size = abi.size32 as usize;
            (0..size)
                .step_by(4)
                .try_for_each(|word| slots.scalar(at + word, size.min(4)))
        }
        InterfaceType::Enum(cases) => {
            let cases = &types[cases];
            let width = cases.info.size.byte_size() as usize;
            let count = u32::try_from(cases.names.len())?;
            slots.discriminant(at, width, count).map(drop)
        }
        InterfaceType::Variant(variant) => {
            let variant = &types[variant];
            let count = u32::try_from(variant.cases.len())?;
            let of = |case: usize| variant.cases.get_index(case).and_then(|(_, ty)| *ty);
            cases(types, ty, &variant.info, (count, of), at, slots)
        }
        InterfaceType::Option(option) => {
            let option = &types[option];
            let of = |case| (case == 1).then_some(option.ty);
            cases(types, ty, &option.info, (2, of), at, slots)
        }
        InterfaceType::Result(result) => {
            let result = &types[result];
            let of = |case| if case == 0 { result.ok } else { result.err };
            cases(types, ty, &result.info, (2, of), at, slots)
        }
        _ => slots.scalar(at, abi.size32 as usize),
    }
}

/// Passes a variant with this number of cases, whose payloads have these types.
fn cases(
    types: &ComponentTypes,
    ty: InterfaceType,
    info: &VariantInfo,
    (count, of): (u32, impl Fn(usize) -> Option<InterfaceType>),
    at: usize,
    slots: &mut impl Slots,
) -> wasmtime::Result<()> {
    let flat_count = |ty| usize::from(types.canonical_abi(&ty).flat_count.unwrap_or(0));
    let case = slots.discriminant(at, info.size.byte_size() as usize, count)?;
    let mut passed = 1;
    if let Some(payload) = of(case) {
        value(types, payload, at + info.payload_offset32 as usize, slots)?;
        passed += flat_count(payload);
    }
    slots.skip(flat_count(ty) - passed)
}
