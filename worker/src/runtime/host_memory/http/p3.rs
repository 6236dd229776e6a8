//! `wasi:http/types` 0.3. Its `header-error` can express that there is too much.

use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource},
};
use wasmtime_wasi::TrappableError;
use wasmtime_wasi_http::{
    FieldMap, WasiHttpView as _,
    p3::{
        Request,
        bindings::http::types::{HeaderError, HostFields, HostRequest as _, Method, Scheme},
    },
};

use super::{expect, expect_fields, expect_values};
use crate::runtime::{Guest, host_memory::measure::fields_bytes};

/// The interface as wasmtime defines it. Guests of other patch versions are linked to it, too.
const TYPES: &str = "wasi:http/types@0.3.0";

type Fields = Resource<FieldMap>;
type Store<'a> = StoreContextMut<'a, Guest>;

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[static]fields.from-list",
        |mut store: Store<'_>, (entries,): (Vec<(String, Vec<u8>)>,)| {
            let guest = store.data_mut();
            let fields = entries.iter().map(|(name, value)| (&name[..], &value[..]));
            if expect_fields(guest, fields).is_err() {
                return Ok((Err(HeaderError::SizeExceeded),));
            }
            Ok((told(HostFields::from_list(&mut guest.http(), entries))?,))
        },
    )?;
    types.func_wrap(
        "[method]fields.set",
        |mut store: Store<'_>, (fields, name, values): (Fields, String, Vec<Vec<u8>>)| {
            let guest = store.data_mut();
            if expect_values(guest, &name, &values).is_err() {
                return Ok((Err(HeaderError::SizeExceeded),));
            }
            Ok((told(HostFields::set(
                &mut guest.http(),
                fields,
                name,
                values,
            ))?,))
        },
    )?;
    types.func_wrap(
        "[method]fields.append",
        |mut store: Store<'_>, (fields, name, value): (Fields, String, Vec<u8>)| {
            let guest = store.data_mut();
            if expect_fields(guest, [(&name[..], &value[..])].into_iter()).is_err() {
                return Ok((Err(HeaderError::SizeExceeded),));
            }
            Ok((told(HostFields::append(
                &mut guest.http(),
                fields,
                name,
                value,
            ))?,))
        },
    )?;
    types.func_wrap(
        "[method]fields.clone",
        |mut store: Store<'_>, (fields,): (Fields,)| {
            let guest = store.data_mut();
            // The map is copied as soon as either of the two is changed.
            let bytes = fields_bytes(guest.http().table.get(&fields)?);
            expect(guest, bytes)?;
            Ok((HostFields::clone(&mut guest.http(), fields)?,))
        },
    )?;
    types.func_wrap(
        "[method]request.set-method",
        |mut store: Store<'_>, (request, method): (Resource<Request>, Method)| {
            let guest = store.data_mut();
            if let Method::Other(name) = &method {
                expect(guest, name.len())?;
            }
            Ok((guest.http().set_method(request, method)?,))
        },
    )?;
    types.func_wrap(
        "[method]request.set-scheme",
        |mut store: Store<'_>, (request, scheme): (Resource<Request>, Option<Scheme>)| {
            let guest = store.data_mut();
            if let Some(Scheme::Other(name)) = &scheme {
                expect(guest, name.len())?;
            }
            Ok((guest.http().set_scheme(request, scheme)?,))
        },
    )?;
    types.func_wrap(
        "[method]request.set-authority",
        |mut store: Store<'_>, (request, authority): (Resource<Request>, Option<String>)| {
            let guest = store.data_mut();
            expect(guest, authority.as_ref().map_or(0, String::len))?;
            Ok((guest.http().set_authority(request, authority)?,))
        },
    )?;
    types.func_wrap(
        "[method]request.set-path-with-query",
        |mut store: Store<'_>, (request, path): (Resource<Request>, Option<String>)| {
            let guest = store.data_mut();
            expect(guest, path.as_ref().map_or(0, String::len))?;
            Ok((guest.http().set_path_with_query(request, path)?,))
        },
    )
}

fn told<R>(
    result: Result<R, TrappableError<HeaderError>>,
) -> wasmtime::Result<Result<R, HeaderError>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => Ok(Err(error.downcast()?)),
    }
}
