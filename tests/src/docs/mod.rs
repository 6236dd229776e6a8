//! Executable documents: the commands that a page tells a reader to type are run here.
//!
//! A page is Markdown. A fenced block of commands (`sh` or `console`) is preceded by a comment that
//! no reader sees and that says how it is run; a block without one is an error, so that nothing
//! goes unrun in silence. [`marker`] has the words of those comments. Blocks build on one another
//! as they do for a reader, within a *session*: one working copy, one network of its own in which
//! every port that a page names is free, one process tree that ends with it.

mod document;
mod expect;
mod guests;
mod markdown;
mod marker;
mod runner;
mod sandbox;
mod steps;

pub use document::{Block, Document, Session, documents};
pub use expect::matches;
pub use marker::{Marker, Role, Server};
pub use runner::{Tools, run};
pub use steps::{Kind, Step, steps};
