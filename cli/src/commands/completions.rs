//! `warren completions`: a script for a shell.

use clap_complete::Shell;

use crate::{args, output};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell that is to complete commands
    shell: Shell,
}

pub fn run(Args { shell }: Args) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "warren", &mut script);
    output::write(&String::from_utf8_lossy(&script))
}
