//! Runs the built program with a deadline and a memory limit.

use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::{
    base::{Bases, TOKEN},
    site::Site,
};

/// Generous: a run on an intact cache takes less than a second, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);
/// Also generous: such a run takes less than 64 MiB, and a Job has 512.
const MEMORY: u64 = 448 << 20;
/// More than is ever written, so that copies of endless files fail.
const LONGEST_FILE: u64 = 64 << 20;
/// The polling interval.
const PAUSE: Duration = Duration::from_millis(3);

/// A command to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    pub arguments: &'static [&'static str],
    pub variables: &'static [(&'static str, &'static str)],
}

/// The result of a run.
#[derive(Debug)]
pub struct End {
    /// `None` if it was killed by a signal.
    pub code: Option<i32>,
    /// Why it was killed, or by which signal.
    pub killed: Option<String>,
    pub out: Vec<u8>,
    pub err: Vec<u8>,
    /// The content of the `--report` file.
    pub report: Option<String>,
}

/// Runs the program on the cache of a site.
pub fn run(bases: &Bases, site: &Site, order: &Order) -> End {
    let [out, err, report] = ["out", "err", "report"].map(|name| site.path(name));
    let _ = fs::remove_file(&report);
    let mut command = match site.user {
        None => Command::new(env!("CARGO_BIN_EXE_modelcache")),
        // Switch users last: that user may not have access to the path of the program.
        Some(user) => {
            let mut command = Command::new("/usr/bin/setpriv");
            command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]);
            command.arg(env!("CARGO_BIN_EXE_modelcache"));
            command
        }
    };
    command.args(order.arguments).env_clear().current_dir(site.path("outside/work"));
    if order.arguments[0] == "fetch" {
        File::create(&report).unwrap();
        command.arg("--report").arg(&report);
    }
    command.env("HF_ENDPOINT", bases.hub.url()).env("HF_TOKEN", TOKEN);
    // A single authority loads faster than the system's bundle.
    command.env("SSL_CERT_FILE", site.path("home/ca.pem"));
    command.env("HF_HUB_CACHE", site.cache()).env("HOME", site.path("home"));
    command.envs(order.variables.iter().copied());
    command.stdin(Stdio::null()).stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
    if let Some(user) = site.user {
        std::os::unix::fs::chown(&report, Some(user), Some(user)).ok();
    }
    let (status, killed) = watch(command.spawn().unwrap());
    End {
        code: status.code(),
        killed: killed.or_else(|| status.signal().map(|signal| format!("died of signal {signal}"))),
        out: fs::read(out).unwrap(),
        err: fs::read(err).unwrap(),
        report: fs::read_to_string(report).ok().filter(|text| !text.is_empty()),
    }
}

/// Waits for the process, and kills it at the deadline.
fn watch(mut child: Child) -> (ExitStatus, Option<String>) {
    let began = Instant::now();
    let pid = Pid::from_child(&child);
    let limit = Rlimit { current: Some(LONGEST_FILE), maximum: Some(LONGEST_FILE) };
    // It may have exited already.
    let _ = prlimit(Some(pid), Resource::Fsize, limit);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return (status, None);
        }
        let peak = peak(&child);
        let why = if began.elapsed() > DEADLINE {
            format!("did not end within {} s", DEADLINE.as_secs())
        } else if peak > MEMORY {
            format!("took {} MiB of memory", peak >> 20)
        } else {
            thread::sleep(PAUSE);
            continue;
        };
        child.kill().unwrap();
        return (child.wait().unwrap(), Some(why));
    }
}

/// Its peak memory, in bytes.
fn peak(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
