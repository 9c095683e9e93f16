//! A value of a TOML file as JSON: tables in the order of the file, numbers by their value.

use toml::de::DeValue;

use super::read::{Entry, Reader};

impl Reader {
    /// Returns the value as JSON, or records which part of it JSON cannot express.
    pub(super) fn json(&mut self, entry: &Entry<'_>) -> Option<String> {
        let mut json = String::new();
        self.put_json(entry, &mut json)?;
        Some(json)
    }

    /// The parser bounds the depth of the recursion.
    fn put_json(&mut self, whole: &Entry<'_>, json: &mut String) -> Option<()> {
        match whole.value {
            DeValue::String(text) => put_text(json, text),
            DeValue::Boolean(value) => json.push_str(if *value { "true" } else { "false" }),
            DeValue::Integer(number) => {
                let value = i64::from_str_radix(number.as_str(), number.radix());
                let value = value.map_err(|_| format!("{number} has more than 64 bits"));
                json.push_str(&self.ok(whole, value)?.to_string());
            }
            DeValue::Float(number) => {
                let value = number.as_str().parse().ok();
                let value = value.and_then(serde_json::Number::from_f64);
                let value = value.ok_or_else(|| format!("{number} is no number in JSON"));
                json.push_str(&self.ok(whole, value)?.to_string());
            }
            DeValue::Datetime(_) => {
                self.wrong_type(whole, "must be a value that JSON has, such as a string");
                return None;
            }
            DeValue::Array(_) => {
                json.push('[');
                for (index, element) in self.list(whole, "is one")?.iter().enumerate() {
                    if index > 0 {
                        json.push(',');
                    }
                    self.put_json(element, json)?;
                }
                json.push(']');
            }
            DeValue::Table(table) => {
                json.push('{');
                for (index, entry) in self.entries(&whole.path, table).iter().enumerate() {
                    if index > 0 {
                        json.push(',');
                    }
                    put_text(json, entry.key);
                    json.push(':');
                    self.put_json(entry, json)?;
                }
                json.push('}');
            }
        }
        Some(())
    }
}

fn put_text(json: &mut String, text: &str) {
    let quoted = serde_json::to_string(text);
    json.push_str(&quoted.expect("every text is JSON"));
}
