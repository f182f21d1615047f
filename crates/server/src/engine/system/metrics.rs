//! `sys/metrics`.

use super::System;
use crate::core::Core;
use crate::core::metrics::MEDIA_TYPE;
use crate::logical::{Call, Field, Kind, Response, Result};

pub const FORMAT: &[Field] = &[Field::new("format", Kind::Text, "`prometheus`; none: JSON.")];

pub async fn read(system: &System, call: &Call<'_>) -> Result<Response> {
    let core = system.open()?.core()?;
    Ok(answer(&core, &call.input.text("format")?.unwrap_or_default()))
}

/// All that is counted, in the form that is asked for.
pub fn answer(core: &Core, format: &str) -> Response {
    match format {
        "prometheus" => Response { raw: Some((MEDIA_TYPE, core.render_metrics().into_bytes())), ..Response::default() },
        "" => {
            let body = bulla_core::json::object_to_vec(&core.metrics_object());
            Response { raw: Some(("application/json", body)), ..Response::default() }
        }
        other => {
            let text = format!("metric response format {other:?} unknown");
            Response { raw: Some((MEDIA_TYPE, text.into_bytes())), ..Response::default() }.with_status(400)
        }
    }
}
