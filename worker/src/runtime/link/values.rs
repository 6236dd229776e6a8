//! Types that stand for all parameters or all results of a function, whatever their types are.

use std::mem::MaybeUninit;

use wasmtime::{
    ValRaw, bail,
    component::{
        __internal::{
            CanonicalAbiInfo, ComponentTypes, InstanceType, InterfaceType, LiftContext,
            LowerContext, wasmtime_environ::component::TypeTuple,
        },
        ComponentNamedList, ComponentType, Lift, Lower,
    },
    ensure,
};

use super::{
    lift::{self, Source},
    lower::{self, Destination},
};

/// The most core parameters and results that the canonical ABI passes; more values pass through
/// memory.
pub(super) const FLAT_PARAMS: usize = 16;
pub(super) const FLAT_RESULTS: usize = 1;

/// All parameters of a function as a guest passes them, in `SLOTS` core values.
pub(super) type Arguments<const SLOTS: usize> = Values<FLAT_PARAMS, SLOTS>;
/// All results of a function as a guest passes them, in `SLOTS` core values.
pub(super) type Results<const SLOTS: usize> = Values<FLAT_RESULTS, SLOTS>;

/// Values on their way, which take up to `MOST` core values or else a pointer. The rest of the type
/// is known to wasmtime alone, which names it whenever values are read or written.
pub(super) struct Values<const MOST: usize, const SLOTS: usize>(pub(super) Content);

pub(super) enum Content {
    /// The tape that [`lift::lift`] has made.
    Tape(Vec<u8>),
    /// The result that reports an error, with a text if its type has one.
    Failed(Option<String>),
}

impl<const MOST: usize, const SLOTS: usize> Values<MOST, SLOTS> {
    pub(super) fn into_tape(self) -> Vec<u8> {
        match self.0 {
            // No guest makes the other.
            Content::Tape(tape) => tape,
            Content::Failed(_) => Vec::new(),
        }
    }
}

impl<const SLOTS: usize> From<Content> for Results<SLOTS> {
    fn from(content: Content) -> Self {
        Self(content)
    }
}

fn tuple(types: &ComponentTypes, ty: InterfaceType) -> wasmtime::Result<&TypeTuple> {
    match ty {
        InterfaceType::Tuple(tuple) => Ok(&types[tuple]),
        _ => bail!("parameters and results are a tuple"),
    }
}

/// Returns the tape of a result that reports an error.
fn failed(types: &ComponentTypes, tuple: &TypeTuple, text: &str) -> wasmtime::Result<Vec<u8>> {
    let &[InterfaceType::Result(result)] = &*tuple.types else {
        bail!("the function has no way to report an error");
    };
    let result = &types[result];
    let mut tape = vec![0; tuple.abi.size32 as usize];
    tape[0] = 1;
    if result.err.is_some() {
        let length = u32::try_from(text.len())?;
        let at = result.info.payload_offset32 as usize + 4;
        tape[at..][..4].copy_from_slice(&length.to_le_bytes());
        tape.extend_from_slice(text.as_bytes());
    }
    Ok(tape)
}

// SAFETY: `Lower` is an array of `ValRaw`, so it is a sequence of them that may hold any bits.
// `typecheck` fails unless the array has room for all core values of the type, and
// `linear_lower_to_flat` sets all of the array, so wasm reads no core value that was not set. The
// host reads and writes only within the array. `ABI` says that the type has no size, so wasmtime
// does not hand out memory by it, and the size and alignment come from the type in question.
#[allow(unsafe_code)]
unsafe impl<const MOST: usize, const SLOTS: usize> ComponentType for Values<MOST, SLOTS> {
    type Lower = [ValRaw; SLOTS];

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::ZERO;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        let flat = tuple(types.types, *ty)?.abi.flat_count(MOST).unwrap_or(1);
        ensure!(flat <= SLOTS, "expected {SLOTS} core values, found {flat}");
        Ok(())
    }
}

// SAFETY: nothing is promised beyond `ComponentType`.
#[allow(unsafe_code)]
unsafe impl<const MOST: usize, const SLOTS: usize> ComponentNamedList for Values<MOST, SLOTS> {}

// SAFETY: see `ComponentType`. Everything that a guest passes is checked before it is used.
#[allow(unsafe_code)]
unsafe impl<const MOST: usize, const SLOTS: usize> Lift for Values<MOST, SLOTS> {
    fn linear_lift_from_flat(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        src: &[ValRaw; SLOTS],
    ) -> wasmtime::Result<Self> {
        let types = cx.types;
        let tuple = tuple(types, ty)?;
        let source = match tuple.abi.flat_count(MOST) {
            Some(count) => Source::Flat(&src[..count]),
            None => Source::Memory(src[0].get_u32() as usize),
        };
        lift::lift(cx, tuple, source).map(Content::Tape).map(Self)
    }

    /// Only the address of `bytes` counts: there are none, as the type has no size of its own.
    fn linear_lift_from_memory(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        bytes: &[u8],
    ) -> wasmtime::Result<Self> {
        let types = cx.types;
        let tuple = tuple(types, ty)?;
        let address = bytes.as_ptr().addr() - cx.memory().as_ptr().addr();
        let source = Source::Memory(address);
        lift::lift(cx, tuple, source).map(Content::Tape).map(Self)
    }
}

// SAFETY: see `ComponentType`.
#[allow(unsafe_code)]
unsafe impl<const MOST: usize, const SLOTS: usize> Lower for Values<MOST, SLOTS> {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<[ValRaw; SLOTS]>,
    ) -> wasmtime::Result<()> {
        let slots = dst.write([ValRaw::u64(0); SLOTS]);
        let tuple = tuple(cx.types, ty)?;
        match tuple.abi.flat_count(MOST) {
            Some(count) => self.lower(cx, tuple, Destination::Flat(&mut slots[..count])),
            None => {
                let size = tuple.abi.size32 as usize;
                let address = cx.realloc(0, 0, tuple.abi.align32, size)?;
                slots[0] = ValRaw::u64(address as u64);
                self.lower(cx, tuple, Destination::Memory(address))
            }
        }
    }

    fn linear_lower_to_memory<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        offset: usize,
    ) -> wasmtime::Result<()> {
        let tuple = tuple(cx.types, ty)?;
        self.lower(cx, tuple, Destination::Memory(offset))
    }
}

impl<const MOST: usize, const SLOTS: usize> Values<MOST, SLOTS> {
    fn lower<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        tuple: &TypeTuple,
        destination: Destination<'_>,
    ) -> wasmtime::Result<()> {
        match &self.0 {
            Content::Tape(tape) => lower::lower(cx, tuple, tape, destination),
            Content::Failed(text) => {
                let text = text.as_deref().unwrap_or_default();
                let tape = failed(cx.types, tuple, text)?;
                lower::lower(cx, tuple, &tape, destination)
            }
        }
    }
}
