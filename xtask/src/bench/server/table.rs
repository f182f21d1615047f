//! The table.

use super::floor::Floor;
use super::load::Sample;
use super::program::Store;
use super::{Figures, Grown};

/// Prints it.
pub fn print(floor: &Floor, measured: &[(Store, Option<Figures>, Figures)], leases: usize) {
    println!(
        "OpenBao 2.7.2 against bulla, one machine, one run, one node each, audit file on; the client runs beside them; MB are 10^6 bytes\n"
    );
    println!(
        "An HTTP server that answers a constant: {:.0} requests for a second of processor time, one at a time; {:.0} at 32 connections. fsync of 4 KB: {:.2} ms.\n",
        floor.one, floor.many, floor.fsync
    );
    println!("| work | figure | OpenBao | bulla | ratio | target | |");
    println!("|---|---|---|---|---|---|---|");
    let missed: usize =
        measured.iter().map(|(store, theirs, ours)| print_store(*store, theirs.as_ref(), ours, leases)).sum();
    println!("\n{missed} targets missed");
}

fn print_store(store: Store, theirs: Option<&Figures>, ours: &Figures, leases: usize) -> usize {
    let mut missed = 0;
    for (index, one) in ours.samples.iter().enumerate() {
        let tls = if one.tls { ", TLS" } else { "" };
        let work = format!("{}, {} at once{tls}{}", one.work.name(), one.at_once, store.suffix());
        let their = theirs.map(|theirs| &theirs.samples[index].sample);
        let wanted = if one.work.is_read() { 10.0 } else { 5.0 };
        let (sample, more) = (&one.sample, Some((Better::More, wanted)));
        missed += line(&work, "requests a CPU second", their.map(Sample::each), sample.each(), more);
        missed +=
            line(&work, "requests a second", their.map(|sample| sample.rate), sample.rate, Some((Better::More, 0.0)));
        missed += line(&work, "p50 ms", their.map(|sample| sample.p50), sample.p50, None);
        let wanted = (one.at_once > 1).then_some((Better::Less, 5.0));
        missed += line(&work, "p99 ms", their.map(|sample| sample.p99), sample.p99, wanted);
    }
    let less = |wanted| Some((Better::Less, wanted));
    let of = |what: &str| format!("{what}{}", store.suffix());
    missed += line(&of("idle"), "MB", theirs.map(|theirs| theirs.idle), ours.idle, less(8.0));
    missed += line(&of("under load"), "MB", theirs.map(|theirs| theirs.loaded), ours.loaded, less(8.0));
    if let Some(grown) = &ours.grown {
        missed += print_grown(theirs.and_then(|theirs| theirs.grown.as_ref()), grown, leases);
    }
    missed
}

fn print_grown(theirs: Option<&Grown>, ours: &Grown, leases: usize) -> usize {
    let (mut missed, less) = (0, |wanted| Some((Better::Less, wanted)));
    let leases = format!("{leases} leases");
    missed += line(&leases, "MB", theirs.map(|theirs| theirs.leased), ours.leased, less(8.0));
    missed += line(&leases, "s from start to serving", theirs.map(|theirs| theirs.start), ours.start, less(10.0));
    missed += line("program", "MB", theirs.map(|theirs| theirs.binary), ours.binary, less(5.0));
    for (index, entries) in ours.by_entries.iter().enumerate() {
        let their = theirs.map(|theirs| &theirs.by_entries[index]);
        let work = format!("{} entries", entries.count);
        missed += line(&work, "read, p99 ms", their.map(|their| their.p99), entries.p99, None);
        missed += line(&work, "MB", their.map(|their| their.resident), entries.resident, None);
        for (at, how) in ["stopped", "killed"].into_iter().enumerate() {
            let figure = format!("s from start to serving, {how} before");
            missed += line(&work, &figure, their.map(|their| their.starts[at]), entries.starts[at], None);
        }
    }
    if let (Some(first), Some(last)) = (ours.by_entries.first(), ours.by_entries.last()) {
        let (growth, fits) = (last.p99 / first.p99, last.p99 / first.p99 <= 2.0);
        missed += usize::from(!fits);
        println!(
            "| from {} to {} entries | read, p99 | | {growth:.2}× | | ≤ 2× | {} |",
            first.count,
            last.count,
            verdict(fits)
        );
    }
    missed
}

/// Which way a figure is to go.
#[derive(Clone, Copy)]
enum Better {
    More,
    Less,
}

/// Prints one line. How many targets it misses.
fn line(work: &str, figure: &str, theirs: Option<f64>, ours: f64, target: Option<(Better, f64)>) -> usize {
    let Some(theirs) = theirs else {
        println!("| {work} | {figure} | | {ours:.3} | | | |");
        return 0;
    };
    let (ratio, wanted, fits) = match target {
        Some((Better::More, wanted)) => {
            let said = if wanted > 0.0 { format!("≥ {wanted:.0}×") } else { String::new() };
            (format!("{:.1}×", ours / theirs), said, ours >= wanted * theirs)
        }
        Some((Better::Less, wanted)) => {
            (format!("1/{:.1}", theirs / ours), format!("≤ 1/{wanted:.0}"), ours * wanted <= theirs)
        }
        None => (format!("1/{:.1}", theirs / ours), String::new(), true),
    };
    let said = if wanted.is_empty() { "" } else { verdict(fits) };
    println!("| {work} | {figure} | {theirs:.3} | {ours:.3} | {ratio} | {wanted} | {said} |");
    usize::from(!fits)
}

fn verdict(fits: bool) -> &'static str {
    if fits { "met" } else { "MISSED" }
}
