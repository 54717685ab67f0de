//! The serial adapter of the pumps is pulled out and put back while runs are under way.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::bench::wait_for;
use crate::lane::{AtWork, Draw, Lane, SPEED, Variant, from_environment};

const LIMIT: Duration = Duration::from_secs(120);

/// A terminal that stands between labloop and the pumps' own: killed, it is a cable pulled out.
struct Adapter {
    link: PathBuf,
    pumps: String,
    between: Option<Child>,
}

impl Adapter {
    /// In the place of the pumps' terminal, before an engine is started.
    fn before(lane: &Lane) -> Adapter {
        let ready = lane.state().join(format!("simulators/ready-{SPEED}.json"));
        let mut told: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&ready).unwrap()).unwrap();
        let line = &mut told["endpoints"]["serial:/dev/serial/by-id/pumps"];
        let pumps = line.as_str().unwrap().trim_start_matches("serial:").to_owned();
        let link = lane.folder().join("adapter");
        *line = format!("serial:{}", link.display()).into();
        std::fs::write(&ready, told.to_string()).unwrap();
        let mut adapter = Adapter { link, pumps, between: None };
        adapter.plug();
        adapter
    }

    fn plug(&mut self) {
        let between = Command::new("socat")
            .arg(format!("pty,raw,echo=0,link={}", self.link.display()))
            .arg(format!("{},raw,echo=0", self.pumps))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.between = Some(between.expect("socat is installed; ./test installs it"));
        wait_for(&self.link);
    }

    fn unplug(&mut self) {
        if let Some(mut between) = self.between.take() {
            let _ = between.kill();
            let _ = between.wait();
        }
        let _ = std::fs::remove_file(&self.link);
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        self.unplug();
    }
}

#[test]
fn row_30_runs_go_on_by_themselves_when_the_adapter_of_the_pumps_is_back() {
    let lane = Lane::new("adapter", Variant { retry: true, ..Variant::default() });
    let mut adapter = Adapter::before(&lane);
    let mut draw = Draw::new(from_environment("SEED", 1_730));
    let mut engine = AtWork::start(lane.engine(false, 4), lane.folder().join("said.txt"));
    engine
        .until("a dose", LIMIT, |_| lane.effects_since().iter().any(|e| e["effect"] == "dispense"));
    for _ in 0..4 {
        adapter.unplug();
        std::thread::sleep(Duration::from_millis(draw.within(50, 700)));
        adapter.plug();
        std::thread::sleep(Duration::from_millis(draw.within(200, 1_200)));
    }
    let (status, said) = engine.end(LIMIT);
    assert!(status.success(), "{status}\n{said}");
    assert!(said.contains("lost pump_1"), "{said}");
    let audit = lane.audit("adapter");
    assert_eq!(audit.complete, 4, "{said}");
}
