//! What entries name beside themselves: documents and files. Each must be there and be what it was.

use std::collections::BTreeSet;

use super::bulk;
use super::entries::{Fact, ManualRecord, PAGE};
use crate::engine::campaign::CampaignRecord;
use crate::engine::core::Record;
use crate::store::{Finding, Journal, JournalError, StoredEntry};

/// What was found of the documents and files that entries name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Named {
    /// Files that were looked at.
    pub files: u64,
    /// What is missing or was changed.
    pub findings: Vec<Finding>,
}

/// Looks at every document and every file that an entry names; of a damaged journal, that those
/// name that can be read.
pub fn verify_named(journal: &Journal) -> Result<Named, JournalError> {
    let mut named = Named::default();
    let mut seen = BTreeSet::new();
    let mut after = 0;
    loop {
        let (entries, last) = match journal.read(after, PAGE) {
            Ok(entries) => {
                let last = entries.last().map_or(after, |last| last.seq);
                (entries, last)
            }
            Err(JournalError::Broken { .. }) => {
                let partly = journal.read_what_can_be(after, PAGE)?;
                (partly.entries, partly.last)
            }
            Err(error) => return Err(error),
        };
        if last == after {
            return Ok(named);
        }
        after = last;
        for entry in &entries {
            match Fact::read(entry) {
                Ok(fact) => named.take(journal, entry, fact, &mut seen),
                Err(error) => named.add("unreadable", entry, error.to_string()),
            }
        }
    }
}

impl Named {
    fn add(&mut self, what: &'static str, entry: &StoredEntry, detail: String) {
        self.findings.push(Finding {
            what,
            seq: Some(entry.seq),
            subject: entry.subject.clone(),
            kind: entry.kind.clone(),
            detail,
        });
    }

    fn take(
        &mut self,
        journal: &Journal,
        entry: &StoredEntry,
        fact: Fact,
        seen: &mut BTreeSet<String>,
    ) {
        if let Some(hash) = document_of(&fact)
            && !hash.is_empty()
            && seen.insert(hash.to_owned())
        {
            match journal.document(hash) {
                Ok(Some(_)) => {}
                Ok(None) => {
                    let detail = format!("entry {}: document {hash} is missing", entry.seq);
                    self.add("document", entry, detail);
                }
                Err(error) => self.add("document", entry, format!("entry {}: {error}", entry.seq)),
            }
        }
        let Fact::Run(mut record) = fact else { return };
        for filed in bulk::filed(&mut record) {
            if !seen.insert(filed.sha256.clone()) {
                continue;
            }
            self.files += 1;
            if let Err(error) = bulk::read(journal.files(), &filed) {
                self.add("file", entry, format!("entry {}: {error}", entry.seq));
            }
        }
    }
}

fn document_of(fact: &Fact) -> Option<&str> {
    match fact {
        Fact::Run(Record::RunStarted { document, .. }) => Some(document),
        Fact::Campaign(_, CampaignRecord::Started { bundle, .. }) => Some(bundle),
        Fact::Manual(ManualRecord::Intent { bundle, .. }) => Some(bundle),
        Fact::Run(_) | Fact::Campaign(..) | Fact::Manual(_) => None,
        Fact::Engine(_) | Fact::Basis(_) | Fact::Journal(_) => None,
    }
}
