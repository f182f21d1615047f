//! Puts the functions that run at a start, and at a server's first requests, next to each other.
//!
//! A start runs some 2 000 of 40 000 functions. Strewn over the whole program they lie on 130 pieces of 64 KiB, which the kernel reads and maps
//! as a whole: 8 MB for 2 MB of code. Together they are a few large pieces.
//!
//! Nobody keeps a list of them, for it would be wrong with the next commit: `xtask` is the linker that rustc calls. It links once,
//! runs what it has linked with a breakpoint on each function, writes down which are met, and links again in that order.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::process::Process;
use crate::traced;

/// Says that this process is the linker, and where the repository is.
const ROOT: &str = "BULLA_XTASK_LINKS";
/// The variable by which cargo takes a linker for the target.
const LINKER: &str = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER";
/// What calls the system's linker.
const CC: &str = "cc";
/// x86's breakpoint: `int3`.
const BREAKPOINT: u8 = 0xCC;

/// A build that is linked in this order.
pub fn ordered(build: Process, root: &Path) -> Result<Process> {
    // A copy: another `cargo xtask` may build this program anew before the linker's turn comes.
    let linker = root.join("target/linker");
    let new = linker.with_extension("new");
    fs::copy(std::env::current_exe()?, &new).with_context(|| format!("writing {}", new.display()))?;
    fs::rename(&new, &linker)?;
    Ok(build.env(LINKER, linker).env(ROOT, root))
}

/// The repository, if this process was called as a linker.
pub fn called_for() -> Option<PathBuf> {
    std::env::var_os(ROOT).map(PathBuf::from)
}

/// Links: what the programs are, twice; anything else as it comes.
pub fn link(root: &Path) -> Result<()> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let output = arguments.iter().position(|argument| argument == "-o").and_then(|place| arguments.get(place + 1));
    let output = output.map(PathBuf::from).context("the linker is told no output")?;
    let is_program = output.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with("bulla-"));
    if !is_program {
        return Process::new(CC).args(&arguments).run();
    }
    // With its symbols, which tell the functions.
    let is_strip = |argument: &OsString| argument.to_str().is_some_and(|text| text.starts_with("-Wl,--strip"));
    Process::new(CC).args(arguments.iter().filter(|argument| !is_strip(argument))).run()?;
    let functions = Functions::of(&output)?;
    let folder = tempfile::TempDir::new()?;
    let mut order = Order::default();
    let traced =
        starts(root, folder.path())?.iter().try_for_each(|start| trace(&output, &functions, start, &mut order));
    if let Err(error) = traced {
        // It works as well in any other order. Containers often forbid tracing.
        eprintln!("dist: functions stand as they come, a start takes more memory: {error:#}");
    }
    let file = folder.path().join("order");
    write(&file, &order.names.join("\n"))?;
    let mut flag = OsString::from("-Wl,--symbol-ordering-file=");
    flag.push(&file);
    let more = [flag, "-Wl,--no-warn-symbol-ordering".into()];
    Process::new(CC).args(arguments.iter().chain(&more)).run()?;
    // The same with its symbols, for whoever wants to see where it spends its time.
    let named = output.with_extension("symbols");
    let to_named = arguments
        .iter()
        .filter(|argument| !is_strip(argument))
        .map(|argument| if Path::new(argument) == output { named.as_os_str() } else { argument.as_os_str() });
    Process::new(CC).args(to_named.chain(more.iter().map(OsString::as_os_str))).run()?;
    println!(
        "dist: {} of {} functions run at a start, and stand together",
        order.names.len(),
        functions.by_address.len()
    );
    Ok(())
}

/// What a start is: arguments, and a file for standard input.
struct Start {
    arguments: Vec<OsString>,
    input: Option<PathBuf>,
    /// Where it serves until it has been asked what a server is asked.
    serves: Option<SocketAddr>,
}

