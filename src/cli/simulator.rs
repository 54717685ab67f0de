//! `labloop simulator`: the virtual instruments of a lab on real wires.

use std::collections::BTreeMap;
use std::time::Duration;

use labloop_simulators::{ServeOptions, serve};

use super::args::SimulatorArgs;
use super::{Exit, launch, mirrors, output};
use crate::compiler::bundle::Loader;

/// Says where everything is.
fn announce(endpoints: &BTreeMap<String, String>) {
    for (lab, actual) in endpoints.iter().filter(|(lab, _)| *lab != "control") {
        if lab == actual {
            output::say(format!("serving {lab}"));
        } else {
            output::say(format!("serving {lab} at {actual}"));
        }
    }
    if let Some(control) = endpoints.get("control") {
        output::say(format!(
            "taking orders at {control}, one a line: pump_1:late=500ms@10%, pump_1:off"
        ));
    }
    output::say("Ctrl-C ends it.");
}

pub(super) fn run(args: &SimulatorArgs) -> Exit {
    let mut loader = Loader::default();
    let (lab, definitions) = match loader.lab(&args.lab) {
        Ok(Some(found)) if !loader.report.has_errors() => found,
        Ok(_) => {
            let never = crate::spec::render::Colour::Never;
            output::say(crate::spec::render::text(&loader.report, &loader.sources, never));
            return Exit::NotCompiled;
        }
        Err(error) => {
            output::error(error.to_string());
            return Exit::Usage;
        }
    };
    let config = launch::simulated(&lab, args.speed, args.seed);
    let models = match mirrors::models(&lab, &definitions, config.seed) {
        Ok(models) => models,
        Err(why) => {
            output::error(why);
            return Exit::Unreachable;
        }
    };
    let options = ServeOptions {
        faults: args.fault.clone(),
        control: args.control.clone(),
        anywhere: args.anywhere,
        broker: args.broker,
        ready_file: args.ready_file.clone(),
        on_ready: Some(announce),
        linger: args.linger.and_then(|s| Duration::try_from_secs_f64(s).ok()),
        log: args.log.clone(),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::error(format!("no runtime: {error}"));
            return Exit::Usage;
        }
    };
    match runtime.block_on(serve(config, models, options)) {
        Ok(()) => Exit::Done,
        Err(error) => {
            output::error(error.to_string());
            Exit::Unreachable
        }
    }
}
