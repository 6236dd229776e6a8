#![allow(clippy::unwrap_used)]

use std::{
    cell::Cell,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    super::{inspect::inspect_within, limits::Setting},
    *,
};

/// A component of these sections.
fn component(sections: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    bytes.extend(sections.concat());
    bytes
}

/// A core module of these sections.
fn module(sections: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    bytes.extend(sections.concat());
    bytes
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![id];
    bytes.extend(leb(content.len()));
    bytes.extend(content);
    bytes
}

/// A section of items.
fn items(id: u8, items: &[Vec<u8>]) -> Vec<u8> {
    let mut content = leb(items.len());
    content.extend(items.concat());
    section(id, &content)
}

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        bytes.push(if number == 0 { byte } else { byte | 0x80 });
        if number == 0 {
            return bytes;
        }
    }
}

fn name(text: &str) -> Vec<u8> {
    let mut bytes = leb(text.len());
    bytes.extend(text.as_bytes());
    bytes
}

/// The name of an import or an export of a component.
fn outer_name(text: &str) -> Vec<u8> {
    [vec![0], name(text)].concat()
}

/// A core module of one function without parameters.
fn function(locals: usize, code: &[u8]) -> Vec<u8> {
    let mut body = match locals {
        0 => vec![0],
        locals => [vec![1], leb(locals), vec![0x7f]].concat(),
    };
    body.extend(code);
    body.push(0x0b);
    let sized = [leb(body.len()), body].concat();
    module(&[
        items(1, &[vec![0x60, 0, 0]]),
        items(3, &[vec![0]]),
        items(10, &[sized]),
    ])
}

fn in_component(module: &[u8]) -> Vec<u8> {
    component(&[section(1, module)])
}

/// What a component exceeds, within the default limits.
fn exceeds(bytes: &[u8]) -> Option<Limit> {
    exceeds_of(bytes, &Limits::default())
}

fn exceeds_of(bytes: &[u8], limits: &Limits) -> Option<Limit> {
    match inspect_within(bytes, limits, &Interrupt::never()) {
        Ok(_) => None,
        Err(InspectError::TooMuch { limit, .. } | InspectError::Function { limit, .. }) => {
            Some(limit)
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn guests_are_far_below_the_limits() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for folder in ["examples/components", "tests/guests/components"] {
        files.extend(
            fs::read_dir(root.join(folder))
                .unwrap()
                .map(|file| file.unwrap().path()),
        );
    }
    // Others may be named by whoever changes a default.
    let more = std::env::var_os("WARREN_TEST_COMPONENTS").unwrap_or_default();
    files.extend(std::env::split_paths(&more));
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "wasm")
    });
    assert!(files.len() > 20);
    let defaults = Limits::default();
    let counts = [
        Limit::Modules,
        Limit::Instances,
        Limit::Functions,
        Limit::Memories,
        Limit::Tables,
        Limit::Definitions,
        Limit::TypeSize,
    ];
    let tenth = counts.into_iter().fold(defaults.clone(), |limits, limit| {
        limits.with(limit, defaults.get(limit) / 10)
    });
    let few = tenth
        .with(Limit::Locals, 2_500)
        .with(Limit::Nesting, 6)
        .with(
            Limit::FunctionSize,
            defaults.get(Limit::FunctionSize) / 10 * 6,
        );
    for file in files {
        let bytes = fs::read(&file).unwrap();
        let counted = count(&bytes, &few, &Interrupt::never());
        let file = file.display();
        assert!(counted.is_ok(), "{file}: {counted:?}");
    }
}

/// Types of the component that holds nothing else, one in the other.
fn nested_types(depth: usize) -> Vec<u8> {
    let mut content = vec![1];
    for _ in 1..depth {
        content.extend([0x41, 1, 1]);
    }
    content.extend([0x41, 0]);
    component(&[section(7, &content)])
}

