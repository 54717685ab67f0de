//! Simulators made from the definitions of a lab, for devices that have none of their own.

use std::sync::Arc;

use labloop_simulators::{Models, has_simulator};

use crate::compiler::Definitions;
use crate::driver::mirror::{Device, Mirror};
use crate::driver::{InstrumentSetup, written_values};
use crate::spec::lab::Lab;
use crate::wire::Address;

/// The models of a lab; the error names the instrument that cannot be simulated and why.
pub(super) fn models(lab: &Lab, definitions: &Definitions, seed: u64) -> Result<Models, String> {
    let mut models = Models::new();
    for (number, instrument) in lab.instruments.iter().enumerate() {
        let name = &instrument.name.value;
        let address = &instrument.address.value;
        if has_simulator(&instrument.definition.value) || address.starts_with("null:") {
            continue;
        }
        let Some(definition) = definitions.get(&instrument.definition.value) else { continue };
        let setup = InstrumentSetup {
            name: name.clone(),
            definition: Arc::clone(definition),
            at: Address::parse(address).map_err(|e| format!("{name}: {e}"))?,
            config: written_values(&definition.config, &instrument.config)
                .map_err(|why| format!("{name}: {why}"))?,
            secret: None,
            trust: crate::wire::Trust::default(),
        };
        let mirror = Mirror::new(&setup)
            .map_err(|wrong| format!("{name} cannot be simulated: {}", wrong.join("; ")))?;
        // Each its own noise.
        let seed = seed.wrapping_add(number as u64 + 1);
        models.insert(name.clone(), Box::new(Device::new(mirror, seed)));
    }
    Ok(models)
}
