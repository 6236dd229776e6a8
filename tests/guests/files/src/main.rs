//! Does what its arguments say, in their order, and prints the outcome of each: `ok ...` or `error KIND`.
//!
//!   count=PATH   appends a line to the file and tells how many it has
//!   read=PATH    the file's text
//!   write=PATH   writes a file
//!   list=PATH    the names in a directory
//!   link=PATH    makes a link to /etc in this directory and reads through it
//!   open=PATH    opens the file as often as it may, keeps all, and tells how often that was and the error
//!   until=LINES  ends with failure unless the last count was this
//!   exit=CODE    ends with failure unless it is 0
//!   beat=PATH    appends a line with WARREN_FENCE and the machine's uptime to the file, every 50 ms without end; the uptime
//!                stands in /machine/uptime, as proc(5) says
//!   env=NAME     the variable
//!   stay         listens on 127.0.0.1:8080 and does nothing else

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    net::TcpListener,
    process, thread,
    time::Duration,
};

fn main() {
    let mut open = Vec::new();
    let mut counted = 0;
    for word in std::env::args().skip(1) {
        let (verb, path) = word.split_once('=').unwrap_or((&word, ""));
        let outcome = match verb {
            "count" => count(path).map(|lines| {
                counted = lines;
                lines.to_string()
            }),
            "read" => fs::read_to_string(path).map(|text| text.trim_end().to_owned()),
            "write" => fs::write(path, "written by a guest\n").map(|()| String::new()),
            "list" => list(path),
            "link" => link(path),
            "open" => open_all(path, &mut open),
            "until" if path.parse() == Ok(counted) => Ok(String::new()),
            "until" => process::exit(1),
            "beat" => beat(path),
            "env" => env(path),
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

fn open_all(path: &str, open: &mut Vec<File>) -> io::Result<String> {
    let before = open.len();
    loop {
        match File::open(path) {
            Ok(file) => open.push(file),
            Err(error) => {
                let times = open.len() - before;
                return Ok(format!("{times} times, then {:?}", error.kind()));
            }
        }
    }
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

fn beat(path: &str) -> io::Result<String> {
    let fence = env("WARREN_FENCE")?;
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    loop {
        let uptime = fs::read_to_string("/machine/uptime")?;
        let seconds = uptime.split(' ').next().unwrap_or_default();
        file.write_all(format!("{fence} {seconds}\n").as_bytes())?;
        thread::sleep(Duration::from_millis(50));
    }
}

fn env(name: &str) -> io::Result<String> {
    std::env::var(name).map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))
}

fn stay() -> ! {
    let listener = TcpListener::bind("127.0.0.1:8080").expect("the port is free");
    loop {
        drop(listener.accept());
    }
}