fn nested_components(depth: usize) -> Vec<u8> {
    (1..depth).fold(component(&[]), |inner, _| component(&[section(4, &inner)]))
}

/// Each level exports two of the level before.
fn doubled(levels: usize) -> Vec<u8> {
    let kind = [1_u8];
    let mut sections = vec![items(7, &[vec![0x40, 0, 1, 0]])];
    for (last, level) in (0_u8..).zip(0..levels) {
        // An instance type that exports two of the type before, by an outer alias.
        let alias = vec![2, 3, 2, 1, last];
        let export = |text: &str, of: u8| [vec![4], outer_name(text), vec![of, 0]].concat();
        let of = if level == 0 { kind[0] } else { 5 };
        let ty = [vec![0x42, 3], alias, export("a", of), export("b", of)].concat();
        sections.push(items(7, &[ty]));
    }
    component(&sections)
}

#[test]
fn nesting_is_bounded_before_anything_recurses() {
    let nesting = Limits::default().get(Limit::Nesting);
    let deep = usize::try_from(nesting).unwrap();
    assert_eq!(exceeds(&nested_components(deep)), None);
    assert_eq!(exceeds(&nested_components(deep + 1)), Some(Limit::Nesting));
    assert_eq!(exceeds(&nested_types(deep - 1)), None);
    assert_eq!(exceeds(&nested_types(deep)), Some(Limit::Nesting));
    // As deep as an upload may be: read by recursion, this would be the end of the process.
    assert_eq!(exceeds(&nested_types(4_000_000)), Some(Limit::Nesting));
    // The most that can be set fits a thread's stack, which is 2 MiB.
    let most = Limits::default().changed(&["nesting=100".parse().unwrap()]);
    assert_eq!(exceeds_of(&nested_types(99), &most), None);
    assert_eq!(exceeds_of(&nested_components(100), &most), None);
    assert_eq!(
        exceeds_of(&nested_components(101), &most),
        Some(Limit::Nesting)
    );
}

#[test]
fn what_is_many_is_refused_by_its_limit() {
    let one = section(1, &module(&[]));
    assert_eq!(exceeds(&component(&vec![one.clone(); 999])), None);
    assert_eq!(
        exceeds(&component(&vec![one.clone(); 1_000])),
        Some(Limit::Modules)
    );

    let instance = vec![0, 0, 0];
    let instances = |count| component(&[one.clone(), items(2, &vec![instance.clone(); count])]);
    let few = Limits::default().with(Limit::Instances, 500);
    assert_eq!(exceeds_of(&instances(500), &few), None);
    assert_eq!(exceeds_of(&instances(501), &few), Some(Limit::Instances));

    let memories = |count| in_component(&module(&[items(5, &vec![vec![0, 0]; count])]));
    assert_eq!(exceeds(&memories(100)), None);
    assert_eq!(exceeds(&memories(101)), Some(Limit::Memories));

    let tables = |count| module(&[items(4, &vec![vec![0x70, 0, 0]; count])]);
    let twice = |count| component(&[section(1, &tables(count)), section(1, &tables(100))]);
    assert_eq!(exceeds(&twice(100)), None);
    assert_eq!(exceeds(&twice(101)), Some(Limit::Tables));

    let globals = |count| {
        in_component(&module(&[items(
            6,
            &vec![vec![0x7f, 0, 0x41, 0, 0x0b]; count],
        )]))
    };
    assert_eq!(exceeds(&globals(199_999)), None);
    assert_eq!(exceeds(&globals(200_001)), Some(Limit::Definitions));
}

