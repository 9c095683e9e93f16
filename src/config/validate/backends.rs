//! The server API's keys, and the backends that hooks ask.

use reqwest::Url;

use super::super::error::{ConfigError, Places};
use super::super::route::is_name;
use super::super::words::quoted;
use super::super::{Backend, Config};
use super::texts::{Complaint, check_header_value, check_length, complain, not_a_name};

/// Checks the keys of the server API.
pub(super) fn check_api(config: &Config, places: &Places) -> Result<(), ConfigError> {
    let keys = &config.api.keys;
    let count = keys.len();
    if count > API_KEYS_MAX {
        let problem = format!("lists {count} keys, allowed are 0 to {API_KEYS_MAX}");
        return Err(places.complain("api.keys", problem));
    }
    for (index, key) in keys.iter().enumerate() {
        let complain = |problem: String| places.complain(&format!("api.keys[{index}]"), problem);
        check_header_value(key, false).map_err(complain)?;
        if let Some(other) = keys[..index].iter().position(|it| it == key) {
            return Err(complain(format!("is the same as api.keys[{other}]")));
        }
    }
    Ok(())
}

/// Checks everything about the backends but their numbers.
pub(super) fn check(config: &Config, places: &Places) -> Result<(), ConfigError> {
    let backends = &config.backends;
    let count = backends.len();
    if count > BACKENDS_MAX {
        let problem = format!("there are {count} backends, allowed are 0 to {BACKENDS_MAX}");
        return Err(places.complain("backends", problem));
    }
    for (index, backend) in backends.iter().enumerate() {
        let other = backends[..index]
            .iter()
            .position(|it| it.name == backend.name);
        let checked = match other {
            Some(other) => {
                let name = quoted(&backend.name);
                complain("name", format!("{name} is taken by backends[{other}].name"))
            }
            None => check_backend(backend),
        };
        checked.map_err(|(key, problem)| {
            places.complain_within(&format!("backends[{index}].{key}"), problem)
        })?;
    }
    Ok(())
}

fn check_backend(backend: &Backend) -> Result<(), Complaint> {
    if !is_name(&backend.name) {
        return complain("name", not_a_name(&backend.name));
    }
    check_url(&backend.url)?;
    if let Some(secret) = &backend.secret {
        check_header_value(secret, false).map_err(|problem| ("secret".to_owned(), problem))?;
    }
    match &backend.ca_file {
        Some(file) if file.as_os_str().is_empty() => {
            complain("ca_file", "is empty, and a file is wanted")
        }
        _ => Ok(()),
    }
}

/// It may have a password or a token in it, and is not shown.
fn check_url(url: &str) -> Result<(), Complaint> {
    const WRONG: &str = "is not a URL with http or https and a host, such as \
        \"http://127.0.0.1:9000/campanile\"";
    check_length("url", url, URL_BYTES_MAX)?;
    let is_of_http = url.starts_with("http://") || url.starts_with("https://");
    let is_visible = url.bytes().all(|byte| byte.is_ascii_graphic());
    let parsed = Url::parse(url).ok().filter(Url::has_host);
    let Some(parsed) = parsed.filter(|_| is_of_http && is_visible) else {
        return complain("url", WRONG);
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        let problem = "has a user or a password in it; use secret, which is not shown";
        return complain("url", problem);
    }
    if parsed.fragment().is_some() {
        return complain("url", "has a fragment, which is not sent");
    }
    Ok(())
}

/// Two are enough to change them one after the other; each is compared with what a request shows.
const API_KEYS_MAX: usize = 64;
const BACKENDS_MAX: usize = 64;
const URL_BYTES_MAX: usize = 2_048;
