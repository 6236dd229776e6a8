//! The command line as people use it: every way to look at what runs, and to change it.

mod describe;
mod get;
mod inspect;
mod program;
mod revisions;
mod wait;
mod watch;
