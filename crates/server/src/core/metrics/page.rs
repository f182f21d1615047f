//! What is counted, as Prometheus reads it, and as JSON in the peer's form.
//!
//! Names have dots; Prometheus gets underscores in their place. The peer's JSON is of the last ten seconds; this is of all the time since the start.

use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::Timing;
use crate::json::{Object, Value};

/// All that is counted.
#[derive(Default)]
pub(super) struct Page(Vec<Family>);

struct Family {
    name: String,
    kind: &'static str,
    samples: Vec<Sample>,
    /// Of a summary, in milliseconds.
    spread: Spread,
}

/// How far times are from each other.
#[derive(Clone, Copy, Default)]
struct Spread {
    least: f64,
    most: f64,
    deviation: f64,
}

impl Spread {
    /// Nothing but zeros of what was never done.
    fn of(timing: &Timing) -> Self {
        let count = timing.count.load(Ordering::Relaxed);
        if count == 0 {
            return Self::default();
        }
        let millis = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Ordering::Relaxed)).as_secs_f64() * 1000.0;
        let (sum, squares) = (millis(&timing.nanos), f64::from_bits(timing.squares.load(Ordering::Relaxed)) * 1e6);
        #[expect(clippy::cast_precision_loss, reason = "a count of what a server does in its time")]
        let count = count as f64;
        // As the peer has it: of a sample. Others may count meanwhile: it is never less than nothing.
        let variance = if count > 1.0 { (squares - sum * sum / count).max(0.0) / (count - 1.0) } else { 0.0 };
        Self { least: millis(&timing.least), most: millis(&timing.most), deviation: variance.sqrt() }
    }
}

struct Sample {
    suffix: &'static str,
    labels: Vec<(String, String)>,
    value: String,
}

impl Page {
    pub(super) fn family(&mut self, name: &str, kind: &'static str) {
        self.0.push(Family { name: name.to_owned(), kind, samples: Vec::new(), spread: Spread::default() });
    }

    /// A sample of the family that was begun last.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.part("", labels, value);
    }

    fn part(&mut self, suffix: &'static str, labels: &[(&str, &str)], value: impl Display) {
        let labels = labels.iter().map(|(label, text)| ((*label).to_owned(), (*text).to_owned())).collect();
        if let Some(family) = self.0.last_mut() {
            family.samples.push(Sample { suffix, labels, value: value.to_string() });
        }
    }

    pub(super) fn gauge(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.family(name, "gauge");
        self.sample(labels, value);
    }

    pub(super) fn timing(&mut self, name: &str, timing: &Timing) {
        self.family(name, "summary");
        let nanos = Duration::from_nanos(timing.nanos.load(Ordering::Relaxed));
        self.part("_sum", &[], nanos.as_secs_f64() * 1000.0);
        self.part("_count", &[], timing.count.load(Ordering::Relaxed));
        if let Some(family) = self.0.last_mut() {
            family.spread = Spread::of(timing);
        }
    }

    /// As Prometheus reads it.
    pub(super) fn text(&self) -> String {
        let mut page = String::new();
        for Family { name, kind, samples, .. } in &self.0 {
            let name = name.replace('.', "_");
            let _ = writeln!(page, "# HELP {name} {name}\n# TYPE {name} {kind}");
            for Sample { suffix, labels, value } in samples {
                let _ = write!(page, "{name}{suffix}");
                for (at, (label, text)) in labels.iter().enumerate() {
                    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                    let _ = write!(page, "{}{label}=\"{text}\"", if at == 0 { '{' } else { ',' });
                }
                let _ = writeln!(page, "{} {value}", if labels.is_empty() { "" } else { "}" });
            }
        }
        page
    }

    /// As an object. What is about the process alone is left out, as there.
    pub(super) fn object(&self, started: SystemTime) -> Object {
        let seconds = started.elapsed().unwrap_or_default().as_secs_f64().max(1.0);
        let (mut gauges, mut counters, mut timings) = (Vec::new(), Vec::new(), Vec::new());
        for Family { name, kind, samples, spread } in
            self.0.iter().filter(|family| !family.name.starts_with("process_"))
        {
            let number = |value: f64| Value::Number(value.to_string().into());
            let plain = |sample: &Sample| Value::Number(sample.value.as_str().into());
            match *kind {
                "summary" => {
                    let part = |suffix| samples.iter().find(|sample| sample.suffix == suffix);
                    let of = |suffix| part(suffix).and_then(|sample| sample.value.parse().ok()).unwrap_or(0.0);
                    let (sum, count): (f64, f64) = (of("_sum"), of("_count"));
                    timings.push(object! {
                        "Name": name.as_str(),
                        "Count": part("_count").map_or(Value::Null, plain),
                        "Sum": number(sum),
                        "Min": number(spread.least),
                        "Max": number(spread.most),
                        "Mean": number(if count > 0.0 { sum / count } else { 0.0 }),
                        "Stddev": number(spread.deviation),
                        "Rate": number(sum / seconds),
                        "Labels": Object::new(),
                    });
                }
                "counter" => {
                    for sample in samples {
                        let total = sample.value.parse::<f64>().unwrap_or(0.0);
                        // One at a time.
                        let each = u64::from(total > 0.0);
                        counters.push(object! {
                            "Name": name.as_str(),
                            "Count": plain(sample),
                            "Sum": plain(sample),
                            "Min": each,
                            "Max": each,
                            "Mean": each,
                            "Stddev": 0,
                            "Rate": number(total / seconds),
                            "Labels": labels(sample),
                        });
                    }
                }
                _ => {
                    for sample in samples {
                        gauges.push(object! {
                            "Name": name.as_str(),
                            "Value": plain(sample),
                            "Labels": labels(sample),
                        });
                    }
                }
            }
        }
        let list = |all: Vec<Object>| Value::Array(all.into_iter().map(Value::from).collect());
        object! {
            "Timestamp": jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
            "Gauges": list(gauges),
            "Points": Value::Array(Vec::new()),
            "Counters": list(counters),
            "Samples": list(timings),
        }
    }
}

