//! Defines functions of any type in a linker.

use std::future::Future;

use wasmtime::{
    StoreContextMut,
    component::{
        LinkerInstance,
        types::{ComponentFunc, Type},
    },
};

use super::values::{Arguments, Content, FLAT_PARAMS, FLAT_RESULTS, Results};

/// Defines a function that answers its arguments, which are on a tape, by `answer`.
///
/// wasmtime wants to know at compile time how many core values pass, so there is one instance of
/// the glue for each number.
pub(super) fn define<T, F, A>(
    instance: &mut LinkerInstance<'_, T>,
    name: &str,
    signature: &ComponentFunc,
    answer: F,
) -> wasmtime::Result<()>
where
    T: Send + 'static,
    F: Fn(&T, Vec<u8>) -> A + Send + Sync + 'static,
    A: Future<Output = wasmtime::Result<Content>> + Send + 'static,
{
    let params = slots(signature.params().map(|(_, ty)| ty), FLAT_PARAMS);
    let results = slots(signature.results(), FLAT_RESULTS);
    macro_rules! by_slots {
        ($($count:literal)*) => {
            match (params, results) {
                $(
                    ($count, 0) => wrap::<$count, 0, T, F, A>(instance, name, answer),
                    ($count, _) => wrap::<$count, 1, T, F, A>(instance, name, answer),
                )*
                _ => wasmtime::bail!("more core values than the canonical ABI has"),
            }
        };
    }
    by_slots!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
}

fn wrap<const PARAMS: usize, const RESULTS: usize, T, F, A>(
    instance: &mut LinkerInstance<'_, T>,
    name: &str,
    answer: F,
) -> wasmtime::Result<()>
where
    T: Send + 'static,
    F: Fn(&T, Vec<u8>) -> A + Send + Sync + 'static,
    A: Future<Output = wasmtime::Result<Content>> + Send + 'static,
{
    instance.func_wrap_async(
        name,
        move |store: StoreContextMut<'_, T>, arguments: Arguments<PARAMS>| {
            let answer = answer(store.data(), arguments.into_tape());
            Box::new(async move { answer.await.map(Results::<RESULTS>::from) })
        },
    )
}

/// Returns the number of core values for values of these types: one for a pointer if there would be
/// more than `most`.
fn slots(types: impl Iterator<Item = Type>, most: usize) -> usize {
    let count = types.map(|ty| flat_count(&ty)).sum();
    if count > most { 1 } else { count }
}

fn flat_count(ty: &Type) -> usize {
    let widest = |cases: &mut dyn Iterator<Item = Option<Type>>| {
        1 + cases.flatten().map(|ty| flat_count(&ty)).max().unwrap_or(0)
    };
    match ty {
        Type::String | Type::List(_) | Type::Map(_) => 2,
        Type::Record(record) => record.fields().map(|field| flat_count(&field.ty)).sum(),
        Type::Tuple(tuple) => tuple.types().map(|ty| flat_count(&ty)).sum(),
        Type::Variant(variant) => widest(&mut variant.cases().map(|case| case.ty)),
        Type::Option(option) => widest(&mut [Some(option.ty())].into_iter()),
        Type::Result(result) => widest(&mut [result.ok(), result.err()].into_iter()),
        Type::Flags(flags) => flags.names().len().div_ceil(32),
        _ => 1,
    }
}
