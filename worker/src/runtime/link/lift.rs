//! Reads values out of a guest.

use wasmtime::{
    ValRaw, bail,
    component::{
        __internal::{
            InterfaceType, LiftContext,
            wasmtime_environ::component::{StringEncoding, TypeTuple},
        },
        Lift,
    },
    ensure,
};

use super::{
    flat::{self, Slots},
    layout::{Direction, Layout, Step},
};

/// The place where a guest left its arguments or results.
pub(super) enum Source<'a> {
    Flat(&'a [ValRaw]),
    /// At this address of its memory.
    Memory(usize),
}

struct Lifting<'c, 'a> {
    cx: &'c mut LiftContext<'a>,
    /// True if the strings of the guest are UTF-8.
    is_utf8: bool,
    tape: Vec<u8>,
}

/// Copies all parameters or all results of a function onto a tape.
///
/// The tape starts with the tuple in its form in memory. Strings (as UTF-8) and lists follow in the
/// order of the pointers to them, and what the elements of a list point to follows the list. The
/// pointers themselves, padding and what a variant does not use are zero, and everything is valid,
/// so equal values have equal tapes.
///
/// The guest may have written anything: what it claims to pass is checked against its memory, and
/// is charged to the fuel of its host calls before it is copied.
pub(super) fn lift(
    cx: &mut LiftContext<'_>,
    tuple: &TypeTuple,
    source: Source<'_>,
) -> wasmtime::Result<Vec<u8>> {
    if tuple.types.is_empty() {
        return Ok(Vec::new());
    }
    let types = cx.types;
    let layout = Layout::of_tuple(types, tuple, Direction::Lift)?;
    let tape = match source {
        Source::Flat(slots) => {
            let mut reader = Reader {
                slots: slots.iter(),
                image: vec![0; layout.size],
            };
            flat::fields(types, &tuple.types, 0, &mut reader)?;
            reader.image
        }
        Source::Memory(address) => {
            ensure!(
                address.is_multiple_of(layout.align as usize),
                "pointer not aligned"
            );
            block(cx.memory(), address, Some(layout.size))
                .ok_or_else(|| wasmtime::format_err!("pointer out of bounds of memory"))?
                .to_vec()
        }
    };
    let mut lifting = Lifting {
        is_utf8: cx.options().string_encoding == StringEncoding::Utf8,
        cx,
        tape,
    };
    lifting.run(&layout.steps, 0)?;
    Ok(lifting.tape)
}

/// Returns the bytes at this address, if they are within the memory.
fn block(memory: &[u8], address: usize, size: Option<usize>) -> Option<&[u8]> {
    memory.get(address..address.checked_add(size?)?)
}

impl Lifting<'_, '_> {
    /// Takes the steps for a value that was copied to `start` of the tape.
    fn run(&mut self, steps: &[Step], start: usize) -> wasmtime::Result<()> {
        for step in steps {
            match step {
                Step::Padding { at, size } => self.tape[start + at..][..*size].fill(0),
                Step::Bool { at } => {
                    let byte = &mut self.tape[start + at];
                    *byte = u8::from(*byte != 0);
                }
                Step::Char { at } => {
                    char::try_from(read(&self.tape, start + at, 4))?;
                }
                Step::Flags { at, width, used } => {
                    let bits = read(&self.tape, start + at, *width) & used;
                    self.tape[start + at..][..*width]
                        .copy_from_slice(&bits.to_le_bytes()[..*width]);
                }
                Step::Enum { at, width, count } => {
                    discriminant(read(&self.tape, start + at, *width), *count)?;
                }
                Step::Variant { at, width, cases } => {
                    let found = read(&self.tape, start + at, *width);
                    let count = u32::try_from(cases.len())?;
                    self.run(&cases[discriminant(found, count)?], start)?;
                }
                Step::Text { at } => self.text(start + at)?,
                Step::List { at, element } => self.list(start + at, element)?,
            }
        }
        Ok(())
    }