fn labels(sample: &Sample) -> Object {
    sample.labels.iter().map(|(label, text)| (label.clone(), Value::from(text.as_str()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_times_are_milliseconds() {
        let (mut page, timing) = (Page::default(), Timing::default());
        page.gauge("a.b_c", &[("b", "x\"y\\z"), ("c", "")], 1);
        timing.nanos.store(2_500_000, Ordering::Relaxed);
        timing.count.store(2, Ordering::Relaxed);
        page.timing("t", &timing);
        let text = "# HELP a_b_c a_b_c\n# TYPE a_b_c gauge\na_b_c{b=\"x\\\"y\\\\z\",c=\"\"} 1\n# HELP t t\n# TYPE t summary\nt_sum 2.5\nt_count 2\n";
        assert_eq!(page.text(), text);
    }

    #[test]
    fn the_same_is_an_object() {
        let (mut page, timing) = (Page::default(), Timing::default());
        page.gauge("process_open_fds", &[], 9);
        page.gauge("a.b", &[("l", "x\"y")], 1);
        page.family("n", "counter");
        page.sample(&[], u64::MAX);
        page.timing("never", &timing);
        for millis in [1, 2, 6] {
            timing.add(Duration::from_millis(millis));
        }
        page.timing("t", &timing);
        let object = page.object(SystemTime::now() - Duration::from_secs(2));
        let read: serde_json::Value = serde_json::from_slice(&bulla_core::json::object_to_vec(&object)).unwrap();
        assert_eq!(read["Gauges"], serde_json::json!([{ "Name": "a.b", "Value": 1, "Labels": { "l": "x\"y" } }]));
        assert_eq!(read["Counters"][0]["Count"], u64::MAX);
        let counted = |name: &str| read["Counters"][0][name].as_u64().unwrap();
        assert_eq!(["Min", "Max", "Mean", "Stddev"].map(counted), [1, 1, 1, 0]);
        let numbers = |at: usize| {
            ["Count", "Sum", "Min", "Max", "Mean", "Stddev"].map(|name| read["Samples"][at][name].as_f64().unwrap())
        };
        assert!(numbers(0).iter().all(|number| *number == 0.0), "what was never done has no least");
        // Of 1, 2 and 6 the mean is 3, and the squares of what they are away from it are 4, 1 and 9: half of those is 7.
        for (number, expected) in numbers(1).iter().zip([3.0, 9.0, 1.0, 6.0, 3.0, 7.0_f64.sqrt()]) {
            assert!((number - expected).abs() < 1e-6, "{number} is not {expected}");
        }
        assert!(read["Timestamp"].as_str().unwrap().ends_with(" UTC"));
    }
}
