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
        actions: &[("start", &[("rate", Dimension::VOLUME_FLOW)])],
        properties: &[],
        starts: &[("start", Hazard::Pumps), ("dispense", Hazard::Pumps)],
        stops: &["stop"],
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
        actions: &[("measure", &[])],
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
