use std::hint::black_box;
use std::io;

const MEBIBYTE: usize = 1024 * 1024;

/// Ends in one of the ways a guest can end, or not at all.
pub fn exit(how: &str) -> io::Result<()> {
    match how {
        "ok" => Ok(()),
        "err" => std::process::exit(1),
        "panic" => panic!("asked to panic"),
        "spin" => loop {
            black_box(());
        },
        "alloc" => {
            let mut held = Vec::new();
            loop {
                // Written to, so that the memory is really used.
                held.push(black_box(vec![1_u8; MEBIBYTE]));
            }
        }
        _ => panic!("unknown way to exit: {how}"),
    }
}

pub fn print(lines: usize) -> io::Result<()> {
    for line in 1..=lines {
        println!("stdout line {line}");
        eprintln!("stderr line {line}");
    }
    Ok(())
}

pub fn env() -> io::Result<()> {
    for (index, arg) in std::env::args().enumerate() {
        println!("arg {index}: {arg}");
    }
    for (name, value) in std::env::vars() {
        println!("env {name}={value}");
    }
    Ok(())
}