#[test]
fn functions_are_bounded_in_size_locals_and_depth() {
    let nops = |count| in_component(&function(0, &vec![1; count]));
    // The count of local variables and the end take two more.
    assert_eq!(exceeds(&nops((768 << 10) - 2)), None);
    assert_eq!(exceeds(&nops((768 << 10) - 1)), Some(Limit::FunctionSize));

    let locals = |count| in_component(&function(count, &[]));
    assert_eq!(exceeds(&locals(10_000)), None);
    assert_eq!(exceeds(&locals(10_001)), Some(Limit::Locals));

    let blocks = |depth| {
        let code = [[2, 0x40].repeat(depth), vec![0x0b; depth]].concat();
        in_component(&function(0, &code))
    };
    assert_eq!(exceeds(&blocks(5_000)), None);
    assert_eq!(exceeds(&blocks(5_001)), Some(Limit::BlockDepth));
    let raised = Limits::default().changed(&["block-depth=6000".parse().unwrap()]);
    assert_eq!(exceeds_of(&blocks(5_001), &raised), None);
}

#[test]
fn what_repeats_for_each_operator_is_bounded() {
    let of = |parameters: usize| {
        let ty = [
            vec![0x60],
            leb(parameters),
            vec![0x7f; parameters],
            vec![1, 0x7f],
        ]
        .concat();
        in_component(&module(&[items(1, &[ty])]))
    };
    assert_eq!(exceeds(&of(127)), None);
    assert_eq!(exceeds(&of(128)), Some(Limit::Signature));

    let array = |elements: usize| {
        let new = [vec![0, 0, 0xfb, 8, 1], leb(elements), vec![0x1a, 0x0b]].concat();
        let sized = [leb(new.len()), new].concat();
        let bytes = in_component(&module(&[
            items(1, &[vec![0x60, 0, 0], vec![0x5e, 0x7f, 0]]),
            items(3, &[vec![0]]),
            items(10, &[sized]),
        ]));
        inspect_within(&bytes, &Limits::default(), &Interrupt::never())
    };
    assert_eq!(array(10_000).err(), None);
    // Popped one by one in unreachable code, these would take a minute.
    let error = array(0xffff_ffff).unwrap_err().to_string();
    assert!(
        error.contains("`array.new_fixed` takes more than 10000"),
        "{error}"
    );
}

