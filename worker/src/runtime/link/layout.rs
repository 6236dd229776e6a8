//! The steps that passing a value from one guest to another takes beyond copying its bytes. They
//! are derived from the type before its values are read, so that a list of numbers is one copy and
//! a list of records is one copy and a few steps for each record.

use wasmtime::component::__internal::{
    ComponentTypes, InterfaceType,
    wasmtime_environ::component::{CanonicalAbiInfo, TypeTuple, VariantInfo},
};

/// The canonical ABI of one type in a 32-bit memory, and the steps for each of its values.
pub(super) struct Layout {
    /// In bytes.
    pub(super) size: usize,
    /// In bytes.
    pub(super) align: u32,
    pub(super) steps: Box<[Step]>,
}

/// A part of a value that is not copied as it is. Offsets count from the start of the value.
pub(super) enum Step {
    /// Bytes without a meaning, which may hold what the guest had there before.
    Padding {
        at: usize,
        size: usize,
    },
    Bool {
        at: usize,
    },
    Char {
        at: usize,
    },
    /// A word of flags, of which only these bits are used.
    Flags {
        at: usize,
        width: usize,
        used: u32,
    },
    /// An enum with this number of cases.
    Enum {
        at: usize,
        width: usize,
        count: u32,
    },
    /// A pointer to a string and its length.
    Text {
        at: usize,
    },
    /// A pointer to elements and their number.
    List {
        at: usize,
        element: Layout,
    },
    /// A variant, an option or a result, with the steps of each case. The offsets in the steps
    /// count from the start of the value that contains the variant.
    Variant {
        at: usize,
        width: usize,
        cases: Box<[Box<[Step]>]>,
    },
}

/// The direction in which values pass.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// Out of a guest, which may have written anything.
    Lift,
    /// Into a guest, from bytes that were checked when they were lifted.
    Lower,
}

struct Builder<'a> {
    types: &'a ComponentTypes,
    direction: Direction,
    steps: Vec<Step>,
}

impl Layout {
    fn of(
        types: &ComponentTypes,
        ty: InterfaceType,
        direction: Direction,
    ) -> wasmtime::Result<Self> {
        let mut builder = Builder::new(types, direction);
        builder.value(ty, 0)?;
        Ok(builder.finish(types.canonical_abi(&ty)))
    }

    /// Returns the layout of all parameters or all results of a function.
    pub(super) fn of_tuple(
        types: &ComponentTypes,
        tuple: &TypeTuple,
        direction: Direction,
    ) -> wasmtime::Result<Self> {
        let mut builder = Builder::new(types, direction);
        builder.fields(tuple.types.iter().copied(), 0, &tuple.abi)?;
        Ok(builder.finish(&tuple.abi))
    }
}

impl<'a> Builder<'a> {
    fn new(types: &'a ComponentTypes, direction: Direction) -> Self {
        Self {
            types,
            direction,
            steps: Vec::new(),
        }
    }

    fn finish(self, abi: &CanonicalAbiInfo) -> Layout {
        Layout {
            size: abi.size32 as usize,
            align: abi.align32,
            steps: self.steps.into(),
        }
    }

