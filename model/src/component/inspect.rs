//! Reads a component's imports and exports from its bytes.

use wasmparser::{
    BinaryReader, Encoding, FuncValidator, FuncValidatorAllocations, FunctionBody, Parser, Payload,
    ValidPayload, Validator, ValidatorResources, WasmFeatures,
    component_types::{
        ComponentAnyTypeId, ComponentEntityType, ComponentInstanceType, ComponentItem,
    },
    types::{Types, TypesRef},
};

use super::{
    ComponentInfo, ExternItem, Function, InterfaceName, WasiGeneration,
    error::{InspectError, describe},
    limits::{Limit, Limits},
    outline,
    signature::{self, Resources},
    wasi, wasi_generation,
};

/// The features that wasmtime enables by default, and WASI 0.3's async: a worker can compile
/// whatever passes this validation.
const FEATURES: WasmFeatures = WasmFeatures::WASM3
    .union(WasmFeatures::COMPONENT_MODEL)
    .union(WasmFeatures::CM_ASYNC);

/// The total bytes of names and signatures. A component with more is refused, because they are
/// stored with the artifact and sent with every answer about it.
const MAX_DESCRIPTION: usize = 1 << 20;

/// The number of imports and exports. A component with more is refused, because linking a workload
/// visits those of every component.
const MAX_ITEMS: usize = 5_000;

/// Validates a component and lists what it imports and exports, within the default [`Limits`].
pub fn inspect(bytes: &[u8]) -> Result<ComponentInfo, InspectError> {
    inspect_within(bytes, &Limits::default(), &Interrupt::never())
}

/// Validates a component and lists what it imports and exports.
///
/// A component that exceeds `limits` is refused before the validator sees it. Otherwise this takes
/// about as long as reading the bytes a few times; `interrupt` is checked often enough for the work
/// to end within a second of it.
pub fn inspect_within(
    bytes: &[u8],
    limits: &Limits,
    interrupt: &Interrupt<'_>,
) -> Result<ComponentInfo, InspectError> {
    if !bytes.starts_with(b"\0asm") {
        return Err(InspectError::NotWasm(describe(bytes)));
    }
    if Parser::is_core_wasm(bytes) {
        return Err(InspectError::CoreModule);
    }
    outline::check(bytes, limits, interrupt)?;
    let bodies = Bodies::Checked {
        block_depth: limits.get(Limit::BlockDepth),
    };
    let types = types(bytes, FEATURES, bodies, interrupt)?;
    info(bytes, &types)
}

/// Decides whether to abandon work whose result is no longer needed.
pub struct Interrupt<'a>(Option<&'a dyn Fn() -> bool>);

impl<'a> Interrupt<'a> {
    pub fn never() -> Self {
        Self(None)
    }

    /// When `is_due` says so: it is asked often, and should be cheap.
    pub fn when(is_due: &'a dyn Fn() -> bool) -> Self {
        Self(Some(is_due))
    }

    pub(super) fn check(&self) -> Result<(), InspectError> {
        match self.0 {
            Some(is_due) if is_due() => Err(InspectError::Interrupted),
            _ => Ok(()),
        }
    }
}

/// Returns the imports and exports of a component that was inspected when it was pushed, and the
/// engine that it needs.
///
/// Function bodies, which are most of a component, are not validated again: this is called at each
/// start of a worker.
pub fn border(bytes: &[u8]) -> Result<(ComponentInfo, WasiGeneration), InspectError> {
    let types = |features| types(bytes, features, Bodies::Skipped, &Interrupt::never());
    let (types, is_async) = match types(FEATURES.difference(WasmFeatures::CM_ASYNC)) {
        Ok(types) => (types, false),
        Err(_) => (types(FEATURES)?, true),
    };
    let info = info(bytes, &types)?;
    let generation = match is_async {
        true => WasiGeneration::P3,
        false => wasi_generation(&info),
    };
    Ok((info, generation))
}

/// Whether function bodies are validated.
#[derive(Clone, Copy)]
enum Bodies {
    Checked { block_depth: u64 },
    Skipped,
}

/// The number of operators of a function between two checks of the interrupt.
const OPERATORS: u32 = 1024;