    fn text(&mut self, at: usize) -> wasmtime::Result<()> {
        let address = read(&self.tape, at, 4);
        let length = read(&self.tape, at + 4, 4);
        if self.is_utf8 {
            let length = length as usize;
            let Some(bytes) = block(self.cx.memory(), address as usize, Some(length)) else {
                bail!("string pointer/length out of bounds of memory");
            };
            self.cx.consume_fuel(length)?;
            let text = str::from_utf8(bytes)?;
            self.tape.extend_from_slice(text.as_bytes());
        } else {
            let pair = [ValRaw::u32(address), ValRaw::u32(length)];
            let text = String::linear_lift_from_flat(self.cx, InterfaceType::String, &pair)?;
            write(&mut self.tape, at + 4, u32::try_from(text.len())?);
            self.tape.extend_from_slice(text.as_bytes());
        }
        write(&mut self.tape, at, 0);
        Ok(())
    }

    fn list(&mut self, at: usize, element: &Layout) -> wasmtime::Result<()> {
        let address = read(&self.tape, at, 4) as usize;
        let length = read(&self.tape, at + 4, 4) as usize;
        let size = length.checked_mul(element.size);
        let Some(bytes) = block(self.cx.memory(), address, size) else {
            bail!("list pointer/length out of bounds of memory");
        };
        ensure!(
            address.is_multiple_of(element.align as usize),
            "list pointer is not aligned"
        );
        self.cx.consume_fuel(bytes.len())?;
        let start = self.tape.len();
        self.tape.extend_from_slice(bytes);
        write(&mut self.tape, at, 0);
        if !element.steps.is_empty() {
            for index in 0..length {
                self.run(&element.steps, start + index * element.size)?;
            }
        }
        Ok(())
    }
}

/// Returns the number in the `width` bytes at this place, of which there are at most four.
pub(super) fn read(bytes: &[u8], at: usize, width: usize) -> u32 {
    let mut number = [0; 4];
    number[..width].copy_from_slice(&bytes[at..][..width]);
    u32::from_le_bytes(number)
}

fn write(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..][..4].copy_from_slice(&number.to_le_bytes());
}

fn discriminant(found: u32, count: u32) -> wasmtime::Result<usize> {
    ensure!(
        found < count,
        "discriminant {found} out of range [0..{count})"
    );
    Ok(found as usize)
}

/// Puts the values of core parameters or results where they have their place in memory.
struct Reader<'a> {
    slots: std::slice::Iter<'a, ValRaw>,
    image: Vec<u8>,
}

impl Reader<'_> {
    fn next(&mut self) -> wasmtime::Result<&ValRaw> {
        let slot = self.slots.next();
        slot.ok_or_else(|| wasmtime::format_err!("too few core values"))
    }
}

impl Slots for Reader<'_> {
    fn scalar(&mut self, at: usize, width: usize) -> wasmtime::Result<()> {
        let slot = self.next()?;
        // A slot of 32 bits has no others that mean anything.
        let bits = match width {
            8 => slot.get_u64(),
            _ => slot.get_u32().into(),
        };
        self.image[at..][..width].copy_from_slice(&bits.to_le_bytes()[..width]);
        Ok(())
    }

    fn signed(&mut self, at: usize, width: usize) -> wasmtime::Result<()> {
        self.scalar(at, width)
    }

    fn bool(&mut self, at: usize) -> wasmtime::Result<()> {
        self.image[at] = u8::from(self.next()?.get_u32() != 0);
        Ok(())
    }

    fn discriminant(&mut self, at: usize, width: usize, count: u32) -> wasmtime::Result<usize> {
        let bits = self.next()?.get_u32();
        self.image[at..][..width].copy_from_slice(&bits.to_le_bytes()[..width]);
        discriminant(bits, count)
    }

    fn skip(&mut self, count: usize) -> wasmtime::Result<()> {
        for _ in 0..count {
            self.next()?;
        }
        Ok(())
    }
}
