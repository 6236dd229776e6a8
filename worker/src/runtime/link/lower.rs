//! Writes values into a guest.

use wasmtime::{
    ValRaw,
    component::__internal::{
        LowerContext,
        wasmtime_environ::component::{StringEncoding, TypeTuple},
    },
    ensure, format_err,
};

use super::{
    flat::{self, Slots},
    layout::{Direction, Layout, Step},
    lift::read,
};

/// The largest string or list that the canonical ABI passes, in bytes.
const LONGEST: usize = (1 << 31) - 1;
/// The bit by which a guest with both encodings knows UTF-16 from Latin-1.
const UTF16_TAG: u32 = 1 << 31;

/// The place where a guest expects its arguments or results.
pub(super) enum Destination<'a> {
    Flat(&'a mut [ValRaw]),
    /// At this address of its memory, where it has reserved the room.
    Memory(usize),
}

struct Lowering<'c, 'a, 't, T: 'static> {
    cx: &'c mut LowerContext<'a, T>,
    encoding: StringEncoding,
    tape: &'t [u8],
    /// The place on the tape of the next string or list.
    next: usize,
    /// The tuple in its form in memory, if it is passed as core values.
    image: Vec<u8>,
}

/// The place of a value in the guest.
#[derive(Clone, Copy)]
enum Place {
    /// In the image of the tuple.
    Image,
    /// At this address of the memory.
    Memory(usize),
}

/// Writes what [`super::lift::lift`] put on a tape. The guest's allocator may return any addresses:
/// they are within its memory, and only its own values suffer if they overlap.
pub(super) fn lower<T>(
    cx: &mut LowerContext<'_, T>,
    tuple: &TypeTuple,
    tape: &[u8],
    destination: Destination<'_>,
) -> wasmtime::Result<()> {
    if tuple.types.is_empty() {
        return Ok(());
    }
    let types = cx.types;
    let layout = Layout::of_tuple(types, tuple, Direction::Lower)?;
    let mut lowering = Lowering {
        encoding: cx.options().string_encoding,
        cx,
        tape,
        next: 0,
        image: Vec::new(),
    };
    let whole = lowering.take(layout.size)?;
    match destination {
        Destination::Memory(address) => {
            lowering.cx.as_slice_mut()[address..][..whole.len()].copy_from_slice(whole);
            lowering.run(&layout.steps, whole, 0, Place::Memory(address))
        }
        Destination::Flat(slots) => {
            lowering.image = whole.to_vec();
            lowering.run(&layout.steps, whole, 0, Place::Image)?;
            let mut writer = Writer {
                slots: slots.iter_mut(),
                image: &lowering.image,
            };
            flat::fields(types, &tuple.types, 0, &mut writer)
        }
    }
}

fn disagreement() -> wasmtime::Error {
    format_err!("the two components disagree about the type of the function")
}

