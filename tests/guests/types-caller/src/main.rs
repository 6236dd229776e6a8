//! Calls every function of `warren:kitchen/values` with values at the edges of their types and
//! compares what comes back; then answers each connection to 127.0.0.1:9000 with `ok`. The variable
//! CALL names one function to call instead: `trap-plain`, which ends this service too, or `spin`,
//! whose error it prints.

use std::fmt::Debug;
use std::io::{self, Write};
use std::net::TcpListener;

use warren::kitchen::values::{self, Colour, Permissions, Person, Point, Shape};

wit_bindgen::generate!({ path: "../wit", world: "guest", additional_derives: [Clone, PartialEq] });

fn main() -> io::Result<()> {
    match std::env::var("CALL").as_deref() {
        Ok("trap-plain") => println!("trap-plain: {}", values::trap_plain()),
        Ok("spin") => println!("spin: {:?}", values::spin()),
        Ok(other) => panic!("CALL={other} is not known"),
        Err(_) => {
            numbers();
            text();
            lists();
            choices();
            compounds();
            calls();
            println!("types: all ok");
        }
    }
    let listener = TcpListener::bind("127.0.0.1:9000")?;
    loop {
        let (mut stream, _) = listener.accept()?;
        // A client that is gone already does not end the service.
        let _ = stream.write_all(b"ok\n");
    }
}

fn check<T: Debug + PartialEq>(echo: impl Fn(&T) -> T, cases: impl IntoIterator<Item = T>) {
    for value in cases {
        assert_eq!(echo(&value), value);
    }
}

fn numbers() {
    check(|value| values::echo_bool(*value), [false, true]);
    check(|value| values::echo_u8(*value), [0, 1, u8::MAX]);
    check(|value| values::echo_u16(*value), [0, 1, u16::MAX]);
    check(|value| values::echo_u32(*value), [0, 1, u32::MAX]);
    check(|value| values::echo_u64(*value), [0, 1, u64::MAX]);
    check(|value| values::echo_s8(*value), [i8::MIN, -1, 0, i8::MAX]);
    check(
        |value| values::echo_s16(*value),
        [i16::MIN, -1, 0, i16::MAX],
    );
    check(
        |value| values::echo_s32(*value),
        [i32::MIN, -1, 0, i32::MAX],
    );
    check(
        |value| values::echo_s64(*value),
        [i64::MIN, -1, 0, i64::MAX],
    );
    check(
        |value| values::echo_f32(*value),
        [f32::MIN, -0.0, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY],
    );
    check(
        |value| values::echo_f64(*value),
        [
            f64::MIN,
            -0.0,
            f64::MIN_POSITIVE,
            f64::MAX,
            f64::NEG_INFINITY,
        ],
    );
}

fn text() {
    check(
        |value| values::echo_char(*value),
        ['\0', 'a', 'ß', '\u{d7ff}', '\u{e000}', '🐇', char::MAX],
    );
    let long = "warren ".repeat(10_000);
    check(
        |value: &String| values::echo_string(value),
        ["", "a", "żółw 🐇\0\n", &long].map(String::from),
    );
}

fn lists() {
    let all_bytes: Vec<u8> = (0..64 * 1024).map(|index| (index % 251) as u8).collect();
    check(
        |value: &Vec<u8>| values::echo_bytes(value),
        [vec![], vec![0], vec![255; 1000], all_bytes.clone()],
    );
    check(
        |value: &Vec<i64>| values::echo_integers(value),
        [vec![], vec![i64::MIN, 0, i64::MAX]],
    );
    check(
        |value: &Vec<String>| values::echo_strings(value),
        [vec![], vec![String::new()], words()],
    );
    check(
        |value: &Vec<Point>| values::echo_points(value),
        [vec![], points()],
    );
    check(
        |value: &Vec<Person>| values::echo_people(value),
        [vec![], people()],
    );
    check(
        |value: &Vec<Vec<u8>>| values::echo_chunks(value),
        [vec![], vec![vec![], vec![1], all_bytes]],
    );
}

