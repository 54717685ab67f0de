//! `labloop completion`: scripts for shells.

use clap::CommandFactory;

use super::args::{Cli, CompletionArgs, Shell};
use super::{Exit, output};

pub(super) fn run(args: &CompletionArgs) -> Exit {
    let mut command = Cli::command();
    let mut script = Vec::new();
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    clap_complete::generate(shell, &mut command, "labloop", &mut script);
    output::data(&String::from_utf8_lossy(&script));
    Exit::Done
}
