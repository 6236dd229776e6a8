//! Reading a component's border from its bytes.

use wasmparser::{
    FuncValidatorAllocations, Parser, Payload, ValidPayload, Validator, WasmFeatures,
    component_types::{
        ComponentAnyTypeId, ComponentEntityType, ComponentInstanceType, ComponentItem, ResourceId,
    },
    types::{Types, TypesRef},
};

use super::{
    ComponentInfo, ExternItem, Function, InterfaceName, WasiGeneration, signature, wasi,
    wasi_generation,
};

/// What wasmtime enables unless it is told otherwise, and WASI 0.3's async: what this accepts, a worker can compile.
const FEATURES: WasmFeatures = WasmFeatures::WASM3
    .union(WasmFeatures::COMPONENT_MODEL)
    .union(WasmFeatures::CM_ASYNC);

/// Names and signatures beyond this are refused: they are stored with the artifact and sent with every answer about it.
const MAX_DESCRIPTION: usize = 1 << 20;

/// The bytes are no component that Warren can run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    #[error("it is not WebAssembly: {0}")]
    NotWasm(String),
    #[error(
        "it is a core WebAssembly module, not a component: build it for the target wasm32-wasip2, or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    #[error("it is not a valid component: {message} (at byte {offset:#x})")]
    Invalid { offset: usize, message: String },
    #[error(
        "its imports and exports are longer than 1 MiB written out: make its interfaces smaller"
    )]
    TooLarge,
}

/// Validates a component and lists what it imports and exports.
pub fn inspect(bytes: &[u8]) -> Result<ComponentInfo, InspectError> {
    if !bytes.starts_with(b"\0asm") {
        return Err(InspectError::NotWasm(describe(bytes)));
    }
    if Parser::is_core_wasm(bytes) {
        return Err(InspectError::CoreModule);
    }
    let types = types(bytes, FEATURES, Bodies::Checked)?;
    info(bytes, &types)
}

/// What a component that was inspected when it was pushed imports and exports, and which engine it
/// needs.
///
/// Function bodies, which are most of a component, are not looked at again: this is for each start
/// of a worker.
pub fn border(bytes: &[u8]) -> Result<(ComponentInfo, WasiGeneration), InspectError> {
    let plain = types(
        bytes,
        FEATURES.difference(WasmFeatures::CM_ASYNC),
        Bodies::Skipped,
    );
    let (types, is_async) = match plain {
        Ok(types) => (types, false),
        Err(_) => (types(bytes, FEATURES, Bodies::Skipped)?, true),
    };
    let info = info(bytes, &types)?;
    let generation = match is_async {
        true => WasiGeneration::P3,
        false => wasi_generation(&info),
    };
    Ok((info, generation))
}

/// Whether function bodies are validated.
#[derive(Clone, Copy, PartialEq)]
enum Bodies {
    Checked,
    Skipped,
}

/// Validates a component and returns its outermost types.
fn types(bytes: &[u8], features: WasmFeatures, bodies: Bodies) -> Result<Types, InspectError> {
    let mut validator = Validator::new_with_features(features);
    let mut allocations = FuncValidatorAllocations::default();
    let mut outermost = None;
    for payload in Parser::new(0).parse_all(bytes) {
        match validator.payload(&payload?)? {
            ValidPayload::Func(function, body) if bodies == Bodies::Checked => {
                let mut function = function.into_validator(allocations);
                function.validate(&body)?;
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

fn info(bytes: &[u8], types: &Types) -> Result<ComponentInfo, InspectError> {
    let (imports, exports) = names(bytes)?;
    let reader = Reader {
        types,
        left: MAX_DESCRIPTION,
    };
    reader.read(&imports, &exports)
}

impl From<wasmparser::BinaryReaderError> for InspectError {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Invalid {
            offset: error.offset(),
            message: error.message().to_owned(),
        }
    }
}

/// The names of the outermost component's imports and exports, in their order.
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

/// Where an item stands at the component's border.
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

    /// What is to be linked of one import or export; `None` for a type that stands alone, which is nothing to link.
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
                let function = self.function(&[], name, ty)?;
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
        resources: &[(ResourceId, String)],
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

fn resources(instance: &ComponentInstanceType) -> Vec<(ResourceId, String)> {
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
    named.collect()
}

/// What the bytes look like, for somebody who gave the wrong file.
fn describe(bytes: &[u8]) -> String {
    let magic = [
        (
            &b"\x7fELF"[..],
            "it is a native ELF file, such as an executable or compiled .cwasm code",
        ),
        (b"\x1f\x8b", "it is compressed with gzip"),
        (b"PK\x03\x04", "it is a ZIP archive"),
        (b"#!", "it is a script"),
        (
            b"(component",
            "it is WebAssembly text: assemble it with `wasm-tools parse`",
        ),
        (
            b"(module",
            "it is WebAssembly text: assemble it with `wasm-tools parse`",
        ),
    ];
    let known = magic.iter().find(|(start, _)| bytes.starts_with(start));
    if let Some((_, what)) = known {
        return (*what).to_owned();
    }
    let start = &bytes[..bytes.len().min(16)];
    // A character that the cut divides does not make it binary.
    let text = start.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let is_text = text.len() + 3 >= start.len()
        && !text.contains(|c: char| c.is_control() && !c.is_whitespace());
    match start {
        [] => "it is empty".to_owned(),
        _ if is_text && !text.is_empty() => format!("it begins with the text {text:?}"),
        _ => format!("it begins with the bytes {}", hex::encode(start)),
    }
}
