//! All that is logged in this process, at every level, by every crate.

use std::fmt::{Debug, Write};
use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

static WRITTEN: Mutex<String> = Mutex::new(String::new());

/// Writes it down.
pub struct Log;

/// What was written.
pub fn written() -> Vec<u8> {
    WRITTEN.lock().unwrap().clone().into_bytes()
}

struct Fields;

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Formatted before the lock is taken: that may log, too.
        let line = format!("{field}={value:?} ");
        WRITTEN.lock().unwrap().push_str(&line);
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Fields);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Fields);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let _ = write!(WRITTEN.lock().unwrap(), "\n{} ", event.metadata().target());
        event.record(&mut Fields);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
