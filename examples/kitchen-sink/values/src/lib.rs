//! Returns every kind of value as it came.

// In what `export!` writes.
#![allow(unsafe_code)]

use exports::example::kitchen_sink::values::{Cookbook, Diet, Guest, Ingredient, Step, Unit};

wit_bindgen::generate!({ path: "../wit", world: "answering" });

struct Values;

export!(Values);

macro_rules! echoes {
    ($($name:ident: $kind:ty,)*) => {
        $(fn $name(value: $kind) -> $kind {
            value
        })*
    };
}

impl Guest for Values {
    echoes! {
        echo_bool: bool,
        echo_u8: u8,
        echo_u16: u16,
        echo_u32: u32,
        echo_u64: u64,
        echo_s8: i8,
        echo_s16: i16,
        echo_s32: i32,
        echo_s64: i64,
        echo_f32: f32,
        echo_f64: f64,
        echo_char: char,
        echo_string: String,
        echo_list: Vec<u64>,
        echo_bytes: Vec<u8>,
        echo_tuple: (u8, String, f64),
        echo_option: Option<Option<u32>>,
        echo_result: Result<u32, String>,
        echo_enum: Unit,
        echo_flags: Diet,
        echo_record: Ingredient,
        echo_variant: Step,
        echo_nested: Cookbook,
    }
}
