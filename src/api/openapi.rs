//! The description of the API: `openapi.json`, completed with values of the config.
//!
//! The config sets the limits, whether keys are required, and the path of the health report. The
//! schema of a call within a batch is that of the call alone plus its member `call`.

use super::calls::CallKind;
use crate::config::Config;
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// Returns the description for a gateway with this config.
pub(super) fn document(config: &Config) -> Bytes {
    let mut document: Value = serde_json::from_str(TEMPLATE).expect("the template is JSON");
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    if config.api.keys.is_empty() {
        object(&mut document).remove("security");
    }
    let paths = object(&mut document["paths"]);
    let health = paths.remove(HEALTH_PATH).expect("it is in the template");
    if let Some(path) = &config.health_path {
        paths.insert(path.clone(), health);
    }

    let limits = &config.api.limits;
    let components = &mut document["components"];
    let limit = &mut components["parameters"]["Limit"]["schema"];
    limit["maximum"] = limits.page_items_max.into();
    limit["default"] = super::lists::ITEMS.min(limits.page_items_max).into();
    let schemas = object(&mut components["schemas"]);
    add_calls(schemas);
    let schema = |schemas: &mut Map<String, Value>, place: &str, key: &str, number: u32| {
        let (name, place) = place.split_at(place.find('/').unwrap_or(place.len()));
        let schema = schemas.get_mut(name).and_then(|it| it.pointer_mut(place));
        schema.expect("it is in the template")[key] = number.into();
    };
    schema(schemas, "Name", "maxLength", config.limits.name_bytes_max);
    let users = config.limits.user_bytes_max();
    schema(schemas, "UserName", "maxLength", users);
    for kind in ["Publish", "Broadcast", "CallPublish", "CallBroadcast"] {
        let place = format!("{kind}/properties/except");
        schema(schemas, &place, "maxItems", limits.except_sessions_max);
    }
    let calls = "Batch/properties/calls";
    schema(schemas, calls, "maxItems", limits.batch_calls_max);
    document.to_string().into()
}

/// Adds the schemas of calls within a batch.
fn add_calls(schemas: &mut Map<String, Value>) {
    let mut all = Vec::new();
    for kind in CallKind::ALL {
        let word = kind.as_str();
        let name = word[..1].to_uppercase() + &word[1..];
        let mut call = schemas[&name].clone();
        call["properties"]["call"] = json!({"const": word});
        let required = call["required"].as_array_mut();
        required.expect("each has some").insert(0, "call".into());
        all.push(json!({"$ref": format!("#/components/schemas/Call{name}")}));
        schemas.insert(format!("Call{name}"), call);
    }
    schemas.insert("Call".to_owned(), json!({"oneOf": all}));
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    value.as_object_mut().expect("it is one in the template")
}

const TEMPLATE: &str = include_str!("openapi.json");
const HEALTH_PATH: &str = "/health";

#[cfg(test)]
mod tests {
    use super::super::problem::Code;
    use super::super::{Endpoint, ROOT};
    use super::*;
    use crate::config::Secret;

    fn read(config: &Config) -> Value {
        serde_json::from_slice(&document(config)).expect("it is JSON")
    }

    #[test]
    fn every_path_is_described_with_its_method_and_every_description_has_a_path() {
        let document = read(&Config::default());
        let mut described: Vec<(String, String)> = Vec::new();
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for method in operations.as_object().expect("operations").keys() {
                described.push((path.clone(), method.to_uppercase()));
            }
        }
        let mut served: Vec<(String, String)> = Endpoint::all()
            .map(|place| {
                (
                    format!("{ROOT}{}", place.path()),
                    place.method().to_string(),
                )
            })
            .collect();
        served.push((HEALTH_PATH.to_owned(), "GET".to_owned()));
        served.push((HEALTH_PATH.to_owned(), "HEAD".to_owned()));
        served.push((HEALTH_PATH.to_owned(), "OPTIONS".to_owned()));
        served.sort_unstable();
        described.sort_unstable();
        assert_eq!(described, served);
    }

    #[test]
    fn every_code_is_described_and_every_response_has_a_code() {
        let document = read(&Config::default());
        let schemas = &document["components"]["schemas"];
        let code = &schemas["Error"]["properties"]["error"]["properties"]["code"];
        let words: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(code["enum"], json!(words));

        let responses = document["components"]["responses"].as_object();
        let mut shown: Vec<&str> = Vec::new();
        for response in responses.expect("responses").values() {
            let examples = response["content"]["application/json"]["examples"].as_object();
            for example in examples.expect("examples").values() {
                let code = example["value"]["error"]["code"].as_str();
                shown.push(code.expect("a code"));
            }
        }
        shown.sort_unstable();
        let mut words: Vec<&str> = words;
        words.retain(|word| *word != "method_not_allowed"); // no method is described for it
        words.sort_unstable();
        assert_eq!(shown, words);
    }

    #[test]
    fn the_config_sets_limits_keys_and_the_health_path() {
        let mut config = Config::default();
        config.api.limits.page_items_max = 7;
        config.api.limits.batch_calls_max = 8;
        config.api.limits.except_sessions_max = 9;
        config.limits.name_bytes_max = 64;
        config.limits.token_bytes_max = 65;
        config.health_path = Some("/up".to_owned());
        let open = read(&config);
        let components = &open["components"];
        let limit = &components["parameters"]["Limit"]["schema"];
        assert_eq!(
            (&limit["maximum"], &limit["default"]),
            (&json!(7), &json!(7))
        );
        let schemas = &components["schemas"];
        assert_eq!(schemas["Batch"]["properties"]["calls"]["maxItems"], 8);
        assert_eq!(
            schemas["CallPublish"]["properties"]["except"]["maxItems"],
            9
        );
        assert_eq!(schemas["Name"]["maxLength"], 64);
        assert_eq!(schemas["UserName"]["maxLength"], 65);
        assert_eq!(open["security"], Value::Null);
        assert!(open["paths"]["/up"].is_object() && open["paths"]["/health"].is_null());
        assert_eq!(open["info"]["version"], env!("CARGO_PKG_VERSION"));

        config.api.keys = vec![Secret::new("k")];
        config.health_path = None;
        let closed = read(&config);
        assert_eq!(closed["security"].as_array().map(Vec::len), Some(2));
        assert!(closed["paths"]["/health"].is_null());
        assert!(!document(&config).is_empty());
    }
}
