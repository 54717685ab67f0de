//! Definitions that are part of the program, so that an installed binary needs no files.

macro_rules! built_in {
    ($($path:literal),* $(,)?) => {
        const FILES: &[(&str, &str)] =
            &[$((concat!("instruments/", $path), include_str!(concat!("../../instruments/", $path)))),*];
    };
}

built_in![
    "balance/mettler-mt-sics.yaml",
    "balance/sartorius-sbi.yaml",
    "battery_cycler/mqtt5-battery-cycler.yaml",
    "bioreactor/mqtt5-bioreactor.yaml",
    "film_meter/mqtt5-film-meter.yaml",
    "hplc/mqtt5-hplc.yaml",
    "hplc_pump/knauer-azura.yaml",
    "liquid_handler/mqtt5-liquid-handler.yaml",
    "mass_flow_controller/alicat-mc.yaml",
    "mass_flow_controller/alicat-modbus.yaml",
    "mass_flow_controller/bronkhorst-modbus.yaml",
    "mass_flow_controller/bronkhorst-propar.yaml",
    "motion/grbl.yaml",
    "motion/marlin.yaml",
    "multimeter/scpi-dmm.yaml",
    "oscilloscope/scpi-oscilloscope.yaml",
    "peristaltic_pump/masterflex-ls.yaml",
    "ph_meter/atlas-ezo-ph.yaml",
    "ph_meter/hamilton-arc-ph.yaml",
    "plate_reader/mqtt5-plate-reader.yaml",
    "power_supply/scpi-power-supply.yaml",
    "power_switch/esphome-relay.yaml",
    "power_switch/shelly-gen2-switch.yaml",
    "power_switch/sparkplug-switch.yaml",
    "power_switch/tasmota-plug.yaml",
    "probe/esphome-temperature.yaml",
    "probe/hamilton-arc-do.yaml",
    "probe/sparkplug-temperature.yaml",
    "sample_arm/mqtt5-sample-arm.yaml",
    "selector_valve/knauer-azura-injection.yaml",
    "selector_valve/knauer-azura-valve.yaml",
    "selector_valve/runze-sv06.yaml",
    "selector_valve/vici-valco.yaml",
    "spectrometer/as7341-picow.yaml",
    "spectrometer/mqtt5-spectrometer.yaml",
    "spin_coater/mqtt5-spin-coater.yaml",
    "stirrer/heidolph-hei-connect.yaml",
    "stirrer/ika-overhead.yaml",
    "stirrer/ika-rct.yaml",
    "stirrer/ika-rct-watchdog.yaml",
    "syringe_pump/hamilton-ml600.yaml",
    "syringe_pump/hamilton-psd4.yaml",
    "syringe_pump/harvard-pump11.yaml",
    "syringe_pump/newera-ne1000-safe.yaml",
    "syringe_pump/newera-ne1000.yaml",
    "syringe_pump/runze-sy01b.yaml",
    "syringe_pump/tecan-cavro.yaml",
    "thermostat/eurotherm-3216.yaml",
    "thermostat/huber-unistat.yaml",
    "thermostat/julabo.yaml",
    "thermostat/lauda.yaml",
    "thermostat/omega-cn7.yaml",
    "thermostat/sparkplug-thermostat.yaml",
    "thermostat/watlow-ez-zone-gateway.yaml",
    "thermostat/watlow-ez-zone.yaml",
    "vacuum_controller/vacuubrand-cvc3000.yaml",
];

fn stem(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path).trim_end_matches(".yaml")
}

/// Path and text of a built-in definition.
pub fn text(name: &str) -> Option<(&'static str, &'static str)> {
    FILES.iter().find(|(path, _)| stem(path) == name).copied()
}

/// Names of all built-in definitions, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(path, _)| stem(path))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_definition_of_the_folder_is_built_in() {
        let mut found = BTreeSet::new();
        for folder in std::fs::read_dir("instruments").unwrap().flatten() {
            // Beside the folders stands the README.
            let Ok(files) = std::fs::read_dir(folder.path()) else { continue };
            for file in files.flatten() {
                found.insert(file.path().to_string_lossy().into_owned());
            }
        }
        let listed: BTreeSet<String> = super::FILES.iter().map(|(p, _)| (*p).to_owned()).collect();
        assert_eq!(found, listed);
    }
}
