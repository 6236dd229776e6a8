//! `warren completions`: a script for a shell.

use clap_complete::Shell;

use crate::{
    args,
    output::{self, Shown},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell that is to complete commands
    shell: Shell,
}

pub fn run(Args { shell }: Args) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "warren", &mut script);
    // For a shell, and of this program's own words.
    output::write(Shown::unchanged(String::from_utf8_lossy(&script)))
}
