//! The self-contained HTML page of a report.

use super::{Report, Row, Table};

/// Renders the page.
pub(super) fn render(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <title>{0}</title>\n<style>{STYLE}</style></head><body>\n<h1>{0}</h1>\n",
        escaped(&report.title)
    );
    for error in &report.errors {
        page.push_str(&paragraph("error", "Error", error));
    }
    for warning in &report.warnings {
        page.push_str(&paragraph("warning", "Warning", warning));
    }
    page.push_str(&rows(&report.rows));
    for table in &report.tables {
        page.push_str(&render_table(table));
    }
    for chart in &report.charts {
        let drawn = format!("<h2>{}</h2>\n{}", escaped(&chart.title), chart.svg());
        page.push_str(&drawn);
    }
    page.push_str("<h2>To reproduce</h2>\n");
    let own = [
        ("command", &report.command),
        ("version", &report.version),
        ("machine", &report.machine),
        ("date", &report.date),
    ];
    let own: Vec<Row> = own
        .into_iter()
        .map(|(label, text)| Row {
            label: label.to_owned(),
            text: text.clone(),
        })
        .collect();
    page.push_str(&rows(&own));
    page.push_str("</body></html>\n");
    page
}

fn paragraph(class: &str, name: &str, text: &str) -> String {
    format!("<p class=\"{class}\">{name}: {}</p>\n", escaped(text))
}

fn rows(rows: &[Row]) -> String {
    let mut html = String::from("<table class=\"rows\">\n");
    for Row { label, text } in rows {
        let (label, text) = (escaped(label), escaped(text));
        for part in ["<tr><th>", &label, "</th><td>", &text, "</td></tr>\n"] {
            html.push_str(part);
        }
    }
    html.push_str("</table>\n");
    html
}

fn render_table(table: &Table) -> String {
    let cells = |cells: &[String], tag: &str| -> String {
        let cells = cells
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let rows: String = table.rows.iter().map(|row| cells(row, "td")).collect();
    format!(
        "<h2>{}</h2>\n<table>\n{}{rows}</table>\n",
        escaped(&table.title),
        cells(&table.heads, "th")
    )
}

/// Escapes `text` for HTML elements and quoted attributes.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:80em;margin:2em auto;\
    padding:0 1em;color:#222}h1{font-size:1.4em}h2{font-size:1.1em;margin-top:2em}\
    table{border-collapse:collapse;font-size:.87em}td,th{padding:.2em .7em .2em 0;text-align:left;\
    vertical-align:top;border-bottom:1px solid #ddd;font-variant-numeric:tabular-nums;\
    white-space:nowrap}.rows td{white-space:normal}\
    .rows th{font-weight:normal;color:#666;white-space:nowrap}\
    .error{background:#fdd;padding:.4em}.warning{background:#ffd;padding:.4em}\
    svg{width:100%;height:auto}svg text{font-size:11px;fill:#444}.grid{stroke:#e4e4e4}";
