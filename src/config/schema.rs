//! The config as a JSON Schema (draft 7, which editors of TOML files understand), made from the
//! rows.

use serde_json::{Map, Value, json};

use super::Config;
use super::key::{Key, Keys as _, Shape};
use crate::vocabulary::limits::Allowed;

/// Returns the text that `campanile config --schema` prints.
///
/// A file that the schema allows may still have errors: those of keys that do not fit each other.
///
/// # Panics
///
/// Never: every row can be expressed.
#[must_use]
pub fn json_schema() -> String {
    let mut schema = table(&Config::keys());
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "Campanile config".into();
    serde_json::to_string_pretty(&schema).expect("it is made of texts and numbers")
}

fn table(keys: &[Key]) -> Value {
    let mut properties = Map::new();
    for key in keys {
        let mut property = of_shape(&key.shape);
        if let Some(none) = key.spec.none {
            property = json!({ "anyOf": [property, { "const": none }] });
        }
        if let Some((min, max)) = key.spec.count {
            let bounds = match property["type"].as_str() {
                Some("array") => ["minItems", "maxItems"],
                _ => ["minProperties", "maxProperties"],
            };
            if property["type"].is_string() {
                property[bounds[0]] = min.into();
                property[bounds[1]] = max.into();
            }
        }
        property["description"] = description(key).into();
        properties.insert(key.name.to_owned(), property);
    }
    let required: Vec<&str> = keys
        .iter()
        .filter(|key| key.spec.is_required)
        .map(|key| key.name)
        .collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    let conditions = conditions(keys);
    if !conditions.is_empty() {
        schema["allOf"] = conditions.into();
    }
    schema
}

/// The documentation of a key in one text, as editors show it.
fn description(key: &Key) -> String {
    let lines: Vec<&str> = key.doc.iter().map(|line| line.trim()).collect();
    let mut text = lines.join("\n");
    if let Some(restriction) = key.restriction() {
        text.push('\n');
        text.push_str(&restriction);
    }
    text
}

/// The keys that a dialect or an action does not have, and those that exclude each other.
fn conditions(keys: &[Key]) -> Vec<Value> {
    let mut conditions = Vec::new();
    for decider in keys
        .iter()
        .filter(|key| ["dialect", "action"].contains(&key.name))
    {
        let Shape::Words(words) = &decider.shape else {
            continue;
        };
        for word in words {
            let foreign = keys.iter().filter(|key| !key.is_for(word));
            let foreign = foreign.map(|key| (key.name.to_owned(), Value::from(false)));
            let name = decider.name;
            conditions.push(json!({
                "if": { "properties": { name: { "const": word } }, "required": [name] },
                "then": { "properties": foreign.collect::<Map<_, _>>() },
            }));
        }
    }
    let excluded = keys.iter().flat_map(|key| {
        let others = key.spec.excludes.iter();
        // A key of its default value excludes nothing.
        let default = key.default.as_deref();
        let default: Option<Value> = default.and_then(|it| serde_json::from_str(it).ok());
        let set = default.map(|default| json!({ "not": { "const": default } }));
        let set = set.unwrap_or_else(|| true.into());
        others.map(move |other| {
            let both = json!({ "required": [key.name, other], "properties": { key.name: set } });
            json!({ "not": both })
        })
    });
    conditions.extend(excluded);
    conditions
}

fn of_shape(shape: &Shape) -> Value {
    match shape {
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Number(allowed) => number(*allowed),
        Shape::Text | Shape::File => json!({ "type": "string" }),
        Shape::Secret => {
            let table = |key: &str| {
                json!({
                    "type": "object",
                    "properties": { key: { "type": "string" } },
                    "required": [key],
                    "additionalProperties": false,
                })
            };
            json!({ "anyOf": [{ "type": "string" }, table("file"), table("env")] })
        }
        Shape::Words(words) => json!({ "enum": words }),
        Shape::Forms(forms) => {
            let patterns: Vec<String> = forms.iter().map(|form| pattern(form)).collect();
            json!({ "type": "string", "pattern": format!("^({})$", patterns.join("|")) })
        }
        Shape::List(element) => json!({ "type": "array", "items": of_shape(element) }),
        Shape::Table(keys) => table(keys),
        Shape::Map(value) => json!({ "type": "object", "additionalProperties": of_shape(value) }),
        Shape::OneOf(shapes) => {
            let shapes: Vec<Value> = shapes.iter().map(of_shape).collect();
            json!({ "anyOf": shapes })
        }
        Shape::Json => json!({}),
    }
}

/// A form as a regular expression: capitalized names stand for any text.
fn pattern(form: &str) -> String {
    let mut pattern = String::new();
    let mut is_name = false;
    for letter in form.chars() {
        if !letter.is_ascii_uppercase() {
            pattern.push(letter);
        } else if !is_name {
            pattern.push_str(".+");
        }
        is_name = letter.is_ascii_uppercase();
    }
    pattern
}

fn number(allowed: Allowed) -> Value {
    let (min, max) = allowed.bounds();
    let mut ways = vec![json!({ "type": "integer", "minimum": min, "maximum": max })];
    if allowed.takes_off() {
        ways.push(json!({ "const": 0 }));
    }
    if allowed.takes_auto() {
        ways.push(json!({ "const": "auto" }));
    }
    match ways.len() {
        1 => ways.remove(0),
        _ => json!({ "anyOf": ways }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capitalized_names_of_a_form_stand_for_any_text() {
        assert_eq!(pattern("bearer"), "bearer");
        assert_eq!(pattern("header:NAME"), "header:.+");
        assert_eq!(pattern("ADDRESS:PORT"), ".+:.+");
    }
}