/// Validates a component and returns its outermost types.
fn types(
    bytes: &[u8],
    features: WasmFeatures,
    bodies: Bodies,
    interrupt: &Interrupt<'_>,
) -> Result<Types, InspectError> {
    let mut validator = Validator::new_with_features(features);
    let mut allocations = FuncValidatorAllocations::default();
    let mut outermost = None;
    // Core modules so far.
    let mut modules = 0_u64;
    for payload in Parser::new(0).parse_all(bytes) {
        interrupt.check()?;
        let payload = payload?;
        if let Payload::Version { encoding, .. } = &payload {
            modules += u64::from(*encoding == Encoding::Module);
        }
        match validator.payload(&payload)? {
            ValidPayload::Func(function, body) => {
                let Bodies::Checked { block_depth } = bodies else {
                    continue;
                };
                let mut function = function.into_validator(allocations);
                let index = u64::from(function.index());
                if !checked(&mut function, &body, block_depth, interrupt)? {
                    return Err(InspectError::Function {
                        function: index,
                        module: modules.saturating_sub(1),
                        offset: body.range().start,
                        is: "nests its blocks too deep".to_owned(),
                        limit: Limit::BlockDepth,
                        most: block_depth,
                    });
                }
                allocations = function.into_allocations();
            }
            // Those of nested components and modules come first.
            ValidPayload::End(types) => outermost = Some(types),
            _ => {}
        }
    }
    outermost.ok_or_else(|| InspectError::Invalid {
        offset: bytes.len(),
        message: "unexpected end".to_owned(),
    })
}

/// Validates one function. Returns `false` if its blocks are nested deeper than `block_depth`.
fn checked(
    function: &mut FuncValidator<ValidatorResources>,
    body: &FunctionBody<'_>,
    block_depth: u64,
    interrupt: &Interrupt<'_>,
) -> Result<bool, InspectError> {
    let mut reader = body.get_binary_reader();
    function.read_locals(&mut reader)?;
    reader.set_features(*function.features());
    let mut until_look = OPERATORS;
    while !reader.eof() {
        let offset = reader.original_position();
        bound_array(&reader, offset)?;
        reader.visit_operator(&mut function.visitor(offset))??;
        // The function itself is a block too.
        if u64::from(function.control_stack_height()) > block_depth.saturating_add(1) {
            return Ok(false);
        }
        until_look -= 1;
        if until_look == 0 {
            interrupt.check()?;
            until_look = OPERATORS;
        }
    }
    reader.finish_expression(&function.visitor(reader.original_position()))?;
    Ok(true)
}

/// The elements of one `array.new_fixed`, as in every engine of the Web.
const ARRAY_ELEMENTS: u32 = 10_000;

/// The validator pops each element of `array.new_fixed`, and after `unreachable` there are always
/// more.
fn bound_array(reader: &BinaryReader<'_>, offset: usize) -> Result<(), InspectError> {
    let mut reader = reader.clone();
    if reader.read_u8()? != 0xfb || reader.read_var_u32()? != 8 {
        return Ok(());
    }
    let (_type, elements) = (reader.read_var_u32()?, reader.read_var_u32()?);
    match elements > ARRAY_ELEMENTS {
        true => Err(InspectError::Invalid {
            offset,
            message: format!("`array.new_fixed` takes more than {ARRAY_ELEMENTS} elements"),
        }),
        false => Ok(()),
    }
}

fn info(bytes: &[u8], types: &Types) -> Result<ComponentInfo, InspectError> {
    let (imports, exports) = names(bytes)?;
    if imports.len() + exports.len() > MAX_ITEMS {
        return Err(InspectError::TooWide(MAX_ITEMS));
    }
    let reader = Reader {
        types,
        left: MAX_DESCRIPTION,
    };
    reader.read(&imports, &exports)
}

/// Returns the names of the outermost component's imports and exports, in order.
fn names(bytes: &[u8]) -> Result<(Vec<&str>, Vec<&str>), InspectError> {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    imports.push(import?.name.name);
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    exports.push(export?.name.name);
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

/// The side of the component's border that an item is on.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Import,
    Export,
}

struct Reader<'a> {
    types: &'a Types,
    /// Bytes of names and signatures that may still be kept.
    left: usize,
}