impl<'t, T> Lowering<'_, '_, 't, T> {
    /// Returns the next bytes of the tape.
    fn take(&mut self, size: usize) -> wasmtime::Result<&'t [u8]> {
        let rest = &self.tape[self.next..];
        let taken = rest.get(..size);
        self.next += size;
        taken.ok_or_else(disagreement)
    }

    /// Takes the steps for the value at `start` of `values`, which were copied to `place`.
    fn run(
        &mut self,
        steps: &[Step],
        values: &'t [u8],
        start: usize,
        place: Place,
    ) -> wasmtime::Result<()> {
        for step in steps {
            match step {
                Step::Text { at } => {
                    let at = start + at;
                    let text = self.take(read(values, at + 4, 4) as usize)?;
                    self.text(text, at, place)?;
                }
                Step::List { at, element } => {
                    let at = start + at;
                    let length = read(values, at + 4, 4);
                    self.list(element, length, at, place)?;
                }
                Step::Variant { at, width, cases } => {
                    let case = read(values, start + at, *width) as usize;
                    let steps = cases.get(case).ok_or_else(disagreement)?;
                    self.run(steps, values, start, place)?;
                }
                // These are only of concern when values are lifted.
                Step::Padding { .. }
                | Step::Bool { .. }
                | Step::Char { .. }
                | Step::Flags { .. }
                | Step::Enum { .. } => {}
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &'t [u8], at: usize, place: Place) -> wasmtime::Result<()> {
        if self.encoding == StringEncoding::Utf8 {
            let length = u32::try_from(text.len())?;
            return self.put(text, 1, length, at, place).map(drop);
        }
        let text = str::from_utf8(text)?;
        let narrow = || {
            text.chars()
                .map(u8::try_from)
                .collect::<Result<Vec<u8>, _>>()
        };
        if self.encoding == StringEncoding::CompactUtf16
            && let Ok(latin1) = narrow()
        {
            let length = u32::try_from(latin1.len())?;
            return self.put(&latin1, 2, length, at, place).map(drop);
        }
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut length = u32::try_from(utf16.len() / 2)?;
        if self.encoding == StringEncoding::CompactUtf16 {
            length |= UTF16_TAG;
        }
        self.put(&utf16, 2, length, at, place).map(drop)
    }

    fn list(
        &mut self,
        element: &Layout,
        length: u32,
        at: usize,
        place: Place,
    ) -> wasmtime::Result<()> {
        let count = length as usize;
        let elements = self.take(count.saturating_mul(element.size))?;
        let address = self.put(elements, element.align, length, at, place)?;
        if !element.steps.is_empty() {
            for index in 0..count {
                let start = index * element.size;
                self.run(&element.steps, elements, start, Place::Memory(address))?;
            }
        }
        Ok(())
    }

    /// Copies bytes into memory that the guest reserves, and writes the pointer to them and the
    /// length to `at` of `place`. Returns the pointer.
    fn put(
        &mut self,
        bytes: &[u8],
        align: u32,
        length: u32,
        at: usize,
        place: Place,
    ) -> wasmtime::Result<usize> {
        let size = bytes.len();
        ensure!(
            size <= LONGEST,
            "{size} bytes are too large to pass to a component"
        );
        let address = self.cx.realloc(0, 0, align, size)?;
        let pair = (u64::from(length) << 32 | address as u64).to_le_bytes();
        let memory = self.cx.as_slice_mut();
        memory[address..][..size].copy_from_slice(bytes);
        let pointer = match place {
            Place::Image => &mut self.image[at..],
            Place::Memory(base) => &mut memory[base + at..],
        };
        pointer[..8].copy_from_slice(&pair);
        Ok(address)
    }
}

/// Makes core parameters or results of values in their form in memory.
struct Writer<'a> {
    slots: std::slice::IterMut<'a, ValRaw>,
    image: &'a [u8],
}

impl Writer<'_> {
    fn next(&mut self, bits: u64) -> wasmtime::Result<()> {
        let slot = self.slots.next();
        *slot.ok_or_else(|| format_err!("too many core values"))? = ValRaw::u64(bits);
        Ok(())
    }
}

impl Slots for Writer<'_> {
    fn scalar(&mut self, at: usize, width: usize) -> wasmtime::Result<()> {
        let mut bits = [0; 8];
        bits[..width].copy_from_slice(&self.image[at..][..width]);
        self.next(u64::from_le_bytes(bits))
    }

    fn signed(&mut self, at: usize, width: usize) -> wasmtime::Result<()> {
        let unused = 32 - width * 8;
        let extended = (read(self.image, at, width) << unused).cast_signed() >> unused;
        self.next(extended.cast_unsigned().into())
    }

    fn bool(&mut self, at: usize) -> wasmtime::Result<()> {
        self.scalar(at, 1)
    }

    fn discriminant(&mut self, at: usize, width: usize, _count: u32) -> wasmtime::Result<usize> {
        let case = read(self.image, at, width);
        self.next(case.into())?;
        Ok(case as usize)
    }

    fn skip(&mut self, count: usize) -> wasmtime::Result<()> {
        (0..count).try_for_each(|_| self.next(0))
    }
}
