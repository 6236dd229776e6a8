//! Random types, their values, and a guest that passes such a value on.

use std::fmt::Write as _;

use proptest::{collection::vec, option, prelude::*};
use wasmtime::component::Val;

#[derive(Clone, Debug)]
pub(super) enum Type {
    Bool,
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
    Float32,
    Float64,
    Char,
    String,
    List(Box<Type>),
    Record(Vec<Type>),
    Tuple(Vec<Type>),
    Variant(Vec<Option<Type>>),
    Enum(usize),
    Option(Box<Type>),
    Result(Option<Box<Type>>, Option<Box<Type>>),
    Flags(usize),
}

pub(super) fn any_type() -> impl Strategy<Value = Type> {
    use Type::*;
    let leaf = prop_oneof![
        Just(Bool),
        Just(S8),
        Just(U8),
        Just(S16),
        Just(U16),
        Just(S32),
        Just(U32),
        Just(S64),
        Just(U64),
        Just(Float32),
        Just(Float64),
        Just(Char),
        Just(String),
        prop_oneof![1usize..5, 255usize..258].prop_map(Enum),
        (1usize..33).prop_map(Flags),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        prop_oneof![
            boxed.clone().prop_map(List),
            vec(inner.clone(), 1..6).prop_map(Record),
            vec(inner.clone(), 1..4).prop_map(Tuple),
            vec(option::of(inner), 1..5).prop_map(Variant),
            boxed.clone().prop_map(Option),
            (option::of(boxed.clone()), option::of(boxed)).prop_map(|(ok, err)| Result(ok, err)),
        ]
    })
}

/// Floats are compared by value, so no value is a NaN.
pub(super) fn any_value(ty: &Type) -> BoxedStrategy<Val> {
    let boxed = |ty: &Type| any_value(ty).prop_map(Box::new);
    let payload = |ty: Option<&Type>| match ty {
        None => Just(None).boxed(),
        Some(ty) => boxed(ty).prop_map(Some).boxed(),
    };
    match ty {
        Type::Bool => any::<bool>().prop_map(Val::Bool).boxed(),
        Type::S8 => any::<i8>().prop_map(Val::S8).boxed(),
        Type::U8 => any::<u8>().prop_map(Val::U8).boxed(),
        Type::S16 => any::<i16>().prop_map(Val::S16).boxed(),
        Type::U16 => any::<u16>().prop_map(Val::U16).boxed(),
        Type::S32 => any::<i32>().prop_map(Val::S32).boxed(),
        Type::U32 => any::<u32>().prop_map(Val::U32).boxed(),
        Type::S64 => any::<i64>().prop_map(Val::S64).boxed(),
        Type::U64 => any::<u64>().prop_map(Val::U64).boxed(),
        Type::Float32 => any::<f32>().prop_map(Val::Float32).boxed(),
        Type::Float64 => any::<f64>().prop_map(Val::Float64).boxed(),
        Type::Char => any::<char>().prop_map(Val::Char).boxed(),
        Type::String => prop_oneof![any::<String>(), "[a-z\u{e0}-\u{ff}]{0,9}"]
            .prop_map(Val::String)
            .boxed(),
        Type::List(element) => vec(any_value(element), 0..4).prop_map(Val::List).boxed(),
        Type::Record(fields) => {
            let fields: Vec<_> = fields.iter().map(any_value).collect();
            fields
                .prop_map(|values| {
                    let named = values.into_iter().enumerate();
                    Val::Record(named.map(|(i, value)| (format!("f{i}"), value)).collect())
                })
                .boxed()
        }
        Type::Tuple(fields) => {
            let fields: Vec<_> = fields.iter().map(any_value).collect();
            fields.prop_map(Val::Tuple).boxed()
        }
        Type::Variant(cases) => {
            let cases = cases.iter().enumerate().map(|(i, ty)| {
                let case = payload(ty.as_ref());
                case.prop_map(move |value| Val::Variant(format!("c{i}"), value))
                    .boxed()
            });
            proptest::strategy::Union::new(cases).boxed()
        }
        Type::Enum(count) => (0..*count).prop_map(|i| Val::Enum(format!("e{i}"))).boxed(),
        Type::Option(ty) => option::of(boxed(ty)).prop_map(Val::Option).boxed(),
        Type::Result(ok, err) => prop_oneof![
            payload(ok.as_deref()).prop_map(|value| Val::Result(Ok(value))),
            payload(err.as_deref()).prop_map(|value| Val::Result(Err(value))),
        ]
        .boxed(),
        Type::Flags(count) => vec(any::<bool>(), *count)
            .prop_map(|set| {
                let set = set.into_iter().enumerate().filter(|(_, is_set)| *is_set);
                Val::Flags(set.map(|(i, _)| format!("b{i}")).collect())
            })
            .boxed(),
    }
}

/// The definitions of types in a component, each before those that use it.
#[derive(Default)]
struct Definitions {
    text: String,
    count: usize,
}

