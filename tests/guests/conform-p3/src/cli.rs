//! `wasi:cli` and `wasi:filesystem/preopens`: what a service that mounts nothing finds.

use wasip3::{
    cli::{environment, stdin, terminal_stderr, terminal_stdin, terminal_stdout},
    filesystem::preopens::get_directories,
};

use crate::check::{equal, holds};

pub async fn run() {
    let (mut stream, result) = stdin::read_via_stream();
    holds(
        "the standard input is at its end",
        stream.next().await.is_none(),
    );
    holds("and that is no error", result.await.is_ok());
    let no_terminal = "the host does not hand out a terminal";
    holds(no_terminal, terminal_stdin::get_terminal_stdin().is_none());
    holds(
        no_terminal,
        terminal_stdout::get_terminal_stdout().is_none(),
    );
    holds(
        no_terminal,
        terminal_stderr::get_terminal_stderr().is_none(),
    );
    equal(
        "the initial working directory is none",
        environment::get_initial_cwd(),
        None,
    );
    holds("only what is mounted is open", get_directories().is_empty());
}
