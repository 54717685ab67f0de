//! What the types of instrument promise: protocols count on these actions and properties.

use crate::spec::instrument::Hazard;
use crate::units::Dimension;

/// What a type of instrument promises.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TypeContract {
    /// Name, as in `type:`.
    pub name: &'static str,
    /// For people.
    pub doc: &'static str,
    /// Actions it has, each with arguments it takes.
    pub actions: &'static [(&'static str, &'static [(&'static str, Dimension)])],
    /// Properties it has.
    pub properties: &'static [(&'static str, Dimension)],
    /// What actions of these names start, where a definition does not say it itself.
    pub starts: &'static [(&'static str, Hazard)],
    /// Actions that end what the instrument does.
    pub stops: &'static [&'static str],
}

/// Known types. Others may be used too; then only the role and the definition must agree.
pub const TYPES: &[TypeContract] = &[
    TypeContract {
        name: "syringe_pump",
        doc: "Moves liquid at a rate",
        actions: &[("start", &[("rate", Dimension::VOLUME_FLOW)])],
        properties: &[],
        starts: &[
            ("start", Hazard::Pumps),
            ("dispense", Hazard::Pumps),
            ("refill", Hazard::Pumps),
            ("withdraw", Hazard::Pumps),
        ],
        stops: &["stop"],
    },
    TypeContract {
        name: "peristaltic_pump",
        doc: "Moves liquid at a rate, without a syringe to run empty",
        actions: &[
            ("start", &[("rate", Dimension::VOLUME_FLOW)]),
            ("dispense", &[("volume", Dimension::VOLUME), ("rate", Dimension::VOLUME_FLOW)]),
            ("stop", &[]),
        ],
        properties: &[],
        starts: &[("start", Hazard::Pumps), ("dispense", Hazard::Pumps)],
        stops: &["stop"],
    },
    TypeContract {
        name: "hplc_pump",
        doc: "Moves liquid at a rate against pressure, without a syringe to run empty",
        actions: &[("start", &[("rate", Dimension::VOLUME_FLOW)]), ("stop", &[])],
        properties: &[("pressure", Dimension::PRESSURE)],
        starts: &[("start", Hazard::Pumps)],
        stops: &["stop"],
    },
    TypeContract {
        name: "mass_flow_controller",
        doc: "Holds a flow of gas or liquid",
        actions: &[("set_flow", &[("flow", Dimension::VOLUME_FLOW)]), ("stop", &[])],
        properties: &[("flow", Dimension::VOLUME_FLOW)],
        starts: &[("set_flow", Hazard::Pumps)],
        stops: &["stop", "close"],
    },
    TypeContract {
        name: "vacuum_controller",
        doc: "Holds a pressure below that of the room",
        actions: &[("set_pressure", &[("target", Dimension::PRESSURE)]), ("stop", &[])],
        properties: &[("pressure", Dimension::PRESSURE)],
        starts: &[("set_pressure", Hazard::Pumps)],
        stops: &["stop"],
    },
    TypeContract {
        name: "motion",
        doc: "Moves axes",
        actions: &[
            ("home", &[]),
            (
                "move",
                &[("x", Dimension::LENGTH), ("y", Dimension::LENGTH), ("z", Dimension::LENGTH)],
            ),
            ("stop", &[]),
        ],
        properties: &[("x", Dimension::LENGTH), ("y", Dimension::LENGTH), ("z", Dimension::LENGTH)],
        starts: &[("move", Hazard::Moves), ("home", Hazard::Moves)],
        stops: &["stop"],
    },
    TypeContract {
        name: "power_supply",
        doc: "Gives a voltage with a limit of current",
        actions: &[
            ("set_output", &[("voltage", Dimension::VOLTAGE), ("current", Dimension::CURRENT)]),
            ("off", &[]),
        ],
        properties: &[("voltage", Dimension::VOLTAGE), ("current", Dimension::CURRENT)],
        starts: &[("set_output", Hazard::Powers)],
        stops: &["off"],
    },
    TypeContract {
        name: "power_switch",
        doc: "Switches the power of something on and off",
        actions: &[("switch_on", &[]), ("switch_off", &[])],
        properties: &[],
        starts: &[("switch_on", Hazard::Powers)],
        stops: &["switch_off"],
    },
    TypeContract {
        name: "probe",
        doc: "Measures something and tells it by itself",
        actions: &[],
        properties: &[],
        starts: &[],
        stops: &[],
    },
    TypeContract {
        name: "multimeter",
        doc: "Measures voltage, current or resistance",
        actions: &[("measure", &[])],
        properties: &[],
        starts: &[],
        stops: &[],
    },
    TypeContract {
        name: "oscilloscope",
        doc: "Measures voltage over time",
        actions: &[("acquire", &[]), ("measure", &[])],
        properties: &[],
        starts: &[],
        stops: &[],
    },
    TypeContract {
        name: "thermostat",
        doc: "Holds a temperature",
        actions: &[("set_temperature", &[("target", Dimension::TEMPERATURE)])],
        properties: &[("temperature", Dimension::TEMPERATURE)],
        starts: &[("set_temperature", Hazard::Heats)],
        stops: &["stop", "off"],
    },
    TypeContract {
        name: "spectrometer",
        doc: "Measures a spectrum",
        actions: &[("measure", &[])],
        properties: &[],
        starts: &[],
        stops: &[],
    },
    TypeContract {
        name: "selector_valve",
        doc: "Connects one of several ports",
        actions: &[("select", &[])],
        properties: &[],
        starts: &[],
        stops: &[],
    },
    TypeContract {
        name: "balance",
        doc: "Weighs",
        actions: &[("measure", &[]), ("tare", &[])],
        properties: &[("weight", Dimension::MASS)],
        starts: &[],
        stops: &[],
    },
    TypeContract {
        name: "ph_meter",
        doc: "Measures pH",
        actions: &[("measure", &[])],
        properties: &[("ph", Dimension::NONE)],
        starts: &[],
        stops: &[],
    },
    TypeContract {
        name: "probe",
        doc: "Measures one thing of a sample all the time",
        actions: &[("measure", &[])],
        properties: &[],
        starts: &[],
        stops: &[],
    },
    TypeContract {
        name: "spin_coater",
        doc: "Spins a substrate until its film is thin",
        actions: &[
            ("spin", &[("speed", Dimension::FREQUENCY), ("time", Dimension::TIME)]),
            ("stop", &[]),
        ],
        properties: &[("speed", Dimension::FREQUENCY)],
        starts: &[("spin", Hazard::Moves)],
        stops: &["stop"],
    },
    TypeContract {
        name: "sample_arm",
        doc: "Carries one sample between named places",
        actions: &[("transfer", &[]), ("halt", &[])],
        properties: &[],
        starts: &[("transfer", Hazard::Moves)],
        stops: &["halt"],
    },
    TypeContract {
        name: "film_meter",
        doc: "Measures a film",
        actions: &[("measure", &[])],
        properties: &[],
        starts: &[],
        stops: &[],
    },
    TypeContract {
        name: "battery_cycler",
        doc: "Charges and discharges a cell",
        actions: &[
            ("charge", &[("current", Dimension::CURRENT), ("voltage", Dimension::VOLTAGE)]),
            ("discharge", &[("current", Dimension::CURRENT), ("cutoff", Dimension::VOLTAGE)]),
            ("rest", &[]),
        ],
        properties: &[
            ("voltage", Dimension::VOLTAGE),
            ("current", Dimension::CURRENT),
            ("charge", Dimension::CHARGE),
        ],
        starts: &[("charge", Hazard::Powers), ("discharge", Hazard::Powers)],
        stops: &["rest"],
    },
    TypeContract {
        name: "hplc",
        doc: "Runs gradients and gives chromatograms",
        actions: &[("run", &[("gradient", Dimension::TIME)]), ("fetch", &[]), ("stop", &[])],
        properties: &[],
        starts: &[("run", Hazard::Pumps)],
        stops: &["stop"],
    },
    TypeContract {
        name: "bioreactor",
        doc: "Holds a stirred culture and watches it",
        actions: &[("stir", &[("speed", Dimension::FREQUENCY)]), ("stop", &[])],
        properties: &[
            ("od", Dimension::NONE),
            ("glucose", Dimension::DENSITY),
            ("volume", Dimension::VOLUME),
        ],
        starts: &[("stir", Hazard::Moves)],
        stops: &["stop"],
    },
    TypeContract {
        name: "liquid_handler",
        doc: "Moves volumes between wells and troughs",
        actions: &[("transfer", &[("volume", Dimension::VOLUME)]), ("park", &[])],
        properties: &[],
        starts: &[("transfer", Hazard::Moves)],
        stops: &["park"],
    },
    TypeContract {
        name: "plate_reader",
        doc: "Reads the absorbance of wells",
        actions: &[("read", &[])],
        properties: &[],
        starts: &[],
        stops: &[],
    },
    TypeContract {
        name: "stirrer",
        doc: "Stirs at a speed",
        actions: &[("set_speed", &[("speed", Dimension::FREQUENCY)]), ("stop", &[])],
        properties: &[],
        starts: &[("set_speed", Hazard::Moves), ("start", Hazard::Moves)],
        stops: &["stop"],
    },
];

/// A type by name.
pub fn contract(name: &str) -> Option<&'static TypeContract> {
    TYPES.iter().find(|contract| contract.name == name)
}
