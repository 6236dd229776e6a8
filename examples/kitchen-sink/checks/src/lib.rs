//! The checks, for whoever imports `values`.

mod cases;

use std::fmt::Debug;

use example::kitchen_sink::values::*;

wit_bindgen::generate!({
    path: "../wit",
    world: "checking",
    additional_derives: [Clone, PartialEq],
});

/// The kinds of values that all came back as they were, or the first that did not.
pub fn run() -> Result<Vec<String>, String> {
    [
        check("bool", [false, true], |value| echo_bool(*value)),
        check("u8", [0, u8::MAX], |value| echo_u8(*value)),
        check("u16", [0, u16::MAX], |value| echo_u16(*value)),
        check("u32", [0, u32::MAX], |value| echo_u32(*value)),
        check("u64", [0, u64::MAX], |value| echo_u64(*value)),
        check("s8", [i8::MIN, -1, i8::MAX], |value| echo_s8(*value)),
        check("s16", [i16::MIN, -1, i16::MAX], |value| echo_s16(*value)),
        check("s32", [i32::MIN, -1, i32::MAX], |value| echo_s32(*value)),
        check("s64", [i64::MIN, -1, i64::MAX], |value| echo_s64(*value)),
        check("f32", [f32::MIN, 0.1, f32::INFINITY], |value| {
            echo_f32(*value)
        }),
        check("f64", [f64::MAX, 0.1, f64::EPSILON], |value| {
            echo_f64(*value)
        }),
        check("char", ['\0', 'ß', '🐇', char::MAX], |value| {
            echo_char(*value)
        }),
        check("string", cases::strings(), |value| echo_string(value)),
        check("list", [vec![], vec![0, u64::MAX]], |value| {
            echo_list(value)
        }),
        check("list<u8>", cases::bytes(), |value| echo_bytes(value)),
        check("tuple", [(7, "seven".to_owned(), 7.5)], |(a, b, c)| {
            echo_tuple((*a, b, *c))
        }),
        check("option", [None, Some(None), Some(Some(7))], |value| {
            echo_option(*value)
        }),
        check("result", [Ok(7), Err("none left".to_owned())], |value| {
            echo_result(value.as_ref().copied().map_err(String::as_str))
        }),
        check("enum", [Unit::Piece, Unit::Gram, Unit::Litre], |value| {
            echo_enum(*value)
        }),
        check(
            "flags",
            [Diet::empty(), Diet::VEGAN | Diet::NUT_FREE, Diet::all()],
            |value| echo_flags(*value),
        ),
        check("record", cases::ingredients(), echo_record),
        check("variant", cases::steps(), echo_variant),
        check("nested", cases::cookbooks(), echo_nested),
    ]
    .into_iter()
    .collect()
}

fn check<T: Debug + PartialEq>(
    kind: &str,
    values: impl IntoIterator<Item = T>,
    echo: impl Fn(&T) -> T,
) -> Result<String, String> {
    for value in values {
        let back = echo(&value);
        if back != value {
            return Err(format!("{kind}: {value:?} came back as {back:?}"));
        }
    }
    Ok(kind.to_owned())
}
