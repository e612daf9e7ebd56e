//! `weir agreement guide`: the staff guide "what we share and when".

use std::collections::HashMap;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cli::Answer;
use crate::cli::output::Output;
use crate::cli::site::SiteOption;
use crate::config::site_definitions;
use crate::disclosure::{Part, guide};
use crate::fhir::Document;
use crate::identity::AgreementId;

/// Writes what is shared with whom and when, in plain words for staff: one page an agreement. With --format json the
/// pages come as data.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir agreement guide demo-trust-crisis --site site/gateway --page html > guide.html"
)]
pub(in crate::cli) struct Arguments {
    /// The agreement's id; without it, all of the site
    #[arg(value_name = "ID")]
    agreement: Option<AgreementId>,
    #[command(flatten)]
    site: SiteOption,
    /// How to write the page
    #[arg(long = "page", value_enum, default_value = "md")]
    page: PageFormat,
}

/// How a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PageFormat {
    /// Markdown.
    Md,
    /// One HTML page.
    Html,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    let site = arguments.site.load()?;
    let agreements = site.stages().agreements.iter();
    let chosen: Vec<_> =
        agreements.filter(|each| arguments.agreement.as_ref().is_none_or(|id| each.id() == id)).collect();
    if chosen.is_empty() {
        let id = arguments.agreement.as_ref().map(ToString::to_string).unwrap_or_default();
        anyhow::bail!("the site has no agreement {id}; agreements/ lists them");
    }
    let known = shorts_of(&site_definitions(&arguments.site.site, &[])?);
    let shorts = |profile: &str, path: &str| known.get(&(profile.to_owned(), path.to_owned())).cloned();
    let pages: Vec<(String, Vec<Part>)> =
        chosen.iter().map(|each| (each.id().to_string(), guide(each, &shorts))).collect();
    let text = match arguments.page {
        PageFormat::Md => pages.iter().map(|(_, page)| markdown(page)).collect::<Vec<_>>().join("\n"),
        PageFormat::Html => html(&pages),
    };
    output.line(text.trim_end());
    let row = |(id, page): &(String, Vec<Part>)| json!({ "agreement": id, "parts": parts(page) });
    output.json(&Value::Array(pages.iter().map(row).collect()));
    Ok(Answer::Yes)
}

/// What profiles call their elements, by the profile's canonical URL and the element's path.
fn shorts_of(definitions: &[Document]) -> HashMap<(String, String), String> {
    let mut shorts = HashMap::new();
    for definition in definitions.iter().map(Document::root) {
        let url = definition.text_of("url").unwrap_or_default();
        let elements = definition.member("differential").and_then(|differential| differential.member("element"));
        for element in elements.into_iter().flat_map(|list| list.items()) {
            if let (Some(id), Some(short)) = (element.text_of("id"), element.text_of("short")) {
                shorts.insert((url.to_string(), id.into_owned()), short.into_owned());
            }
        }
    }
    shorts
}

fn markdown(page: &[Part]) -> String {
    let part = |part: &Part| match part {
        Part::Heading(level, text) => format!("{} {text}\n", "#".repeat((*level).into())),
        Part::Words(text) => format!("{text}\n"),
        Part::List(items) => items.iter().map(|item| format!("- {item}\n")).collect(),
    };
    page.iter().map(part).collect::<Vec<_>>().join("\n")
}

fn html(pages: &[(String, Vec<Part>)]) -> String {
    let mut out = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>What we share, and when</title>\n\
         <style>body{font-family:sans-serif;line-height:1.5;max-width:46rem;margin:2rem auto;padding:0 1rem}</style>\n\
         </head>\n<body>\n",
    );
    for part in pages.iter().flat_map(|(_, page)| page) {
        match part {
            Part::Heading(level, text) => out.push_str(&format!("<h{level}>{}</h{level}>\n", escaped(text))),
            Part::Words(text) => out.push_str(&format!("<p>{}</p>\n", escaped(text))),
            Part::List(items) => {
                out.push_str("<ul>\n");
                items.iter().for_each(|item| out.push_str(&format!("<li>{}</li>\n", escaped(item))));
                out.push_str("</ul>\n");
            }
        }
    }
    out.push_str("</body>\n</html>");
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn parts(page: &[Part]) -> Vec<Value> {
    let part = |part: &Part| match part {
        Part::Heading(level, text) => json!({ "heading": text, "level": level }),
        Part::Words(text) => json!({ "words": text }),
        Part::List(items) => json!({ "list": items }),
    };
    page.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_an_agreement_cannot_become_markup() {
        let page = vec![Part::Heading(1, "a < b".to_owned()), Part::List(vec!["<script>".to_owned()])];
        let text = html(&[("a".to_owned(), page.clone())]);
        assert!(text.contains("<h1>a &lt; b</h1>") && text.contains("<li>&lt;script&gt;</li>"), "{text}");
        assert_eq!(markdown(&page), "# a < b\n\n- <script>\n");
    }
}
