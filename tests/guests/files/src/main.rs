//! Does what its arguments say, in their order, and prints the outcome of each: `ok ...` or `error KIND`.
//!
//!   count=PATH   appends a line to the file and tells how many it has
//!   read=PATH    the file's text
//!   write=PATH   writes a file
//!   list=PATH    the names in a directory
//!   link=PATH    makes a link to /etc in this directory and reads through it
//!   exit=CODE    ends with failure unless it is 0
//!   stay         listens on 127.0.0.1:8080 and does nothing else

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    net::TcpListener,
    process,
};

fn main() {
    for word in std::env::args().skip(1) {
        let (verb, path) = word.split_once('=').unwrap_or((&word, ""));
        let outcome = match verb {
            "count" => count(path).map(|lines| lines.to_string()),
            "read" => fs::read_to_string(path).map(|text| text.trim_end().to_owned()),
            "write" => fs::write(path, "written by a guest\n").map(|()| String::new()),
            "list" => list(path),
            "link" => link(path),
            "exit" => process::exit(path.parse().unwrap_or(1)),
            "stay" => stay(),
            _ => panic!("unknown: {word}"),
        };
        match outcome {
            Ok(told) => println!("{word}: ok {told}"),
            Err(error) => println!("{word}: error {:?}", error.kind()),
        }
    }
}

fn count(path: &str) -> io::Result<usize> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "here")?;
    Ok(fs::read_to_string(path)?.lines().count())
}

fn list(path: &str) -> io::Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.join(" "))
}

fn link(path: &str) -> io::Result<String> {
    #[allow(deprecated)]
    fs::soft_link("../../../../../../etc", format!("{path}/out"))?;
    fs::read_to_string(format!("{path}/out/hostname"))
}

fn stay() -> ! {
    let listener = TcpListener::bind("127.0.0.1:8080").expect("the port is free");
    loop {
        drop(listener.accept());
    }
}
