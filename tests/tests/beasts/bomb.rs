//! A component that takes a compiler far more than its size suggests.

use std::fmt::Write as _;

/// A service of one function with so many branches and values that live across all of them, about
/// 19 bytes each. `number` makes it another component than those with other numbers.
pub fn bomb(branches: usize, number: u32) -> String {
    let mut body = format!("i32.const {} local.set 0\n", number.cast_signed());
    for number in 0..branches {
        let (a, b, c) = (number % 8, (number * 3 + 1) % 8, (number * 5 + 2) % 8);
        let _ = writeln!(
            body,
            "block local.get {a} br_if 0 local.get {b} i32.const {number} i32.xor local.get {c} i32.mul local.set {a} end"
        );
    }
    format!(
        r#"(component
            (core module $m
                (func (export "run") (result i32) (local i32 i32 i32 i32 i32 i32 i32 i32)
                    {body} local.get 0 i32.eqz))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $e (export "run" (func $run)))
            (export "wasi:cli/run@0.2.6" (instance $e)))"#
    )
}