impl Definitions {
    /// Returns how the text refers to a type.
    fn name(&mut self, ty: &Type) -> String {
        let primitive = match ty {
            Type::Bool => "bool",
            Type::S8 => "s8",
            Type::U8 => "u8",
            Type::S16 => "s16",
            Type::U16 => "u16",
            Type::S32 => "s32",
            Type::U32 => "u32",
            Type::S64 => "s64",
            Type::U64 => "u64",
            Type::Float32 => "f32",
            Type::Float64 => "f64",
            Type::Char => "char",
            Type::String => "string",
            _ => {
                let defined = self.defined(ty);
                let name = format!("$t{}", self.count);
                let text = &mut self.text;
                if let Type::Record(_) | Type::Variant(_) | Type::Enum(_) | Type::Flags(_) = ty {
                    // A function may only use such a type by a name that is known outside.
                    let import = format!("t{}", self.count);
                    write!(text, "(type {name}d {defined})").unwrap();
                    writeln!(text, r#"(import "{import}" (type {name} (eq {name}d)))"#).unwrap();
                } else {
                    writeln!(text, "(type {name} {defined})").unwrap();
                }
                self.count += 1;
                return name;
            }
        };
        primitive.to_owned()
    }

    fn defined(&mut self, ty: &Type) -> String {
        let mut all =
            |types: &[Type]| -> Vec<String> { types.iter().map(|ty| self.name(ty)).collect() };
        match ty {
            Type::List(element) => format!("(list {})", self.name(element)),
            Type::Record(fields) => {
                let fields = all(fields).into_iter().enumerate();
                let fields: String = fields
                    .map(|(i, ty)| format!(r#"(field "f{i}" {ty})"#))
                    .collect();
                format!("(record {fields})")
            }
            Type::Tuple(fields) => format!("(tuple {})", all(fields).join(" ")),
            Type::Variant(cases) => {
                let mut text = String::new();
                for (i, case) in cases.iter().enumerate() {
                    let ty = case.as_ref().map(|ty| self.name(ty)).unwrap_or_default();
                    write!(text, r#"(case "c{i}" {ty})"#).unwrap();
                }
                format!("(variant {text})")
            }
            Type::Enum(count) => format!("(enum {})", names("e", *count)),
            Type::Option(ty) => format!("(option {})", self.name(ty)),
            Type::Result(ok, err) => {
                let ok = ok.as_ref().map(|ty| self.name(ty)).unwrap_or_default();
                let err = err.as_ref().map(|ty| format!("(error {})", self.name(ty)));
                format!("(result {ok} {})", err.unwrap_or_default())
            }
            Type::Flags(count) => format!("(flags {})", names("b", *count)),
            _ => unreachable!("it is primitive"),
        }
    }
}

fn names(prefix: &str, count: usize) -> String {
    (0..count).map(|i| format!(r#""{prefix}{i}" "#)).collect()
}

/// Returns the core types of a value.
fn flat(ty: &Type) -> Vec<&'static str> {
    let all = |types: &mut dyn Iterator<Item = Option<&Type>>| {
        let mut joined: Vec<&'static str> = vec![];
        for ty in types.flatten() {
            for (i, slot) in flat(ty).into_iter().enumerate() {
                match joined.get_mut(i) {
                    None => joined.push(slot),
                    Some(have) if *have == slot => {}
                    Some(have) if matches!((*have, slot), ("i32", "f32") | ("f32", "i32")) => {
                        *have = "i32";
                    }
                    Some(have) => *have = "i64",
                }
            }
        }
        [vec!["i32"], joined].concat()
    };
    match ty {
        Type::S64 | Type::U64 => vec!["i64"],
        Type::Float32 => vec!["f32"],
        Type::Float64 => vec!["f64"],
        Type::String | Type::List(_) => vec!["i32", "i32"],
        Type::Record(fields) | Type::Tuple(fields) => fields.iter().flat_map(flat).collect(),
        Type::Variant(cases) => all(&mut cases.iter().map(Option::as_ref)),
        Type::Option(ty) => all(&mut [Some(&**ty)].into_iter()),
        Type::Result(ok, err) => all(&mut [ok.as_deref(), err.as_deref()].into_iter()),
        _ => vec!["i32"],
    }
}

/// Returns a guest whose export `run` passes its parameter on to its import `pass` and returns what
/// that returns. Its strings have this encoding.
pub(super) fn relay(ty: &Type, encoding: &str) -> String {
    let mut definitions = Definitions::default();
    let name = definitions.name(ty);
    let flat = flat(ty);
    let params = if flat.len() > 16 {
        vec!["i32"]
    } else {
        flat.clone()
    };
    let gets: String = (0..params.len())
        .map(|i| format!("(local.get {i})"))
        .collect();
    let params = params.join(" ");
    // Results of more than one core value are returned through memory.
    let (import, result, body) = if flat.len() > 1 {
        let body = format!("(call $pass {gets} (i32.const 8)) (i32.const 8)");
        (format!("(param {params} i32)"), "i32", body)
    } else {
        let import = format!("(param {params}) (result {params})");
        (import, &*params, format!("(call $pass {gets})"))
    };
    format!(
        r#"(component
            {definitions}
            (import "pass" (func $pass (param "v" {name}) (result {name})))
            (core module $libc
                (memory (export "memory") 64)
                (global $next (mut i32) (i32.const 65536))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                    (local $at i32)
                    (local.set $at (i32.and
                        (i32.add (global.get $next) (i32.sub (local.get 2) (i32.const 1)))
                        (i32.sub (i32.const 0) (local.get 2))))
                    (global.set $next (i32.add (local.get $at) (local.get 3)))
                    (memory.copy (local.get $at) (local.get 0) (local.get 1))
                    (local.get $at)))
            (core instance $libc (instantiate $libc))
            (alias core export $libc "memory" (core memory $memory))
            (alias core export $libc "realloc" (core func $realloc))
            (core func $lowered (canon lower (func $pass)
                (memory $memory) (realloc $realloc) string-encoding={encoding}))
            (core module $main
                (import "" "pass" (func $pass {import}))
                (func (export "run") (param {params}) (result {result}) {body}))
            (core instance $main (instantiate $main
                (with "" (instance (export "pass" (func $lowered))))))
            (func (export "run") (param "v" {name}) (result {name})
                (canon lift (core func $main "run")
                    (memory $memory) (realloc $realloc) string-encoding={encoding})))"#,
        definitions = definitions.text,
    )
}
