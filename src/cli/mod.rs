//! The command line: one file per subcommand. Human text to stderr, data to stdout.

mod args;
mod ask;
mod check;
mod command;
mod completion;
mod edit;
mod estop;
mod exit;
mod explain;
mod export;
mod export_files;
mod export_telemetry;
mod fmt;
mod graph;
mod init;
mod instrument;
mod interrupts;
mod keep;
mod launch;
mod live;
mod log;
mod lsp;
mod mirrors;
mod note;
mod notify;
mod now;
mod output;
mod progress;
mod replay;
mod resume;
mod run;
mod schema;
mod serve;
mod signals;
mod simulator;
mod status;
mod stops;
mod submit;
mod summary;
mod user;
mod verify;
mod withheld;

pub mod optimize;

pub use args::Cli;
pub use exit::Exit;

use args::Command;

use crate::engine::core;

/// Runs one command line and says how it ended.
pub fn run(cli: Cli) -> Exit {
    let exit = command_of(cli);
    // Whoever reads what is there must not take it for all there is.
    if exit == Exit::Done && output::is_unwritten() { Exit::Usage } else { exit }
}

fn command_of(cli: Cli) -> Exit {
    let json = cli.json;
    match cli.command {
        Command::Init(args) => init::run(&args, json),
        Command::Check(args) => check::run(&args, json),
        Command::Fmt(args) => fmt::run(&args, json),
        Command::Graph(args) => graph::run(&args, json),
        Command::Run(args) => run::run(&args, json),
        Command::Resume(args) => resume::run(&args, json),
        Command::Serve(args) => serve::run(&args),
        Command::Submit(args) => submit::run(&args, json),
        Command::Pause(args) => command::run(core::Command::Pause, &args, json),
        Command::Hold(args) => command::run(core::Command::Hold, &args, json),
        Command::Stop(args) => command::run(core::Command::Stop, &args, json),
        Command::Abort(args) => command::run(core::Command::Abort, &args, json),
        Command::Edit(args) => edit::edit(&args, json),
        Command::Exclude(args) => edit::exclude(&args, json),
        Command::Estop(args) => estop::run(&args, json),
        Command::Ask(args) => ask::run(&args, json),
        Command::Note(args) => note::run(&args, json),
        Command::Signals(args) => signals::run(&args, json),
        Command::Status(args) => status::run(&args, json),
        Command::Export(args) => export::run(&args, json),
        Command::Verify(args) => verify::run(&args, json),
        Command::Replay(args) => replay::run(&args, json),
        Command::Instrument(args) => instrument::run(&args, json),
        Command::Simulator(args) => simulator::run(&args),
        Command::Optimize => {
            Exit::from_code(optimize::run(std::io::stdin().lock(), std::io::stdout().lock()))
        }
        Command::Schema(args) => schema::run(&args),
        Command::Lsp => lsp::run(),
        Command::Explain(args) => explain::run(&args, json),
        Command::Completion(args) => completion::run(&args),
    }
}
