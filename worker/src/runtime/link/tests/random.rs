use proptest::prelude::*;
use wasmtime::Engine;

use super::{
    Bench, Passed, engine,
    types::{Type, any_type, any_value, relay},
};

/// Passes a value through a guest by tapes on one side and by dynamic values on the other.
async fn pass(engine: &Engine, ty: &Type, value: &wasmtime::component::Val, encoding: &str) {
    let text = relay(ty, encoding);
    let mut out = Bench::new(engine, &text, true).await;
    assert_eq!(&out.run_values(value).await.unwrap(), value, "{ty:?}");
    let Some(Passed::Tape(tape)) = out.passed() else {
        panic!("nothing was passed");
    };
    let mut back = Bench::new(engine, &text, false).await;
    // Padding is zero, so tapes of the same value are equal.
    assert_eq!(back.run_tape(tape.clone()).await.unwrap(), tape, "{ty:?}");
    let values = Passed::Values(vec![value.clone()]);
    assert_eq!(back.passed(), Some(values), "{ty:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn any_value_of_any_type_passes_as_wasmtime_passes_it(
        (ty, value) in any_type().prop_flat_map(|ty| (Just(ty.clone()), any_value(&ty))),
        encoding in prop::sample::select(&["utf8", "utf16", "latin1+utf16"][..]),
        concurrency: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(pass(&engine(concurrency), &ty, &value, encoding));
    }
}
