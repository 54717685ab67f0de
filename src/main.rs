//! Parses the command line, nothing else.

use clap::Parser;

fn main() -> labloop::cli::Exit {
    labloop::cli::run(labloop::cli::Cli::parse())
}