    fn value(&mut self, ty: InterfaceType, at: usize) -> wasmtime::Result<()> {
        let types = self.types;
        let abi = types.canonical_abi(&ty);
        match ty {
            InterfaceType::S8
            | InterfaceType::U8
            | InterfaceType::S16
            | InterfaceType::U16
            | InterfaceType::S32
            | InterfaceType::U32
            | InterfaceType::S64
            | InterfaceType::U64
            | InterfaceType::Float32
            | InterfaceType::Float64 => {}
            InterfaceType::Bool => self.check(Step::Bool { at }),
            InterfaceType::Char => self.check(Step::Char { at }),
            InterfaceType::Flags(flags) => self.flags(at, abi, types[flags].names.len()),
            InterfaceType::Enum(cases) => {
                let cases = &types[cases];
                self.check(Step::Enum {
                    at,
                    width: cases.info.size.byte_size() as usize,
                    count: u32::try_from(cases.names.len())?,
                });
            }
            InterfaceType::String => self.steps.push(Step::Text { at }),
            InterfaceType::List(list) => {
                let element = Layout::of(types, types[list].element, self.direction)?;
                self.steps.push(Step::List { at, element });
            }
            InterfaceType::Record(record) => {
                let fields = types[record].fields.iter().map(|field| field.ty);
                self.fields(fields, at, abi)?;
            }
            InterfaceType::Tuple(tuple) => {
                self.fields(types[tuple].types.iter().copied(), at, abi)?;
            }
            InterfaceType::Variant(variant) => {
                let variant = &types[variant];
                self.variant(variant.cases.values().copied(), at, abi, &variant.info)?;
            }
            InterfaceType::Option(option) => {
                let option = &types[option];
                self.variant([None, Some(option.ty)].into_iter(), at, abi, &option.info)?;
            }
            InterfaceType::Result(result) => {
                let result = &types[result];
                self.variant([result.ok, result.err].into_iter(), at, abi, &result.info)?;
            }
            // Such a type is never linked.
            InterfaceType::Own(_)
            | InterfaceType::Borrow(_)
            | InterfaceType::Future(_)
            | InterfaceType::Stream(_)
            | InterfaceType::ErrorContext(_)
            | InterfaceType::Map(_)
            | InterfaceType::FixedLengthList(_) => {
                wasmtime::bail!("values of this type cannot pass between components")
            }
        }
        Ok(())
    }

    fn fields(
        &mut self,
        fields: impl Iterator<Item = InterfaceType>,
        start: usize,
        abi: &CanonicalAbiInfo,
    ) -> wasmtime::Result<()> {
        let mut end = 0;
        for ty in fields {
            let before = end;
            let at = self.types.canonical_abi(&ty).next_field32_size(&mut end);
            self.padding(start + before, start + at);
            self.value(ty, start + at)?;
        }
        self.padding(start + end, start + abi.size32 as usize);
        Ok(())
    }

    fn variant(
        &mut self,
        cases: impl Iterator<Item = Option<InterfaceType>>,
        at: usize,
        abi: &CanonicalAbiInfo,
        info: &VariantInfo,
    ) -> wasmtime::Result<()> {
        let width = info.size.byte_size() as usize;
        let payload = at + info.payload_offset32 as usize;
        let end = at + abi.size32 as usize;
        let cases = cases.map(|ty| {
            let mut case = Self::new(self.types, self.direction);
            let mut used = at + width;
            if let Some(ty) = ty {
                case.padding(used, payload);
                case.value(ty, payload)?;
                used = payload + self.types.canonical_abi(&ty).size32 as usize;
            }
            case.padding(used, end);
            Ok(case.steps.into())
        });
        let cases: Box<[Box<[Step]>]> = cases.collect::<wasmtime::Result<_>>()?;
        if self.direction == Direction::Lift || cases.iter().any(|steps| !steps.is_empty()) {
            self.steps.push(Step::Variant { at, width, cases });
        }
        Ok(())
    }

    fn flags(&mut self, at: usize, abi: &CanonicalAbiInfo, count: usize) {
        let size = abi.size32 as usize;
        let width = size.min(4);
        let unused = size * 8 - count;
        if unused > 0 && size > 0 {
            let used = u32::MAX >> (32 - width * 8 + unused);
            let at = at + size - width;
            self.check(Step::Flags { at, width, used });
        }
    }

    fn padding(&mut self, from: usize, to: usize) {
        if from < to {
            self.check(Step::Padding {
                at: from,
                size: to - from,
            });
        }
    }

    /// Adds a step that only matters when a value is lifted.
    fn check(&mut self, step: Step) {
        if self.direction == Direction::Lift {
            self.steps.push(step);
        }
    }
}
