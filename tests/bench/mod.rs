//! A folder of its own for each test, and the binary in it.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod certificates;
pub mod engine;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The binary under test.
pub fn labloop() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_labloop"));
    command.env_remove("LABLOOP_STATE").env("NO_COLOR", "1");
    // Instruments of tests are simulators of the speed that is asked for.
    command.env("LABLOOP_SCALED_WIRES", "1");
    command
}

/// A folder that goes when the test ends well.
pub struct Bench {
    folder: PathBuf,
}

impl Bench {
    pub fn new(name: &str) -> Bench {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("labloop-{name}-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Bench { folder }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Runs a command with this bench's state; exit code, stdout, stderr.
    pub fn run(&self, args: &[&str]) -> (i32, String, String) {
        let output = labloop().args(args).arg("--state").arg(self.state()).output().unwrap();
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    /// The same, which must end well; stdout.
    pub fn ok(&self, args: &[&str]) -> String {
        let (code, out, said) = self.run(args);
        assert_eq!(code, 0, "labloop {}\n{said}", args.join(" "));
        out
    }

    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Ports nobody listens on right now.
pub fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|l| l.local_addr().unwrap().port()).collect()
}

/// Waits until a file is there.
pub fn wait_for(file: &Path) {
    let until = Instant::now() + Duration::from_secs(20);
    while !file.exists() {
        assert!(Instant::now() < until, "{} did not appear", file.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Where Debian's mosquitto is.
pub fn mosquitto() -> Option<PathBuf> {
    ["/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/usr/local/sbin/mosquitto"]
        .into_iter()
        .map(PathBuf::from)
        .find(|p| p.exists())
}

/// The Python that `./test` has filled with the peers of `tests/peers/requirements.txt`.
pub fn peers() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/bin/python3");
    assert!(python.exists(), "{} is missing: run ./test once", python.display());
    python
}

/// A mosquitto of this test's own.
pub struct Broker(Child);

impl Broker {
    pub fn start(program: &Path, port: u16, folder: &Path) -> Broker {
        Broker::with(program, port, folder, "allow_anonymous true\n")
    }

    /// One whose listener has further settings. What it says is kept in `mosquitto.log`.
    pub fn with(program: &Path, port: u16, folder: &Path, settings: &str) -> Broker {
        let file = folder.join("mosquitto.conf");
        let log = folder.join("mosquitto.log");
        // Started by root it would become another user, who can read none of this folder's keys.
        let text = format!(
            "user root\nlog_dest stderr\nlog_type all\nset_tcp_nodelay true\n\
             listener {port} 127.0.0.1\n{settings}"
        );
        std::fs::write(&file, text).unwrap();
        let said = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let mut child = Command::new(program)
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = child.try_wait().unwrap();
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none(), "mosquitto ended: {ended:?}\n{said}");
            assert!(Instant::now() < until, "mosquitto does not answer\n{said}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Broker(child)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
