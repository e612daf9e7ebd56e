//! A list of received messages: what each asks and by when, without the person.

use super::banner::{Ask, Banner};
use super::frame::Frame;
use super::html::Html;
use super::{NotShown, entries_of, open, when};
use crate::fhir::Document;

/// What the list says of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its id, which the link to it ends with.
    pub id: uuid::Uuid,
    /// What it asks; `None` for one that cannot be shown.
    pub asks: Option<Asks>,
}

/// What a message asks, by when, and when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asks {
    what: String,
    priority: String,
    by: String,
    written: String,
}

/// The row of a received Bundle.
///
/// # Errors
/// [`NotShown`].
pub fn row(id: uuid::Uuid, bundle: &Document) -> Result<Row, NotShown> {
    let entries = entries_of(bundle)?;
    let frame = Frame::of(&entries, bundle.root());
    let banner = Banner::of(&frame);
    let asked = banner.asks.iter().flat_map(Ask::in_words);
    let what: String =
        [banner.kind.clone()].into_iter().chain(asked).collect::<Vec<_>>().join(": ").chars().take(200).collect();
    let short = |text: String| text.chars().take(80).collect::<String>();
    let written = bundle.root().text_of("timestamp").map(|at| when::in_words(&at).into_owned());
    let no_time =
        || if banner.asks.iter().any(|ask| ask.is_time_withheld) { "withheld".to_owned() } else { String::new() };
    let asks = Asks {
        what,
        priority: short(banner.priority().map(|priority| priority.words.clone()).unwrap_or_default()),
        by: short(frame.first_time().unwrap_or_else(no_time)),
        written: short(written.unwrap_or_default()),
    };
    Ok(Row { id, asks: Some(asks) })
}

/// The page of the list, with links to `/inbox/{id}`; `more` messages are older.
pub fn list(rows: &[Row], more: usize) -> String {
    let mut html = Html::default();
    open(&mut html, "Received messages");
    html.raw("<main><h1>Received messages</h1><p>The latest first. Times are UK time.</p>");
    html.raw("<table><thead><tr><th scope=\"col\">Message</th><th scope=\"col\">Priority</th><th scope=\"col\">Respond by</th><th scope=\"col\">Written</th></tr></thead><tbody>");
    for row in rows {
        html.raw("<tr><td><a href=\"/inbox/");
        html.text(&row.id.to_string());
        html.raw("\">");
        match &row.asks {
            None => html.wrapped("", &row.id.to_string(), "</a> cannot be shown</td><td></td><td></td><td></td></tr>"),
            Some(asks) => {
                html.wrapped("", &asks.what, "</a></td>");
                for cell in [&asks.priority, &asks.by, &asks.written] {
                    html.wrapped("<td>", cell, "</td>");
                }
                html.raw("</tr>");
            }
        }
    }
    html.raw("</tbody></table>");
    if rows.is_empty() {
        html.raw("<p>Nothing was received yet.</p>");
    }
    if more > 0 {
        html.raw("<p>Older messages that are not listed: ");
        html.number(more);
        html.raw("</p>");
    }
    html.raw("</main></body></html>\n");
    html.finish()
}
