use super::{Bench, Passed, engine};

/// Returns a guest that passes a list of elements of this type, which it claims to have at
/// `address`. Its memory has one page, which starts with `data`.
fn claiming(element: &str, data: &str, address: u32, length: u32) -> String {
    format!(
        r#"(component
            {element}
            (type $list (list $element))
            (import "pass" (func $pass (param "v" $list)))
            (core module $libc
                (memory (export "memory") 1)
                (data (i32.const 0) "{data}"))
            (core instance $libc (instantiate $libc))
            (alias core export $libc "memory" (core memory $memory))
            (core func $lowered (canon lower (func $pass) (memory $memory)))
            (core module $main
                (import "" "pass" (func $pass (param i32 i32)))
                (func (export "run")
                    (call $pass (i32.const {address}) (i32.const {length}))))
            (core instance $main (instantiate $main
                (with "" (instance (export "pass" (func $lowered))))))
            (func (export "run") (canon lift (core func $main "run"))))"#
    )
}

/// The arguments of [`claiming`].
type Claim<'a> = (&'a str, &'a str, u32, u32);

/// Passes such a list, and returns what the host got.
async fn claim(
    fuel: usize,
    (element, data, address, length): Claim<'_>,
) -> wasmtime::Result<Vec<u8>> {
    let text = claiming(element, data, address, length);
    let mut bench = Bench::new(&engine(false), &text, true).await;
    bench.store.set_hostcall_fuel(fuel);
    bench.run_tape(Vec::new()).await?;
    let Some(Passed::Tape(tape)) = bench.passed() else {
        panic!("nothing was passed");
    };
    Ok(tape)
}

/// An alias of a primitive type.
fn primitive(name: &str) -> String {
    format!("(type $element {name})")
}

const COLOUR: &str = r#"(type $e (enum "red" "green" "blue"))
    (import "e" (type $element (eq $e)))"#;
const FLAGS: &str = r#"(type $f (flags "a" "b" "c"))
    (import "f" (type $element (eq $f)))"#;
const PADDED: &str = r#"(type $r (record (field "a" u8) (field "b" u32) (field "c" u8)))
    (import "r" (type $element (eq $r)))"#;
const OPTION: &str = "(type $element (option u32))";
const STRINGS: &str = "(type $element string)";
const LISTS: &str = "(type $element (list u8))";

#[tokio::test]
async fn what_breaks_the_canonical_abi_is_refused_with_its_reason() {
    let (chars, words) = (primitive("char"), primitive("u32"));
    let bounds = "list pointer/length out of bounds of memory";
    let strings = "string pointer/length out of bounds of memory";
    let cases: [(Claim<'_>, &str); 14] = [
        ((&words, "", 65536, 1), bounds),
        ((&words, "", 65532, 2), bounds),
        ((&words, "", 0, u32::MAX), bounds),
        ((&words, "", u32::MAX - 3, u32::MAX), bounds),
        ((&words, "", 2, 1), "list pointer is not aligned"),
        ((&words, "", 2, 0), "list pointer is not aligned"),
        (
            (&chars, r"\00\d8\00\00", 0, 1),
            "converted integer out of range for `char`",
        ),
        (
            (&chars, r"a\00\00\00\00\00\11\00", 0, 2),
            "converted integer out of range",
        ),
        (
            (COLOUR, r"\00\02\03", 0, 3),
            "discriminant 3 out of range [0..3)",
        ),
        ((OPTION, r"\02", 0, 1), "discriminant 2 out of range [0..2)"),
        ((STRINGS, r"\ff\ff\00\00\02\00\00\00", 0, 1), strings),
        ((STRINGS, r"\08\00\00\00\ff\ff\ff\ff", 0, 1), strings),
        (
            (STRINGS, r"\08\00\00\00\02\00\00\00\c3\28", 0, 1),
            "invalid utf-8",
        ),
        ((LISTS, r"\00\00\00\00\01\00\01\00", 0, 1), bounds),
    ];
    for (case, reason) in cases {
        let error = claim(usize::MAX, case).await.unwrap_err();
        let message = format!("{error:#}");
        assert!(message.contains(reason), "{case:?}: {message}");
    }
}

#[tokio::test]
async fn bits_without_a_meaning_do_not_pass() {
    let bools = primitive("bool");
    let pair = |length: u8| [0, 0, 0, 0, length, 0, 0, 0];
    let cases: [(Claim<'_>, Vec<u8>); 5] = [
        ((&bools, r"\00\01\02\ff", 0, 4), vec![0, 1, 1, 1]),
        ((FLAGS, r"\ff", 0, 1), vec![0b111]),
        (
            (PADDED, r"\01\ff\ff\ff\02\03\04\05\06\ff\ff\ff", 0, 1),
            vec![1, 0, 0, 0, 2, 3, 4, 5, 6, 0, 0, 0],
        ),
        (
            (
                OPTION,
                r"\00\ff\ff\ff\ff\ff\ff\ff\01\ff\ff\ff\07\00\00\00",
                0,
                2,
            ),
            vec![0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0],
        ),
        (
            (STRINGS, r"\08\00\00\00\02\00\00\00hi", 0, 1),
            [&pair(2)[..], b"hi"].concat(),
        ),
    ];
    for (case, expected) in cases {
        let tape = claim(usize::MAX, case).await.unwrap();
        let length = u8::try_from(case.3).unwrap();
        assert_eq!(tape, [&pair(length)[..], &expected].concat(), "{case:?}");
    }
}

#[tokio::test]
async fn a_guest_cannot_make_the_host_copy_more_than_its_fuel() {
    // Each of 4,096 inner lists claims the same 32 KiB.
    let overlapping = r"\00\00\00\00\00\80\00\00".repeat(4096);
    let exhausted = "fuel allocated for hostcalls has been exhausted";
    for (case, needed) in [
        ((LISTS, &*overlapping, 0, 4096), 4096 * (8 + 32768)),
        (
            (STRINGS, &*overlapping.replace("00\\80", "00\\10"), 0, 4096),
            4096 * (8 + 4096),
        ),
        ((&*primitive("u8"), "", 0, 65536), 65536),
    ] {
        let error = claim(needed - 1, case).await.unwrap_err();
        assert!(format!("{error:#}").contains(exhausted), "{error:#}");
        let tape = claim(needed, case).await.unwrap();
        assert_eq!(tape.len(), 8 + needed);
    }
}
