//! A value of a TOML file as JSON: tables in the order of the file, numbers by their value.

use super::super::error::ConfigError;
use super::reader::{Entry, Reader};
use toml::de::DeValue;

impl Reader {
    /// The value of `entry`, spelled as JSON.
    pub(super) fn json(&mut self, entry: &Entry<'_>) -> Result<String, ConfigError> {
        let mut json = String::new();
        self.put_json(entry, &mut json)?;
        Ok(json)
    }

    /// The parser has bounded how deep a value is.
    fn put_json(&mut self, whole: &Entry<'_>, json: &mut String) -> Result<(), ConfigError> {
        match whole.value {
            DeValue::String(text) => put_text(json, text),
            DeValue::Boolean(value) => json.push_str(if *value { "true" } else { "false" }),
            DeValue::Integer(number) => {
                let value = i64::from_str_radix(number.as_str(), number.radix());
                let value = value.map_err(|_| {
                    let problem = format!("{number} has more than 64 bits");
                    self.places.complain(&whole.path, problem)
                })?;
                json.push_str(&value.to_string());
            }
            DeValue::Float(number) => {
                let value = number.as_str().parse().ok();
                let Some(value) = value.and_then(serde_json::Number::from_f64) else {
                    let problem = format!("{number} is no number in JSON");
                    return Err(self.places.complain(&whole.path, problem));
                };
                json.push_str(&value.to_string());
            }
            DeValue::Datetime(_) => {
                return Err(self.wrong_type(whole, "must be what JSON has, a string for one"));
            }
            DeValue::Array(_) => {
                json.push('[');
                for (index, element) in self.array(whole, "is one")?.iter().enumerate() {
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
        Ok(())
    }
}

fn put_text(json: &mut String, text: &str) {
    let quoted = serde_json::to_string(text);
    json.push_str(&quoted.expect("every text is JSON"));
}
