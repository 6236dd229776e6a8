//! Checks, named by the sentence of the document that each stands for.

use std::fmt::Debug;

use wasip2::sockets::network::ErrorCode;

/// What the sentence says is so.
#[track_caller]
pub fn holds(sentence: &str, so: bool) {
    assert!(so, "does not hold: {sentence}");
    println!("ok {sentence}");
}

/// What the sentence says is equal to what was expected of it.
#[track_caller]
pub fn equal<T: PartialEq + Debug>(sentence: &str, actual: T, expected: T) {
    assert!(
        actual == expected,
        "does not hold: {sentence}: {actual:?}, not {expected:?}"
    );
    println!("ok {sentence}");
}

/// The call fails with this error.
#[track_caller]
pub fn fails<T>(sentence: &str, result: Result<T, ErrorCode>, expected: ErrorCode) {
    match result {
        Err(error) if error == expected => println!("ok {sentence}"),
        Err(error) => panic!("does not hold: {sentence}: {error:?}, not {expected:?}"),
        Ok(_) => panic!("does not hold: {sentence}: it succeeded"),
    }
}

/// The call succeeds.
#[track_caller]
pub fn works<T>(sentence: &str, result: Result<T, ErrorCode>) -> T {
    match result {
        Ok(value) => {
            println!("ok {sentence}");
            value
        }
        Err(error) => panic!("does not hold: {sentence}: {error:?}"),
    }
}
