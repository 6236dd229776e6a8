//! Links signatures of byte lists and strings by their static types. 64 KiB then cost microseconds
//! instead of the milliseconds that one [`wasmtime::component::Val`] for each byte takes.

use std::sync::Arc;

use wasmtime::{
    StoreContextMut,
    component::{
        ComponentNamedList, Lift, LinkerInstance, Lower,
        types::{ComponentFunc, Type},
    },
};

use super::{super::Guest, Callee, Caller, Failure};

/// The types that are worth static linking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Bytes,
    Text,
    OptionBytes,
    OptionText,
    /// `result<list<u8>, string>`
    ResultBytes,
    /// `result<string, string>`
    ResultText,
    /// `result<_, string>`
    ResultUnit,
}

impl Shape {
    fn of(ty: &Type) -> Option<Self> {
        match ty {
            Type::String => Some(Self::Text),
            Type::List(list) if list.ty() == Type::U8 => Some(Self::Bytes),
            Type::Option(option) => match Self::of(&option.ty())? {
                Self::Bytes => Some(Self::OptionBytes),
                Self::Text => Some(Self::OptionText),
                _ => None,
            },
            Type::Result(result) if result.err() == Some(Type::String) => {
                match result.ok().as_ref().map(Self::of) {
                    None => Some(Self::ResultUnit),
                    Some(Some(Self::Bytes)) => Some(Self::ResultBytes),
                    Some(Some(Self::Text)) => Some(Self::ResultText),
                    Some(_) => None,
                }
            }
            _ => None,
        }
    }
}

/// The result of a call, including the one that reports that the callee failed.
trait Answer: ComponentNamedList + Lift + Lower + Send + Sync + Sized + 'static {
    /// Returns the result that reports a failure, or `None` if the signature cannot express it.
    fn failed(_callee: &Callee, _failure: &Failure) -> Option<Self> {
        None
    }
}

/// The arguments of a call.
trait Arguments: ComponentNamedList + Lift + Lower + Send + Sync + 'static {
    /// Returns the bytes that they take while they are passed.
    fn bytes(&self) -> usize;
}

impl Arguments for () {
    fn bytes(&self) -> usize {
        0
    }
}

impl<A: AsRef<[u8]>> Arguments for (A,)
where
    Self: ComponentNamedList + Lift + Lower + Send + Sync + 'static,
{
    fn bytes(&self) -> usize {
        self.0.as_ref().len()
    }
}

impl<A: AsRef<[u8]>, B: AsRef<[u8]>> Arguments for (A, B)
where
    Self: ComponentNamedList + Lift + Lower + Send + Sync + 'static,
{
    fn bytes(&self) -> usize {
        self.0.as_ref().len() + self.1.as_ref().len()
    }
}

impl Answer for () {}
impl Answer for (Vec<u8>,) {}
impl Answer for (String,) {}
impl Answer for (Option<Vec<u8>>,) {}
impl Answer for (Option<String>,) {}

impl Answer for (Result<Vec<u8>, String>,) {
    fn failed(callee: &Callee, failure: &Failure) -> Option<Self> {
        Some((Err(callee.say(failure)),))
    }
}

impl Answer for (Result<String, String>,) {
    fn failed(callee: &Callee, failure: &Failure) -> Option<Self> {
        Some((Err(callee.say(failure)),))
    }
}

impl Answer for (Result<(), String>,) {
    fn failed(callee: &Callee, failure: &Failure) -> Option<Self> {
        Some((Err(callee.say(failure)),))
    }
}

/// Defines the function with static types if its signature is supported here. Returns whether it
/// did.
pub(super) fn define(
    instance: &mut LinkerInstance<'_, Guest>,
    name: &str,
    signature: &ComponentFunc,
    callee: &Arc<Callee>,
) -> wasmtime::Result<bool> {
    let params: Option<Vec<Shape>> = signature.params().map(|(_, ty)| Shape::of(&ty)).collect();
    let Some(params) = params else {
        return Ok(false);
    };
    match params.as_slice() {
        [] => answer::<()>(instance, name, signature, callee),
        [Shape::Bytes] => answer::<(Vec<u8>,)>(instance, name, signature, callee),
        [Shape::Text] => answer::<(String,)>(instance, name, signature, callee),
        [Shape::Text, Shape::Text] => answer::<(String, String)>(instance, name, signature, callee),
        [Shape::Text, Shape::Bytes] => {
            answer::<(String, Vec<u8>)>(instance, name, signature, callee)
        }
        [Shape::Bytes, Shape::Bytes] => {
            answer::<(Vec<u8>, Vec<u8>)>(instance, name, signature, callee)
        }
        _ => Ok(false),
    }
}

fn answer<P>(
    instance: &mut LinkerInstance<'_, Guest>,
    name: &str,
    signature: &ComponentFunc,
    callee: &Arc<Callee>,
) -> wasmtime::Result<bool>
where
    P: Arguments,
{
    let callee = Arc::clone(callee);
    let result = signature.results().next();
    let Some(result) = result else {
        return wrap::<P, ()>(instance, name, callee);
    };
    match Shape::of(&result) {
        Some(Shape::Bytes) => wrap::<P, (Vec<u8>,)>(instance, name, callee),
        Some(Shape::Text) => wrap::<P, (String,)>(instance, name, callee),
        Some(Shape::OptionBytes) => wrap::<P, (Option<Vec<u8>>,)>(instance, name, callee),
        Some(Shape::OptionText) => wrap::<P, (Option<String>,)>(instance, name, callee),
        Some(Shape::ResultBytes) => wrap::<P, (Result<Vec<u8>, String>,)>(instance, name, callee),
        Some(Shape::ResultText) => wrap::<P, (Result<String, String>,)>(instance, name, callee),
        Some(Shape::ResultUnit) => wrap::<P, (Result<(), String>,)>(instance, name, callee),
        None => Ok(false),
    }
}

fn wrap<P, R>(
    instance: &mut LinkerInstance<'_, Guest>,
    name: &str,
    callee: Arc<Callee>,
) -> wasmtime::Result<bool>
where
    P: Arguments,
    R: Answer,
{
    instance.func_wrap_async(name, move |store: StoreContextMut<'_, Guest>, params: P| {
        let callee = Arc::clone(&callee);
        let caller = Caller::of(store.data());
        Box::new(async move {
            let called = match caller.hold(params.bytes()) {
                Ok(_held) => callee.call_typed::<P, R>(caller, params).await,
                Err(failure) => Err(failure),
            };
            called
                .or_else(|failure| R::failed(&callee, &failure).ok_or_else(|| callee.trap(failure)))
        })
    })?;
    Ok(true)
}