#[test]
fn a_function_is_named_by_its_place() {
    let imported = ["a", "b", "c"].map(|of| [name("m"), name(of), vec![0, 0]].concat());
    let body = |code: &[u8]| {
        let body = [&[0], code, &[0x0b]].concat();
        [leb(body.len()), body].concat()
    };
    let large = module(&[
        items(1, &[vec![0x60, 0, 0]]),
        items(2, &imported),
        items(3, &[vec![0], vec![0]]),
        items(10, &[body(&[]), body(&[1; 2000])]),
    ]);
    let bytes = component(&[section(1, &module(&[])), section(1, &large)]);
    let limits = Limits::default().changed(&["function-size=2000".parse().unwrap()]);
    let error = inspect_within(&bytes, &limits, &Interrupt::never()).unwrap_err();
    let text = error.to_string();
    assert!(error.is_limit());
    for part in [
        "function 4 of core module 1 has 2002 bytes",
        "the limit `function-size` is 2000B",
        "--artifact-limit function-size=VALUE",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(
        inspect_within(&bytes, &Limits::default(), &Interrupt::never()).err(),
        None
    );
}

#[test]
fn types_are_measured_written_out() {
    // So small in bytes, and twice as large with each level.
    assert_eq!(exceeds(&doubled(10)), None);
    assert!(doubled(40).len() < 1_000);
    assert_eq!(exceeds(&doubled(40)), Some(Limit::TypeSize));
}

#[test]
fn a_border_has_a_limit() {
    let import = |i: usize| [outer_name(&format!("i{i}")), vec![1, 0]].concat();
    let of = |count| {
        let imports: Vec<Vec<u8>> = (0..count).map(import).collect();
        let bytes = component(&[items(7, &[vec![0x40, 0, 1, 0]]), items(10, &imports)]);
        inspect_within(&bytes, &Limits::default(), &Interrupt::never()).err()
    };
    assert_eq!(of(5_000), None);
    assert_eq!(of(5_001), Some(InspectError::TooWide(5_000)));
}

#[test]
fn limits_are_set_by_name() {
    let limits = |settings: &[&str]| {
        let settings: Vec<Setting> = settings.iter().map(|one| one.parse().unwrap()).collect();
        Limits::default().changed(&settings)
    };
    assert_eq!(
        limits(&["function-size=2MiB"]).get(Limit::FunctionSize),
        2 << 20
    );
    assert_eq!(limits(&["locals=1", "locals=7"]).get(Limit::Locals), 7);
    assert_eq!(limits(&["locals=7"]).get(Limit::Nesting), 32);
    for (text, part) in [
        ("locals", "write KEY=VALUE"),
        (
            "local=5",
            "there is no limit `local`: function-size, locals",
        ),
        ("locals=many", "`locals` takes a whole number, not `many`"),
        ("locals=0", "`locals` should be at least 1"),
        ("nesting=101", "`nesting` should be at most 100"),
        ("function-size=5x", "is not a size"),
    ] {
        let error = text.parse::<Setting>().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn an_inspection_ends_when_it_is_interrupted() {
    let many = in_component(&function(0, &vec![1; 700 << 10]));
    let looks = Cell::new(0);
    let after = |most| {
        looks.set(0);
        let is_due = || {
            looks.set(looks.get() + 1);
            looks.get() > most
        };
        inspect_within(&many, &Limits::default(), &Interrupt::when(&is_due))
    };
    assert_eq!(after(0), Err(InspectError::Interrupted));
    // Within the one function too.
    assert_eq!(after(400), Err(InspectError::Interrupted));
    assert!(after(usize::MAX).is_ok());
    assert!(looks.get() > 600, "{looks:?}");
}

/// Each is within the limits, and as bad as these allow in its way. All but the table take a second
/// at most without debug assertions.
#[test]
fn the_worst_that_is_accepted_ends_soon() {
    let resources = 295;
    let export = |i: usize| [outer_name(&format!("r{i}")), vec![3], leb(i), vec![0]].concat();
    let exports: Vec<Vec<u8>> = (0..resources).map(export).collect();
    let defined = vec![vec![0x3f, 0x7f, 0]; resources];
    let inner = component(&[items(7, &defined), items(11, &exports)]);
    let instantiated = component(&[section(4, &inner), items(5, &vec![vec![0, 0, 0]; 990])]);

    let declared = |i: usize| [vec![4], outer_name(&format!("r{i}")), vec![3, 1]].concat();
    let declarations: Vec<u8> = (0..resources).flat_map(declared).collect();
    let ty = [vec![0x42], leb(resources), declarations].concat();
    let import = |i: usize| [vec![3], outer_name(&format!("i{i}")), vec![5, 0]].concat();
    let imports: Vec<u8> = (0..990).flat_map(import).collect();
    let outer = [vec![0x41], leb(991), vec![2, 3, 2, 1, 0], imports].concat();
    let imported = component(&[items(7, &[ty, outer])]);

    let results = [vec![0x60, 0], leb(128), vec![0x7f; 128]].concat();
    let table = [vec![0x0e], leb(100_000), vec![0; 100_001]].concat();
    let body = [vec![0, 0x02, 1, 0], table, vec![0x0b, 0, 0x0b]].concat();
    let jumps = module(&[
        items(1, &[vec![0x60, 0, 0], results]),
        items(3, &[vec![0]]),
        items(10, &[[leb(body.len()), body].concat()]),
    ]);

    for (what, bytes) in [
        ("instances", instantiated),
        ("imports in a type", imported),
        ("jumps", in_component(&jumps)),
        ("modules", component(&vec![section(1, &module(&[])); 999])),
    ] {
        let began = Instant::now();
        assert_eq!(exceeds(&bytes), None, "{what}");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(30), "{what}: {took:?}");
    }
}
