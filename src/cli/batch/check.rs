//! A dry run: each row against the logical model, here, and nothing is sent.

use std::fs::File;

use serde_json::{Value, json};

use super::progress::Progress;
use super::report::{Report, Tally};
use super::{Batch, issue_line};
use crate::config::Site;
use crate::fhir::Document;
use crate::fhir::outcome::Issue;
use crate::intake::{Header, Row, Rows};

/// Checks every row.
pub(super) fn check_all(
    mut rows: Rows<File>,
    batch: &Batch,
    site: &Site,
    report: &mut Report,
    progress: &mut Progress,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let header = rows.header().clone();
    while let Some(numbered) = rows.next_row()? {
        let issues = match &numbered.row {
            Ok(row) => faults(row, &header, batch, site),
            Err(fault) => vec![json!({ "text": fault.to_string(), "hint": fault.hint() })],
        };
        let mut line = json!({ "row": numbered.number, "line": numbered.line });
        if issues.is_empty() {
            line["outcome"] = "fits".into();
            tally.done += 1;
        } else {
            line["outcome"] = "does-not-fit".into();
            line["issues"] = issues.into();
            tally.failed += 1;
        }
        report.write(&line)?;
        progress.show(&tally);
    }
    Ok(tally)
}

fn faults(row: &Row, header: &Header, batch: &Batch, site: &Site) -> Vec<Value> {
    let stages = site.stages();
    let record = match Document::parse(row.json.as_str(), &stages.limits) {
        Ok(record) => record,
        Err(error) => {
            return vec![issue_line(header, row, Some(error.path.as_str()), &error.to_string(), error.hint())];
        }
    };
    let issues = stages.validator.check_record(&record, &batch.interface.record);
    let line = |issue: &Issue| {
        issue_line(header, row, issue.path.as_ref().map(|path| path.as_str()), &issue.text, &issue.hint)
    };
    issues.iter().filter(|issue| issue.is_error()).map(line).collect()
}
