//! A value of a TOML file as JSON: tables in the order of the file, numbers by their value.

use toml::de::DeValue;

use super::read::{Entry, Reader};

impl Reader {
    /// Returns the value as JSON, or records which part of it JSON cannot express.
    pub(super) fn json(&mut self, entry: &Entry<'_>) -> Option<String> {
        let mut json = String::new();
        let is_json = self.put_json(entry, &mut json);
        is_json.then_some(json)
    }

    /// Appends the value, and returns whether JSON can express it. The parser limits the depth.
    fn put_json(&mut self, whole: &Entry<'_>, json: &mut String) -> bool {
        match whole.value {
            DeValue::String(text) => put_text(json, text),
            DeValue::Boolean(value) => json.push_str(if *value { "true" } else { "false" }),
            DeValue::Integer(number) => {
                let value = i64::from_str_radix(number.as_str(), number.radix());
                let value = value.map_err(|_| format!("{number} has more than 64 bits"));
                let Some(value) = self.ok(whole, value) else {
                    return false;
                };
                json.push_str(&value.to_string());
            }
            DeValue::Float(number) => {
                let value = number.as_str().parse().ok();
                let value = value.and_then(serde_json::Number::from_f64);
                let value = value.ok_or_else(|| format!("{number} is no number in JSON"));
                let Some(value) = self.ok(whole, value) else {
                    return false;
                };
                json.push_str(&value.to_string());
            }
            DeValue::Datetime(_) => {
                self.wrong_type(whole, "must be a value that JSON has, such as a string");
                return false;
            }
            DeValue::Array(_) => {
                let mut is_json = true;
                json.push('[');
                for (index, element) in self.list(whole, "").iter().flatten().enumerate() {
                    if index > 0 {
                        json.push(',');
                    }
                    is_json &= self.put_json(element, json);
                }
                json.push(']');
                return is_json;
            }
            DeValue::Table(table) => {
                let mut is_json = true;
                json.push('{');
                for (index, entry) in self.entries(&whole.path, table).iter().enumerate() {
                    if index > 0 {
                        json.push(',');
                    }
                    put_text(json, entry.key);
                    json.push(':');
                    is_json &= self.put_json(entry, json);
                }
                json.push('}');
                return is_json;
            }
        }
        true
    }
}

fn put_text(json: &mut String, text: &str) {
    let quoted = serde_json::to_string(text);
    json.push_str(&quoted.expect("every text is JSON"));
}
