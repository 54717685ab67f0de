//! `labloop serve` as the tests start it, and a service manager that listens.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::{Bench, labloop};

pub const LAB: &str = "examples/flow-synthesis/lab.yaml";
/// Longest time anything here may take; the machine is shared.
pub const PATIENCE: Duration = Duration::from_secs(240);

pub struct Service {
    pub process: Child,
}

impl Service {
    /// On simulators, sixty times as fast as life.
    pub fn start(bench: &Bench) -> Service {
        Service::with(bench, &["--lab", LAB, "--simulate", "--speed", "60"], |command| command)
    }

    pub fn with(
        bench: &Bench,
        args: &[&str],
        more: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Service {
        let mut command = labloop();
        command.arg("serve").args(args).arg("--state").arg(bench.state());
        command.env_remove("JOURNAL_STREAM").env_remove("NOTIFY_SOCKET");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        // What an earlier one left in the folder is no sign of life of this one.
        let starts = || {
            // It may be being made just now.
            let journal = labloop::store::Journal::open_read_only(&bench.state());
            let entries = journal.and_then(|j| j.about("engine")).unwrap_or_default();
            entries.iter().filter(|e| e.kind == "engine_started").count()
        };
        let before = starts();
        let process = more(&mut command).spawn().unwrap();
        let mut service = Service { process };
        until("the service answers", || {
            assert!(service.process.try_wait().unwrap().is_none(), "{}", log(bench));
            starts() > before && bench.run(&["status"]).1.contains("An engine is at work")
        });
        service
    }

    pub fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Ends it by SIGTERM; how long that took.
    pub fn terminate(mut self) -> Duration {
        let began = Instant::now();
        self.signal("TERM");
        let mut status = None;
        until("it ends", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.unwrap().code(), Some(0));
        began.elapsed()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "it never came that {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn log(bench: &Bench) -> String {
    std::fs::read_to_string(bench.state().join("log/labloop.log")).unwrap_or_default()
}

pub fn submit(bench: &Bench, args: &[&str]) -> String {
    let mut all = vec!["submit"];
    all.extend(args);
    bench.ok(&all).trim().to_owned()
}

/// Subject and kind of every entry of the journal.
pub fn entries(bench: &Bench) -> Vec<(String, String)> {
    let journal = labloop::store::Journal::open_read_only(&bench.state()).unwrap();
    let mut found = Vec::new();
    let mut after = 0;
    loop {
        let page = journal.read(after, 5_000).unwrap();
        let Some(last) = page.last() else { return found };
        after = last.seq;
        found.extend(page.into_iter().map(|e| (e.subject, e.kind)));
    }
}

pub fn count(bench: &Bench, kind: &str) -> usize {
    entries(bench).iter().filter(|(_, k)| k == kind).count()
}

/// A service manager: what the service tells it, with the time since the start.
pub struct Manager {
    socket: UnixDatagram,
    began: Instant,
}

impl Manager {
    pub fn listen(bench: &Bench) -> (Manager, String) {
        let path = bench.folder().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        (Manager::of(socket), path.display().to_string())
    }

    /// One whose socket has a name and is no file; what stands in the environment for it.
    pub fn abstractly(name: &str) -> (Manager, String) {
        let address = SocketAddr::from_abstract_name(name).unwrap();
        (Manager::of(UnixDatagram::bind_addr(&address).unwrap()), format!("@{name}"))
    }

    fn of(socket: UnixDatagram) -> Manager {
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Manager { socket, began: Instant::now() }
    }

    /// Everything that is told within a time.
    pub fn hear(&self, within: Duration) -> Vec<(Duration, String)> {
        let end = Instant::now() + within;
        let mut heard = Vec::new();
        let mut bytes = [0; 4_096];
        while Instant::now() < end {
            if let Ok(length) = self.socket.recv(&mut bytes) {
                let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
                heard.push((self.began.elapsed(), text));
            }
        }
        heard
    }

    pub fn hears(&self, what: &str) {
        until(what, || self.hear(Duration::from_millis(200)).iter().any(|(_, t)| t == what));
    }
}
