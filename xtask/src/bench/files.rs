//! `cargo xtask bench files`: encrypted files, bulla against sops.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::measure::{Usage, usage};
use super::{inputs, limit};
use crate::dist;
use crate::process::Process;

/// One row of the table.
struct Row {
    name: String,
    sops: Usage,
    bulla: Usage,
    /// What is compared, and the most that bulla may use as a share of sops' use.
    targets: Vec<(Figure, f64)>,
    /// Seconds that the ciphers alone take.
    limit: f64,
}

#[derive(Clone, Copy)]
enum Figure {
    Cpu,
    Wall,
    Memory,
}

/// Everything a case needs.
struct Bench {
    folder: PathBuf,
    sops: String,
    bulla: String,
    key_file: String,
    recipient: String,
    only: Option<String>,
}

/// Builds what is missing, runs every case and prints the table.
pub fn run(root: &Path, version: &str, only: Option<&str>, bulla: Option<&Path>) -> Result<()> {
    let bulla = match bulla {
        Some(bulla) => bulla.canonicalize()?,
        None => dist::build(root, dist::Profile::Dist)?,
    };
    let peers = std::env::var_os("BULLA_PEERS").map_or_else(|| root.join("target/peers"), PathBuf::from).join("bin");
    let sops = peers.join(format!("sops-{version}"));
    if !sops.is_file() {
        crate::peers::install(root)?;
    }
    let folder = root.join("target/bench");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let key_file = folder.join("key.txt");
    Process::new(peers.join("age-keygen")).args(["-o"]).args([&key_file]).output()?;
    let recipient = String::from_utf8(Process::new(peers.join("age-keygen")).args(["-y"]).args([&key_file]).output()?)?;
    let bench = Bench {
        folder,
        sops: text(&sops)?,
        bulla: text(&bulla)?,
        key_file: text(&key_file)?,
        recipient: recipient.trim().to_owned(),
        only: only.map(ToOwned::to_owned),
    };
    println!("sops {version} against bulla, one machine, one run; CPU is user and system time, MB are 10^6 bytes\n");
    println!("| work | figure | sops | bulla | ratio | target | | ciphers alone |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut missed = 0;
    missed += bench.small()?;
    missed += bench.large_yaml()?;
    missed += bench.flat_json()?;
    missed += bench.binary()?;
    missed += bench.many()?;
    println!("\n{missed} targets missed");
    Ok(())
}

impl Bench {
    fn small(&self) -> Result<usize> {
        let plain = self.folder.join("small.yaml");
        inputs::small_yaml(&plain)?;
        let encrypted = self.encrypted(&plain)?;
        let targets = vec![(Figure::Cpu, 1.0 / 4.0), (Figure::Memory, 1.0 / 3.0)];
        let limit = limit::seconds(17, 30)?;
        let encrypt = self.row("20-line YAML, encrypt", (50, 200), &self.encrypt(&plain)?, &targets, limit)?;
        let decrypt =
            self.row("20-line YAML, decrypt", (50, 200), &["decrypt", &text(&encrypted)?], &targets, limit)?;
        Ok(encrypt + decrypt)
    }

    fn large_yaml(&self) -> Result<usize> {
        let plain = self.folder.join("large.yaml");
        inputs::large_yaml(&plain)?;
        let encrypted = self.encrypted(&plain)?;
        let targets = vec![(Figure::Cpu, 1.0 / 20.0), (Figure::Memory, 1.0 / 3.0)];
        let limit = limit::seconds(100_000, 86)?;
        let mut missed = self.row("10 MB YAML, encrypt", (1, 5), &self.encrypt(&plain)?, &targets, limit)?;
        missed += self.row("10 MB YAML, decrypt", (1, 5), &["decrypt", &text(&encrypted)?], &targets, limit)?;
        let set = text(&encrypted)?;
        // The value alternates by process id, so that no run finds its value there already.
        let command = ["set", &set, "[\"map_0500\"][\"key_050\"]", "\"changed\""];
        let targets = vec![(Figure::Cpu, 1.0 / 20.0)];
        missed += self.row("10 MB YAML, set one key", (1, 1), &command, &targets, limit)?;
        Ok(missed)
    }

    fn flat_json(&self) -> Result<usize> {
        let mut rows = Vec::new();
        for (keys, target) in [(10_000, None), (40_000, Some(1.0 / 100.0))] {
            let plain = self.folder.join(format!("flat_{keys}.json"));
            inputs::flat_json(&plain, keys)?;
            let targets = target.map(|target| (Figure::Cpu, target)).into_iter().collect::<Vec<_>>();
            let name = format!("flat JSON, {keys} keys, encrypt");
            let command = self.encrypt(&plain)?;
            if let Some(row) = self.measure(&name, (1, 5), &command, &targets, limit::seconds(keys, 32)?)? {
                rows.push(row);
            }
        }
        let mut missed = rows.iter().map(print).sum();
        if let [small, large] = rows.as_slice() {
            let (sops, bulla) = (large.sops.cpu / small.sops.cpu, large.bulla.cpu / small.bulla.cpu);
            let verdict = if bulla <= 4.5 { "met" } else { "MISSED" };
            missed += usize::from(bulla > 4.5);
            println!(
                "| flat JSON, 10 000 to 40 000 keys | growth of CPU | {sops:.1}× | {bulla:.1}× | | ≤ 4.5× | {verdict} | |"
            );
        }
        Ok(missed)
    }

    fn binary(&self) -> Result<usize> {
        let plain = self.folder.join("large.bin");
        inputs::binary(&plain)?;
        let encrypted = self.encrypted(&plain)?;
        let limit = limit::seconds(1, 50_000_000)?;
        let targets = vec![(Figure::Cpu, 1.0 / 5.0)];
        let mut missed = 0;
        let encrypt = self.encrypt(&plain)?;
        let encrypted = text(&encrypted)?;
        let commands: [(&str, &[&str]); 2] = [("encrypt", &encrypt), ("decrypt", &["decrypt", &encrypted])];
        for (name, command) in commands {
            let Some(row) = self.measure(&format!("50 MB binary, {name}"), (1, 3), command, &targets, limit)? else {
                continue;
            };
            missed += print(&row);
            let verdict = if row.bulla.memory <= 150.0 { "met" } else { "MISSED" };
            missed += usize::from(row.bulla.memory > 150.0);
            println!(
                "| 50 MB binary, {name} | peak MB | {:.0} | {:.0} | {:.2} | ≤ 150 | {verdict} | |",
                row.sops.memory,
                row.bulla.memory,
                row.bulla.memory / row.sops.memory
            );
        }
        Ok(missed)
    }

    fn many(&self) -> Result<usize> {
        let name = "500 small files";
        if self.skips(name) {
            return Ok(0);
        }
        let folder = self.folder.join("many");
        inputs::many(&folder)?;
        let folder = text(&folder)?;
        let (sops, bulla, recipient) = (&self.sops, &self.bulla, &self.recipient);
        let limit = limit::seconds(500 * 17, 30)?;
        let targets = vec![(Figure::Wall, 1.0 / 20.0)];
        let environment = self.environment();
        let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut missed = 0;
        for (name, theirs, ours) in [
            (
                "encrypt in place",
                format!("encrypt --age {recipient} -i"),
                vec!["encrypt", "--age", recipient, "-r", "-i"],
            ),
            ("decrypt in place", "decrypt -i".to_owned(), vec!["decrypt", "-r", "-i"]),
        ] {
            // Both start from the same files: sops works on a copy.
            let copy = format!("{folder}.sops");
            Process::new("cp").args(["-a", &folder, &copy]).run()?;
            let script = format!("for file in {copy}/*.yaml; do {sops} {theirs} \"$file\" || exit 1; done");
            let sops = usage(1, &environment, None, &["sh", "-c", &script])?;
            fs::remove_dir_all(&copy)?;
            let mut command = vec![bulla.as_str()];
            command.extend(ours);
            command.push(&folder);
            let bulla = usage(1, &environment, None, &command)?;
            let name = format!("500 small files, {name}");
            missed += print(&Row { name, sops, bulla, targets: targets.clone(), limit });
        }
        Ok(missed)
    }

    /// Encrypts with sops, so that both decrypt the same file.
    fn encrypted(&self, plain: &Path) -> Result<PathBuf> {
        let name = plain.file_name().and_then(|name| name.to_str()).context("a file name")?;
        let encrypted = plain.with_file_name(format!("encrypted_{name}"));
        Process::new(&self.sops)
            .env("SOPS_DISABLE_VERSION_CHECK", "1")
            .args(["encrypt", "--age", &self.recipient, "--output"])
            .args([&encrypted, plain])
            .run()?;
        Ok(encrypted)
    }

    fn encrypt(&self, plain: &Path) -> Result<Vec<&'static str>> {
        // Leaked on purpose: a handful of short strings for the length of the run.
        let recipient: &'static str = Box::leak(self.recipient.clone().into_boxed_str());
        let plain: &'static str = Box::leak(text(plain)?.into_boxed_str());
        Ok(vec!["encrypt", "--age", recipient, plain])
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![("SOPS_AGE_KEY_FILE", self.key_file.clone()), ("SOPS_DISABLE_VERSION_CHECK", "1".into())]
    }

    fn row(
        &self,
        name: &str,
        times: (u32, u32),
        command: &[&str],
        targets: &[(Figure, f64)],
        limit: f64,
    ) -> Result<usize> {
        Ok(self.measure(name, times, command, targets, limit)?.as_ref().map_or(0, print))
    }

    /// Runs `command` with sops and with bulla, each `times` times.
    fn measure(
        &self,
        name: &str,
        (sops_times, bulla_times): (u32, u32),
        command: &[&str],
        targets: &[(Figure, f64)],
        limit: f64,
    ) -> Result<Option<Row>> {
        if self.skips(name) {
            return Ok(None);
        }
        let environment = self.environment();
        let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let with = |program: &str, times| {
            let command: Vec<&str> = std::iter::once(program).chain(command.iter().copied()).collect();
            usage(times, &environment, None, &command)
        };
        // `set` writes its file: bulla gets the file as sops found it.
        let written = command.first() == Some(&"set");
        let before = if written { Some((command[1], fs::read(command[1])?)) } else { None };
        let sops = with(&self.sops, sops_times)?;
        if let Some((path, bytes)) = &before {
            std::io::Write::write_all(&mut fs::File::create(path)?, bytes)?;
        }
        let bulla = with(&self.bulla, bulla_times)?;
        Ok(Some(Row { name: name.to_owned(), sops, bulla, targets: targets.to_vec(), limit }))
    }

    fn skips(&self, name: &str) -> bool {
        self.only.as_ref().is_some_and(|only| !name.contains(only.as_str()))
    }
}