fn choices() {
    let some = |text: &str| Some(text.to_owned());
    check(
        |value| values::echo_option(value.as_deref()),
        [None, some(""), some("warren")],
    );
    check(
        |value| values::echo_option_option(*value),
        [None, Some(None), Some(Some(0)), Some(Some(u32::MAX))],
    );
    let error = "no".to_owned();
    check(
        |value: &Result<u32, String>| values::echo_result(as_str(value)),
        [Ok(7), Err(error.clone()), Err(String::new())],
    );
    check(
        |value: &Result<String, ()>| values::echo_result_ok(value.as_deref().or(Err(()))),
        [Ok("yes".to_owned()), Ok(String::new()), Err(())],
    );
    check(
        |value: &Result<(), String>| values::echo_result_err(as_str(value)),
        [Ok(()), Err(error)],
    );
    check(|value| values::echo_result_empty(*value), [Ok(()), Err(())]);
    check(
        |value| values::echo_colour(*value),
        [Colour::Red, Colour::Green, Colour::Blue],
    );
    check(
        |value| values::echo_permissions(*value),
        [
            Permissions::empty(),
            Permissions::READ | Permissions::EXECUTE,
            Permissions::all(),
        ],
    );
}

fn as_str<T: Copy>(value: &Result<T, String>) -> Result<T, &str> {
    value.as_ref().copied().map_err(String::as_str)
}

fn compounds() {
    check(
        |value: &(u8, String, f64)| values::echo_tuple((value.0, &value.1, value.2)),
        [(255, "x".to_owned(), -1.5)],
    );
    check(|value| values::echo_point(*value), points());
    check(values::echo_person, people());
    check(values::echo_shape, shapes());
    let nested = vec![
        ("all".to_owned(), Ok(shapes())),
        (String::new(), Ok(vec![])),
        ("none".to_owned(), Err(None)),
        ("blue".to_owned(), Err(Some(Colour::Blue))),
    ];
    check(
        |value: &values::ShapesByName| values::echo_nested(value),
        [vec![], nested],
    );
}

fn calls() {
    values::nothing();
    assert_eq!(values::sum(&[255; 1000]), 255_000);
    let point = Point { x: -1, y: 1 };
    assert_eq!(
        values::many(
            true,
            1,
            2,
            3,
            4,
            -5,
            -6,
            -7,
            -8,
            9.5,
            10.25,
            '🐇',
            "text",
            &[1, 2],
            point,
            Colour::Green,
            Some(11)
        ),
        "true 1 2 3 4 -5 -6 -7 -8 9.5 10.25 🐇 text [1, 2] -1,1 Colour::Green Some(11)",
    );
    assert_ne!(
        values::instance_id(),
        values::instance_id(),
        "each call has an instance of its own"
    );
    assert_eq!(values::fail("as asked"), Err("as asked".to_owned()));
    let trapped = values::trap_result().expect_err("a trap is the function's error");
    assert!(!trapped.is_empty(), "the error says what happened");
    println!("trap-result: {trapped}");
}

fn words() -> Vec<String> {
    ["", "one", "zwei", "три"].map(String::from).to_vec()
}

fn points() -> Vec<Point> {
    vec![
        Point {
            x: i32::MIN,
            y: i32::MAX,
        },
        Point { x: 0, y: -1 },
    ]
}

fn people() -> Vec<Person> {
    let hazel = Person {
        name: "Hazel".into(),
        age: 3,
        height: 0.25,
        tags: words(),
        home: Some(Point { x: 1, y: -1 }),
    };
    let nobody = Person {
        name: String::new(),
        age: 0,
        height: -0.0,
        tags: vec![],
        home: None,
    };
    vec![hazel, nobody]
}

fn shapes() -> Vec<Shape> {
    vec![
        Shape::Nothing,
        Shape::Circle(f64::MAX),
        Shape::Rectangle((0, u32::MAX)),
        Shape::Polygon(points()),
        Shape::Portrait(people().remove(0)),
    ]
}
