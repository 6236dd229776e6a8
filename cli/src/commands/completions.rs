//! `warren completions`: a completion script for a shell.

use clap_complete::Shell;

use crate::{
    args,
    output::{self, Shown},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell that the script is for
    shell: Shell,
}

pub fn run(Args { shell }: Args) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "warren", &mut script);
    // For a shell, and generated only from this program's own text.
    output::write(Shown::unchanged(String::from_utf8_lossy(&script)))
}
