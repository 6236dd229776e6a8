//! Exports `warren:kitchen/values`: functions over every kind of WIT value.

use std::hint::black_box;
use std::sync::LazyLock;

use wasip2::random::random::get_random_u64;

use exports::warren::kitchen::values::{
    Colour, Guest, Permissions, Person, Point, Shape, ShapesByName,
};

wit_bindgen::generate!({ path: "../wit", world: "kitchen" });

static INSTANCE: LazyLock<u64> = LazyLock::new(get_random_u64);

struct Kitchen;

export!(Kitchen);

macro_rules! identities {
    ($($name:ident: $type:ty,)*) => {
        $(fn $name(value: $type) -> $type {
            value
        })*
    };
}

impl Guest for Kitchen {
    identities! {
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
        echo_bytes: Vec<u8>,
        echo_integers: Vec<i64>,
        echo_strings: Vec<String>,
        echo_points: Vec<Point>,
        echo_people: Vec<Person>,
        echo_chunks: Vec<Vec<u8>>,
        echo_tuple: (u8, String, f64),
        echo_option: Option<String>,
        echo_option_option: Option<Option<u32>>,
        echo_result: Result<u32, String>,
        echo_result_ok: Result<String, ()>,
        echo_result_err: Result<(), String>,
        echo_result_empty: Result<(), ()>,
        echo_point: Point,
        echo_person: Person,
        echo_shape: Shape,
        echo_colour: Colour,
        echo_permissions: Permissions,
        echo_nested: ShapesByName,
    }

    fn nothing() {}

    fn many(
        a: bool,
        b: u8,
        c: u16,
        d: u32,
        e: u64,
        f: i8,
        g: i16,
        h: i32,
        i: i64,
        j: f32,
        k: f64,
        l: char,
        m: String,
        n: Vec<u8>,
        o: Point,
        p: Colour,
        q: Option<u32>,
    ) -> String {
        format!(
            "{a} {b} {c} {d} {e} {f} {g} {h} {i} {j} {k} {l} {m} {n:?} {},{} {p:?} {q:?}",
            o.x, o.y
        )
    }

    fn instance_id() -> u64 {
        *INSTANCE
    }

    fn sum(bytes: Vec<u8>) -> u64 {
        bytes.into_iter().map(u64::from).sum()
    }

    fn fail(msg: String) -> Result<u32, String> {
        Err(msg)
    }

    fn trap_plain() -> u32 {
        panic!("trap-plain was called")
    }

    fn trap_result() -> Result<u32, String> {
        panic!("trap-result was called")
    }

    fn spin() -> Result<u32, String> {
        loop {
            black_box(());
        }
    }
}