/// Prints a row's lines and counts the missed targets.
fn print(row: &Row) -> usize {
    let mut missed = 0;
    for figure in [Figure::Cpu, Figure::Wall, Figure::Memory] {
        let (label, sops, bulla) = match figure {
            Figure::Cpu => ("CPU s", row.sops.cpu, row.bulla.cpu),
            Figure::Wall => ("wall s", row.sops.wall, row.bulla.wall),
            Figure::Memory => ("peak MB", row.sops.memory, row.bulla.memory),
        };
        let ratio = bulla / sops;
        let target =
            row.targets.iter().find(|(wanted, _)| std::mem::discriminant(wanted) == std::mem::discriminant(&figure));
        let (wanted, verdict) = match target {
            Some((_, most)) if ratio <= *most => (format!("≤ 1/{:.0}", 1.0 / most), "met"),
            Some((_, most)) => {
                missed += 1;
                (format!("≤ 1/{:.0}", 1.0 / most), "MISSED")
            }
            None => (String::new(), ""),
        };
        let limit = if matches!(figure, Figure::Cpu) { format!("{:.4}", row.limit) } else { String::new() };
        println!(
            "| {} | {label} | {sops:.3} | {bulla:.4} | 1/{:.1} | {wanted} | {verdict} | {limit} |",
            row.name,
            1.0 / ratio
        );
    }
    missed
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(ToOwned::to_owned).context("a path of UTF-8")
}