impl Reader<'_> {
    fn read(mut self, imports: &[&str], exports: &[&str]) -> Result<ComponentInfo, InspectError> {
        let types: TypesRef<'_> = self.types.as_ref();
        let import = |name: &str| types.component_item_for_import(name);
        let imports = self.items(imports, Side::Import, import)?;
        let export = |name: &str| types.component_item_for_export(name);
        let exports = self.items(exports, Side::Export, export)?;
        Ok(ComponentInfo::new(imports, exports))
    }

    fn items<'t>(
        &mut self,
        names: &[&str],
        side: Side,
        item: impl Fn(&str) -> Option<&'t ComponentItem>,
    ) -> Result<Vec<ExternItem>, InspectError> {
        let mut items = Vec::new();
        for name in names {
            let Some(item) = item(name) else { continue };
            self.keep(name)?;
            let Some(functions) = self.functions(name, side, &item.ty)? else {
                continue;
            };
            items.push(ExternItem {
                name: (*name).to_owned(),
                functions,
            });
        }
        Ok(items)
    }

    /// What is to be linked of one import or export; `None` for a type that stands alone, which is
    /// nothing to link.
    fn functions(
        &mut self,
        name: &str,
        side: Side,
        ty: &ComponentEntityType,
    ) -> Result<Option<Vec<Function>>, InspectError> {
        match ty {
            ComponentEntityType::Instance(id) if name.starts_with("wasi:") => match side {
                Side::Import => self.unprovided(name, &self.types[*id]).map(Some),
                Side::Export => Ok(Some(Vec::new())),
            },
            ComponentEntityType::Instance(id) => {
                let instance = &self.types[*id];
                let resources = resources(instance);
                let functions = instance.exports.iter().filter_map(|(name, item)| {
                    self.function(&resources, name, &item.ty).transpose()
                });
                functions.collect::<Result<_, _>>().map(Some)
            }
            ty => {
                let function = self.function(&Resources::new(), name, ty)?;
                Ok(function.map(|function| vec![function]))
            }
        }
    }

    /// What an import of WASI asks for and no worker provides.
    fn unprovided(
        &mut self,
        name: &str,
        instance: &ComponentInstanceType,
    ) -> Result<Vec<Function>, InspectError> {
        let provided = name.parse::<InterfaceName>().ok();
        let provided = provided.as_ref().and_then(wasi::provides);
        let resources = resources(instance);
        let mut functions = Vec::new();
        for (name, item) in &instance.exports {
            // What it uses of another interface is that one's to provide.
            let is_used = matches!(
                &item.ty,
                ComponentEntityType::Type { referenced, created } if referenced != created
            );
            let is_listed =
                |interface: &wasi::Provided| interface.functions.contains(&name.as_str());
            if is_used || provided.is_some_and(is_listed) {
                continue;
            }
            // The host would answer it, so nothing about its type stands in the way.
            functions.extend(
                self.function(&resources, name, &item.ty)?
                    .map(|function| Function {
                        unlinkable: None,
                        ..function
                    }),
            );
        }
        Ok(functions)
    }

    fn function(
        &mut self,
        resources: &Resources,
        name: &str,
        ty: &ComponentEntityType,
    ) -> Result<Option<Function>, InspectError> {
        let (signature, unlinkable) = match ty {
            ComponentEntityType::Func(id) => {
                let written = signature::write(self.types, resources, &self.types[*id]);
                (written.text, written.unlinkable)
            }
            ComponentEntityType::Type {
                created: ComponentAnyTypeId::Resource(_),
                ..
            } => other(
                "resource",
                "it is a resource, which cannot leave its component yet",
            ),
            ComponentEntityType::Type { .. } => return Ok(None),
            ComponentEntityType::Module(_) => {
                other("core module", "it is a core module, not a function")
            }
            ComponentEntityType::Component(_) => {
                other("component", "it is a component, not a function")
            }
            ComponentEntityType::Value(_) => other("value", "it is a value, not a function"),
            ComponentEntityType::Instance(_) => {
                other("instance", "it is an instance, not a function")
            }
        };
        self.keep(name)?;
        self.keep(&signature)?;
        Ok(Some(Function {
            name: name.to_owned(),
            signature,
            unlinkable,
        }))
    }

    fn keep(&mut self, text: &str) -> Result<(), InspectError> {
        self.left = self
            .left
            .checked_sub(text.len())
            .ok_or(InspectError::TooLarge)?;
        Ok(())
    }
}

fn other(signature: &str, unlinkable: &str) -> (String, Option<String>) {
    (signature.to_owned(), Some(unlinkable.to_owned()))
}

fn resources(instance: &ComponentInstanceType) -> Resources {
    let named = instance
        .exports
        .iter()
        .filter_map(|(name, item)| match &item.ty {
            ComponentEntityType::Type {
                created: ComponentAnyTypeId::Resource(id),
                ..
            } => Some((id.resource(), name.clone())),
            _ => None,
        });
    let mut resources = Resources::new();
    for (id, name) in named {
        // Of several names the first.
        resources.entry(id).or_insert(name);
    }
    resources
}