/// The starts that people wait for: sealing, encrypting, decrypting, a server that is new and one that is started again.
fn starts(root: &Path, folder: &Path) -> Result<Vec<Start>> {
    let secret = folder.join("secret.yaml");
    let values: String = (0..10).map(|n| format!("  key-{n}: dmFsdWU=\n")).collect();
    write(&secret, &format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\n  namespace: b\ndata:\n{values}"))?;
    let certificate = root.join("crates/format/src/sealed/vectors/rsa-2048.crt");
    let words = |words: &[&OsStr]| words.iter().map(|&word| word.to_owned()).collect::<Vec<OsString>>();
    let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    Ok(vec![
        Start {
            arguments: words(&["seal".as_ref(), "--cert".as_ref(), certificate.as_ref()]),
            input: Some(secret.clone()),
            serves: None,
        },
        Start {
            arguments: words(&["encrypt".as_ref(), "--age".as_ref(), recipient.as_ref(), secret.as_ref()]),
            input: None,
            serves: None,
        },
        Start { arguments: words(&["--help".as_ref()]), input: None, serves: None },
        server(folder)?,
        server(folder)?,
    ])
}

/// A server that keeps its things in `folder`.
fn server(folder: &Path) -> Result<Start> {
    let unused = || TcpListener::bind("127.0.0.1:0")?.local_addr();
    let (address, tls) = (unused()?, unused()?);
    let place = |name: &str| folder.join(name).display().to_string();
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(["127.0.0.1".to_owned()])?.self_signed(&key)?;
    write(&folder.join("tls.crt"), &certificate.pem())?;
    write(&folder.join("tls.key"), &key.serialize_pem())?;
    let config = folder.join(format!("server-{}.hcl", address.port()));
    let text = format!(
        "storage \"embedded\" {{ path = \"{}\" }}\n\
         listener \"tcp\" {{\n  address = \"{address}\"\n  tls_disable = true\n}}\n\
         listener \"tcp\" {{\n  address = \"{tls}\"\n  tls_cert_file = \"{}\"\n  tls_key_file = \"{}\"\n}}\n\
         seal \"static\" {{\n  current_key_id = \"1\"\n  current_key = \"{}\"\n}}\n\
         audit \"file\" \"main\" {{\n  options {{ file_path = \"{}\" }}\n}}\n",
        place("data"),
        place("tls.crt"),
        place("tls.key"),
        "ab".repeat(32),
        place("audit.log")
    );
    write(&config, &text)?;
    let flag = format!("-config={}", config.display());
    Ok(Start { arguments: vec!["server".into(), flag.into()], input: None, serves: Some(address) })
}

/// Asks a server what a server is asked, and tells it to end.
fn visit(address: SocketAddr, server: Pid) -> Result<()> {
    let asked = ask_all(address);
    kill(server, if asked.is_ok() { Signal::SIGTERM } else { Signal::SIGKILL })?;
    asked
}

fn ask_all(address: SocketAddr) -> Result<()> {
    let begun = Instant::now();
    while ask(address, "GET", "sys/health", "", "").is_err() {
        ensure!(begun.elapsed() < Duration::from_mins(1), "the server does not answer");
        thread::sleep(Duration::from_millis(20));
    }
    let made = ask(address, "PUT", "sys/init", "", r#"{"recovery_shares":1,"recovery_threshold":1}"#)?;
    // The second time it was made before.
    let Some(root) = made.split("\"root_token\":\"").nth(1).and_then(|rest| rest.split('"').next()) else {
        return Ok(());
    };
    for (method, path, body) in [
        ("POST", "sys/mounts/secret", r#"{"type":"kv","options":{"version":"2"}}"#),
        ("POST", "sys/mounts/transit", r#"{"type":"transit"}"#),
        ("POST", "secret/data/a/b", r#"{"data":{"name":"value"}}"#),
        ("POST", "secret/data/a/b", r#"{"data":{"name":"value"}}"#),
        ("GET", "secret/data/a/b", ""),
        ("GET", "secret/metadata/a?list=true", ""),
        ("POST", "transit/keys/k", "{}"),
        ("POST", "transit/encrypt/k", r#"{"plaintext":"YQ=="}"#),
        ("POST", "auth/token/create", r#"{"ttl":"1h"}"#),
        ("GET", "auth/token/lookup-self", ""),
        ("GET", "secret/data/none", ""),
    ] {
        ask(address, method, path, root, body)?;
    }
    Ok(())
}

/// Asks one thing; the answer with its head.
fn ask(address: SocketAddr, method: &str, path: &str, token: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let head = format!(
        "{method} /v1/{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nx-vault-token: {token}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn write(path: &Path, text: &str) -> Result<()> {
    Ok(fs::File::create(path)?.write_all(text.as_bytes())?)
}

/// Functions in the order in which they were first met.
#[derive(Default)]
struct Order {
    met: HashSet<u64>,
    names: Vec<String>,
}

/// The functions of a program.
struct Functions {
    /// By where they begin in the program; several have one place.
    by_address: HashMap<u64, Vec<String>>,
}

impl Functions {
    fn of(program: &Path) -> Result<Self> {
        let text = String::from_utf8(Process::new("readelf").args(["-sW"]).args([program]).output()?)?;
        let mut by_address: HashMap<u64, Vec<String>> = HashMap::new();
        for line in text.lines() {
            // Number, value, size, type, binding, visibility, section, name.
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [_, value, size, "FUNC", _, _, section, name] = words[..]
                && section != "UND"
                && size != "0"
            {
                by_address.entry(u64::from_str_radix(value, 16)?).or_default().push(name.to_owned());
            }
        }
        ensure!(by_address.len() > 1000, "{} has no symbols", program.display());
        Ok(Self { by_address })
    }
}

/// Runs the program and notes which functions are met first, and when.
fn trace(program: &Path, functions: &Functions, start: &Start, order: &mut Order) -> Result<()> {
    let shell = traced::start(
        Command::new(program).args(&start.arguments),
        start.input.as_deref(),
        Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACECLONE,
    )?;
    let visitor = start.serves.map(|address| thread::spawn(move || visit(address, shell)));
    let mut memory = None;
    // All its threads, and nobody else's children.
    let all = Pid::from_raw(-shell.as_raw());
    loop {
        match waitpid(all, Some(WaitPidFlag::__WALL))? {
            WaitStatus::PtraceEvent(pid, _, event) if event == ptrace::Event::PTRACE_EVENT_EXEC as i32 => {
                memory = Some(Breakpoints::set(pid, program, functions)?);
                ptrace::cont(pid, None)?;
            }
            WaitStatus::Stopped(pid, Signal::SIGTRAP) => {
                if let Some(memory) = &mut memory {
                    memory.met(pid, functions, order)?;
                }
                ptrace::cont(pid, None)?;
            }
            WaitStatus::Stopped(pid, signal) => ptrace::cont(pid, Some(signal))?,
            WaitStatus::PtraceEvent(pid, ..) | WaitStatus::PtraceSyscall(pid) => ptrace::cont(pid, None)?,
            WaitStatus::Exited(pid, 0) if pid == shell => break,
            WaitStatus::Exited(pid, status) if pid == shell => {
                bail!("{} {:?} ended with {status}", program.display(), start.arguments)
            }
            WaitStatus::Signaled(pid, signal, _) if pid == shell => bail!("{} died of {signal}", program.display()),
            _ => {}
        }
    }
    match visitor.map(thread::JoinHandle::join) {
        None => Ok(()),
        Some(visited) => visited.unwrap_or_else(|_| bail!("the visitor of a server panicked")),
    }
}

/// Breakpoints in a process, one on each function that was not met yet.
struct Breakpoints {
    /// Where the program begins in memory.
    base: u64,
    memory: fs::File,
    /// What stood there, by the place in the program.
    replaced: HashMap<u64, u8>,
}

impl Breakpoints {
    fn set(pid: Pid, program: &Path, functions: &Functions) -> Result<Self> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let program = program.canonicalize()?;
        let is_its = |line: &&str| line.ends_with(program.to_str().unwrap_or_default());
        let first =
            maps.lines().find(is_its).and_then(|line| line.split_once('-')).context("the program is not there")?;
        let base = u64::from_str_radix(first.0, 16)?;
        let memory = fs::File::options().read(true).write(true).open(format!("/proc/{pid}/mem"))?;
        let mut replaced = HashMap::new();
        for &address in functions.by_address.keys() {
            let mut byte = [0];
            memory.read_exact_at(&mut byte, base + address)?;
            memory.write_all_at(&[BREAKPOINT], base + address)?;
            replaced.insert(address, byte[0]);
        }
        Ok(Self { base, memory, replaced })
    }

    /// A thread stopped: at a breakpoint, or for reasons of its own.
    fn met(&mut self, pid: Pid, functions: &Functions, order: &mut Order) -> Result<()> {
        let mut registers = ptrace::getregs(pid)?;
        let address = registers.rip.wrapping_sub(1).wrapping_sub(self.base);
        let Some(&byte) = self.replaced.get(&address) else { return Ok(()) };
        self.memory.write_all_at(&[byte], self.base + address)?;
        registers.rip -= 1;
        ptrace::setregs(pid, registers)?;
        if order.met.insert(address) {
            order.names.extend(functions.by_address.get(&address).into_iter().flatten().cloned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_first_is_met_first_and_once() {
        let program = std::env::current_exe().unwrap();
        let functions = Functions::of(&program).unwrap();
        let start = Start { arguments: vec!["--list".into()], input: None, serves: None };
        let mut order = Order::default();
        trace(&program, &functions, &start, &mut order).unwrap();
        let place = |what: &str| order.names.iter().position(|name| name == what);
        assert!(place("_start").unwrap() < place("main").unwrap(), "{:?}", &order.names[..50]);
        assert!((30..functions.by_address.len()).contains(&order.names.len()), "{}", order.names.len());
        let before = order.names.len();
        trace(&program, &functions, &start, &mut order).unwrap();
        assert!(order.names.len() < before + before / 10, "{} after {before}", order.names.len());
    }

    #[test]
    fn a_program_that_fails_is_an_error() {
        let program = std::env::current_exe().unwrap();
        let functions = Functions::of(&program).unwrap();
        let start = Start { arguments: vec!["--no-such-flag".into()], input: None, serves: None };
        let error = trace(&program, &functions, &start, &mut Order::default()).unwrap_err();
        assert!(error.to_string().contains("ended with"), "{error}");
    }
}
