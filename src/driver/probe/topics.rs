//! Topics below a base: listened to, never published on.

use std::collections::BTreeMap;

use tokio::time::{Instant, timeout_at};

use super::{Candidate, Findings, Found, ProbeError, Search};
use crate::driver::plan::{AskPlan, Protocol};
use crate::driver::topics::heard_value;
use crate::expr::Value;
use crate::wire::mqtt::{Event, Message};
use crate::wire::{Dialer, record};

/// Topics that are told apart; a broker can hold any number.
const TOPICS: usize = 1_000;

/// Listens below the base of the address.
pub(super) async fn listen(
    search: &Search,
    candidates: Vec<Candidate>,
    dialer: &Dialer,
    findings: &mut Findings,
) -> Result<(), ProbeError> {
    let unreachable = |error: std::io::Error| ProbeError::Unreachable {
        at: search.at.text.clone(),
        reason: error.to_string(),
    };
    let until = Instant::now() + search.within;
    let password = search.secret.as_ref().map(|secret| secret.0.as_str());
    let id = format!("labloop-probe-{}", std::process::id());
    let mut session =
        record::subscribe(dialer, &search.at, &id, password).await.map_err(unreachable)?;
    let mut heard: BTreeMap<String, Message> = BTreeMap::new();
    while let Ok(event) = timeout_at(until, session.next()).await {
        let Event::Message(message) = event.map_err(unreachable)? else { continue };
        if heard.len() < TOPICS || heard.contains_key(&message.topic) {
            heard.insert(message.topic.clone(), message);
        }
    }
    session.close().await;
    for candidate in &candidates {
        judge(search, candidate, &heard, findings);
    }
    findings.topics = heard.into_keys().collect();
    Ok(())
}

fn judge(
    search: &Search,
    candidate: &Candidate,
    heard: &BTreeMap<String, Message>,
    findings: &mut Findings,
) {
    let plan = &candidate.plan;
    let Protocol::Mqtt(mqtt) = &plan.protocol else { return };
    let alive = mqtt.liveness.as_ref().and_then(|liveness| {
        let said = heard.get(&liveness.topic)?;
        let words = [&liveness.online, &liveness.offline];
        words.into_iter().find(|word| word.as_bytes() == said.payload).cloned()
    });
    let scope = plan.scope();
    let (mut values, mut missing) = (Vec::new(), Vec::new());
    for (name, property) in &plan.properties {
        let Some(AskPlan::Topic { topics, json: path, binary: None, .. }) = &property.ask else {
            continue;
        };
        let value = topics.iter().find_map(|topic| {
            let (topic, _) = topic.render(&|name| scope.look_up(name)).ok()?;
            let value = heard_value(property, &heard.get(&topic)?.payload, path.as_deref())?;
            (!matches!(value, Value::Missing(_))).then_some(value)
        });
        match value {
            Some(value) => values.push((name.clone(), value.show())),
            None => missing.push(name.clone()),
        }
    }
    if values.is_empty() && alive.is_none() {
        return;
    }
    // Several definitions keep their liveness at the same topic; only values tell them apart.
    let certain = !values.is_empty() && missing.is_empty();
    values.extend(alive.map(|word| ("liveness".to_owned(), word)));
    findings.found.push(Found {
        definition: candidate.name().to_owned(),
        at: search.at.text.clone(),
        config: Vec::new(),
        certain,
        values,
        missing,
        alarms: Vec::new(),
        trace: Vec::new(),
    });
}
