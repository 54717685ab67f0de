//! When a device says that it has measured.

use serde_json::Value as Json;

use crate::driver::json;
use crate::driver::plan::TimePlan;
use crate::spec::instrument::TimeForm;

/// Milliseconds since 1970 by the device's clock; `None` where the message does not say, or says
/// something else: the time of arrival stands then.
pub(super) fn device_ms(plan: &TimePlan, payload: &[u8]) -> Option<i64> {
    let message: Json = serde_json::from_slice(payload).ok()?;
    let said = json::at(&message, &plan.path)?;
    match plan.form {
        TimeForm::Seconds => whole(said.as_f64()? * 1_000.0),
        TimeForm::Milliseconds => whole(said.as_f64()?),
        TimeForm::Rfc3339 => {
            said.as_str()?.parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond())
        }
    }
}

fn whole(ms: f64) -> Option<i64> {
    // Further off than any date that a clock shows, an `i64` would be a guess.
    (ms.is_finite() && ms.abs() < 9e15).then_some(ms as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(form: TimeForm, payload: &str) -> Option<i64> {
        let plan = TimePlan { path: "params.ts".to_owned(), form };
        device_ms(&plan, payload.as_bytes())
    }

    #[test]
    fn each_form_is_read_and_anything_else_is_no_time() {
        let seconds = r#"{"params": {"ts": 1626935739.79}}"#;
        assert_eq!(said(TimeForm::Seconds, seconds), Some(1_626_935_739_790));
        assert_eq!(said(TimeForm::Milliseconds, seconds), Some(1_626_935_739));
        let text = r#"{"params": {"ts": "2021-07-22T06:35:39.790Z"}}"#;
        assert_eq!(said(TimeForm::Rfc3339, text), Some(1_626_935_739_790));
        assert_eq!(said(TimeForm::Seconds, text), None);
        for wrong in
            ["", "{", "{}", "7", r#"{"params": {"ts": null}}"#, r#"{"params":{"ts":1e300}}"#]
        {
            for form in [TimeForm::Seconds, TimeForm::Milliseconds, TimeForm::Rfc3339] {
                assert_eq!(said(form, wrong), None, "{wrong}");
            }
        }
    }
}
