//! Parses the command line, nothing else.

use clap::Parser;


    labloop::cli::run(labloop::cli::Cli::parse())
}
